"""Two nodes on one Redis: who owns what, and what becomes of it when one of them dies, stands still, or is drained.

The sink counts every effect: what may not be repeated happened once for each user, whatever was done to the nodes.
"""
import json
import os
import random
import signal
import time

from harness import Raw, Tocsin, done, entries_of, is_, like, note, ok, wait_until
from product import ASKER, Product, alert, conservation, content
from redis import Redis

LEASE = 2.0
SEED = int(os.environ.get("TOCSIN_SEED", random.SystemRandom().randrange(1 << 30)))
dice = random.Random(SEED)
note("TOCSIN_SEED=%d" % SEED)


PICKER = """
return playbook {
  title = "Which one", when = { ["metadata.product.name"] = "Picker" }, group = { "actor.user" }, window = "1h",
  uses = { "product.once" }, params = { what = schema.string { from = "resources.name" } },
  run = function(incident, act, p) must(act.product.once { user = p.what }) end,
}
"""


REHEARSAL = """
return scenario {
  title = "Two nodes", summary = "s", duration = "8h", roles = { lead = "leads" },
  injects = {
    { id = "alert", at = "0s", alert = { source = "ocsf", body = %s } },
    { id = "ask", at = "0s", question = { to = "lead", text = "Which way?", options = { "left", "right" }, otherwise = "left", within = "6h" } },
  },
  objectives = { { id = "o", text = "Somebody decides", judge = { answered = "ask" } } },
}
"""


class Node(Tocsin):
    """A `tocsin serve` on a Redis that others use too."""

    def __init__(self, server):
        super().__init__({})
        self.server = server

    def redis(self):
        return self.server.client()


def node(name, redis, product):
    tocsin = Node(redis)
    folders = content(tocsin.folder)
    with open(os.path.join(folders["playbooks"], "asker.lua"), "w", encoding="utf-8") as f:
        f.write(ASKER)
    with open(os.path.join(folders["playbooks"], "picker.lua"), "w", encoding="utf-8") as f:
        f.write(PICKER)
    connector = os.path.join(folders["connectors"], "product.lua")
    with open(connector, encoding="utf-8") as f:
        text = f.read()
    with open(connector, "w", encoding="utf-8") as f:  # most of what is to be sent waits for a place
        f.write(text.replace("concurrent = 16", "concurrent = 3"))
    tocsin.settings({"node": name, "lease": "%ds" % LEASE, "redis": {"socket": redis.socket_path}, "seal_key": Raw('secret "env:SEAL"'),
                     "folders": folders, "connectors": {"product": Raw('product { url = "%s" }' % product.url)},
                     "guard": {"ceiling": "notify"}})
    tocsin.env["SEAL"] = "a key that both nodes share"
    return tocsin


def refused(redis, product, first):
    other = node("n1", redis, product)
    other.spawn()
    ok(wait_until(lambda: other.process.poll() is not None, 20), "a second process under a name that is in use ends")
    like(other.log(), "another tocsin serve runs as node n1.*`node` name", "and says what to do")
    other.stop()
    other = node("n3", redis, product)
    other.env["SEAL"] = "another key, which opens nothing"
    other.spawn()
    ok(wait_until(lambda: other.process.poll() is not None, 20), "a node with another seal_key ends")
    like(other.log(), "same `seal_key`", "and says what to do")
    other.stop()
    is_(first.run("now").status, 0, "the first goes on")


def nodes_of(tocsin):
    return {n["node"]: n for n in tocsin.json("node", "list")["nodes"]}


def answer_questions(tocsin, product):
    """As a responder would who looks at the product: did it happen?"""
    for q in tocsin.json("now")["questions"]:
        about = q.get("about", {})
        if q.get("kind") != "resolve":
            continue
        happened = product.count(about.get("action", ""), about.get("target", {}).get("user", "")) > 0
        tocsin.run("answer", q["id"], "done" if happened else "not done, send it")


def runs(tocsin):
    return tocsin.json("run", "list", "--all")["runs"]


def settled(tocsin, product, users):
    """Everything that was put in has come to its end."""
    answer_questions(tocsin, product)
    return conservation(tocsin)["waiting"] == 0 and not tocsin.json("run", "list")["runs"] and all(product.count("once", u) for u in users)


def judge(name, tocsin, product, users):
    is_([u for u in users if product.count("once", u) != 1], [], name + ": what can be neither repeated nor looked for happened once for each")
    is_([u for u in users if product.count("seen", u) != 1], [], name + ": what can be looked for happened once for each")
    is_([u for u in users if len(product.keys("again", u)) != 1], [], name + ": what may be repeated happened, under one key")
    is_(conservation(tocsin)["difference"], 0, name + ": every alert is accounted for")


def pour(redis, users):
    with redis.client() as client:
        client.pipeline([("XADD", "tocsin:alerts", "*", "alert", json.dumps(alert(u, "uid-" + u))) for u in users])


def owners(redis):
    with redis.client() as client:
        flat = client.call("HGETALL", "{tocsin:alerts}:owner")
    return {k.decode(): v.decode() for k, v in zip(flat[::2], flat[1::2])}


def added(redis, name):
    """Letters that a node has ever been sent."""
    with redis.client() as client:
        flat = client.call("XINFO", "STREAM", "tocsin:node:%s:inbox" % name)
    return dict(zip(flat[::2], flat[1::2]))[b"entries-added"]


def owned(tocsin, name):
    return nodes_of(tocsin).get(name, {}).get("incidents")


def together(redis, product, first, second):
    """Alerts pour in; both work; each sees and may do everything."""
    users = ["t%03d" % i for i in range(60)]
    before = {r["id"] for r in first.json("incident", "list", "--status", "all")["incidents"]}
    pour(redis, users[:50])
    first.wait_for(lambda: settled(first, product, users[:50]), "together: all come to their end", 60)
    pour(redis, users[50:])
    second.wait_for(lambda: settled(second, product, users), "together: seen from the second too", 60)
    judge("together", first, product, users)
    whose = set(owners(redis).values())
    is_(whose, {"n1", "n2"}, "together: both own incidents")
    with redis.client() as client:  # further alerts of the same users, which either node may get
        client.pipeline([("XADD", "tocsin:alerts", "*", "alert", json.dumps(alert(u, "second-" + u))) for u in users])
    first.wait_for(lambda: conservation(first)["waiting"] == 0, "together: further alerts reach the owners", 30)
    seen = set()
    for tocsin in [first, second] * 5:  # whoever answers first: what a node knows of another's incident may be old
        rows = {r["id"]: r["alerts"] for r in tocsin.json("incident", "list", "--status", "all", "--limit", "1000")["incidents"] if r["id"] not in before}
        seen |= set(rows.values())
    is_(sorted(seen), [2], "together: each incident has its two alerts, seen from either node")
    is_(len(rows), len(users), "together: and is there once")


def by_letter(redis, first, second):
    """Commands reach the owner, whichever node they are given to."""
    mine = [i for i, n in owners(redis).items() if n == "n1"][0]
    is_(second.run("incident", "note", mine, "written at the second node").status, 0, "by letter: a note on the other's incident is taken")
    shown = second.json("incident", "show", mine)
    is_([e["name"] for e in shown["entries"] if e["type"] == "incident.noted"], [second.me], "by letter: under the name of who wrote it")
    is_(owners(redis)[mine], "n1", "by letter: and it stays where it was")
    letters = added(redis, "n1"), added(redis, "n2")
    like(second.run("secret", "take", mine, "password", "--yes").err, "with node n1, and a secret never travels", "by letter: a secret is handed out by its owner alone")
    is_((added(redis, "n1"), added(redis, "n2")), letters, "by letter: so none lies in an inbox")
    with redis.client() as client:
        client.pipeline([("XADD", "tocsin:alerts", "*", "alert", json.dumps(alert("asked%d" % i, "asked-%d" % i, "Asker"))) for i in range(6)])
    first.wait_for(lambda: len(first.json("now")["questions"]) == 6, "by letter: questions of both nodes are seen at the first", 20)
    questions = second.json("now")["questions"]
    is_(len(questions), 6, "by letter: and at the second")
    is_([first.run("answer", q["id"], "no").status for q in questions], [0] * 6, "by letter: either may answer them all")
    forged(redis, first, second, mine)


def forged(redis, first, second, mine):
    """What is not signed is thrown away (what comes a second time: unit/test_functions)."""
    before = len(first.json("incident", "show", mine)["entries"])
    body = {"command": {"command": "incident.note", "id": mine, "text": "forged"}, "by": {"name": "x", "actor": "person:0", "roles": ["lead"]}, "here": False}
    text = json.dumps({"from": "n2", "to": "n1", "kind": "command", "nonce": "0" * 32, "time": int(time.time() * 1e6), "body": body})
    with redis.client() as client:
        client.call("XADD", "tocsin:node:n1:inbox", "*", "m", text, "s", "0" * 64)
    first.wait_for(lambda: "its signature is not ours" in first.log(), "by letter: a forged one is thrown away", 10)
    is_(len(first.json("incident", "show", mine)["entries"]), before, "by letter: and does nothing")


def stray(redis):
    """What a node had taken that has gone for good, or was given another name."""
    with redis.client() as client:
        client.call("XGROUP", "CREATE", "tocsin:alerts", "tocsin", "0", "MKSTREAM")
        client.call("XADD", "tocsin:alerts", "*", "alert", json.dumps(alert("stray", "uid-stray")))
        ok(client.call("XREADGROUP", "GROUP", "tocsin", "n9", "COUNT", "1", "STREAMS", "tocsin:alerts", ">"), "a node has taken an alert and is gone")


def held_twice(product, first, second):
    """Incidents of both nodes contain one user: who lets go last lifts it."""
    one, two = (tocsin.json("connector", "try", "product.lock", "user=zed", "--because", "test", "--yes")["id"] for tocsin in (first, second))
    rows = {c["incident"] for c in first.json("contained")["contained"]}
    is_(rows, {one, two}, "held twice: both are listed at either node")
    kept = second.json("release", one, "--because", "test", "--yes")
    is_([c["holders"] for c in kept["kept"]], [[two]], "held twice: the first to let go is told who still holds it")
    is_(product.count("unlock", "zed"), 0, "held twice: and it stays locked")
    first.json("release", two, "--because", "test", "--yes")
    first.wait_for(lambda: [q for q in first.json("now")["questions"] if q["incident"] == two], "held twice: the second found it so, and asks", 10)
    question = [q for q in first.json("now")["questions"] if q["incident"] == two][0]
    is_(first.run("answer", question["id"], "release").status, 0, "held twice: a person agrees")
    first.wait_for(lambda: product.count("unlock", "zed") == 1, "held twice: and it is lifted, once", 10)


def paused(redis, product, first, second):
    """A brake that is pulled at one node is in force at both when the command has been answered."""
    began = time.monotonic()
    is_(first.run("pause", "all", "--because", "test").status, 0, "pause: at the first")
    took, sent = time.monotonic() - began, len(product.requests)
    ok(took < 2 * LEASE, "pause: answered after %.2f s, when both have it" % took)
    pour(redis, ["p%02d" % i for i in range(10)])
    for tocsin in (first, second):
        is_(list(tocsin.json("now")["paused"]), ["all"], "pause: seen at %s" % tocsin.name)
    first.wait_for(lambda: conservation(first)["waiting"] == 0, "pause: alerts are attached all the same", 20)
    is_(len(product.requests), sent, "pause: nothing left")
    is_(second.run("resume", "all", "--because", "over").status, 0, "pause: released at the second")
    users = ["p%02d" % i for i in range(10)]
    first.wait_for(lambda: settled(first, product, users), "pause: then all goes on at both", 30)
    judge("pause", first, product, users)


def lua(value):
    if isinstance(value, dict):
        return "{ %s }" % ", ".join("[%s] = %s" % (json.dumps(k), lua(v)) for k, v in value.items())
    return json.dumps(value)


def listed(tocsin, exercise):
    return [r for r in tocsin.json("tabletop", "list")["exercises"] if r["id"] == exercise][0]


def rehearsed(first, second):
    """An exercise begun at the second, and led, played and looked at from the first."""
    second.write("two.lua", REHEARSAL % lua(alert("ex-user", "ex-uid", "Asker")))
    exercise = second.json("tabletop", "run", "./two.lua")["id"]
    show = lambda tocsin: tocsin.json("tabletop", "show", exercise)  # noqa: E731
    first.wait_for(lambda: len(show(first)["questions"]) == 2, "exercise: seen from the first, with both questions", 20)
    is_((listed(first, exercise)["stage"], listed(first, exercise)["node"], listed(second, exercise)["stage"]), ("elsewhere", "n2", "running"), "exercise: both say who plays it")
    is_(first.run("tabletop", "pause", exercise, "--because", "lunch").status, 0, "exercise: the first has it stand still")
    ok(listed(first, exercise)["paused"] and show(second)["paused"], "exercise: both show that")
    like(first.run("tabletop", "list").out, exercise + ".*paused at n2", "exercise: and so does the list")
    incident = show(first)["incidents"][0]["id"]
    for id in (exercise, incident):
        is_(first.run("action", "add", id, "Do better", "--owner", "x", "--due", "1d").status, 0, "exercise: a corrective action for %s is taken at the first" % id)
        is_(first.run("incident", "note", id, "written at the first").status, 0, "exercise: and a note")
    ok(show(second)["paused"] and "can be written by" not in second.log(), "exercise: its journals stay with the second, which plays it still")
    return exercise, incident


def taken_over(first, exercise, incident):
    """Whoever is left plays it on, as it stood."""
    first.wait_for(lambda: listed(first, exercise)["stage"] == "running" and listed(first, exercise)["node"] == "n1", "exercise: the first plays it on", 20)
    view = first.json("tabletop", "show", exercise)
    ok(view["paused"] and len(view["questions"]) == 2 and [i["id"] for i in view["incidents"]] == [incident], "exercise: as it stood, still standing still")
    for id in (exercise, incident):
        is_([e["body"]["from"] for e in first.json("incident", "show", id)["entries"] if e["type"] == "incident.adopted"], ["n2"], "exercise: the journal of %s says whose it was" % id)


def finished(first, second, exercise, incident):
    is_(second.run("tabletop", "resume", exercise).status, 0, "exercise: the second, back, has it go on at the first")
    for q in second.json("tabletop", "show", exercise)["questions"]:
        is_(second.run("answer", q["id"], q["options"][-1]).status, 0, "exercise: and answers %s" % q["id"])
    second.wait_for(lambda: "run.finished" in [e["type"] for e in second.json("incident", "show", incident)["entries"]], "exercise: its run ends", 20)
    is_(second.run("tabletop", "end", exercise).status, 0, "exercise: it is ended")
    for tocsin in (first, second):
        tocsin.wait_for(lambda t=tocsin: listed(t, exercise)["stage"] == "over", "exercise: over at %s" % tocsin.name, 20)
        is_(tocsin.run("action", "add", exercise, "After it, at " + tocsin.name, "--owner", "x", "--due", "1d").status, 0, "exercise: and a corrective action is taken at %s" % tocsin.name)
    is_([o["verdict"] for o in second.json("tabletop", "report", exercise)["objectives"]], ["met"], "exercise: and it is judged")
    is_([first.run("evidence", "verify", id).status for id in (exercise, incident)], [0, 0], "exercise: its journals hold")


def killed(redis, product, first, second):
    """kill -9 of one in the middle of its work."""
    users = ["k%03d" % i for i in range(80)]
    played = rehearsed(first, second)
    pour(redis, users)
    wait_until(lambda: sum(product.count("again", u) for u in users[:40]) > 10, 10, every=0.005)
    second.kill()
    first.wait_for(lambda: nodes_of(first)["n2"]["state"] == "dead", "killed: the first calls it dead", 20)
    first.wait_for(lambda: settled(first, product, users), "killed: the first brings its work to an end", 90)
    judge("killed", first, product, users)
    first.wait_for(lambda: not owned(first, "n2"), "killed: nothing is left with the dead one", 20)
    adopted = first.log().count("was taken over from node n2")
    ok(adopted > 0, "killed: %d incidents were taken over" % adopted)
    taken_over(first, *played)
    second.start()
    first.wait_for(lambda: nodes_of(first)["n2"]["state"] == "alive", "killed: and it may come back", 10)
    finished(first, second, *played)


def limited(tocsin):
    """Actions that wait until their connector's limits let them go."""
    return tocsin.api("POST", "/v1/command", {"command": "counts"})[1]["actions"]["limited"]


def appended_by(redis, name):
    """[[journals that another node took over from this one], [what it has written there for a run since then]]"""
    taken, late = [], []
    with redis.client() as client:
        for key in client.call("KEYS", "tocsin:{INC-*}:journal"):
            heads = [json.loads(entry[b"e"]) for _, entry in entries_of(client.call("XRANGE", key, "-", "+"))]
            owner = ""
            for head in heads:
                owner = head["node"] if head["type"] == "incident.adopted" or not owner else owner
                if head.get("run") and head["node"] == name != owner:
                    late.append((head["incident"], head["seq"], head["type"]))
            if heads[0]["node"] == name != owner:
                taken.append(heads[0]["incident"])
    return taken, late


def stopped(redis, product, first, second):
    """One stands still for longer than its lease, in the middle of its work, and wakes up: what waited there for a limit is no more its own."""
    users = ["s%03d" % i for i in range(80)]
    played = rehearsed(first, second)
    pour(redis, users)
    wait_until(lambda: sum(product.count("again", u) for u in users[:40]) > 10, 10, every=0.005)
    # The first may have taken nearly all of them: then there are more, until enough of them wait at the second.
    while not wait_until(lambda: limited(second) >= 10, 0.5, every=0.005) and len(users) < 600:
        users += ["s%03d" % (len(users) + i) for i in range(40)]
        pour(redis, users[-40:])
    before = set(appended_by(redis, "n2")[0])
    second.signal(signal.SIGSTOP)
    ok(len(users) < 600, "stopped: some of its actions wait for a limit")
    first.wait_for(lambda: nodes_of(first)["n2"]["state"] == "dead", "stopped: the first calls it dead", 20)
    first.wait_for(lambda: not owned(first, "n2"), "stopped: and takes over what it owned", 30)
    taken_over(first, *played)
    second.signal(signal.SIGCONT)
    second.wait_for(lambda: "had lapsed" in second.log(), "stopped: woken, it finds its lease lapsed", 10)
    second.wait_for(lambda: "holds its lease again" in second.log(), "stopped: looks what is still its own, and goes on", 20)
    first.wait_for(lambda: settled(first, product, users), "stopped: all comes to its end", 90)
    judge("stopped", first, product, users)
    taken, late = appended_by(redis, "n2")
    ok(len(set(taken) - before) >= 10, "stopped: %d of its incidents went to the first" % len(set(taken) - before))
    is_(late, [], "stopped: and woken it has appended nothing for their runs")
    second.wait_for(lambda: "%s is played at another node now" % played[0] in second.log(), "exercise: woken, the second lets go of it", 10)
    is_(listed(second, played[0])["stage"], "elsewhere", "exercise: and says who plays it")
    finished(first, second, *played)


def choice(tocsin):
    return [q for q in tocsin.json("now")["questions"] if q["kind"] == "parameter"]


def drained(redis, product, first, second):
    """A rolling restart under load: drain, stop, start, one after the other."""
    users = ["d%03d" % i for i in range(120)]
    # What a person has still to choose goes along, before there is a run.
    with redis.client() as client:
        client.call("XADD", "tocsin:alerts", "*", "alert", json.dumps(alert("pia", "pick", "Picker", resources=[{"name": "db-a"}, {"name": "db-b"}])))
    first.wait_for(lambda: choice(first), "drain: a person is asked for a parameter", 20)
    pour(redis, users[:60])
    for leaving, other in ((second, first), (first, second)):
        pour(redis, users[60:90] if leaving is second else users[90:])
        is_(other.run("node", "drain", leaving.name).status, 0, "drain: %s is told at the other node" % leaving.name)
        other.wait_for(lambda n=leaving.name, o=other: owned(o, n) == 0, "drain: %s owns nothing any more" % leaving.name, 60)
        is_(len(choice(other)), 1, "drain: the choice is asked still, where its incident went")
        is_(leaving.terminate(), 0, "drain: it ends")
        leaving.start()
        other.wait_for(lambda n=leaving.name, o=other: nodes_of(o).get(n, {}).get("state") == "alive" and not nodes_of(o)[n]["draining"], "drain: and is back", 20)
    first.wait_for(lambda: settled(first, product, users), "drain: all comes to its end", 90)
    judge("drain", first, product, users)
    asked = choice(first)[0]["id"]
    began = time.monotonic()
    is_([n.terminate() for n in (first, second)], [0, 0], "drain: nor does an end wait for the choice")
    ok(time.monotonic() - began < 15, "drain: for as long as an end may take")
    first.start(), second.start()
    first.wait_for(lambda: first.run("answer", asked, "db-b").status == 0, "drain: it can be made afterwards", 20)
    first.wait_for(lambda: product.count("once", "db-b") == 1, "drain: and its run begins", 20)


with Redis(passwords=False) as redis, Product(slow=0.02) as product:
    first, second = node("n1", redis, product), node("n2", redis, product)
    first.name, second.name = "n1", "n2"
    stray(redis)
    with first, second:
        first.wait_for(lambda: settled(first, product, ["stray"]), "what it left behind is finished by another", 30)
        first.wait_for(lambda: sorted(nodes_of(first)) == sorted(nodes_of(second)) == ["n1", "n2"], "each sees both", 10)
        refused(redis, product, first)
        together(redis, product, first, second)
        by_letter(redis, first, second)
        held_twice(product, first, second)
        paused(redis, product, first, second)
        killed(redis, product, first, second)
        stopped(redis, product, first, second)
        drained(redis, product, first, second)
        everything = first.json("incident", "list", "--status", "all", "--limit", "1000")["incidents"]
        broken = [i["id"] for i in random.Random(SEED).sample(everything, 20) if second.run("evidence", "verify", i["id"]).status]
        is_(broken, [], "every journal's chain holds, whoever wrote it")
        for tocsin in (first, second):
            ok("Sanitizer" not in tocsin.log() and "runtime error" not in tocsin.log(), "no memory error was seen at %s" % tocsin.name)
done()
