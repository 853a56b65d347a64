#!/usr/bin/env python3
"""Two nodes share one Redis while alerts pour in, and a seeded hand breaks them: kill -9, SIGSTOP beyond the lease, drained and restarted, cut off.

    tests/chaos/nodes.py [--alerts N] [--seed N] [--seconds S] [--clock] [--tsv FILE]

The other node adopts what one had each time, also while both fight: a stopped one is woken in the middle of the other's taking over. A person
answers what is in doubt at whichever node lives, by what nginx's access log says. Then everything is left to come to its end, and counted.
"""
import argparse
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from load import Feeder, Person, ended, judge, longest_gap, unsealed  # noqa: E402
from world import ReplyError, Truth, clock_begin, engine, label  # noqa: E402
from harness import Raw, Tocsin, diag, done, is_, note, ok, wait_until  # noqa: E402
from redis import Client, Redis  # noqa: E402

LEASE = 2.0


class Node(Tocsin):
    """An engine on a Redis that others use too; the harness ends no server of its own."""

    server = None

    @property
    def redis_socket(self):
        return self.server.socket_path


def node(truth, server, name):
    tocsin = engine(truth, node=name, lease="%dms" % (LEASE * 1000), redis={"socket": server.socket_path},
                    seal_key=Raw('secret "env:SEAL"'))
    tocsin.env["SEAL"] = "a key that both nodes share"
    tocsin.__class__, tocsin.server, tocsin.name = Node, server, name
    return tocsin


class Either:
    """Whoever answers."""

    def __init__(self, nodes):
        self.nodes = nodes

    def api(self, *words, **options):
        for tocsin in self.nodes:
            try:
                status, answer = tocsin.api(*words, **options)
                if status != 503:
                    return status, answer
            except OSError:
                pass
        raise OSError("no node answers")


class Hand:
    def __init__(self, nodes, feeder, seed, seconds):
        self.nodes, self.feeder, self.rng, self.seconds = nodes, feeder, random.Random(seed), seconds
        self.done = dict.fromkeys(("killed", "stopped", "fought", "drained", "cut"), 0)

    def play(self):
        began = time.monotonic()
        order = ["killed", "stopped", "fought", "drained"]
        self.rng.shuffle(order)  # each at least once, however short it is
        while order or time.monotonic() - began < self.seconds:
            time.sleep(0.3 + self.rng.random() * 0.7)
            self.feeder.feed(self.feeder.big)
            time.sleep(self.rng.random() * 0.06)
            what = order.pop() if order else self.rng.choices(tuple(self.done), (40, 20, 10, 10, 20))[0]
            one, other = self.rng.sample(self.nodes, 2)
            self.done[what] += 1
            getattr(self, what)(one, other)

    def killed(self, one, other):
        """Back at once, or only after the other has begun to take over."""
        one.kill()
        time.sleep(self.rng.choice((0.0, LEASE * 0.5, LEASE * 1.6)))
        one.start(timeout=90)

    def stopped(self, one, other):
        one.signal(signal.SIGSTOP)
        time.sleep(LEASE * 2)
        one.signal(signal.SIGCONT)

    def fought(self, one, other):
        """Woken just when the other calls it dead."""
        one.signal(signal.SIGSTOP)
        time.sleep(LEASE * (1.1 + self.rng.random() * 0.4))
        one.signal(signal.SIGCONT)

    def drained(self, one, other):
        if other.run("node", "drain", one.name, timeout=90).status == 0:
            time.sleep(self.rng.random())
        one.restart()

    def cut(self, one, other):
        try:
            with Client(one.redis_socket, timeout=5) as client:
                client.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        except (OSError, ConnectionError, ReplyError):
            pass


def play(seed, alerts, seconds, tsv=None, verify=20):
    name = "two nodes, %d s of breaking things" % seconds + label()
    note("%s: seed %d, %d alerts" % (name, seed, alerts))
    names = ["n%d-%d" % (seed % 100000, i) for i in range(alerts)]
    with Redis(passwords=False) as server, Truth() as truth, node(truth, server, "n1") as first, node(truth, server, "n2") as second:
        both = [first, second]
        person, feeder = Person(Either(both), truth), Feeder(first, names, seconds)
        hand = Hand(both, feeder, seed, seconds)
        person.start()
        feeder.start()
        hand.play()
        feeder.join(60)
        fed = time.time()
        if not ok(wait_until(lambda: all(ended(n, alerts) for n in both), 240, every=0.5),
                  name + ": it all comes to its end (%.0f s after the last blow)" % (time.time() - fed)):
            diag(*[n.run(word).out[:2000] for n in both for word in ("now", "doctor")], *[n.log()[-2000:] for n in both])
        person.over.set()
        person.join(20)
        wait_until(lambda: not any(unsealed(n) for n in both), 60, every=0.5)
        is_([unsealed(n) for n in both], [[], []], name + ": all is sealed, and nothing keeps a journal from it")
        judge(name, seed, names, truth, first, longest_gap(truth.look().times, fed), tsv, verify)
        adopted = sum(n.log().count("was taken over from node") for n in both)
        ok(adopted > 0, name + ": %d incidents were taken over" % adopted)
        ok(not any("Sanitizer" in n.log() or "runtime error" in n.log() for n in both), name + ": no memory error was seen")
        if not is_([n.terminate(60) for n in both], [0, 0], name + ": and both end well when asked to"):
            diag(*[n.log()[-3000:] for n in both])
    note("%s; a person was asked %d times" % (", ".join("%s %d" % item for item in hand.done.items()), len(person.seen)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--alerts", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clock", action="store_true", help="the wall clock is set an hour forward and back all the time")
    parser.add_argument("--tsv")
    a = parser.parse_args()
    if a.clock:
        clock_begin(a.seed)
    play(a.seed, a.alerts, a.seconds, a.tsv)
    done()


if __name__ == "__main__":
    main()
