"""What exercises cost those who work in earnest: live alerts' way to their first request, 200 a second, with exercises played beside them and without.

live_p50_alone, live_p99_alone, live_p50_beside, live_p99_beside: ms. Beside: five exercises at 120 times the speed, each with two alerts a second and a playbook of three actions for each.
The runner divides one by the other round by round (RATIOS): an exercise may cost half of the median and the whole of the 99th percentile, and what that is then must still be in the goal of those who work in earnest.
In the first three rounds, the one first and the other first by turns: what the machine does beside weighs on both.
"""
import json
import os
import sys
import time

from bench_engine import Engine, alert, first_requests, fresh, row
from harness import diag, harness_quiet, wait_until

from nginx import Nginx

RATE, EXERCISES, ALERTS, SPEED = 200, 5, 120, 120
ROUND = int(os.environ.get("BENCH_ROUND", "1"))


def lua_text(value):
    if isinstance(value, dict):
        return "{ " + ", ".join("[%s] = %s" % (json.dumps(k), lua_text(v)) for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "{ " + ", ".join(map(lua_text, value)) + " }"
    return json.dumps(value)


def scenario():
    """An alert every minute of its clock, for two hours."""
    head, tail = alert("Bench")
    injects = ['{ id = "a%d", at = "%dm", alert = { source = "ocsf", body = %s } }' % (n, n, lua_text(json.loads(head + "x%d" % n + tail))) for n in range(ALERTS)]
    injects.append('{ id = "lead", at = "0s", message = { to = "lead", text = "It begins." } }')
    return ('return scenario { title = "Load", summary = "Alerts, and nobody there", duration = "2h", roles = { lead = "leads" }, injects = {\n%s\n},\n'
            '  objectives = { { id = "o", text = "Somebody looks", judge = { acknowledged = true } } } }\n') % ",\n".join(injects)


def measured(exercises):
    fresh()
    with Nginx() as nginx, Engine(nginx.url + "/json") as engine:
        path = engine.write("load.lua", scenario())
        for _ in range(exercises):
            result = engine.run("tabletop", "run", path, "--speed", SPEED)
            if result.status:
                raise RuntimeError(result.err)
        last = engine.json("tabletop", "list")["exercises"][0]["id"] if exercises else None
        if last and not wait_until(lambda: len(engine.json("tabletop", "show", last)["incidents"]) > 5, 30, every=0.2):
            raise RuntimeError("the exercises do not get on: %s" % engine.log()[-1500:])
        began, before = time.monotonic(), len(engine.json("tabletop", "show", last)["incidents"]) if last else 0
        waits = first_requests(nginx, RATE)
        took, after = time.monotonic() - began, len(engine.json("tabletop", "show", last)["incidents"]) if last else 0
        if last and after - before < SPEED / 60 * took / 2:
            raise RuntimeError("the exercises stood still: %d alerts in %.1f s" % (after - before, took))
        running = sum(r["running"] for r in engine.json("tabletop", "list")["exercises"])
        if running != exercises:
            raise RuntimeError("only %d of %d exercises were played to the end of the measurement: %s" % (running, exercises, engine.log()[-1500:]))
        return waits


def main():
    order = (0, EXERCISES) if ROUND % 2 else (EXERCISES, 0)
    results = {exercises: measured(exercises) for exercises in order}
    for exercises, how in ((0, "alone"), (EXERCISES, "beside")):
        row("live_p50_" + how, results[exercises][0], "ms")
        row("live_p99_" + how, results[exercises][1], "ms", "<= 10")


if __name__ == "__main__":
    harness_quiet()
    try:
        if ROUND <= 3:
            main()
    except RuntimeError as problem:
        diag(problem)
        sys.exit(1)
