"""The engine counts itself: on record when something has changed, and an alarm when something is missing."""
import json

from harness import Tocsin, done, is_, like, ok, wait_until


def entries(tocsin):
    """The node's own journal: [(type, body)]; a body's envelope is 32 random bytes and the body."""
    with tocsin.redis() as redis:
        rows = redis.call("XRANGE", "tocsin:{node-n1}:journal", "-", "+")
    found = []
    for _, fields in rows:
        pairs = dict(zip([bytes(f) if isinstance(f, bytes) else f.encode() for f in fields[::2]], fields[1::2]))
        body = pairs[b"b"] if isinstance(pairs[b"b"], bytes) else pairs[b"b"].encode("utf-8", "surrogateescape")
        found.append((json.loads(pairs[b"e"])["type"], json.loads(body[32:])))
    return found


def of(tocsin, kind):
    return [body for name, body in entries(tocsin) if name == kind]


def doctor(tocsin):
    return {c["check"]: c for c in tocsin.run("doctor", "--json").json()["checks"]}


with Tocsin({"webhook": {"listen": ""}}) as tocsin:
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
    tocsin.kill()
    with tocsin.redis() as redis:  # somebody who may not
        redis.call("XDEL", "tocsin:alerts", redis.call("XADD", "tocsin:alerts", "*", "alert", "{}"))
    tocsin.start()
    ok(wait_until(lambda: any("conservation is broken: 1 alerts" in b["text"] for b in of(tocsin, "engine.warning")), 30), "an alert that was taken away is missed")
    like(tocsin.log(), "level=error msg=.conservation is broken", "in the log too")
    ok(not doctor(tocsin)["alerts"]["ok"], "and doctor finds it")
    ok(any("not while it handled an alert or a run" in b["text"] for b in of(tocsin, "engine.warning")), "that the process ended without a stop is on record")
done()
