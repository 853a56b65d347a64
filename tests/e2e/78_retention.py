"""Hot retention: closed incidents leave Redis once the evidence log gives every entry back; the same commands read them from there, and what is appended goes on
behind them. Killed at any moment of it, nothing is lost and nothing begins anew; what is open, held or contained stays.

The moments come from TOCSIN_SEED, which is printed.
"""
import glob
import json
import os
import random
import subprocess
import time

from harness import BINARY, Raw, Tocsin, bearers, done, is_, journal_entries, like, note, ok, wait_until
from product import Product, alert, content

SEED = int(os.environ.get("TOCSIN_SEED", random.SystemRandom().randrange(1 << 30)))
OTHER = os.path.join(os.path.dirname(BINARY), "tocsin-verify")
dice = random.Random(SEED)
note("TOCSIN_SEED=%d" % SEED)


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def journal(tocsin, incident):
    """What Redis holds of it: [(seq, {field: value})]."""
    with tocsin.redis() as redis:
        return [(seq, {text(f): value for f, value in entry.items()}) for seq, entry in journal_entries(redis, incident)]


def left(tocsin, incident):
    rows = journal(tocsin, incident)
    return len(rows) == 1 and sorted(rows[0][1]) == ["h", "n"]


def open_one(tocsin, title, notes=3):
    incident = tocsin.json("incident", "open", title, "--severity", "low", "--because", "a test")["id"]
    for i in range(notes):
        tocsin.run("incident", "note", incident, "%s, remark %d" % (title, i))
    return incident


def close(tocsin, incident):
    return tocsin.run("incident", "close", incident, "--verdict", "benign", "--waive", "a test").status


def exported(tocsin, incident):
    return tocsin.run("evidence", "export", incident, "-o", "-").out


def entries(tocsin, incident):
    return tocsin.json("incident", "show", incident)["entries"]


def verified(tocsin, incident, wanted, when):
    path = os.path.join(tocsin.folder, incident + ".jsonl")
    with open(path, "w", encoding="utf-8") as f:
        f.write(exported(tocsin, incident))
    result = tocsin.run("evidence", "verify", path)
    ok(result.status == 0 and "%d entries, unbroken" % wanted in result.out, "%s: all %d entries, one chain" % (when, wanted))


def leaves(tocsin):
    staying = open_one(tocsin, "Still open")
    first = open_one(tocsin, "A lost badge")
    before, shown = exported(tocsin, first), entries(tocsin, first)
    is_(close(tocsin, first), 0, "closed")
    tocsin.wait_for(lambda: left(tocsin, first), "once it was closed long enough, only its last place stays in Redis")
    ok(exported(tocsin, first).startswith(before), "exported, it is the same bytes as before")
    is_(entries(tocsin, first)[:len(shown)], shown, "and shown the same")
    incident = tocsin.json("incident", "show", first)["incident"]
    is_((incident["archived"], incident["status"]), (len(shown) + 1, "closed"), "it says that it was read from the log")
    like(tocsin.run("incident", "show", first).out, "were read from the evidence log", "to people, too")
    row = next(i for i in tocsin.json("incident", "list", "--status", "all")["incidents"] if i["id"] == first)
    is_((row["title"], row["status"], row["archived"]), ("A lost badge", "closed", len(shown) + 1), "lists still show it")
    bundle = os.path.join(tocsin.folder, "first.zip")
    is_(tocsin.run("evidence", "export", first, "-o", bundle).status, 0, "a bundle of it is made")
    is_(tocsin.run("evidence", "verify", bundle, "--key", tocsin.run("evidence", "key").out.strip()).status, 0, "and proves itself")
    ok(not left(tocsin, staying), "what is open stays")
    return first, len(shown) + 1


def goes_on(tocsin, first, count):
    tocsin.restart(kill=True)
    is_(tocsin.run("incident", "note", first, "found in the car").status, 0, "after kill -9, too, a note is added")
    rows = journal(tocsin, first)
    is_([seq for seq, _ in rows], [count, count + 1], "behind the last place, with the next number")
    verified(tocsin, first, count + 1, "with the note")
    is_(tocsin.run("incident", "reopen", first, "--because", "not ours").status, 0, "reopened")
    is_(tocsin.json("incident", "show", first)["incident"]["status"], "open", "and open")
    is_(close(tocsin, first), 0, "closed again")
    tocsin.wait_for(lambda: left(tocsin, first), "it leaves again")
    verified(tocsin, first, count + 3, "the second time")


def contained(tocsin):
    tocsin.xadd(alert("mallory", "lock-mallory", "Locker"))
    tocsin.wait_for(lambda: len(tocsin.json("contained")["contained"]) == 1, "a target is contained")
    incident = tocsin.json("contained")["contained"][0]["incident"]
    is_(close(tocsin, incident), 0, "its incident is closed all the same")
    return incident, time.monotonic()


def killed(tocsin):
    ids = [open_one(tocsin, "Case %d" % i, 1) for i in range(8)]
    for incident in ids:
        close(tocsin, incident)
    for _ in range(3):
        gone = dice.randint(0, len(ids))
        wait_until(lambda: sum(left(tocsin, i) for i in ids) >= gone, 1.5, every=0.005)
        tocsin.restart(kill=True)
    tocsin.wait_for(lambda: all(left(tocsin, i) for i in ids), "killed again and again, all leave in the end", timeout=60)
    for incident in ids:
        lines = exported(tocsin, incident).splitlines()
        if [json.loads(json.loads(line)["head"])["seq"] for line in lines] != list(range(1, len(lines) + 1)) or len(lines) != 3:
            ok(False, "%s is whole" % incident)
    folder = os.path.join(tocsin.data, "evidence", "log")
    key = tocsin.run("evidence", "key").out.strip()
    is_(tocsin.run("evidence", "verify", folder, "--key", key).status, 0, "the log is sound")
    is_(subprocess.run([OTHER, folder, "--key", key], capture_output=True, timeout=60, check=False).returncode, 0, "to the other verifier, too")
    tocsin.wait_for(lambda: "\ntocsin_incidents_archived 11\n" in tocsin.api("GET", "/metrics")[1], "the metrics count what has left")
    like(tocsin.run("doctor").out, "11 have left it for the evidence log", "doctor says how many are where")


def commands(tocsin):
    """What works on an incident works on one that has left."""
    tocsin.xadd(alert("alice", "effects-alice"))
    tocsin.wait_for(lambda: [r["status"] for r in tocsin.json("run", "list", "--all")["runs"] if r["playbook"] == "effects"] == ["done"], "an alert's run is over")
    incident = next(r["incident"] for r in tocsin.json("run", "list", "--all")["runs"] if r["playbook"] == "effects")
    bundle = os.path.join(tocsin.folder, "second.zip")
    is_(tocsin.run("evidence", "export", incident, "-o", bundle).status, 0, "a bundle goes out")
    close(tocsin, incident)
    tocsin.wait_for(lambda: left(tocsin, incident), "it leaves")
    with tocsin.redis() as redis:
        is_(redis.call("HLEN", "tocsin:{%s}:exports" % incident), 1, "who has a bundle of it is still known")
    test = os.path.join(tocsin.folder, "recorded_test.lua")
    is_(tocsin.run("playbook", "record", incident, "-o", test).status, 0, "its run becomes a test")
    like(tocsin.run("playbook", "backtest", "effects", "--since", "1d").out, "1 alert", "playbooks are tried on its alert")
    is_({h["incident"] for h in tocsin.json("evidence", "search", "three effects")["hits"]} & {incident}, {incident}, "it is found")
    drilled = next(d for d in (tocsin.json("evidence", "drill", "--seed", str(n)) for n in range(200)) if d["incident"] == incident)
    is_((drilled["ok"], drilled["compared"]), (True, True), "a drill restores it, the same as `tocsin serve` has it")
    tocsin.xadd(alert("alice", "effects-alice-late"))
    tocsin.wait_for(lambda: len([r for r in tocsin.json("run", "list", "--all")["runs"] if r["playbook"] == "effects"]) == 2, "a late alert of its group")
    is_(len({r["incident"] for r in tocsin.json("run", "list", "--all")["runs"] if r["playbook"] == "effects"}), 2, "opens an incident of its own")
    is_(tocsin.run("action", "add", incident, "Change", "the", "key", "--owner", "judy", "--due", "9d").status, 0, "a corrective action is taken on")
    return incident


def corrected(tocsin, incident):
    """An action of one that had left: it is closed, and goes with what it belongs to."""
    ok(not left(tocsin, incident), "with an open corrective action it stays, while others leave")
    is_(tocsin.run("action", "close", incident + "/a1", "--evidence", "key no. 2 is in the vault").status, 0, "a second person closes it")
    is_(tocsin.json("action", "list")["corrective"], [], "then it is open no more")


def corrected_and_left(tocsin, incident):
    tocsin.wait_for(lambda: left(tocsin, incident), "and its incident leaves again")
    closing = [e for e in entries(tocsin, incident) if e["type"] == "corrective.closed"]
    is_([e["body"]["evidence"] for e in closing], ["key no. 2 is in the vault"], "the log has who closed it, and on what")
    is_({h["incident"] for h in tocsin.json("evidence", "search", "vault")["hits"]}, {incident}, "and it is found there")
    like(tocsin.run("action", "close", incident + "/a1", "--evidence", "again").err, "is closed already", "nobody closes it twice")
    is_([(a["id"], a["owner"], a["evidence"]) for a in tocsin.json("action", "list", "--all")["corrective"]], [(incident + "/a1", "judy", "key no. 2 is in the vault")], "lists have it still")


def redacted(tocsin):
    """An entry that only the log has: removed like any other, killed behind the intent."""
    secret = "correct-horse-battery"
    incident = open_one(tocsin, "A password", 1)
    tocsin.run("incident", "note", incident, "the password is " + secret)
    close(tocsin, incident)
    tocsin.wait_for(lambda: left(tocsin, incident), "an incident with a secret leaves")
    seq = next(e["seq"] for e in entries(tocsin, incident) if secret in json.dumps(e.get("body", {})))
    is_(tocsin.api("POST", "/v1/command", {"command": "incident.redact", "id": incident, "seq": seq, "because": "leaked"})[0], 200, "its entry is to go")
    tocsin.restart(kill=True)
    tocsin.wait_for(lambda: any(e["type"] == "body.removed" for e in entries(tocsin, incident)), "killed at once, it goes on and ends")
    tocsin.wait_for(lambda: bearers(tocsin, secret) == [], "no file holds a byte of it")
    shown = next(e for e in entries(tocsin, incident) if e["seq"] == seq)
    is_((shown.get("body"), shown["removed"]["because"]), (None, "leaked"), "the timeline says why")
    row = next(i for i in tocsin.json("incident", "list", "--status", "all")["incidents"] if i["id"] == incident)
    is_((row["title"], row["status"]), ("A password", "closed"), "the list still knows it")
    tocsin.wait_for(lambda: left(tocsin, incident), "it leaves again, with the removal")
    tocsin.restart(kill=True)
    like(tocsin.run("evidence", "redact", "%s/%d" % (incident, seq), "--because", "x", "--yes").err, "removed before", "once only")
    is_(tocsin.json("incident", "show", incident)["incident"]["title"], "A password", "and it can be read again")


def damaged(tocsin, first):
    for path in sorted(glob.glob(os.path.join(tocsin.data, "evidence", "bodies", "**", "*"), recursive=True)):
        if os.path.isfile(path):
            with open(path, "r+b") as f:
                data = bytearray(f.read())
                for i in range(40, len(data), 60):
                    data[i] ^= 1
                f.seek(0)
                f.write(data)
    tocsin.restart(kill=True)
    result = tocsin.run("incident", "show", first)
    ok(result.status == 1, "a damaged log is not passed over")
    like(result.err, r"entry \d+, at index \d+ of the evidence log", "and the index is named")


with Product() as product_:
    tocsin_ = Tocsin({})
    tocsin_.settings({"folders": content(tocsin_.folder), "connectors": {"product": Raw('product { url = "%s" }' % product_.url)}, "guard": {"ceiling": "contain"},
                      "evidence": {"hot": "1s"}, "people": {"tester": {"uid": os.geteuid(), "roles": ["responder", "lead", "admin"]}, "judy": {"uid": 4242, "roles": ["responder"]}}})
    with tocsin_:
        held_, since_ = contained(tocsin_)
        first_, count_ = leaves(tocsin_)
        goes_on(tocsin_, first_, count_)
        busy_ = commands(tocsin_)
        redacted(tocsin_)
        corrected(tocsin_, busy_)
        killed(tocsin_)
        corrected_and_left(tocsin_, busy_)
        ok(time.monotonic() - since_ > 3 and not left(tocsin_, held_), "what still contains something stays in Redis")
        ok("Sanitizer" not in tocsin_.log() and "runtime error" not in tocsin_.log(), "no memory error was seen")
        damaged(tocsin_, first_)
done()
