"""A real syslog-ng, the log shipper: what it hears on a TCP port it puts into Redis with XADD, as a SIEM's relay would.

form="alert": one field `alert` with the message; form="fields": the fields MESSAGE, HOST, PROGRAM, PRIORITY, ISODATE.
Unpacked by tests/install, because installing it would push out the machine's own log daemon.
"""
import os
import socket

from common import UNPACKED, Server, main, program

FIELDS = {"MESSAGE": "${MESSAGE}", "HOST": "${HOST}", "PROGRAM": "${PROGRAM}", "PRIORITY": "${PRIORITY}", "ISODATE": "${ISODATE}"}


class SyslogNg(Server):
    name = "syslogng"

    def __init__(self, redis_port=6379, redis_password=None, form="alert", stream="tocsin:alerts", folder=None, port=None):
        super().__init__(folder, port)
        self.redis_port, self.redis_password, self.form, self.stream = int(redis_port), redis_password, form, stream

    def prepare(self):
        pairs = {"alert": "${MESSAGE}"} if self.form == "alert" else FIELDS
        words = ", ".join('"%s"' % w for w in ["XADD", self.stream, "*"] + [x for pair in pairs.items() for x in pair])
        auth = 'auth("%s")' % self.redis_password if self.redis_password else ""
        self.write("syslog-ng.conf", f"""@version: 3.38
options {{ stats-freq(0); keep-hostname(yes); use-dns(no); log-msg-size(1048576); }};
source s_in {{ network(ip("127.0.0.1") port({self.port}) transport("tcp") flags(syslog-protocol)); }};
destination d_redis {{ redis(host("127.0.0.1") port({self.redis_port}) {auth} command({words}) time-reopen(1)); }};
log {{ source(s_in); destination(d_redis); flags(flow-control); }};
""")

    def environment(self):
        libraries = ":".join(os.path.join(UNPACKED, p) for p in ("usr/lib/syslog-ng", "usr/lib/x86_64-linux-gnu", "usr/lib"))
        return dict(super().environment(), LD_LIBRARY_PATH=libraries)

    def command(self):
        binary = program("syslog-ng", "syslog-ng-core")
        modules = os.path.join(os.path.dirname(binary), "../lib/syslog-ng/3.38")
        return [binary, "-F", "--no-caps", "-f", self.path("syslog-ng.conf"), "-R", self.path("persist"), "-p", self.path("pid"),
                "-c", self.path("ctl"), "--module-path", os.path.realpath(modules), "--stderr"]

    def send(self, *messages, host="web1", app="wazuh"):
        """RFC 5424 lines with octet counting left out: one message a line."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as s:
            for text in messages:
                s.sendall(("<134>1 2026-11-23T18:42:01Z %s %s - - - %s\n" % (host, app, text)).encode())

    def info(self):
        known = super().info()
        known.update(stream=self.stream, form=self.form)
        return known


if __name__ == "__main__":
    main(SyslogNg, ("redis_port", "where Redis listens"), ("redis_password", "its password"), ("form", "alert or fields"))
