"""The engine counts itself: on record when something has changed, and an alarm when something is missing."""
import json

from harness import Raw, Tocsin, done, is_, journal_entries, like, ok, wait_until
from product import conservation
from sink import Sink

TELL = """return playbook { title = "Tell", when = { ["raw.kind"] = "tell" }, uses = { "webhook.post" }, params = { path = schema.string { from = "raw.path" } },
  run = function(_, act, p) act.webhook.post { path = p.path, json = { n = 1 } } end }
"""


def entries(engine):
    """The node's own journal: [(type, body)]; a body's envelope is 32 random bytes and the body."""
    with engine.redis() as redis:
        return [(json.loads(entry[b"e"])["type"], json.loads(entry[b"b"][32:])) for _, entry in journal_entries(redis, "node-n1")]


def of(engine, kind):
    return [body for name, body in entries(engine) if name == kind]


def doctor(engine):
    return {c["check"]: c for c in engine.run("doctor", "--json").json()["checks"]}


def intents(engine, open_, in_doubt, in_flight, when):
    wanted = "open in the journals %d = in doubt %d + in flight %d" % (open_, in_doubt, in_flight)
    ok(wait_until(lambda: doctor(engine)["intents"] == {"check": "intents", "ok": True, "text": wanted}, 30), "%s: %s" % (when, wanted))


def open_intents(engine, server):
    """One whose answer was lost, one that waits for its answer: seen, counted, and still when the process has died in the middle."""
    server.behave("/lost", "close")
    server.behave("/slow", "stall")
    engine.xadd({"id": "d-1", "title": "Tell", "kind": "tell", "path": "lost"}, {"id": "d-2", "title": "Tell", "kind": "tell", "path": "slow"})
    intents(engine, 2, 1, 1, "one lost, one slow")
    engine.kill()
    engine.start()
    intents(engine, 2, 2, 0, "after a crash")
    found = of(engine, "engine.checked")[-1]["intents"]
    is_((found["open"], found["difference"]), (2, 0), "on record from the start")
    ok(wait_until(lambda: engine.json("now")["questions"], 30), "whose answer was lost is asked about")
    engine.run("answer", engine.json("now")["questions"][0]["id"], "abandon")
    intents(engine, 1, 1, 0, "one is given up")


def missed(engine):
    """The incidents that the engine opened about itself: [(severity, alerts)]."""
    return [(i["severity"], i["alerts"]) for i in engine.json("incident", "list", "--status", "all")["incidents"] if i["title"] == "Tocsin misses alerts"]


def alarms(engine):
    """A difference is an alert of its own: one, also when it is found again; another difference is another."""
    ok(wait_until(lambda: missed(engine), 30), "responders see it as an incident")
    is_(missed(engine), [("high", 1)], "of high severity, with one alert")
    engine.restart()
    ok(wait_until(lambda: conservation(engine).get("duplicate") == 1, 30), "found again after a restart it is a duplicate")
    is_(missed(engine), [("high", 1)], "and opens nothing")
    is_(conservation(engine)["difference"], 1, "the alert about it is counted like any other")
    with engine.redis() as redis:
        redis.call("HINCRBY", "{tocsin:alerts}:counts", "attached", -1)
    engine.restart()
    ok(wait_until(lambda: sum(n for _, n in missed(engine)) == 2, 30), "another difference is told too")


sink = Sink().start()
tocsin = Tocsin({"webhook": {"listen": ""}, "folders": {"playbooks": "{folder}/playbooks"}, "default_playbook": "nobody",
                 "connectors": {"webhook": Raw('webhook { url = "%s" }' % sink.url)}})
tocsin.write("playbooks/tell.lua", TELL)
with tocsin:
    ok(wait_until(lambda: len(of(tocsin, "engine.checked")) == 1, 30), "checked at the start, and on record")
    tocsin.xadd(*[{"id": "c-%d" % i, "title": "Something"} for i in range(5)])
    ok(wait_until(lambda: doctor(tocsin)["alerts"]["text"].startswith("accepted 5 = attached 5 "), 30), "five alerts are attached")
    tocsin.restart()
    ok(wait_until(lambda: len(of(tocsin, "engine.checked")) == 2, 30), "and again after a restart")
    found = of(tocsin, "engine.checked")[-1]
    is_({k: found["alerts"][k] for k in ("accepted", "attached", "waiting", "difference")}, {"accepted": 5, "attached": 5, "waiting": 0, "difference": 0},
        "accepted = attached + duplicate + suppressed + dead + split + waiting")
    is_(found["intents"], {"open": 0, "in_doubt": 0, "in_flight": 0, "difference": 0}, "intents without an outcome = in doubt + in flight")
    ok(doctor(tocsin)["alerts"]["ok"] and doctor(tocsin)["intents"]["ok"], "doctor says the same")
    like(str(tocsin.api("GET", "/metrics")[1]), r"tocsin_intents_difference 0\n", "so do the metrics")
    is_(of(tocsin, "engine.warning"), [], "nothing is wrong")
    open_intents(tocsin, sink)
    is_(of(tocsin, "engine.gap"), [], "nobody was away for long")
    like(doctor(tocsin)["clock"]["text"], r"the clock is (not )?synchronized.*; it was set 0 times", "doctor looks at the clock")
    like(str(tocsin.api("GET", "/metrics")[1]), r"tocsin_clock_steps_total 0\n", "and the metrics count its steps")
    tocsin.kill()
    with tocsin.redis() as redis:
        redis.call("SET", "tocsin:alive", str(int(redis.call("GET", "tocsin:alive")) - 100 * 10**6))
    tocsin.start()
    ok(wait_until(lambda: [g["seconds"] // 10 for g in of(tocsin, "engine.gap")] == [10], 30), "that the engine was away for a hundred seconds is an entry")
    tocsin.kill()
    with tocsin.redis() as redis:  # somebody who may not
        redis.call("XDEL", "tocsin:alerts", redis.call("XADD", "tocsin:alerts", "*", "alert", "{}"))
    tocsin.start()
    ok(wait_until(lambda: any("conservation is broken: 1 alerts" in b["text"] for b in of(tocsin, "engine.warning")), 30), "an alert that was taken away is missed")
    like(tocsin.log(), "level=error msg=.conservation is broken", "in the log too")
    ok(not doctor(tocsin)["alerts"]["ok"], "and doctor finds it")
    ok(any("not while it handled an alert or a run" in b["text"] for b in of(tocsin, "engine.warning")), "that the process ended without a stop is on record")
    alarms(tocsin)
sink.stop()
sink.stop()
done()
