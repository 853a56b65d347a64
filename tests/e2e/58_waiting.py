"""Two thousand runs that wait: asleep they cost next to nothing, and after kill -9 each is answered, expires or goes on as if nothing had been."""
import time

from harness import Tocsin, done, entries_of, is_, ok

KINDS = ("ask", "wait", "alert", "silent")
EACH = 500

PLAYBOOK = """return playbook { title = "Waits: KIND", when = { ["raw.kind"] = "KIND" }, group = { "raw.about" }, window = "1h", params = { id = schema.string { from = "raw.id" } },
  run = function(incident, _, p)
    BODY
  end }
"""
BODIES = {
    "ask": 'local a = incident:ask { "Go on with " .. p.id .. "?", options = { "yes", "no" }, within = "2h", otherwise = "no" } incident:note("answered " .. a)',
    "wait": 'incident:wait "12s" incident:note "waited"',
    "alert": 'local a = incident:wait_for { alert = { ["raw.more"] = "yes" }, within = "2h" } incident:note(a and "alert came" or "no alert came")',
    "silent": 'local a = incident:ask { "Silent " .. p.id .. "?", options = { "yes", "no" }, within = "7s", otherwise = "no" } incident:note("silence is " .. a)',
}


def command(tocsin, **words):
    status, answer = tocsin.api("POST", "/v1/command", words)
    return answer if status == 200 else {"status": status, **answer}


def counts(tocsin):
    return command(tocsin, command="counts")["incidents"]


def asleep(tocsin):
    """Incidents that would sleep on after a kill -9."""
    with tocsin.redis() as redis:
        journals = redis.call("HGETALL", "tocsin:asleep:n1")
        ends = redis.pipeline([("XREVRANGE", "tocsin:{%s}:journal" % i.decode(), "+", "-", "COUNT", "1") for i in journals[::2]]) if journals else []
    return sum(int(value.split()[0]) == entries_of(end)[-1][0] for value, end in zip(journals[1::2], ends))


def push(tocsin, kind, count):
    tocsin.xadd(*[{"kind": kind, "id": "%s-%d" % (kind, n), "about": "%s-%d" % (kind, n)} for n in range(count)])


tocsin = Tocsin({"folders": {"playbooks": "{folder}/playbooks"}})
for kind in KINDS:
    tocsin.write("playbooks/%s.lua" % kind, PLAYBOOK.replace("KIND", kind).replace("BODY", BODIES[kind]))
tocsin.write("playbooks/triage-only.lua", 'return playbook { title = "Rest", run = function() end }\n')

with tocsin:
    # Silence is an answer for those who sleep, too.
    push(tocsin, "silent", EACH)
    tocsin.wait_for(lambda: counts(tocsin)["runs_asleep"] > 0, "runs that only wait are put to sleep")
    tocsin.wait_for(lambda: counts(tocsin)["runs_ended_total"] >= EACH, "and expire when their time has come", 30)
    is_(counts(tocsin)["questions"], 0, "no question stays open")

    for kind in ("ask", "alert"):
        push(tocsin, kind, EACH)
    tocsin.wait_for(lambda: asleep(tocsin) == 2 * EACH, "those that ask and those that wait for an alert sleep")
    before = counts(tocsin)
    tocsin.xadd(*[{"kind": kind, "id": "again-%s-%d" % (kind, n), "about": "%s-%d" % (kind, n)} for kind in ("ask", "alert") for n in range(EACH)])
    tocsin.wait_for(lambda: counts(tocsin)["attached_total"] == before["attached_total"] + 2 * EACH, "alerts join their incidents that nobody waits for")
    tocsin.wait_for(lambda: asleep(tocsin) == 2 * EACH, "who sleeps is on record with them")
    is_([counts(tocsin)[name] for name in ("runs_started_total", "runs_asleep")], [before["runs_started_total"], 2 * EACH], "and wake no run")
    push(tocsin, "wait", EACH)
    tocsin.wait_for(lambda: counts(tocsin)["runs_asleep"] == 3 * EACH, "all of them sleep")
    now = command(tocsin, command="now", limit=100)
    is_(now["questions_total"], EACH, "`now` counts every question")
    is_(len(now["questions"]), 100, "and shows as many as it was asked for")
    listed = tocsin.json("run", "list")["runs"]
    is_(len(listed), 3 * EACH, "`run list` has those that sleep")
    is_(sorted({r["waiting_for"] for r in listed}), ["1 ask", "1 wait", "1 wait_for"], "and what each waits for")

    tocsin.kill()
    began = time.time()
    tocsin.start()
    is_(counts(tocsin)["runs_asleep"] + counts(tocsin)["runs_ended_total"], 3 * EACH, "after kill -9 they sleep on: nobody was replayed")
    questions = command(tocsin, command="questions", limit=10000)["questions"]
    is_(len(questions), EACH, "every question is there")
    ok(all(q["deadline"] / 1e6 >= began + 600 and q["deadline"] > q["asked"] + 7200 * 1000000 for q in questions), "the outage does not count against any of them")
    answers = [command(tocsin, command="answer", id=q["id"], answer="yes" if n % 2 else "no") for n, q in enumerate(questions)]
    is_([a for a in answers if "answer" not in a], [], "each takes its answer")
    is_(command(tocsin, command="answer", id=questions[0]["id"], answer="yes").get("status"), 409, "once")
    tocsin.xadd(*[{"kind": "alert", "id": "more-%d" % n, "about": "alert-%d" % n, "more": "yes"} for n in range(EACH - 1)])
    tocsin.wait_for(lambda: counts(tocsin)["runs_asleep"] <= 1, "answers, alerts and times wake all but one", 60)
    tocsin.wait_for(lambda: len(tocsin.json("run", "list")["runs"]) == 1, "which still waits", 60)
    last = tocsin.json("run", "list")["runs"][0]["id"]
    is_(tocsin.run("run", "show", last).status, 0, "it can be looked at")
    is_(tocsin.run("run", "cancel", last, "--because", "enough").status, 0, "and cancelled")

    notes = {}
    for incident in command(tocsin, command="incident.list", limit=10000)["incidents"]:
        for e in command(tocsin, command="incident.entries", id=incident["id"])["entries"]:
            if e["type"] == "incident.noted":
                notes[e["body"]["text"]] = notes.get(e["body"]["text"], 0) + 1
    is_(notes, {"answered yes": EACH // 2, "answered no": EACH // 2, "waited": EACH, "alert came": EACH - 1, "silence is no": EACH},
        "each run went on once, with the answer that was given")
    with tocsin.redis() as redis:
        is_(redis.call("HLEN", "tocsin:asleep:n1"), 0, "the index of sleepers is empty")
done()
