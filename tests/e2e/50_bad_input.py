"""What is wrong from the start or comes wrong from outside: settings, playbooks, connectors, documents, servers that misbehave.

Each gets one clear line for people and an entry in its journal; everything else goes on meanwhile."""
import http.client
import json
import os
import socket
import time

from harness import ROOT, Raw, Tocsin, done, free_port, is_, like, note, ok, unlike, wait_until
from sink import Sink

GOOD = """return playbook { title = "Good", when = { ["raw.kind"] = "good" },
  run = function(incident) incident:note("the good one was here") end }
"""
BAD = {
    "loop": 'while true do end',
    "hidden-loop": 'while true do pcall(function() while true do end end) end',
    "memory": 'local t = {} for i = 1, 1e9 do t[i] = ("x"):rep(1000) .. i end',
    "one-string": 'local s = "x" while true do s = s .. s end',
    "pattern": 'for _ = 1, 1000 do (("a"):rep(30000)):find((".-"):rep(20) .. "b") end',
    "raise": 'local nothing = nil\n    return nothing.field',
    "odd-raise": 'error({ "a table" })',
    "deep": 'local function down(n) return 1 + down(n + 1) end\n    return down(1)',
    "odd-verb": 'incident:note(function() end)',
    "unknown-action": 'act.nowhere.to_go {}',
}
SAYS = {"loop": "CPU time", "hidden-loop": "CPU time", "memory": "memory", "one-string": "string|memory", "pattern": "steps|CPU time", "raise": "nothing", "odd-raise": "table",
        "deep": "memory|stack overflow", "odd-verb": "function|text", "unknown-action": "nowhere"}
BAD_CONNECTOR = """local text = schema.string { optional = true }
local function action(effect, request, result)
  return { doc = "Misbehaves.", effect = effect, params = { path = text }, returns = { text = text }, request = request, result = result, target = { path = "path" },
           undo = effect == "contain" and false or nil, recover = effect == "contain" and "look" or nil, simulate = function() return {} end }
end
local function ask(method) return function(p, settings) return { http = { method = method, url = settings.url, path = { p.path or "ok" } } } end end
local function fine(response)
  if response.status ~= 200 then return nil, failure("refused", response) end
  return { text = response.text and response.text:sub(1, 50) }
end
return connector {
  name = "bad", title = "Misbehaves", docs = "https://example.org/", settings = { url = schema.url {} },
  limits = { timeout = "1s", concurrent = 8, response_kib = 64 },
  actions = {
    get = action("read", ask("GET"), fine), post = action("record", ask("POST"), fine),
    request_raises = action("read", function(p) return p.nothing.at_all end, fine),
    request_loops = action("read", function() while true do end end, fine),
    request_number = action("read", function() return 42 end, fine),
    request_nothing = action("read", function() return nil end, fine),
    request_odd = action("read", function() return { http = { method = {}, url = 7 } } end, fine),
    request_two = action("read", function(_, s) return { http = { method = "GET", url = s.url }, redis = { command = { "PING" } } } end, fine),
    result_raises = action("read", ask("GET"), function(response) return response.nothing.at_all end),
    result_loops = action("read", ask("GET"), function() while true do end end),
    result_number = action("read", ask("GET"), function() return 42 end),
    result_nothing = action("read", ask("GET"), function() return nil end),
    result_wrong_type = action("read", ask("GET"), function() return { text = { 1 } } end),
    result_unknown = action("read", ask("GET"), function() return { other = "x" } end),
    post_raises = action("record", ask("POST"), function(response) return response.nothing.at_all end),
    post_request_raises = action("record", function(p) return p.nothing.at_all end, fine),
  },
}
"""
CALL = """return playbook { title = "Call", when = { ["raw.kind"] = "call" }, uses = { %s },
  params = { action = schema.string { from = "raw.action" }, path = schema.string { from = "raw.path" } },
  run = function(incident, act, p)
    local result, why = act[p.action:find("^tls") and "tls" or p.action:find("^gone") and "gone" or "bad"][p.action:match("[^.]+$")] { path = p.path }
    incident:note(p.action .. " " .. p.path .. " = " .. (result and "ok " .. tostring(result.text) or why.kind .. ": " .. why.message))
  end }
"""
READS = ("request_raises", "request_loops", "request_number", "request_nothing", "request_odd", "request_two", "result_raises", "result_loops", "result_number", "result_nothing",
         "result_wrong_type", "result_unknown", "post_request_raises")


def wrong_settings():
    tocsin = Tocsin({})
    for name, text, says in (
            ("misspelt", 'return {\n  data = "d",\n  redsi = { socket = "x" },\n}\n', r"settings.lua:3: .*`redsi`.*did you mean `redis`"),
            ("deep", 'return {\n  guard = {\n    celing = "contain",\n  },\n}\n', r"settings.lua:3: .*`?guard.celing`?.*`?ceiling"),
            ("type", 'return {\n  node = "n",\n  group_cap = "many",\n}\n', r"settings.lua:3: .*group_cap.*(number|integer)"),
            ("choice", 'return {\n  guard = { ceiling = "sky" },\n}\n', r"settings.lua:2: .*ceiling.*(notify|one of)"),
            ("duration", 'return {\n\n  dedupe = "long",\n}\n', r"settings.lua:3: .*dedupe"),
            ("syntax", 'return {\n  data = "d"\n  node = "n",\n}\n', r"settings.lua:3: .*expected"),
            ("no table", 'local x = 1\n', r"settings.lua: .*return"),
            ("loop", 'while true do end\n', r"settings.lua.*(CPU|time)"),
            ("bytecode", "\x1bLua\x54", r"settings.lua.*(binary|bytecode|text)"),
            ("secret in clear", 'return {\n  people = { a = { token = "hunter2hunter2", roles = {} } },\n}\n', r"settings.lua:2: .*token.*secret"),
            ("secret missing", 'return { data = "{folder}/d",\n  seal_key = secret "env:THERE_IS_NONE",\n}\n', r"THERE_IS_NONE"),
            ("connector", 'return { data = "{folder}/d", folders = { connectors = "{root}/connectors" },\n  connectors = { x = nosuch { url = "http://x" } },\n}\n', r"nosuch|there is no connector")):
        tocsin.write("settings.lua", text.replace("{folder}", tocsin.folder).replace("{root}", ROOT))
        result = tocsin.run("serve", "--settings", "settings.lua", timeout=20)
        ok(result.status == 1, "settings: %s: exit status 1" % name)
        like(result.err, says, "settings: %s: says where and what" % name)
        unlike(result.err + result.out, "hunter2", "settings: %s: no value of a secret is shown" % name)
    result = tocsin.run("serve", "--settings", "nowhere.lua", timeout=20)
    ok(result.status == 1 and "nowhere.lua" in result.err and "No such file" in result.err, "settings that are not there are named")
    result = tocsin.run("serve", "--settings", tocsin.folder, timeout=20)
    ok(result.status == 1 and tocsin.folder in result.err, "a folder in place of the settings")
    for words, status in ((["incident", "list"], 1), (["answer", "1/1/1", "keep"], 1), (["trigger", "x", "--because", "y"], 1), (["nonsense"], 2), (["incident", "show"], 2),
                          (["serve", "extra"], 2), (["run", "show", "1"], 2)):
        result = tocsin.run(*words)
        ok(result.status == status and result.err.count("\n") <= 3 and result.err.startswith("tocsin"), "tocsin %s with no daemon: %d and few words" % (" ".join(words), status))
    tocsin.stop()


def broken_at_start():
    for name, text, says in (("syntax", "return playbook {\n  title = \"x\",\n  run = function(incident)\n    if incident then\n  end,\n}\n", r"playbooks/broken.lua:5: "),
                             ("shape", "return playbook { titel = \"x\", run = function() end }\n", r"playbooks/broken.lua.*titel.*title"),
                             ("raises", "error('at load')\n", r"playbooks/broken.lua:1: at load"), ("loops", "while true do end\n", r"playbooks/broken.lua.*CPU time")):
        tocsin = Tocsin({"folders": {"playbooks": "playbooks"}})
        tocsin.write("playbooks/broken.lua", text)
        tocsin.spawn()
        is_(tocsin.process.wait(20), 1, "a playbook that is wrong (%s): serve ends with 1" % name)
        like(tocsin.log(), says, "and says which and where")
        ok(wait_until(lambda: not os.path.exists(tocsin.redis_socket), 5) or not redis_lives(tocsin), "and leaves no Redis behind")
        tocsin.stop()


def port_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        where = "127.0.0.1:%d" % other.getsockname()[1]
        with Tocsin({"webhook": {"listen": where, "sources": {"siem": {"token": Raw('secret "env:TOKEN"')}}}}, env={"TOKEN": "right-token-123"}) as tocsin:
            like(tocsin.log(), "level=error .*webhook does not listen.*%s.*in use" % where, "a port that is taken: the log says so")
            check = next((c for c in tocsin.run("doctor", "--json").json()["checks"] if c["check"] == "webhook"), {})
            ok(check.get("ok") is False and check.get("mend"), "and doctor, with what to do")
            tocsin.xadd({"kind": "any"})
            tocsin.wait_for(lambda: counted(tocsin) == 1, "the queue is read all the same", 10)
            second = tocsin.run("serve", timeout=20)
            ok(second.status == 1 and "another `tocsin serve` runs" in second.err, "a second serve on the same folder is refused")


def redis_lives(tocsin):
    try:
        with tocsin.redis() as r:
            return r.call("PING") == "PONG"
    except OSError:
        return False


def send(tocsin, **alert):
    tocsin.xadd(dict({"id": os.urandom(8).hex()}, **alert))


def ask(tocsin, command, **more):
    """Over the socket: a program for each question would take longer than what is tested."""
    return tocsin.api("POST", "/v1/command", dict(more, command=command))[1]


def runs(tocsin):
    return ask(tocsin, "run.list", all=True)["runs"]


def run_of(tocsin, playbook):
    return next((r for r in runs(tocsin) if r["playbook"] == playbook and r["status"] not in ("running", "waiting")), None)


def bad_playbooks(tocsin):
    began = time.monotonic()
    for name in BAD:
        send(tocsin, kind=name)
        send(tocsin, kind="good")
    tocsin.wait_for(lambda: sum(r["playbook"] == "good" and r["status"] == "done" for r in runs(tocsin)) == len(BAD), "runs beside them go on and end well", 20)
    for name in BAD:
        run = wait_until(lambda n=name: run_of(tocsin, "bad-" + n), 20)
        ok(run and run["status"] == "failed", "%s: the run has failed" % name)
        entries = ask(tocsin, "incident.show", id=run["incident"])["entries"] if run else []
        last = next((e for e in entries if e["type"] == "run.finished"), {}).get("body", {})
        like(last.get("error", ""), SAYS[name], "%s: its journal says why" % name)
        ok("bad-%s.lua" % name in json.dumps(last) or last.get("line"), "%s: and where" % name)
    handed = {h.get("playbook") for h in tocsin.json("now")["handed_over"]}
    ok({"bad-" + n for n in BAD} <= handed, "each is handed to a person")
    like(tocsin.run().out, "HANDED OVER", "tocsin alone lists them")
    ok(time.monotonic() - began < 30, "all of it in moments")


def counted(tocsin):
    """Alerts that are done with."""
    with tocsin.redis() as redis:
        return int(redis.call("HGET", "{tocsin:alerts}:counts", "attached") or 0)


def reload(tocsin):
    before = tocsin.json("playbook", "list")
    for name, text, says in (("playbooks/zz.lua", "return playbook {\n  title = ,\n}\n", r"zz.lua:2"), ("playbooks/zz.lua", "return 5\n", r"zz.lua"),
                             ("connectors/zz.lua", "return connector {\n  name = 'zz' nonsense }\n", r"zz.lua:2"), ("lists/zz.csv", "value,reason\n\"open\n", r"zz.csv")):
        path = tocsin.write(name, text)
        tocsin.write("playbooks/fresh.lua", GOOD.replace("good", "fresh"))
        result = tocsin.run("reload")
        ok(result.status == 1, "reload with %s broken: exit status 1" % name)
        like(result.err, says, "it says which and where")
        os.unlink(path)
        attached = counted(tocsin)
        send(tocsin, kind="fresh")
        wait_until(lambda n=attached: counted(tocsin) > n, 10)
        ok(all(r["playbook"] != "fresh" for r in runs(tocsin)), "nothing of it is taken")
        os.unlink(os.path.join(tocsin.folder, "playbooks/fresh.lua"))
    is_(tocsin.run("reload").status, 0, "mended, it is taken")
    is_(tocsin.json("playbook", "list"), before, "and nothing else has changed")


def note_of(tocsin, what):
    for incident in ask(tocsin, "incident.list", status="all")["incidents"]:
        for e in ask(tocsin, "incident.show", id=incident["id"])["entries"]:
            text = e.get("body", {}).get("text", "") if e["type"] == "incident.noted" else ""
            if text.startswith(what + " = "):
                return text[len(what) + 3:]
    return None


def call(tocsin, action, path="ok"):
    send(tocsin, kind="call", action=action, path=path)


def bad_connectors(tocsin):
    for name in READS:
        call(tocsin, name)
    call(tocsin, "post_raises")
    for name in READS:
        text = wait_until(lambda n=name: note_of(tocsin, n + " ok"), 15)
        like(text or "nothing came", r"^\w+: .{10}", "%s: the playbook is told: %s" % (name, text))
    tocsin.wait_for(lambda: any(d.get("action") == "bad.post_raises" or "post_raises" in json.dumps(d) for d in ask(tocsin, "now")["questions"]),
                    "an answer that a connector cannot read leaves a request above read in doubt: a person is asked")


def bad_servers(tocsin, sink):
    for how in ("stall", "close", "half", "huge", "garbage", "refuse"):
        sink.behave("/" + how, how)
    sink.answer("/429", status=429, body="slow down", headers={"Retry-After": "1"})
    sink.answer("/500", status=500, body="<html>broken</html>", headers={"Content-Type": "text/html"})
    sink.answer("/503", status=503, body="busy")
    sink.answer("/redirect", status=302, body="", headers={"Location": "http://169.254.169.254/latest"})
    sink.answer("/notjson", status=200, body="{\"a\": ")
    sink.answer("/latin1", status=200, body=b"caf\xe9 \x00\x01")
    cases = {"stall": r"no answer within 1000 ms", "close": r"(?:closed|Empty reply)", "half": r"remaining", "huge": r"longer than 65536", "garbage": r"HTTP/0.9", "refuse": r"(?:reset|closed|Empty reply)", "429": r"429",
             "500": r"500", "503": r"503", "redirect": r"302", "notjson": r"not JSON", "latin1": r"not JSON"}
    for path in cases:
        call(tocsin, "get", path)
    sink.answer("/wait", status=429, body="slow down", headers={"Retry-After": "86400"})
    call(tocsin, "get", "wait")
    call(tocsin, "gone.get")
    call(tocsin, "tls.get")
    send(tocsin, kind="good", n="meanwhile")
    for path, says in cases.items():
        text = wait_until(lambda p=path: note_of(tocsin, "get " + p), 20)
        like(text or "nothing came", r"^\w+: .*%s" % says, "GET from a server that %s: %s" % (path, (text or "")[:150]))
    like(wait_until(lambda: note_of(tocsin, "gone.get ok"), 10) or "", r"unavailable: .*127.0.0.1 port \d+", "nobody listens: said so")
    like(wait_until(lambda: note_of(tocsin, "tls.get ok"), 10) or "", r"(?i)certificate|SSL|TLS", "a certificate for another name is refused")
    is_(len(sink.seen("/wait")), 1, "a server that says when to come back is not asked before")
    for path in ("stall", "half", "refuse", "huge", "500"):
        before = len(sink.seen("/" + path))
        call(tocsin, "post", path)
        asked = wait_until(lambda p=path: next((q for q in ask(tocsin, "now")["questions"] if '"path":"%s"' % p in q["text"].replace(" ", "")), None) or note_of(tocsin, "post " + p), 10)
        if path == "500":
            like(asked if isinstance(asked, str) else "a question", r"^refused: .*500", "POST answered 500 by the product itself: refused, and the playbook is told")
            asked = None
        else:
            ok(isinstance(asked, dict), "POST to a server that does %s: in doubt, and a person is asked" % path)
        is_(len(sink.seen("/" + path)) - before, 1, "and it was sent once")
        if asked:
            is_(tocsin.run("answer", asked["id"], "abandon").status, 0, "the person gives it up")


def documents(tocsin, port):
    texts = {"empty": b"", "blank": b"  \n", "truncated": b'{"kind": "good", "a": [1, 2', "not UTF-8": b'{"kind": "\xff\xfe"}', "deep": b"[" * 100000 + b"]" * 100000,
             "binary": bytes(range(256)), "9 MiB": b'{"a":"' + b"x" * (9 << 20) + b'"}', "key twice the size": b'{"' + b"k" * 100000 + b'":1}', "100 MB": b'{"a":"' + b"x" * (100 << 20) + b'"}', "number": b"42", "null": b"null",
             "a list": b"[]", "big": b'{"kind":"big","n":123456789012345678901234567890}'}
    with tocsin.redis() as redis:
        for text in texts.values():
            redis.call("XADD", "tocsin:alerts", "*", "alert", text)
        redis.call("XADD", "tocsin:alerts", "*", "nothing", "of use")
        redis.call("XADD", "tocsin:alerts", "*", "alert", "{}", "source", "no such source")
        redis.call("XADD", "tocsin:alerts", "*", "alert", json.dumps({"class_uid": 2004, "metadata": {"product": {"name": "Many"}, "version": "1.1.0", "uid": "many"}, "severity_id": 3, "time": 1795459317000,
                   "finding_info": {"title": "ten thousand", "uid": "many"}, "observables": [{"type_id": 2, "type": "IP Address", "name": "x", "value": "10.1.%d.%d" % (i >> 8, i & 255)} for i in range(10000)]}))
        tocsin.wait_for(lambda: redis.call("XLEN", "tocsin:alerts") == 0, "every document from the queue is dealt with", 20)
    dead = tocsin.json("alert", "dead")
    ok(all(d["reason"] for d in dead["dead"]) and len(dead["dead"]) >= 6, "what cannot be read lies with its reason: %s" % sorted({d["reason"][:60] for d in dead["dead"]}))
    is_(tocsin.json("alert", "retry", next(d["id"] for d in dead["dead"] if d["size"] > 50 << 20))["retried"], 1, "a letter of 100 MB goes back on the queue")
    with tocsin.redis() as redis:
        tocsin.wait_for(lambda: redis.call("XLEN", "tocsin:alerts") == 0 and redis.call("XLEN", "{tocsin:alerts}:dead") == len(dead["dead"]), "and is set aside again", 20)
    like(tocsin.run("incident", "list", "--status", "all").out, "ten thousand", "ten thousand observables make an incident")

    def post(body, token="right-token-123", source="siem", headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request("POST", "/v1/alerts/" + source, body, dict({"Authorization": "Bearer " + token}, **(headers or {})))
            return connection.getresponse().status
        except (BrokenPipeError, ConnectionResetError):
            return 413
        finally:
            connection.close()

    is_(post(b'{"kind":"good"}'), 202, "the webhook takes an alert")
    is_(post(b'{"kind":"good"}', token="wrong"), 401, "a wrong token: 401")
    is_(post(b'{"kind":"good"}', source="unknown"), 401, "an unknown source: 401")
    is_(post(b""), 400, "nothing: 400")
    is_(post(b"x" * (100 << 20)), 413, "100 MB: refused")
    is_(post(b'{"kind":"good"}', headers={"X-Long": "y" * 200000}) // 100, 4, "an endless header: refused")
    is_(post(b'{"kind":"good"}'), 202, "and the next alert is taken")
    counts = next(c for c in tocsin.run("doctor", "--json").json()["checks"] if c["check"] == "alerts")
    ok(counts["ok"], "every alert is accounted for: " + counts["text"])


def link_all(tocsin, kind):
    for name in os.listdir(os.path.join(ROOT, kind)):
        if name.endswith(".lua") and not name.endswith("_test.lua"):
            os.symlink(os.path.join(ROOT, kind, name), os.path.join(tocsin.folder, kind, name))


began_at = time.monotonic()


def lap(name):
    global began_at
    note("%s: %.1f s" % (name, time.monotonic() - began_at))
    began_at = time.monotonic()


wrong_settings()
lap("settings")
broken_at_start()
port_taken()
lap("start")
with Sink() as sink_, Sink(tls="bad") as tls:
    port_ = free_port()
    tocsin_ = Tocsin({
        "folders": {"playbooks": "playbooks", "connectors": "connectors", "lists": "lists"}, "run": {"memory_mib": 4, "burst": "100ms", "total": "1s"},
        "connectors": {"bad": Raw('bad { url = "%s" }' % sink_.url), "gone": Raw('bad { url = "http://127.0.0.1:%d" }' % free_port()),
                       "tls": Raw('bad { url = "%s", network = { ca_file = "%s" } }' % (tls.url, tls.ca))},
        "webhook": {"listen": "127.0.0.1:%d" % port_, "sources": {"siem": {"token": Raw('secret "env:TOKEN"')}}},
        "guard": {"ceiling": "contain"},
    }, env={"TOKEN": "right-token-123"})
    tocsin_.write("playbooks/good.lua", GOOD)
    tocsin_.write("lists/empty.csv", "value,reason,owner,expires\n")
    for name_, body_ in BAD.items():
        tocsin_.write("playbooks/bad-%s.lua" % name_, 'return playbook { title = "%s", when = { ["raw.kind"] = "%s" },\n  run = function(incident, act)\n    %s\n  end }\n' % (name_, name_, body_))
    tocsin_.write("connectors/bad.lua", BAD_CONNECTOR)
    tocsin_.write("playbooks/call.lua", CALL % ", ".join('"bad.%s"' % n for n in (*READS, "get", "post", "post_raises")) .replace('"bad.get"', '"bad.get", "gone.get", "tls.get"'))
    link_all(tocsin_, "connectors")
    link_all(tocsin_, "playbooks")
    for name_ in os.listdir(os.path.join(ROOT, "playbooks", "lists")):
        os.symlink(os.path.join(ROOT, "playbooks", "lists", name_), os.path.join(tocsin_.folder, "lists", name_))
    with tocsin_.start():
        bad_playbooks(tocsin_)
        lap("bad_playbooks")
        reload(tocsin_)
        lap("reload")
        bad_connectors(tocsin_)
        lap("bad_connectors")
        bad_servers(tocsin_, sink_)
        lap("bad_servers")
        documents(tocsin_, port_)
        lap("documents")
        is_(tocsin_.terminate(), 0, "it ends well after all that")
done()
