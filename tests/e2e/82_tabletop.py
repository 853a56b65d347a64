"""A tabletop exercise on the running engine: with nobody there, with people, through a kill -9; nothing of it gets out, and nothing of it is among what is real."""
import os
import shutil
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "chaos"))
import tracer  # noqa: E402
from harness import *  # noqa: E402
from smtp import Smtp

OTHER = os.path.join(os.path.dirname(BINARY), "tocsin-verify")


# Every way out that there is, with addresses that the playbook itself makes up; and one way that fails.
BREAKER = """
local function way(effect, request, more)
  local a = { doc = "d", docs = "https://breaker.example/", effect = effect, params = { url = schema.string {}, host = schema.string {}, port = schema.integer {} },
              target = { host = "host" }, returns = {}, request = request, result = function() return {} end, simulate = function() return {} end }
  for k, v in pairs(more or {}) do a[k] = v end
  return a
end
return connector {
  name = "breaker", title = "Breaker", docs = "https://breaker.example/", settings = {}, limits = { timeout = "2s" },
  actions = {
    look  = way("read", function(p) return { http = { method = "GET", url = p.url } } end),
    http  = way("record", function(p) return { http = { method = "POST", url = p.url, json = { x = 1 } } } end),
    ldap  = way("record", function(p) return { ldap = { url = "ldap://" .. p.host .. ":" .. p.port, bind = { dn = "cn=x", password = "12345678" } } } end),
    sql   = way("record", function(p) return { sql = { host = p.host, port = p.port, dbname = "x", user = "x", statements = { { text = "SELECT 1" } } } } end),
    redis = way("record", function(p) return { redis = { host = p.host, port = p.port, commands = { { "FLUSHALL" } } } } end),
    mail  = way("notify", function(p) return { smtp = { url = "smtp://" .. p.host .. ":" .. p.port, from = "a@example.org", to = { "b@example.org" }, subject = "s", text = "t" } } end),
    exec  = way("record", function(p) return { exec = { program = "/usr/bin/touch", args = { p.url } } } end),
    flaky = way("record", function(p) return { http = { method = "POST", url = p.url } } end),
    lock  = way("contain", function(p) return { http = { method = "POST", url = p.url } } end, { undo = "free", returns = { already = schema.boolean { optional = true } }, simulate = function() return { already = false } end }),
    free  = way("contain", function(p) return { http = { method = "DELETE", url = p.url } } end, { lifts = "lock" }),
  },
}
"""
OUT = """
return playbook {
  title = "Every way out%(title)s", when = { ["metadata.product.name"] = "Breaker"%(when)s }, group = { "actor.user" }, window = "1h", shadow = %(shadow)s,
  uses = { "breaker.look", "breaker.http", "breaker.ldap", "breaker.sql", "breaker.redis", "breaker.mail", "breaker.exec", "breaker.flaky", "breaker.lock" },
  params = { port = schema.string { from = "actor.user" } },
  run = function(incident, act, p)
    local to = { url = "http://127.0.0.1:" .. p.port .. "/made-up", host = "127.0.0.1", port = tonumber(p.port) }
    local function all(file)
      for _, way in ipairs { "look", "http", "ldap", "sql", "redis", "mail" } do must(act.breaker[way](to)) end
      must(act.breaker.exec { url = file, host = to.host, port = to.port })
      for _ = 1, 3 do if act.breaker.flaky(to) then error("it works") end end
    end
    local function lock() return must(act.breaker.lock { url = to.url, host = to.host, port = to.port, because = "test" }) end
    all("%(file)s")
    local first = lock()
    incident:ask { "Go on?", role = "responder", options = { "yes", "no" }, within = "4h", otherwise = "no" }
    must(incident:undo(first))
    all("%(file)s")
    must(incident:undo(lock()))
    return "went everywhere"
  end,
}
"""
ESCAPE = """
return scenario {
  title = "Every way out", summary = "s", duration = "8h", roles = { lead = "leads" },
  injects = { { id = "alert", at = "0s", alert = { source = "ocsf", body = { class_uid = 2004, category_uid = 2, activity_id = 1, severity_id = %d, time = 1763900000000, message = "m",
    metadata = { version = "1.3.0", uid = "u", product = { name = "Breaker", vendor_name = "T" } }, finding_info = { uid = "u", title = "t" }, actor = { user = { name = "%d" } } } } },
    { id = "hello", at = "1m", message = { to = "lead", text = "x" } } },
  answers = { { action = "breaker.flaky", fails = { kind = "unavailable", message = "503" } } },
  objectives = { { id = "o", text = "o", judge = { closed = true } } },
}
"""


class Deaf:
    """A product that counts who comes."""

    def __init__(self):
        self.came, self.listener = 0, socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                self.listener.accept()[0].close()
            except OSError:
                return
            self.came += 1


def sockets_to_the_world(pid):
    """Sockets of the process that are not Unix ones."""
    inodes = tracer.sockets(pid)
    ok(inodes, "its sockets can be seen")
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6", "raw"):
        with open("/proc/net/" + table, encoding="ascii") as f:
            found += [line for line in f.read().splitlines()[1:] if line.split()[9] in inodes]
    return found


def install(tocsin, broken=False):
    """What ships, a connector with every way out, and a playbook that takes each of them: in earnest and in shadow."""
    for name in ("playbooks", "connectors"):
        shutil.copytree(os.path.join(ROOT, name), os.path.join(tocsin.folder, "content", name), dirs_exist_ok=True)
    tocsin.write("content/connectors/breaker.lua", BREAKER.replace('"POST"', '"PATCH"') if broken else BREAKER)
    says = {"file": os.path.join(tocsin.folder, "touched"), "title": "", "when": ', ["severity_id|gte"] = 3', "shadow": "false"}
    text = OUT % says
    tocsin.write("content/playbooks/ways-out.lua", text.replace("run = function(incident, act, p)", 'run = function(incident, act, p) error("anew")') if broken else text)
    tocsin.write("content/playbooks/watch-out.lua", OUT % dict(says, title=", in shadow", when="", shadow="true"))
    return {name: os.path.join(tocsin.folder, "content", *path) for name, path in
            (("playbooks", ["playbooks"]), ("connectors", ["connectors"]), ("lists", ["playbooks", "lists"]))}


def every_way_out(tocsin, product, settings):
    """A playbook that tries each, with an undo, tries again, a reload of everything and a kill -9 in its middle."""
    tocsin.write("escape.lua", ESCAPE % (4, product.port))
    tocsin.write("seen.lua", ESCAPE % (1, product.port))
    result = tocsin.run("tabletop", "check", "./escape.lua", "./seen.lua")
    ok(result.status == 0 and "./escape.lua: ok" in result.out, "every way out: the scenario has no mistake")
    like(result.out, r"warning: ./seen.lua:\d+: inject alert: only the playbook watch-out wants it, which is in shadow", "but of the other it is said that only a shadow looks on")
    exercise = tocsin.json("tabletop", "run", "./escape.lua", "--speed", "100")["id"]
    questions = lambda: tocsin.json("tabletop", "show", exercise)["questions"]  # noqa: E731

    def agreed(until):
        for q in questions():
            if q["kind"] == "approve":
                tocsin.run("answer", q["id"], "approve")
        return until()

    asked = tocsin.wait_for(lambda: agreed(lambda: [q for q in questions() if q["text"] == "Go on?"]), "every way out: half of it is gone through")
    incident = tocsin.json("tabletop", "show", exercise)["incidents"][0]["id"]
    entries = lambda: tocsin.json("incident", "show", incident)["entries"]  # noqa: E731
    install(tocsin, broken=True)
    tocsin.settings(dict(settings, guard={"ceiling": "read"}))
    is_(tocsin.run("reload").status, 0, "every way out: connector, playbook and settings are others now")
    tocsin.restart(kill=True)
    tocsin.wait_for(lambda: tocsin.run("answer", asked[0]["id"], "yes").status == 0, "every way out: after a kill -9 it is answered")
    tocsin.wait_for(lambda: agreed(lambda: [e for e in entries() if e["type"] == "run.finished" and e["run"] == 1]), "every way out: the rest of it too, with what it began with")
    found = entries()
    of = lambda kind, run: [e["body"] for e in found if e["type"] == kind and e["run"] == run]  # noqa: E731
    is_(of("run.finished", 1)[0].get("status"), "done", "every way out: it came to its end")
    intents = of("action.intended", 1)
    ok(len(intents) == 22 and all(i["simulated"] for i in intents), "every way out: each intent is simulated (%d)" % len(intents))
    ways = [next(iter(i["request"])) for i in intents]
    is_(sorted(set(ways)), ["exec", "http", "ldap", "redis", "smtp", "sql"], "every way out: by every transport")
    ok(all(i["request"]["http"]["method"] in ("POST", "DELETE") for i in intents if "http" in i["request"]), "every way out: as the connector was when it began")
    is_([len([i for i in intents if i["action"] == name]) for name in ("flaky", "lock", "free")], [6, 2, 2], "every way out: what failed was tried again, what was done was undone")
    shadow = [e["run"] for e in found if e["type"] == "run.started" and e["body"].get("shadow")]
    is_((len(shadow), len(of("action.intended", shadow[0]))), (1, 0), "every way out: the playbook in shadow intended nothing")
    would = of("run.would", shadow[0])
    is_([sum(w["verb"] == "action" and w["action"] == "flaky" and w["ok"] is ok for w in would) for ok in (True, False)], [0, 6], "every way out: what fails in the scenario failed for it, too")
    is_(len(would), 23, "every way out: it says what it would have done")
    is_((product.came, os.path.exists(os.path.join(tocsin.folder, "touched"))), (0, False), "every way out: nobody came to the server, and no program ran")
    if tracer.possible():
        is_(sockets_to_the_world(tocsin.pid), [], "every way out: no socket but Unix ones is open")
    tocsin.write("drill.txt", "what we said")
    item = tocsin.json("evidence", "add", incident, "drill.txt", "--because", "for the debriefing")["item"]
    is_(tocsin.run("tabletop", "end", exercise).status, 0, "every way out: it is ended")
    again = ("-o", "drill-again.txt", "--because", "the debriefing")
    tocsin.wait_for(lambda: tocsin.run("evidence", "get", incident, item, *again).status == 0, "every way out: a file that was kept in it can be had afterwards")
    tocsin.wait_for(lambda: tocsin.run("evidence", "export", incident, "-o", "drill.zip").status == 0, "every way out: and is in its bundle")
    is_(tocsin.run("evidence", "delete", incident, item, "--because", "over", "--yes").status, 0, "every way out: and deleted")
    install(tocsin)
    tocsin.settings(settings)
    is_(tocsin.run("reload").status, 0, "every way out: what was installed before is again")


def metric(tocsin, name):
    text = tocsin.api("GET", "/metrics")[1]
    text = text if isinstance(text, str) else str(text)
    return int(float(re.search(r"^%s (\S+)$" % name, text, re.M).group(1)))


def of_exercises(mail):
    """Mails, without those about what is real."""
    return [m for m in mail.messages if "INC-" not in m["text"]]


product = Deaf()
url = "http://127.0.0.1:%d" % product.port
mail = Smtp()
mail.__enter__()
settings = {"connectors": {"edr": Raw('edr { url = "%s", token = secret "env:EDR_TOKEN" }' % url),
                           "mail": Raw('smtp { url = "smtp://127.0.0.1:%d", starttls = "never", from = "tocsin@example.org", to = { "oncall@example.org" } }' % mail.port)},
            "guard": {"ceiling": "notify"}, "notify": {"oncall": {"action": "mail.send", "roles": ["responder"]}},
            "people": {"bob": {"uid": 60001, "roles": ["responder"], "email": "bob@example.org"},
                       "tester": {"uid": os.geteuid(), "roles": ["responder", "lead", "admin"], "email": "tester@example.org"}}}

tocsin = Tocsin(settings, env={"EDR_TOKEN": "a-token-that-is-secret"})
settings["folders"] = install(tocsin)
tocsin.settings(settings)
with tocsin:
    # ---- nobody is there
    result = tocsin.run("tabletop", "run", "ransomware-file-server", "--auto", "--seed", "7", "--wait")
    ok(result.status == 0 and "EXERCISE EX-000001 has begun" in result.out, "a shipped scenario is played to its end with nobody there")
    report = tocsin.json("tabletop", "report", "EX-1")
    is_(report["status"], "finished", "its report says that it is finished")
    ok(all(i["status"] != "open" for i in report["injects"]) and sum(i["status"] == "came" for i in report["injects"]) > 15, "every inject came or was left out")
    verdicts = [o["verdict"] for o in report["objectives"]]
    ok("open" not in verdicts and verdicts.count("met") >= 5, "objectives are judged (%s)" % ", ".join(verdicts))
    isolated = [a for a in report["actions"] if a["action"] == "isolate_host" and a["ok"]]
    ok(isolated, "the playbooks contained what the script agreed to")
    result = tocsin.run("tabletop", "report", "1", "-o", "exercise.html")
    with open(os.path.join(tocsin.folder, "exercise.html"), encoding="utf-8") as f:
        ok("EXERCISE" in f.read(), "the page says EXERCISE")
    shown = tocsin.run("incident", "show", isolated[0]["incident"]).out
    ok("EXERCISE" in shown and "[simulated]" in shown, "so does the timeline")
    entries = tocsin.json("incident", "show", isolated[0]["incident"])["entries"]
    intent = [e for e in entries if e["type"] == "action.intended" and e["body"]["action"] == "isolate_host"][0]
    ok(url in intent["body"]["request"]["http"]["url"], "the exact request that would have been sent is on record")
    is_((product.came, len(mail.messages)), (0, 0), "nobody came to the product, and nobody was told through the channel of what is real")

    # ---- evidence
    key, log = tocsin.run("evidence", "key").out.strip(), os.path.join(tocsin.data, "evidence", "log")
    tocsin.wait_for(lambda: tocsin.run("evidence", "export", "EX-1", "-o", "ex.zip", "--log", log, "--key", key).status == 0, "it is exported as a bundle")
    like(tocsin.run("evidence", "verify", "ex.zip", "--key", key).out, r"sound|verified|whole", "which verifies")
    is_(subprocess.run([OTHER, os.path.join(tocsin.folder, "ex.zip"), "--key", key], capture_output=True, check=False).returncode, 0, "by tocsin-verify too")

    # ---- apart from what is real
    raw = {"title": "not an exercise", "mode": "exercise", "exercise": "EX-000001", "incident": "EX-000001", "simulated": True}
    tocsin.xadd({"metadata": {"product": {"name": "x"}}, "class_uid": 2004, "message": "m", "finding_info": {"title": "real", "uid": "r1"}, "severity_id": 3, **raw})
    tocsin.wait_for(lambda: tocsin.json("incident", "list")["incidents"], "an alert that calls itself an exercise")
    rows = tocsin.json("incident", "list", "--status", "all")["incidents"]
    ok([r["id"] for r in rows] == ["INC-000001"] and rows[0]["mode"] == "live", "opens a real incident, and no exercise stands in the list")
    is_(metric(tocsin, "tocsin_incidents_opened_total"), 1, "live figures count the real one alone")
    is_(metric(tocsin, "tocsin_exercises_begun_total"), 1, "exercises have a figure of their own")
    ok(not tocsin.json("contained")["contained"], "nothing of an exercise is contained now")

    # ---- bad input
    for words, says in ((("--speed", "0"), r"speed of 0 is not from 1"), (("--speed", "1e9"), r"not from 1 .* to 3600"), (("--speed", "fast"), r"--speed is a number"),
                        (("--role", "king=bob"), r"has no role \"king\"; it has "), (("--role", "lead=zoe"), r"nobody is called \"zoe\""), (("--role", "lead"), r"lead=alice")):
        result = tocsin.run("tabletop", "run", "ci-credentials", *words)
        ok(result.status and re.search(says, result.err), "refused: %s" % " ".join(words))
    like(tocsin.run("tabletop", "run", "ci-credential").err, r"no scenario `ci-credential`; did you mean `ci-credentials`\?", "a scenario that is not there: what is near")
    like(tocsin.run("tabletop", "check", "nonsense").err, r"no scenario `nonsense`; there are ci-credentials, cross-tenant", "or what there is")
    tocsin.write("bad.lua", 'return scenario { title = "x", summary = "y", duration = "1h", roles = { lead = "l" }, injects = { { id = "a", at = "1m", fact = "f" } } oops')
    result = tocsin.run("tabletop", "run", "./bad.lua")
    ok(result.status == 1 and "bad.lua:1" in result.err, "a scenario with a syntax error is refused with its line")
    with open(os.path.join(tocsin.folder, "latin.lua"), "wb") as f:
        f.write(b"return script { steps = { { by = 'lead', at = '1m', note = '\xe9' } } }")
    like(tocsin.run("tabletop", "run", "ci-credentials", "--script", "latin.lua").err, r"latin.lua is not text in UTF-8", "so is a script that is no text, in place of playing another")
    like(tocsin.run("tabletop", "show", "EX-1").err, r"is over", "what is over is not played any more")
    like(tocsin.run("incident", "note", "EX-1", "late").err, r"it is over", "and takes no notes")
    is_(tocsin.run("tabletop", "show", "EX-99").status, 1, "there is no such exercise")

    every_way_out(tocsin, product, settings)

    # ---- with people, and a kill -9
    result = tocsin.run("tabletop", "run", "ci-credentials", "lead=tester", "--auto", "--speed", "600", "--json")
    other = result.json()["id"]
    show = lambda *words: tocsin.json("tabletop", "show", other, *words)  # noqa: E731
    tocsin.wait_for(lambda: len(show()["incidents"]) >= 2, "with a person in it the clock goes on by itself")
    if tracer.possible():
        is_(sockets_to_the_world(tocsin.pid), [], "no socket but Unix ones is open meanwhile")
    else:
        skip("no socket but Unix ones is open meanwhile", "only root sees the engine's sockets")
    asked = tocsin.run("tabletop", "show", other).out
    ok(re.search(r"tocsin answer EX-\d+/\d+/\S+ approve\|refuse", asked), "what is asked is shown with the answers that will do")
    ok("to_come" in show() and "to_come" not in show("--participant"), "only the facilitator sees what is still to come")
    is_(tocsin.run("tabletop", "pause", other, "--because", "lunch").status, 0, "it can stand still")
    like(tocsin.run("tabletop", "pause", other).err, r"stands still already", "once")
    before = show()
    like(tocsin.run("incident", "note", other, "I have it.").out, r"EXERCISE EX-\d+: on record", "people act with the ordinary commands, which say EXERCISE")
    is_(of_exercises(mail), [], "still nobody was told outside of the engine")
    tocsin.settings(dict(settings, exercise_notify={"action": "mail.send", "participants": ["tester"]}))
    tocsin.restart(kill=True)
    tocsin.wait_for(lambda: tocsin.run("tabletop", "show", other).status == 0, "after a kill -9 it is there again")
    after = show()
    ok(after["paused"] and after["elapsed"] >= before["elapsed"] - 60000 and len(after["incidents"]) == len(before["incidents"]), "as it stood, still standing still")
    question = tocsin.wait_for(lambda: [q for q in show()["questions"] if "approve" in q.get("options", [])], "what asked goes on asking")
    is_(tocsin.run("tabletop", "skip", other, "press").status, 0, "an inject is left out")
    like(tocsin.run("tabletop", "skip", other, "press").err, r"was skipped already", "once")
    is_(tocsin.run("tabletop", "inject", other, "--message", "The printer is on fire.", "--to", "lead").status, 0, "one is added")
    told = tocsin.wait_for(lambda: [m["text"] for m in of_exercises(mail) if "on fire" in m["text"]], "with exercise_notify whom it is for is told")
    ok(re.search(r"(?m)^To: <tester@example.org>\r?$", told[0]) and re.search(r"(?m)^Subject: EXERCISE EX-", told[0]) and "bob@" not in told[0], "he alone, and marked EXERCISE")
    is_(tocsin.run("tabletop", "speed", other, "1000").status, 0, "its speed is changed")
    is_(tocsin.run("tabletop", "resume", other).status, 0, "it goes on")
    result = tocsin.run("answer", question[0]["id"], "approve")
    ok(result.status == 0, "a person answers by its id")
    like(tocsin.run("answer", question[0]["id"], "approve").err, r"closed|answered", "twice is refused")
    is_(tocsin.run("tabletop", "jump", other, "20m").status, 0, "its clock is put forward")
    tocsin.wait_for(lambda: [i for i in show()["happened"] if i["inject"] == "ticket-down"], "what was due in between comes")
    result = tocsin.run("tabletop", "abort", before["incidents"][0]["id"], "--because", "it burns in earnest")  # whichever of its ids is at hand
    is_(result.status, 0, "it is broken off")
    tocsin.wait_for(lambda: not [r for r in tocsin.json("tabletop", "list")["exercises"] if r["running"]], "then it is over")
    tocsin.wait_for(lambda: any("BROKEN OFF: this is real now" in m["text"] for m in mail.messages), "participants are told that this is real now")
    ok(all("Subject: EXERCISE" in m["text"] for m in of_exercises(mail)), "every mail was marked")
    incident = before["incidents"][0]["id"]
    like(tocsin.run("incident", "show", incident).out, r"this is real now", "and its incidents say that this is real now")
    report = tocsin.json("tabletop", "report", other)
    is_(report["status"], "aborted", "so does its report")
    ok([i for i in report["injects"] if i["id"] == "press" and i["status"] == "skipped"], "which knows what was left out")
    is_(product.came, 0, "the product has heard of nothing")
    ok("conservation is broken" not in tocsin.log() and tocsin.json("incident", "list")["incidents"][0]["id"] == "INC-000001", "and what is real is as it was")
mail.__exit__(None, None, None)
done()
