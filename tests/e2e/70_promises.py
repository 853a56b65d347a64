"""Attacks on what the README promises: each is tried, and must fail or be visible."""
import base64
import json
import os
import re
import stat
import subprocess
import threading

from harness import Raw, Tocsin, done, free_port, is_, isnt, like, ok, unlike, wait_until
from redis import Client, ReplyError
from sink import Sink

TOKEN = "sink-token-4711-abcdef"

TELL = """return playbook { title = "Tell", when = { ["raw.kind"] = "tell" }, uses = { "webhook.post" }, params = { doc = schema.any { from = "raw.doc", optional = true } },
  run = function(incident, act, p)
    act.webhook.post { path = "tell", json = { doc = p.doc, raw = incident.alerts[1] and incident.alerts[1].raw.doc } }
  end }
"""
CUT = """return playbook { title = "Cut a host off", when = { ["raw.kind"] = "cut" }, uses = { "edr.isolate_host" }, params = { host = schema.string { from = "raw.host" } },
  run = function(incident, act, p) incident:note(tostring((act.edr.isolate_host { host = p.host, because = "seen mining" }) ~= nil)) end }
"""
FREE = """return playbook { title = "Release all", when = { ["raw.kind"] = "free" }, group = { "raw.key" }, window = "1h", mode = "parallel",
  run = function(incident) incident:release_all() end }
"""
SNEAK = """return playbook { title = "More than it says", uses = { "webhook.get" },
  run = function(incident, act)
    local ok, why = pcall(function() return act["edr"]["isolate_host"] { host = "web09", because = "sneaking" } end)
    incident:note(ok and "it went through" or ("refused: " .. tostring(why)))
  end }
"""
FAKE = """return connector { name = "fake", title = "A probe that writes", settings = { url = schema.url {} }, actions = {
  ask = { doc = "x", effect = "notify", params = {}, request = function(p, s) return { http = { method = "POST", url = s.url } } end, result = function() return {} end, probe = "write" },
  write = { doc = "x", effect = "record", params = {}, request = function(p, s) return { http = { method = "POST", url = s.url } } end, result = function() return {} end } } }
"""


def entries(tocsin, incident):
    return tocsin.json("incident", "show", incident)["entries"]


def of_type(tocsin, incident, kind):
    return [e for e in entries(tocsin, incident) if e["type"] == kind]


def secrets_from_outside(tocsin, sink):
    """A member named $secret, from an alert or typed by a person, must never become the secret."""
    slot = {"$secret": "connectors.webhook.bearer"}
    tocsin.xadd({"kind": "tell", "id": "s1", "doc": {"x": slot, "y": [slot], "z": {"$concat": ["a", slot]}}})
    ok(wait_until(lambda: sink.seen("/tell"), 20), "an alert's document goes to the webhook")
    body = sink.seen("/tell")[0]["body"].decode()
    unlike(body, TOKEN, "an alert that names a secret's slot does not get the secret")
    like(body, r'"\$secret"', "what it wrote arrives as it was written")
    for words in (["connector", "try", "webhook.post", "path=typed", "json=" + json.dumps({"x": slot}), "--because", "x"],
                  ["trigger", "tell", "doc=" + json.dumps({"x": slot}), "--because", "x", "--yes"]):
        tocsin.run(*words)
    for command in ({"command": "connector.try", "connector": "webhook", "action": "post", "params": {"path": "typed", "json": slot}},
                    {"command": "connector.try", "connector": "webhook", "action": "post", "params": {"path": "typed", "json": {"deep": [slot]}}},
                    {"command": "trigger", "playbook": "tell", "because": "x", "params": {"doc": slot}}):
        tocsin.api("POST", "/v1/command", command)
    tocsin.json("run", "list")
    wait_until(lambda: not tocsin.json("run", "list")["runs"], 20)
    unlike(b"".join(r["body"] for r in sink.requests).decode(), TOKEN, "nor does a person who types a slot's name")


def ceilings(tocsin, sink):
    tocsin.xadd({"kind": "cut", "id": "c1", "host": "web01"})
    asked = wait_until(lambda: [q for q in tocsin.json("now")["questions"] if "isolate_host" in q["text"]], 20)
    ok(asked, "an alert alone may not contain: a person is asked")
    is_(sink.seen("/hosts/web01/isolation"), [], "nothing was sent")
    tocsin.run("answer", asked[0]["id"], "refuse")
    is_(tocsin.run("trigger", "sneak", "--because", "x", "--yes").status, 0, "a playbook that says less than it does is started")
    ok(wait_until(lambda: any("refused" in e["body"].get("text", "") for i in tocsin.json("incident", "list")["incidents"] for e in of_type(tocsin, i["id"], "incident.noted")), 20),
       "what is not among its `uses` is refused")
    is_(sink.seen("/hosts/web09/isolation"), [], "and nothing was sent")
    tocsin.write("connectors/fake.lua", FAKE)
    result = tocsin.run("reload")
    ok(result.status == 1 and "effect read" in result.err, "a probe that is no read is refused when it is loaded")
    os.unlink(os.path.join(tocsin.folder, "connectors", "fake.lua"))
    is_(tocsin.run("reload").status, 0, "without it all is well")


def lifted_by_an_alert(tocsin, sink):
    """A person contained a host; an alert's playbook that releases all of the incident does not get far alone."""
    is_(tocsin.run("trigger", "cut", "--because", "by hand", "--yes", "host=web04").status, 0, "a person contains a host")
    ok(wait_until(lambda: tocsin.json("contained")["contained"], 20), "it is contained")
    incident = tocsin.json("contained")["contained"][0]["incident"]
    tocsin.xadd({"kind": "free", "id": "f1", "key": "k"})
    other = wait_until(lambda: next((i["id"] for i in tocsin.json("incident", "list")["incidents"] if any(e["type"] == "run.started" and e["body"].get("playbook") == "free" for e in entries(tocsin, i["id"]))), None), 20)
    wait_until(lambda: not [r for r in tocsin.json("run", "list")["runs"] if r["playbook"] == "free"], 20)
    refused = tocsin.run("incident", "merge", other, "EX-000001", "--because", "the same")
    ok("one is an exercise" in refused.err and refused.status == 1, "a real incident is never merged into an exercise")
    is_(tocsin.run("incident", "merge", other, incident, "--because", "the same").status, 0, "the two incidents are one")
    tocsin.xadd({"kind": "free", "id": "f2", "key": "k"})
    asked = wait_until(lambda: [q for q in tocsin.json("now")["questions"] if "release_host" in q["text"]] or [r for r in sink.seen("/hosts/web04/isolation") if r["method"] == "DELETE"], 20)
    is_([r["method"] for r in sink.seen("/hosts/web04/isolation")], ["PUT"], "nothing was lifted by an alert alone")
    ok(asked and "id" in asked[0], "a person is asked")
    tocsin.run("answer", asked[0]["id"], "approve")
    ok(wait_until(lambda: not tocsin.json("contained")["contained"], 20), "and may agree")


def bound_to_the_request(tocsin, sink):
    """What a person approved is what is sent, or it is asked again: here the settings change between approval and sending (the connector's version is pinned)."""
    tocsin.xadd({"kind": "cut", "id": "b1", "host": "web02"})
    asked = wait_until(lambda: [q for q in tocsin.json("now")["questions"] if "web02" in q["text"]], 20)
    is_(tocsin.run("pause", "all", "--because", "between approval and sending").status, 0, "paused")
    is_(tocsin.run("answer", asked[0]["id"], "approve").status, 0, "approved")
    incident = asked[0]["incident"]
    ok(wait_until(lambda: of_type(tocsin, incident, "action.held"), 20), "the brake holds it")
    digest = asked[0].get("about", {}).get("digest")
    with open(os.path.join(tocsin.folder, "tocsin.lua"), encoding="utf-8") as f:
        text = f.read()
    moved = text.replace('edr { url = "%s"' % sink.url, 'edr { url = "%s/elsewhere"' % sink.url)
    ok(moved != text, "the settings name another place")
    tocsin.terminate()
    tocsin.write("tocsin.lua", moved)
    tocsin.start()
    is_(tocsin.run("resume", "all", "--because", "go").status, 0, "resumed after a restart, with other settings")
    again = wait_until(lambda: [q for q in tocsin.json("now")["questions"] if "web02" in q["text"]] or sink.seen("/elsewhere/"), 20)
    is_(sink.seen("/elsewhere/"), [], "a request that nobody approved is not sent")
    ok(again and isinstance(again[0], dict) and again[0].get("about", {}).get("digest") not in (None, digest), "it is asked anew, with the new request's digest")
    # And a question that is still open shows what would be sent now.
    tocsin.terminate()
    tocsin.write("tocsin.lua", text)
    tocsin.start()
    now = wait_until(lambda: [q for q in tocsin.json("now")["questions"] if "web02" in q["text"]], 20)
    ok(now and now[0]["about"]["digest"] == digest, "an open question is asked anew when its request has changed")
    if now:
        tocsin.run("answer", now[0]["id"], "approve")
        ok(wait_until(lambda: sink.seen("/hosts/web02/isolation"), 20), "what was approved is sent")
        intended = of_type(tocsin, incident, "action.intended")
        is_(intended[-1]["body"]["digest"], digest, "and the intent bears the digest that was approved")


def races(tocsin):
    tocsin.xadd({"kind": "cut", "id": "r1", "host": "web03"})
    asked = wait_until(lambda: [q for q in tocsin.json("now")["questions"] if "web03" in q["text"]], 20)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(tocsin.api("POST", "/v1/command", {"command": "answer", "id": asked[0]["id"], "answer": "refuse"}))) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    is_(sorted(s for s, _ in answers), [200] + [409] * 7, "of eight answers at once one counts")
    ok(all("tester" in str(a) for s, a in answers if s == 409), "the others are told who was first")
    is_(len(of_type(tocsin, asked[0]["incident"], "question.answered")), 1, "and one is on record")


def odd_alerts(tocsin):
    before = len(tocsin.json("incident", "list")["incidents"])
    finding = {"metadata": {"product": {"name": "Odd"}, "version": "1"}, "class_uid": 2004, "time": 1795459317000, "severity_id": 2, "finding_info": {"title": "odd", "uid": "x"}}
    odd = [dict(finding, metadata=dict(finding["metadata"], uid=uid)) for uid in ("../../etc/passwd", "x" * (1 << 20), "a\r\nFLUSHALL\r\n", "INC-000001")]
    tocsin.xadd(*odd)
    balanced = lambda: next(c for c in tocsin.run("doctor", "--json").json()["checks"] if c["check"] == "alerts")
    ok(wait_until(lambda: "waiting 0" in balanced()["text"] and balanced()["ok"], 30), "odd ids are all accounted for: " + balanced()["text"])
    is_(tocsin.json("alert", "dead")["dead"], [], "none of them is set aside")
    ok(len(tocsin.json("incident", "list")["incidents"]) > before, "they are attached")
    unlike(tocsin.log(), r"(?m)^FLUSHALL", "a line break in an alert makes no line in the log")
    ok(all(line.startswith("time=") for line in tocsin.log().splitlines() if line), "every line of the log is one of ours")


def large_alerts(tocsin):
    """Documents near intake's bound, of bytes that JSON escapes: their very bytes are in the journal, and they are known when they come again."""
    def document(n):
        return json.dumps({"metadata": {"product": {"name": "Odd"}, "version": "1", "uid": "large-%d" % n}, "class_uid": 2004, "time": 1795459317000, "severity_id": 2,
                           "finding_info": {"title": "large", "uid": "x"}, "blob": "\\" * (n << 20)})
    attached = lambda: [e["body"] for i in tocsin.json("incident", "list")["incidents"] for e in of_type(tocsin, i["id"], "alert.attached") if (e["body"].get("id") or "").endswith(("large-2", "large-3"))]
    tocsin.xadd(document(2), document(3))
    ok(wait_until(lambda: len(attached()) == 2, 30), "large alerts are attached with their ids")
    kept = sorted((base64.b64decode(b["raw_base64"]).decode() if "raw_base64" in b else b["raw"] for b in attached()), key=len)
    ok(kept == [document(2), document(3)], "and with their very bytes")
    tocsin.xadd(document(3))
    doctor = lambda: next(c for c in tocsin.run("doctor", "--json").json()["checks"] if c["check"] == "alerts")["text"]
    ok(wait_until(lambda: "duplicate 1" in doctor(), 30), "one that comes again is a duplicate: " + doctor())


ROTATE = """return connector { name = "vault", title = "Vault", settings = { url = schema.url {}, deliver = schema.any { doc = "Where to", optional = true } }, actions = {
  rotate = { doc = "New password", effect = "contain", target = { role = "role" }, undo = false, recover = "nothing",
    params = { role = schema.string {}, password = schema.generated { doc = "Made by Tocsin" } },
    request = function(p, s) return { http = { method = "POST", url = s.url, path = { "rotate", p.role }, json = { password = p.password } } } end,
    result = function(response) if response.status ~= 200 then return nil, failure("refused", response) end return {} end } } }
"""
NEW = """return playbook { title = "New password", uses = { "vault.rotate" }, params = { role = schema.string {} },
  run = function(incident, act, p) must(act.vault.rotate { role = p.role, because = "leaked" }) end }
"""


def new_secrets(tocsin, sink):
    """A rotated password: delivered to the file that the settings name, sealed for one taker, and nowhere else."""
    path, victim = os.path.join(tocsin.folder, "app.password"), os.path.join(tocsin.folder, "victim")
    for name, mode in ((path, 0o640), (victim, 0o644)):
        with open(name, "w", encoding="ascii") as f:
            f.write("before\n")
        os.chmod(name, mode)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    os.symlink(victim, path + ".new")
    is_(tocsin.run("trigger", "new", "role=app", "--because", "leaked", "--yes").status, 0, "a rotation")
    ok(wait_until(lambda: sink.seen("/rotate/app"), 20), "goes to the product")
    password = json.loads(sink.seen("/rotate/app")[0]["body"])["password"]
    with open(path, encoding="ascii") as f:
        is_(f.read(), password + "\n", "the file holds the new password")
    with open(victim, encoding="ascii") as f:
        is_(f.read(), "before\n", "a link laid in its way is not followed")
    st = os.stat(path)
    is_((st.st_mode & 0o777, st.st_uid), (0o640, 65534 if os.geteuid() == 0 else os.geteuid()), "whoever could read the old one can read the new one, and nobody else")
    incident = wait_until(lambda: next((i["id"] for i in tocsin.json("incident", "list")["incidents"] if any(e["type"] == "secret.sealed" for e in entries(tocsin, i["id"]))), None), 20)
    slot = of_type(tocsin, incident, "secret.sealed")[0]["body"]["slot"]
    wait_until(lambda: not tocsin.json("run", "list")["runs"], 20)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(tocsin.api("POST", "/v1/command", {"command": "secret.take", "id": incident, "name": slot}))) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    is_([a["value"] for s, a in answers if s == 200], [password], "of six who take it at once one gets it")
    ok(all(s in (404, 409) for s, a in answers if s != 200), "the others are told")
    is_(len(of_type(tocsin, incident, "secret.taken")), 1, "and one is on record")
    for folder, _, names in os.walk(tocsin.data):
        for name in names:
            file = os.path.join(folder, name)
            if os.path.isfile(file):
                with open(file, "rb") as f:
                    ok(password.encode() not in f.read(), "the new password is not in " + os.path.relpath(file, tocsin.folder))
    unlike(tocsin.log() + json.dumps(entries(tocsin, incident)), password, "nor in the log, nor in the timeline")


def memory_dumps(tocsin):
    with open("/proc/%d/limits" % tocsin.pid, encoding="ascii") as f:
        core = next(line for line in f if line.startswith("Max core file size")).split()
    is_(core[4:6], ["0", "0"], "no core dump is written")


def files(tocsin):
    for folder, _, names in os.walk(tocsin.data):
        for name in names:
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            if not stat.S_ISSOCK(mode) and mode & 0o077:
                ok(False, "%s can be read by others (%o)" % (path, mode & 0o777))
    for folder, _, names in os.walk(tocsin.data):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                with open(path, "rb") as f:
                    ok(TOKEN.encode() not in f.read(), "no secret in " + os.path.relpath(path, tocsin.folder))
    unlike(tocsin.log(), TOKEN, "no secret in the log")
    for i in tocsin.json("incident", "list", "--status", "all")["incidents"]:
        text = json.dumps(tocsin.json("incident", "show", i["id"]))
        if TOKEN in text:
            ok(False, "a secret is shown in " + i["id"])
    unlike(tocsin.api("GET", "/metrics")[1], TOKEN, "no secret in the metrics")
    with open("/proc/%d/cmdline" % tocsin.pid, "rb") as f:
        ok(TOKEN.encode() not in f.read(), "no secret in the process list")


def settings_of_others(tocsin):
    """The settings name programs and secrets: whoever can write them can run what they like."""
    def refused(name, says):
        result = tocsin.run("serve", timeout=30)
        ok(result.status == 1 and re.search(says, result.err), "%s: `tocsin serve` does not start, and says why: %s" % (name, result.err.strip()[-200:]))
    os.chmod(tocsin.settings_path, 0o666)
    refused("settings that all can write", "chmod")
    os.chmod(tocsin.settings_path, 0o600)
    if os.geteuid() == 0:
        os.chown(tocsin.settings_path, 65534, -1)
        refused("settings of another user", "chown")
        os.chown(tocsin.settings_path, 0, -1)
    os.chmod(tocsin.data, 0o777)
    refused("a data folder that all can write", "chmod")
    os.chmod(tocsin.data, 0o700)


def strangers(tocsin):
    if os.geteuid() != 0:
        return
    os.chmod(tocsin.folder, 0o755)
    os.chmod(tocsin.data, 0o755)
    os.chmod(tocsin.socket, 0o666)
    for words in ({"command": "now"}, {"command": "trigger", "playbook": "cut", "because": "x", "params": {"host": "web08"}}, {"command": "pause", "because": "x"},
                  {"command": "connector.try", "connector": "edr", "action": "isolate_host", "params": {"host": "web08"}}, {"command": "secret.take", "id": "1", "name": "x"},
                  {"command": "incident.export", "id": "1"}, {"command": "reload"}, {"command": "alert.dead"}):
        code = "import http.client,json,socket,sys\nc=http.client.HTTPConnection('x')\nc.sock=socket.socket(socket.AF_UNIX)\nc.sock.connect(sys.argv[1])\n" \
               "c.request('POST','/v1/command',sys.argv[2])\nr=c.getresponse()\nprint(r.status, r.read().decode())\n"
        out = subprocess.run(["python3", "-c", code, tocsin.socket, json.dumps(words)], capture_output=True, text=True, user=65534, group=65534, check=False)
        like(out.stdout, "^403 .*role", "a uid that nobody named may not %s" % words["command"])
    os.chmod(tocsin.data, 0o700)
    os.chmod(tocsin.folder, 0o700)


EDR_SOURCE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "connectors")
sink_ = Sink().start()
tocsin_ = Tocsin({"connectors": {"webhook": Raw('webhook { url = "%s", bearer = secret "env:TOKEN" }' % sink_.url),
                                 "edr": Raw('edr { url = "%s", token = secret "env:TOKEN" }' % sink_.url),
                                 "vault": Raw('vault { url = "%s", deliver = { app = "file:{folder}/app.password" } }' % sink_.url)},
                  "folders": {"playbooks": "playbooks", "connectors": "connectors"}}, env={"TOKEN": TOKEN})
for host in ("web04", "web01", "web02", "web03", "web08", "web09"):
    sink_.answer("/hosts/%s/isolation" % host, status=204, body="")
for name_ in os.listdir(EDR_SOURCE):
    if name_.endswith(".lua"):
        with open(os.path.join(EDR_SOURCE, name_), encoding="utf-8") as f_:
            tocsin_.write("connectors/" + name_, f_.read())
tocsin_.write("connectors/vault.lua", ROTATE)
for name_, text_ in (("tell", TELL), ("new", NEW), ("free", FREE), ("cut", CUT), ("sneak", SNEAK), ("triage-only", 'return playbook { title = "Rest", run = function() end }\n')):
    tocsin_.write("playbooks/%s.lua" % name_, text_)
with tocsin_.start():
    secrets_from_outside(tocsin_, sink_)
    ceilings(tocsin_, sink_)
    lifted_by_an_alert(tocsin_, sink_)
    bound_to_the_request(tocsin_, sink_)
    races(tocsin_)
    odd_alerts(tocsin_)
    large_alerts(tocsin_)
    new_secrets(tocsin_, sink_)
    memory_dumps(tocsin_)
    strangers(tocsin_)
    files(tocsin_)
    tocsin_.terminate()
    settings_of_others(tocsin_)
done()
