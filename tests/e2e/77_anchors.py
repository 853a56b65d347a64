"""`tocsin serve` anchors its log: an authority, a witness and a copy get each new checkpoint, what came back is on record and checks out, and parties that are away hold up nothing."""
import os
import re
import shutil
import subprocess
import sys

from harness import BINARY, ROOT, Raw, Tocsin, done, free_port, is_, journal_entries, like, ok, wait_until
from product import Product, alert, content

HERE = os.path.dirname(os.path.abspath(__file__))
OTHER = os.path.join(os.path.dirname(BINARY), "tocsin-verify")


def entries(tocsin, kind):
    with tocsin.redis() as redis:
        return sum(b'"type":"%s"' % kind in entry[b"e"] for _, entry in journal_entries(redis, "node-n1"))


def checks(tocsin):
    return {c["check"]: c for c in tocsin.run("doctor", "--json").json()["checks"] if c["check"].startswith("anchor")}


def outside(folder, port):
    child = subprocess.Popen([sys.executable, os.path.join(HERE, "..", "servers", "outside.py"), "--folder", folder, "--port", str(port)],
                             stdin=subprocess.PIPE)
    ok(wait_until(lambda: os.path.exists(os.path.join(folder, "ready")), 30), "the parties outside are there")
    return child


def sound(tocsin, log, key, what):
    ours = tocsin.run("evidence", "verify", log, "--key", key)
    theirs = subprocess.run([OTHER, log, "--key", key], capture_output=True, text=True, timeout=60, check=False)
    is_((ours.status, theirs.returncode), (0, 0), what)


with Product() as product:
    tocsin = Tocsin({})
    port, away = free_port(), os.path.join(tocsin.folder, "outside")
    os.mkdir(away)
    child = outside(away, port)
    try:
        url, copy = "http://127.0.0.1:%d" % port, os.path.join(tocsin.folder, "copy")
        with open(os.path.join(away, "witness.vkey"), encoding="ascii") as f:
            witness = f.read()
        anchor = {"every": "1s", "tsa": [{"url": url + "/tsa", "ca": os.path.join(away, "ca.pem")}], "witness": [{"url": url + "/witness", "key": witness}],
                  "copy": [{"folder": copy}]}
        settings = {"folders": content(tocsin.folder), "connectors": {"product": Raw('product { url = "%s" }' % product.url)}}
        tocsin.settings(dict(settings, anchor=anchor))
        with tocsin:
            key = tocsin.run("evidence", "key").out.strip()
            with open(os.path.join(away, "log.vkey"), "w", encoding="ascii") as f:
                f.write(key)
            anchors = os.path.join(tocsin.data, "evidence", "anchors")
            tocsin.xadd(alert("alice", "uid-alice"))
            for kind in (b"anchor.stamped", b"anchor.cosigned", b"anchor.copied"):
                tocsin.wait_for(lambda k=kind: entries(tocsin, k), "%s is on record" % kind.decode(), timeout=60)
            ok(wait_until(lambda: len(checks(tocsin)) == 3 and all(c["ok"] for c in checks(tocsin).values()), 60), "doctor knows all three, and is content")
            like(checks(tocsin)["anchor tsa"]["text"], "last done .* ago", "and says how long ago")
            like(tocsin.api("GET", "/metrics")[1], r"(?m)^tocsin_anchor_witness_age_seconds \d", "the metrics give the age")
            def signers(folder):
                with open(os.path.join(folder, "checkpoint"), encoding="utf-8") as f:
                    return [line.split()[1] for line in f if line.startswith("\u2014")]
            for folder, what in ((os.path.join(tocsin.data, "evidence", "log"), "the log's"), (os.path.join(copy, "log"), "the copy's")):
                ok(wait_until(lambda f=folder: signers(f)[1:] == ["witness.example/w1"], 60), "%s checkpoint bears the cosignature" % what)
            stamps = sorted((f for f in os.listdir(anchors) if f.endswith(".tsr")), key=lambda f: int(f[:-4]))
            by_hand = subprocess.run(["openssl", "ts", "-verify", "-data", os.path.join(anchors, stamps[-1][:-4] + ".checkpoint"), "-in",
                                      os.path.join(anchors, stamps[-1]), "-CAfile", os.path.join(away, "ca.pem")], capture_output=True,
                                     text=True, timeout=30, check=False)
            like(by_hand.stdout, "Verification: OK", "openssl by itself agrees with the stamp")
            sound(tocsin, os.path.join(copy, "log"), key, "both verifiers find the copy sound")
            is_([n for n in os.listdir(copy) if n not in ("log", "bodies", "anchors")], [], "and nothing else is in it")
            ca = os.path.join(away, "ca.pem")
            check = ("evidence", "verify", os.path.join(copy, "log"), "--key", key, "--tsa-ca", ca, "--witness", witness)
            whole = tocsin.run(*check)  # also while the copy is being put
            is_(whole.status, 0, "verify finds stamps and cosignatures good: %s" % whole.out[-300:])
            like(whole.out, r"(?s)entries were stamped at .* by CN=Outside TSA.*entries were cosigned at .* by witness.example/w1", "and says up to where")
            ours = os.path.join(tocsin.data, "evidence", "log")
            is_(tocsin.run("evidence", "verify", ours, "--key", key, "--tsa-ca", ca).status, 0, "also where the log still grows")
            bundle = os.path.join(tocsin.folder, "one.zip")
            trust = ("evidence", "verify", bundle, "--key", key, "--tsa-ca", ca, "--witness", witness)
            # What it holds must have been sealed and anchored first.
            ok(wait_until(lambda: tocsin.run("evidence", "export", "1", "-o", bundle).status == 0 and tocsin.run(*trust).status == 0, 60), "so does a bundle")
            like(tocsin.run(*trust).out, r"(?s)entries were stamped at .* by CN=Outside TSA.*entries were cosigned at .* by witness.example/w1", "which says up to where")
            theirs = subprocess.run([OTHER, bundle, "--key", key], capture_output=True, text=True, timeout=60, check=False)
            like("%d %s" % (theirs.returncode, theirs.stdout), r"(?s)^0 not checked anchors/\d+\.cosigned: .*not checked anchors/\d+\.tsr: .*sound: ",
                 "tocsin-verify says that it leaves them alone, and finds the rest sound")
            by_hand = os.path.join(tocsin.folder, "by-hand")
            os.mkdir(by_hand)
            with open(os.path.join(ROOT, "runbooks", "verify-evidence.md"), encoding="utf-8") as f:
                blocks = re.findall(r"```sh\n(.*?)```", f.read(), re.S)
            result = subprocess.run(["sh", "-e", "-u"], input="\n".join(blocks[:3] + blocks[-2:]), cwd=by_hand, env=dict(os.environ, BUNDLE=bundle, KEY=key, TSA=ca, WITNESS=witness.strip()),
                                    capture_output=True, text=True, timeout=120, check=False)
            is_(result.returncode, 0, "and the runbook's commands for anchors: %s" % result.stderr[-300:])
            like(result.stdout, r"(?s)Verification: OK.*Signature Verified Successfully\ncosigned at 20", "which find the stamp and the cosignature good")
            other = witness.replace("w1+", "w2+")
            is_(tocsin.run(*trust[:-1], other).status, 1, "under another witness's key there is no verdict")
            taken = os.path.join(tocsin.folder, "taken")  # the copy itself goes on meanwhile
            shutil.copytree(copy, taken)
            for name in os.listdir(os.path.join(taken, "anchors")):
                if name.endswith(".tsr"):
                    with open(os.path.join(taken, "anchors", name), "r+b") as f:
                        f.seek(-1, os.SEEK_END)
                        last = f.read(1)[0]
                        f.seek(-1, os.SEEK_END)
                        f.write(bytes([last ^ 1]))
            spoiled = tocsin.run("evidence", "verify", os.path.join(taken, "log"), "--key", key, "--tsa-ca", ca)
            is_(spoiled.status, 1, "a stamp of which one bit was changed does not pass")
            like(spoiled.out, r"changed anchors/\d+\.tsr: the time stamp is not to be believed", "and is named")
            failed = entries(tocsin, b"anchor.failed")
            child.stdin.close()
            child.wait(30)
            before = len(tocsin.json("run", "list", "--all")["runs"])
            tocsin.xadd(*[alert("u%d" % i, "uid-u%d" % i) for i in range(5)])
            tocsin.wait_for(lambda: len(tocsin.json("run", "list", "--all")["runs"]) >= before + 5, "runs go on without the parties outside")
            ok(wait_until(lambda: not checks(tocsin)["anchor tsa"]["ok"] and not checks(tocsin)["anchor witness"]["ok"], 60), "doctor says that they fail")
            ok(checks(tocsin)["anchor copy"]["ok"], "the copy goes on")
            tocsin.wait_for(lambda: entries(tocsin, b"anchor.failed") > failed, "failing is on record")
            second = os.path.join(tocsin.folder, "second")
            tocsin.settings(dict(settings, anchor=dict(anchor, witness=[{"url": url, "key": "none"}])))
            result = tocsin.run("reload")
            is_(result.status, 1, "a reload with a witness key that is none changes nothing")
            like(result.err, "this is no witness key", "and says why")
            is_(len(checks(tocsin)), 3, "the anchors go on as they were")
            tocsin.settings(dict(settings, anchor={"every": "1s", "copy": [{"folder": second}]}))
            is_(tocsin.run("reload").status, 0, "a reload takes other anchors")
            ok(wait_until(lambda: os.path.exists(os.path.join(second, "log", "checkpoint")), 30), "a copy that was added is made")
            ok(wait_until(lambda: list(checks(tocsin)) == ["anchor copy"], 30), "and those that were taken out are asked no more")
            like(tocsin.run("doctor").out, "anchor copy .*second", "doctor names the new one")
            tocsin.settings(settings)
            is_(tocsin.run("reload").status, 0, "a reload takes the last away")
            is_(checks(tocsin), {}, "and nothing is anchored any more")
            is_(tocsin.terminate(), 0, "an orderly stop")
            ok("Sanitizer" not in tocsin.log() and "runtime error" not in tocsin.log(), "no memory error was seen")
            tocsin.start()
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
done()
