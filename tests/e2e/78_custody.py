"""Files in custody: collected, listed, handed over, held, deleted; refused clearly; encrypted on the disk; whole after kill -9."""
import base64
import glob
import hashlib
import http.client
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import threading
import zipfile

from harness import BINARY, ROOT, Raw, Tocsin, done, is_, like, ok, unlike, wait_until

OTHER = os.path.join(os.path.dirname(BINARY), "tocsin-verify")
TOKEN = "a-token-of-the-novice"
BIG = bytes((i * 7 + i // 251) % 256 for i in range(1500000))


def put(tocsin, name, content):
    path = os.path.join(tocsin.folder, name)
    with open(path, "wb") as f:
        f.write(content)
    return path


def opened(tocsin, title):
    return tocsin.json("incident", "open", title, "--severity", "low", "--because", "a test")["id"]


def add(tocsin, incident, name, *more):
    return tocsin.json("evidence", "add", incident, name, "--because", "a test", *more)


def listed(tocsin, incident):
    return tocsin.json("evidence", "list", incident)["files"]


def blobs(tocsin):
    return [p for p in glob.glob(os.path.join(tocsin.data, "evidence/blobs/*/*")) if "/blobs/new/" not in p]


def entries(tocsin, incident, kind):
    return [e for e in tocsin.json("incident", "show", incident)["entries"] if e["type"] == kind]


def keys(tocsin):
    with sqlite3.connect(os.path.join(tocsin.data, "evidence/keys.db"), timeout=10) as db:
        return db.execute("SELECT incident, sha256, mark FROM blob").fetchall()


def digest(content):
    return hashlib.sha256(content).hexdigest()


def coming_in(tocsin):
    incident = opened(tocsin, "a case")
    put(tocsin, "memory.lime", BIG)
    made = add(tocsin, incident, "memory.lime", "--source", "web1, serial 117", "--tool", "LiME 1.9.1", "--from", "web1:/dev/mem", "--time", "2026-11-23T18:42:00+01:00")
    is_((made["sha256"], made["size"]), (digest(BIG), len(BIG)), "a file is kept, and its digest told")
    body = entries(tocsin, incident, "evidence.collected")[0]["body"]
    is_({k: body[k] for k in ("name", "source", "because", "from", "tool", "collected", "sha256", "sha256_before", "class", "size")},
        {"name": "memory.lime", "source": "web1, serial 117", "because": "a test", "from": "web1:/dev/mem", "tool": "LiME 1.9.1", "collected": "2026-11-23T18:42:00+01:00",
         "sha256": digest(BIG), "sha256_before": digest(BIG), "class": "standard", "size": len(BIG)}, "its entry says what ISO/IEC 27037 asks for")
    ok("evidence folder" in body["to"] and body["clock"]["state"] in ("synchronized", "not synchronized") and body["node"] == "n1", "where it went, and the state of the clock")
    path = blobs(tocsin)[0]
    with open(path, "rb") as f:
        kept = f.read()
    ok(BIG[:64] not in kept and digest(BIG)[2:] not in path and stat.S_IMODE(os.stat(path).st_mode) == 0o600, "on the disk it is encrypted, under a name that tells nothing, 0600")
    result = tocsin.run("evidence", "get", incident, made["item"], "-o", "copy", "--because", "analysis")
    with open(os.path.join(tocsin.folder, "copy"), "rb") as f:
        ok(result.status == 0 and f.read() == BIG, "a copy is what was collected")
    is_(stat.S_IMODE(os.stat(os.path.join(tocsin.folder, "copy")).st_mode), 0o600, "for its taker's eyes only")
    is_(entries(tocsin, incident, "evidence.copied")[0]["body"]["because"], "analysis", "and on record")
    put(tocsin, "empty", b"")
    is_(add(tocsin, incident, "empty")["size"], 0, "an empty file is evidence too")
    is_(tocsin.run("evidence", "get", incident, listed(tocsin, incident)[-1]["item"], "-o", "nothing", "--because", "x").status, 0, "and comes back")
    like(tocsin.run("evidence", "list", incident).out, r"memory\.lime .* standard .* kept", "the list for people")
    return incident, made


def refused(tocsin, incident):
    def no(name, pattern, what, *more):
        before = len(blobs(tocsin))
        result = tocsin.run("evidence", "add", incident, name, "--because", "x", *more)
        ok(result.status and re.search(pattern, result.err) and len(blobs(tocsin)) == before, what) or print("# %r" % result)
    os.mkdir(os.path.join(tocsin.folder, "a-folder"))
    os.mkfifo(os.path.join(tocsin.folder, "a-pipe"))
    put(tocsin, "huge", b"x" * (2 << 20 | 1))
    no("missing", "there is no file missing", "no such file")
    no("a-folder", "is a folder", "a folder")
    no("a-pipe", "no ordinary file", "a pipe, without waiting for its writer")
    no("huge", "at most 2097152 are kept .the setting evidence.file_most_mib", "too large: the setting is named")
    no("memory.lime", "keeps this very file already, as item", "the same content twice")
    no("empty", "there is no class \"gold\"", "no such class", "--class", "gold")
    like(tocsin.run("evidence", "get", incident, 999, "-o", "z", "--because", "x").err, "keeps no file 999", "no such item")
    put(tocsin, "caf\udce9", b"an old name")
    added = tocsin.json("evidence", "add", incident, "caf\udce9", "--because", "its name is of another time")
    is_(tocsin.run("evidence", "get", incident, added["item"], "-o", "-", "--because", "x").out, "an old name", "a file whose name is no UTF-8 is kept, and comes back on standard output")


def command(tocsin, **body):
    return tocsin.api("POST", "/v1/command", body)


def begin(tocsin, incident, content, before=None):
    status, answer = command(tocsin, command="evidence.begin", id=incident, name="raw", because="x", size=len(content), sha256_before=before or digest(content))
    assert status == 200, answer
    return answer["upload"]


def piece(tocsin, incident, upload, content, offset=0):
    return command(tocsin, command="evidence.piece", id=incident, upload=upload, offset=offset, data=base64.b64encode(content).decode())


def by_hand(tocsin, incident):
    other = opened(tocsin, "another case")
    upload, before = begin(tocsin, incident, b"one", digest(b"two")), len(blobs(tocsin))
    is_(piece(tocsin, incident, upload, b"one")[0], 200, "a piece comes")
    status, answer = command(tocsin, command="evidence.finish", id=incident, upload=upload)
    ok(status == 409 and "changed while it was read" in answer["error"] and len(blobs(tocsin)) == before, "another digest than before: it changed while it was read, and nothing is kept")
    upload = begin(tocsin, incident, b"longer")
    is_(piece(tocsin, other, upload, b"longer")[0], 404, "an upload belongs to its incident")
    is_(piece(tocsin, incident, upload, b"nger", 2)[0], 400, "no piece may be left out")
    is_(piece(tocsin, incident, upload, b"longer than it said")[0], 429, "none may be too long")
    is_(piece(tocsin, incident, upload, b"longer")[0], 404, "and then it is over")
    upload = begin(tocsin, incident, b"shorter")
    piece(tocsin, incident, upload, b"short")
    status, answer = command(tocsin, command="evidence.finish", id=incident, upload=upload)
    ok(status == 409 and "another size" in answer["error"] and len(blobs(tocsin)) == before, "a file that became shorter is not kept")


def custody(tocsin, incident, item):
    def run(verb, *words):
        return tocsin.run("evidence", verb, incident, item, *words)
    like(run("acknowledge", "--because", "x").err, "no handing over", "nothing to acknowledge yet")
    is_(run("transfer", "--to", "Sgt. Doe", "--because", "case 117").status, 0, "it is handed to somebody")
    like(tocsin.run("evidence", "list", incident).out, "not acknowledged", "who has not acknowledged it")
    like(run("acknowledge").err, "say how they acknowledged", "whom the settings do not know: how did they acknowledge it?")
    is_(run("acknowledge", "--because", "receipt 9").status, 0, "by a receipt")
    is_(run("transfer", "--to", "judy", "--because", "analysis").status, 0, "it is handed to somebody whom the settings know")
    like(run("acknowledge", "--because", "x").err, "must acknowledge it in person", "nobody else may acknowledge that")
    is_(run("hold", "--because", "litigation").status, 0, "a legal hold")
    like(run("delete", "--because", "x", "--yes").err, "legal hold", "is not deleted")
    is_(run("release-hold", "--because", "settled").status, 0, "the hold is lifted")
    def novice(verb, item, **more):
        return tocsin.api("POST", "/v1/command", dict({"command": "evidence." + verb, "id": incident, "item": item, "because": "over"}, **more), {"Authorization": "Bearer " + TOKEN})
    status, answer = novice("delete", item)
    ok(status == 403 and re.search(r'keeps the file until \d{4}-\d\d-\d\d.*role "lead"', answer["error"]), "before its time only a lead may delete it")
    is_(novice("hold", item)[0], 200, "a responder may set a hold")
    is_(novice("release_hold", item)[0], 403, "but not lift it")
    put(tocsin, "brief", b"brief")
    brief = add(tocsin, incident, "brief", "--class", "brief")["item"]
    is_(novice("delete", brief)[0], 200, "when its time is over a responder deletes it")
    gone = [e["body"] for e in entries(tocsin, incident, "evidence.deleted")]
    is_([(b["item"], b["because"], b["before_retention"], b["sha256"]) for b in gone], [(brief, "over", False, digest(b"brief"))], "on record, with its digest")
    like(tocsin.run("evidence", "get", incident, brief, "-o", "b", "--because", "x").err, "was deleted", "and it is gone")
    ok(digest(b"brief") not in [k[1] for k in keys(tocsin)], "so is its key")
    is_(run("release-hold", "--because", "settled").status, 0, "a lead lifts the hold")


def redis_pid(tocsin):
    with open(os.path.join(tocsin.data, "redis", "redis.pid"), encoding="ascii") as f:
        return int(f.read())


def ended(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii") as f:
            return f.read().split(") ")[1][0] == "Z"
    except FileNotFoundError:
        return True


def in_background(tocsin, **body):
    def ask():
        try:
            command(tocsin, **body)
        except (OSError, http.client.HTTPException, socket.timeout):
            pass
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    return thread


def all_killed(tocsin, redis, thread):
    os.kill(tocsin.pid, signal.SIGKILL)
    tocsin.process.wait()
    tocsin.process = None
    os.kill(redis, signal.SIGKILL)
    wait_until(lambda: ended(redis), 10)
    thread.join(10)
    tocsin.start()


def settled(tocsin):
    return wait_until(lambda: all(mark == 1 for _, _, mark in keys(tocsin)), 20)


def killed(tocsin, incident, item):
    there = sorted(blobs(tocsin))
    upload = begin(tocsin, incident, b"never finished")
    piece(tocsin, incident, upload, b"never finished")
    tocsin.restart(kill=True)
    ok(settled(tocsin) and wait_until(lambda: not glob.glob(os.path.join(tocsin.data, "evidence/blobs/new/*")), 20) and sorted(blobs(tocsin)) == there, "killed while a file came: nothing of it is left")
    # Redis stands still: the file is durable, its entry is not; then both are gone.
    upload, redis = begin(tocsin, incident, b"no entry"), redis_pid(tocsin)
    piece(tocsin, incident, upload, b"no entry")
    os.kill(redis, signal.SIGSTOP)
    thread = in_background(tocsin, command="evidence.finish", id=incident, upload=upload)
    ok(wait_until(lambda: len(blobs(tocsin)) == len(there) + 1, 20), "a file is there before its entry")
    all_killed(tocsin, redis, thread)
    ok(settled(tocsin) and sorted(blobs(tocsin)) == there and digest(b"no entry") not in [f["sha256"] for f in listed(tocsin, incident)],
       "killed between the file and its entry: the orphan is found and removed")
    like(tocsin.log(), "is not on record, and was removed", "and that is told")
    redis = redis_pid(tocsin)
    os.kill(redis, signal.SIGSTOP)
    thread = in_background(tocsin, command="evidence.delete", id=incident, item=item, because="x")
    ok(wait_until(lambda: 2 in [mark for _, _, mark in keys(tocsin)], 20), "a file is marked before its deletion is on record")
    all_killed(tocsin, redis, thread)
    ok(settled(tocsin) and sorted(blobs(tocsin)) == there, "killed before the deletion was on record: the file stays")
    is_(tocsin.run("evidence", "get", incident, item, "-o", "again", "--because", "x").status, 0, "and is whole")
    # Killed behind the entry of a deletion: file and key are still there, marked.
    put(tocsin, "last", b"last")
    last = add(tocsin, incident, "last")["item"]
    path = next(p for p in blobs(tocsin) if p not in there)
    with open(path, "rb") as f:
        kept = f.read()
    with sqlite3.connect(os.path.join(tocsin.data, "evidence/keys.db"), timeout=10) as db:
        row = db.execute("SELECT incident, sha256, key FROM blob WHERE sha256 = ?", (digest(b"last"),)).fetchone()
    is_(tocsin.run("evidence", "delete", incident, last, "--because", "x", "--yes").status, 0, "a file is deleted")
    tocsin.terminate()
    with sqlite3.connect(os.path.join(tocsin.data, "evidence/keys.db"), timeout=10) as db:
        db.execute("INSERT INTO blob VALUES (?, ?, 2, ?)", row)
    with open(path, "wb") as f:
        f.write(kept)
    tocsin.start()
    ok(settled(tocsin) and sorted(blobs(tocsin)) == there and len(keys(tocsin)) == len(there), "killed behind the entry of a deletion: the next start destroys the file and its key")


def verdicts(tocsin, bundle, key):
    ours = tocsin.run("evidence", "verify", bundle, "--key", key)
    other = subprocess.run([OTHER, bundle, "--key", key], cwd=tocsin.folder, capture_output=True, text=True, timeout=60, check=False)
    return "%d %s" % (ours.status, ours.out + ours.err), "%d %s" % (other.returncode, other.stdout + other.stderr)


def bundled(tocsin):
    """A bundle of files in custody; that each change of one is caught is shown by unit/test_tamper_bundle."""
    incident, short = opened(tocsin, "a case for a bundle"), b"a short note"
    for name, content in (("disk.img", BIG[:200000]), ("note.txt", short), ("gone.txt", b"to be deleted")):
        put(tocsin, name, content)
    image, note, gone = (add(tocsin, incident, n, "--source", "web2 <disk>")["item"] for n in ("disk.img", "note.txt", "gone.txt"))
    tocsin.run("evidence", "transfer", incident, image, "--to", "Sgt. Doe", "--because", "case 118")
    tocsin.run("evidence", "delete", incident, gone, "--because", "not needed", "--yes")
    result = tocsin.run("evidence", "export", incident, "-o", "b.zip", "--wait", "20s")
    ok(result.status == 0 and "2 files in custody" in result.out, "a bundle of it") or print("# %r" % result)
    is_(len(entries(tocsin, incident, "evidence.copied")), 2, "that copies were made for it is on record")
    key = tocsin.run("evidence", "key").out.strip()
    with zipfile.ZipFile(os.path.join(tocsin.folder, "b.zip")) as z:
        page = z.read("incidents/%s/report.html" % incident).decode()
        is_({n: z.read(n) for n in z.namelist() if n.startswith("blobs/")}, {"blobs/" + digest(c): c for c in (BIG[:200000], short)}, "the files are in it, in clear, but the deleted one")
    like(page, r"(?s)Chain of custody.*web2 &lt;disk&gt;.*handed over.*Sgt\. Doe.*destroyed, with its key", "its report shows the chain of custody")
    ours, other = verdicts(tocsin, "b.zip", key)
    like(ours, r"(?s)^0 .*sound.*2 files in custody: as collected.*1 file was destroyed", "it is sound, and the deleted file is no fault")
    like(other, r"(?s)^0 .*removed file %d of %s: an entry says so.*sound" % (gone, incident), "so says the other verifier")
    with open(os.path.join(ROOT, "runbooks", "verify-evidence.md"), encoding="utf-8") as f:
        blocks = re.findall(r"```sh\n(.*?)```", f.read(), re.S)
    os.mkdir(os.path.join(tocsin.folder, "by-hand"))
    by_hand = subprocess.run(["sh", "-e", "-u"], input="\n".join([blocks[0]] + [b for b in blocks if "blobs" in b]), cwd=os.path.join(tocsin.folder, "by-hand"),
                             env=dict(os.environ, BUNDLE=os.path.join(tocsin.folder, "b.zip"), KEY=key), capture_output=True, text=True, timeout=60, check=False)
    ok(by_hand.returncode == 0 and by_hand.stdout.count(": OK") == 2 and "entry %d is not here" % gone in by_hand.stdout, "and the runbook's commands by hand") or print("# %r" % by_hand)
    path = next(p for p in blobs(tocsin) if os.path.getsize(p) == len(short) + 16)
    with open(path, "r+b") as f:
        kept = f.read()
        f.seek(3)
        f.write(bytes([kept[3] ^ 1]))
    like(tocsin.run("evidence", "get", incident, note, "-o", "note-again", "--because", "x").err, "was changed where it is kept", "a bit changed on the disk: no copy is handed out")
    result = tocsin.run("evidence", "export", incident, "-o", "lame.zip", "--wait", "20s")
    ok(result.status == 1 and "NOT in it: file %d of %s, which lies at node n1" % (note, incident) in result.out, "and a bundle says that it is not in it")
    for verdict in verdicts(tocsin, "lame.zip", key):
        like(verdict, r"(?s)^1 .*missing file %d of %s" % (note, incident), "so do the verifiers")


KEEPER = """return playbook { title = "Keep", params = { text = schema.string {} }, run = function(incident, act, p)
  local first = must(incident:collect { name = "found.json", content = { said = p.text, list = { 1, 2 } }, because = "for a test", source = "a playbook" })
  local second, why = incident:collect { name = "again.json", content = { list = { 1, 2 }, said = p.text }, because = "for a test" }
  local answer = incident:ask { "Go on?", role = "responder", options = { "yes", "no" }, within = "1h", otherwise = "no" }
  local third = must(incident:collect { name = "third.txt", content = p.text, because = "for a test", class = "brief" })
  return table.concat({ first.item, first.sha256, second and "twice" or why.kind, answer, third.size }, " ")
end }
"""


def kept_by_playbook(tocsin):
    """A playbook keeps what it found; killed in between it goes on, and keeps nothing twice."""
    incident, content = opened(tocsin, "a playbook keeps"), b'{"list":[1,2],"said":"hello"}'
    run = tocsin.json("trigger", "keeper", "--incident", incident, "--because", "x", "text=hello")
    ok(wait_until(lambda: tocsin.json()["questions"], 20), "it asks") or print("# %r %s" % (run, tocsin.log()[-2000:]))
    before = len(blobs(tocsin))
    tocsin.restart(kill=True)
    question = wait_until(lambda: tocsin.json()["questions"], 20)[0]["id"]
    is_(tocsin.run("answer", question, "yes").status, 0, "killed and started: it is answered")
    ok(wait_until(lambda: tocsin.json("run", "list", "--all")["runs"][0]["status"] == "done", 20), "and ends")
    rows = listed(tocsin, incident)
    is_([(r["name"], r["sha256"]) for r in rows], [("found.json", digest(content)), ("third.txt", digest(b"hello"))], "two files are kept: the same content is not kept twice")
    is_(len(blobs(tocsin)), before + 1, "with one blob each")
    collected = entries(tocsin, incident, "evidence.collected")
    is_([(e["actor"], e["step"], e["body"]["class"]) for e in collected], [("playbook:keeper", "1", "standard"), ("playbook:keeper", "4", "brief")], "their entries are the run's steps")
    ok(collected[0]["body"]["from"] == incident + "/1/1" and collected[0]["body"]["tool"].startswith("playbook keeper "), "which say where they come from")
    result = entries(tocsin, incident, "run.finished")[0]["body"]["result"]
    is_(result, "%d %s exists yes 5" % (rows[0]["item"], digest(content)), "the playbook is told")
    is_(tocsin.run("evidence", "get", incident, rows[0]["item"], "-o", "found", "--because", "x").status, 0, "a copy")
    with open(os.path.join(tocsin.folder, "found"), "rb") as f:
        is_(f.read(), content, "is JSON with sorted keys")


def redacted(tocsin):
    """A file goes with what its entry says, and a cleaned copy takes its place."""
    incident, mail = opened(tocsin, "a mailbox"), b"the private part and the rest"
    put(tocsin, "mail", mail)
    put(tocsin, "cleaned", b"the rest")
    item = add(tocsin, incident, "mail", "--source", "a very private mailbox", "--hold", "litigation")["item"]
    def redact(*words):
        return tocsin.run("evidence", "redact", "%s/%d" % (incident, item), "--because", "privacy", "--yes", *words)
    like(redact().err, "legal hold", "under a legal hold nothing is removed")
    held = [e["seq"] for e in entries(tocsin, incident, "evidence.collected")]
    is_(held, [item], "and it is still there")
    tocsin.run("evidence", "release-hold", incident, item, "--because", "settled")
    count = len(blobs(tocsin))
    result = redact("--replace", "cleaned")
    ok(result.status == 0 and len(blobs(tocsin)) == count and digest(mail) not in [k[1] for k in keys(tocsin)], "file and key are gone, the cleaned copy is there") or print("# %r" % result)
    rows = listed(tocsin, incident)
    is_([(r.get("name"), r.get("sha256"), "deleted" in r) for r in rows], [(None, None, True), ("cleaned", digest(b"the rest"), False)], "nothing says what it was")
    like(tocsin.run("evidence", "list", incident).out, "removed with its entry", "the list says that there was one")
    like(tocsin.run("evidence", "get", incident, item, "-o", "mail-again", "--because", "x").err, "was deleted", "no copy of it is handed out")
    shown = tocsin.run("incident", "show", incident, "--all").out
    like(shown, r"(?s)because privacy.*replaced by file %d, SHA-256 %s.*in the place of file %d" % (rows[1]["item"], digest(b"the rest"), item), "the timeline says what happened")
    unlike(shown, "very private", "and not what it was")
    is_(tocsin.run("evidence", "export", incident, "-o", "redacted.zip", "--wait", "20s").status, 0, "a bundle")
    for verdict in verdicts(tocsin, "redacted.zip", tocsin.run("evidence", "key").out.strip()):
        like(verdict, r"(?s)^0 .*removed body %d of %s.*sound" % (item, incident), "is sound, and names the removal")
    item = add(tocsin, incident, "mail")["item"]
    is_(command(tocsin, command="incident.redact", id=incident, seq=item, because="again")[0], 200, "another is to go")
    tocsin.restart(kill=True)
    ok(wait_until(lambda: any(e["body"]["seq"] == item for e in entries(tocsin, incident, "body.removed")), 30) and digest(mail) not in [k[1] for k in keys(tocsin)], "killed in the middle: it goes on")


def missing(tocsin):
    """A kept file that somebody took off the disk."""
    def found():
        return next(c for c in tocsin.run("doctor", "--json").json()["checks"] if c["check"] == "files")
    before, path = found(), blobs(tocsin)[0]
    ok(before["ok"] and "%d files are kept here, 0 of them are missing" % len(keys(tocsin)) in before["text"], "doctor counts the kept files")
    os.rename(path, path + ".away")
    after = found()
    ok(not after["ok"] and ", 1 of them are missing" in after["text"], "and those that are missing on the disk")
    like(tocsin.api("GET", "/metrics")[1], r"tocsin_evidence_files_missing 1\n", "so do the metrics")
    os.rename(path + ".away", path)
    ok(found()["ok"], "until they are back")


SETTINGS = {"folders": {"playbooks": "{folder}/playbooks"}, "evidence": {"file_most_mib": 2, "classes": {"standard": "1095d", "brief": "1ms"}},
            "people": {"tester": {"uid": os.geteuid(), "roles": ["responder", "lead", "admin"]}, "judy": {"uid": 4242, "roles": ["responder"]},
                       "novice": {"token": Raw('secret "env:NOVICE"'), "roles": ["responder"]}}}

engine = Tocsin(SETTINGS, env={"NOVICE": TOKEN})
engine.write("playbooks/keeper.lua", KEEPER)
engine.write("playbooks/triage-only.lua", 'return playbook { title = "Rest", run = function() end }\n')
with engine:
    case, first = coming_in(engine)
    refused(engine, case)
    by_hand(engine, case)
    custody(engine, case, first["item"])
    bundled(engine)
    redacted(engine)
    missing(engine)
    kept_by_playbook(engine)
    killed(engine, case, first["item"])
done()
