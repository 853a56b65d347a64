"""A run goes on with the connector that it began with, whatever became of the file meanwhile; without it a person takes over."""
from harness import Raw, Tocsin, done, is_, like, ok
from product import CONNECTOR, entries
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
CHANGED = CONNECTOR.replace("json = { user = p.user }", "json = { user = p.user, changed = true }")


def answer(tocsin, text):
    found = tocsin.wait_for(lambda: [q for q in tocsin.json("now")["questions"] if text in q["text"]], "asked: " + text)
    is_(tocsin.run("answer", found[0]["id"], "yes").status, 0, "answered")


def sent(sink, user):
    return ["changed" in str(r["body"]) for r in sink.seen("/once/") if r["path"] == "/once/" + user]


sink_ = Sink().start()
sink_.behave("/once/", lambda request: {"body": {"already": False}})
tocsin_ = Tocsin({"webhook": {"listen": ""}, "folders": {"playbooks": "{folder}/playbooks", "connectors": "{folder}/connectors"},
                  "connectors": {"product": Raw('product { url = "%s" }' % sink_.url)}})
tocsin_.write("playbooks/asks.lua", ASKS)
tocsin_.write("connectors/product.lua", CONNECTOR)
with open("connectors/generic.lua", encoding="utf-8") as f:
    tocsin_.write("connectors/generic.lua", f.read())
with tocsin_:
    tocsin_.xadd({"kind": "asks", "id": "1", "user": "ann"})
    tocsin_.wait_for(lambda: tocsin_.json("now")["questions"], "ann's run waits")
    tocsin_.kill()
    tocsin_.write("connectors/product.lua", CHANGED)
    tocsin_.start()
    answer(tocsin_, "Go on?")
    tocsin_.wait_for(lambda: sent(sink_, "ann"), "the request leaves")
    is_(sent(sink_, "ann"), [False], "as the version says that the run began with")
    tocsin_.wait_for(lambda: any("And on?" in q["text"] for q in tocsin_.json("now")["questions"]), "the run asks again")
    tocsin_.write("connectors/product.lua", CHANGED + "-- once more\n")
    is_(tocsin_.run("reload").status, 0, "a reload takes a third version")
    answer(tocsin_, "And on?")
    tocsin_.wait_for(lambda: len(sent(sink_, "ann")) == 2, "the next one leaves")
    is_(sent(sink_, "ann"), [False, False], "with the pinned version still")

    tocsin_.xadd({"kind": "asks", "id": "2", "user": "bob"})
    answer(tocsin_, "Go on?")
    tocsin_.wait_for(lambda: sent(sink_, "bob"), "who begins now")
    is_(sent(sink_, "bob"), [True], "has the new one")
    started = [r for r in tocsin_.json("run", "list")["runs"]]
    incident = started[0]["incident"]
    digest = next(e["body"]["connectors"]["product"] for e in entries(tocsin_, incident) if e["type"] == "run.started")
    with tocsin_.redis() as redis:
        is_(redis.call("DEL", "tocsin:source:" + digest), 1, "its source was kept by digest")
    tocsin_.kill()
    tocsin_.write("connectors/product.lua", CONNECTOR)
    tocsin_.start()
    handed = tocsin_.wait_for(lambda: [e for e in entries(tocsin_, incident) if e["type"] == "run.handed_over"], "what is not to be found goes to a person")
    like(handed[0]["body"]["why"], digest + r".* in force is [0-9a-f]{64}", "with both digests")
    ok(sent(sink_, "bob") == [True], "and nothing more is sent")
sink_.stop()
done()
