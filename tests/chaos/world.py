"""What the chaos tests share: a connector and playbooks, a real server that writes down every effect, and the audit afterwards.

Effects go to nginx, whose access log has one line for each request that it answered; `Truth` reads it, answers the
connector's probe from it, and is where the person of the test looks before saying what really happened. Journals are read straight
from Redis, so that watching a run does not add to the system calls of the engine under test.
"""
import collections
import json
import os
import random
import struct
import sys
import tempfile
import threading

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TESTS, "e2e"), os.path.join(TESTS, "servers")]
from common import BUILD  # noqa: E402
from harness import BINARY, ROOT, Client, Raw, ReplyError, Tocsin, journal_entries, wait_until  # noqa: E402,F401
from nginx import Nginx  # noqa: E402
from sink import Sink  # noqa: E402

CONNECTOR = """-- site.lua: the product of the chaos tests. contain asks the server after a lost answer, record may be repeated, bare and release
-- are neither: a person decides.
local function post(path)
  return function(p, settings)
    return { http = { method = "POST", url = settings.url, path = { path, p.n, p.what }, json = { what = p.what }, idempotency_key = "header" } }
  end
end
local function created(response)
  if response.status ~= 201 then return nil, { kind = "refused", message = "status " .. tostring(response.status), retry = false } end
  return { already = false }
end
local function action(path, more)
  local made = { doc = "POST to " .. path, effect = "record", params = { n = schema.string {}, what = schema.string {} },
                 returns = { already = schema.boolean { optional = true } }, request = post(path), result = created,
                 simulate = function() return { already = false } end }
  for name, value in pairs(more) do made[name] = value end
  return made
end
local function read(path, returns)
  return { doc = "GET " .. path, effect = "read", params = { n = schema.string {}, what = schema.string {} }, returns = returns,
           request = function(p, settings)
             return { http = { method = "GET", url = path == "look" and settings.url or settings.truth, path = { path, p.n, p.what } } }
           end,
           result = function(response)
             if response.status ~= 200 then return nil, { kind = "refused", message = "status " .. tostring(response.status), retry = true } end
             return path == "look" and { ok = response.body.ok } or { happened = response.body.happened }
           end,
           simulate = function() return {} end }
end

return connector {
  name = "site", title = "Site", settings = { url = schema.url {}, truth = schema.url {} },
  limits = { timeout = "1s", concurrent = 32, per_minute = 100000000, response_kib = 16 },
  actions = {
    look = read("look", { ok = schema.boolean { optional = true } }),
    seen = read("seen", { happened = schema.boolean {} }),
    record = action("record", { idempotent = true }),
    bare = action("bare", {}),
    contain = action("contain", { effect = "contain", target = { host = "what" }, probe = "seen", undo = "release" }),
    release = action("release", { effect = "contain", target = { host = "what" }, lifts = "contain" }),
  },
}
"""

EVERY = """-- every.lua: one of everything.
return playbook {
  title = "One of everything", when = { ["metadata.product.name"] = "Every" },
  uses = { "site.look", "site.contain", "site.record", "site.bare" }, params = { n = schema.string { from = "finding_info.uid" } },
  run = function(incident, act, p)
    must(act.site.look { n = p.n, what = "first" })
    local held = must(act.site.contain { n = p.n, what = p.n .. "-a", because = "chaos" })
    must(act.site.record { n = p.n, what = "opened" })
    local answer = incident:ask { "Go on?", role = "responder", options = { "go", "stop" }, within = "2h", otherwise = "stop" }
    if answer ~= "go" then return incident:hand_over("nobody said go") end
    local all = incident:parallel({ "-x", "-y", "-z" }, { max = 3 }, function(part)
      must(act.site.look { n = p.n, what = part })
      return must(act.site.contain { n = p.n, what = p.n .. part, because = "chaos" })
    end)
    for _, one in ipairs(all) do must(one.ok or nil, one.error) end
    must(act.site.bare { n = p.n, what = "only" })
    must(incident:undo(held))
    must(act.site.record { n = p.n, what = "closed" })
  end,
}
"""

LOAD = """-- load.lua: a read, a containment, a record; some with an effect that only a person can speak for, some undone again.
return playbook {
  title = "Load", when = { ["metadata.product.name"] = "Load" },
  uses = { "site.look", "site.contain", "site.record", "site.bare" }, params = { n = schema.string { from = "finding_info.uid" } },
  run = function(incident, act, p)
    local last = math.tointeger(tonumber(p.n:match("%d+$"))) % 20
    must(act.site.look { n = p.n, what = "first" })
    local held = must(act.site.contain { n = p.n, what = p.n .. "-a", because = "chaos" })
    if last == 7 then must(act.site.bare { n = p.n, what = "only" }) end
    must(act.site.record { n = p.n, what = "opened" })
    if last == 13 then must(incident:undo(held)) end
    incident:close { resolution = "handled", note = "chaos" }
  end,
}
"""

REST = 'return playbook { title = "Rest", run = function() end }\n'


def expected(kind, n):
    """{URI: True when it must never be repeated} of one alert."""
    if kind == "Every":
        once = ["/contain/%s/%s%s" % (n, n, part) for part in ("-a", "-x", "-y", "-z")] + ["/bare/%s/only" % n, "/release/%s/%s-a" % (n, n)]
        return dict({uri: True for uri in once}, **{"/record/%s/opened" % n: False, "/record/%s/closed" % n: False})
    uris = {"/contain/%s/%s-a" % (n, n): True, "/record/%s/opened" % n: False}
    last = int(n.rpartition("-")[2]) % 20
    if last == 7:
        uris["/bare/%s/only" % n] = True
    if last == 13:
        uris["/release/%s/%s-a" % (n, n)] = True
    return uris


def alert(kind, n):
    return json.dumps({"class_uid": 2004, "category_uid": 2, "activity_id": 1, "type_uid": 200401, "severity_id": 3, "time": 1795458121000,
                       "message": "m" * 200, "metadata": {"version": "1.3.0", "uid": n, "product": {"name": kind, "vendor_name": "Chaos"}},
                       "finding_info": {"title": "Something was found", "uid": n}})


class Truth:
    """What really happened, from nginx's access log; answers GET /seen/<n>/<what> about the containment of that name."""

    def __init__(self):
        self.nginx, self.sink = Nginx(), Sink()
        self.counts, self.keys, self.times = collections.Counter(), collections.defaultdict(set), []
        self.lock, self.read = threading.Lock(), 0

    def __enter__(self):
        self.nginx.start()
        self.sink.keep = lambda request: self.sink.requests.__setitem__(slice(None), [request])  # only the newest: there will be thousands
        self.sink.behave("/seen", self._seen)
        self.sink.start()
        return self

    def __exit__(self, *_):
        self.sink.stop()
        self.nginx.stop()

    def _seen(self, request):
        return {"status": 200, "body": {"happened": self.count("/contain" + request["path"][len("/seen"):]) > 0}}

    def look(self):
        with self.lock, open(self.nginx.path("access.log"), "rb") as log:
            log.seek(self.read)
            lines = log.read()
            lines = lines[:lines.rfind(b"\n") + 1]
            self.read += len(lines)
            for line in lines.decode("utf-8", "replace").splitlines():
                part = line.split("\t")
                if part[1] != "GET":
                    self.counts[part[2]] += 1
                    self.keys[part[2]].add(part[4])
                self.times.append(float(part[7]))
        return self

    def count(self, uri):
        return self.look().counts[uri]

    def audit(self, wanted):
        """(effects sent, [lost], [repeated though not idempotent, or repeated under another key]) of {URI: once}. nginx answers before it writes the line."""
        wait_until(lambda: self.look() and all(self.counts[u] for u in wanted), 5)
        lost = [u for u in wanted if not self.counts[u]]
        repeated = [u for u, once in wanted.items() if (once and self.counts[u] > 1) or len(self.keys[u]) > 1]
        return sum(self.counts[u] for u in wanted), lost, repeated


class Clock(threading.Thread):
    """The wall clock of every engine and every Redis of these tests: an hour forward, back again some seconds later, and so on, while time goes on as ever."""

    def __init__(self, seed):
        super().__init__(daemon=True)
        self.rng, self.path, self.jumps, self.over = random.Random(seed), tempfile.mktemp(prefix="tocsin-clock-"), 0, threading.Event()
        self.set(0)

    def set(self, seconds):
        """In place: the engines have the file mapped."""
        self.shown = seconds
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.pwrite(fd, struct.pack("q", seconds * 1000000), 0)
        os.close(fd)

    def env(self):
        """For a process that is to have this clock."""
        return {"LD_PRELOAD": CLOCK_SO, "CHAOS_CLOCK": self.path}

    def run(self):
        while not self.over.wait(1.5 + 3 * self.rng.random()):
            self.jumps += 1
            self.set(3600 * (self.jumps % 2))

    def stop(self):
        """Ends on the right time, whatever it showed before."""
        self.over.set()
        self.join()
        self.set(0)


CLOCK_SO = os.path.abspath(os.path.join(BUILD, "chaos", "clock.so"))
clock = None


def clock_begin(seed):
    """From here on the clock is set again and again."""
    global clock
    clock = Clock(seed)
    clock.start()


def label():
    """What is special about this run, for the table's first column."""
    return (", sanitizers" if "/asan/" in BINARY else "") + (", clock set by an hour" if clock else "")


def engine(truth, **more):
    tocsin = Tocsin(dict({"connectors": {"site": Raw('site { url = "%s", truth = "%s" }' % (truth.nginx.url, truth.sink.url))},
                          "folders": {name: "{folder}/" + name for name in ("connectors", "playbooks", "runbooks", "lists")},
                          "guard": {"ceiling": "contain"}}, **more))
    tocsin.env.update(clock.env() if clock else {})
    tocsin.write("connectors/site.lua", CONNECTOR)
    with open(os.path.join(ROOT, "connectors", "ocsf.lua"), encoding="utf-8") as f:
        tocsin.write("connectors/ocsf.lua", f.read())
    for name, text in (("every", EVERY), ("load", LOAD), ("triage-only", REST)):
        tocsin.write("playbooks/%s.lua" % name, text)
    for name in ("runbooks", "lists"):
        os.makedirs(os.path.join(tocsin.folder, name), exist_ok=True)
    return tocsin


def answer_of(truth, question):
    """What a person who looked at the server says; None: not for us."""
    options = question.get("options", [])
    if "done" in options:
        path = (((question.get("about") or {}).get("request") or {}).get("http") or {}).get("path")
        if not path:
            return None
        return "done" if truth.count("/" + "/".join(path)) else "not done, send it"
    return next((o for o in ("go", "release", "approve", "proceed") if o in options), None)


def answer(tocsin, question_id, word):
    """True when it was taken; an engine that is down now is asked again later."""
    try:
        return tocsin.api("POST", "/v1/command", {"command": "answer", "id": question_id, "answer": word}, timeout=10)[0] == 200
    except (OSError, ValueError):
        return False


# ---- journals, as Redis holds them

def entries(client, incident, after="0"):
    """[(head, body)] of an incident; bodies are envelopes of 32 random bytes and JSON."""
    rows = []
    for _, field in journal_entries(client, incident, "-" if after == "0" else "(" + after):
        body = field.get(b"b") or b""
        rows.append((json.loads(field[b"e"]), json.loads(body[32:]) if len(body) > 32 else {}))
    return rows


class Story:
    """One journal, folded to what the tests want to know."""

    def __init__(self, incident):
        self.incident, self.seq = incident, 0
        self.questions, self.runs, self.doubts, self.types, self.open_intents, self.text = {}, {}, 0, collections.Counter(), {}, []
        self.attached = collections.Counter()

    def look(self, client):
        for head, body in entries(client, self.incident, "%d-0" % self.seq if self.seq else "0"):
            self.fold(head, body)
        return self

    def fold(self, head, body):
        self.seq, kind = head["seq"], head["type"]
        step = "%s/%s/%s" % (self.incident, head.get("run", 0), head.get("step", ""))
        self.types[kind] += 1
        self.text.append("%d %s %s %s" % (self.seq, kind, head.get("step", ""), json.dumps(body)[:160]))
        if kind == "question.asked":
            self.questions[step] = body
        elif kind in ("question.answered", "question.expired", "question.withdrawn"):
            if not body.get("more"):
                self.questions.pop(step, None)
        elif kind == "run.started":
            self.runs[head["run"]] = "running"
        elif kind in ("run.finished", "run.handed_over", "run.cancelled"):
            self.runs[head["run"]] = body.get("status", kind.partition(".")[2])
        elif kind == "alert.attached":
            self.attached[(body.get("finding") or {}).get("finding_info", {}).get("uid", body.get("id"))] += 1
        elif kind == "action.intended":
            self.open_intents[step] = body
        elif kind in ("action.outcome", "action.resolved"):
            self.open_intents.pop(step, None)
        self.doubts += kind == "action.in_doubt"

    @property
    def over(self):
        return bool(self.runs) and all(status != "running" for status in self.runs.values())

    @property
    def good(self):
        return self.over and all(status == "done" for status in self.runs.values())


def stories(client):
    cursor = b"0"
    while True:
        cursor, keys = client.call("SCAN", cursor, "MATCH", "tocsin:{INC-*}:journal", "COUNT", "1000")
        for key in keys:
            yield Story(key.decode().partition("{")[2].partition("}")[0]).look(client)
        if cursor == b"0":
            return


def conserved(tocsin):
    """(it holds, what doctor says) of the alerts."""
    check = next((c for c in tocsin.run("doctor", "--json").json()["checks"] if c["check"] == "alerts"), {"ok": False, "text": "no such check"})
    return check["ok"] and " waiting 0" in check["text"], check["text"]


def verified(tocsin, incident):
    """A fault right after the end of a run may have cut the link to Redis: the export is asked for until it is there again. The check is made once."""
    path = os.path.join(tocsin.folder, incident + ".jsonl")
    return wait_until(lambda: tocsin.run("evidence", "export", incident, "-o", path).status == 0, 10) and tocsin.run("evidence", "verify", path).status == 0


# ---- the table

COLUMNS = ("scenario", "seed", "alerts in", "incidents", "runs finished", "effects sent", "repeated although not idempotent", "lost", "in doubt",
           "longest pause (s)")


def table(rows, path=None):
    for row in rows:
        for name, value in zip(COLUMNS, row):
            print("#   %-34s %s" % (name, value))
        print("#")
    if path:
        new = not os.path.exists(path)
        with open(path, "a", encoding="utf-8") as out:
            if new:
                out.write("\t".join(COLUMNS) + "\n")
            for row in rows:
                out.write("\t".join(str(v) for v in row) + "\n")
    sys.stdout.flush()
