"""`tocsin serve` seals its journals: after kill -9 at any moment, with a folder that cannot be written for a while, every acknowledged entry of every
journal is in the log exactly once and in order, and two verifiers that share no code say that it is sound.

TOCSIN_KILLS (default 5) is how often; the moments come from TOCSIN_SEED, which is printed.
"""
import json
import os
import random
import stat
import subprocess

from harness import BINARY, Raw, Tocsin, done, entries_of, is_, like, note, ok, unlike, wait_until
from product import Product, alert, content

KILLS = int(os.environ.get("TOCSIN_KILLS", "5"))
SEED = int(os.environ.get("TOCSIN_SEED", random.SystemRandom().randrange(1 << 30)))
OTHER = os.path.join(os.path.dirname(BINARY), "tocsin-verify")
dice = random.Random(SEED)
note("TOCSIN_SEED=%d" % SEED)


def text(value):
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def acknowledged(tocsin):
    """Every head that Redis holds: {journal: [heads in order]}."""
    found = {}
    with tocsin.redis() as redis:
        cursor = "0"
        while True:
            cursor, keys = redis.call("SCAN", cursor, "MATCH", "tocsin:{*}:journal", "COUNT", "1000")
            for key in map(text, keys):
                rows = entries_of(redis.call("XRANGE", key, "-", "+"))
                found[key.split("{")[1].split("}")[0]] = [text(entry[b"e"]) for _, entry in rows]
            if text(cursor) == "0":
                return found


def sealed(folder):
    """Every head of the log in its order, read from the entry bundles by the C2SP text alone; the same form."""
    with open(os.path.join(folder, "checkpoint"), encoding="utf-8") as f:
        size = int(f.read().split("\n")[1])
    found = {}
    for number in range((size + 255) // 256):
        width = min(256, size - number * 256)
        parts = ["%03d" % (number % 1000)]
        rest = number // 1000
        while rest:
            parts.insert(0, "x%03d" % (rest % 1000))
            rest //= 1000
        path = os.path.join(folder, "tile", "entries", *parts) + ("" if width == 256 else ".p/%d" % width)
        with open(path, "rb") as f:
            bundle = f.read()
        while bundle:
            n = int.from_bytes(bundle[:2], "big")
            head, bundle = bundle[2:2 + n].decode(), bundle[2 + n:]
            found.setdefault(json.loads(head)["incident"], []).append(head)
    return found


def counts(tocsin):
    status, answer = tocsin.api("POST", "/v1/command", {"command": "evidence.status"})
    return answer if status == 200 else {}


def settled(tocsin):
    """Nothing waits any more, and Redis says that the log holds as much."""
    return counts(tocsin).get("settled") and counts(tocsin)["counts"]["entries"] == sum(map(len, acknowledged(tocsin).values()))


def at_one_moment(tocsin, log):
    """What Redis and the log hold: read again while something is written in between. What is lost or twice stays so."""
    def look():
        before = acknowledged(tocsin)
        if not settled(tocsin):
            return None
        log_ = sealed(log)
        return (before, log_) if acknowledged(tocsin) == before else None
    return wait_until(look, 20, every=0.1) or (acknowledged(tocsin), sealed(log))


def judge(tocsin, log, when):
    key = tocsin.run("evidence", "key").out.strip()
    redis, log_ = at_one_moment(tocsin, log)
    ours = tocsin.run("evidence", "verify", log, "--key", key)
    theirs = subprocess.run([OTHER, log, "--key", key], capture_output=True, text=True, errors="replace", timeout=60, check=False)
    is_((ours.status, theirs.returncode), (0, 0), "%s: both verifiers find the log sound" % when)
    is_(sorted(log_), sorted(redis), "%s: every journal is in it" % when)
    is_([j for j in redis if redis[j] != log_.get(j)], [], "%s: each entry exactly once and in order" % when)
    return sum(map(len, redis.values()))


def finding(tocsin):
    return next(c for c in tocsin.run("doctor", "--json").json()["checks"] if c["check"] == "evidence")


def killed(tocsin, product, log):
    users = 0
    for _ in range(KILLS):
        fresh = ["u%03d" % (users + i) for i in range(8)]
        users += len(fresh)
        tocsin.xadd(*[alert(u, "uid-" + u) for u in fresh])
        target = len(product.requests) + dice.randint(0, 24)
        wait_until(lambda: len(product.requests) >= target, dice.choice((0.05, 0.4, 1.3)), every=0.001)
        tocsin.restart(kill=True)
    tocsin.wait_for(lambda: settled(tocsin), "after %d kills all is sealed" % KILLS, timeout=60)
    note("%d entries" % judge(tocsin, log, "after kills"))


def unwritable(tocsin, evidence, log):
    """A file stands where the folder was, as when a disk is not mounted: not even root can write below it."""
    tocsin.terminate()
    os.rename(evidence, evidence + ".away")
    with open(evidence, "w", encoding="ascii") as f:
        f.write("not mounted\n")
    tocsin.start()
    tocsin.xadd(*[alert("w%02d" % i, "uid-w%02d" % i) for i in range(6)])
    tocsin.wait_for(lambda: len(tocsin.json("run", "list", "--all")["runs"]) >= KILLS * 8 + 6, "runs go on without an evidence folder")
    ok(wait_until(lambda: not finding(tocsin)["ok"], 20), "doctor says that nothing can be sealed")
    like(finding(tocsin)["text"], "nothing can be sealed", "and why")
    like(tocsin.api("GET", "/metrics")[1], r"(?m)^tocsin_evidence_up 0$", "and so do the metrics")
    os.unlink(evidence)
    os.rename(evidence + ".away", evidence)
    tocsin.wait_for(lambda: settled(tocsin), "once the folder is back, all is sealed without a restart", timeout=60)
    judge(tocsin, log, "after the outage")
    ok(wait_until(lambda: finding(tocsin)["ok"], 20), "and doctor is content")


def keys(tocsin, evidence):
    path = os.path.join(tocsin.data, "evidence.key")
    is_(stat.S_IMODE(os.stat(path).st_mode), 0o600, "the key is for its owner alone")
    with open(path, encoding="ascii") as f:
        private = f.read().strip()
    unlike(tocsin.log(), private.split("+")[-1][:20].replace("/", "."), "and is in no log")
    tocsin.terminate()
    os.rename(path, path + ".away")
    tocsin.spawn()
    is_(tocsin.process.wait(30), 1, "without the key beside a log, serve does not start")
    tocsin.process = None
    like(tocsin.log(), "restore it from your backup", "and says what to do")
    ok(not os.path.exists(path), "no second key is made")
    os.rename(path + ".away", path)
    os.unlink(os.path.join(evidence, "catalogue.db"))
    tocsin.start()
    tocsin.wait_for(lambda: settled(tocsin), "a lost catalogue is made anew")
    judge(tocsin, os.path.join(evidence, "log"), "with a new catalogue")


with Product(slow=0.005) as product_:
    tocsin_ = Tocsin({})
    tocsin_.settings({"folders": content(tocsin_.folder), "connectors": {"product": Raw('product { url = "%s" }' % product_.url)},
                      "guard": {"ceiling": "notify"}})
    evidence_ = os.path.join(tocsin_.data, "evidence")
    log_folder = os.path.join(evidence_, "log")
    with tocsin_:
        killed(tocsin_, product_, log_folder)
        unwritable(tocsin_, evidence_, log_folder)
        keys(tocsin_, evidence_)
        is_(tocsin_.terminate(), 0, "an orderly stop")
        tocsin_.start()
        ok("Sanitizer" not in tocsin_.log() and "runtime error" not in tocsin_.log(), "no memory error was seen")
done()
