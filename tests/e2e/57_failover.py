"""Redis' master dies and Sentinel makes a replica the master: what counted is there, what was lost is said.

First under load, with a replica that must hold every entry before it counts; servers and sentinels speak TLS only, and want certificates and users' passwords.
Then a replica that was cut off before becomes the master: a node that lived appends again what that one lacks, byte for byte; the journals of a node that died with the master are uncertain, and act only when a person agrees.
"""
import json
import os
import signal

from harness import Failed, Raw, Tocsin, diag, done, elapsed, is_, journal_entries, like, note, ok, wait_until
from common import certificates
from product import ASKER, Product, alert, conservation, content
from sentinel import Secured, Sentinels

ALERTS = 120


class Node(Tocsin):
    def __init__(self, name, redis, product, **more):
        super().__init__({})
        self.server = redis
        folders = content(self.folder)
        with open(os.path.join(folders["playbooks"], "asker.lua"), "w", encoding="utf-8") as f:
            f.write(ASKER)
        self.settings({"node": name, "lease": "2s", "redis": dict({"sentinels": redis.addresses, "master": "tocsin", "lanes": 4}, **more),
                       "seal_key": Raw('secret "env:SEAL"'), "folders": folders, "guard": {"ceiling": "notify"},
                       "connectors": {"product": Raw('product { url = "%s" }' % product.url)}})
        self.env["SEAL"] = "a key that both nodes share"
        if redis.secured:
            self.env.update(ENGINE=redis.secured.engine, ASKER=redis.secured.asker)

    def redis(self):
        return self.server.client()


def secured_settings(secured):
    files = secured.files
    return {"tls": True, "tls_ca": files["ca"], "tls_cert": files["cert"], "tls_key": files["key"], "user": "engine", "password": Raw('secret "env:ENGINE"'),
            "sentinel_user": "asker", "sentinel_password": Raw('secret "env:ASKER"')}


def refused(redis, product):
    """Engines that the sentinels do not let in, or that do not believe them, say why."""
    known = secured_settings(redis.secured)
    wrong = Node("n8", redis, product, **known)
    wrong.env["ASKER"] = "no word of theirs"
    stranger = Node("n9", redis, product, **dict(known, tls_ca=certificates(wrong.folder)["ca"]))
    try:
        wrong.spawn()
        stranger.spawn()
        wrong.wait_for(lambda: "no sentinel says" in wrong.log() and "WRONGPASS" in wrong.log(), "sentinels that do not know the password are named", 10)
        stranger.wait_for(lambda: "certificate was refused" in stranger.log(), "sentinels of another authority are not believed", 10)
    finally:
        wrong.stop()
        stranger.stop()


def checks(tocsin):
    return {c["check"]: c for c in json.loads(tocsin.run("doctor", "--json").out)["checks"]}


def pour(redis, users, product="Product"):
    with redis.client() as client:
        for user in users:  # as a SIEM that wants to be sure: what a replica has not got is sent again
            client.call("XADD", "tocsin:alerts", "*", "alert", json.dumps(alert(user, "uid-" + user, product)))
        return client.call("WAIT", 1, 2000)


def answer_doubts(tocsin, product):
    for q in tocsin.json("now")["questions"]:
        if q.get("kind") == "resolve":
            about = q["about"]
            tocsin.run("answer", q["id"], "done" if product.count(about["action"], about["target"]["user"]) else "not done, send it")


def settled(tocsin, product, users):
    try:
        answer_doubts(tocsin, product)
    except (Failed, OSError):  # just now it has no master
        return False
    return conservation(tocsin)["waiting"] == 0 and all(product.count("once", u) for u in users) and not tocsin.json("run", "list")["runs"]


def under_load():
    users = ["load%d" % i for i in range(ALERTS)]
    secured = Secured()
    with Product(slow=0.02) as product, Sentinels(replicas=2, secured=secured) as redis, Node("n1", redis, product, **secured_settings(secured)) as tocsin:
        refused(redis, product)
        seen = checks(tocsin)
        ok(seen["sentinels"]["ok"] and seen["master"]["ok"], "doctor sees the sentinels and the master")
        like(seen["sentinels"]["text"], r"3 of 3 sentinels answer", "all of them")
        ok(pour(redis, users) >= 1, "%d alerts are in, and a replica has them" % ALERTS)
        ok(wait_until(lambda: len(product.seen("/again/")) > ALERTS // 6, 20), "they are worked on")
        redis.kill_master()
        ok(wait_until(redis.failed_over, 20), "kill -9 of the master: the sentinels make a replica the master")
        if not ok(wait_until(lambda: settled(tocsin, product, users), 40, every=0.2), "and everything comes to its end"):
            diag(tocsin.log()[-3000:])
        note("in: %d, once: %d, seen: %d" % (ALERTS, len(product.seen("/once/")), len(product.seen("/seen/"))))
        is_([u for u in users if product.count("once", u) != 1], [], "what can be neither repeated nor looked for happened once for each")
        is_([u for u in users if product.count("seen", u) != 1], [], "what can be looked for happened once for each")
        is_([u for u in users if len(product.keys("again", u)) != 1], [], "what may be repeated happened, under one key")
        is_(conservation(tocsin)["difference"], 0, "every alert is accounted for")
        is_(len(tocsin.json("incident", "list", "--status", "all", "--limit", 1000)["incidents"]), ALERTS, "each in one incident")
        with tocsin.redis() as client:
            ok(any(b'"redis.failover"' in entry[b"e"] for _, entry in journal_entries(client, "node-n1")), "it is on record")
        ok("uncertain" not in checks(tocsin), "and nothing is uncertain")


def heads(redis, incident):
    with redis.client() as client:
        return [entry[b"e"] for _, entry in journal_entries(client, incident)]


def owners(redis):
    with redis.client() as client:
        flat = client.call("HGETALL", "{tocsin:alerts}:owner")
    return {k.decode(): v.decode() for k, v in zip(flat[::2], flat[1::2])}


def asking(tocsin, count):
    return len(tocsin.json("now")["questions"]) == count


def cut_off():
    with Product() as product, Sentinels(replicas=1) as redis, Node("n1", redis, product, replicas=0) as first:
        with Node("n2", redis, product, replicas=0) as second:
            users = []
            while len(set(owners(redis).values())) < 2 and len(users) < 30:
                users.append("ask%d" % len(users))
                pour(redis, users[-1:], "Asker")
                wait_until(lambda: asking(first, len(users)), 10)
            own = owners(redis)
            mine, others = [i for i, n in own.items() if n == "n1"], [i for i, n in own.items() if n == "n2"]
            ok(mine and others, "each of two nodes has incidents that ask")
            for incident in mine:
                first.run("incident", "note", incident, "before the cut")
            ok(wait_until(lambda: b"slave0" in redis.master.ask("INFO", "replication"), 5), "the replica follows")
            redis.cut(redis.replicas[0])
            for incident in mine + others:
                is_(first.run("incident", "note", incident, "after the cut").status, 0, "%s: a note is acknowledged that the replica has not got" % incident)
            before = {i: heads(redis, i) for i in mine + others}
            redis.kill_master()
            second.signal(signal.SIGKILL)
            if not ok(wait_until(redis.failed_over, 20), "the master and the second node die; the replica becomes the master"):
                diag(redis.sentinels[0].path("log"), open(redis.sentinels[0].path("log")).read()[-3000:])
            lacked = [i for i in mine + others if len(heads(redis, i)) < len(before[i])]
            ok(wait_until(lambda: all(heads(redis, i)[:len(before[i])] == before[i] for i in mine), 15),
               "what the living node kept is there again, byte for byte")
            ok(not set(others) - set(lacked), "what only the dead one had is not")

            def marked():
                return {r["id"] for r in first.json("incident", "list")["incidents"] if r.get("uncertain")}
            if not ok(wait_until(lambda: marked() == set(others), 15, every=0.1), "those of the dead node, and no others, are uncertain"):
                diag(marked(), others, first.log()[-3000:])
            incident = others[0]
            like(checks(first)["uncertain"]["text"], "%d incidents may lack entries" % len(others), "doctor counts them")
            like(first.run("incident", "list").out, "UNCERTAIN", "the list says so")
            like(first.run("incident", "show", incident).out, r"UNCERTAIN.*incident agree.*did not live to compare", "and the timeline says why")
            question = [q for q in first.json("now")["questions"] if q["incident"] == incident][0]
            is_(first.run("answer", question["id"], "yes").status, 0, "its question is answered")
            ok(wait_until(lambda: "incident agree" in first.run("incident", "show", incident, "--all").out.split("held")[-1], 10), "the action is held")
            is_(len(product.seen("/once/")), 0, "and not sent")
            is_(first.run("incident", "agree", incident, "--because", "looked at the product").status, 0, "a person agrees")
            ok(wait_until(lambda: len(product.seen("/once/")) == 1, 10), "then it is sent")
            is_(first.run("incident", "agree", incident, "--because", "again").status, 1, "agreeing twice is refused")
            is_(len(marked()), len(others) - 1, "and it is uncertain no more")
            second.process = None


under_load()
note("%.1f s" % elapsed())
cut_off()
note("%.1f s" % elapsed())
done()
