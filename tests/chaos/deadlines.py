#!/usr/bin/env python3
"""Deadlines of questions and waits, budgets and groups, while the process is frozen beyond them, and while the wall clock is set an hour forward and back.

    tests/chaos/deadlines.py

Some wait awake, some sleep. The times are real: it takes about a minute.
"""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import world  # noqa: E402
from world import Clock, Truth, alert, engine  # noqa: E402
from harness import diag, done, is_, ok, wait_until  # noqa: E402

HOUR, GRACE = 3600, 600
FROZEN = 20.0  # seconds: longer than the deadline, and than a beat may be late

PLAYBOOK = """return playbook { title = "KIND", when = { ["metadata.product.name"] = "KIND" }, params = { n = schema.string { from = "finding_info.uid" } },
  HEAD
  run = function(incident, act, p)
    BODY
  end }
"""
ASK = 'local a = incident:ask { p.n .. "?", options = { "yes", "no" }, within = "%s", otherwise = "no" } incident:note(p.n .. " is " .. a)'
BODIES = {"Short": ASK % "10s", "Middle": ASK % "24s", "Long": ASK % "30m", "Wait": 'incident:wait "24s" incident:note(p.n .. " is over")',
          "Budget": 'act.site.record { n = p.n, what = "sent" } incident:note(p.n .. " is sent")'}
HEADS = {"Budget": 'uses = { "site.record" }, group = { "metadata.product.name" }, window = "10m", mode = "parallel",'}
BUDGETS = [{"action": "site.record", "most": 1, "within": "10m"}]  # one for all of this test


def notes(tocsin):
    """What the runs have written, and when by the clock that only goes on: {text: seconds}."""
    with tocsin.redis() as client:
        for story in world.stories(client):
            for line in story.text:
                if "incident.noted" in line:
                    seen.setdefault(line.split('"')[3], time.monotonic())
    return seen


def begin(tocsin, kind, name=None):
    tocsin.xadd(alert(kind, name or kind.lower()))
    return time.monotonic()


def question(tocsin, text):
    found = [q for q in tocsin.json("now")["questions"] if q["text"] == text + "?"]
    return found[0] if found else None


def left(tocsin, text):
    """Seconds until it expires, by the clock as it is."""
    q = question(tocsin, text)
    return q["deadline"] / 1e6 - time.time() - world.clock.shown if q else None


def frozen(tocsin):
    begin(tocsin, "Short")
    tocsin.wait_for(lambda: question(tocsin, "short"), "frozen: it asks")
    tocsin.signal(signal.SIGSTOP)
    time.sleep(FROZEN)
    tocsin.signal(signal.SIGCONT)
    tocsin.wait_for(lambda: "nobody could have answered" in tocsin.log(), "frozen: it finds that nobody could have answered", 15)
    rest = left(tocsin, "short")
    ok(rest and GRACE - 20 < rest <= GRACE + 1, "frozen: the question whose time had passed meanwhile keeps ten minutes (%s s)" % rest)
    is_(tocsin.run("answer", question(tocsin, "short")["id"], "yes").status, 0, "frozen: and takes its answer")
    ok(wait_until(lambda: "short is yes" in notes(tocsin), 10), "frozen: its run goes on with it")


def over_budget(tocsin, name, when):
    """One more of the group: it is over the budget still, and joins the incident."""
    before = {q["id"] for q in tocsin.json("now")["questions"]}
    begin(tocsin, "Budget", name)
    asked = []
    tocsin.wait_for(lambda: asked.extend(q for q in tocsin.json("now")["questions"] if q["kind"] == "budget" and q["id"] not in before) or asked,
                    "clock: %s the budget is spent as before" % when)
    is_(asked[0]["incident"], group[0], "clock: and %s the group's incident is the same" % when)


def wait_real(began, seconds):
    time.sleep(max(0.0, began + seconds - time.monotonic()))


def set_clock(tocsin):
    began = [begin(tocsin, kind) for kind in ("Middle", "Wait", "Long")][0]
    tocsin.wait_for(lambda: question(tocsin, "middle") and question(tocsin, "long"), "clock: they wait")
    begin(tocsin, "Budget", "first")
    tocsin.wait_for(lambda: "first is sent" in notes(tocsin), "clock: one is within the budget")
    group.extend(i["id"] for i in tocsin.json("incident", "list")["incidents"][:1])
    wait_real(began, 3)
    world.clock.set(HOUR)
    tocsin.wait_for(lambda: "the clock was set forward by" in tocsin.log(), "clock: a step of an hour forward is seen", 10)
    wait_real(began, 11)
    is_([t for t in ("middle is no", "wait is over", "long is no") if t in notes(tocsin)], [], "clock: nothing expires or ends because of it")
    over_budget(tocsin, "second", "in the wrong hour")
    begun = begin(tocsin, "Short", "late")
    tocsin.wait_for(lambda: question(tocsin, "late"), "clock: one more asks in the wrong hour")
    rest = left(tocsin, "long")
    ok(rest and 1760 < rest <= 1790, "clock: half an hour is half an hour still (%s s left)" % rest)
    world.clock.set(0)
    tocsin.wait_for(lambda: "the clock was set back by" in tocsin.log(), "clock: the step back is seen", 10)
    over_budget(tocsin, "third", "in the right one again")
    # What was asked in the wrong hour and sleeps has at most its whole time once more.
    for text, since, due, more in (("late is no", begun, 10, 10), ("middle is no", began, 24, 0), ("wait is over", began, 24, 0)):
        ok(wait_until(lambda t=text: t in notes(tocsin), 40), "clock: \"%s\" comes" % text)
        took = notes(tocsin).get(text, 0) - since
        ok(due - 0.5 <= took <= due + more + 6, "clock: when its time is over, after %.1f s of %d" % (took, due))
    rest = left(tocsin, "long")
    ok(rest and 1720 < rest <= 1778, "clock: the half hour goes on (%s s left)" % rest)
    tocsin.restart(kill=True)
    rest = left(tocsin, "long")
    ok(rest and 1700 < rest <= 1800, "clock: after kill -9 too (%s s left)" % rest)
    tocsin.kill()
    world.clock.set(HOUR)
    tocsin.start()
    over_budget(tocsin, "fourth", "when it is set while nobody runs")


world.clock, seen, group = Clock(0), {}, []
with Truth() as truth, engine(truth, guard={"ceiling": "contain", "budgets": BUDGETS}) as tocsin:
    for kind, body in BODIES.items():
        tocsin.write("playbooks/%s.lua" % kind.lower(), PLAYBOOK.replace("KIND", kind).replace("HEAD", HEADS.get(kind, "")).replace("BODY", body))
    is_(tocsin.run("reload").status, 0, "the playbooks are there")
    frozen(tocsin)
    seen.clear()
    set_clock(tocsin)
    if tocsin.process.poll() is not None:
        diag(tocsin.log()[-2000:])
    is_(tocsin.terminate(), 0, "it ends well when asked to")
done()
