"""A small SMTP receiver: keeps every message, speaks STARTTLS and AUTH PLAIN/LOGIN, refuses what it is told to refuse.

As a command it writes each message to <folder>/<number>.eml.
"""
import base64
import os
import shutil
import socketserver
import ssl
import tempfile
import threading

from common import certificates, main


class _Session(socketserver.StreamRequestHandler):
    timeout = 60

    def say(self, text):
        self.wfile.write((text + "\r\n").encode())
        self.wfile.flush()

    def hear(self):
        line = self.rfile.readline(4096)
        if not line:
            raise ConnectionError
        return line.rstrip(b"\r\n").decode("utf-8", "replace")

    def handle(self):
        self.box, self.secure, self.user = self.server.box, False, None
        self.message = {"from": None, "to": []}
        try:
            self.say("220 localhost ready")
            while self.command(self.hear()):
                pass
        except (ConnectionError, OSError):
            pass

    def command(self, line):
        verb, _, rest = line.partition(" ")
        verb = verb.lower()
        refusal = self.box.refuse.get(verb)
        if refusal:
            self.say(refusal)
            return True
        known = getattr(self, "do_" + verb, None)
        if not known:
            self.say("502 unknown command")
            return True
        return known(rest) is not False

    def do_ehlo(self, _):
        offers = ["localhost", "8BITMIME", "SIZE 10485760"]
        if self.box.context and not self.secure:
            offers.append("STARTTLS")
        if self.box.password and (self.secure or not self.box.context):
            offers.append("AUTH PLAIN LOGIN")
        for offer in offers[:-1]:
            self.say("250-" + offer)
        self.say("250 " + offers[-1])

    def do_helo(self, _):
        self.say("250 localhost")

    def do_noop(self, _):
        self.say("250 ok")

    def do_rset(self, _):
        self.message = {"from": None, "to": []}
        self.say("250 ok")

    def do_quit(self, _):
        self.say("221 bye")
        return False

    def do_starttls(self, _):
        if not self.box.context or self.secure:
            self.say("502 not offered")
            return
        self.say("220 go on")
        self.connection = self.request = self.box.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
        self.secure = True

    def do_auth(self, rest):
        kind, _, first = rest.partition(" ")
        if kind.upper() == "PLAIN":
            if not first:
                self.say("334 ")
                first = self.hear()
            _, user, password = (base64.b64decode(first).decode("utf-8", "replace").split("\0") + ["", "", ""])[:3]
        else:
            self.say("334 VXNlcm5hbWU6")
            user = base64.b64decode(self.hear()).decode()
            self.say("334 UGFzc3dvcmQ6")
            password = base64.b64decode(self.hear()).decode()
        if (user, password) == (self.box.user, self.box.password):
            self.user = user
            self.say("235 welcome")
        else:
            self.say("535 wrong user or password")

    def do_mail(self, rest):
        if self.box.password and not self.user:
            self.say("530 authentication required")
            return
        self.message = {"from": _address(rest), "to": []}
        self.say("250 ok")

    def do_rcpt(self, rest):
        self.message["to"].append(_address(rest))
        self.say("250 ok")

    def do_data(self, _):
        if not self.message["to"]:
            self.say("503 no recipient")
            return
        self.say("354 go on")
        lines = []
        while True:
            line = self.rfile.readline(65536)
            if not line:
                raise ConnectionError
            if line in (b".\r\n", b".\n"):
                break
            lines.append(line[1:] if line.startswith(b".") else line)
        self.box.keep(dict(self.message, text=b"".join(lines).decode("utf-8", "replace"), tls=self.secure, user=self.user))
        self.say("250 kept")


def _address(rest):
    return rest.partition(":")[2].strip().split(" ")[0].strip("<>")


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class Smtp:
    """messages: list of {"from", "to", "text", "tls", "user"}. refuse: {"rcpt": "550 no such user"} answers that verb so."""

    def __init__(self, folder=None, port=0, tls=False, user="tocsin", password=None, refuse=None):
        self.folder, self.wanted_port, self.tls = folder, port, tls
        self.user, self.password, self.refuse = user, password, dict(refuse or {})
        self.messages, self.context, self.listener = [], None, None
        self.lock = threading.Lock()
        self.own_folder = folder is None

    def start(self):
        self.folder = self.folder or tempfile.mkdtemp(prefix="tocsin-smtp-")
        if self.tls:
            files = certificates(self.folder)
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(files["cert"], files["key"])
        self.listener = _Listener(("127.0.0.1", self.wanted_port), _Session)
        self.listener.box = self
        self.port = self.listener.server_address[1]
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()
        return self

    def keep(self, message):
        with self.lock:
            self.messages.append(message)
            with open(os.path.join(self.folder, "%04d.eml" % len(self.messages)), "w", encoding="utf-8") as f:
                f.write(message["text"])

    def stop(self):
        if self.listener:
            self.listener.shutdown()
            self.listener.server_close()
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def info(self):
        known = {"host": "127.0.0.1", "port": self.port, "folder": self.folder, "user": self.user, "password": self.password}
        if self.tls:
            known["ca"] = os.path.join(self.folder, "ca.pem")
        return known

    def _spawn(self):
        """Nothing to spawn: it lives in this process."""

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


if __name__ == "__main__":
    main(Smtp, ("password", "require AUTH with this password for the user tocsin"))
