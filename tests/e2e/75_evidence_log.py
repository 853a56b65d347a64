"""A sealed log checked from outside: keys are made, a log that another writer made passes both verifiers, and what was done to it does not."""
import os
import shutil
import stat
import subprocess

from harness import BINARY, ROOT, Tocsin, done, is_, like, unlike

DATA = os.path.join(ROOT, "tests", "data", "evidence")
OTHER = os.path.join(os.path.dirname(BINARY), "tocsin-verify")


def keys(tocsin):
    made = tocsin.run("evidence", "keygen", "example.org/log", "-o", "evidence.key")
    path = os.path.join(tocsin.folder, "evidence.key")
    is_(made.status, 0, "a key is made")
    like(made.out, r"(?m)^example\.org/log\+[0-9a-f]{8}\+[A-Za-z0-9+/]+=*$", "the verifier key is printed")
    unlike(made.out + made.err, "PRIVATE", "the signing key is not")
    is_(stat.S_IMODE(os.stat(path).st_mode), 0o600, "the file is for its owner alone")
    with open(path, encoding="ascii") as f:
        before = f.read()
    is_(tocsin.run("evidence", "keygen", "example.org/log", "-o", "evidence.key").status, 1, "a key is never written over")
    with open(path, encoding="ascii") as f:
        is_(f.read(), before, "and is what it was")
    is_(tocsin.run("evidence", "keygen", "no spaces").status, 2, "a name with a blank is refused")
    wrong = tocsin.run("evidence", "verify", os.path.join(DATA, "log"), "--key", before.strip())
    is_(wrong.status, 2, "a signing key is no verifier key")
    unlike(wrong.out + wrong.err, before.strip().split("+")[-1][:12], "and is not repeated")


def both(tocsin, folder, key, *more):
    ours = tocsin.run("evidence", "verify", folder, "--key", key, *more)
    theirs = subprocess.run([OTHER, folder, "--key", key, *more], capture_output=True, text=True, errors="replace", timeout=60, check=False)
    return (ours.status, theirs.returncode), ours.out.splitlines()[:1], theirs.stdout.splitlines()[:1]


def logs(tocsin):
    with open(os.path.join(DATA, "log.vkey"), encoding="ascii") as f:
        key = f.read().strip()
    log, kept = os.path.join(DATA, "log"), os.path.join(DATA, "checkpoint.100")
    is_(both(tocsin, log, key)[0], (0, 0), "a log that was written by another program passes")
    is_(both(tocsin, log, key, "--checkpoint", kept)[0], (0, 0), "and goes on from an earlier checkpoint")
    is_(tocsin.json("evidence", "verify", log, "--key", os.path.join(DATA, "log.vkey"))["entries"], 260, "the key may be in a file")
    is_(tocsin.run("evidence", "verify", log).status, 2, "no key, no verdict")
    copy = os.path.join(tocsin.folder, "log")
    shutil.copytree(log, copy)
    bundle = os.path.join(copy, "tile", "entries", "001.p", "4")
    with open(bundle, "r+b") as f:
        f.seek(40)
        byte = f.read(1)
        f.seek(40)
        f.write(bytes([byte[0] ^ 1]))
    status, ours, theirs = both(tocsin, copy, key)
    is_(status, (1, 1), "a changed byte is seen")
    like(ours[0], "^changed entry 256:", "and named by tocsin")
    like(theirs[0], "^changed entry 256:", "and by tocsin-verify")
    shutil.copy(kept, os.path.join(copy, "checkpoint"))
    shutil.copy(os.path.join(log, "tile", "entries", "001.p", "4"), bundle)
    is_(both(tocsin, copy, key)[0], (0, 0), "an older state is sound in itself")
    status, ours, theirs = both(tocsin, copy, key, "--checkpoint", os.path.join(log, "checkpoint"))
    is_(status, (1, 1), "and stale beside a newer checkpoint")
    like(ours[0] + theirs[0], "^stale .*stale ", "both say so")


tocsin_ = Tocsin()
keys(tocsin_)
logs(tocsin_)
tocsin_.stop()
done()
