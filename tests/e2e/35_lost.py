"""Ownership of an incident is lost while it is alive: another node wrote to its journal. It is let go of, read anew, and goes on."""
import hashlib
import json

from harness import Raw, Tocsin, done, is_, journal_entries, like, ok, wait_until
from product import Product, alert, conservation, content, entries

ASK = """
return playbook {
  title = "Ask", when = { ["metadata.product.name"] = "Asker" }, group = { "actor.user" }, window = "1h", uses = { "product.once" },
  params = { user = schema.string { from = "actor.user" } },
  run = function(incident, act, p)
    local answer = incident:ask { "Do it to " .. p.user .. "?", options = { "yes", "no" }, within = "1h", otherwise = "no" }
    if answer == "yes" then must(act.product.once { user = p.user }) end
  end,
}
"""

PICK = """
return playbook {
  title = "Pick", when = { ["metadata.product.name"] = "Picker" }, group = { "actor.user" }, window = "1h", uses = { "product.once" },
  params = { what = schema.string { from = "resources.name" } },
  run = function(incident, act, p) must(act.product.once { user = p.what }) end,
}
"""


def foreign_entry(tocsin, incident, kind="incident.noted", actor="engine", body=b'{"text":"written elsewhere"}', **more):
    """What another node's append would be: well formed, and chained to what is there."""
    with tocsin.redis() as redis:
        last, entry = journal_entries(redis, incident)[-1]
        prev, seq = entry[b"h"].decode(), last + 1
        envelope = bytes(32) + body
        head = json.dumps({"actor": actor, "body": digest(envelope), "incident": incident, "node": "n2", "prev": prev, "seq": seq, "size": len(body),
                           "time": "2026-11-23T12:00:00.000000Z", "type": kind, "v": 1, **more}, separators=(",", ":"), sort_keys=True).encode()
        leaf = hashlib.sha256(b"\0" + head).hexdigest()
        return redis.call("FCALL", "tocsin_append", "2", "tocsin:{%s}:journal" % incident, "tocsin:{%s}:state" % incident, prev, seq, "", head, leaf, envelope)


def digest(envelope):
    return hashlib.sha256(envelope).hexdigest()


def lose(tocsin, incident):
    is_(foreign_entry(tocsin, incident), 1, "another node writes to %s" % incident)
    first = tocsin.run("incident", "note", incident, "who writes here?")
    # One that slept was read anew for this command, with the other's entry, and keeps it.
    kept = any("who writes here?" in json.dumps(e) for e in entries(tocsin, incident))
    is_(first.status == 0, kept, "a command is answered with success when its entry is kept, and only then: %s" % first.err.strip())
    tocsin.wait_for(lambda: tocsin.run("incident", "note", incident, "again").status == 0, "the incident is read anew, and goes on")
    is_(tocsin.run("evidence", "verify", incident).status, 0, "its chain holds")
    ok(any("written elsewhere" in json.dumps(e) for e in entries(tocsin, incident)), "with the other node's entry in it")


def incident_of(tocsin, user):
    return next((i["id"] for i in tocsin.json("incident", "list", "--status", "all")["incidents"] if i["title"] == "about %s" % user), None)


def asked(tocsin, incident):
    return [q for q in tocsin.json("now")["questions"] if q["incident"] == incident]


def chosen_before_a_crash(tocsin, product):
    """A person chose a parameter, the answer is in the journal, and the process was killed before the run began: it begins after the restart, with what was chosen."""
    tocsin.xadd(alert("nora", "4", "Picker", resources=[{"name": "db-c"}, {"name": "db-d"}]))
    wait_until(lambda: incident_of(tocsin, "nora") and asked(tocsin, incident_of(tocsin, "nora")), 20)
    incident = incident_of(tocsin, "nora")
    _, run, step = asked(tocsin, incident)[0]["id"].split("/")
    tocsin.kill()
    is_(foreign_entry(tocsin, incident, "question.answered", "person:7f3a91c2", b'{"answer":"db-d","more":false}', run=int(run), step=step), 1, "an answer, and the end of the process")
    tocsin.start()
    tocsin.wait_for(lambda: product.count("once", "db-d") == 1, "the run begins, with what was chosen")
    tocsin.wait_for(lambda: not asked(tocsin, incident), "nobody is asked again")
    tocsin.restart(kill=True)
    tocsin.wait_for(lambda: tocsin.run("incident", "note", incident, "after").status == 0, "and after another restart")
    is_((product.count("once", "db-c"), product.count("once", "db-d")), (0, 1), "it has begun once")


def differs(tocsin, product):
    """The journal has another step than the playbook takes: the run stops, says both, and a person has it. Nothing is done in its name."""
    tocsin.xadd(alert("dina", "6", "Asker"))
    wait_until(lambda: incident_of(tocsin, "dina") and asked(tocsin, incident_of(tocsin, "dina")), 20)
    incident = incident_of(tocsin, "dina")
    _, run, step = asked(tocsin, incident)[0]["id"].split("/")
    tocsin.kill()
    foreign_entry(tocsin, incident, "question.answered", "person:7f3a91c2", b'{"answer":"yes","more":false}', run=int(run), step=step)
    other = {"connector": "product", "action": "once", "effect": "record", "target": {"user": "dora"}, "params": {"user": "dora"}, "digest": "0" * 64, "attempt": 1}
    foreign_entry(tocsin, incident, "action.intended", "playbook:ask", json.dumps(other).encode(), run=int(run), step="2")
    foreign_entry(tocsin, incident, "action.outcome", "playbook:ask", json.dumps(dict(other, ok=True, returns={})).encode(), run=int(run), step="2")
    tocsin.start()
    tocsin.wait_for(lambda: any(h["incident"] == incident for h in tocsin.json("now")["handed_over"]), "a run whose replay differs is handed to a person")
    ended = [e["body"] for e in entries(tocsin, incident) if e["type"] == "run.handed_over"]
    is_((len(ended), ended[0]["why"]["step"]), (1, "2"), "with the step")
    like(ended[0]["text"], 'at step 2: the journal has action.intended .*once.*"dora".*; the playbook does action .*once.*"dina"', "and with both")
    like(tocsin.run("incident", "show", incident).out, "dora(.|\n)*dina", "the timeline shows them")
    is_((product.count("once", "dina"), product.count("once", "dora")), (0, 0), "nothing was sent")


def listed_after_all(tocsin):
    """Its place in the list of open incidents cannot be written at first (there: by a key of another type), as when a connection breaks: it is written later."""
    with tocsin.redis() as redis:
        redis.call("SET", "tocsin:open", "in the way")
        tocsin.xadd(alert("vera", "v1", "Asker"))
        wait_until(lambda: conservation(tocsin).get("attached") == 1, 20)
        is_(redis.call("DEL", "tocsin:open"), 1, "nothing is listed while Redis refuses")
        tocsin.wait_for(lambda: incident_of(tocsin, "vera"), "then it is")
        incident = incident_of(tocsin, "vera")
        # and a process that dies in between
        redis.call("ZREM", "tocsin:open", incident)
        is_(incident_of(tocsin, "vera"), None, "in no list")
        tocsin.restart(kill=True)
        tocsin.wait_for(lambda: incident_of(tocsin, "vera") == incident, "what this node owns is found again after a crash")
    tocsin.wait_for(lambda: len(asked(tocsin, incident)) == 1, "with its run, which asks")
    is_(tocsin.run("answer", asked(tocsin, incident)[0]["id"], "no").status, 0, "and can be answered")


with Product() as product:
    tocsin = Tocsin({})
    folders = content(tocsin.folder)
    tocsin.write("playbooks/ask.lua", ASK)
    tocsin.write("playbooks/pick.lua", PICK)
    tocsin.settings({"folders": folders, "connectors": {"product": Raw('product { url = "%s" }' % product.url)}})
    with tocsin:
        listed_after_all(tocsin)
        # a run that asks
        tocsin.xadd(alert("ursula", "1", "Asker"))
        wait_until(lambda: incident_of(tocsin, "ursula") and asked(tocsin, incident_of(tocsin, "ursula")), 20)
        incident = incident_of(tocsin, "ursula")
        lose(tocsin, incident)
        tocsin.wait_for(lambda: len(asked(tocsin, incident)) == 1, "its question is asked still, once")
        is_(tocsin.run("answer", asked(tocsin, incident)[0]["id"], "yes").status, 0, "and can be answered")
        tocsin.wait_for(lambda: product.count("once", "ursula") == 1, "the run goes on")
        # an action that waits for approval
        tocsin.xadd(alert("lars", "2", "Locker"))
        wait_until(lambda: incident_of(tocsin, "lars") and asked(tocsin, incident_of(tocsin, "lars")), 20)
        incident = incident_of(tocsin, "lars")
        lose(tocsin, incident)
        tocsin.wait_for(lambda: len(asked(tocsin, incident)) == 1, "its approval is asked for still")
        is_(tocsin.run("answer", asked(tocsin, incident)[0]["id"], "approve").status, 0, "and can be given")
        tocsin.wait_for(lambda: product.count("lock", "lars") == 1, "the action is sent")
        # a release that asks
        product.locked["otto"] = True
        incident = tocsin.json("trigger", "lock", "--because", "x", "--yes", "user=otto")["id"]
        tocsin.wait_for(lambda: any(c["incident"] == incident for c in tocsin.json("contained")["contained"]), "a containment that was found so")
        tocsin.run("release", incident, "--because", "x", "--yes")
        tocsin.wait_for(lambda: len(asked(tocsin, incident)) == 1, "its release asks")
        lose(tocsin, incident)
        is_(asked(tocsin, incident), [], "the release was cut short, and its question with it")
        ok(any(c["incident"] == incident for c in tocsin.json("contained")["contained"]), "it is still listed")
        tocsin.run("release", incident, "--because", "x", "--yes")
        tocsin.wait_for(lambda: len(asked(tocsin, incident)) == 1, "it can be released again")
        tocsin.run("answer", asked(tocsin, incident)[0]["id"], "release")
        tocsin.wait_for(lambda: product.count("unlock", "otto") == 1, "and is")
        # a parameter that the alert leaves open
        tocsin.xadd(alert("mia", "3", "Picker", resources=[{"name": "db-a"}, {"name": "db-b"}]))
        wait_until(lambda: incident_of(tocsin, "mia") and asked(tocsin, incident_of(tocsin, "mia")), 20)
        incident = incident_of(tocsin, "mia")
        is_([q["kind"] for q in asked(tocsin, incident)], ["parameter"], "nobody guesses which of two is meant")
        lose(tocsin, incident)
        tocsin.wait_for(lambda: len(asked(tocsin, incident)) == 1, "which is asked still")
        is_(tocsin.run("answer", asked(tocsin, incident)[0]["id"], "db-b").status, 0, "and can be answered")
        tocsin.wait_for(lambda: product.count("once", "db-b") == 1 and not product.count("once", "db-a"), "then the run begins, with that one")
        chosen_before_a_crash(tocsin, product)
        differs(tocsin, product)
        is_(tocsin.run().status, 0, "everything is still listed")
        is_(tocsin.terminate(), 0, "it stops in order")
        ok("Sanitizer" not in tocsin.log() and "runtime error" not in tocsin.log(), "no memory error was seen")
done()
