"""kill -9 in the middle of everything: no effect twice, none lost, and what nobody can know is shown to a person.

TOCSIN_KILLS (default 14) is how often; the moments come from TOCSIN_SEED, which is printed.
"""
import os
import random

from harness import Raw, Tocsin, diag, done, is_, note, ok, wait_until
from product import Product, alert, conservation, content

KILLS = int(os.environ.get("TOCSIN_KILLS", "14"))
SEED = int(os.environ.get("TOCSIN_SEED", random.SystemRandom().randrange(1 << 30)))
PER_ROUND = 12
dice = random.Random(SEED)
note("TOCSIN_SEED=%d" % SEED)


def answer_questions(tocsin, product):
    """As a responder would who looks at the product: did it happen?"""
    asked = 0
    for q in tocsin.json("now")["questions"]:
        about = q.get("about", {})
        user = about.get("target", {}).get("user", "")
        happened = product.count(about.get("action", ""), user) > 0
        result = tocsin.run("answer", q["id"], "done" if happened else "not done, send it")
        if result.status == 0:
            asked += 1
        elif "closed" not in result.err:
            diag(repr(result))
    return asked


def runs(tocsin):
    return tocsin.json("run", "list", "--all")["runs"]


def end_redis(tocsin):
    with open(os.path.join(tocsin.data, "redis", "redis.pid"), encoding="ascii") as f:
        os.kill(int(f.read()), 9)


with Product(slow=0.01) as product:
    tocsin = Tocsin({})
    tocsin.settings({"folders": content(tocsin.folder), "connectors": {"product": Raw('product { url = "%s" }' % product.url)},
                     "guard": {"ceiling": "notify"}})
    users, asked = [], 0
    with tocsin:
        for round_ in range(KILLS):
            fresh = ["u%03d" % (len(users) + i) for i in range(PER_ROUND)]
            users += fresh
            tocsin.xadd(*[alert(u, "uid-" + u) for u in fresh])
            if round_ % 3 == 2:
                tocsin.xadd(*[alert(u, "uid-" + u) for u in fresh[:3]])  # the SIEM delivers again
            target = len(product.requests) + dice.randint(0, 3 * PER_ROUND)
            wait_until(lambda: len(product.requests) >= target, dice.choice((0.05, 0.3, 1.0)), every=0.001)
            if round_ % 5 == 4:
                end_redis(tocsin)
            tocsin.restart(kill=True)
        note("killed %d times, %d requests so far" % (KILLS, len(product.requests)))

        def settled():
            global asked
            asked += answer_questions(tocsin, product)
            everything = runs(tocsin)
            return len(everything) == len(users) and all(r["status"] != "running" for r in everything) and conservation(tocsin)["waiting"] == 0
        tocsin.wait_for(settled, "everything comes to its end", timeout=150)
        note("%d doubts were shown to a person" % asked)

        counts = conservation(tocsin)
        is_(counts["difference"], 0, "accepted = attached + duplicate + suppressed + dead + waiting (%r)" % counts)
        is_(counts.get("attached"), len(users), "every alert is attached once")
        is_(counts.get("duplicate"), 3 * (KILLS // 3), "every second delivery is a duplicate")
        is_(counts.get("dead", 0), 0, "no alert died")
        incidents = tocsin.json("incident", "list", "--status", "all", "--limit", "1000")["incidents"]
        is_(len(incidents), len(users), "one incident a user")
        is_([i["alerts"] for i in incidents if i["alerts"] != 1], [], "one alert an incident")
        is_([(r["id"], r["status"], r.get("error")) for r in runs(tocsin) if r["status"] != "done"], [], "every run is done")
        is_([u for u in users if product.count("once", u) != 1], [], "what can be neither repeated nor looked for happened once for each user")
        is_([u for u in users if product.count("seen", u) != 1], [], "what can be looked for happened once for each user")
        is_([u for u in users if not product.count("again", u)], [], "what may be repeated happened for each user")
        is_([u for u in users if len(product.keys("again", u)) != 1], [], "and always under one key")
        now = tocsin.json("now")
        is_((now["in_doubt"], now["questions"]), ([], []), "nothing is left in doubt, nothing is left to ask")
        broken = [i["id"] for i in incidents if tocsin.run("evidence", "verify", i["id"]).status]
        is_(broken[:5], [], "every journal's chain holds")
        with tocsin.redis() as redis:
            is_(redis.call("HLEN", "{tocsin:alerts}:routed"), 0, "no alert is half routed")
        tocsin.restart()
        is_(sorted({r["status"] for r in runs(tocsin)}), ["done"], "and after an orderly stop all of it is as it was")
        ok("Sanitizer" not in tocsin.log() and "runtime error" not in tocsin.log(), "no memory error was seen")
done()
