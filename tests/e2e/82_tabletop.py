"""A tabletop exercise on the running engine: with nobody there, with people, through a kill -9; nothing of it gets out, and nothing of it is among what is real."""
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "chaos"))
import tracer  # noqa: E402
from harness import *  # noqa: E402
from smtp import Smtp

OTHER = os.path.join(os.path.dirname(BINARY), "tocsin-verify")


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

with Tocsin(settings, env={"EDR_TOKEN": "a-token-that-is-secret"}) as tocsin:
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
    result = tocsin.run("tabletop", "report", "EX-1", "-o", "exercise.html")
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
    tocsin.write("bad.lua", 'return scenario { title = "x", summary = "y", duration = "1h", roles = { lead = "l" }, injects = { { id = "a", at = "1m", fact = "f" } } oops')
    result = tocsin.run("tabletop", "run", "./bad.lua")
    ok(result.status == 1 and "bad.lua:1" in result.err, "a scenario with a syntax error is refused with its line")
    like(tocsin.run("tabletop", "show", "EX-1").err, r"is over", "what is over is not played any more")
    like(tocsin.run("incident", "note", "EX-1", "late").err, r"it is over", "and takes no notes")
    is_(tocsin.run("tabletop", "show", "EX-99").status, 1, "there is no such exercise")

    # ---- with people, and a kill -9
    result = tocsin.run("tabletop", "run", "ci-credentials", "lead=tester", "--auto", "--speed", "600", "--json")
    other = result.json()["id"]
    show = lambda *words: tocsin.json("tabletop", "show", other, *words)  # noqa: E731
    tocsin.wait_for(lambda: len(show()["incidents"]) >= 2, "with a person in it the clock goes on by itself")
    if tracer.possible():
        is_(sockets_to_the_world(tocsin.pid), [], "no socket but Unix ones is open meanwhile")
    else:
        skip("no socket but Unix ones is open meanwhile", "only root sees the engine's sockets")
    ok("to_come" in show() and "to_come" not in show("--participant"), "only the facilitator sees what is still to come")
    is_(tocsin.run("tabletop", "pause", other, "--because", "lunch").status, 0, "it can stand still")
    like(tocsin.run("tabletop", "pause", other).err, r"stands still already", "once")
    before = show()
    is_(tocsin.run("incident", "note", other, "I have it.").status, 0, "people act with the ordinary commands")
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
    result = tocsin.run("tabletop", "abort", other, "--because", "it burns in earnest")
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
