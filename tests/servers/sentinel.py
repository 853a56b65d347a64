"""Redis as it is run for real: a master, replicas, and sentinels that make one of them the master when it dies."""
import os
import signal

from common import Server, free_port, main, program, wait_until
from redis import Client, ReplyError


class Member(Server):
    """One redis-server of the set, or one of its sentinels."""

    name = "redis-member"

    def __init__(self, lines, sentinel=False):
        super().__init__()
        self.lines, self.sentinel = lines, sentinel

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

    def client(self):
        return Client(self.port, timeout=10)

    def ask(self, *words):
        with self.client() as client:
            return client.call(*words)


class Sentinels:
    """The whole set. `with Sentinels(replicas=2) as redis:`; client() goes to the master that the sentinels name."""

    def __init__(self, replicas=2, sentinels=3, down_after=700):
        self.master = Member(["min-replicas-to-write %d" % (replicas > 1), "min-replicas-max-lag 3"])
        self.replicas = [Member(["replicaof 127.0.0.1 %d" % self.master.port, "min-replicas-to-write %d" % (replicas > 1),
                                 "min-replicas-max-lag 3"]) for _ in range(replicas)]
        lines = ["sentinel monitor tocsin 127.0.0.1 %d %d" % (self.master.port, sentinels // 2 + 1),
                 "sentinel down-after-milliseconds tocsin %d" % down_after, "sentinel failover-timeout tocsin 3000"]
        self.sentinels = [Member(lines, sentinel=True) for _ in range(sentinels)]

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
        return Client(self.master_port(), timeout=10)

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
