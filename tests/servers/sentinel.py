"""Redis as it is run for real: a master, replicas, and sentinels that make one of them the master when it dies."""
import os
import signal
import ssl
import tempfile

from common import Server, certificates, free_port, give_away, main, program, wait_until
from redis import Client, ReplyError


class Secured:
    """What a set needs that speaks TLS only, asks for certificates and passwords, and has a user for the engine and one that may only ask a sentinel."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="tocsin-redis-tls-")
        self.files = certificates(self.folder.name)
        give_away(self.folder.name)
        self.all, self.engine, self.asker = "the members' own word", "the engine's own word", "a word to the sentinels"
        self.tls = ssl.create_default_context(cafile=self.files["ca"])
        self.tls.load_cert_chain(self.files["cert"], self.files["key"])

    def lines(self, port, sentinel):
        common = ["port 0", "tls-port %d" % port, "tls-cert-file " + self.files["cert"], "tls-key-file " + self.files["key"],
                  "tls-ca-cert-file " + self.files["ca"], "tls-auth-clients yes", "tls-replication yes",
                  'user default on ">%s" ~* &* +@all' % self.all]
        if sentinel:
            return common + ['user asker on ">%s" resetchannels -@all +auth +hello +ping +client|setname +sentinel|master' % self.asker,
                             'sentinel auth-pass tocsin "%s"' % self.all, 'sentinel sentinel-pass "%s"' % self.all]
        return common + ['masterauth "%s"' % self.all,
                         'user engine on ">%s" ~tocsin:* ~{tocsin:alerts}* &* +@all -flushall -flushdb -xsetid' % self.engine]


class Member(Server):
    """One redis-server of the set, or one of its sentinels."""

    name = "redis-member"

    def __init__(self, lines, sentinel=False, secured=None):
        super().__init__()
        self.sentinel, self.secured = sentinel, secured
        self.lines = (secured.lines(self.port, sentinel) if secured and not sentinel else []) + lines + (
            secured.lines(self.port, sentinel) if secured and sentinel else [])

    def prepare(self):
        plain = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "daemonize": "no", "logfile": self.path("log")}
        if not self.sentinel:
            plain.update({"save": '""', "appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "aof-load-truncated": "no",
                          "no-appendfsync-on-rewrite": "no", "repl-diskless-sync-delay": 0, "repl-ping-replica-period": 1})
        self.write("redis.conf", "".join("%s %s\n" % item for item in plain.items()) + "".join(line + "\n" for line in self.lines))

    def command(self):
        return [program("redis-server", "redis-server"), self.path("redis.conf")] + (["--sentinel"] if self.sentinel else [])

    def ready(self):
        try:
            with self.client() as client:
                return client.call("PING") == "PONG"
        except (OSError, ConnectionError, ReplyError):
            return False

    def client(self, port=None):
        s = self.secured
        return Client(port or self.port, timeout=10, password=s and s.all, tls=s and s.tls)

    def ask(self, *words):
        with self.client() as client:
            return client.call(*words)


class Sentinels:
    """The whole set. `with Sentinels(replicas=2) as redis:`; client() goes to the master that the sentinels name."""

    def __init__(self, replicas=2, sentinels=3, down_after=700, secured=None):
        self.secured = secured
        self.master = Member(["min-replicas-to-write %d" % (replicas > 1), "min-replicas-max-lag 3"], secured=secured)
        self.replicas = [Member(["replicaof 127.0.0.1 %d" % self.master.port, "min-replicas-to-write %d" % (replicas > 1),
                                 "min-replicas-max-lag 3"], secured=secured) for _ in range(replicas)]
        lines = ["sentinel monitor tocsin 127.0.0.1 %d %d" % (self.master.port, sentinels // 2 + 1),
                 "sentinel down-after-milliseconds tocsin %d" % down_after, "sentinel failover-timeout tocsin 3000"]
        self.sentinels = [Member(lines, sentinel=True, secured=secured) for _ in range(sentinels)]

    @property
    def addresses(self):
        return ["127.0.0.1:%d" % s.port for s in self.sentinels]

    def start(self):
        self.master.start()
        for replica in self.replicas:
            replica.start()
        linked = wait_until(lambda: b"connected_slaves:%d" % len(self.replicas) in self.master.ask("INFO", "replication")
                            and all(b"master_link_status:up" in r.ask("INFO", "replication") for r in self.replicas), 20)
        for sentinel in self.sentinels:
            sentinel.start()
        known = wait_until(lambda: all(self.knows(s) for s in self.sentinels), 20)
        assert linked and known, "the set did not come together"
        return self

    def knows(self, sentinel):
        flat = sentinel.ask("SENTINEL", "MASTER", "tocsin")
        facts = dict(zip(flat[::2], flat[1::2]))
        return int(facts[b"num-slaves"]) == len(self.replicas) and int(facts[b"num-other-sentinels"]) == len(self.sentinels) - 1

    def master_port(self):
        answers = [int(s.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "tocsin")[1]) for s in self.sentinels]
        return max(set(answers), key=answers.count)

    def client(self):
        return self.master.client(self.master_port())

    def cut(self, replica):
        """It hears no more of its master, as behind a broken network; the sentinels mend that after some seconds."""
        replica.ask("REPLICAOF", "127.0.0.1", free_port())

    def kill_master(self):
        os.kill(self.master.process.pid, signal.SIGKILL)
        self.master.process.wait()

    def failed_over(self):
        if self.master_port() == self.master.port:
            return False
        with self.client() as client:
            return client.call("ROLE")[0] == b"master"

    def stop(self):
        for member in self.sentinels + self.replicas + [self.master]:
            member.stop()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def info(self):
        return {"sentinels": self.addresses, "master": "tocsin", "port": self.master.port}


if __name__ == "__main__":
    main(Sentinels)
