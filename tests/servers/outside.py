#!/usr/bin/env python3
"""The three parties outside: a time-stamping authority, a witness, a bucket. Written from RFC 3161, C2SP tlog-witness and AWS's Signature Version 4, without any of Tocsin's code.

  /tsa              RFC 3161 by `openssl ts -reply`; /tsa/replay answers every question with the first answer; /tsa/no refuses
  /witness          C2SP add-checkpoint; trusts the log key in FOLDER/log.vkey; keeps what it signed in FOLDER/witness.json; /witness/liar signs another text
  /bucket/KEY       S3 objects: the signature of each request is computed anew and compared; object lock needs a Content-MD5

    outside.py --folder FOLDER --port PORT     ends with its standard input; FOLDER/ca.pem, witness.vkey and requests.log are written
    outside.py --self-test
"""
import argparse
import base64
import hashlib
import hmac
import http.server
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse

SPKI = bytes.fromhex("302a300506032b6570032100")  # RFC 8410: an Ed25519 public key, before its 32 bytes
ACCESS_KEY, SECRET_KEY, REGION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1"
DASH = "\u2014 "


class Refused(Exception):
    def __init__(self, status, text="", kind="text/plain"):
        super().__init__(text)
        self.status, self.text, self.kind = status, text, kind


class Files:
    def __init__(self, folder):
        self.folder = folder
        self.lock = threading.Lock()

    def path(self, name):
        return os.path.join(self.folder, name)

    def put(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode())
        return self.path(name)

    def get(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def openssl(self, *args):
        return subprocess.run(["openssl", *args], cwd=self.folder, capture_output=True, check=False, timeout=30)

    def must(self, *args):
        done = self.openssl(*args)
        if done.returncode:
            sys.exit("openssl %s: %s" % (args[0], done.stderr.decode()[-400:]))


# ---- the authority

def tsa_make(files):
    files.put("tsa.cnf", "[t]\nserial=serial\nsigner_digest=sha256\ndefault_policy=1.2.3.4\ndigests=sha256\naccuracy=secs:1\nordering=yes\n"
              "tsa_name=no\ness_cert_id_chain=no\ness_cert_id_alg=sha256\n[tsa]\ndefault_tsa=t\n")
    files.put("serial", "01\n")
    files.put("extra", "extendedKeyUsage=critical,timeStamping\nkeyUsage=digitalSignature\n")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    files.must("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Outside CA", "-days", "30")
    files.must("req", *key, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=Outside TSA")
    files.must("x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-extfile", "extra", "-days", "20", "-out", "tsa.pem")


def stamp(files, query, how):
    if how == "no":
        return b"\x30\x03\x30\x01\x00"  # no TimeStampResp that anybody could read
    with files.lock:
        if how == "replay" and os.path.exists(files.path("first.tsr")):
            return files.get("first.tsr")
        files.put("q.tsq", query)
        done = files.openssl("ts", "-reply", "-config", "tsa.cnf", "-section", "t", "-queryfile", "q.tsq", "-signer", "tsa.pem", "-inkey",
                             "tsa.key", "-out", "r.tsr")
        if done.returncode:
            raise Refused(500, done.stderr.decode()[-200:])
        if how == "replay":
            files.put("first.tsr", files.get("r.tsr"))
        return files.get("r.tsr")


# ---- the witness

def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def consistent(first, second, root1, root2, proof):
    """RFC 9162 2.1.4.2."""
    if first == second:
        return not proof and root1 == root2
    if first == 0:
        return not proof
    if first & (first - 1) == 0:
        proof = [root1] + proof
    if not proof:
        return False
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = proof[0]
    for c in proof[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(c, fr), node(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == root1 and sr == root2


def key_id(name, kind, public):
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def witness_make(files):
    files.must("genpkey", "-algorithm", "ed25519", "-out", "witness.key")
    files.must("pkey", "-in", "witness.key", "-pubout", "-outform", "DER", "-out", "witness.der")
    public = files.get("witness.der")[-32:]
    name = "witness.example/w1"
    ident = key_id(name, 4, public)
    files.put("witness.vkey", "%s+%s+%s" % (name, ident.hex(), base64.b64encode(b"\x04" + public).decode()))
    return name, ident


def log_signed(files, text, lines):
    name, _, rest = files.get("log.vkey").decode().strip().partition("+")
    raw = base64.b64decode(rest.partition("+")[2])
    ident = key_id(name, 1, raw[1:])
    if text.split("\n")[0] != name:
        raise Refused(404, "unknown log")
    files.put("log.der", SPKI + raw[1:])
    files.put("text", text)
    for line in lines:
        who, _, sig = line[len(DASH):].partition(" ")
        sig = base64.b64decode(sig)
        if who == name and sig[:4] == ident:
            files.put("sig", sig[4:])
            done = files.openssl("pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", "log.der", "-rawin", "-in", "text", "-sigfile",
                                 "sig")
            if done.returncode == 0:
                return name
    raise Refused(403, "not signed by the log")


def add_checkpoint(files, witness, body, liar):
    head, _, note = body.decode().partition("\n\n")
    first, *hashes = head.split("\n")
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    origin = log_signed(files, text, signatures.rstrip("\n").split("\n"))
    old, size = int(first.split(" ")[1]), int(text.split("\n")[1])
    root = base64.b64decode(text.split("\n")[2])
    state = json.loads(files.get("witness.json")) if os.path.exists(files.path("witness.json")) else {}
    known = state.get(origin, {"size": 0, "root": ""})
    if old > size:
        raise Refused(400, "old is beyond the checkpoint")
    if old != known["size"] or (old == size and known["root"] != root.hex()):
        raise Refused(409, "%d\n" % known["size"], "text/x.tlog.size")
    if not consistent(old, size, bytes.fromhex(known["root"]), root, [base64.b64decode(h) for h in hashes]):
        raise Refused(422, "this log was rewritten")
    state[origin] = {"size": size, "root": root.hex()}
    files.put("witness.json", json.dumps(state))
    when = int(time.time())
    files.put("message", "cosignature/v1\ntime %d\n%s" % (when, "x" + text if liar else text))
    files.must("pkeyutl", "-sign", "-inkey", "witness.key", "-rawin", "-in", "message", "-out", "cosignature")
    name, ident = witness
    blob = base64.b64encode(ident + when.to_bytes(8, "big") + files.get("cosignature")).decode()
    stranger = base64.b64encode(b"\0\1\2\3" + bytes(72)).decode()
    return ("%sstranger.example %s\n%s%s %s\n" % (DASH, stranger, DASH, name, blob)).encode()


# ---- the bucket

def signature(method, path, query, headers, names, digest, stamp_time, scope, secret):
    """AWS Signature Version 4: canonical request, string to sign, derived key."""
    pairs = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
    canonical_query = "&".join("%s=%s" % (urllib.parse.quote(k, "-_.~"), urllib.parse.quote(v, "-_.~")) for k, v in pairs)
    lines = "".join("%s:%s\n" % (n, " ".join(headers[n].split())) for n in names)
    canonical = "\n".join([method, path, canonical_query, lines, ";".join(names), digest])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp_time, "/".join(scope), hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for part in scope:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def bucket_signed(method, path, headers, body):
    fields = dict(f.strip().split("=", 1) for f in headers["authorization"].partition(" ")[2].split(","))
    access, *scope = fields["Credential"].split("/")
    names = fields["SignedHeaders"].split(";")
    must = {"host", "x-amz-date", "x-amz-content-sha256"} | {n for n in headers if n.startswith("x-amz-")}
    if access != ACCESS_KEY or not must <= set(names) or names != sorted(names) or scope[1:] != [REGION, "s3", "aws4_request"]:
        raise Refused(403, "<Error><Code>InvalidAccessKeyId</Code></Error>")
    if headers["x-amz-content-sha256"] != hashlib.sha256(body).hexdigest():
        raise Refused(400, "<Error><Code>XAmzContentSHA256Mismatch</Code></Error>")
    where, _, query = path.partition("?")
    want = signature(method, where, query, headers, names, headers["x-amz-content-sha256"], headers["x-amz-date"], scope, SECRET_KEY)
    if not hmac.compare_digest(want, fields["Signature"]):
        raise Refused(403, "<Error><Code>SignatureDoesNotMatch</Code></Error>")


def bucket(files, method, path, headers, body):
    bucket_signed(method, path, headers, body)
    name = files.path(os.path.join("objects", urllib.parse.quote(path[len("/bucket/"):], safe="")))
    if method == "GET":
        if not os.path.exists(name):
            raise Refused(404, "<Error><Code>NoSuchKey</Code></Error>")
        with open(name, "rb") as f:
            return f.read()
    md5 = headers.get("content-md5")
    if md5 and base64.b64decode(md5) != hashlib.md5(body).digest():
        raise Refused(400, "<Error><Code>BadDigest</Code></Error>")
    if headers.get("x-amz-object-lock-mode") and not (md5 and headers.get("x-amz-object-lock-retain-until-date")):
        raise Refused(400, "<Error><Code>InvalidRequest</Code></Error>")
    os.makedirs(os.path.dirname(name), exist_ok=True)
    with open(name, "wb") as f:
        f.write(body)
    return b""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, *_):
        pass

    def any(self):
        files = self.server.files
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {k.lower(): v for k, v in self.headers.items()}
        status, kind = 200, "application/octet-stream"
        try:
            if self.path.startswith("/tsa"):
                out, kind = stamp(files, body, self.path[5:]), "application/timestamp-reply"
            elif self.path in ("/witness/add-checkpoint", "/witness/liar/add-checkpoint"):
                with files.lock:
                    out = add_checkpoint(files, self.server.witness, body, "liar" in self.path)
            elif self.path.startswith("/bucket/"):
                out = bucket(files, self.command, self.path, headers, body)
            else:
                raise Refused(404)
        except Refused as e:
            status, out, kind = e.status, e.text.encode(), e.kind
        with files.lock, open(files.path("requests.log"), "a", encoding="utf-8") as f:
            f.write("%s %s %d %s\n" % (self.command, self.path, status, headers.get("x-amz-object-lock-mode", "")))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    do_GET = do_PUT = do_POST = any


def self_test():
    """The vanilla case of AWS's published Signature Version 4 test suite: its checker must know a right signature from a wrong one."""
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}
    got = signature("GET", "/", "", headers, ["host", "x-amz-date"], hashlib.sha256(b"").hexdigest(), "20150830T123600Z",
                    ["20150830", "us-east-1", "service", "aws4_request"], "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    assert got == "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", got


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder")
    parser.add_argument("--port", type=int)
    parser.add_argument("--self-test", action="store_true")
    args = parser.parse_args()
    self_test()
    if args.self_test:
        return
    files = Files(args.folder)
    tsa_make(files)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", args.port), Handler)
    server.daemon_threads = True
    server.files, server.witness = files, witness_make(files)
    files.put("ready", "")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
