"""Poison: an alert or a run that ends the process is traced, tried alone and set aside; what was taken beside it never is.

Nothing that an alert can say ends the engine, so a library that is loaded before the others does: it crashes, hangs or spins the process in the
very place where a word is read. From outside that is what a real fault in a library looks like."""
import os
import shutil
import struct
import subprocess

from harness import Missing, Tocsin, diag, done, elapsed, is_, like, note, ok, wait_until

FAULTS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static volatile int *volatile nowhere;
static volatile int turns;
static int has(const char *s, size_t n, const char *word) { return s && n && memmem(s, n, word, strlen(word)) != 0; }

/* Whatever an alert says passes here on its way to its connector. */
const char *lua_pushlstring(void *L, const char *s, size_t n) {
  static const char *(*real)(void *, const char *, size_t);
  if (!real) real = (const char *(*)(void *, const char *, size_t))dlsym(RTLD_NEXT, "lua_pushlstring");
  if (has(s, n, "POISON-CRASH")) *nowhere = 1;
  while (has(s, n, "POISON-SPIN")) turns++;
  while (has(s, n, "POISON-HANG")) pause();
  return real(L, s, n);
}

/* And here what a playbook says on its way to the engine. */
void *json_stringn_nocheck(const char *s, size_t n) {
  static void *(*real)(const char *, size_t);
  if (!real) real = (void *(*)(const char *, size_t))dlsym(RTLD_NEXT, "json_stringn_nocheck");
  if (has(s, n, "POISON-RUN")) *nowhere = 1;
  return real(s, n);
}
"""
PLAYBOOK = """
return playbook {
  title = "%s",
  when = { ["raw.word"] = "%s" },
  uses = {},
  run = function(incident)
    incident:tag("begun")
    if %s then incident:note("POISON" .. "-RUN") end
    incident:ask { "Is it so?", role = "responder", options = { "yes", "no" }, within = "1h", otherwise = "no" }
  end,
}
"""
SETTINGS = {"folders": {"playbooks": "{folder}/playbooks"}, "run": {"total": "1s"}, "default_playbook": "innocent", "webhook": {"listen": ""}}
NONE, ALERT, RUN = range(3)


def library(folder):
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if not compiler:
        raise Missing("a C compiler")
    path = os.path.join(folder, "faults.so")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", path, "-ldl"], input=FAULTS, text=True, check=True)
    return path


class Engine(Tocsin):
    """Its `serve` may be started with the faults, and may end by itself."""

    def __init__(self):
        super().__init__(SETTINGS)
        self.faults = library(self.folder)
        self.tried = {}  # alert -> how often the log has said that it is tried alone
        self.write("playbooks/innocent.lua", PLAYBOOK % ("Innocent", "innocent", "false"))
        self.write("playbooks/guilty.lua", PLAYBOOK % ("Guilty", "guilty", "true"))

    def begin(self, faults=True):
        before = dict(self.env)
        if faults:
            self.env["LD_PRELOAD"] = self.faults
            self.env["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        self.spawn()
        self.env = before
        return self

    def ended(self, name, by=-11, timeout=60):
        """A test of its own: the process ends by itself, by this signal."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
        self.process = None if status is not None else self.process
        if not ok(status == by or (status is not None and status > 0 and "sanitizer" in self.log().lower()), name):
            diag("status: %r" % status, self.log()[-2000:])

    def serves(self, timeout=60):
        return wait_until(lambda: self.process.poll() is None and self.accepts(), timeout)

    def noted(self):
        """What its file says it is working on: (kind, id, number), as a person would read it with hexdump."""
        with open(os.path.join(self.data, "suspect"), "rb") as f:
            page = f.read(4096)
        depth, = struct.unpack_from("<I", page, 64)
        if not depth:
            return NONE, "", 0
        at = 72 + (min(depth, 4) - 1) * 64
        kind, number = struct.unpack_from("<II", page, at)
        return kind, page[at + 8:at + 56].split(b"\0")[0].decode(), number

    def hangs(self, alert, alone):
        """A test of its own: it is worked on, by this process (the file outlives the one before)."""
        told = "alert %s is tried alone" % alert
        ok(wait_until(lambda: self.log().count(told) > self.tried.get(alert, 0) - (not alone) and self.noted() == (ALERT, alert, 0), 30),
           "it is worked on, alone" if alone else "it is worked on, among others")
        self.tried[alert] = self.log().count(told)

    def counts(self):
        with self.redis() as client:
            flat = client.call("HGETALL", "{tocsin:alerts}:counts")
        texts = [x.decode() if isinstance(x, bytes) else x for x in flat] if not isinstance(flat, dict) else None
        found = flat if texts is None else dict(zip(texts[::2], texts[1::2]))
        return {(k.decode() if isinstance(k, bytes) else k): int(v) for k, v in found.items()}

    def attached(self):
        return self.counts().get("attached", 0)

    def dead(self):
        return self.json("alert", "dead")["dead"]


def alerts(first, count, word="innocent", **poison):
    """poison: at = word: the alert at this place says that."""
    return [{"id": "a-%d" % (first + i), "title": "Something", "word": word, "said": poison.get("at%d" % i, "nothing")} for i in range(count)]


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def crash(engine):
    ids = [text(i) for i in engine.xadd(*alerts(0, 40, at20="POISON-CRASH"))]
    engine.ended("an alert ends the process")
    is_(engine.noted(), (ALERT, ids[20], 0), "the file says which one it was")
    before = engine.attached()
    engine.begin().ended("it is tried again, and ends the process again")
    like(engine.log(), "alert %s is tried alone" % ids[20], "alone")
    is_(engine.attached(), before, "nothing that had been taken beside it was handled meanwhile")
    ok(engine.begin().serves(), "the third start serves")
    engine.wait_for(lambda: engine.attached() == 39, "all the innocent ones are attached")
    dead = engine.dead()
    is_(len(dead), 1, "one dead letter")
    like(dead[0]["reason"], "ended the process 2 times while it was handled, the last time alone .SIGSEGV.", "with the reason")
    like(dead[0]["text"], "POISON-CRASH", "and its very bytes")
    doctor = {c["check"]: c for c in engine.run("doctor", "--json").json()["checks"]}
    ok(doctor.get("alerts", {}).get("ok"), "the alerts add up: %s" % doctor.get("alerts", {}).get("text"))
    is_(engine.terminate(), 0, "it stops properly")
    engine.begin(faults=False)
    ok(engine.serves(), "with the fault mended")
    is_(engine.run("alert", "retry", dead[0]["id"]).status, 0, "a person takes it back: tocsin alert retry")
    engine.wait_for(lambda: engine.attached() == 40, "now it is attached")
    is_(engine.dead(), [], "and no dead letter is left")


def killed(engine):
    """From outside, with an innocent alert in hand: here it hangs, so that every kill finds the same one."""
    before, dead = engine.attached(), len(engine.dead())
    engine.terminate()
    engine.begin()
    ok(engine.serves(), "again with faults")
    ids = [text(i) for i in engine.xadd(*alerts(100, 20, at7="POISON-HANG"))]
    for alone in (False, True):
        engine.hangs(ids[7], alone)
        engine.kill()
        engine.begin(faults=not alone)
    ok(engine.serves(), "two kills from outside")
    engine.wait_for(lambda: engine.attached() == before + 20, "have condemned nobody: all are attached")
    is_(len(engine.dead()), dead, "no dead letter")
    like(engine.log(), "alert %s came through alone" % ids[7], "it came through alone")
    engine.terminate()
    engine.begin()
    ok(engine.serves(), "and with faults again")
    ids = [text(i) for i in engine.xadd(*alerts(200, 20, at3="POISON-HANG"))]
    for alone in (False, True, True):
        engine.hangs(ids[3], alone)
        engine.kill()
        engine.begin()
    ok(engine.serves(), "the third kill, the second while it was alone")
    engine.wait_for(lambda: engine.attached() == before + 39, "all others are attached")
    like(engine.dead()[0]["reason"], "ended the process twice while it was handled alone", "that one is set aside")
    engine.xadd(*alerts(300, 400))
    for turn in range(6):
        goal = before + 39 + 50 * turn
        wait_until(lambda: engine.attached() > goal, 30, every=0.001)  # in the middle of the work
        engine.kill()
        engine.begin(faults=False)
        ok(engine.serves(), "killed in the middle of many, %d" % (turn + 1))
    engine.wait_for(lambda: engine.attached() == before + 439, "however often: every one is attached", 60)
    is_(len(engine.dead()), dead + 1, "and none set aside")


def spin(engine):
    before, dead = engine.attached(), len(engine.dead())
    engine.terminate()
    engine.begin()
    ok(engine.serves(), "with faults")
    ids = [text(i) for i in engine.xadd(*alerts(1000, 10, at5="POISON-SPIN"))]
    engine.ended("the watchdog ends what uses too much CPU time", by=-6)
    like(engine.log(), r"alert %s has used 5\.\d s of CPU time in one burst" % ids[5], "with one line that names it")
    engine.begin().ended("and again alone", by=-6)
    ok(engine.begin().serves(), "then all goes on")
    engine.wait_for(lambda: engine.attached() == before + 9, "the others are attached")
    found = engine.dead()
    is_(len(found), dead + 1, "it is a dead letter")
    ok(any("SIGABRT" in d["reason"] for d in found), "with its reason")


def run(engine):
    def runs():
        listed = engine.run("run", "list", "--all", "--json")  # it may die while it is asked
        return {r["id"]: r for r in listed.json()["runs"]} if listed.status == 0 else {}
    engine.terminate()
    engine.begin()
    ok(engine.serves(), "with faults")
    engine.xadd(*alerts(2000, 3))
    ok(wait_until(lambda: engine.json("now")["questions"], 30), "innocent runs ask")
    waiting = {q["id"] for q in engine.json("now")["questions"]}
    engine.xadd(*alerts(3000, 1, word="guilty"))
    starts = 0
    engine.ended("a run ends the process")
    kind, incident, number = engine.noted()
    is_((kind, number), (RUN, 1), "the file says which one: %s/%d" % (incident, number))
    while starts < 4:  # twice when nothing of it was durable when it ended the process first
        starts += 1
        engine.begin()
        if wait_until(lambda: engine.process.poll() is not None or (engine.accepts() and any(
                r["status"] == "handed_over" for i, r in runs().items() if i.startswith(incident))), 40) and engine.process.poll() is None:
            break
        engine.ended("again, start %d" % starts)
    ok(engine.process and 2 <= starts <= 3, "it is set aside after %d starts" % starts)
    shown = engine.json("incident", "show", incident)
    entry = next((e for e in shown["entries"] if e["type"] == "run.handed_over"), {"body": {}})
    like(str(entry["body"].get("why")), "ended the process . times while it was handled, the last time alone .SIGSEGV.", "handed over, with the reason")
    ok(any(h["incident"] == incident for h in engine.json("now")["handed_over"]), "and shown to whoever looks")
    ok(waiting <= {q["id"] for q in engine.json("now")["questions"]}, "the innocent runs wait as before")
    question = sorted(waiting)[0]
    is_(engine.run("answer", question, "yes").status, 0, "and go on when they are answered")
    at = question.rpartition("/")[0]
    engine.wait_for(lambda: runs().get(at, {}).get("status") == "done", "to their end: %s" % at)


with Engine().begin() as tocsin:
    ok(tocsin.serves(), "it serves, faults and all")
    crash(tocsin)
    killed(tocsin)
    spin(tocsin)
    run(tocsin)
    note("%.1f s" % elapsed())
done()
