"""A bundle for an auditor: exported, checked by both verifiers and by hand as the runbook says, changed, and of a whole period."""
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import zipfile

from harness import BINARY, ROOT, Tocsin, done, is_, like, ok, unlike

OTHER = os.path.join(os.path.dirname(BINARY), "tocsin-verify")
TSA = """[tsa]
default_tsa = here
[here]
serial = %(folder)s/serial
signer_cert = %(folder)s/tsa.pem
signer_key = %(folder)s/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
certs = %(folder)s/tsa.pem
"""

# ---- a sealed log by another hand: RFC 6962, C2SP tlog-tiles (fewer than 256 entries), signed note


def sha(data):
    return hashlib.sha256(data).digest()


def tree(leaves):
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha(b"\1" + tree(leaves[:k]) + tree(leaves[k:]))


def openssl(*words, data=None):
    return subprocess.run(["openssl", *words], input=data, capture_output=True, timeout=60, check=True).stdout


def signed(key_file, text, folder):
    with open(key_file, encoding="ascii") as f:
        name, key_id, raw = f.read().strip()[len("PRIVATE+KEY+"):].split("+", 2)
    der, message = os.path.join(folder, "key.der"), os.path.join(folder, "message")
    with open(der, "wb") as f:
        f.write(bytes.fromhex("302e020100300506032b657004220420") + base64.b64decode(raw)[1:])
    with open(message, "wb") as f:
        f.write(text)
    signature = openssl("pkeyutl", "-sign", "-rawin", "-keyform", "DER", "-inkey", der, "-in", message)
    return text + b"\n" + "— {} ".format(name).encode() + base64.b64encode(bytes.fromhex(key_id) + signature) + b"\n"


def log_write(folder, key_file, name, heads):
    log, leaves = os.path.join(folder, "log"), [sha(b"\0" + h) for h in heads]
    for path, content in (("tile/0/000.p/%d" % len(heads), b"".join(leaves)),
                          ("tile/entries/000.p/%d" % len(heads), b"".join(len(h).to_bytes(2, "big") + h for h in heads))):
        os.makedirs(os.path.join(log, os.path.dirname(path)), exist_ok=True)
        with open(os.path.join(log, path), "wb") as f:
            f.write(content)
    with open(os.path.join(log, "checkpoint"), "wb") as f:
        f.write(signed(key_file, "{}\n{}\n{}\n".format(name, len(heads), base64.b64encode(tree(leaves)).decode()).encode(), folder))
    return log


def heads_of(tocsin, *incidents):
    journals = []
    for incident in incidents:
        tocsin.run("evidence", "export", incident, "-o", incident + ".jsonl")
        with open(os.path.join(tocsin.folder, incident + ".jsonl"), encoding="utf-8") as f:
            journals.append([json.loads(line)["head"].encode() for line in f])
    mixed = []
    while any(journals):
        mixed += [j.pop(0) for j in journals if j]
    return mixed


def anchor(tocsin, log, size):
    """A time stamp on the checkpoint as it is now, by an authority made here."""
    folder, anchors = os.path.join(tocsin.folder, "tsa"), os.path.join(os.path.dirname(log), "anchors")
    os.makedirs(folder)
    os.makedirs(anchors)
    shutil.copy(os.path.join(log, "checkpoint"), os.path.join(anchors, "%d.checkpoint" % size))
    for name, text in (("cnf", TSA % {"folder": folder}), ("serial", "01\n")):
        with open(os.path.join(folder, name), "w", encoding="ascii") as f:
            f.write(text)
    at = {n: os.path.join(folder, n) for n in ("tsa.key", "tsa.pem", "query", "cnf")}
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", at["tsa.key"], "-out", at["tsa.pem"], "-subj", "/CN=A time stamping authority", "-days", "30",
            "-addext", "extendedKeyUsage=critical,timeStamping")
    openssl("ts", "-query", "-data", os.path.join(anchors, "%d.checkpoint" % size), "-sha256", "-cert", "-out", at["query"])
    openssl("ts", "-reply", "-config", at["cnf"], "-queryfile", at["query"], "-out", os.path.join(anchors, "%d.tsr" % size))
    return at["tsa.pem"]


# ---- asking


def both(tocsin, path, key, *more):
    ours = tocsin.run("evidence", "verify", path, "--key", key, *more)
    theirs = subprocess.run([OTHER, os.path.join(tocsin.folder, path), "--key", key, *more], capture_output=True, text=True, errors="replace", timeout=60, check=False)
    return (ours.status, theirs.returncode), ours.out, theirs.stdout


def by_hand(tocsin, bundle, key, tsa):
    with open(os.path.join(ROOT, "runbooks", "verify-evidence.md"), encoding="utf-8") as f:
        blocks = re.findall(r"```sh\n(.*?)```", f.read(), re.S)
    folder = os.path.join(tocsin.folder, "by-hand")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    env = dict(os.environ, BUNDLE=os.path.join(tocsin.folder, bundle), KEY=key, TSA=tsa)
    return subprocess.run(["sh", "-e", "-u"], input="\n".join(blocks), cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False), len(blocks)


def inside(tocsin, bundle, start=""):
    with zipfile.ZipFile(os.path.join(tocsin.folder, bundle)) as z:
        return {n: z.read(n) for n in z.namelist() if n.startswith(start)}


def changed(tocsin, bundle, name, change, sums=True, more=()):
    """The bundle with one file changed (and more put in), and its list of digests made anew."""
    files = inside(tocsin, bundle)
    files.update(more)
    files[name] = change(files[name])
    if sums:
        files["SHA256SUMS"] = "".join("%s  %s\n" % (hashlib.sha256(files[n]).hexdigest(), n) for n in sorted(files) if n != "SHA256SUMS").encode()
    with zipfile.ZipFile(os.path.join(tocsin.folder, "changed.zip"), "w") as z:
        for n in sorted(files):
            info = zipfile.ZipInfo(n, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            z.writestr(info, files[n])
    return "changed.zip"


# ---- the story

with Tocsin() as tocsin:
    for words in (["open", "Laptop", "stolen", "--severity", "high", "--because", "phoned in", "--occurred", "2026-01-05T10:00:00Z"], ["open", "Phishing", "--because", "a mail"],
                  ["note", "1", "called <b>alice</b>"], ["tag", "1", "theft"], ["note", "2", "deleted"],
                  ["close", "1", "--verdict", "true_positive", "--root-cause", "a train", "--impact", "none", "--affected", "laptop", "--lessons", "encrypt"]):
        tocsin.run("incident", *words)
    made = tocsin.run("evidence", "keygen", "example.org/ir", "-o", "evidence.key")
    key = made.out.splitlines()[0]
    sealed = os.path.join(tocsin.folder, "sealed")
    os.makedirs(sealed)
    key_file = os.path.join(tocsin.folder, "evidence.key")
    heads = heads_of(tocsin, "INC-000001", "INC-000002")
    log = log_write(sealed, key_file, "example.org/ir", heads)
    tsa = anchor(tocsin, log, len(heads))
    kept = os.path.join(tocsin.folder, "kept")
    shutil.copy(os.path.join(log, "checkpoint"), kept)
    tocsin.run("incident", "note", "2", "and reported")
    heads = heads + heads_of(tocsin, "INC-000002")[-1:]
    log_write(sealed, key_file, "example.org/ir", heads)

    result = tocsin.run("evidence", "export", "1", "-o", "one.zip", "--log", log, "--key", key, "--checkpoint", kept)
    is_(result.status, 0, "evidence export writes a bundle")
    like(result.out, r"1 incident, \d+ entries, \d+ of them proven", "and says what it proves")
    status, ours, theirs = both(tocsin, "one.zip", key, "--checkpoint", kept)
    is_(status, (0, 0), "both verifiers pass it, also against an earlier checkpoint")
    like(ours + theirs, r"sound: \d entries.*sound: \d entries", "both say how much they saw")
    with zipfile.ZipFile(os.path.join(tocsin.folder, "one.zip")) as z:
        names, page = z.namelist(), z.read("incidents/INC-000001/report.html").decode()
    ok({"anchors/%d.tsr" % (len(heads) - 1), "anchors/%d.consistency" % (len(heads) - 1), "log/checkpoint", "incidents/INC-000001/stix.json"} <= set(names), "what else is in it: %s" % names)
    like(page, r"tester.*example\.org/ir", "the report names people and the log")
    unlike(page, "<b>alice", "and runs nothing that people wrote")
    again = tocsin.run("evidence", "export", "1", "-o", "again.zip", "--log", log, "--key", key, "--checkpoint", kept)
    with open(os.path.join(tocsin.folder, "one.zip"), "rb") as a, open(os.path.join(tocsin.folder, "again.zip"), "rb") as b:
        ok(a.read() == b.read(), "the same export makes the same bytes")

    result, blocks = by_hand(tocsin, "one.zip", key, tsa)
    ok(result.returncode == 0 and blocks == 9, "the runbook's commands pass it: %s" % (result.stderr or result.stdout)[-500:])
    like(result.stdout, r"Signature Verified Successfully.*entries follow one another.*all in the log.*Laptop stolen", "and show what they should")
    like(result.stdout, "Verification: OK", "the time stamp too")

    for name, change, what, says in (
            ("incidents/INC-000001/heads", lambda b: b.replace(b'"seq":2,', b'"seq":3,', 1), "a head", "(added|missing|reordered|changed) entry [23] of INC-000001"),
            ("incidents/INC-000001/bodies", lambda b: b.replace(b"\n2 ", b"\n2 AAAA", 1), "a body", "changed body 2 of INC-000001"),
            ("incidents/INC-000001/proofs", lambda b: re.sub(rb"\n3 (\d+)", lambda m: b"\n3 %d" % (int(m.group(1)) + 1), b), "a proof", "changed proof 3 of INC-000001")):
        path = changed(tocsin, "one.zip", name, change)
        status, ours, theirs = both(tocsin, path, key)
        is_(status, (1, 1), "%s that was changed passes neither" % what)
        like(ours, says, "named by tocsin")
        like(theirs, says, "and by tocsin-verify")
        ok(by_hand(tocsin, path, key, tsa)[0].returncode != 0, "nor does it pass by hand")
    status, ours, theirs = both(tocsin, changed(tocsin, "one.zip", "incidents/INC-000001/report.html", lambda b: b.replace(b"tester", b"nobody")), key)
    like(ours, r"changed file incidents/INC-000001/report.html: it is not what its entries give", "a forged report differs from its entries")
    status, ours, theirs = both(tocsin, changed(tocsin, "one.zip", "incidents/INC-000001/report.html", lambda b: b.replace(b"tester", b"nobody"), sums=False), key)
    is_(status, (1, 1), "one that the list does not know passes neither")
    is_(both(tocsin, "one.zip", key.replace("example.org/ir", "example.org/is"))[0][0], 2, "a key that is none is a mistake")
    is_(tocsin.run("evidence", "verify", "one.zip").status, 2, "no key, no verdict")

    stamp = "anchors/%d.tsr" % (len(heads) - 1)
    result = tocsin.run("evidence", "verify", "one.zip", "--key", key, "--tsa-ca", tsa)
    is_(result.status, 0, "a bundle with a stamp of the given CA passes")
    like(result.out, r"the first %d entries were stamped at 20.* by CN=A time stamping authority" % (len(heads) - 1), "and it is said up to where")
    result = tocsin.run("evidence", "verify", changed(tocsin, "one.zip", stamp, lambda b: b[:-1] + bytes([b[-1] ^ 1])), "--key", key, "--tsa-ca", tsa)
    is_(result.status, 1, "one whose stamp was changed does not")
    like(result.out, r"changed anchors/\d+\.tsr: .*NOT SOUND", "and the stamp is named")
    result = tocsin.run("evidence", "verify", "one.zip", "--key", key, "--tsa-ca", os.path.join(tocsin.folder, "other.pem"))
    is_(result.status, 1, "without the CA's file there is no verdict")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", os.path.join(tocsin.folder, "other.key"), "-out",
            os.path.join(tocsin.folder, "other.pem"), "-subj", "/CN=Another", "-days", "30")
    result = tocsin.run("evidence", "verify", "one.zip", "--key", key, "--tsa-ca", os.path.join(tocsin.folder, "other.pem"))
    is_(result.status, 1, "a stamp that leads to another CA does not pass")
    witness = "witness.example/w1+%s+%s" % (sha(b"witness.example/w1\n\4" + b"B" * 32)[:4].hex(), base64.b64encode(b"\4" + b"B" * 32).decode())
    result = tocsin.run("evidence", "verify", "one.zip", "--key", key, "--witness", witness)
    is_(result.status, 1, "a bundle that no witness cosigned does not pass when one is asked for")
    like(result.out, r"missing anchors/: nothing is cosigned by the given witness", "and that is said")
    is_(tocsin.run("evidence", "verify", "INC-000001", "--tsa-ca", tsa).status, 2, "stamps of a bare journal are a mistake, not a pass")
    result = tocsin.run("evidence", "export", "2", "-o", "later.zip", "--log", log, "--key", key)
    is_(tocsin.run("evidence", "verify", "later.zip", "--key", key).status, 0, "a bundle with an entry behind the last stamp passes by itself")
    like(tocsin.run("evidence", "verify", "later.zip", "--key", key, "--tsa-ca", tsa).out, "missing anchors/: no stamp leads to the given CA", "not when stamps are asked for")
    path = changed(tocsin, "later.zip", "log/key", lambda b: b, more=inside(tocsin, "one.zip", "anchors/"))
    is_(tocsin.run("evidence", "verify", path, "--key", key).status, 0, "with an older stamp laid in it is still sound")
    result = tocsin.run("evidence", "verify", path, "--key", key, "--tsa-ca", tsa)
    is_(result.status, 1, "but that stamp does not cover it")
    like(result.out, r"only the first %d entries of the log are stamped, and what is here goes up to %d" % (len(heads) - 1, len(heads)), "which is said")

    tocsin.run("incident", "note", "2", "not sealed yet")
    result = tocsin.run("evidence", "export", "2", "-o", "two.zip", "--log", log, "--key", key, "--wait", "1ms")
    like(result.out, r"not sealed yet: entry \d of INC-000002", "what is not sealed yet is said")
    status, ours, theirs = both(tocsin, "two.zip", key)
    is_(status, (1, 1), "and does not pass")
    like(ours + theirs, r"unsigned entry \d of INC-000002.*unsigned entry \d of INC-000002", "as unsigned, in both")
    tocsin.write("elsewhere.lua", 'return { data = "elsewhere" }')
    result = tocsin.run("evidence", "export", "INC-000002.jsonl", "-o", "bare.zip", "--settings", "elsewhere.lua")
    like(result.out, "proves nothing yet", "where nothing was ever sealed the bundle says that it proves nothing")
    is_(both(tocsin, "bare.zip", key)[0], (1, 1), "and passes neither")

    own = tocsin.run("evidence", "key").out.strip()
    result = tocsin.run("evidence", "export", "2", "-o", "own.zip", "--wait", "30s")
    like(result.out, r"1 incident, (\d+) entries, \1 of them proven", "by itself it proves from this node's log, and waits for the seal")
    is_(both(tocsin, "own.zip", own)[0], (0, 0), "which passes both under this node's key")
    is_(both(tocsin, "own.zip", key)[0], (1, 1), "and under no other")
    ok(by_hand(tocsin, "own.zip", own, tsa)[0].returncode == 0, "and by hand")

    is_(tocsin.run("evidence", "redact", "2/1", "--because", "a name", "--yes").status, 0, "a body is removed")
    tocsin.run("evidence", "export", "2", "-o", "cut.zip", "--wait", "30s")
    status, ours, theirs = both(tocsin, "cut.zip", own)
    is_(status, (0, 0), "a bundle without it passes both")
    like(ours + theirs, r"removed body 1 of INC-000002.*removed body 1 of INC-000002", "which name the removal")
    like(by_hand(tocsin, "cut.zip", own, tsa)[0].stdout, r"the body of entry 1 of .* was removed\n.*entries follow one another", "and by hand")
    path = changed(tocsin, "cut.zip", "incidents/INC-000002/bodies", lambda b: re.sub(rb"\n2 .*", b"\n2 -", b))
    status, ours, theirs = both(tocsin, path, own)
    is_(status, (1, 1), "one more left out passes neither")
    like(ours + theirs, r"missing body 2 of INC-000002.*missing body 2 of INC-000002", "as missing")
    ok(by_hand(tocsin, path, own, tsa)[0].returncode != 0, "nor by hand")

    heads = heads_of(tocsin, "INC-000001", "INC-000002")
    shutil.rmtree(sealed)
    os.makedirs(sealed)
    log_write(sealed, key_file, "example.org/ir", heads)
    result = tocsin.run("evidence", "export", "--from", "2026-01-01T00:00:00Z", "--to", "2099-01-01T00:00:00Z", "-o", "all.zip", "--log", log, "--key", key)
    like(result.out, "2 incidents", "a period's bundle holds them all")
    is_(both(tocsin, "all.zip", key)[0], (0, 0), "and passes both")
    with zipfile.ZipFile(os.path.join(tocsin.folder, "all.zip")) as z:
        like(z.read("index.html").decode(), r"incidents/INC-000001/report\.html.*incidents/INC-000002/report\.html", "with an index")
    is_(tocsin.run("evidence", "export", "--from", "2001-01-01T00:00:00Z", "--to", "2002-01-01T00:00:00Z", "-o", "none.zip", "--log", log, "--key", key).status, 1, "nothing in a period is an error")
    is_(tocsin.run("evidence", "export", "-o", "none.zip").status, 2, "neither an incident nor a period is a mistake")
done()
