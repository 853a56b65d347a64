"""A real redis-server with ACL users: one for a SIEM, one for an application, one administrator."""
import os
import socket

from common import Server, certificates, free_port, main, program


class ReplyError(Exception):
    """What Redis answered with a leading minus."""


class Client:
    """A tiny RESP client: Client(socket path or port).call("XADD", key, "*", "alert", text)."""

    def __init__(self, where, user=None, password=None, timeout=30, tls=None):
        unix = isinstance(where, str)
        self.socket = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self.socket.settimeout(timeout)
        self.socket.connect(where if unix else ("127.0.0.1", where))
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self.file = self.socket.makefile("rb")
        if password is not None:
            self.call("AUTH", *([user] if user else []), password)

    def send(self, *words):
        parts = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise ReplyError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self._element() for _ in range(int(rest))]
        return rest.decode()

    def _element(self):
        try:
            return self.reply()
        except ReplyError as error:
            return error

    def call(self, *words):
        self.send(*words)
        return self.reply()

    def pipeline(self, commands):
        """Many commands in one go; their replies, errors as values."""
        for words in commands:
            self.send(*words)
        return [self._element() for _ in commands]

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def entries_of(items):
    """What XRANGE gave of a journal, entry by entry: [(seq, {field: value})]. An item bears one (e, h, b), or those of a whole wave: E, H, B again and again, from its id's seq on."""
    found = []
    for name, fields in items:
        seq, entry = int(name.split(b"-")[0]), {}
        for field, value in zip(fields[::2], fields[1::2]):
            field = field.lower()
            if field == b"e" and entry:
                found.append((seq, entry))
                seq, entry = seq + 1, {}
            entry[field] = value
        found.append((seq, entry))
    return found


def journal_entries(client, incident, start="-"):
    return entries_of(client.call("XRANGE", "tocsin:{%s}:journal" % incident, start, "+"))


class Redis(Server):
    name = "redis"

    def __init__(self, folder=None, port=None, durable=True, tls=False, config=None, passwords=True):
        super().__init__(folder, port)
        self.passwords = passwords
        self.durable, self.tls, self.config = durable, tls, dict(config or {})
        self.tls_port = free_port() if tls else None
        self.admin_password, self.siem_password, self.app_password = "admin-password", "siem-password", "app-old-password"

    @property
    def socket_path(self):
        return self.path("redis.sock")

    def prepare(self):
        lines = {"port": self.port, "bind": "127.0.0.1", "unixsocket": self.socket_path, "unixsocketperm": 777, "dir": self.folder,
                 "daemonize": "no", "save": '""', "appendonly": "yes" if self.durable else "no", "maxmemory-policy": "noeviction",
                 "aof-load-truncated": "no", "no-appendfsync-on-rewrite": "no", "rdbcompression": "no", "appendfsync": "always" if self.durable else "no"}
        if self.passwords:
            lines["aclfile"] = self.path("users.acl")
        if self.tls:
            files = certificates(self.folder)
            lines.update({"tls-port": self.tls_port, "tls-cert-file": files["cert"], "tls-key-file": files["key"],
                          "tls-ca-cert-file": files["ca"], "tls-auth-clients": "no"})
        lines.update(self.config)
        self.write("redis.conf", "".join("%s %s\n" % item for item in lines.items()))
        if self.passwords and not os.path.exists(self.path("users.acl")):
            self.write("users.acl", f"""user default on >{self.admin_password} ~* &* +@all
user siem on >{self.siem_password} resetkeys ~tocsin:alerts +xadd +ping +auth
user app on >{self.app_password} ~app:* +@read +@write +ping
""")

    def command(self):
        return [program("redis-server", "redis-server"), self.path("redis.conf")]

    def ready(self):
        try:
            with self.client() as client:
                return client.call("PING") == "PONG"
        except (OSError, ConnectionError, ReplyError):
            return False

    def client(self, user=None, password=None):
        return Client(self.socket_path, user, password or (self.admin_password if self.passwords else None))

    def password_works(self, user, password):
        try:
            with Client(self.port, user, password) as client:
                return client.call("PING") == "PONG"
        except ReplyError:
            return False

    def info(self):
        known = super().info()
        known["socket"] = self.socket_path
        if self.passwords:
            known.update(admin={"user": "default", "password": self.admin_password},
                         siem={"user": "siem", "password": self.siem_password}, app={"user": "app", "password": self.app_password})
        if self.tls:
            known.update(tls_port=self.tls_port, ca=self.path("ca.pem"))
        return known


if __name__ == "__main__":
    main(Redis)
