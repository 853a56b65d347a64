"""Two nodes, two evidence logs: each seals what it appended, who lives seals what the dead one left, an incident that has left Redis is asked for where it lies, and what is
removed goes from both. Files stay where they were taken in, and are reached from either node; when their node is dead, what lacks them says so, until its folder is adopted."""
import base64
import glob
import json
import os
import sqlite3
import subprocess
import zipfile

from harness import BINARY, Raw, Tocsin, done, is_, like, ok, wait_until
from redis import Redis

OTHER = os.path.join(os.path.dirname(BINARY), "tocsin-verify")

LEASE = 2


class Node(Tocsin):
    """A `tocsin serve` on a Redis that others use too."""

    def __init__(self, name, server):
        super().__init__({})
        self.server = server
        self.env["SEAL"] = "a key that both nodes share"
        self.name = name
        self.configure({})

    def configure(self, evidence):
        self.settings({"node": self.name, "lease": "%ds" % LEASE, "redis": {"socket": self.server.socket_path}, "seal_key": Raw('secret "env:SEAL"'),
                       "evidence": dict({"hot": "1s"}, **evidence)})

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


def blobs(node):
    return [p for p in glob.glob(os.path.join(node.data, "evidence/blobs/*/*")) if "/blobs/new/" not in p]


def add(node, incident, name, content):
    with open(os.path.join(node.folder, name), "wb") as f:
        f.write(content)
    return node.json("evidence", "add", incident, name, "--because", "a test")["item"]


def got(node, incident, item):
    result = node.run("evidence", "get", incident, item, "-o", "copy-%d" % item, "--because", "analysis")
    if result.status:
        return result.err
    with open(os.path.join(node.folder, "copy-%d" % item), "rb") as f:
        return f.read()


def files(first, second, one, old):
    """The first's incidents, with files of both."""
    marker = b"nothing but the truth"
    disk, memory = marker * 50000, b"of the first node"
    item = add(second, one, "disk.img", disk)
    is_((len(blobs(first)), len(blobs(second))), (0, 1), "a file is kept at the node that a person is at")
    is_([(f["item"], f["node"]) for f in first.json("evidence", "list", one)["files"]], [(item, "n2")], "and the entry at the incident's node says so")
    ok(got(first, one, item) == disk and got(second, one, item) == disk, "either node hands out a copy")
    is_(len([e for e in entries(first, one) if e["type"] == "evidence.copied"]), 2, "and each is on record")
    kept = b"".join(open(p, "rb").read() for p in glob.glob(os.path.join(first.server.folder, "appendonlydir", "*")))
    ok(b"disk.img" in kept and marker not in kept and base64.b64encode(marker) not in kept, "nothing of its bytes is in Redis' files")
    like(second.run("evidence", "export", one, "-o", "elsewhere.zip", "--wait", "10ms").out, "not in this log: all of %s, which node n1 seals: export it there" % one, "a bundle made at the node that does not seal it says where to make it")
    spare = add(first, one, "spare", b"spare")
    is_(second.run("evidence", "delete", one, spare, "--because", "not ours", "--yes").status, 0, "a file is deleted at the other node")
    is_(len(blobs(first)), 0, "and is gone where it lay")
    like(second.run("evidence", "add", one, "disk.img", "--because", "again").err, "keeps this very file already", "nothing is kept twice")
    is_(first.run("evidence", "redact", "%s/%d" % (one, item), "--because", "privacy", "--yes").status, 0, "one is removed with its entry at the other node")
    is_(len(blobs(second)), 0, "and is gone where it lay")
    return add(first, one, "memory.lime", memory), add(first, old, "of-an-old-case", b"of an old case"), memory


def without_it(second, one, item, old):
    """The first is dead: nothing that its files are missing from looks whole."""
    like(got(second, one, item), "the file lies at node n1, which is not there", "its file cannot be had")
    like(second.run("evidence", "delete", one, item, "--because", "x", "--yes").err, "lies at node n1, which is not there", "nor be deleted")
    result = second.run("evidence", "export", one, "-o", "without.zip", "--wait", "20s")
    ok(result.status == 1 and "NOT in it: file %d of %s, which lies at node n1" % (item, one) in result.out, "a bundle that lacks it says so") or print("# %r" % result)
    with zipfile.ZipFile(os.path.join(second.folder, "without.zip")) as bundle:
        is_([(f["item"], f["node"]) for f in json.loads(bundle.read("contents.json"))["files_missing"]], [(item, "n1")], "so do its contents")
    for verdict in verdicts(second, "without.zip"):
        like(verdict, r"(?s)^1 .*missing.*file %d of %s.*at node n1" % (item, one), "and so does a verifier")
    like(second.run("incident", "show", old).err, "evidence log of node n1.*evidence.adopted", "one that has left Redis for the first's log cannot be read")


def verdicts(node, bundle):
    path, key = os.path.join(node.folder, bundle), node.run("evidence", "key").out.strip()
    result = node.run("evidence", "verify", path, "--key", key)
    other = subprocess.run([OTHER, path, "--key", key], capture_output=True, text=True, timeout=60, check=False)
    return "%d %s%s" % (result.status, result.out, result.err), "%d %s" % (other.returncode, other.stdout)


def adopted(first, second, one, kept, old):
    """Its folder is: then the second has what was the first's."""
    item, olds, memory = kept
    second.configure({"adopted": {"n1": {"folder": os.path.join(first.data, "evidence"), "key": first.run("evidence", "key").out.strip()}}})
    second.restart(kill=True)
    is_([e["seq"] for e in entries(second, old)][:5], [1, 2, 3, 4, 5], "what had left Redis is read from the adopted log")
    ok(got(second, one, item) == memory and got(second, old, olds) == b"of an old case", "and the files from the adopted folder")
    for incident in (one, old):
        is_(second.run("evidence", "export", incident, "-o", incident + ".zip", "--wait", "20s").status, 0, "a bundle of it is made")
        for verdict in verdicts(second, incident + ".zip"):
            like(verdict, r"(?s)^0 .*sound", "and is whole")
    is_(sealed(second, old)[:6], [1, 2, 3, 4, 5, 6], "for all of it is in the second's log now")
    is_(second.run("evidence", "delete", old, olds, "--because", "over", "--yes").status, 0, "a file of it is deleted")
    is_(len(blobs(first)), 1, "from the adopted folder")
    index = read(first, "catalogue.db", "SELECT e.idx FROM entry e JOIN journal j ON j.id = e.journal WHERE j.name = ? AND e.seq = 2", old)
    is_(second.run("evidence", "redact", old + "/2", "--because", "personal data", "--yes").status, 0, "an entry of it is removed")
    second.wait_for(lambda: any(e["type"] == "body.removed" for e in entries(second, old)), "which comes to its end")
    is_(read(first, "keys.db", "SELECT 1 FROM key WHERE entry = ?", index[0][0]), [], "in the adopted log, too")
    ok("an old case" not in json.dumps(next(e for e in entries(second, old) if e["seq"] == 2)), "nothing shows it any more")


def reopened(first, second):
    """It had left Redis, goes on, and its node dies: the other takes it over, and its beginning is read where it lies once that node is back."""
    incident = opened(first, "a case that goes on")
    close(first, incident)
    first.wait_for(lambda: left(first, incident), "it leaves Redis")
    is_(first.run("incident", "reopen", incident, "--because", "it was not over").status, 0, "and is reopened")
    first.kill()
    second.wait_for(lambda: second.run("incident", "note", incident, "the other's").status == 0, "the other takes it over")
    first.start()
    first.wait_for(lambda: "a remark" in second.run("incident", "show", incident).out, "its beginning is there again with its node")
    like(first.run("incident", "show", incident).out, "a remark.*the other's", "wherever it is asked for")


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
    second.wait_for(lambda: "n1 is read here in its place, but the node lives" in second.run("doctor").out, "doctor says when a node lives whose folder was adopted")
    ok(readable(first, incident, 2) and settled(second) and readable(second, incident, 2), "both logs can read an entry")
    result = second.run("evidence", "redact", "%s/2" % incident, "--because", "personal data", "--yes")
    is_(result.status, 0, "it is removed at one of them")
    second.wait_for(lambda: not readable(second, incident, 2), "that one cannot read it any more")
    with sqlite3.connect(os.path.join(first.data, "evidence", "keys.db"), timeout=10) as db:  # as a kill -9 leaves a file that was being added: with its entry, and without
        db.execute("UPDATE blob SET mark = 0")
        db.execute("INSERT INTO blob VALUES (?, ?, 0, ?)", (incident, "ab" * 32, b"k" * 32))
    first.restart()
    first.wait_for(lambda: not readable(first, incident, 2), "nor can the other")
    first.wait_for(lambda: [r[0] for r in read(first, "keys.db", "SELECT mark FROM blob")] == [1], "what was being added is settled by what the incident says, which the other owns")
    for node in (first, second):
        like(node.run("incident", "show", incident, "--all").out, "the body was removed .* because personal data", "and each says why")
        is_(json.loads(node.run("evidence", "verify", os.path.join(node.data, "evidence", "log"), "--key", node.run("evidence", "key").out.strip(), "--json").out)["ok"], True,
            "its log is sound")


with Redis(passwords=False) as redis_:
    n1, n2 = Node("n1", redis_), Node("n2", redis_)
    with n1, n2:
        n1.wait_for(lambda: len(n1.json("node", "list")["nodes"]) == len(n2.json("node", "list")["nodes"]) == 2, "each sees both")
        one_ = own(n1, n2)
        old_ = asked_for(n1, n2)
        item_, olds_, memory_ = files(n1, n2, one_, old_)
        n1.wait_for(lambda: left(n1, old_), "the old case leaves again")
        reopened(n1, n2)
        of_the_dead(n1, n2, one_)
        without_it(n2, one_, item_, old_)
        adopted(n1, n2, one_, (item_, olds_, memory_), old_)
        removed(n1, n2, one_)
        for node_ in (n1, n2):
            ok("Sanitizer" not in node_.log() and "runtime error" not in node_.log(), "no memory error was seen")
done()
