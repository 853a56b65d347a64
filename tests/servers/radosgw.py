"""A real S3 bucket with object lock: Ceph's radosgw in front of one monitor and one OSD that keeps its objects in memory.

`s3()` looks from outside: it signs as outside.py's bucket wants it signed, which was written from AWS's text.
"""
import hashlib
import http.client
import os
import time
import uuid

from common import Server, free_port, main, program
from outside import ACCESS_KEY, REGION, SECRET_KEY, signature

PACKAGES = "radosgw ceph-mon ceph-osd"


class Part(Server):
    """One of the processes below it, in the same folder."""

    def __init__(self, whole, name, *words):
        super().__init__(whole.folder)
        self.name, self.words = name, words

    def command(self):
        return [program(self.words[0], PACKAGES), "-f", "-c", self.path("ceph.conf"), *self.words[1:]]

    def ready(self):
        return True


class Radosgw(Server):
    name = "radosgw"

    def __init__(self, folder=None, port=None):
        super().__init__(folder, port)
        self.monitor_port = free_port()
        self.monitor, self.osd = Part(self, "ceph-mon", "ceph-mon", "-i", "a"), Part(self, "ceph-osd", "ceph-osd", "-i", "0")

    def prepare(self):
        for name in ("mon", "osd", "rgw"):
            os.makedirs(self.path(name), mode=0o700, exist_ok=True)
        fsid, osd, conf, keyring = str(uuid.uuid4()), str(uuid.uuid4()), self.path("ceph.conf"), self.path("keyring")
        self.write("ceph.conf", f"""[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{self.monitor_port}]
mon initial members = a
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {keyring}
run dir = {self.folder}
admin socket = {self.path("$name.asok")}
log file = {self.path("$name.log")}
pid file = {self.path("$name.pid")}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data = {self.path("mon")}
mon data avail crit = 1
mon data avail warn = 1
paxos propose interval = 0.01
osd data = {self.path("osd")}
osd objectstore = memstore
memstore device bytes = 268435456
rgw frontends = beast endpoint=127.0.0.1:{self.port}
rgw data = {self.path("rgw")}
rgw thread pool size = 8
rgw enable gc threads = false
rgw enable lc threads = false
rgw enable quota threads = false
rgw run sync thread = false
""")
        authtool, all_caps = program("ceph-authtool", PACKAGES), ["--cap", "mon", "allow *", "--cap", "osd", "allow *"]
        self.run(authtool, "-C", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        for name in ("client.admin", "osd.0"):
            self.run(authtool, keyring, "--gen-key", "-n", name, *all_caps)
        self.run(program("monmaptool", PACKAGES), "--create", "--clobber", "--fsid", fsid, "--addv", "a", "[v2:127.0.0.1:%d]" % self.monitor_port,
                 self.path("monmap"))
        self.run(program("ceph-mon", PACKAGES), "-c", conf, "--mkfs", "-i", "a", "--monmap", self.path("monmap"), "--keyring", keyring)
        self.monitor.start()
        self.run(program("ceph", PACKAGES), "-c", conf, "--connect-timeout", "30", "osd", "new", osd)
        self.run(program("ceph-osd", PACKAGES), "-c", conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
        self.osd.start()

    def command(self):
        return [program("radosgw", PACKAGES), "-f", "-c", self.path("ceph.conf"), "-n", "client.admin"]

    def start(self, timeout=120):
        super().start(timeout)
        self.run(program("radosgw-admin", PACKAGES), "-c", self.path("ceph.conf"), "user", "create", "--uid=tocsin", "--display-name=tocsin",
                 "--access-key=" + ACCESS_KEY, "--secret=" + SECRET_KEY)
        return self

    def stop(self):
        self.kill()
        self.osd.kill()
        self.monitor.kill()
        super().stop()

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    def info(self):
        return dict(super().info(), url=self.url, region=REGION, access_key=ACCESS_KEY, secret_key=SECRET_KEY)

    # ---- looking from outside

    def s3(self, method, path, body=b"", **headers):
        """(status, body) of one signed request; path with its query, headers as `x_amz_…`."""
        digest, now = hashlib.sha256(body).hexdigest(), time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        sent = {"host": "127.0.0.1:%d" % self.port, "x-amz-date": now, "x-amz-content-sha256": digest}
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        names, scope = sorted(sent), [now[:8], REGION, "s3", "aws4_request"]
        where, _, query = path.partition("?")
        sent["authorization"] = "AWS4-HMAC-SHA256 Credential=%s, SignedHeaders=%s, Signature=%s" % (
            "/".join([ACCESS_KEY, *scope]), ";".join(names), signature(method, where, query, sent, names, digest, now, scope, SECRET_KEY))
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            link.request(method, path, body=body or None, headers=sent)
            answer = link.getresponse()
            return answer.status, answer.read()
        finally:
            link.close()


if __name__ == "__main__":
    main(Radosgw)
