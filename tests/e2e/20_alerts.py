"""Every way in, exactly once: queue fields, webhook, storms, duplicates, suppression, what nobody wants, what cannot be read; and the sum is right."""
import hashlib
import hmac
import http.client
import json
import os
import signal

from harness import Raw, Tocsin, done, elapsed, free_port, is_, note, ok
from product import Product, alert, conservation, content, entries

SECRETS = {"TOKEN": "a-webhook-token-1", "HMAC": "a-signing-key-99"}
PORT = free_port()


def post(source, body, token=None, headers=None, timeout=20):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=timeout)
    head = dict(headers or {}, **({"Authorization": "Bearer " + token} if token else {}))
    try:
        connection.request("POST", "/v1/alerts/" + source, body if isinstance(body, bytes) else body.encode(), head)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def signed(body, key=SECRETS["HMAC"]):
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(key.encode(), body.encode(), hashlib.sha256).hexdigest()}


def incidents(tocsin):
    return tocsin.json("incident", "list", "--status", "all", "--limit", "1000")["incidents"]


def titled(tocsin, title):
    return next((i for i in incidents(tocsin) if i["title"] == title), None)


def drained(tocsin):
    return conservation(tocsin)["waiting"] == 0


def one_alert(tocsin, title):
    return tocsin.wait_for(lambda: titled(tocsin, title), "it opens an incident: " + title)


def by_queue(tocsin, product):
    tocsin.xadd(alert("quentin", "q1"))
    one_alert(tocsin, "about quentin")
    tocsin.wait_for(lambda: product.count("once", "quentin") == 1, "and its playbook runs")
    raw = json.dumps(alert("sylvia", "s1"))
    with tocsin.redis() as redis:
        redis.call("XADD", "tocsin:alerts", "*", "HOST", "gw1", "PROGRAM", "siem", "MESSAGE", raw, "PRIORITY", "warning")
        one_alert(tocsin, "about sylvia")
        before = len(incidents(tocsin))
        redis.call("XADD", "tocsin:alerts", "*", "HOST", "gw1", "PROGRAM", "sshd", "MESSAGE", "Failed password for root from 10.0.0.9")
    tocsin.wait_for(lambda: drained(tocsin) and len(incidents(tocsin)) == before + 1, "a log shipper's line is an alert too")


def pretending(tocsin, product):
    """An intruder who can write an alert must not be able to call it an exercise, which would switch the response off."""
    claims = {"mode": "exercise", "exercise": "EX-000001", "incident": "EX-000001", "simulated": True}
    body = json.dumps(dict(alert("edith", "EX-000001", unmapped=claims), id="EX-000001", **claims))
    with tocsin.redis() as redis:
        redis.call("XADD", "tocsin:alerts", "*", "alert", body, "mode", "exercise", "incident", "EX-000001", "simulated", "1")
    incident = one_alert(tocsin, "about edith")
    is_((incident["id"][:4], incident.get("mode")), ("INC-", "live"), "an alert that says it is an exercise is real")
    tocsin.wait_for(lambda: product.count("once", "edith") == 1, "and is answered for real")
    is_([i["id"] for i in incidents(tocsin) if i["id"].startswith("EX-")], [], "no exercise comes of it")


def by_webhook(tocsin, product):
    body = json.dumps(alert("walter", "w1"))
    is_(post("tok", body, SECRETS["TOKEN"]), 202, "the token is right: 202")
    one_alert(tocsin, "about walter")
    is_(post("tok", body, "wrong-token-12345"), 401, "a wrong token: 401")
    is_(post("tok", body), 401, "no token: 401")
    is_(post("nobody", body, SECRETS["TOKEN"]), 401, "an unknown source looks the same")
    is_(post("tok", "", SECRETS["TOKEN"]), 400, "an empty body: 400")
    is_(post("tok", "x" * (65 << 10), SECRETS["TOKEN"]), 413, "more than the settings allow: 413")
    body = json.dumps(alert("wanda", "w2"))
    is_(post("sig", body, headers=signed(body)), 202, "the signature is right: 202")
    one_alert(tocsin, "about wanda")
    is_(post("sig", body, headers=signed(body, "another-key-12")), 401, "a wrong signature: 401")
    is_(post("sig", body + " ", headers=signed(body)), 401, "a changed body: 401")
    is_(post("both", body, headers=signed(body)), 401, "both are asked for, one is shown: 401")
    is_(post("both", body, SECRETS["TOKEN"], signed(body)), 202, "both: 202")
    statuses = [post("few", body, SECRETS["TOKEN"]) for _ in range(45)]
    is_(sorted(set(statuses)), [202, 429], "too many in a minute: 429")
    is_(statuses.index(429), 40, "after as many as the settings allow")
    is_(post("tok", json.dumps(alert("willy", "w3")), SECRETS["TOKEN"]), 202, "another source is none the worse")


def twice(tocsin, product):
    tocsin.wait_for(lambda: drained(tocsin), "the queue is empty")
    before = conservation(tocsin)
    tocsin.xadd(*[alert("doris", "d1")] * 5)
    tocsin.wait_for(lambda: drained(tocsin), "five deliveries of one alert are taken")
    after = conservation(tocsin)
    is_((after["attached"] - before["attached"], after.get("duplicate", 0) - before.get("duplicate", 0)), (1, 4), "one is attached, four are duplicates")
    is_(titled(tocsin, "about doris")["alerts"], 1, "the incident has one alert")


def one_refused(tocsin, product):
    """What is asked of Redis for many messages at once and refused because of one of them is asked for each alone."""
    with tocsin.redis() as redis:
        tocsin.xadd(alert("ursula", "u-first"))
        one_alert(tocsin, "about ursula")
        tocsin.wait_for(lambda: drained(tocsin), "the queue is empty")
        key = redis.call("ZREVRANGE", "{tocsin:alerts}:seen", "0", "0")[0]
        broken = (key.decode() if isinstance(key, bytes) else key).replace("u-first", "u-broken")
        redis.call("HSET", "{tocsin:alerts}:routed", broken, "no JSON")
        before = conservation(tocsin)
        ids = ["u-%d" % i for i in range(10)]
        redis.pipeline([("MULTI",)] + [("XADD", "tocsin:alerts", "*", "alert", json.dumps(alert("ursula", i)))
                                       for i in ids[:5] + ["u-broken", "u-broken", "u-3"] + ids[5:]] + [("EXEC",)])
        tocsin.wait_for(lambda: conservation(tocsin)["waiting"] == 2, "what came beside a message that cannot be routed is taken")
        is_(titled(tocsin, "about ursula")["alerts"], 11, "each once")
        redis.call("HDEL", "{tocsin:alerts}:routed", broken)
        tocsin.wait_for(lambda: drained(tocsin), "once it can be routed, it is taken too")
        after = conservation(tocsin)
        is_((after["attached"] - before["attached"], after.get("duplicate", 0) - before.get("duplicate", 0), after["difference"]), (11, 2, 0),
            "and nothing was done twice: %r" % after)
        is_(titled(tocsin, "about ursula")["alerts"], 12, "the incident has them all")
        is_(redis.call("HLEN", "{tocsin:alerts}:routed"), 0, "and no routing is left over")


def storm(tocsin, product):
    with tocsin.redis() as redis:
        for part in range(100):
            redis.pipeline([("XADD", "tocsin:alerts", "*", "alert", json.dumps(alert("stormy", "storm-%d" % (part * 100 + i)))) for i in range(100)])
    began = elapsed()
    tocsin.wait_for(lambda: drained(tocsin), "10,000 alerts about one user are taken", timeout=90)
    note("in %.1f s" % (elapsed() - began))
    stormy = [i for i in incidents(tocsin) if i["title"] == "about stormy"]
    is_([i["alerts"] for i in stormy], [10000], "they are one incident with 10,000 alerts")
    tocsin.wait_for(lambda: product.count("once", "stormy") == 1, "and one run")
    is_(len([r for r in tocsin.json("run", "list", "--all")["runs"] if r["incident"] == stormy[0]["id"]]), 1, "one and no more")
    tocsin.restart(kill=True)
    tocsin.wait_for(lambda: (titled(tocsin, "about stormy") or {}).get("alerts") == 10000, "also after a crash")


def unwanted(tocsin):
    tocsin.xadd(alert("nora", "n1", "Nobody's"))
    one_alert(tocsin, "about nora")
    incident = titled(tocsin, "about nora")["id"]
    tocsin.wait_for(lambda: any("nobody's alert" in json.dumps(e) for e in entries(tocsin, incident)), "the default playbook looks at it")
    before = len(incidents(tocsin))
    tocsin.xadd(alert("deploy-bot", "x1"), alert("deploy-bot", "x2"))
    tocsin.wait_for(lambda: drained(tocsin) and conservation(tocsin).get("suppressed") == 2, "suppressed alerts are counted")
    is_(len(incidents(tocsin)), before, "and open nothing")
    tocsin.xadd(alert("old-bot", "x3"))
    one_alert(tocsin, "about old-bot")  # that rule has expired


def many_in_one(tocsin):
    before = len(incidents(tocsin))
    firing = [{"status": "firing", "labels": {"alertname": "Disk%d" % i, "severity": "warning"}, "annotations": {"summary": "disk %d" % i},
               "startsAt": "2026-11-23T10:00:00Z", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "f%015d" % i, "generatorURL": ""} for i in range(7)]
    group = {"version": "4", "groupKey": "{}:{}", "status": "firing", "receiver": "tocsin", "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
             "externalURL": "http://am", "truncatedAlerts": 0, "alerts": firing}
    tocsin.xadd(group)
    tocsin.wait_for(lambda: drained(tocsin) and conservation(tocsin).get("split") == 1, "a body of several alerts is split")
    is_(len(incidents(tocsin)) - before, 7, "into as many")


def unreadable(tocsin):
    dead = conservation(tocsin).get("dead", 0)
    bad = [b"", b"{", b'{"a":' * 100000, b"\xff\xfe{}", b'{"a":"\xc3("}', json.dumps(alert("x", "y"))[:-20].encode(), b"x" * (9 << 20)]
    with tocsin.redis() as redis:
        redis.pipeline([("XADD", "tocsin:alerts", "*", "alert", b) for b in bad])
    tocsin.wait_for(lambda: drained(tocsin), "what cannot be read is taken", timeout=60)
    letters = tocsin.json("alert", "dead")
    is_(conservation(tocsin)["dead"] - dead, len(bad), "and set aside, all of it")
    ok(all(d["reason"] for d in letters["dead"]), "with a reason each: %s" % sorted({d["reason"][:50] for d in letters["dead"]}))
    with tocsin.redis() as redis:
        kept = redis.call("XRANGE", "{tocsin:alerts}:dead", "-", "+")
    bodies = [fields[fields.index("alert" if isinstance(fields[0], str) else b"alert") + 1] for _, fields in kept]
    is_([b for b in bad if b not in bodies and b.decode("utf-8", "surrogateescape") not in [str(x) for x in bodies]], [], "and its very bytes")
    first = letters["dead"][0]["id"]
    is_(tocsin.run("alert", "retry", first).status, 0, "one is put back")
    tocsin.wait_for(lambda: drained(tocsin) and conservation(tocsin)["dead"] == dead + len(bad) + 1, "and set aside again")
    is_(tocsin.run("alert", "retry", "1-1").status, 1, "there is no such letter")
    is_(tocsin.run("alert", "retry", "--all").status, 0, "all are put back")
    tocsin.wait_for(lambda: drained(tocsin), "and taken again")


def large(tocsin):
    many = [{"name": "src_endpoint.ip", "type": "IP Address", "type_id": 2, "value": "10.%d.%d.%d" % (i >> 16, i >> 8 & 255, i & 255)} for i in range(10000)]
    tocsin.xadd(alert("olga", "o1", observables=many))
    one_alert(tocsin, "about olga")
    deep = {}
    for _ in range(57):
        deep = {"d": deep}
    tocsin.xadd(alert("deepa", "deep1", unmapped=deep))
    one_alert(tocsin, "about deepa")
    tocsin.restart()
    ok(titled(tocsin, "about deepa"), "what is deep is still there after a restart")
    is_(tocsin.run("incident", "show", titled(tocsin, "about deepa")["id"]).status, 0, "and can be shown")
    is_(tocsin.run("incident", "note", titled(tocsin, "about deepa")["id"], "seen").status, 0, "and worked on")


def without_redis(tocsin):
    with open(os.path.join(tocsin.data, "redis", "redis.pid"), encoding="ascii") as f:
        redis = int(f.read())
    os.kill(redis, signal.SIGSTOP)  # not even its supervisor sees that
    try:
        status = post("tok", json.dumps(alert("rex", "r1")), SECRETS["TOKEN"], timeout=60)
    finally:
        os.kill(redis, signal.SIGCONT)
    is_(status, 503, "nobody keeps the alert: 503")
    os.kill(redis, signal.SIGKILL)
    body = json.dumps(alert("rex", "r2"))
    tocsin.wait_for(lambda: post("tok", body, SECRETS["TOKEN"]) == 202, "once Redis is back, 202", timeout=60)
    one_alert(tocsin, "about rex")


with Product() as product:
    tocsin = Tocsin({}, env=SECRETS)
    token, key = Raw('secret "env:TOKEN"'), Raw('secret "env:HMAC"')
    base = {"folders": content(tocsin.folder), "connectors": {"product": Raw('product { url = "%s" }' % product.url)}, "guard": {"ceiling": "notify"},
            "suppress": [{"name": "deploys", "when": {"actor.user.name": "deploy-bot"}, "reason": "deploy window", "owner": "ops", "expires": "2099-01-01"},
                         {"name": "was", "when": {"actor.user.name": "old-bot"}, "reason": "over", "owner": "ops", "expires": "2020-01-01"}],
            "webhook": {"listen": "127.0.0.1:%d" % PORT, "max_body_kib": 64, "per_minute": 40,
                        "sources": {"tok": {"token": token}, "sig": {"signature": key}, "both": {"token": token, "signature": key}, "few": {"token": token}}}}
    tocsin.settings(base)
    with tocsin:
        by_queue(tocsin, product)
        pretending(tocsin, product)
        by_webhook(tocsin, product)
        twice(tocsin, product)
        one_refused(tocsin, product)
        storm(tocsin, product)
        unwanted(tocsin)
        many_in_one(tocsin)
        unreadable(tocsin)
        large(tocsin)
        without_redis(tocsin)
        tocsin.wait_for(lambda: drained(tocsin), "the queue is empty at the end")
        counts = conservation(tocsin)
        is_(counts["difference"], 0, "accepted = attached + duplicate + suppressed + dead + split + waiting: %r" % counts)
        shown = [c for c in tocsin.run("doctor", "--json").json()["checks"] if c["check"] in ("alerts", "intents")]
        ok(shown and all(c["ok"] for c in shown), "doctor says so too: %r" % shown)
        is_(tocsin.terminate(), 0, "it stops in order")
        ok("Sanitizer" not in tocsin.log() and "runtime error" not in tocsin.log(), "no memory error was seen")
done()
