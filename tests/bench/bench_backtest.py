"""backtest: past alerts that `tocsin playbook backtest` plays in a second, two to an incident, with the playbook and the connectors that ship (see tests/bench/run for the form).

On all processors that there are. The goal is 100,000 alerts in two minutes or so.
"""
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from harness import Tocsin, diag, harness_quiet  # noqa: E402

ALERTS = int(os.environ.get("BENCH_ALERTS", "5000"))


def alert(number):
    return {"class_uid": 2004, "category_uid": 2, "activity_id": 1, "type_uid": 200401, "severity_id": 5, "time": 1763900000000 + 1000 * number, "message": "m",
            "metadata": {"version": "1.3.0", "uid": "b-%d" % number, "product": {"name": "Bench", "vendor_name": "Bench"}},
            "finding_info": {"uid": "b-%d" % number, "title": "credentials", "attacks": [{"technique": {"uid": "T1078"}}]},
            "actor": {"user": {"name": "user%d" % (number // 2)}}}


def main():
    tocsin = Tocsin({})
    path = tocsin.write("alerts.jsonl", "".join(json.dumps(alert(n)) + "\n" for n in range(ALERTS)))
    began = time.monotonic()
    result = tocsin.run("playbook", "backtest", "contain-account", path, "--json", timeout=600)
    took = time.monotonic() - began
    report = json.loads(result.out) if result.status == 0 else {}
    if report.get("attached") != ALERTS or report.get("incidents") != ALERTS // 2:
        raise RuntimeError("not every alert was played: %s %s" % (result.err[-1000:], {k: report.get(k) for k in ("alerts", "attached", "incidents", "unwanted")}))
    print("backtest\t%.1f\talerts/s\t>= 800" % (ALERTS / took), flush=True)


if __name__ == "__main__":
    harness_quiet()
    try:
        main()
    except RuntimeError as problem:
        diag(problem)
        sys.exit(1)
