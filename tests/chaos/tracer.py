#!/usr/bin/env python3
"""strace for tests that are not root: the engine lets nobody of its own user trace it, and only root's strace can.

As a program (started by tests/run_tests while it is still root, with CAP_SYS_PTRACE) it waits at a socket that belongs to the tests' user. A
client names a process of its own user, a kind of call, a number and what is to happen at it, and hands over a descriptor for the trace;
strace lives for as long as the connection. It also tells which sockets such a process has open. Nothing else can be asked of it. It ends with its standard input.

    tests/chaos/tracer.py SOCKET UID
"""
import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "servers"))
from common import program  # noqa: E402

KINDS = ("sendto", "recvfrom", "writev", "readv", "write", "read", "sendmsg", "recvmsg")
HOW = ("signal=KILL", "error=ECONNRESET")
SOCKET = os.environ.get("TOCSIN_TRACER")


def strace(pid, kind, number, how, out):
    return subprocess.Popen([program("strace", "strace"), "-f", "-qq", "-s", "60", "-p", str(pid), "-e", "trace=" + kind,
                             "-e", "inject=%s:%s:when=%d" % (kind, how, number)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=out)


def end(child):
    child.terminate()
    try:
        child.wait(3)
    except subprocess.TimeoutExpired:  # it waits for a process that is just dying, whose threads it holds
        child.kill()
        child.wait()


def possible():
    return os.geteuid() == 0 or bool(SOCKET)


class Tracer:
    """One strace, its own or the helper's. The trace and strace's own words go to the file."""

    def __init__(self, target, kind, number, how, file):
        self.own = self.line = None
        with open(file, "wb") as out:
            if os.geteuid() == 0:
                self.own = strace(target, kind, number, how, out)
                self.pid = self.own.pid
                return
            self.line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.line.settimeout(10)
            self.line.connect(SOCKET)
            socket.send_fds(self.line, [json.dumps([target, kind, number, how]).encode()], [out.fileno()])
            self.pid = int(self.line.recv(100) or 0)

    def ended(self):
        if self.own:
            return self.own.poll() is not None
        return bool(select.select([self.line], [], [], 0)[0])

    def stop(self):
        if self.own:
            end(self.own)
            return
        try:
            self.line.shutdown(socket.SHUT_WR)
            self.line.recv(1)  # its end
        except OSError:
            pass  # it had ended by itself
        self.line.close()


def sockets(pid):
    """Inodes of the sockets that a process has open."""
    if os.geteuid() == 0:
        return sockets_of(pid)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.settimeout(10)
        line.connect(SOCKET)
        line.send(json.dumps([pid, "sockets", 0, ""]).encode())
        return json.loads(line.recv(60000))


def sockets_of(pid):
    found = []
    for fd in os.listdir("/proc/%d/fd" % pid):
        try:
            target = os.readlink("/proc/%d/fd/%s" % (pid, fd))
        except OSError:
            continue
        if target.startswith("socket:["):
            found.append(target[8:-1])
    return found


# ---- the helper

def owner(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Uid:"))


def serve_one(line, uid):
    peer = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    with line:
        text, fds, _, _ = socket.recv_fds(line, 1000, 4)
        try:
            pid, kind, number, how = json.loads(text)
            if kind == "sockets" and peer == uid and owner(int(pid)) == uid:
                line.send(json.dumps(sockets_of(int(pid))).encode())
                return
            if peer != uid or owner(int(pid)) != uid or kind not in KINDS or how not in HOW or not fds:
                return
            child = strace(int(pid), kind, int(number), how, fds[0])
        except (ValueError, OSError, StopIteration):
            return
        finally:
            for fd in fds:
                os.close(fd)
        line.send(str(child.pid).encode())
        over = os.pidfd_open(child.pid)
        try:
            select.select([line, over], [], [])
        finally:
            os.close(over)
            end(child)


def main():
    path, uid = sys.argv[1], int(sys.argv[2])
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        os.umask(0o077)
        door.bind(path)
        os.chown(path, uid, -1)
        door.listen(64)
        print("ready", flush=True)
        while True:
            came = select.select([door, sys.stdin], [], [])[0]
            if sys.stdin in came:
                return
            threading.Thread(target=serve_one, args=(door.accept()[0], uid), daemon=True).start()


if __name__ == "__main__":
    main()
