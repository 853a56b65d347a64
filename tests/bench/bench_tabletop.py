"""What exercises cost those who work in earnest, in the first round only: live alerts' way to their first request, with exercises played beside them and without.

first_request_p50_tabletop, first_request_p99_tabletop: beside five exercises at 120 times the speed, each with two alerts a second and a playbook of three actions for each, as a multiple of what it is without.
"""
import json
import os
import sys

from bench_engine import Engine, alert, first_requests, fresh, row
from harness import diag, harness_quiet, wait_until

from nginx import Nginx

RATE, EXERCISES, ALERTS, SPEED = 200, 5, 120, 120


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
        waits = first_requests(nginx, RATE)
        running = sum(r["running"] for r in engine.json("tabletop", "list")["exercises"])
        if running != exercises:
            raise RuntimeError("only %d of %d exercises were played to the end of the measurement: %s" % (running, exercises, engine.log()[-1500:]))
        return waits


def main():
    alone, beside = measured(0), measured(EXERCISES)
    diag("alone p50 %.2f p99 %.2f ms, beside p50 %.2f p99 %.2f ms" % (*alone, *beside))
    row("first_request_p50_tabletop", beside[0] / alone[0], "times", "<= 1.5")
    row("first_request_p99_tabletop", beside[1] / alone[1], "times", "<= 2")


if __name__ == "__main__":
    harness_quiet()
    try:
        if os.environ.get("BENCH_ROUND", "1") == "1":
            main()
    except RuntimeError as problem:
        diag(problem)
        sys.exit(1)
