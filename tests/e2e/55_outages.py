"""Redis away, frozen, killed, full, read-only, out of disk: the engine waits, says so, and goes on; what it acknowledged is there, and nothing is done twice."""
import http.client
import json
import os
import signal
import stat
import threading
import time

from harness import Client, Raw, ReplyError, Tocsin, done, free_port, is_, like, ok, program, wait_until
from redis import Redis
from sink import Sink

STOP_WITHIN = 2

STEADY = """return playbook { title = "Steady", when = { ["raw.kind"] = "steady" }, uses = { "webhook.post" },
  run = function(incident, act)
    for i = 1, 10 do
      act.webhook.post { path = "steady", json = { n = i } }
      incident:wait "150ms"
    end
  end }
"""
ECHO = """return playbook { title = "Echo", when = { ["raw.kind"] = "echo" }, uses = { "webhook.post" }, params = { id = schema.string { from = "raw.id" } },
  run = function(_, act, p) act.webhook.post { path = "echo", json = { id = p.id } } end }
"""


def make(sink, env=None, **more):
    port = free_port()
    tocsin = Tocsin(dict({"stop_within": "%ds" % STOP_WITHIN, "folders": {"playbooks": "playbooks"}, "connectors": {"webhook": Raw('webhook { url = "%s", limits = { per_minute = 0 } }' % sink.url)},
                          "webhook": {"listen": "127.0.0.1:%d" % port, "per_minute": 1000000, "sources": {"siem": {"token": Raw('secret "env:TOKEN"')}}}}, **more), env=dict({"TOKEN": "right-token-123"}, **(env or {})))
    tocsin.port = port
    tocsin.write("playbooks/steady.lua", STEADY)
    tocsin.write("playbooks/echo.lua", ECHO)
    tocsin.write("playbooks/triage-only.lua", 'return playbook { title = "Rest", run = function() end }\n')
    return tocsin


def post(tocsin, alert):
    """The status, or 0 when nobody answers; a 503 that does not say when to come again is none."""
    connection = http.client.HTTPConnection("127.0.0.1", tocsin.port, timeout=20)
    try:
        connection.request("POST", "/v1/alerts/siem", json.dumps(alert), {"Authorization": "Bearer right-token-123"})
        answer = connection.getresponse()
        return answer.status if answer.status != 503 or int(answer.headers.get("Retry-After", 0)) > 0 else -503
    except OSError:
        return 0
    finally:
        connection.close()


def echo(number):
    return {"kind": "echo", "id": "echo-%s" % number}


def sent(sink, path, member):
    return [json.loads(r["body"])[member] for r in sink.seen("/" + path)]


def balanced(tocsin, name):
    counts = next(c for c in tocsin.run("doctor", "--json").json()["checks"] if c["check"] == "alerts")
    ok(counts["ok"] and "waiting 0" in counts["text"], name + ": every alert is accounted for: " + counts["text"])


def steady_begun(tocsin, sink, redis=None):
    del sink.requests[:]
    tocsin.xadd({"kind": "steady", "id": os.urandom(6).hex()}, redis=redis)
    ok(wait_until(lambda: len(sink.seen("/steady")) >= 2, 10), "a run is under way")


def steady_ends(tocsin, sink, name):
    def ended():
        result = tocsin.run("run", "list", "--json")  # until Redis is there again this is an error, and says so
        return result.status == 0 and not result.json()["runs"]

    tocsin.wait_for(ended, name + ": the run comes to its end", 20)
    is_(sent(sink, "steady", "n"), list(range(1, 11)), name + ": each of its requests left once, in order")


def taken_again(tocsin, sink, name, number):
    tocsin.wait_for(lambda: post(tocsin, echo(number)) == 202, name + ": the webhook takes alerts again", 15)
    tocsin.wait_for(lambda: "echo-%s" % number in sent(sink, "echo", "id"), name + ": and they are handled", 15)
    is_(sent(sink, "echo", "id").count("echo-%s" % number), 1, name + ": once")


def absent(sink):
    redis = Redis(passwords=False)
    tocsin = make(sink, redis={"socket": redis.socket_path})
    tocsin.spawn()
    tocsin.wait_for(lambda: "Redis" in tocsin.log(), "no Redis at start: the log says so", 10)
    like(tocsin.log(), r"level=warning msg=\"Redis: .*redis.sock", "in one line that names where it was looked for")
    is_(tocsin.process.poll(), None, "serve waits for it")
    is_(tocsin.log().count("level=warning"), 1, "said once, not by every connection")
    ok(not tocsin.accepts(), "and takes no commands before")
    with redis:
        tocsin.wait_for(tocsin.accepts, "it starts once Redis is there", 15)
        tocsin.xadd(echo("absent"), redis=redis.client())
        ok(wait_until(lambda: "echo-absent" in sent(sink, "echo", "id"), 10), "and works")
        read_only(tocsin, sink, redis)
        is_(tocsin.terminate(), 0, "and ends well")
    tocsin.stop()


def no_password():
    with Redis() as redis:
        tocsin = Tocsin({"redis": {"socket": redis.socket_path}})
        tocsin.spawn()
        tocsin.wait_for(lambda: "redis.password" in tocsin.log(), "a Redis that wants a password: the log names the setting", 10)
        is_(tocsin.process.poll(), None, "and serve waits")
        is_(tocsin.terminate(), 0, "and ends when told to")
        tocsin.stop()


def read_only(tocsin, sink, redis):
    steady_begun(tocsin, sink, redis.client())
    with redis.client() as client:
        client.call("REPLICAOF", "127.0.0.1", free_port())
        ok(wait_until(lambda: post(tocsin, echo("readonly")) == 503, 10), "read-only: the webhook answers 503")
        tocsin.wait_for(lambda: "READONLY" in tocsin.log(), "read-only: the log says so", 10)
        is_(tocsin.run("now").status, 0, "read-only: looking is still possible")
        count = len(sink.seen("/steady"))
        client.call("REPLICAOF", "NO", "ONE")
    ok(count < 10, "read-only: the run waited")
    steady_ends(tocsin, sink, "read-only")
    taken_again(tocsin, sink, "read-only", "readonly")
    like(tocsin.log(), "Redis takes entries again", "read-only: the log says that it is over")
    balanced(tocsin, "read-only")


def redis_pid(tocsin):
    """0 while it is being written."""
    with open(os.path.join(tocsin.data, "redis", "redis.pid"), encoding="ascii") as f:
        return int(f.read() or 0)


def frozen(tocsin, sink):
    steady_begun(tocsin, sink)
    pid = redis_pid(tocsin)
    os.kill(pid, signal.SIGSTOP)
    since = time.monotonic()
    answers = []
    posting = threading.Thread(target=lambda: answers.append(post(tocsin, echo("frozen"))))
    posting.start()
    like(tocsin.run("now").err, r"^tocsin: .*Redis", "frozen: who asks is told that it is Redis")
    posting.join(20)
    is_(answers, [503], "frozen: the webhook answers 503, not 202")
    ok(len(sink.seen("/steady")) < 10, "frozen: nothing left without being on disk first")
    # Every command under way, XREADGROUP too (its BLOCK and 10 s), is given up now; Redis carries them out all the same.
    wait_until(lambda: time.monotonic() - since > 11, 20)
    os.kill(pid, signal.SIGCONT)
    steady_ends(tocsin, sink, "frozen")
    tocsin.wait_for(lambda: "echo-frozen" in sent(sink, "echo", "id"), "frozen: the alert that Redis took late is handled", 15)
    is_(sent(sink, "echo", "id").count("echo-frozen"), 1, "frozen: once")
    taken_again(tocsin, sink, "frozen", "thawed")
    balanced(tocsin, "frozen")


def killed_often(tocsin, sink):
    """Alerts pour in while Redis is killed three times."""
    accepted, stop = [], threading.Event()

    def pour():
        for number in range(100000):
            if stop.is_set():
                return
            if post(tocsin, echo("pour-%d" % number)) == 202:
                accepted.append("echo-pour-%d" % number)

    pouring = threading.Thread(target=pour)
    pouring.start()
    for _ in range(3):
        mark, pid = len(accepted), redis_pid(tocsin)
        ok(wait_until(lambda m=mark: len(accepted) > m + 10, 10), "killed often: alerts are taken (%d)" % len(accepted))
        os.kill(pid, signal.SIGKILL)
        ok(wait_until(lambda p=pid: redis_pid(tocsin) not in (0, p) and answers_ping(tocsin), 10), "killed often: Redis is there again")
    like(tocsin.log(), "signal 9.*it is started again", "killed often: the log says so")
    mark = len(accepted)
    wait_until(lambda: len(accepted) > mark + 5, 10)
    stop.set()
    pouring.join()
    tocsin.wait_for(lambda: set(accepted) <= set(sent(sink, "echo", "id")), "killed often: every alert that was acknowledged is handled", 20)
    seen = sent(sink, "echo", "id")
    ok(len(seen) == len(set(seen)), "killed often: none of %d twice" % len(seen))
    balanced(tocsin, "killed often")


def answers_ping(tocsin):
    try:
        with Client(tocsin.redis_socket) as client:
            return client.call("PING") == "PONG"
    except (OSError, ReplyError):
        return False


def nearly_full(tocsin, sink):
    """And slow: every command waits for it. What has begun comes to its end all the same; what is new waits in the queue, or is not taken."""
    steady_begun(tocsin, sink)
    with tocsin.redis() as client:
        client.call("SETRANGE", "filling", (16 << 20) - 1, "x")  # so that buffers that come and go decide nothing
        used = int(client.call("INFO", "memory").split(b"used_memory:")[1].split()[0])
        client.call("CONFIG", "SET", "maxmemory", used * 10 // 9)
        client.call("CLIENT", "PAUSE", 1000)
        tocsin.wait_for(lambda: "no new alert is taken" in tocsin.log(), "nearly full: the log says so, and what to do", 10)
        is_(post(tocsin, echo("refused")), 503, "nearly full: the webhook answers 503")
        for name in ("last", "queued"):  # the last goes to the read that waits already
            client.call("XADD", "tocsin:alerts", "*", "alert", json.dumps(echo(name)))
        steady_ends(tocsin, sink, "nearly full, and slow")
        is_([i for i in sent(sink, "echo", "id") if i in ("echo-queued", "echo-refused")], [], "nearly full: and no new one begins")
        client.call("CONFIG", "SET", "maxmemory", 0)
        client.call("DEL", "filling")
    tocsin.wait_for(lambda: "echo-queued" in sent(sink, "echo", "id"), "nearly full: with room again what waited is handled", 15)


def full(tocsin, sink):
    steady_begun(tocsin, sink)
    with tocsin.redis() as client:
        client.call("CONFIG", "SET", "maxmemory", "1mb")
        ok(wait_until(lambda: post(tocsin, echo("full")) == 503, 10), "full: the webhook answers 503")
        tocsin.wait_for(lambda: "OOM" in tocsin.log() and tocsin.log().count("no new alert is taken") == 2, "full: the log says so, and what to do", 10)
        is_(tocsin.run("now").status, 0, "full: looking is still possible")
        client.call("CONFIG", "SET", "maxmemory", "0")
    steady_ends(tocsin, sink, "full")
    taken_again(tocsin, sink, "full", "full")
    like(tocsin.log(), "Redis has room again", "full: the log says that it is over")
    balanced(tocsin, "full")


WRAPPER = """#!/usr/bin/env python3
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if os.path.exists(%r):
    with open(%r) as f:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(f.read()), resource.RLIM_INFINITY))
os.execv(%r, [%r, *sys.argv[1:]])
"""


def stopped(tocsin, sink):
    """SIGTERM in the middle of a request: its answer is waited for, nothing more is begun, and the run goes on at the next start."""
    sink.behave("/steady", lambda request: {"body": {"late": not threading.Event().wait(0.3)}})
    steady_begun(tocsin, sink)
    since = time.monotonic()
    is_(tocsin.terminate(), 0, "stopped: it ends well in the middle of a run")
    took, count = time.monotonic() - since, len(sink.seen("/steady"))
    ok(took < STOP_WITHIN and count < 5, "stopped: after %.1f s, when what was in flight had come back (%d requests)" % (took, count))
    sink.answer("/steady")
    tocsin.start()
    steady_ends(tocsin, sink, "stopped")


def stopped_late(tocsin, sink):
    """An answer that does not come is not waited for longer than `stop_within`; then nobody knows, and somebody is told so."""
    sink.behave("/echo", "stall")
    tocsin.xadd(echo("stalled"))
    ok(wait_until(lambda: "echo-stalled" in sent(sink, "echo", "id"), 10), "stopped late: a request is out, and stays out")
    since = time.monotonic()
    is_(tocsin.terminate(), 0, "stopped late: it ends well")
    took = time.monotonic() - since
    ok(STOP_WITHIN <= took < STOP_WITHIN + 3, "stopped late: after the %d s that it may take (%.1f s)" % (STOP_WITHIN, took))
    sink.answer("/echo")
    tocsin.start()
    tocsin.wait_for(lambda: len(tocsin.json("now")["in_doubt"]) == 1, "stopped late: then it is in doubt", 10)
    is_(sent(sink, "echo", "id").count("echo-stalled"), 1, "stopped late: and not sent again")


def disk_full(sink):
    folder_program = program("redis-server", "redis-server")
    tocsin = make(sink, env={"PATH": "{bin}"})
    limit = os.path.join(tocsin.folder, "limit")
    wrapper = tocsin.write("bin/redis-server", WRAPPER % (limit, limit, folder_program, folder_program))
    os.chmod(wrapper, stat.S_IRWXU)
    tocsin.env["PATH"] = os.path.dirname(wrapper) + ":" + os.environ["PATH"]
    tocsin.write("limit", "300000")  # room for the start: each connection may load the functions
    accepted = []
    with tocsin.start():
        for number in range(2000):
            status = post(tocsin, dict(echo("disk-%d" % number), filling="x" * 500))
            if status != 202:
                break
            accepted.append("echo-disk-%d" % number)
        is_(status, 503, "disk full: the webhook answers 503 (after %d alerts)" % len(accepted))
        tocsin.wait_for(lambda: "AOF" in tocsin.log(), "disk full: the log says why Redis ended", 10)
        is_(tocsin.process.poll(), None, "disk full: serve goes on")
        like(tocsin.run("now").err, r"^tocsin: .*Redis", "disk full: who asks is told that it is Redis")
        os.unlink(limit)
        taken_again(tocsin, sink, "disk full", "disk-after")
        tocsin.wait_for(lambda: set(accepted) <= set(sent(sink, "echo", "id")), "disk full: every alert that was acknowledged is handled", 20)
        seen = [i for i in sent(sink, "echo", "id") if "disk" in i]
        ok(len(seen) == len(set(seen)), "disk full: none twice")
        balanced(tocsin, "disk full")
        is_(tocsin.terminate(), 0, "disk full: it ends well")


began = time.monotonic()


def lap(name):
    global began
    print("# %s: %.1f s" % (name, time.monotonic() - began), flush=True)
    began = time.monotonic()


no_password()
with Sink() as sink_:
    absent(sink_)
    lap("absent, read-only")
    with make(sink_) as tocsin_:
        nearly_full(tocsin_, sink_)
        full(tocsin_, sink_)
        lap("full")
        killed_often(tocsin_, sink_)
        lap("killed often")
        frozen(tocsin_, sink_)
        lap("frozen")
        stopped(tocsin_, sink_)
        stopped_late(tocsin_, sink_)
        lap("stopped")
        is_(tocsin_.terminate(), 0, "it ends well after all that")
    disk_full(sink_)
    lap("disk full")
done()
