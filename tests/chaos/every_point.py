#!/usr/bin/env python3
"""One run with a read, containments, a record, a question, a parallel block, an undo and an effect that only a person can speak for, killed
(SIGKILL) at every system call that sends or receives, one by one; with --faults each of them fails (ECONNRESET) instead.

    tests/chaos/every_point.py [--seed N] [--every K] [--workers W] [--faults] [--clock] [--tsv FILE]

The calls of each kind are numbered from the moment the alert enters the queue (strace counts each kind by itself), and the engine dies before the Nth:
each append to Redis and each request has a death right before it (a send), between it and its answer (a receive), and after its answer (the next send).
--every K takes each K-th. After a death the engine is started again (half of the times it is killed once more while it recovers), the question is
answered, and what is in doubt is answered by what nginx's access log says. A kind is done when runs come to their end before their call.
"""
import argparse
import os
import random
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import Client, Story, Truth, alert, answer, answer_of, clock_begin, conserved, engine, expected, label, table, verified  # noqa: E402
from tracer import KINDS, Tracer, possible  # noqa: E402
from harness import diag, done, is_, note, ok, skip, wait_until  # noqa: E402

LIMIT = 90


class Point:
    """What happened at one point."""

    def __init__(self, kind, number, n):
        self.kind, self.number, self.n, self.hit, self.problem, self.took, self.doubts, self.call = kind, number, n, False, None, 0, 0, ""


class Worker(threading.Thread):
    """Its own engine, Redis and folder; takes points from a common counter."""

    def __init__(self, plan, truth, index):
        super().__init__(daemon=True)
        self.plan, self.truth, self.rng = plan, truth, random.Random("%s/%d" % (plan.seed, index))
        self.tocsin, self.tracer, self.known = engine(truth), None, set()

    def run(self):
        try:
            self.tocsin.start()
            while True:
                point = self.plan.take()
                if not point:
                    break
                try:
                    self.one(point)
                except Exception:
                    point.problem = traceback.format_exc() + self.tocsin.log()[-1500:]
                self.plan.gave(point)
            self.finish()
        except Exception:
            self.plan.problems.append(traceback.format_exc() + self.tocsin.log()[-1500:])
        finally:
            self.let_go()
            self.tocsin.stop()

    def finish(self):
        good, text = conserved(self.tocsin)
        if not good:
            self.plan.problems.append("conservation: " + text)
        if self.tocsin.json("now")["in_doubt"]:
            self.plan.problems.append("still in doubt: %s" % self.tocsin.run("now").out)
        if "Sanitizer" in self.tocsin.log() or "runtime error" in self.tocsin.log():
            self.plan.problems.append("a memory error: " + self.tocsin.log()[-3000:])

    # ---- the tracer

    def attach(self, point):
        how = "error=ECONNRESET" if self.plan.faults else "signal=KILL"
        trace = os.path.join(self.tocsin.folder, "trace")
        self.tracer = Tracer(self.tocsin.pid, point.kind, point.number, how, trace)

        def traced():
            with open("/proc/%d/status" % self.tocsin.pid, encoding="ascii") as f:
                return "TracerPid:\t%d\n" % self.tracer.pid in f.read()

        if not wait_until(lambda: self.tracer.ended() or traced(), 10, every=0.005) or self.tracer.ended():
            with open(trace, encoding="utf-8", errors="replace") as f:
                raise RuntimeError("strace does not attach: " + f.read(2000))

    def let_go(self):
        if not self.tracer:
            return
        self.tracer.stop()
        self.tracer = None

    def last_call(self):
        try:
            with open(os.path.join(self.tocsin.folder, "trace"), encoding="utf-8", errors="replace") as f:
                lines = [line for line in f if "(" in line]
                injected = [line for line in lines if "INJECTED" in line]
                return (injected or lines or [""])[-1].strip()
        except OSError:
            return ""

    # ---- one point

    def story(self, client):
        """The one incident that was not there before."""
        new = [i.decode() for i in client.call("KEYS", "tocsin:{INC-*}:journal")]
        new = [i[i.index("{") + 1:i.index("}")] for i in new]
        new = [i for i in new if i not in self.known]
        return Story(new[0]) if new else None

    def one(self, point):
        began = time.monotonic()
        with self.tocsin.redis() as client:
            self.attach(point)
            self.tocsin.xadd(alert("Every", point.n), redis=self.tocsin.redis())
            story, again, asked = None, self.rng.random() < 0.5, {}
            while time.monotonic() - began < LIMIT:
                if self.tocsin.process.poll() is not None:
                    self.died(point, again and not point.hit)
                story = story or self.story(client)
                if story and story.look(client).over:
                    break
                self.answer_all(story, asked)
                time.sleep(0.01)
            if not point.hit:
                self.survived(point)
            if self.tocsin.process.poll() is not None:  # it died right after the end of the run
                self.died(point, False)
            self.judge(point, story)
            if story:
                self.known.add(story.incident)
        point.took = time.monotonic() - began

    def answer_all(self, story, asked):
        for question, body in list(story.questions.items() if story else ()):
            if time.monotonic() < asked.get(question, 0):
                continue
            word = answer_of(self.truth, body)
            if word:
                # A reply that was lost may mean that the answer was taken: the journal tells soon.
                asked[question] = time.monotonic() + 0.5
                answer(self.tocsin, question, word)

    def died(self, point, again):
        """Up again; when `again`, killed once more on the way."""
        self.tocsin.process.wait()
        self.let_go()
        if self.plan.faults:
            raise RuntimeError("it ended by itself: %s" % self.last_call())
        point.hit, point.call = True, self.last_call()
        if again:
            self.tocsin.spawn()
            time.sleep(self.rng.random() * 0.25)
            self.tocsin.kill()
        self.tocsin.start()

    def survived(self, point):
        """It came to the end of its run under the tracer: was there a fault on the way?"""
        self.let_go()
        point.call = self.last_call()
        point.hit = self.plan.faults and "INJECTED" in point.call
        if not self.plan.faults and ("INJECTED" in point.call or point.call.endswith("= ?")):
            wait_until(lambda: self.tocsin.process.poll() is not None, 10, every=0.005)  # killed after all, just when its run was over

    def judge(self, point, story):
        if not story or not story.good:
            point.problem = "the run did not come to its good end: %s\n%s\n%s" % (
                story and story.runs, "\n".join(story.text[-14:]) if story else "no incident", self.tocsin.log()[-1500:])
            return
        sent, lost, repeated = self.truth.audit(expected("Every", point.n))
        point.doubts = story.doubts
        self.plan.sent += sent
        self.plan.lost += lost
        self.plan.repeated += repeated
        if lost or repeated or sum(story.attached.values()) != 1 or story.open_intents:
            point.problem = "lost %s, repeated %s, attached %s, open intents %s\n%s" % (lost, repeated, dict(story.attached), list(story.open_intents),
                                                                                         "\n".join(story.text))
        elif not verified(self.tocsin, story.incident):
            point.problem = "the journal does not verify"


class Plan:
    def __init__(self, seed, every, faults):
        self.seed, self.every, self.faults = seed, every, faults
        self.rng, self.lock, self.kinds = random.Random(seed), threading.Lock(), list(KINDS)
        self.next, self.misses = self.first(), 0
        self.points, self.problems, self.lost, self.repeated, self.sent = [], [], [], [], 0

    def first(self):
        return 1 + self.rng.randrange(self.every)

    def take(self):
        with self.lock:
            if not self.kinds:
                return None
            point = Point(self.kinds[0], self.next, "%s%d%s%d-1" % (self.kinds[0], self.next, "f" if self.faults else "k", self.seed % 100000))
            self.next += self.every
            return point

    def gave(self, point):
        """After the second run that ended before its call (the calls of a run vary a little) comes the next kind."""
        with self.lock:
            self.points.append(point)
            if point.hit or point.problem or not self.kinds or point.kind != self.kinds[0]:
                return
            self.misses += 1
            if self.misses == 2:
                self.kinds.pop(0)
                self.next, self.misses = self.first(), 0


def play(seed, every=1, workers=6, faults=False, tsv=None):
    """The plan, played; TAP lines for what must hold."""
    plan, name = Plan(seed, every, faults), ("a fault at every call" if faults else "killed at every call") + label()
    if not possible():
        skip(name, "the engine lets nobody of its own user trace it: only the strace of a root with CAP_SYS_PTRACE can")
        return plan
    note("%s: seed %d, each %s call" % (name, seed, "single" if every == 1 else "%dth" % every))
    with Truth() as truth:
        crew = [Worker(plan, truth, i) for i in range(workers)]
        for worker in crew:
            worker.start()
        for worker in crew:
            worker.join()
    hits, bad = [p for p in plan.points if p.hit], [p for p in plan.points if p.problem]
    for p in sorted(bad, key=lambda p: p.number)[:5]:
        diag("%s %d (%s), %s: %s" % (p.kind, p.number, p.n, p.call[:110], p.problem))
    diag(*plan.problems[:3])
    ok(hits, "%s: %d points were hit" % (name, len(hits)))
    is_((len(bad), len(plan.problems)), (0, 0), name + ": each run came to its good end, each journal verifies, every alert is accounted for")
    is_((plan.repeated, plan.lost), ([], []), name + ": nothing was repeated, nothing was lost")
    table([(name, seed, len(plan.points), len(plan.points) - len(bad), len(plan.points) - len(bad), plan.sent, len(plan.repeated), len(plan.lost),
            sum(p.doubts for p in plan.points), "%.1f" % max((p.took for p in plan.points), default=0))], tsv)
    return plan


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--clock", action="store_true", help="the wall clock is set an hour forward and back all the time")
    parser.add_argument("--tsv")
    a = parser.parse_args()
    if a.clock:
        clock_begin(a.seed)
    play(a.seed, a.every, a.workers, a.faults, a.tsv)
    done()


if __name__ == "__main__":
    main()
