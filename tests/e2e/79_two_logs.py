"""Two nodes, two evidence logs: each seals what it appended, who lives seals what the dead one left, an incident that has left Redis is asked for where it lies, and what is
removed goes from both."""
import json
import os
import sqlite3

from harness import Raw, Tocsin, done, is_, like, ok, wait_until
from redis import Redis

LEASE = 2


class Node(Tocsin):
    """A `tocsin serve` on a Redis that others use too."""

    def __init__(self, name, server):
        super().__init__({})
        self.server = server
        self.env["SEAL"] = "a key that both nodes share"
        self.settings({"node": name, "lease": "%ds" % LEASE, "redis": {"socket": server.socket_path}, "seal_key": Raw('secret "env:SEAL"'), "evidence": {"hot": "2s"}})

    def redis(self):
        return self.server.client()


def read(node, name, sql, *values):
    with sqlite3.connect("file:%s?mode=ro" % os.path.join(node.data, "evidence", name), uri=True, timeout=10) as db:
        return db.execute(sql, values).fetchall()


def sealed(node, incident):
    """The numbers of its entries that this node's log has."""
    return [r[0] for r in read(node, "catalogue.db", "SELECT e.seq FROM entry e JOIN journal j ON j.id = e.journal WHERE j.name = ? ORDER BY e.seq", incident)]


def readable(node, incident, seq):
    index = read(node, "catalogue.db", "SELECT e.idx FROM entry e JOIN journal j ON j.id = e.journal WHERE j.name = ? AND e.seq = ?", incident, seq)
    return bool(index and read(node, "keys.db", "SELECT 1 FROM key WHERE entry = ?", index[0][0]))


def settled(node):
    return wait_until(lambda: node.api("POST", "/v1/command", {"command": "evidence.status"})[1].get("settled"), 30)


def entries(node, incident):
    return node.api("POST", "/v1/command", {"command": "incident.entries", "id": incident})[1]["entries"]


def opened(node, title):
    incident = node.json("incident", "open", title, "--severity", "low", "--because", "a test")["id"]
    node.run("incident", "note", incident, "a remark about " + title)
    return incident


def close(node, incident):
    is_(node.run("incident", "close", incident, "--verdict", "benign", "--waive", "a test").status, 0, "%s is closed" % incident)


def left(node, incident):
    with node.redis() as redis:
        rows = redis.call("XRANGE", "tocsin:{%s}:journal" % incident, "-", "+")
    return len(rows) == 1 and b"n" in [f if isinstance(f, bytes) else f.encode() for f in rows[0][1]]


def own(first, second):
    one = opened(first, "the first's")
    second.restart()  # it owns nothing that the first would take over meanwhile, and looks through all of Redis when it starts
    two = opened(second, "the second's")
    ok(settled(first) and settled(second), "both have sealed what there was")
    is_([sealed(n, i) for n in (first, second) for i in (one, two)], [[1, 2], [], [], [1, 2]], "each only what it appended")
    return one


def asked_for(first, second):
    incident = opened(first, "an old case")
    close(first, incident)
    second.wait_for(lambda: left(first, incident), "an incident of the first leaves Redis")
    shown = second.json("incident", "show", incident)
    is_([e["seq"] for e in shown["entries"]], [1, 2, 3], "the second shows it: it asks the first")
    is_(second.run("incident", "note", incident, "from the second").status, 0, "and writes to it")
    is_([e["seq"] for e in entries(first, incident)], [1, 2, 3, 4], "there")
    return incident


def of_the_dead(first, second, one):
    """Whoever lives seals it."""
    first.kill()
    with first.redis() as redis:
        ok(redis.call("EXISTS", "tocsin:{%s}:journal" % one), "the first is dead, its incident is in Redis")
    second.wait_for(lambda: sealed(second, one)[:2] == [1, 2], "the second seals what the dead one had", 30)
    second.wait_for(lambda: [e["type"] for e in entries(second, one)][-1] == "incident.adopted", "and takes over what is open")


def removed(first, second, incident):
    """It lies in both logs by now."""
    first.start()
    ok(readable(first, incident, 2) and settled(second) and readable(second, incident, 2), "both logs can read an entry")
    result = second.run("evidence", "redact", "%s/2" % incident, "--because", "personal data", "--yes")
    is_(result.status, 0, "it is removed at one of them")
    second.wait_for(lambda: not readable(second, incident, 2), "that one cannot read it any more")
    first.restart()
    first.wait_for(lambda: not readable(first, incident, 2), "nor can the other")
    for node in (first, second):
        like(node.run("incident", "show", incident, "--all").out, "the body was removed .* because personal data", "and each says why")
        is_(json.loads(node.run("evidence", "verify", os.path.join(node.data, "evidence", "log"), "--key", node.run("evidence", "key").out.strip(), "--json").out)["ok"], True,
            "its log is sound")


with Redis(passwords=False) as redis_:
    n1, n2 = Node("n1", redis_), Node("n2", redis_)
    with n1, n2:
        n1.wait_for(lambda: len(n1.json("node", "list")["nodes"]) == len(n2.json("node", "list")["nodes"]) == 2, "each sees both")
        one_ = own(n1, n2)
        asked_for(n1, n2)
        of_the_dead(n1, n2, one_)
        removed(n1, n2, one_)
        for node_ in (n1, n2):
            ok("Sanitizer" not in node_.log() and "runtime error" not in node_.log(), "no memory error was seen")
done()
