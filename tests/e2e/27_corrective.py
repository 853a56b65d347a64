"""What is to become better: corrective actions with owner and day, overdue, found again, and closed by a second person on evidence."""
import hashlib

from harness import Raw, Tocsin, done, is_, like, ok

SECRET = "the-second-persons-token"


def added(tocsin, *words):
    return tocsin.json("action", "add", *words)


def as_second(tocsin, **command):
    return tocsin.api("POST", "/v1/command", dict(command, command="corrective.close"), {"Authorization": "Bearer " + SECRET})


def adding(tocsin):
    tocsin.json("incident", "open", "Laptop", "stolen", "--severity", "low", "--because", "phoned in")
    is_(tocsin.run("incident", "close", "1", "--verdict", "benign").status, 0, "the incident is closed")
    result = added(tocsin, "1", "Encrypt", "laptops", "--owner", tocsin.me, "--due", "30d", "--key", "laptops")
    is_(result["id"], "INC-000001/a1", "its action is taken on all the same")
    for words, says in ((["--owner", "x"], "--due"), (["--owner", "x", "--due", "soon"], "is no day"), (["--owner", "x", "--due", "2020-01-01"], "is over already")):
        like(tocsin.run("action", "add", "1", "More", *words).err, says, "refused: %s" % says)
    like(tocsin.run("action", "add", "1", "Again", "--owner", "x", "--due", "1d", "--key", "laptops").err, "has this corrective action already", "the same twice in one incident")
    like(tocsin.run("action", "add", "77", "x", "--owner", "x", "--due", "1d").err, "no incident INC-000077", "an incident that is not there")
    tocsin.json("incident", "open", "Laptop", "lost", "--severity", "low", "--because", "phoned in")
    is_(added(tocsin, "2", "Encrypt laptops at last", "--owner", "the IT team", "--due", "1s", "--key", "laptops")["recurs"], "INC-000001/a1", "a recurrence names the old one")
    added(tocsin, "2", "Change the token " + SECRET, "--owner", "x", "--due", "9d")
    with tocsin.redis() as client:
        kept = b"".join(client.pipeline([("HGETALL", "tocsin:corrective")])[0])
    ok(b"Change the token" in kept and SECRET.encode() not in kept, "a secret in its text is in no list")
    is_(as_second(tocsin, id="2", n=2, evidence="changed")[0], 200, "closed again")
    like(tocsin.run("incident", "show", "2").out, "corrective action INC-000002/a1: Encrypt laptops at last; owner the IT team, due .*; seen before: INC-000001/a1", "it stands in the timeline")


def overdue(tocsin):
    tocsin.wait_for(lambda: "OVERDUE" in tocsin.run().out, "`tocsin` alone shows what is overdue")
    like(tocsin.run("action", "list").out, r"INC-000002/a1[\s\S]*OVERDUE[\s\S]*INC-000001/a1", "the first due one first")
    is_([a["id"] for a in tocsin.json("action", "list", "--overdue")["corrective"]], ["INC-000002/a1"], "only what is overdue")
    like(tocsin.run("doctor").out, "2 corrective actions are open, 1 of them overdue", "doctor says so")
    metrics = tocsin.api("GET", "/metrics")[1]
    like(metrics, r"tocsin_\w*corrective_open 2\n[\s\S]*corrective_overdue 1\n", "and so does /metrics")


def closing(tocsin):
    like(tocsin.run("action", "close", "1/a1", "--evidence", "done").err, "you own INC-000001/a1: a second person", "whoever owns it does not close it")
    like(tocsin.run("action", "close", "2/a1", "--evidence", "done").err, "you added INC-000002/a1, and its owner the IT team is no person", "nor who added it for a team")
    is_(as_second(tocsin, id="1", n=1)[0], 400, "without evidence nobody does")
    is_(as_second(tocsin, id="1", n=1, entry=99)[0], 404, "an entry that is not there is none")
    is_(as_second(tocsin, id="1", n=1, evidence="disk report of 3 December")[0], 200, "a second person does")
    is_(as_second(tocsin, id="1", n=1, evidence="again")[0], 409, "once")
    is_(as_second(tocsin, id="1", n=9, evidence="x")[0], 404, "one that is not there")
    like(tocsin.run("action", "close", "1").err, "write INC-000042/a1", "an id that is none")
    like(tocsin.run("incident", "show", "1").out, "second .*corrective action INC-000001/a1 closed: disk report", "on record, with who and why")
    is_([a["id"] for a in tocsin.json("action", "list")["corrective"]], ["INC-000002/a1"], "closed ones are not listed")
    like(tocsin.run("action", "list", "--all").out, "closed by second: disk report", "unless one asks")
    added(tocsin, "1", "Write it down", "--owner", "second", "--due", "2099-12-31")
    path = tocsin.write("drill.pdf", "the drill")
    is_(tocsin.run("action", "close", "INC-000001/a2", "--file", path).status, 0, "whoever added it closes what another person owns")
    kept = next(a for a in tocsin.json("action", "list", "--all")["corrective"] if a["id"] == "INC-000001/a2")["file"]
    is_((kept["name"], kept["sha256"], kept["bytes"]), ("drill.pdf", hashlib.sha256(b"the drill").hexdigest(), 9), "of a file its name, size and digest are kept")


def over(tocsin, exercise):
    """While it is just ending the report is refused, and says so."""
    result = tocsin.run("tabletop", "report", exercise, "--json")
    return result.status == 0 and result.json()["status"] != "running"


def exercises(tocsin):
    """What the report of an exercise finds becomes corrective actions; the exercise before is found by itself."""
    played = []
    for _ in range(2):
        played.append(tocsin.json("tabletop", "run", "ci-credentials")["id"])
        is_(tocsin.run("tabletop", "end", played[-1], "--because", "a short one").status, 0, "%s is played, and ended early" % played[-1])
        tocsin.wait_for(lambda: over(tocsin, played[-1]), "it is over")
    report = tocsin.json("tabletop", "report", played[1])
    is_(report["before"]["id"], played[0], "the last time the same was played is found")
    gaps = [a["id"] for a in tocsin.json("action", "add", played[1], "--gaps")]
    ok(gaps and gaps[0] == played[1] + "/a1", "its gaps become corrective actions (%s)" % gaps)
    is_(tocsin.json("action", "add", played[1], "--gaps"), [], "once")
    like(tocsin.run("action", "list").out, r"EXERCISE %s/a1 +" % played[1], "marked as an exercise's")


tocsin_ = Tocsin({"people": {"second": {"token": Raw('secret "env:SECOND"'), "roles": ["responder"]}}}, env={"SECOND": SECRET})
with tocsin_.start():
    for part in (adding, overdue, closing):
        part(tocsin_)
    tocsin_.restart()
    is_(len(tocsin_.json("action", "list", "--all")["corrective"]), 4, "all of them are there after a restart")
    exercises(tocsin_)
done()
