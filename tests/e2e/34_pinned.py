"""A run goes on with the connector and the lists that it began with, whatever became of the files meanwhile, and so do its undo and the probe of what is in doubt; without it a person takes over, or is asked.
So does a run in shadow: it stays there."""
import threading

from harness import Raw, Tocsin, done, is_, like, ok
from product import CONNECTOR, TRIAGE, entries
from sink import Sink

ASKS = """return playbook { title = "Asks", when = { ["raw.kind"] = "asks" }, group = { "raw.user" }, window = "1h", uses = { "product.once" },
  params = { user = schema.string { from = "raw.user" } },
  run = function(incident, act, p)
    incident:ask { "Go on?", options = { "yes", "no" }, within = "2h", otherwise = "no" }
    must(act.product.once { user = p.user })
    incident:ask { "And on?", options = { "yes", "no" }, within = "2h", otherwise = "no" }
    must(act.product.once { user = p.user })
  end }
"""
ASKS_CHANGED = ASKS.replace("And on?", "And whom?").replace("""
    must(act.product.once { user = p.user })
  end""", """
    must(act.product.once { user = "another" })
  end""")
LOCKS = """return playbook { title = "Locks", when = { ["raw.kind"] = { "locks", "keeps" } }, group = { "raw.user" }, window = "1h", uses = { "product.lock" },
  params = { user = schema.string { from = "raw.user" }, kind = schema.string { from = "raw.kind" } },
  run = function(incident, act, p)
    local locked = must(act.product.lock { user = p.user, because = "alert" })
    if p.kind == "keeps" then return end
    incident:ask { "Release " .. p.user .. "?", options = { "yes", "no" }, within = "2h", otherwise = "no" }
    must(incident:undo(locked))
  end }
"""
LISTED = """return playbook { title = "Listed", when = { ["raw.kind"] = "listed" }, group = { "raw.user" }, window = "1h", uses = { "product.once" },
  params = { user = schema.string { from = "raw.user" } },
  run = function(incident, act, p)
    incident:ask { "Look for " .. p.user .. "?", options = { "yes", "no" }, within = "2h", otherwise = "no" }
    local found = list("vip"):match(p.user)
    must(act.product.once { user = (found and found.reason or "nobody") .. "-" .. p.user })
    incident:ask { "Again for " .. p.user .. "?", options = { "yes", "no" }, within = "2h", otherwise = "no" }
    must(act.product.once { user = #list("vip"):rows() .. "-" .. p.user })
  end }
"""
WATCHES = """return playbook { title = "Watches", shadow = true, when = { ["raw.kind"] = { "asks", "lone" } }, group = { "raw.user" }, window = "1h",
  uses = { "product.once", "product.lock", "product.is_seen" }, params = { user = schema.string { from = "raw.user" } },
  run = function(incident, act, p)
    must(act.product.is_seen { user = p.user })
    local locked = must(act.product.lock { user = p.user, because = "alert" })
    incident:ask { "Keep it locked?", options = { "yes", "no" }, within = "2h", otherwise = "no" }
    incident:severity("critical")
    incident:wait_for { alert = { ["raw.step"] = 2 }, within = "2h" }
    must(act.product.once { user = p.user })
    must(incident:undo(locked))
    return incident:hand_over("look at " .. p.user)
  end }
"""
IN_EARNEST = """return playbook { title = "Watches", when = { ["raw.kind"] = "asks" }, group = { "raw.user" }, window = "1h", uses = { "product.lock" },
  params = { user = schema.string { from = "raw.user" } },
  run = function(incident, act, p) must(act.product.lock { user = p.user, because = "alert" }) end }
"""
CHANGED = CONNECTOR.replace("json = { user = p.user }", "json = { user = p.user, changed = true }").replace('path = { "is-locked"', 'path = { "elsewhere"')


def answer(tocsin, text):
    found = tocsin.wait_for(lambda: [q for q in tocsin.json("now")["questions"] if text in q["text"]], "asked: " + text)
    is_(tocsin.run("answer", found[0]["id"], "yes").status, 0, "answered")


def sent(sink, user, what="once"):
    """Of each request: was it made by a changed version?"""
    return ["changed" in str(r["body"]) for r in sink.seen("/%s/" % what) if r["path"] == "/%s/%s" % (what, user)]


def contained(tocsin):
    return {c["target"]["user"]: c for c in tocsin.json("contained")["contained"]}


def lock(tocsin, sink):
    """Contained by the first version: one by a run that goes on, two by runs that end; of one nobody knows, and its run is cancelled."""
    tocsin.xadd(*[{"kind": "locks" if user == "fay" else "keeps", "id": "lock-" + user, "user": user} for user in ("fay", "gil", "hal", "ida")])
    tocsin.wait_for(lambda: sorted(contained(tocsin)) == ["fay", "gil", "hal"] and sent(sink, "ida", "lock"), "three are contained, the fourth is on its way")
    run = next(r["id"] for r in tocsin.json("run", "list")["runs"] if "product.lock" in (r["waiting_for"] or ""))
    is_(tocsin.run("run", "cancel", run, "--because", "test").status, 0, "and given up")
    threading.Thread(target=lambda: tocsin.run("connector", "try", "product.once", "--because", "by hand", "user=jan"), daemon=True).start()
    tocsin.wait_for(lambda: sent(sink, "jan"), "a person tries an action by hand")
    return run.split("/")[0]


def undone(tocsin, sink, incident):
    """After the file has changed, and a restart."""
    answer(tocsin, "Release fay?")
    tocsin.wait_for(lambda: sent(sink, "fay", "unlock") and "fay" not in contained(tocsin), "an undo of the run")
    is_(tocsin.run("release", "user=gil", "--because", "over", "--yes").status, 0, "one by a person, whose run has ended")
    is_((sent(sink, "fay", "unlock"), sent(sink, "gil", "unlock")), ([False], [False]), "both as the version says that contained")
    tocsin.wait_for(lambda: [e for e in entries(tocsin, incident) if e["type"] == "action.resolved"], "what nobody knew is found out")
    is_((len(sink.seen("/is-locked/")), len(sink.seen("/elsewhere/"))), (1, 0), "where the version looks that sent it")


def by_hand(tocsin):
    """What a person had tried, and whose answer the process did not live to see: nothing tells, so a person is asked, and it is seen everywhere until then."""
    def asked():
        return [q for q in tocsin.json("now")["questions"] if "jan" in q["text"]]
    tocsin.wait_for(asked, "a person is asked")
    incident = asked()[0]["incident"]
    is_({i["id"]: i["in_doubt"] for i in tocsin.json("incident", "list")["incidents"]}[incident], 1, "the list of incidents has it")
    like(tocsin.run("incident", "list").out, incident + ".* 1 asked 1 IN DOUBT", "in words")
    is_([d["id"] for d in tocsin.json("now")["in_doubt"]], [asked()[0]["id"]], "so has `tocsin`")
    like(tocsin.run("doctor").out, "WRONG +in doubt +1 actions in doubt", "so has doctor")
    like(str(tocsin.api("GET", "/metrics")[1]), r"tocsin_actions_in_doubt 1\n", "and the metrics")
    is_(tocsin.run("answer", asked()[0]["id"], "done").status, 0, "who says that it was done")
    tocsin.wait_for(lambda: not tocsin.json("now")["in_doubt"], "nothing is in doubt any more")
    like(str(tocsin.api("GET", "/metrics")[1]), r"tocsin_actions_in_doubt 0\n", "nowhere")
    is_([e["type"] for e in entries(tocsin, incident) if e["type"].startswith(("action.", "question."))],
        ["action.tried", "action.intended", "action.in_doubt", "question.asked", "question.answered", "action.resolved", "action.outcome"], "every step of it is an entry")
    over = tocsin.json("connector", "try", "product.again", "--because", "by hand", "user=kim")["id"]
    is_([i["status"] for i in tocsin.json("incident", "list", "--status", "all")["incidents"] if i["id"] == over], ["closed"], "an incident that was made for one action is over with it")


def not_to_be_found(tocsin, sink):
    """The version that contained is in no file and not in Redis: nobody uses another one silently."""
    result = tocsin.run("release", "user=hal", "--because", "over", "--yes")
    tocsin.wait_for(lambda: [q for q in tocsin.json("now")["questions"] if "hal" in q["text"]], "a person is asked: %s" % result)
    asked = [q for q in tocsin.json("now")["questions"] if "hal" in q["text"]][0]
    like(asked["text"], r"contained by product of digest [0-9a-f]{12}, which is not to be found any more; in force is [0-9a-f]{12}", "with both versions")
    is_(sent(sink, "hal", "unlock"), [], "and nothing is sent")
    is_(tocsin.run("answer", asked["id"], "release").status, 0, "who says so")
    tocsin.wait_for(lambda: "hal" not in contained(tocsin), "releases it")
    is_(sent(sink, "hal", "unlock"), [True], "with the one in force")
    now = [e["body"]["version"] for e in entries(tocsin, asked["incident"]) if e["type"] == "action.intended"]
    is_(len(set(now)), 2, "each intent says by which version it is")


def wait_asked(tocsin, text):
    tocsin.wait_for(lambda: [q for q in tocsin.json("now")["questions"] if text in q["text"]], "asked: " + text)


def handed_over(tocsin, incident):
    return tocsin.wait_for(lambda: [e["body"] for e in entries(tocsin, incident) if e["type"] == "run.handed_over"], "a person has the run")[0]


def shadows(tocsin, incident):
    """The entries of a run in shadow of that incident."""
    runs = [e["run"] for e in entries(tocsin, incident) if e["type"] == "run.started" and e["body"].get("shadow")]
    return [e for e in entries(tocsin, incident) if e.get("run") in runs]


def woulds(tocsin, incident):
    return [e["body"].get("action", e["body"]["verb"]) for e in shadows(tocsin, incident) if e["type"] == "run.would"]


def playbooks(tocsin, incident):
    return sorted(e["body"]["playbook"] for e in entries(tocsin, incident) if e["type"] == "run.started")


def shadow(tocsin, sink):
    tocsin.write("playbooks/triage-only.lua", TRIAGE)
    tocsin.write("playbooks/watches.lua", WATCHES)
    is_(tocsin.run("reload").status, 0, "a playbook in shadow is loaded")
    before = len(tocsin.json("incident", "list")["incidents"])
    tocsin.xadd({"kind": "lone", "id": "5", "user": "cat"}, {"kind": "asks", "id": "6", "user": "dora"})
    tocsin.wait_for(lambda: len(sink.seen("/is-seen/")) == 2, "it reads in earnest")
    found = tocsin.json("incident", "list")["incidents"]
    is_(len(found), before + 2, "and opens no incident of its own")
    lone, asks = sorted(i["id"] for i in found)[-2:]
    if "asks" in playbooks(tocsin, lone):
        lone, asks = asks, lone
    tocsin.wait_for(lambda: len(woulds(tocsin, asks)) == 3, "it says what it would have done")
    is_((playbooks(tocsin, lone), playbooks(tocsin, asks)), (["triage-only", "watches"], ["asks", "watches"]), "it swallows no alert: what would run without it runs")
    is_([q["text"] for q in tocsin.json("now")["questions"] if "locked" in q["text"]], [], "nobody is asked")
    result = tocsin.run("trigger", "watches", "--because", "let us see", "user=eve")
    ok(result.status == 0 and "SHADOW" in result.out, "by hand it says so, and needs no yes: %s" % result)
    tocsin.kill()
    tocsin.write("playbooks/watches.lua", IN_EARNEST)
    tocsin.start()
    tocsin.xadd({"kind": "asks", "id": "7", "user": "dora", "step": 2})
    tocsin.wait_for(lambda: any(e["type"] == "run.finished" for e in shadows(tocsin, asks)), "a run that began in shadow goes on after a kill")
    is_(woulds(tocsin, asks), ["lock", "ask", "severity", "once", "unlock"], "in shadow, although its playbook is not any more, and says nothing twice")
    is_([e["type"] for e in shadows(tocsin, asks) if e["type"] in ("action.intended", "question.asked", "incident.severity", "run.handed_over")], [], "it does nothing")
    would = [e["body"] for e in shadows(tocsin, asks) if e["type"] == "run.would"][-1]
    is_((would["request"]["http"]["path"], would["undo_of"][-2:]), (["unlock", "dora"], "/2"), "the very request is on record")
    like(tocsin.run("incident", "show", asks).out, "WOULD have sent product: lock, user dora", "the timeline tells it")
    tocsin.wait_for(lambda: sink.seen("/lock/"), "the playbook itself acts from now on, in the same incident")
    is_((len(sent(sink, "dora", "lock")), sent(sink, "dora", "unlock")), (1, []), "and all that left was its")
    tocsin.wait_for(lambda: "dora" in contained(tocsin), "which is contained")
    report = tocsin.json("playbook", "compare", "watches")
    is_((report["runs"], report["same"]), (3, 1), "compared: the same was done once")
    is_(sorted((r["text"], r["verdict"]) for r in report["rows"] if r["incident"] == asks),
        [("contain product.lock user=dora", "same"), ("record product.once user=dora", "not_done"), ("severity critical", "not_done"),
         ("undo: contain product.unlock user=dora", "not_done")], "row by row")
    like(tocsin.run("playbook", "compare", "watches").out, asks + "  same +contain product.lock user=dora, .* by playbook:watches", "and in words")
    like(tocsin.run("playbook", "compare", "asks").err, "has not run in shadow", "of another playbook there is nothing to compare")


sink_ = Sink().start()
for path in ("/once/", "/lock/", "/unlock/"):
    sink_.behave(path, lambda request: "stall" if request["path"] in ("/lock/ida", "/once/jan") else {"body": {"already": False}})
for path in ("/is-seen/", "/is-locked/", "/elsewhere/"):
    sink_.behave(path, lambda request: {"body": {"happened": False}})
tocsin_ = Tocsin({"webhook": {"listen": ""}, "folders": {"playbooks": "{folder}/playbooks", "connectors": "{folder}/connectors", "lists": "{folder}/lists"},
                  "guard": {"ceiling": "contain"}, "lease": "3s", "connectors": {"product": Raw('product { url = "%s" }' % sink_.url)}})
tocsin_.write("playbooks/asks.lua", ASKS)
tocsin_.write("playbooks/locks.lua", LOCKS)
tocsin_.write("playbooks/listed.lua", LISTED)
tocsin_.write("lists/vip.csv", "value,reason\nlea,first\n")
tocsin_.write("connectors/product.lua", CONNECTOR)
with open("connectors/generic.lua", encoding="utf-8") as f:
    tocsin_.write("connectors/generic.lua", f.read())
with tocsin_:
    tocsin_.xadd({"kind": "asks", "id": "1", "user": "ann"})
    tocsin_.wait_for(lambda: tocsin_.json("now")["questions"], "ann's run waits")
    given_up = lock(tocsin_, sink_)
    tocsin_.xadd({"kind": "listed", "id": "listed-lea", "user": "lea"})
    wait_asked(tocsin_, "Look for lea?")
    first = next(e["body"]["version"] for e in entries(tocsin_, contained(tocsin_)["hal"]["incident"]) if e["type"] == "action.intended")
    tocsin_.kill()
    tocsin_.write("connectors/product.lua", CHANGED)
    tocsin_.write("lists/vip.csv", "value,reason\nmax,second\nlea,second\n")
    tocsin_.start()
    answer(tocsin_, "Look for lea?")
    tocsin_.wait_for(lambda: sent(sink_, "first-lea"), "a run reads the list that it began with")
    wait_asked(tocsin_, "Again for lea?")
    tocsin_.xadd({"kind": "listed", "id": "listed-max", "user": "max"})
    wait_asked(tocsin_, "Look for max?")
    answer(tocsin_, "Go on?")
    tocsin_.wait_for(lambda: sent(sink_, "ann"), "the request leaves")
    is_(sent(sink_, "ann"), [False], "as the version says that the run began with")
    tocsin_.wait_for(lambda: any("And on?" in q["text"] for q in tocsin_.json("now")["questions"]), "the run asks again")
    tocsin_.write("connectors/product.lua", CHANGED + "-- once more\n")
    tocsin_.write("lists/vip.csv", "value,reason\nnobody,third\n")
    tocsin_.write("playbooks/asks.lua", ASKS_CHANGED)
    is_(tocsin_.run("reload").status, 0, "a reload takes a third version")
    answer(tocsin_, "Again for lea?")
    answer(tocsin_, "Look for max?")
    tocsin_.wait_for(lambda: sent(sink_, "1-lea") and sent(sink_, "second-max"), "after a reload, too")
    wait_asked(tocsin_, "Again for max?")
    answer(tocsin_, "And on?")
    tocsin_.wait_for(lambda: len(sent(sink_, "ann")) == 2, "the next one leaves")
    is_(sent(sink_, "ann"), [False, False], "with the pinned version still, of the playbook too")

    undone(tocsin_, sink_, given_up)
    by_hand(tocsin_)

    tocsin_.xadd({"kind": "asks", "id": "2", "user": "bob"})
    answer(tocsin_, "Go on?")
    tocsin_.wait_for(lambda: sent(sink_, "bob"), "who begins now")
    is_(sent(sink_, "bob"), [True], "has the new one")
    wait_asked(tocsin_, "And whom?")
    asked = [next(q for q in tocsin_.json("now")["questions"] if text in q["text"]) for text in ("And whom?", "Again for max?")]
    incident, listed = (q["incident"] for q in asked)
    digest = next(e["body"]["connectors"]["product"] for e in entries(tocsin_, incident) if e["type"] == "run.started")
    with tocsin_.redis() as redis:
        vip = next(e["body"]["lists"]["vip"] for e in entries(tocsin_, listed) if e["type"] == "run.started")
        is_([redis.call("TTL", "tocsin:source:" + d) // 86400 for d in (vip, digest)], [89, -1], "a list's for 90 days, the others' for good")
        is_(redis.call("DEL", *("tocsin:source:" + d for d in (digest, first, vip))), 3, "the sources were kept by digest")
    tocsin_.kill()
    tocsin_.write("connectors/product.lua", CHANGED + "-- and again\n")
    tocsin_.start()
    for question in asked:
        tocsin_.run("answer", question["id"], "yes")  # wakes those that slept by then
    handed = tocsin_.wait_for(lambda: [e for e in entries(tocsin_, incident) if e["type"] == "run.handed_over"], "what is not to be found goes to a person")
    over = handed_over(tocsin_, listed)
    is_((over["text"], over["why"]), ("a list's pinned version is not to be found, so the run cannot go on", "the list vip of digest %s is not to be found any more" % vip), "so does what began with such a list")
    like(handed[0]["body"]["why"], digest + r".* in force is [0-9a-f]{64}", "with both digests")
    ok(sent(sink_, "bob") == [True], "and nothing more is sent")
    not_to_be_found(tocsin_, sink_)
    shadow(tocsin_, sink_)
    ok("Sanitizer" not in tocsin_.log() and "runtime error" not in tocsin_.log(), "no memory error was seen")
sink_.stop()
done()
