"""What happens to an incident by itself: an asset raises its severity, what is over joins it, a containment is lifted when its time has come."""
import os

from harness import Raw, Tocsin, done, is_, like, ok, wait_until
from product import Product, alert, conservation, content, entries

LEND = """
return playbook {
  title = "Lock for a moment", when = { ["metadata.product.name"] = "Lender" }, group = { "actor.user" }, window = "1h",
  uses = { "product.lock" }, params = { user = schema.string { from = "actor.user" } },
  run = function(incident, act, p) must(act.product.lock { user = p.user, because = "for a moment", lift_after = "2s" }) end,
}
"""

ROUNDS = """
return playbook {
  title = "Everything that a test can play", when = { ["metadata.product.name"] = "Rounds" }, group = { "actor.user" }, window = "1h",
  uses = { "product.again", "product.lock", "product.is_locked" }, params = { user = schema.string { from = "actor.user" } },
  run = function(incident, act, p)
    must(act.product.lock { user = p.user, because = "rounds" })
    incident:wait_for { alert = { severity_id = 5 }, within = "1h" }
    must(incident:poll { "product.is_locked", params = { user = p.user }, every = "200ms", within = "1m", when = { happened = true } })
    incident:parallel({ "slow", "quick" }, function(what) must(act.product.again { user = what }) end)
    incident:severity("critical")
    return incident.alert_count
  end,
}
"""


def all_of(tocsin):
    return tocsin.json("incident", "list", "--status", "all", "--limit", "1000")["incidents"]


def titled(tocsin, title):
    return next((i for i in all_of(tocsin) if title in i["title"]), None)


def taken(tocsin, what):
    tocsin.wait_for(lambda: conservation(tocsin)["waiting"] == 0, what)


def severity(tocsin, user):
    tocsin.xadd(alert(user, "asset-%s" % user, "Nobody's"))
    return tocsin.wait_for(lambda: titled(tocsin, "about %s" % user), "an alert about %s" % user) and titled(tocsin, "about %s" % user)["severity"]


def assets(tocsin):
    is_(severity(tocsin, "paula"), "medium", "of no asset in particular: as severe as the product says")
    tocsin.write("playbooks/lists/assets.csv", "id,owner,criticality,tenant\ncarla,payroll team,critical,main\npaul,,low,\n")
    is_(tocsin.run("reload").status, 0, "a reload takes assets.csv")
    is_(severity(tocsin, "carla"), "high", "of a critical asset: one step more severe")
    like(tocsin.run("incident", "show", titled(tocsin, "about carla")["id"], "--json").out, "payroll team", "and its owner is on record")
    is_(severity(tocsin, "paul"), "medium", "of one that does not matter: as it was")
    tocsin.write("playbooks/lists/assets.csv", "id,owner,criticality,tenant\ncarl,,enormous,\n")
    result = tocsin.run("reload")
    ok(result.status == 1 and "assets.csv: line 2" in result.err, "a mistake in it: nothing is taken, and the line is named")
    tocsin.write("playbooks/lists/assets.csv", "id,owner\n")


def firing(status, name="DiskFull"):
    one = {"status": status, "labels": {"alertname": name, "severity": "critical"}, "annotations": {"summary": name}, "startsAt": "2026-11-23T10:00:00Z",
           "endsAt": "2026-11-23T11:00:00Z" if status == "resolved" else "0001-01-01T00:00:00Z", "fingerprint": "%016x" % len(name), "generatorURL": ""}
    return {"version": "4", "groupKey": "{}:{}", "status": status, "receiver": "tocsin", "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
            "externalURL": "http://am", "truncatedAlerts": 0, "alerts": [one]}


def over(tocsin):
    tocsin.xadd(firing("firing"))
    tocsin.wait_for(lambda: titled(tocsin, "DiskFull"), "Alertmanager says that it fires")
    incident = titled(tocsin, "DiskFull")["id"]
    runs, before = len(tocsin.json("run", "list", "--all")["runs"]), len(all_of(tocsin))
    tocsin.xadd(firing("resolved"))
    tocsin.wait_for(lambda: titled(tocsin, "DiskFull")["alerts"] == 2, "that it is over joins the incident")
    is_((len(all_of(tocsin)), len(tocsin.json("run", "list", "--all")["runs"])), (before, runs), "opens no other, and starts nothing")
    tocsin.xadd(firing("resolved"), firing("firing"))
    taken(tocsin, "the same is delivered again")
    is_(titled(tocsin, "DiskFull")["alerts"], 2, "and is known")
    is_(tocsin.run("incident", "close", incident, "--verdict", "benign", "--waive", "a full disk").status, 0, "closed")


def lent(tocsin, product):
    tocsin.xadd(alert("lena", "lend-1", "Lender"))
    tocsin.wait_for(lambda: product.count("lock", "lena") == 1, "contained for two seconds")
    incident = titled(tocsin, "about lena")["id"]
    tocsin.wait_for(lambda: product.count("unlock", "lena") == 1, "lifted by itself")
    tocsin.wait_for(lambda: not [c for c in tocsin.json("contained")["contained"] if c["incident"] == incident], "and no longer listed")
    tocsin.xadd(alert("lisa", "lend-2", "Lender"))
    tocsin.wait_for(lambda: any(c["target"] == {"user": "lisa"} for c in tocsin.json("contained")["contained"]), "another one")
    tocsin.restart(kill=True)
    tocsin.wait_for(lambda: product.count("unlock", "lisa") == 1, "is lifted also when a crash comes between")
    taken(tocsin, "and nothing is left")
    is_((product.count("unlock", "lena"), product.count("lock", "lisa")), (1, 1), "each once")
    done_by = [e["actor"] for e in entries(tocsin, incident) if e["type"] == "action.intended"]
    is_(len(done_by), 2, "the lock and its lifting are on record: %s" % done_by)


def again(tocsin, product):
    """A back-test over what the service had to do, over one incident's journal, and over its bundle: all say the same, and nobody is locked again."""
    locks = product.count("lock", "lena")
    own = tocsin.json("playbook", "backtest", "lend", "--since", "1h")
    is_([(row["text"], row["times"]) for row in own["actions"]], [("contain product.lock user=lena", 1), ("contain product.lock user=lisa", 1)], "the service's own alerts, played again")
    incident = titled(tocsin, "about lena")["id"]
    for name in ("lena.jsonl", "lena.zip"):
        is_(tocsin.run("evidence", "export", incident, "-o", name).status, 0, "exported as %s" % name)
        one = tocsin.json("playbook", "backtest", "lend", name)
        is_([row["text"] for row in one["actions"]], ["contain product.lock user=lena"], "and played again from it")
    is_(product.count("lock", "lena"), locks, "for show: the product heard nothing")


def kept_as_test(tocsin, product):
    """A run with polls, branches that end in another order than they began, and an alert that it waited for becomes a test that passes as written."""
    def respond(request):
        if request["path"] == "/again/slow":
            wait_until(lambda: product.count("again", "quick"), 10)
        if request["path"].startswith("/is-locked/") and product.count("is-locked", "rosa") < 2:
            return {"body": {"happened": False}}
        return product.respond(request)
    for path in ("/again/", "/is-locked/"):
        product.behave(path, respond)
    tocsin.write("playbooks/rounds.lua", ROUNDS)
    is_(tocsin.run("reload").status, 0, "one more playbook")
    tocsin.xadd(alert("rosa", "rounds-1", "Rounds"))
    tocsin.wait_for(lambda: any("wait_for" in (r.get("waiting_for") or "") for r in tocsin.json("run", "list")["runs"]), "it waits for an alert")
    tocsin.xadd(alert("rosa", "rounds-2", "Rounds", severity_id=5))
    incident = titled(tocsin, "about rosa")["id"]
    tocsin.wait_for(lambda: any(e["type"] == "run.finished" for e in entries(tocsin, incident)), "which comes; it polls, branches and ends")
    result = tocsin.run("playbook", "record", incident, "-o", "rounds_test.lua")
    ok(result.status == 0 and "1 passed, 0 failed" in result.out, "recorded, it passes as written: %s" % result)
    with open(os.path.join(tocsin.folder, "rounds_test.lua"), encoding="utf-8") as f:
        text = f.read()
    ok("rosa" not in text and "user-1" in text, "nobody's name is in it")
    for old, new in (("critical", "high"), ('"slow", "quick"', '"quick", "slow"')):
        tocsin.write("rounds.lua", ROUNDS.replace(old, new))
        result = tocsin.run("playbook", "record", incident, "-o", "changed_%d_test.lua" % len(new), "--playbook", tocsin.folder + "/rounds.lua")
        ok(result.status == 1 and "expected" in result.out, "%s instead of %s fails it" % (new, old))


with Product() as product_:
    tocsin_ = Tocsin({})
    tocsin_.settings({"folders": content(tocsin_.folder), "connectors": {"product": Raw('product { url = "%s" }' % product_.url)}, "guard": {"ceiling": "contain"}})
    tocsin_.write("playbooks/lend.lua", LEND)
    with tocsin_:
        assets(tocsin_)
        over(tocsin_)
        lent(tocsin_, product_)
        again(tocsin_, product_)
        kept_as_test(tocsin_, product_)
        is_(tocsin_.terminate(), 0, "it stops in order")
done()
