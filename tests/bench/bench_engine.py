"""The engine's own numbers, on the Redis and nginx that tests/bench/run gives (see there for the form).

engine: alerts through queue, router, journal, Lua and three requests that preload/curl.c answers at once, ten entries each.
engine_http: the same with three real HTTP requests to nginx.
engine_bytes: of the entries that one such run leaves in Redis.
first_request_p50/p99: from XADD to the first request in nginx's log, at a tenth of the measured load.
idle: resident memory of the process after start.
start: from exec to the first accepted connection, Redis being up.
"""
import json
import os
import re
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from harness import Raw, Tocsin, diag, harness_quiet, wait_until  # noqa: E402

from nginx import Nginx  # noqa: E402
from redis import Client  # noqa: E402

REDIS, URL = os.environ["BENCH_REDIS"], os.environ["BENCH_URL"]
RUNS = int(os.environ.get("BENCH_RUNS", "20000"))

# As in the floor, the connections to one host are what bounds requests: a limit below the runs in flight would make intents wait for others' answers.
CONNECTOR = """-- bench.lua: three POSTs to nginx.
local function action(path)
  return {
    doc = "POST to " .. path, effect = "record", idempotent = true,
    params = { n = schema.string {} }, returns = { id = schema.string { optional = true } },
    request = function(p, settings)
      return { http = { method = "POST", url = settings.url, path = { path, p.n }, json = { n = p.n, text = settings.text }, idempotency_key = "header" } }
    end,
    result = function(response)
      if response.status ~= 201 then return nil, { kind = "refused", message = "status " .. tostring(response.status), retry = false } end
      return { id = response.body.id }
    end,
    simulate = function() return { id = "42" } end,
  }
end

return connector {
  name = "bench", title = "Bench",
  settings = { url = schema.url {}, text = schema.string { default = ("x"):rep(160) } },
  limits = { timeout = "20s", concurrent = 512, per_minute = 100000000, response_kib = 16 },
  actions = { first = action "first", second = action "second", third = action "third" },
}
"""

PLAYBOOK = """-- bench-three.lua: three actions above read.
return playbook {
  title = "Three actions",
  when = { ["metadata.product.name"] = "Bench" },
  uses = { "bench.first", "bench.second", "bench.third" },
  params = { n = schema.string { from = "finding_info.uid" } },
  run = function(incident, act, p)
    must(act.bench.first { n = p.n })
    must(act.bench.second { n = p.n })
    must(act.bench.third { n = p.n })
  end,
}
"""

ASKING = """-- bench-ask.lua: waits for an answer.
return playbook {
  title = "One question",
  when = { ["metadata.product.name"] = "BenchAsk" },
  run = function(incident)
    local answer = incident:ask { "Go on?", role = "responder", options = { "yes", "no" }, within = "2h", otherwise = "no" }
    if answer == "yes" then incident:note "yes" end
  end,
}
"""

# Adds ARGV[1] alerts, numbered from ARGV[2], made of ARGV[3] … number … ARGV[4], in one turn of Redis.
PUSH = """for i = 0, tonumber(ARGV[1]) - 1 do
  redis.call('XADD', 'tocsin:alerts', '*', 'alert', ARGV[3] .. (tonumber(ARGV[2]) + i) .. ARGV[4])
end
return 1"""


def alert(product):
    """An OCSF Detection Finding of about 1,400 bytes, as two halves around its number."""
    text = json.dumps({
        "class_uid": 2004, "category_uid": 2, "activity_id": 1, "type_uid": 200401, "severity_id": 3, "time": 1795458121000,
        "message": "m" * 700, "metadata": {"version": "1.3.0", "product": {"name": product, "vendor_name": "Bench"}},
        "actor": {"user": {"name": "alice", "uid": "1001"}}, "src_endpoint": {"ip": "10.1.2.3", "hostname": "host-17"},
        "finding_info": {"title": "Something was found", "uid": "NUMBER", "analytic": {"uid": "rule-1", "name": "a rule"}},
        "observables": [{"name": "actor.user.name", "type_id": 4, "value": "alice"}]})
    return text.split("NUMBER")


pause = threading.Event()  # never set

# What answers requests without a socket.
STUB = os.path.abspath(os.path.join(os.environ.get("TOCSIN_BUILD", "build"), "bench", "preload", "curl.so"))


class Engine(Tocsin):
    def __init__(self, url, env=None):
        scratch = os.environ.get("BENCH_FOLDER")
        kept = tempfile.mkdtemp(dir=scratch) if scratch else None  # see tests/bench/run
        # As many in flight as the floor has.
        super().__init__({"redis": {"socket": REDIS}, "run": {"most": 256}, "connectors": {"bench": Raw('bench { url = "%s" }' % url)},
                          "folders": {"connectors": "{folder}/connectors", "playbooks": "{folder}/playbooks", "runbooks": "{folder}/playbooks",
                                      "lists": "{folder}/lists"}}, env=env, folder=kept)
        self.write("connectors/bench.lua", CONNECTOR)
        ocsf = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "connectors", "ocsf.lua")
        with open(ocsf, encoding="utf-8") as f:
            self.write("connectors/ocsf.lua", f.read())
        self.write("playbooks/bench-three.lua", PLAYBOOK)
        self.write("playbooks/bench-ask.lua", ASKING)
        self.write("playbooks/triage-only.lua", 'return playbook { title = "None", run = function() end }\n')

    def push(self, count, first, product="Bench"):
        head, tail = alert(product)
        with Client(REDIS) as client:
            client.call("EVAL", PUSH, 0, count, first, head, tail)

    def resident(self):
        with open("/proc/%d/status" % self.pid, encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))

    def counts(self):
        return self.api("POST", "/v1/command", {"command": "counts"})[1]


def row(name, value, unit, goal=""):
    print("%s\t%.3f\t%s\t%s" % (name, value, unit, goal), flush=True)


def fresh():
    with Client(REDIS) as client:
        client.call("FLUSHALL", "SYNC")


def outcomes(engine):
    return engine.counts().get("actions", {}).get("outcomes", 0)


def throughput(engine, count, first):
    """Runs a second; every third outcome ends one."""
    before = outcomes(engine)
    engine.push(count, first)
    began, done, wanted = time.monotonic(), 0, 3 * count  # as the floor: until here Redis was busy taking them all
    while done < wanted:
        # Seldom, until the end is near: the floor answers nobody's questions meanwhile.
        passed = time.monotonic() - began
        if passed > 300:
            raise RuntimeError("only %d of %d outcomes: %s" % (done, wanted, engine.log()[-1500:]))
        pause.wait(min(1, max(0.02, (wanted - done) * passed / done / 2)) if done else 0.05)
        done = outcomes(engine) - before
    return count / (time.monotonic() - began)


def first_requests(nginx, rate):
    """(p50, p99) in ms from XADD to the first request's line in nginx's log."""
    count, sent = max(200, min(3000, int(rate * 5))), {}
    head, tail = alert("Bench")
    tick = threading.Event()
    with Client(REDIS) as client:
        began = time.time()
        for n in range(count):
            tick.wait(max(0, began + n / rate - time.time()))
            sent[str(n)] = time.time()
            client.call("XADD", "tocsin:alerts", "*", "alert", head + str(n) + tail)

    def first():
        return {urllib.parse.urlparse(r["uri"]).path.rsplit("/", 1)[1]: float(r["msec"]) for r in nginx.requests() if "/first/" in r["uri"]}

    if not wait_until(lambda: len(first()) >= count, 60, every=0.2):
        raise RuntimeError("only %d of %d first requests" % (len(first()), count))
    waits = sorted(1000 * (at - sent[n]) for n, at in first().items() if n in sent)
    return waits[len(waits) // 2], waits[len(waits) * 99 // 100]


def latency(rate):
    fresh()
    with Nginx() as nginx, Engine(nginx.url + "/json") as engine:
        return first_requests(nginx, rate)


def bytes_of_run():
    """Bytes of one run's heads, hashes and bodies."""
    with Client(REDIS) as client:
        keys = client.call("KEYS", "tocsin:{INC-*}:journal")
        items = client.call("XRANGE", keys[len(keys) // 2], "-", "+")
    return sum(len(value) for _, fields in items for value in fields[1::2])


def speed(base, env=None):
    fresh()
    with Engine(base, env) as engine:
        asked = engine.run("doctor")  # what blocks goes out as ever, also past the stub
        if asked.status < 0:
            raise RuntimeError("doctor was ended by signal %d" % -asked.status)
        throughput(engine, min(1000, RUNS), 0)
        return throughput(engine, RUNS, 1000)


def main():
    fresh()
    base = URL.rsplit("/", 1)[0]
    engine = Engine(base)
    began = time.monotonic()
    with engine:
        row("start", 1000 * (time.monotonic() - began), "ms", "<= 100")
        row("idle", engine.resident() / 1024, "MB", "<= 20")
    row("engine", speed(base, {"LD_PRELOAD": STUB}), "runs/s")
    rate = speed(base)
    row("engine_http", rate, "runs/s")
    row("engine_bytes", bytes_of_run(), "B")
    p50, p99 = latency(rate / 10)
    row("first_request_p50", p50, "ms")
    row("first_request_p99", p99, "ms", "<= 10")


if __name__ == "__main__":
    harness_quiet()
    try:
        main()
    except RuntimeError as problem:
        diag(problem)
        sys.exit(1)
