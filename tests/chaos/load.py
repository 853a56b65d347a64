#!/usr/bin/env python3
"""Alerts pour in while the engine is killed every second or so, Redis is killed, connections are cut, and the engine is stopped for a while.

    tests/chaos/load.py [--alerts N] [--seed N] [--seconds S] [--clock] [--tsv FILE]

Alerts are put into the queue over S seconds. All that time a seeded hand breaks things: SIGKILL of the engine, SIGKILL of its Redis, Redis dropping
all connections, nginx closing all of its own, and (twice) SIGSTOP for longer than an intent may wait to be sent. A person answers what is in doubt by
what nginx's access log says. Then everything is left to come to its end, and counted: at the server, in the journals, by the engine itself.
"""
import argparse
import os
import random
import re
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import Client, ReplyError, Truth, alert, answer, answer_of, clock_begin, conserved, engine, expected, label, stories, table, verified  # noqa: E402
from harness import diag, done, is_, note, ok, wait_until  # noqa: E402

STOPPED = 9.0   # seconds of SIGSTOP: longer than an intent waits to be sent
HOLD = 0.25     # between two looks at what is open


class Feeder(threading.Thread):
    """Puts alerts into the queue, half of them evenly, half in bursts just before a blow, so that it falls into work. What Redis did not say yes to
    is given again under the same id, as a SIEM would."""

    def __init__(self, tocsin, names, seconds):
        super().__init__(daemon=True)
        self.tocsin, self.names, self.seconds, self.lock, self.at = tocsin, names, seconds, threading.Lock(), 0
        self.size, self.big = max(1, len(names) // 400), max(1, int(len(names) / seconds / 2))

    def run(self):
        began, steps = time.monotonic(), 200
        for step in range(steps):
            self.feed(self.size)
            time.sleep(max(0.0, began + self.seconds * (step + 1) / steps - time.monotonic()))
        while self.at < len(self.names):
            self.feed(self.big)

    def feed(self, count):
        with self.lock:
            names = self.names[self.at:self.at + count]
            while names and not self.give(names):
                time.sleep(0.05)
            self.at += len(names)

    def give(self, names):
        try:
            with Client(self.tocsin.redis_socket, timeout=5) as client:
                answers = client.pipeline([("XADD", "tocsin:alerts", "*", "alert", alert("Load", n)) for n in names])
            return not any(isinstance(a, ReplyError) for a in answers)
        except (OSError, ConnectionError):
            return False


class Person(threading.Thread):
    """Answers what is in doubt, after a look at the server."""

    def __init__(self, tocsin, truth):
        super().__init__(daemon=True)
        self.tocsin, self.truth, self.over, self.seen = tocsin, truth, threading.Event(), set()

    def run(self):
        while not self.over.wait(HOLD):
            try:
                status, found = self.tocsin.api("POST", "/v1/command", {"command": "questions"}, timeout=15)
            except (OSError, ValueError):
                continue
            for q in found.get("questions", []) if status == 200 else []:
                word = answer_of(self.truth, q)
                if word and answer(self.tocsin, q["id"], word):
                    self.seen.add(q["id"])


class Hand:
    """Breaks things, one after the other."""

    def __init__(self, tocsin, truth, feeder, seed, seconds, stops):
        self.tocsin, self.truth, self.feeder, self.rng, self.seconds = tocsin, truth, feeder, random.Random(seed), seconds
        self.stops = [seconds * (i + 1) / (stops + 1) for i in range(stops)]
        self.done, self.slowest = dict.fromkeys(("killed", "redis", "cut", "nginx", "stopped"), 0), 0.0

    def play(self):
        began = time.monotonic()
        while time.monotonic() - began < self.seconds:
            time.sleep(0.4 + self.rng.random())
            self.feeder.feed(self.feeder.big)
            time.sleep(self.rng.random() * 0.06)
            if self.stops and time.monotonic() - began > self.stops[0]:
                self.stops.pop(0)
                what = "stopped"
            else:
                what = self.rng.choices(("killed", "redis", "cut", "nginx"), (70, 8, 12, 10))[0]
            self.done[what] += 1
            getattr(self, what)()

    def killed(self):
        self.tocsin.kill()
        began = time.monotonic()
        self.tocsin.start(timeout=90)
        self.slowest = max(self.slowest, time.monotonic() - began)

    def redis(self):
        with open(os.path.join(self.tocsin.data, "redis", "redis.pid"), encoding="ascii") as f:
            os.kill(int(f.read()), signal.SIGKILL)

    def cut(self):
        try:
            with Client(self.tocsin.redis_socket, timeout=5) as client:
                client.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        except (OSError, ConnectionError, ReplyError):
            pass

    def nginx(self):
        """New workers; the old ones close what is idle, perhaps just when it is used again."""
        self.truth.nginx.process.send_signal(signal.SIGHUP)

    def stopped(self):
        self.tocsin.signal(signal.SIGSTOP)
        time.sleep(STOPPED)
        self.tocsin.signal(signal.SIGCONT)


def ended(tocsin, count):
    """Every alert attached, nothing running, nothing in doubt."""
    try:
        counts = tocsin.api("POST", "/v1/command", {"command": "counts"}, timeout=30)[1]
        good, _ = conserved(tocsin)
        runs = tocsin.run("run", "list", "--json", timeout=120)
        return good and runs.status == 0 and not runs.json()["runs"] and not counts["actions"]["in_doubt"]
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def unsealed(tocsin):
    """The metrics of what this node has still to put into its evidence log, or cannot; [] when there is nothing."""
    text = tocsin.api("GET", "/metrics")[1]
    return re.findall(r"(?m)^tocsin_evidence_(?:unsealed|journals_behind|journals_troubled) [^0].*$", text)


def longest_gap(times, until):
    """The longest time in which the server heard nothing, up to the first request after `until`."""
    times = sorted(times)
    return max((b - a for a, b in zip(times, times[1:]) if a <= until), default=0.0)


def play(seed, alerts, seconds, stops, tsv=None, verify=20):
    name = "load, %d s of breaking things" % seconds + label()
    note("%s: seed %d, %d alerts" % (name, seed, alerts))
    names = ["l%d-%d" % (seed % 100000, i) for i in range(alerts)]
    with Truth() as truth, engine(truth) as tocsin:
        person, feeder = Person(tocsin, truth), Feeder(tocsin, names, seconds)
        hand = Hand(tocsin, truth, feeder, seed, seconds, stops)
        person.start()
        feeder.start()
        hand.play()
        feeder.join(60)
        fed = time.time()
        if not ok(wait_until(lambda: ended(tocsin, alerts), 240, every=0.5), name + ": it all comes to its end (%.0f s after the last blow)" % (time.time() - fed)):
            diag(tocsin.run("now").out[:3000], tocsin.run("doctor").out, tocsin.log()[-3000:])
        person.over.set()
        person.join(20)
        judge(name, seed, names, truth, tocsin, longest_gap(truth.look().times, fed), tsv, verify)
        is_(tocsin.terminate(60), 0, name + ": and ends well when asked to")
        ok("Sanitizer" not in tocsin.log() and "runtime error" not in tocsin.log(), name + ": no memory error was seen")
    note("%s; slowest start %.1f s; a person was asked %d times" % (
        ", ".join("%s %d" % item for item in hand.done.items()), hand.slowest, len(person.seen)))


def judge(name, seed, names, truth, tocsin, pause, tsv, verify):
    wanted, attached, finished, doubts, open_, bad = {}, {}, 0, 0, 0, []
    for n in names:
        wanted.update(expected("Load", n))
    incidents = []
    with tocsin.redis() as client:
        for story in stories(client):
            incidents.append(story.incident)
            finished += sum(status == "done" for status in story.runs.values())
            doubts += story.doubts
            open_ += len(story.open_intents) + len(story.questions)
            for n, count in story.attached.items():
                attached[n] = attached.get(n, 0) + count
            if not story.good:
                bad.append(story)
    for story in bad[:3]:
        diag("%s: %s" % (story.incident, story.runs), *story.text[-12:])
    sent, lost, repeated = truth.audit(wanted)
    lost += [n for n in names if attached.get(n) != 1]
    is_(repeated[:5], [], name + ": nothing was repeated that must not be")
    is_(lost[:5], [], name + ": each alert is attached once, each effect happened")
    is_((finished, len(bad), open_), (len(names), 0, 0), name + ": each run came to its good end; nothing is left open")
    is_(conserved(tocsin)[0], True, name + ": " + conserved(tocsin)[1])
    sample = random.Random(seed).sample(sorted(incidents), min(verify, len(incidents)))
    is_([i for i in sample if not verified(tocsin, i)], [], name + ": %d journals verify" % len(sample))
    table([(name, seed, len(names), len(incidents), finished, sent, len(repeated), len(lost), doubts, "%.1f" % pause)], tsv)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--alerts", type=int, default=10000)
    parser.add_argument("--seconds", type=float, default=75)
    parser.add_argument("--stops", type=int, default=2)
    parser.add_argument("--clock", action="store_true", help="the wall clock is set an hour forward and back all the time")
    parser.add_argument("--tsv")
    a = parser.parse_args()
    if a.clock:
        clock_begin(a.seed)
    play(a.seed, a.alerts, a.seconds, a.stops, a.tsv)
    done()


if __name__ == "__main__":
    main()
