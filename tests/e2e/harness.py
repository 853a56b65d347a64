"""What every end-to-end test stands on: TAP, waiting, Lua settings, and a `tocsin serve` to start, kill and ask.

    from harness import *

    with Slapd() as directory, Tocsin(settings) as tocsin:
        tocsin.xadd(alert)
        ok(wait_until(lambda: directory.bind_code("alice", "alice-old-password") == 49), "the old password is refused")
    done()

A test is a program that prints TAP and ends with done(); it never sleeps, it waits for conditions with a deadline; it
starts its servers itself on free ports in temporary folders. A Missing server skips the whole test by name.
"""
import atexit
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "servers"))
from common import BUILD, ROOT, Failed, Missing, free_port, give_away, port_open, program, unprivileged, wait_until  # noqa: E402,F401
from redis import Client, ReplyError, entries_of, journal_entries  # noqa: E402,F401

BINARY = os.path.abspath(os.environ.get("TOCSIN_BINARY") or os.path.join(BUILD, "tocsin"))

# ---- TAP

_count = _failed = 0
_finished = False


def plan(count):
    print("1..%d" % count, flush=True)
    _state["planned"] = count


_state = {"planned": None}


def diag(*texts):
    for text in texts:
        for line in str(text).splitlines() or [""]:
            print("# " + line, file=sys.stderr, flush=True)


def note(*texts):
    for text in texts:
        for line in str(text).splitlines() or [""]:
            print("# " + line, flush=True)


def _result(passed, name, suffix=""):
    global _count, _failed
    _count += 1
    _failed += not passed
    print("%sok %d - %s%s" % ("" if passed else "not ", _count, str(name).replace("#", "\\#").replace("\n", " "), suffix), flush=True)
    if not passed:
        caller = next((f for f in reversed(traceback.extract_stack()) if f.filename != os.path.abspath(__file__)), None)
        if caller:
            diag("at %s line %d" % (os.path.basename(caller.filename), caller.lineno))
    return bool(passed)


def ok(passed, name):
    return _result(bool(passed), name)


def is_(got, wanted, name):
    if _result(got == wanted, name):
        return True
    diag("     got: %r" % (got,), "expected: %r" % (wanted,))
    return False


def isnt(got, unwanted, name):
    if _result(got != unwanted, name):
        return True
    diag("got what must not be: %r" % (got,))
    return False


def like(text, pattern, name):
    if _result(re.search(pattern, text or "", re.S) is not None, name):
        return True
    diag("    text: %s" % (text or "")[-4000:], "not like: %s" % pattern)
    return False


def unlike(text, pattern, name):
    found = re.search(pattern, text or "", re.S)
    if _result(found is None, name):
        return True
    diag("found what must not be there: %r" % found.group())
    return False


def skip(name, reason):
    """One test that cannot be made here; it is counted and named in the summary."""
    return _result(True, name, " # SKIP " + reason)


def skip_all(reason):
    global _finished
    _finished = True
    print("1..0 # SKIP " + str(reason), flush=True)
    sys.exit(0)


def done():
    """Ends the test: prints the plan when there was none; the exit status tells whether all passed."""
    global _finished
    _finished = True
    if _state["planned"] is None:
        print("1..%d" % _count, flush=True)
    sys.exit(1 if _failed or (_state["planned"] not in (None, _count)) else 0)


def harness_quiet():
    """For programs that use this file without being tests: no TAP at the end."""
    global _finished
    _finished = True
    sys.excepthook = sys.__excepthook__


def _uncaught(kind, value, trace):
    global _finished
    if kind is Missing and not _count:
        _finished = True
        print("1..0 # SKIP %s" % value, flush=True)
        sys.stdout.flush()
        os._exit(_clean_up(0))
    _finished = True
    _result(False, "no exception: %s: %s" % (kind.__name__, value))
    diag("".join(traceback.format_exception(kind, value, trace)))
    print("1..%d" % _count, flush=True)
    os._exit(_clean_up(255))


_living = []


def _clean_up(status=0):
    for thing in list(_living):
        try:
            thing.stop()
        except Exception as problem:  # the first failure is what counts
            diag("while cleaning up: %s" % problem)
    return status


@atexit.register
def _end():
    _clean_up()
    if not _finished:
        print("not ok %d - the test comes to its end%s" % (_count + 1, _state.get("why", " (no done() was reached)")), flush=True)
        sys.stdout.flush()
        os._exit(255)


sys.excepthook = _uncaught


def _stopped(*_):
    _state["why"] = " (it was stopped from outside: out of time?)"
    diag("".join(traceback.format_stack()))
    sys.exit(1)


signal.signal(signal.SIGTERM, _stopped)

# ---- Lua text from Python values


class Raw(str):
    """Lua source that goes into settings as it is: Raw('secret "env:TOKEN"')."""


def lua(value, indent=""):
    deeper = indent + "  "
    if isinstance(value, Raw):
        return str(value)
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return '"%s"' % "".join("\\%d" % b if b < 32 or b == 127 else {34: '\\"', 92: "\\\\"}.get(b, chr(b)) if b < 128 else "\\x%02x" % b
                                for b in value.encode())
    if isinstance(value, dict):
        rows = ["%s%s = %s,\n" % (deeper, k if re.fullmatch(r"[A-Za-z_]\w*", str(k)) else "[%s]" % lua(k), lua(v, deeper))
                for k, v in value.items() if v is not None]
    else:
        rows = ["%s%s,\n" % (deeper, lua(v, deeper)) for v in value]
    return "{\n%s%s}" % ("".join(rows), indent) if rows else "{}"


# ---- the orchestrator


class Result:
    """What a command left: status, out, err; json() parses out."""

    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return "status %d\n%s%s" % (self.status, self.out, self.err)


class Tocsin:
    """A `tocsin serve` with its own settings and data in a temporary folder.

    settings: a dict (written as Lua), or the whole text of tocsin.lua; {folder} in a text stands for the folder.
    `me` is the name of the person who runs the test."""

    me = "tester"

    def __init__(self, settings=None, env=None, folder=None, binary=None, wrapper=()):
        self.binary, self.wrapper = binary or BINARY, list(wrapper)
        self.own_folder = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix="tocsin-e2e-")
        self.data = os.path.join(self.folder, "data")
        self.settings_path = os.path.join(self.folder, "tocsin.lua")
        self.log_path = os.path.join(self.folder, "serve.log")
        self.env, self.process = dict(env or {}), None
        self.files = {}
        if settings is not None or not os.path.exists(self.settings_path):
            self.settings(settings if settings is not None else {})
        _living.append(self)

    # ---- files

    def settings(self, settings):
        """Writes tocsin.lua anew (a running engine reads it at `tocsin reload` or the next start)."""
        if not isinstance(settings, str):
            settings = "return " + lua(self.defaults(settings)) + "\n"
        self.write("tocsin.lua", settings.replace("{folder}", self.folder))

    def defaults(self, settings):
        """What every test has unless it says otherwise; tables are merged member by member."""
        base = {"data": self.data, "api": {"socket": self.socket},
                "folders": {name: os.path.join(ROOT, name) for name in ("playbooks", "connectors", "runbooks")},
                "people": {self.me: {"uid": os.geteuid(), "roles": ["responder", "lead", "admin"]}}}
        base["folders"]["lists"] = os.path.join(ROOT, "playbooks", "lists")
        for key, value in settings.items():
            same = isinstance(value, dict) and isinstance(base.get(key), dict) and not isinstance(value, Raw)
            base[key] = dict(base[key], **value) if same else value
        return base

    def write(self, name, text, mode=0o600):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, mode)) as out:
            out.write(text)
        return path

    @property
    def socket(self):
        return os.path.join(self.data, "tocsin.sock")

    @property
    def redis_socket(self):
        return os.path.join(self.data, "redis", "redis.sock")

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    # ---- the process

    def environment(self):
        known = {k: v for k, v in os.environ.items() if k in ("PATH", "TMPDIR", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS")}
        known.update(LC_ALL="C.UTF-8", TZ="UTC", HOME=self.folder, TOCSIN_SETTINGS=self.settings_path)
        known.update(self.env)
        return known

    def command(self, *words):
        """The one place that knows how the program is told its settings."""
        return [*self.wrapper, self.binary, *words]

    def spawn(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command("serve"), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                                            env=self.environment(), start_new_session=True)
        return self

    def accepts(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            try:
                s.connect(self.socket)
                return True
            except OSError:
                return False

    def start(self, timeout=60):
        """Starts `tocsin serve` and waits until its socket accepts."""
        if not os.access(self.binary, os.X_OK):
            raise Failed("%s is not built" % self.binary)
        self.spawn()
        up = wait_until(lambda: self.process.poll() is not None or self.accepts(), timeout)
        if not up or self.process.poll() is not None:
            raise Failed("tocsin serve did not start (status %s): %s" % (self.process.poll(), self.log()[-3000:]))
        return self

    @property
    def pid(self):
        return self.process.pid if self.process else None

    def signal(self, number):
        if self.process:
            os.kill(self.process.pid, number)

    def kill(self):
        """kill -9, as a crash would; the embedded Redis lives on, as it should."""
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def terminate(self, timeout=30):
        """SIGTERM; the exit status."""
        self.signal(signal.SIGTERM)
        status = self.process.wait(timeout)
        self.process = None
        return status

    def restart(self, kill=False):
        if self.process:
            self.kill() if kill else self.terminate()
        return self.start()

    def stop(self):
        if self in _living:
            _living.remove(self)
        if self.process and self.process.poll() is None:
            try:
                self.terminate()
            except subprocess.TimeoutExpired:
                diag("tocsin serve did not end on SIGTERM")
                self.kill()
        self._end_redis()
        if self.own_folder:
            if _failed and os.environ.get("TOCSIN_KEEP"):
                diag("kept: " + self.folder)
            else:
                shutil.rmtree(self.folder, ignore_errors=True)

    def _end_redis(self):
        # Only the private server of this folder, by the pid in its own file, and only if it is one.
        try:
            with open(os.path.join(self.data, "redis", "redis.pid"), encoding="ascii") as f:
                pid = int(f.read())
            with open("/proc/%d/cmdline" % pid, "rb") as f:
                if b"redis-server" not in f.read() or os.readlink("/proc/%d/cwd" % pid) != os.path.join(self.data, "redis"):
                    return
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not os.path.exists("/proc/%d" % pid) or "Z" in _process_state(pid), 10)
        except (OSError, ValueError):
            pass

    def __enter__(self):
        return self.start() if not self.process else self

    def __exit__(self, *_):
        self.stop()

    # ---- talking to it

    def run(self, *words, stdin="", timeout=60, env=None):
        """`tocsin words…` as the person of this test."""
        done_ = subprocess.run(self.command(*[str(w) for w in words]), input=stdin, capture_output=True, text=True, errors="replace",
                               cwd=self.folder, env=dict(self.environment(), **(env or {})), timeout=timeout, check=False)
        return Result(done_)

    def json(self, *words, **options):
        """The same with --json, which must succeed; what it printed, parsed."""
        result = self.run(*words, "--json", **options)
        if result.status:
            raise Failed("tocsin %s: %r" % (" ".join(map(str, words)), result))
        return result.json()

    def api(self, method, path, body=None, headers=None, timeout=60):
        """An HTTP request over the Unix socket: (status, JSON or text)."""
        import http.client
        connection = http.client.HTTPConnection("localhost", timeout=timeout)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout)
        connection.sock.connect(self.socket)
        connection.request(method, path, None if body is None else json.dumps(body), dict({"Content-Type": "application/json"}, **(headers or {})))
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def redis(self):
        """A connection to the embedded Redis: redis.Client."""
        return Client(self.redis_socket)

    def xadd(self, *alerts, redis=None):
        """Puts alerts (dicts or texts) into the queue as a SIEM would; the stream ids."""
        texts = [a if isinstance(a, (str, bytes)) else json.dumps(a) for a in alerts]
        with redis or self.redis() as client:
            return client.pipeline([("XADD", "tocsin:alerts", "*", "alert", t) for t in texts])

    def wait_for(self, condition, name, timeout=30):
        """A test of its own: condition() becomes true in time. Shows the end of the log when it does not."""
        value = wait_until(condition, timeout, every=0.05)
        if not ok(value, name):
            diag(self.log()[-3000:])
        return value


def _process_state(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as f:
            return f.read().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def user_name():
    return pwd.getpwuid(os.geteuid()).pw_name


def elapsed():
    """Seconds since the test began."""
    return time.monotonic() - _began


_began = time.monotonic()


def bearers(tocsin, text):
    """Every file below the data folder, write-ahead logs and all, that holds these bytes."""
    found = []
    for folder, _, files in os.walk(tocsin.data):
        for name in files:
            try:
                with open(os.path.join(folder, name), "rb") as f:
                    if text.encode() in f.read():
                        found.append(os.path.relpath(os.path.join(folder, name), tocsin.data))
            except OSError:
                pass  # a socket, or a file that has gone
    return sorted(found)
