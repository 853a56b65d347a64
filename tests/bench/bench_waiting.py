"""Runs that only wait, five times BENCH_RUNS of them, each in an incident of its own, in the first round only (it takes minutes).

run_asleep: resident memory of the engine for each. recover_asleep: from exec to all of them known, after kill -9.
first_request_p99_beside: p99 from XADD to the first request with them there, as a multiple of what it is without.
"""
import os
import sys
import time

from bench_engine import RUNS, Engine, first_requests, fresh, latency, row
from harness import diag, harness_quiet, wait_until

from nginx import Nginx

WAITING, AT_ONCE, RATE = 5 * RUNS, 5000, 200


def asleep(engine, count, first):
    before = engine.counts()["incidents"]["runs_asleep"]
    for begun in range(0, count, AT_ONCE):
        more = min(AT_ONCE, count - begun)
        engine.push(more, first + begun, "BenchAsk")
        if not wait_until(lambda: engine.counts()["incidents"]["runs_asleep"] >= before + begun + more, 120, every=0.05):
            raise RuntimeError("not all sleep: %s %s" % (engine.counts(), engine.log()[-1500:]))


def main():
    alone = latency(RATE)[1]
    fresh()
    with Nginx() as nginx, Engine(nginx.url + "/json") as engine:
        before = engine.resident()
        asleep(engine, WAITING, 20000000)
        wait_until(lambda: (engine.resident() - before) / WAITING <= 1, 10, every=0.2)  # memory goes back to the system within seconds
        row("run_asleep", (engine.resident() - before) / WAITING, "kB/run", "<= 1")
        engine.kill()
        began = time.monotonic()
        engine.start()
        if not wait_until(lambda: engine.counts()["incidents"]["runs_asleep"] >= WAITING, 120, every=0.02):
            raise RuntimeError("after kill -9 not all sleep: %s" % engine.counts())
        row("recover_asleep", time.monotonic() - began, "s", "<= 10")
        row("first_request_p99_beside", first_requests(nginx, RATE)[1] / alone, "times", "<= 2")


if __name__ == "__main__":
    harness_quiet()
    try:
        if os.environ.get("BENCH_ROUND", "1") == "1":
            main()
    except RuntimeError as problem:
        diag(problem)
        sys.exit(1)
