"""What an entry says is removed: its bytes are nowhere afterwards, everything still verifies and says so, and a crash in the middle leaves nothing half done."""
import os
import signal
import sqlite3
import subprocess
import zipfile

from harness import BINARY, Raw, Tocsin, bearers, done, is_, journal_entries, like, ok, unlike, wait_until
from product import Product, alert, content

OTHER = os.path.join(os.path.dirname(BINARY), "tocsin-verify")


def keys(tocsin):
    with sqlite3.connect("file:%s?mode=ro" % os.path.join(tocsin.data, "evidence", "keys.db"), uri=True) as db:
        return {row[0] for row in db.execute("SELECT entry FROM key")}


def index(tocsin, incident, seq):
    path = os.path.join(tocsin.data, "evidence", "catalogue.db")
    with sqlite3.connect("file:%s?mode=ro" % path, uri=True) as db:
        return db.execute("SELECT e.idx FROM entry e JOIN journal j ON j.id = e.journal WHERE j.name = ? AND e.seq = ?", (incident, seq)).fetchone()[0]


def settled(tocsin):
    return tocsin.api("POST", "/v1/command", {"command": "evidence.status"})[1].get("settled")


def entries(tocsin, incident):
    return tocsin.api("POST", "/v1/command", {"command": "incident.entries", "id": incident})[1]["entries"]


def last(tocsin, incident):
    return entries(tocsin, incident)[-1]["seq"]


def noted(tocsin, incident, text):
    tocsin.run("incident", "note", incident, text)
    return last(tocsin, incident)


def all_gone(tocsin, incident, seq, secret, name):
    ok(wait_until(lambda: any(e["type"] == "body.removed" and e["body"]["seq"] == seq for e in entries(tocsin, incident)), 30), name + ": its end is on record")
    ok(wait_until(lambda: bearers(tocsin, secret) == [], 5), "%s: no file of the data folder holds a byte of it (%s)" % (name, bearers(tocsin, secret)))
    ok(wait_until(lambda: settled(tocsin), 30) and index(tocsin, incident, seq) not in keys(tocsin), name + ": and its key is gone")


def redacts(tocsin):
    """An alert with a secret, which lies in the queue, the journal, the folded state, the catalogue."""
    secret = "correct-horse-battery"
    tocsin.xadd(dict(alert("alice", "uid-alice"), message="login with password " + secret))
    ok(wait_until(lambda: [r["status"] for r in tocsin.json("run", "list", "--all")["runs"]] == ["done"], 30), "an incident")
    seq = next(e["seq"] for e in entries(tocsin, "INC-000001") if e["type"] == "alert.attached")
    ok(wait_until(lambda: settled(tocsin), 30) and len(bearers(tocsin, secret)) > 0, "the secret is on the disk (%s)" % bearers(tocsin, secret))
    ok(index(tocsin, "INC-000001", seq) in keys(tocsin), "and can be decrypted")
    bundle = os.path.join(tocsin.folder, "before.zip")
    is_(tocsin.run("evidence", "export", 1, "-o", bundle).status, 0, "a bundle goes out")
    is_(tocsin.api("POST", "/v1/command", {"command": "incident.exported", "id": "1", "sha256": "ab" * 32, "file": "\x1b[2Jby hand"})[0], 200, "another is reported by hand")
    like(tocsin.run("evidence", "redact", "1/%d" % seq, "--because", "x").err, "--yes", "without a terminal it wants a yes")
    is_(tocsin.run("evidence", "redact", "1", "--because", "x", "--yes").status, 2, "and the number of an entry")
    like(tocsin.run("evidence", "redact", "1/999", "--because", "x", "--yes").err, "no entry 999", "which there is")
    said = tocsin.run("evidence", "redact", "1/%d" % seq, "--because", "a password in the log line", "--with", "login with password [removed]", "--yes")
    is_(said.status, 0, "removed (%r)" % said)
    like(said.out, r"before\.zip, made .*SHA-256 [0-9a-f]{64}", "and says which bundle still has it")
    ok("by hand" in said.out and "\x1b" not in said.out, "in words that cannot steer a terminal")
    all_gone(tocsin, "INC-000001", seq, secret, "an alert")
    with tocsin.redis() as redis:
        stored = journal_entries(redis, "INC-000001")
    is_([n for n, _ in stored], list(range(1, len(stored) + 1)), "the journal has the entries that it had")
    is_([n for n, entry in stored if b"b" not in entry], [seq], "and one body less")
    like(tocsin.run("evidence", "redact", "1/%d" % seq, "--because", "x", "--yes").err, "removed before", "once only")
    return seq, secret, bundle


def shows(tocsin, seq, before):
    shown = tocsin.run("incident", "show", 1, "--all").out
    like(shown, r"the body was removed on .* by .* because a password in the log line; entry \d+", "the timeline says when, by whom and why")
    like(shown, r"copy with parts taken out: login with password \[removed\]", "and shows the copy")
    is_([e["incident"] for e in tocsin.json("evidence", "search", "battery")["hits"]], [], "what was removed is not found")
    like(shown, r"(?s)2 bundles handed out before still bear it\s+.*before\.zip, SHA-256 [0-9a-f]{64}", "and which bundles still have it")
    like(tocsin.run("evidence", "report", 1, "--format", "csv").out, "its body was removed on .* because a password", "the table says so")
    page = tocsin.run("evidence", "report", 1).out
    like(page, r"(?s)its body was removed on .* because a password.*before\.zip.*The bodies of these entries were removed on purpose; their heads remain and still verify", "and the page")
    like(tocsin.run("evidence", "verify", 1).out, "bodies of 1 of them are gone", "the chain is whole")
    key, bundle, log = tocsin.run("evidence", "key").out.strip(), os.path.join(tocsin.folder, "after.zip"), os.path.join(tocsin.data, "evidence", "log")
    is_(tocsin.run("evidence", "export", 1, "-o", bundle).status, 0, "a bundle without it")
    says = "removed body %d of INC-000001" % seq
    for path in bundle, log:
        ours = tocsin.run("evidence", "verify", path, "--key", key)
        other = subprocess.run([OTHER, path, "--key", key], capture_output=True, text=True, timeout=60, check=False)
        is_((ours.status, other.returncode), (0, 0), "both verifiers pass %s (%s %s)" % (os.path.basename(path), ours.out, other.stdout))
        like(ours.out, says, "ours names the removal")
        like(other.stdout, says, "so does the other")
    is_(tocsin.run("evidence", "verify", before, "--key", key).status, 0, "the bundle from before still verifies")
    with zipfile.ZipFile(bundle) as z:
        unlike(z.read("incidents/INC-000001/bodies").decode(), r"\b%d [^-]" % seq, "which held the body that is not in the new one")


def crashes(tocsin):
    """Killed behind the intent, and with everything gone but the key."""
    secret = "behind-the-intent-3141"
    seq = noted(tocsin, "INC-000001", secret)
    status, answer = tocsin.api("POST", "/v1/command", {"command": "incident.redact", "id": "INC-000001", "seq": seq, "because": "crash"})
    is_(status, 200, "begun (%s)" % answer)
    tocsin.restart(kill=True)
    all_gone(tocsin, "INC-000001", seq, secret, "killed behind the intent")
    secret = "all-but-the-key-2718"
    seq = noted(tocsin, "INC-000001", secret)
    ok(wait_until(lambda: settled(tocsin), 30), "sealed")
    lock = sqlite3.connect(os.path.join(tocsin.data, "evidence", "keys.db"), isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    is_(tocsin.api("POST", "/v1/command", {"command": "incident.redact", "id": "INC-000001", "seq": seq, "because": "crash"})[0], 200, "begun")
    ok(wait_until(lambda: not body_in_redis(tocsin, "INC-000001", seq), 10), "out of Redis")
    with tocsin.redis() as redis:
        ok(redis.call("SISMEMBER", "tocsin:removing", "INC-000001/%d" % seq), "and still to be ended")
    tocsin.kill()
    lock.execute("ROLLBACK")
    lock.close()
    ok(index(tocsin, "INC-000001", seq) in keys(tocsin), "the key is there")
    tocsin.start()
    all_gone(tocsin, "INC-000001", seq, secret, "killed before the key was destroyed")
    with tocsin.redis() as redis:
        is_(redis.call("SCARD", "tocsin:removing"), 0, "nothing is left to be ended")


def body_in_redis(tocsin, incident, seq):
    with tocsin.redis() as redis:
        return b"b" in dict(journal_entries(redis, incident))[seq]


def redis_pids(tocsin):
    """Its own, and of what it has forked to write its file."""
    with open(os.path.join(tocsin.data, "redis", "redis.pid"), encoding="ascii") as f:
        pid = int(f.read())
    with open("/proc/%d/task/%d/children" % (pid, pid), encoding="ascii") as f:
        return [pid] + [int(p) for p in f.read().split()]


def before_the_file(tocsin):
    """Killed, and Redis too, when the journal is rebuilt and Redis' file still bears the body."""
    secret = "in-the-file-still-1618"
    seq = noted(tocsin, "INC-000001", secret)
    ok(wait_until(lambda: settled(tocsin), 30), "sealed")
    with tocsin.redis() as redis:
        redis.call("CONFIG", "SET", "rdb-key-save-delay", "1000000")
    is_(tocsin.api("POST", "/v1/command", {"command": "incident.redact", "id": "INC-000001", "seq": seq, "because": "crash"})[0], 200, "begun")
    ok(wait_until(lambda: not body_in_redis(tocsin, "INC-000001", seq), 10), "out of Redis' memory")
    ok(wait_until(lambda: len(redis_pids(tocsin)) > 1, 10), "it writes its file anew")
    pids = redis_pids(tocsin)
    tocsin.kill()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    ok(wait_until(lambda: not os.path.exists("/proc/%d/fd/0" % pids[0]), 10), "and is killed in the middle of it")
    ok([b for b in bearers(tocsin, secret) if b.startswith("redis/")], "which still bears it")
    tocsin.start()
    all_gone(tocsin, "INC-000001", seq, secret, "killed before the file was written anew")


def elsewhere(tocsin):
    """A removal that another node carried out: this one's log may hold the same journal."""
    seq = noted(tocsin, "INC-000001", "sealed in two logs")
    ok(wait_until(lambda: settled(tocsin), 30) and index(tocsin, "INC-000001", seq) in keys(tocsin), "a body in this node's log")
    with tocsin.redis() as redis:
        redis.call("SADD", "tocsin:removed", "INC-000001/%d" % seq)
    tocsin.restart()
    ok(wait_until(lambda: index(tocsin, "INC-000001", seq) not in keys(tocsin), 10), "is removed there, too")


ASKER = """return playbook {
  title = "Ask", when = { ["metadata.product.name"] = "Asker" }, uses = {}, params = { user = schema.string { from = "actor.user" } },
  run = function(incident, _, p)
    incident:ask { "Go on with " .. p.user .. "?", role = "responder", options = { "yes", "no" }, within = "4h", otherwise = "no" }
  end,
}
"""


def needed(tocsin):
    """What a run that waits is replayed from stays until it has ended."""
    tocsin.xadd(alert("carol", "uid-carol", "Asker"))
    ok(wait_until(lambda: tocsin.json("now")["questions"], 30), "a run asks")
    question = tocsin.json("now")["questions"][0]
    incident = question["incident"]
    before = last(tocsin, incident)
    for e in entries(tocsin, incident):
        like(tocsin.run("evidence", "redact", "%s/%d" % (incident, e["seq"]), "--because", "x", "--yes").err, "a run under way|still asks a question",
             "%s is needed by it" % e["type"])
    is_(last(tocsin, incident), before, "and nothing is on record")
    asked = next(e["seq"] for e in entries(tocsin, incident) if e["type"] == "question.asked")
    is_(tocsin.run("answer", question["id"], "yes").status, 0, "answered")
    ok(wait_until(lambda: {r["status"] for r in tocsin.json("run", "list", "--all")["runs"] if r["incident"] == incident} == {"done"}, 20), "the run is over")
    is_(tocsin.run("evidence", "redact", "%s/%d" % (incident, asked), "--because", "carol asked", "--yes").status, 0, "then it may go")


def refuses(tocsin):
    tocsin.xadd(alert("bob", "uid-bob", "Locker"))
    ok(wait_until(lambda: len(tocsin.json("contained")["contained"]) == 1, 30), "something is contained")
    outcome = next(e["seq"] for e in entries(tocsin, "INC-000003") if e["type"] == "action.outcome")
    like(tocsin.run("evidence", "redact", "3/%d" % outcome, "--because", "x", "--yes").err, "still contains something", "what lifting it needs stays")
    is_(tocsin.run("release", 3, "--because", "over", "--yes").status, 0, "lifted")
    is_(tocsin.run("evidence", "redact", "3/%d" % outcome, "--because", "bob asked", "--yes").status, 0, "then it may go")
    tocsin.restart(kill=True)
    is_(tocsin.json("contained")["contained"], [], "nothing comes alive again")
    is_({r["status"] for r in tocsin.json("run", "list", "--all")["runs"]}, {"done"}, "no run either")
    people = {tocsin.me: {"uid": os.geteuid(), "roles": ["responder", "auditor"]}}
    tocsin.settings(dict(settings, people=people))
    tocsin.restart()
    like(tocsin.run("evidence", "redact", "2/1", "--because", "x", "--yes").err, 'needs the role "admin"', "not everybody may")


with Product() as product_:
    tocsin_ = Tocsin({})
    settings = {"folders": content(tocsin_.folder), "connectors": {"product": Raw('product { url = "%s" }' % product_.url)},
                "guard": {"ceiling": "contain"}}
    tocsin_.settings(settings)
    with open(os.path.join(settings["folders"]["playbooks"], "ask.lua"), "w", encoding="utf-8") as ask:
        ask.write(ASKER)
    with tocsin_:
        seq_, secret_, before_ = redacts(tocsin_)
        shows(tocsin_, seq_, before_)
        crashes(tocsin_)
        before_the_file(tocsin_)
        elsewhere(tocsin_)
        needed(tocsin_)
        refuses(tocsin_)
        unlike(tocsin_.log(), secret_, "nothing of it is in the log")
done()
