"""The copy in a bucket of a real S3 server that is not ours: Ceph's radosgw, with object lock. `make test-radosgw` installs it; without it this file is not run."""
import os
import re
import subprocess
import urllib.parse
import xml.etree.ElementTree

from harness import BINARY, Raw, Tocsin, done, is_, like, ok, wait_until
from product import Product, alert, content
from radosgw import ACCESS_KEY, REGION, SECRET_KEY, Radosgw

OTHER = os.path.join(os.path.dirname(BINARY), "tocsin-verify")


def versions(bucket):
    """[(key, version)] of all that was ever put, the newest of a key first."""
    status, text = bucket.s3("GET", "/evidence?versions=")
    assert status == 200, text
    tree = xml.etree.ElementTree.fromstring(re.sub(rb' xmlns="[^"]*"', b"", text))
    return [(v.findtext("Key"), v.findtext("VersionId")) for v in tree.iter("Version")]


def fetched(bucket, folder):
    """What the bucket holds now, as files: what an auditor who was given access fetches."""
    for key in sorted({k for k, _ in versions(bucket)}):
        path = os.path.join(folder, os.path.relpath(key, "ir"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        status, data = bucket.s3("GET", "/evidence/" + urllib.parse.quote(key))
        assert status == 200, key
        with open(path, "wb") as f:
            f.write(data)
    return folder


def copied(tocsin):
    with open(os.path.join(tocsin.data, "evidence", "log", "checkpoint"), encoding="utf-8") as f:
        size = int(f.read().split("\n")[1])
    checks = [c for c in tocsin.run("doctor", "--json").json()["checks"] if c["check"] == "anchor copy"]
    return bool(checks) and checks[0]["ok"] and "last done" in checks[0]["text"] and size


with Radosgw() as bucket, Product() as product:
    tocsin = Tocsin({})
    is_(bucket.s3("PUT", "/evidence", x_amz_bucket_object_lock_enabled="true")[0], 200, "a bucket with object lock is made")
    access, secret, wrong = (tocsin.write(name, text) for name, text in (("access", ACCESS_KEY), ("secret", SECRET_KEY), ("wrong", SECRET_KEY[::-1])))

    def settings(secret_file, name="evidence"):
        copy = {"bucket": "%s/%s/ir" % (bucket.url, name), "region": REGION, "access_key": Raw('secret "file:%s"' % access), "secret_key": Raw('secret "file:%s"' % secret_file), "lock_days": 2}
        tocsin.settings({"folders": content(tocsin.folder), "connectors": {"product": Raw('product { url = "%s" }' % product.url)}, "anchor": {"every": "1s", "copy": [copy]}})

    settings(wrong)
    with tocsin:
        key = tocsin.run("evidence", "key").out.strip()
        tocsin.xadd(alert("alice", "uid-alice"))
        ok(wait_until(lambda: "SignatureDoesNotMatch" in tocsin.run("doctor").out, 60), "radosgw refuses a wrong secret, and doctor says how")
        settings(secret, "missing")
        is_(tocsin.run("reload").status, 0, "another bucket")
        ok(wait_until(lambda: "NoSuchBucket" in tocsin.run("doctor").out, 60), "one that is not there is named, too")
        settings(secret)
        is_(tocsin.run("reload").status, 0, "the right one")
        ok(wait_until(lambda: copied(tocsin), 60), "the copy is put")
        for name in ("bob", "carol"):
            before = len(versions(bucket))
            tocsin.xadd(alert(name, "uid-" + name))
            ok(wait_until(lambda b=before: len(versions(bucket)) > b and copied(tocsin), 60), "and grows")
        folder = fetched(bucket, os.path.join(tocsin.folder, "fetched"))
        log = os.path.join(folder, "log")
        ours = tocsin.run("evidence", "verify", log, "--key", key)
        theirs = subprocess.run([OTHER, log, "--key", key], capture_output=True, text=True, timeout=60, check=False)
        is_((ours.status, theirs.returncode), (0, 0), "both verifiers find what was fetched sound")
        ok(not any("keys.db" in k for k, _ in versions(bucket)), "the keys of the bodies are not among it")

        # Whoever holds the key of the bucket cannot take anything away.
        name, version = next((k, v) for k, v in versions(bucket) if k == "ir/log/checkpoint")
        like(bucket.s3("GET", "/evidence/%s?retention=" % name)[1].decode(), "COMPLIANCE", "an object is locked in compliance mode")
        is_(bucket.s3("DELETE", "/evidence/%s?versionId=%s" % (name, version))[0], 403, "it cannot be removed")
        is_(bucket.s3("DELETE", "/evidence/%s?versionId=%s" % (name, version), x_amz_bypass_governance_retention="true")[0], 403, "nor by who may bypass governance")
        is_(bucket.s3("PUT", "/evidence/" + name, b"another")[0], 200, "who writes over it makes a new version")
        status, kept = bucket.s3("GET", "/evidence/%s?versionId=%s" % (name, version))
        ok(status == 200 and kept.startswith(key.split("+")[0].encode()), "and the old one is still there")
        tocsin.xadd(alert("dave", "uid-dave"))

        def spoilt():
            # Again each time: a copy that is just being put would write over it.
            return not copied(tocsin) or bucket.s3("PUT", "/evidence/" + name, b"another")[0] != 200

        ok(wait_until(spoilt, 60), "the copy does not go on from a checkpoint that is none")
        like(tocsin.run("doctor").out, "the copy's checkpoint", "and doctor says why")
        ok("Sanitizer" not in tocsin.log() and SECRET_KEY not in tocsin.log(), "no secret and no memory error is in the log")
done()
