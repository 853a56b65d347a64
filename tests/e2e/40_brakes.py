"""What no playbook can step over: brakes, the ceiling, protected entities, budgets, roles; and letting go again."""
from concurrent.futures import ThreadPoolExecutor

from harness import Raw, Tocsin, done, is_, like, ok, wait_until
from product import Product, alert, conservation, content, entries

OTHERS = {"vic": {"token": Raw('secret "env:VIC_TOKEN"'), "roles": ["viewer"]}, "lea": {"token": Raw('secret "env:LEA_TOKEN"'), "roles": ["lead", "responder"]}}
TOKENS = {"VIC_TOKEN": "vic-token-0123456789", "LEA_TOKEN": "lea-token-0123456789"}


def settings(tocsin, product, guard, **more):
    tocsin.settings(dict({"folders": content(tocsin.folder), "connectors": {"product": Raw('product { url = "%s" }' % product.url)}, "people": OTHERS,
                          "guard": guard}, **more))


def types(tocsin, incident):
    return [e["type"] for e in entries(tocsin, incident)]


def incident_of(tocsin, user):
    return next((i["id"] for i in tocsin.json("incident", "list", "--status", "all")["incidents"] if i["title"] == "about %s" % user), None)


def titled(tocsin, title):
    return next((i for i in tocsin.json("incident", "list", "--status", "all")["incidents"] if i["title"] == title), None)


def pushed(tocsin, user, product="Locker"):
    tocsin.xadd(alert(user, "uid-%s" % user, product))
    wait_until(lambda: incident_of(tocsin, user), 20)
    return incident_of(tocsin, user)


def question(tocsin, incident, timeout=20):
    def find():
        return next((q for q in tocsin.json("now")["questions"] if q["incident"] == incident), None)
    wait_until(find, timeout)
    return find()


def as_person(tocsin, token, command):
    return tocsin.api("POST", "/v1/command", command, {"Authorization": "Bearer " + token})


def run_ended(tocsin, incident):
    return wait_until(lambda: all(r["status"] != "running" for r in tocsin.json("run", "list", "--all")["runs"] if r["incident"] == incident), 30)


def the_ceiling(tocsin, product):
    incident = pushed(tocsin, "anna")
    asked = question(tocsin, incident)
    ok(asked and asked["kind"] == "approve", "an alert alone may not lock: a person is asked")
    is_(product.count("lock", "anna"), 0, "nothing left meanwhile")
    status, answer = as_person(tocsin, TOKENS["VIC_TOKEN"], {"command": "answer", "id": asked["id"], "answer": "approve"})
    is_(status, 403, "a viewer may not approve (%s)" % answer)
    ok("question.refused" in types(tocsin, incident), "and that is on record")
    status, answer = as_person(tocsin, "wrong-token-0123456789", {"command": "now"})
    is_(status, 401, "a wrong token is nobody")
    is_(tocsin.run("answer", asked["id"], "approve").status, 0, "a responder approves")
    ok(run_ended(tocsin, incident), "the run goes on to its end")
    is_(product.count("lock", "anna"), 1, "the user is locked, once")
    late = tocsin.run("answer", asked["id"], "refuse")
    ok(late.status == 1 and "tester" in late.err, "a later answer is told who was first")
    refused = pushed(tocsin, "rosa")
    is_(tocsin.run("answer", question(tocsin, refused)["id"], "refuse").status, 0, "a responder refuses")
    ok(run_ended(tocsin, refused) and product.count("lock", "rosa") == 0, "and nothing is sent")
    return incident


def brakes(tocsin, product):
    is_(tocsin.run("pause", "all", "--because", "drill").status, 0, "pause all")
    incident = pushed(tocsin, "paul", "Product")
    tocsin.wait_for(lambda: "action.held" in types(tocsin, incident), "what would leave is held")
    is_(len([r for r in product.requests if r["path"].endswith("/paul")]), 0, "nothing leaves while paused")
    like(tocsin.run().out, "PAUSED", "the brake is shown at the top")
    tocsin.restart(kill=True)
    tocsin.wait_for(lambda: "paused" in tocsin.run().out.lower(), "a crash does not release a brake")
    is_(len([r for r in product.requests if r["path"].endswith("/paul")]), 0, "and still nothing leaves")
    is_(tocsin.run("resume", "all", "--because", "over").status, 0, "resume")
    ok(run_ended(tocsin, incident) and product.count("once", "paul") == 1, "the held run goes on")
    is_(tocsin.run("resume", "all", "--because", "again").status, 1, "resuming what is not paused is an error")
    is_(tocsin.run("pause", "no-such-thing", "--because", "x").status, 1, "pausing what there is not is an error")
    status, _ = as_person(tocsin, TOKENS["VIC_TOKEN"], {"command": "pause", "scope": "all", "because": "x"})
    is_(status, 403, "a viewer may not pull brakes")
    tocsin.run("pause", "effects", "--because", "one playbook")
    held = pushed(tocsin, "petra", "Product")
    tocsin.wait_for(lambda: "action.held" in types(tocsin, held), "one playbook's brake holds that playbook")
    is_(tocsin.run("run", "cancel", held + "/1", "--because", "not needed").status, 0, "its run is cancelled")
    tocsin.run("resume", "effects", "--because", "over")
    ok(run_ended(tocsin, held), "a cancelled run is over")
    is_([r["status"] for r in tocsin.json("run", "list", "--all")["runs"] if r["incident"] == held], ["cancelled"], "and says so")
    is_(len([r for r in product.requests if r["path"].endswith("/petra")]), 0, "nothing of it is sent after the brake")


def by_hand(tocsin, product):
    lock = ("trigger", "lock", "--because", "phoned in", "user=tom")
    result = tocsin.run(*lock)
    ok(result.status == 2 and "--yes" in result.err, "trigger without a terminal asks for --yes")
    is_(product.count("lock", "tom"), 0, "and does nothing")
    result = tocsin.run("trigger", "lock", "--because", "phoned in", "--plan", "user=tom")
    like(result.out, "contain", "--plan says what it would do")
    is_(tocsin.run(*lock, "--yes").status, 0, "with --yes it runs")
    tocsin.wait_for(lambda: product.count("lock", "tom") == 1, "a person's own call needs no approval under the ceiling")
    is_(tocsin.run("trigger", "lock", "--because", "x", "--yes", "user=boss").status, 0, "triggered for a protected user")
    wait_until(lambda: any(r["status"] == "handed_over" for r in tocsin.json("run", "list", "--all")["runs"]), 20)
    is_(product.count("lock", "boss"), 0, "but nobody steps over `protected`")
    status, _ = as_person(tocsin, TOKENS["VIC_TOKEN"], {"command": "trigger", "playbook": "lock", "because": "x", "params": {"user": "vic"}})
    is_(status, 403, "a viewer triggers nothing")


def tried(tocsin, product):
    result = tocsin.run("connector", "try", "product.lock", "--because", "by hand", "--yes", "user=tina", "--json")
    ok(result.status == 0 and product.count("lock", "tina") == 1, "an action tried by hand: %r" % result)
    ok(any(c["target"].get("user") == "tina" for c in tocsin.json("contained")["contained"]), "what it contains is listed")
    is_(tocsin.run("release", "user=tina", "--because", "done", "--yes").status, 0, "and can be released")
    is_(product.count("unlock", "tina"), 1, "by its undo")
    is_(tocsin.run("pause", "all", "--because", "still alive").status, 0, "the engine's own journal is none the worse")
    with ThreadPoolExecutor(1) as pool:
        trying = pool.submit(tocsin.run, "connector", "try", "product.once", "--because", "held by hand", "--yes", "user=nina", "--json")
        wait_until(lambda: titled(tocsin, "held by hand"), 20)
        incident = titled(tocsin, "held by hand")["id"]
        tocsin.run("trigger", "lock", "--incident", incident, "--because", "beside it", "--yes", "user=nora")
        tocsin.run("resume", "all", "--because", "x")
        is_(trying.result().status, 0, "what is tried waits for the brake, too")
    ok(run_ended(tocsin, incident), "and so does what was begun in its incident meanwhile")
    is_(titled(tocsin, "held by hand")["status"], "open", "which is not closed over the head of whoever works in it")
    is_(tocsin.run("release", "user=nora", "--because", "done", "--yes").status, 0, "released again")


def ledger(tocsin, product, incident):
    contained = tocsin.json("contained")["contained"]
    ok(any(c["incident"] == incident and c["target"] == {"user": "anna"} for c in contained), "`contained` lists who is locked")
    tocsin.restart(kill=True)
    wait_until(lambda: tocsin.accepts(), 20)
    is_(len(tocsin.json("contained")["contained"]), len(contained), "also after a crash")
    second = tocsin.json("trigger", "lock", "--because", "again", "--yes", "user=anna")["id"]
    tocsin.wait_for(lambda: product.count("lock", "anna") == 2, "a second incident locks the same user")
    run_ended(tocsin, second)
    result = tocsin.run("release", incident, "--because", "false alarm", "--yes")
    is_((result.status, product.count("unlock", "anna")), (0, 0), "the first to let go lifts nothing")
    like(result.out, second, "and is told who still holds it")
    is_(tocsin.run("release", second, "--because", "false alarm", "--yes").status, 0, "the last one lets go")
    is_(product.count("unlock", "anna"), 1, "and that lifts it")
    is_(tocsin.run("release", second, "--because", "again", "--yes").status, 1, "nothing is left to release")
    product.locked["otto"] = True
    found = tocsin.json("trigger", "lock", "--because", "x", "--yes", "user=otto")["id"]
    run_ended(tocsin, found)
    is_([c["status"] for c in tocsin.json("contained")["contained"] if c["incident"] == found], ["found"], "what was locked before is not ours")
    tocsin.run("release", found, "--because", "x", "--yes")
    asked = question(tocsin, found)
    ok(asked and asked["kind"] == "release", "releasing it asks a person")
    tocsin.restart(kill=True)
    tocsin.wait_for(lambda: not [q for q in tocsin.json("now")["questions"] if q["incident"] == found], "a release cut short leaves no question behind")
    tocsin.run("release", found, "--because", "x", "--yes")
    is_(tocsin.run("answer", question(tocsin, found)["id"], "release").status, 0, "it is asked anew")
    tocsin.wait_for(lambda: product.count("unlock", "otto") == 1, "and lifted")


def budget(tocsin, product):
    ids = [tocsin.json("trigger", "lock", "--because", "x", "--yes", "user=b%d" % i)["id"] for i in range(3)]
    asked = None
    for incident in ids:
        asked = asked or question(tocsin, incident, 5)
    ok(asked and asked["kind"] == "budget", "beyond the budget a person is asked")
    ok(sum(product.count("lock", "b%d" % i) for i in range(3)) == 2, "two of three are locked")
    tocsin.run("answer", asked["id"], "refuse")
    ok(all(run_ended(tocsin, i) for i in ids), "refused: all runs end")
    is_(sum(product.count("lock", "b%d" % i) for i in range(3)), 2, "and the third is not locked")


WAIT = """
return playbook {
  title = "Wait", when = { ["metadata.product.name"] = "Waiter" }, group = { "actor.user" }, window = "1h", uses = {},
  params = {}, run = function(incident) incident:wait("1h") end,
}
"""


def many_that_rest(tocsin, product):
    """run.most is 10, but what only waits must not keep alerts out."""
    def taken():
        return conservation(tocsin)["waiting"] == 0
    tocsin.xadd(*[alert("wait%d" % i, "wait%d" % i, "Waiter") for i in range(25)])
    tocsin.wait_for(taken, "25 runs that wait for time keep no alert out")
    tocsin.run("pause", "all", "--because", "drill")
    tocsin.xadd(*[alert("held%d" % i, "held%d" % i, "Product") for i in range(25)])
    tocsin.wait_for(taken, "nor do 25 that a brake holds")
    is_(tocsin.run("resume", "all", "--because", "over").status, 0, "and when it is released")
    tocsin.wait_for(lambda: all(product.count("once", "held%d" % i) == 1 for i in range(25)), "all of them go on")


with Product() as product:
    tocsin = Tocsin({}, env=TOKENS)
    settings(tocsin, product, {"protected": [{"type": "user", "value": "boss", "reason": "the boss"}]})
    with tocsin:
        incident = the_ceiling(tocsin, product)
        brakes(tocsin, product)
        by_hand(tocsin, product)
        tried(tocsin, product)
        ledger(tocsin, product, incident)
        settings(tocsin, product, {"ceiling": "contain", "budgets": [{"effect": "contain", "most": 2, "within": "10m"}]})
        tocsin.restart()
        budget(tocsin, product)
        tocsin.write("playbooks/wait.lua", WAIT)
        settings(tocsin, product, {}, run={"most": 10})
        tocsin.restart()
        many_that_rest(tocsin, product)
        is_(tocsin.terminate(), 0, "it stops in order")
        ok("Sanitizer" not in tocsin.log() and "runtime error" not in tocsin.log(), "no memory error was seen")
done()
