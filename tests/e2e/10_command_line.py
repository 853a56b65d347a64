"""The command as people type it: help, mistakes, exit statuses, JSON, terminals, and what strangers wrote."""
import csv
import io
import json
import os
import pty
import re
import select
import subprocess
import time

from handmade import exercise, exported
from harness import ROOT, Raw, Tocsin, done, is_, like, ok, unlike, wait_until
from sink import Sink

COMMANDS = ["now", "serve", "reload", "trigger", "alert", "incident", "run", "answer", "pause", "resume", "contained", "release", "secret", "evidence", "playbook",
            "connector", "tabletop", "action", "doctor", "settings", "version"]
CONNECTORS = {
    "ldap": Raw('ldap { url = "ldap://127.0.0.1:1", bind_dn = "cn=x", password = secret "env:SECRET", base = "dc=example" }'),
    "postgresql": Raw('postgresql { host = "127.0.0.1", port = 1, dbname = "app", user = "tocsin", password = secret "env:SECRET", sslmode = "disable" }'),
    "rt": Raw('rt { url = "http://127.0.0.1:1/REST/2.0", token = secret "env:SECRET" }'),
}


def at_terminal(tocsin, *words, typed="", columns=100):
    """Runs it on a pseudo-terminal, types, and returns what appeared and the exit status."""
    import fcntl
    import struct
    import termios
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(tocsin.command(*words), stdin=theirs, stdout=theirs, stderr=theirs, cwd=tocsin.folder,
                               env=dict(tocsin.environment(), TERM="xterm"), start_new_session=True)
    os.close(theirs)
    text, until, asked = b"", time.monotonic() + 30, False
    while time.monotonic() < until:
        if select.select([ours], [], [], 0.05)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:
                break
            if not piece:
                break
            text += piece
        if typed and not asked and b"[y/N]" in text:
            os.write(ours, typed.encode())
            asked = True
    status = process.wait(30)
    os.close(ours)
    return text.decode("utf-8", "replace").replace("\r\n", "\n"), status


def helps(tocsin):
    whole = tocsin.run("--help")
    is_(whole.status, 0, "tocsin --help")
    for name in COMMANDS:
        like(whole.out, r"\n  %s +\w" % name, "tocsin --help lists " + name)
        text = tocsin.run(name, "--help")
        ok(text.status == 0 and "\nExample\n  tocsin" in text.out, "tocsin %s --help has an example" % name)
        for sub in re.findall(r"^  (\w+) +\w", text.out.split("Commands\n", 1)[1].split("\n\n", 1)[0], re.M) if "Commands\n" in text.out else []:
            text_sub = tocsin.run(name, sub, "--help")
            ok(text_sub.status == 0 and "\nExample\n  " in text_sub.out, "tocsin %s %s --help has an example" % (name, sub))
    is_(tocsin.run("help", "incident").out, tocsin.run("incident", "--help").out, "tocsin help incident is tocsin incident --help")
    like(tocsin.run("--version").out, r"^tocsin \S+\n$", "tocsin --version")


def mistakes(tocsin):
    for words, says in ((["incidnt"], "did you mean `tocsin incident`"), (["incident", "shwo", "1"], "did you mean `tocsin incident show`"),
                        (["incident", "show", "1", "--al"], "did you mean --all"), (["pause", "all"], "--because TEXT is missing"),
                        (["answer", "1/1/4"], "tocsin answer QUESTION ANSWER"), (["answer", "42", "keep"], "three parts"), (["incident", "show", "xyz"], "is no id"),
                        (["incident", "severity", "1", "huge", "--because", "x"], "is no severity"), (["release", "--because", "x"], "say what to release"),
                        (["alert", "retry"], "--all"), (["kubernetes"], "--help"), (["incident", "note", "1", "x", "--at", "noon"], "is no time")):
        result = tocsin.run(*words)
        ok(result.status == 2 and says in result.err and not result.out, "%s: 2, and says %s" % (" ".join(words), says))
    result = tocsin.run("now")
    ok(result.status == 1 and "tocsin serve" in result.err and "is not running" in result.err, "without the daemon: 1, and what to type")
    is_(json.loads(tocsin.run("now", "--json").out).keys(), {"error": 0}.keys(), "with --json errors are JSON too")
    tocsin.write("broken.lua", "return { redsi = {} }")
    result = tocsin.run("now", "--settings", "broken.lua")
    ok(result.status == 1 and "broken.lua:1" in result.err and "`redis`" in result.err, "a misspelt setting is named with its line and the right name")
    ok(tocsin.run("doctor").status == 1, "doctor finds that the daemon is not running")
    like(tocsin.run("evidence", "search", "x").err, "makes it.*--settings", "a key that is not there yet: who makes it, and how to name another installation")
    for path in ("/dev/full",):
        with open(path, "wb") as full:
            status = subprocess.run(tocsin.command("--help"), stdout=full, stderr=subprocess.DEVNULL, env=tocsin.environment(), check=False).returncode
        is_(status, 1, "a full disk does not look like success")


def settings(tocsin):
    with open(os.path.join(ROOT, "tocsin.lua.example"), encoding="utf-8") as shipped:
        is_(tocsin.run("settings", "--sample").out, shipped.read(), "the shipped sample is what is printed")
    ok("guard" in tocsin.json("settings"), "settings --json")


def incidents(tocsin):
    like(tocsin.run().out, "Nothing waits for a person", "tocsin alone")
    opened = tocsin.json("incident", "open", "Laptop", "stolen", "--severity", "high", "--because", "phoned in", "--occurred", "18:20")
    is_(opened["id"], "INC-000001", "an incident opened by hand")
    for words in (["note", "1", "called alice", "--at", "2026-11-23T18:30:00Z"], ["assign", "inc-1", "tester"], ["tag", "1", "theft"], ["title", "INC-000001", "Stolen", "laptop"],
                  ["severity", "1", "critical", "--because", "a director's"]):
        is_(tocsin.run("incident", *words).status, 0, "incident " + " ".join(words))
    noted = next(e["seq"] for e in tocsin.json("incident", "show", "1")["entries"] if e["type"] == "incident.noted")
    is_(tocsin.run("incident", "note", "1", "called bob, not alice", "--corrects", str(noted)).status, 0, "a note that corrects an entry")
    like(tocsin.run("incident", "note", "1", "x", "--corrects", "999").err, "no entry 999", "of an entry that is not there: it says so")
    like(tocsin.run("incident", "show", "1").out, r"called alice[\s\S]*corrects entry %d" % noted, "both stay: the note, and what corrects it")
    text = tocsin.run("incident", "show", "1").out
    for pattern in (r"INC-000001  Stolen laptop  \[critical\]", "owner tester", "tags: theft", r"\d\d:\d\d:\d\d  tester  opened: Laptop stolen \(high\)", "note about .*18:30: called alice"):
        like(text, pattern, "incident show: " + pattern)
    unlike(text, "\x1b", "no colour where there is no terminal")
    shown = tocsin.json("incident", "show", "1")
    ok(all(e["control"].startswith("A.") for e in shown["entries"]), "each entry names the control it is evidence for")
    is_(tocsin.run("incident", "follow", "1", "--once").out.count("\n"), 1 + len(shown["entries"]), "incident follow --once prints the same")
    like(tocsin.run("incident", "close", "1", "--verdict", "true_positive").err, "root_cause", "closing a grave incident wants to know what was learnt")
    is_(tocsin.run("incident", "close", "1", "--verdict", "true_positive", "--root_cause", "a train", "--impact", "none", "--affected", "laptop", "--lessons", "encrypt").status, 0,
        "an option may be written with an underscore")
    like(tocsin.run("incident", "list").out, "No such incident", "closed ones are not listed")
    like(tocsin.run("incident", "list", "--status", "all").out, "INC-000001 .*closed", "unless one asks")
    is_(tocsin.run("incident", "reopen", "1", "--because", "found").status, 0, "incident reopen")


def brakes(tocsin):
    is_(tocsin.run("pause", "all", "--because", "testing the brake").status, 0, "pause")
    for words in (["incident", "list"], ["run", "list"], ["contained"], ["now"], ["incident", "show", "1"]):
        like(tocsin.run(*words).out, "^PAUSED everything since .* by tester: testing the brake", "%s begins with the brake" % " ".join(words))
    is_(tocsin.run("resume", "--because", "tested").status, 0, "resume")
    unlike(tocsin.run("incident", "list").out, "PAUSED", "the brake is off")


def evidence(tocsin):
    like(tocsin.run("evidence", "verify", "1").out, r"INC-000001: \d+ entries, unbroken", "evidence verify asks the daemon")
    is_(tocsin.run("evidence", "export", "1", "-o", "case.jsonl").status, 0, "evidence export")
    is_(os.stat(os.path.join(tocsin.folder, "case.jsonl")).st_mode & 0o777, 0o600, "what is exported is for its owner only")
    like(tocsin.run("evidence", "verify", "case.jsonl").out, "unbroken", "evidence verify reads the file")
    page = tocsin.run("evidence", "report", "1").out
    like(page, r"^<!DOCTYPE html>.*Who decided what.*class=\"who\">tester<.*</html>\s*$", "evidence report names who decided")
    rows = list(csv.DictReader(io.StringIO(tocsin.run("evidence", "report", "case.jsonl", "--format", "csv").out)))
    is_([r["seq"] for r in rows], re.findall(r'<tr id="e(\d+)"', page), "a table has the same entries")
    is_(json.loads(tocsin.run("evidence", "report", "case.jsonl", "--format", "ocsf").out)["class_uid"], 2005, "and others read OCSF")
    is_(tocsin.run("evidence", "report", "1", "--format", "pdf").status, 2, "a format that is none")
    with open(os.path.join(tocsin.folder, "case.jsonl"), encoding="utf-8") as f:
        lines = f.read().splitlines(True)
    for name, changed, says in (("changed", lines[:2] + [lines[2].replace("incident.assigned", "incident.assignee")] + lines[3:], "entry 3 is broken"),
                                ("removed", lines[:3] + lines[4:], "entry 4 is broken"), ("torn", [*lines[:-1], lines[-1][:-10]], "entry %d" % len(lines))):
        tocsin.write(name + ".jsonl", "".join(changed))
        result = tocsin.run("evidence", "verify", name + ".jsonl")
        ok(result.status == 1 and says in result.err, "%s: %s" % (name, says))


def playbooks(tocsin):
    plan = tocsin.json("trigger", "contain-account", "--because", "look", "--plan", "user=alice")["plan"]
    ok("ldap.lock_account" in plan["effects"]["contain"] and plan["most"] == "contain", "a plan names the effects")
    result = tocsin.run("trigger", "contain-account", "--because", "x", "user=alice")
    ok(result.status == 2 and "--yes" in result.err and "ldap.lock_account" in result.out, "without a terminal an effect from contain up wants --yes")
    ok(tocsin.run("trigger", "contain-account", "--because", "x").status == 2, "a missing parameter is a mistake")
    text, status = at_terminal(tocsin, "trigger", "contain-account", "--because", "x", "user=alice", typed="n\n")
    ok(status == 1 and "Nothing was done" in text, "at a terminal it asks, and no means no")
    is_(tocsin.json("run", "list", "--all")["runs"], [], "nothing ran")
    started = tocsin.json("trigger", "contain-account", "--because", "exercise", "--incident", "1", "--simulated", "user=alice")
    asked = wait_until(lambda: tocsin.json("now")["questions"], 20)
    ok(asked, "a question is asked")
    like(tocsin.run().out, r"QUESTIONS\n  INC-000001/1/\S+  .*\n    asks a responder.*\n    tocsin answer INC-000001/1/\S+ keep\|release", "tocsin says how to answer")
    like(tocsin.run("answer", asked[0]["id"], "maybe").err, "keep", "an answer that is no option is told the options")
    is_(tocsin.run("answer", asked[0]["id"][4:].lstrip("0"), "ke").status, 0, "a short id and the beginning of an option will do")
    again = tocsin.run("answer", asked[0]["id"], "release")
    ok(again.status == 1 and "tester" in again.err, "the second is told who was first")
    ok(wait_until(lambda: not tocsin.json("run", "list")["runs"], 20), "the run ends")
    text = tocsin.run("incident", "show", started["id"]).out
    like(text, r"playbook contain-account  ldap: lock account, .*alice.* \(contain\).*  ok  \d+\.\d s", "the timeline says what was done, in words")
    like(text, r"tester +answered keep", "and who answered what")
    like(tocsin.run("run", "show", "1/1").out, r"playbook +contain-account\nstatus +done", "run show")
    is_(tocsin.run("run", "cancel", "1/1", "--because", "x").status, 1, "a run that has ended cannot be cancelled")


def recorded(tocsin):
    """From a run that was real to a test: it passes as written, and fails when the playbook does something else."""
    path = os.path.join(tocsin.folder, "again_test.lua")
    result = tocsin.run("playbook", "record", "INC-000001/1", "-o", path)
    ok(result.status == 0 and "1 passed, 0 failed" in result.out, "a recorded test passes as written")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    ok('"ldap.lock_account"' in text and '"keep"' in text and "INC-000001/1" in text, "it bears what was done and answered")
    unlike(text, "a-secret-for-tests", "and no secret")
    result = tocsin.run("playbook", "record", "INC-000001/1", "-o", path)
    ok(result.status == 1 and "there already" in result.err, "a file that is there is never written over")
    with open(os.path.join(ROOT, "playbooks", "contain-account.lua"), encoding="utf-8") as f:
        changed = f.read().replace("act.ldap.lock_account { uid = p.user,", 'act.ldap.lock_account { uid = p.user .. "x",')
    tocsin.write("changed.lua", changed)
    result = tocsin.run("playbook", "record", "1/1", "-o", path + "2", "--playbook", os.path.join(tocsin.folder, "changed.lua"))
    ok(result.status == 1 and "actions: expected" in result.out, "a playbook that does something else fails it")
    result = tocsin.run("playbook", "record", "1/99", "-o", path + "3")
    ok(result.status == 1 and "no such run" in result.err and not os.path.exists(path + "3"), "a run that is not there is said so, and nothing written")
    tocsin.run("evidence", "export", "1", "-o", path + ".jsonl")
    is_(tocsin.run("playbook", "record", path + ".jsonl", "-o", path + "4").status, 0, "an exported journal will do")
    with open(path + "4", encoding="utf-8") as f:
        is_(f.read(), text, "and gives the same bytes")


def backtested(tocsin):
    """Alerts that came before, through the trigger and a simulated run; and two versions of a playbook side by side."""
    alerts = os.path.join(ROOT, "tests", "data", "alerts")
    report = tocsin.json("playbook", "backtest", "contain-account", alerts)
    ok(report["incidents"] >= 1 and any(row["text"].startswith("contain ldap.lock_account") for row in report["actions"]), "a back-test says what would have been done: %s" % report["actions"])
    ok(report["alerts"] == report["unwanted"] + report["suppressed"] + report["duplicates"] + report["attached"], "every alert is accounted for")
    ok(any("ceiling" in row["text"] for row in report["guardrails"]), "and which guardrails were hit")
    with open(os.path.join(ROOT, "playbooks", "contain-account.lua"), encoding="utf-8") as f:
        tocsin.write("other/contain-account.lua", f.read().replace('default = "Security"', 'default = "Elsewhere"'))
    result = tocsin.run("playbook", "backtest", "contain-account", alerts, "--against", os.path.join(tocsin.folder, "other", "contain-account.lua"))
    ok(result.status == 0 and "- record rt.create_ticket queue=Elsewhere" in result.out and "+ record rt.create_ticket queue=Security" in result.out, "the difference of two versions, action by action")
    result = tocsin.run("playbook", "backtest", "contain-account", alerts, "--against", "no-such-revision")
    ok(result.status == 1 and "git has no" in result.err, "a revision that is not there is said so")
    is_(tocsin.run("playbook", "backtest", "contain-account").status, 2, "without alerts it says what to name")
    result = tocsin.run("playbook", "backtest", "release", alerts)
    ok(result.status == 1 and "only by hand" in result.err, "a playbook that starts by hand cannot be back-tested")
    tocsin.write("empty.json", "")
    ok(tocsin.run("playbook", "backtest", "contain-account", os.path.join(tocsin.folder, "empty.json")).status == 1, "nor with an empty file")
    result = tocsin.run("playbook", "backtest", "contain-account", "--since", "1d")
    ok(result.status == 1 and "there is no alert" in result.err, "incidents that people opened by hand bear none")


def contained(tocsin):
    like(tocsin.run("contained").out, r"INC-000001/1/3  ldap.lock_account  user alice  \[simulated\]", "a simulated containment is listed as what it is")
    is_(tocsin.run("release", "user=alice", "--because", "played", "--yes").status, 0, "and released without touching the (unreachable) directory")
    like(tocsin.run("contained").out, "^Nothing is contained", "nothing is contained")
    is_(tocsin.run("trigger", "cut-host", "--incident", "1", "--because", "a real one", "--yes", "host=web01", "minutes=30").status, 0, "--yes starts it, and a number may be typed")
    ok("minutes" in tocsin.run("trigger", "cut-host", "--because", "x", "--yes", "host=web01", "minutes=soon").err, "a word where a number belongs is refused")
    wait_until(lambda: tocsin.json("contained")["contained"], 20)
    text = tocsin.run("contained").out
    like(text, r"CONTAINED NOW\n  INC-000001/\d/1  edr.isolate_host  host web01\n    since .*: seen mining\n    tocsin release INC-000001", "what is contained, since when, why, and how to release it")
    like(tocsin.run("incident", "list").out, "1 contained", "the list says so too")
    result = tocsin.run("release", "1", "--because", "done")
    ok(result.status == 2 and "--yes" in result.err, "release wants a yes")
    text, status = at_terminal(tocsin, "release", "1", "--because", "done", typed="n\n")
    ok(status == 1 and "edr.isolate_host" in text, "at a terminal it shows what, and asks")
    is_(tocsin.run("release", "host=web02", "--because", "done", "--yes").status, 1, "another host is not contained")
    result = tocsin.run("release", "host=web01", "--because", "cleaned", "--yes")
    like(result.out, r"^released +INC-000001/\d/1  edr.isolate_host  host web01", "released")
    is_([r["method"] for r in sink.requests if r["path"] == "/hosts/web01/isolation"], ["PUT", "DELETE"], "the product was told, once each")
    like(tocsin.run("contained").out, "^Nothing is contained", "nothing is contained any more")


def hostile(tocsin):
    title = "\x1b]0;owned\x07\x1b[2J evil \u202egnp.exe \x9b31m" + "x" * 300
    tocsin.xadd({"metadata": {"product": {"name": "Evil"}, "uid": "e1", "version": "1"}, "class_uid": 2004, "time": 1795459317000, "severity_id": 4,
                 "finding_info": {"title": title, "uid": "e1"}, "message": title, "actor": {"user": {"name": "\x1b[31mroot\n"}}})
    ok(wait_until(lambda: len(tocsin.json("incident", "list")["incidents"]) == 2, 20), "an alert full of control characters opens an incident")
    for words in (["incident", "list"], ["incident", "show", "2"], ["now"], ["run", "list", "--all"]):
        text, _ = at_terminal(tocsin, *words, columns=80)
        bare = re.sub(r"\x1b\[[0-9;]*m", "", text)
        unlike(bare, "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", "%s: nothing of it reaches a terminal" % " ".join(words))
        if words[-1] == "list":
            ok(max(len(line) for line in bare.splitlines()) <= 80, "%s fits the terminal" % " ".join(words))
    text, _ = at_terminal(tocsin, "incident", "list")
    like(text, "\x1b\\[", "colour at a terminal")
    result = subprocess.run(tocsin.command("incident", "list"), capture_output=True, text=True, env=dict(tocsin.environment(), NO_COLOR="1"), check=False)
    unlike(result.stdout, "\x1b", "NO_COLOR")


def queue(tocsin):
    tocsin.write("bad.json", '{"a": [1, 2')
    is_(tocsin.json("alert", "push", "bad.json", "--source", "wazuh")["accepted"], 1, "alert push")
    dead = wait_until(lambda: tocsin.json("alert", "dead")["dead"], 20)
    ok(dead, "what cannot be read is set aside")
    like(tocsin.run("alert", "dead").out, "WHY IT COULD NOT BE READ", "alert dead says why")
    is_(tocsin.run("alert", "retry", "--all").status, 0, "alert retry")
    is_(tocsin.run("alert", "push", "nothing-here.json").status, 1, "a file that is not there")
    is_(tocsin.run("reload").status, 0, "reload")
    tocsin.settings('return { redsi = {} }')
    ok(tocsin.run("reload", "--socket", tocsin.socket).status == 1, "a mistake in the settings: nothing is taken")


def api(tocsin):
    status, answer = tocsin.api("POST", "/v1/command", {"command": "now", "by": "root", "person": "root", "actor": "person:00000000"})
    is_((status, sorted(answer)[0]), (200, "contained"), "a command over HTTP")
    is_(tocsin.api("POST", "/v1/command", {"command": "incident.note", "id": "INC-000001", "text": "mine", "actor": "person:00000000", "by": "root"})[0], 200, "names in a command are not believed")
    entry = [e for e in tocsin.json("incident", "show", "1", "--socket", tocsin.socket)["entries"] if e["type"] == "incident.noted"][-1]
    is_(entry["name"], "tester", "the peer's uid is who it was")
    is_(tocsin.api("POST", "/v1/command", {"command": "now"}, {"Authorization": "Bearer wrong-token"})[0], 401, "a wrong token is refused")
    is_(tocsin.api("POST", "/v1/command", {"command": "moonshine"})[0] // 100, 4, "an unknown command")
    like(tocsin.api("GET", "/metrics")[1], "# TYPE tocsin_", "/metrics")
    is_(tocsin.api("GET", "/healthz"), (200, {"ok": True}), "/healthz")


def scenarios(tocsin):
    """What can be said about a scenario without playing it; no daemon is needed."""
    ours = os.path.join(ROOT, "runbooks", "tabletop", "ci-credentials.lua")
    result = tocsin.run("tabletop", "check", ours)
    ok(result.status == 0 and re.search(r"ci-credentials.lua: ok, \d+ injects, \d+ objectives, 2h", result.out), "tabletop check: a scenario of ours is whole")
    with open(ours, encoding="utf-8") as f:
        text = f.read()
    for name, old, new, says in (("loop", '{ id = "start", at = "0s"', '{ id = "start", after = "start"', "inject start: it can never come"), ("syntax", "injects = {", "injects = {{", "lua:[0-9]+: .*expected"),
                                 ("role", "to = { \"legal\", \"lead\" }", "to = \"lawyer\"", "there is no role `lawyer`")):
        tocsin.write(name + ".lua", text.replace(old, new, 1))
        result = tocsin.run("tabletop", "check", "./%s.lua" % name)
        ok(result.status == 1 and re.search(says, result.out), "tabletop check: %s" % name)
    found = tocsin.run("tabletop", "check", "./loop.lua", "--json").json()
    ok(found[0]["findings"][0].startswith("error: ./loop.lua:"), "and as JSON")
    is_(tocsin.run("tabletop", "check", "nowhere").status, 1, "a scenario that is not there")
    is_(tocsin.run("tabletop", "chekc").status, 2, "a sub-command that is not there")


def exercise_reports(tocsin):
    """Judged from exported journals, without a daemon."""
    for number, minute in (("7", 9), ("8", 3)):
        tocsin.write("ex%s.jsonl" % number, exported("EX-00000" + number, exercise(minute)))
    late, soon = (tocsin.run("tabletop", "report", "ex%s.jsonl" % n, "--json").json() for n in "78")
    is_((late["objectives"][0]["verdict"], soon["objectives"][0]["verdict"]), ("not met", "met"), "tabletop report judges by the entries")
    is_(soon["objectives"][0]["entries"], [{"incident": "EX-000008", "seq": 3}], "and names them")
    is_([g["key"] for g in late["gaps"]], ["small/awake"], "what was not met is a gap")
    is_(tocsin.run("tabletop", "report", "ex8.jsonl", "--against", "ex7.jsonl", "-o", "ex8.html").status, 0, "as a page")
    with open(os.path.join(tocsin.folder, "ex8.html"), encoding="utf-8") as f:
        page = f.read()
    like(page, r"^<!DOCTYPE html>[\s\S]*EXERCISE[\s\S]*A &lt;small&gt; one[\s\S]*6m sooner[\s\S]*</html>\s*$", "marked, escaped, compared with the last time")
    is_(os.stat(os.path.join(tocsin.folder, "ex8.html")).st_mode & 0o777, 0o600, "for its owner only")
    tocsin.write("live.jsonl", exported("INC-000001", [(0, "incident.opened", "engine", {"title": "real"})]))
    like(tocsin.run("tabletop", "report", "live.jsonl").err, "INC-000001 is no exercise", "a real incident is none")


CUT_HOST = """return playbook {
  title = "Cut a host off", uses = { "edr.isolate_host" }, params = { host = schema.string {}, minutes = schema.integer { optional = true } },
  run = function(incident, act, p) must(act.edr.isolate_host { host = p.host, because = "seen mining" }) end,
}
"""
sink = Sink().start()
sink.answer("/hosts/web01/isolation", status=204, body="")
CONNECTORS["edr"] = Raw('edr { url = "%s", token = secret "env:SECRET" }' % sink.url)
tocsin_ = Tocsin({"connectors": CONNECTORS, "folders": {"playbooks": "playbooks"}}, env={"SECRET": "a-secret-for-tests"})
tocsin_.write("playbooks/cut-host.lua", CUT_HOST)
for name in os.listdir(os.path.join(ROOT, "playbooks")):
    if name.endswith(".lua"):
        os.symlink(os.path.join(ROOT, "playbooks", name), os.path.join(tocsin_.folder, "playbooks", name))
helps(tocsin_)
mistakes(tocsin_)
settings(tocsin_)
scenarios(tocsin_)
exercise_reports(tocsin_)
with tocsin_.start():
    for part in (incidents, brakes, evidence, playbooks, recorded, backtested, contained, hostile, api, queue):
        part(tocsin_)
done()
