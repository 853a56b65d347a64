"""The catalogue of the sealed log: found by words, times, incidents and controls; made anew from the log alone, it is exactly what it was."""
import os
import shutil
import sqlite3
import subprocess

from harness import Raw, Tocsin, done, is_, like, ok, wait_until
from product import Product, alert, content

ROWS = ("SELECT e.idx, j.name, e.seq, e.leaf, e.time, k.name, t.content FROM entry e JOIN journal j ON j.id = e.journal JOIN kind k ON k.id = e.kind "
        "LEFT JOIN text t ON t.rowid = e.idx ORDER BY e.idx")


def rows(tocsin):
    with sqlite3.connect(os.path.join(tocsin.data, "evidence", "catalogue.db")) as db:
        return db.execute(ROWS).fetchall()


def hits(tocsin, *words):
    return tocsin.json("evidence", "search", *words)["hits"]


def settled(tocsin):
    return tocsin.api("POST", "/v1/command", {"command": "evidence.status"})[1].get("settled")


def searches(tocsin):
    ok(wait_until(lambda: len(hits(tocsin, "bob")) > 3, 20), "a word of bodies is found while the engine runs")
    bob = hits(tocsin, "bob")
    is_({h["incident"] for h in bob}, {"INC-000002"}, "in bob's incident only")
    is_([h["index"] for h in bob], sorted((h["index"] for h in bob), reverse=True), "the newest first")
    both = hits(tocsin, "bob AND intended")
    is_({h["type"] for h in both}, {"action.intended"}, "words are combined")
    is_(hits(tocsin, "bob NOT bob"), [], "and taken away")
    is_(hits(tocsin, "carol"), [], "what nobody wrote is not found")
    ok(hits(tocsin, "uid-bob"), "a word that is no expression is taken as it stands")
    is_({h["control"] for h in hits(tocsin, "--control", "A.5.24")}, {"A.5.24"}, "by control")
    is_({h["incident"] for h in hits(tocsin, "--incident", "1")}, {"INC-000001"}, "by incident")
    is_(hits(tocsin, "--to", "2020-01-01"), [], "before a day")
    for words in ["search", "bob"], ["search", "--to", "2020-01-01"], ["coverage"]:
        answer = tocsin.json("evidence", *words)
        ok(0 < answer["searched"] <= answer["sealed"], "it says how far it looked: %r" % {k: answer[k] for k in ("searched", "sealed")})
    ok(hits(tocsin, "bob", "--from", "2020-01-01"), "after a day")
    is_(len(hits(tocsin, "--limit", "2")), 2, "so many at most")
    is_(tocsin.run("evidence", "search", "--control", "A.99").status, 2, "a control that there is not")
    is_(tocsin.run("evidence", "search", "AND AND").status, 1, "what is no search")
    like(tocsin.run("evidence", "search", "bob").out, r"INC-000002 #\d+", "for people, too")
    is_(tocsin.run("evidence", "rebuild").status, 1, "not beside a running engine")


def coverage(tocsin):
    """Against the entries that Redis holds, and a Statement of Applicability."""
    tocsin.run("incident", "note", "1", "seen by a person")
    ok(wait_until(lambda: settled(tocsin) and hits(tocsin, "--control", "A.5.28"), 30), "a person's entry is sealed")
    found = {c["control"]: c for c in tocsin.json("evidence", "coverage")["controls"]}
    is_(sorted(found), sorted("A." + c for c in "5.5 5.6 5.24 5.25 5.26 5.27 5.28 5.33 5.34 6.8 8.15 8.16 8.17".split()), "the default list")
    is_((found["A.5.26"]["evidence"], found["A.5.28"]["evidence"], found["A.5.5"]["evidence"]), ("automated", "manual", "no evidence"),
        "what the playbook did, what was noted, what nobody did")
    is_(found["A.5.28"]["by_people"], 1, "people's entries are counted apart")
    is_(found["A.5.24"]["by_engine"] + found["A.5.24"]["by_people"], len(hits(tocsin, "--control", "A.5.24")), "the counts are those of the entries")
    is_({c["evidence"] for c in tocsin.json("evidence", "coverage", "--to", "2020-01-01")["controls"]}, {"no evidence"}, "nothing before a day")
    path = tocsin.write("controls.csv", "control,applicable,reason,owner\nA.5.26,yes,,alice\nA.8.17,no,\"clocks are the host's, not ours\",bob\n")
    of = tocsin.json("evidence", "coverage", "--controls", path)["controls"]
    is_([(c["control"], c["evidence"], c["owner"]) for c in of], [("A.5.26", "automated", "alice"), ("A.8.17", "not applicable", "bob")], "a statement of one's own")
    path = tocsin.write("controls.csv", "A.5.26,yes,,alice\nA.8.17,no,,bob\n")
    like(tocsin.run("evidence", "coverage", "--controls", path).err, "line 2: .*needs a reason", "what is left out needs a reason")
    like(tocsin.run("evidence", "coverage").out, r"A\.5\.26 +automated", "for people, too")


def drills(tocsin):
    first = tocsin.json("evidence", "drill", "--seed", "1")
    ok(first["ok"] and first["compared"] and first["entries"] > 3, "an incident is restored from the archive and is whole: %r" % first)
    is_(tocsin.json("evidence", "drill", "--seed", "1")["incident"], first["incident"], "the same seed chooses the same one")
    is_({tocsin.json("evidence", "drill", "--seed", str(n))["incident"] for n in range(8)}, {"INC-000001", "INC-000002"}, "others choose others")
    like(tocsin.run("evidence", "drill").out, r"^INC-00000[12]: \d+ entries restored .* the same as in `tocsin serve`\n  chosen with --seed \d+", "for people, too")
    ok(wait_until(lambda: [h for h in hits(tocsin, "--control", "A.5.28") if h["type"] == "evidence.drilled"], 20), "it is on record, and sealed")
    is_(tocsin.run("evidence", "drill", "--seed", "x").status, 2, "a seed is a number")
    if shutil.which("strace"):  # killed when it has restored and checked, before it asks `tocsin serve`
        there = set(os.listdir("/tmp"))
        words = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=connect", "-e", "inject=connect:signal=SIGKILL"] + tocsin.command("evidence", "drill")
        killed = subprocess.run(words, env=tocsin.environment(), capture_output=True, timeout=60, check=False)
        ok(killed.returncode != 0 and not killed.stdout, "a drill is killed")
        is_([n for n in set(os.listdir("/tmp")) - there if n.startswith("tocsin-drill")], [], "and leaves no text in clear")
    bodies = os.path.join(tocsin.data, "evidence", "bodies", "000")
    path = bodies if os.path.exists(bodies) else os.path.join(os.path.dirname(bodies), sorted(os.listdir(os.path.dirname(bodies)))[0])
    with open(path, "r+b") as f:
        whole = f.read()
        f.seek(0)
        f.write(bytes(b ^ 1 for b in whole))
        f.flush()
        result = tocsin.run("evidence", "drill")
        ok(result.status == 1 and "NOT whole: entry " in result.out, "a damaged body is found: %r" % result)
        f.seek(0)
        f.write(whole)
    is_(tocsin.run("evidence", "drill").status, 0, "mended")
    ok(wait_until(lambda: settled(tocsin), 30), "all is sealed again")


def rebuilt(tocsin):
    is_(tocsin.terminate(), 0, "an orderly stop")
    is_(tocsin.run("evidence", "rebuild").status, 0, "made anew")
    first = rows(tocsin)
    ok(all(r[6] for r in first), "with every entry's texts (%d)" % len(first))
    path = os.path.join(tocsin.data, "evidence", "catalogue.db")
    with open(path, "r+b") as f:
        f.seek(4096)
        f.write(os.urandom(8192))
    is_(tocsin.run("evidence", "rebuild").status, 0, "a damaged one is made anew")
    is_(rows(tocsin), first, "and is exactly what it was")
    with open(path, "r+b") as f:
        f.seek(4096)
        f.write(os.urandom(8192))
    tocsin.start()
    ok(wait_until(lambda: settled(tocsin), 30), "the engine starts with a damaged one and seals")
    ok(wait_until(lambda: tocsin.run("evidence", "search", "bob").status == 0 and len(hits(tocsin, "bob")) > 3, 30), "having made it anew by itself")
    ok(wait_until(lambda: tocsin.run("evidence", "search").status == 0 and rows(tocsin)[:len(first)] == first, 30), "as it was")


with Product() as product_:
    tocsin_ = Tocsin({})
    tocsin_.settings({"folders": content(tocsin_.folder), "connectors": {"product": Raw('product { url = "%s" }' % product_.url)},
                      "guard": {"ceiling": "notify"}})
    with tocsin_:
        tocsin_.xadd(alert("alice", "uid-alice"))
        ok(wait_until(lambda: len(tocsin_.json("run", "list", "--all")["runs"]) == 1, 30), "one incident")
        tocsin_.xadd(alert("bob", "uid-bob"))
        ok(wait_until(lambda: [r["status"] for r in tocsin_.json("run", "list", "--all")["runs"]] == ["done"] * 2, 30), "and another")
        ok(wait_until(lambda: settled(tocsin_), 30), "all is sealed")
        searches(tocsin_)
        coverage(tocsin_)
        drills(tocsin_)
        rebuilt(tocsin_)
done()
