"""What every real server of the tests has in common: a temporary folder, a free loopback port, start, stop.

A module of this folder has one class derived from Server; `with Slapd() as s:` starts it, `s.info()` tells its
coordinates, leaving the block stops it and removes the folder. Each module is also a command: it prints info() as
one line of JSON and stays until its standard input ends or a signal comes (`--stay`: only a signal).

As root nothing runs as root: servers and their folders belong to `nobody`. A server dies with the process that
started it. Nothing listens beyond 127.0.0.1.
"""
import argparse
import ctypes
import glob
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("TOCSIN_BUILD") or "build"
BUILD = BUILD if os.path.isabs(BUILD) else os.path.join(ROOT, BUILD)
UNPACKED = os.environ.get("TOCSIN_SERVERS") or os.path.join(BUILD, "servers")
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Missing(Exception):
    """A program that the test needs is not installed: the test is skipped with this reason."""


class Failed(Exception):
    """The server did not come up; the text ends with its own last words."""


def program(name, package):
    """Full path of a program, also from where Debian keeps servers and from what tests/install unpacked."""
    places = os.environ.get("PATH", "").split(":")
    places += ["/usr/sbin", "/usr/local/sbin", "/sbin"]
    places += sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    places += [os.path.join(UNPACKED, "usr/bin"), os.path.join(UNPACKED, "usr/sbin")]
    found = shutil.which(name, path=":".join(places))
    if not found:
        raise Missing("%s is not installed (Debian: apt-get install %s)" % (name, package))
    return found


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def port_open(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition, timeout=30, every=0.02):
    """Calls condition() until it is true; its value, or a false one when the time is over."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(every)


def unprivileged():
    """Arguments for subprocess that make a child of root run as nobody."""
    if os.geteuid() != 0:
        return {}
    who = pwd.getpwnam("nobody")
    return {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}


def give_away(path):
    """What root made for a server becomes the server's."""
    if os.geteuid() == 0:
        who = pwd.getpwnam("nobody")
        for folder, _, files in os.walk(path):
            os.chown(folder, who.pw_uid, who.pw_gid)
            for name in files:
                os.chown(os.path.join(folder, name), who.pw_uid, who.pw_gid, follow_symlinks=False)


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Server:
    name = "server"
    stop_signal = signal.SIGTERM

    def __init__(self, folder=None, port=None):
        self.own_folder = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix="tocsin-%s-" % self.name)
        self.port = port or free_port()
        self.fixed_port = port is not None
        self.process = None

    # ---- for derived classes

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write(self, name, text, mode=0o600):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, mode)) as out:
            out.write(text)
        return path

    def run(self, *command, stdin="", env=None):
        """A helper program, as the server's user; its output, or Failed with its words."""
        give_away(self.folder)
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, cwd=self.folder, timeout=120,
                              env=env or self.environment(), check=False, **unprivileged())
        if done.returncode:
            raise Failed("%s: %s" % (command[0], (done.stderr or done.stdout).strip()[-2000:]))
        return done.stdout

    def environment(self):
        clean = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "TZ")}
        clean["HOME"] = clean["TMPDIR"] = self.folder
        clean["LC_ALL"] = "C.UTF-8"
        return clean

    def prepare(self):
        """Writes configuration and data; once, before the first start."""

    def command(self):
        raise NotImplementedError

    def ready(self):
        return port_open(self.port)

    def info(self):
        return {"host": "127.0.0.1", "port": self.port, "folder": self.folder, "pid": self.pid}

    # ---- for everybody

    @property
    def pid(self):
        return self.process.pid if self.process else None

    def start(self, timeout=60):
        if not getattr(self, "prepared", False):
            self.prepare()
            self.prepared = True
        for _ in range(3):
            self._spawn()
            if wait_until(lambda: self.process.poll() is not None or self.ready(), timeout) and self.process.poll() is None:
                return self
            alive = self.process.poll() is None
            self.kill()
            if alive or self.fixed_port or getattr(self, "was_up", False):
                break
            self.port = free_port()  # somebody took it between the asking and the binding
            self.prepare()
        raise Failed("%s did not start: %s" % (self.name, self.log()[-2000:]))

    def _spawn(self):
        give_away(self.folder)
        with open(self.path("server.log"), "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd=self.folder, env=self.environment(), start_new_session=True,
                                            preexec_fn=_die_with_parent, **unprivileged())

    def log(self):
        try:
            with open(self.path("server.log"), encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def restart(self):
        self.was_up = True
        self.halt()
        return self.start()

    def halt(self, timeout=20):
        """Stops the process and keeps the folder."""
        if not self.process:
            return
        self._signal(self.stop_signal)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pass
        self.kill()

    def kill(self):
        if self.process:
            self._signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def stop(self):
        self.halt()
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()


def certificates(folder, hosts=("localhost", "127.0.0.1")):
    """A throw-away authority and one server certificate: ca.pem, cert.pem, key.pem in folder."""
    openssl = program("openssl", "openssl")

    def call(*args):
        done = subprocess.run([openssl, *args], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed("openssl: " + done.stderr[-500:])

    names = ",".join(("IP:" if h[0].isdigit() else "DNS:") + h for h in hosts)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    call("req", "-x509", *key, "-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=Test authority",
         "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    call("req", "-x509", *key, "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-keyout", "key.pem", "-out", "cert.pem",
         "-subj", "/CN=" + hosts[0], "-addext", "subjectAltName=" + names, "-addext", "basicConstraints=CA:FALSE")
    return {n: os.path.join(folder, n + ".pem") for n in ("ca", "cert", "key")}


def main(make, *options):
    """The command around a server. options: (name, help) of string arguments handed to make(**arguments)."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--folder", help="keep data here instead of a temporary folder")
    parser.add_argument("--port", type=int, help="instead of a free one")
    parser.add_argument("--stay", action="store_true", help="do not end with standard input")
    for name, text in options:
        parser.add_argument("--" + name, help=text)
    arguments = vars(parser.parse_args())
    stay = arguments.pop("stay")
    if arguments["folder"]:
        arguments["folder"] = os.path.abspath(arguments["folder"])
        os.makedirs(arguments["folder"], mode=0o700, exist_ok=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    try:
        server = make(**{k: v for k, v in arguments.items() if v is not None})
        with _unmasked_children(server) as running:
            print(json.dumps(running.info()), flush=True)
            if not stay:
                threading.Thread(target=_end_of_input, daemon=True).start()
            signal.sigwait({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    except (Missing, Failed) as problem:
        sys.exit("%s: %s" % (sys.argv[0], problem))


def _unmasked_children(server):
    # The mask of blocked signals is inherited: a server must still hear SIGTERM.
    spawn = server._spawn

    def unmasked():
        old = signal.pthread_sigmask(signal.SIG_SETMASK, set())
        try:
            spawn()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)

    server._spawn = unmasked
    return server


def _end_of_input():
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
