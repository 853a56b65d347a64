"""A real nginx that answers every product-like request and writes down each with its idempotency key.

/status/<code> answers with that code (429 and 503 with Retry-After: 1); /json/<anything> answers {"ok":true,"id":"42"} with 200,
a POST there 201; everything else 200 and the same body. The access log has a line of tab separated fields for each
request: time, method, URI, status, Idempotency-Key, Authorization present (yes/no), connection number, time in seconds
with milliseconds.
"""
import os

from common import Server, certificates, free_port, main, program

CODES = (200, 201, 202, 204, 301, 400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504)


class Nginx(Server):
    name = "nginx"

    def __init__(self, folder=None, port=None, tls=False, workers=1, log=True):
        super().__init__(folder, port)
        self.tls, self.workers, self.keep_log = tls, workers, log
        self.tls_port = free_port() if tls else None

    def prepare(self):
        for part in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
            os.makedirs(self.path("temp", part), mode=0o700, exist_ok=True)
        listen = "listen 127.0.0.1:%d backlog=4096;" % self.port
        if self.tls:
            files = certificates(self.folder)
            listen += " listen 127.0.0.1:%d ssl; ssl_certificate %s; ssl_certificate_key %s;" % (self.tls_port, files["cert"], files["key"])
        temp = "".join("%s_temp_path %s; " % (d, self.path("temp", p)) for d, p in
                       (("client_body", "body"), ("proxy", "proxy"), ("fastcgi", "fastcgi"), ("uwsgi", "uwsgi"), ("scgi", "scgi")))
        codes = "".join(self._code(c) for c in CODES)
        log = "access_log %s keyed;" % self.path("access.log") if self.keep_log else "access_log off;"
        self.write("nginx.conf", f"""daemon off;
worker_processes {self.workers};
pid {self.path("nginx.pid")};
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  {temp}
  map $http_authorization $authorized {{ "" no; default yes; }}
  log_format keyed '$time_iso8601\\t$request_method\\t$request_uri\\t$status\\t$http_idempotency_key\\t$authorized\\t$connection\\t$msec';
  {log}
  keepalive_timeout 300s;
  keepalive_requests 100000000;
  client_max_body_size 16m;
  default_type application/json;
  server {{
    {listen}
    server_name localhost;
{codes}    location / {{
      if ($request_method = POST) {{ return 201 '{{"ok":true,"id":"42"}}'; }}
      return 200 '{{"ok":true,"id":"42"}}';
    }}
  }}
}}
""")

    @staticmethod
    def _code(code):
        extra = ""
        if code in (429, 503):
            extra = "add_header Retry-After 1 always; "
        if code == 301:
            return "    location = /status/301 { return 301 /json/moved; }\n"
        body = "" if code == 204 else " '{\"code\":%d}'" % code
        return "    location = /status/%d { %sreturn %d%s; }\n" % (code, extra, code, body)

    def command(self):
        return [program("nginx", "nginx-light"), "-e", "stderr", "-p", self.folder, "-c", self.path("nginx.conf")]

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    def requests(self):
        """What the access log holds: a list of dicts."""
        names = ("time", "method", "uri", "status", "key", "authorized", "connection", "msec")
        try:
            with open(self.path("access.log"), encoding="utf-8", errors="replace") as f:
                return [dict(zip(names, line.rstrip("\n").split("\t"))) for line in f if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def info(self):
        known = super().info()
        known.update(url=self.url, access_log=self.path("access.log"))
        if self.tls:
            known.update(tls_url="https://localhost:%d" % self.tls_port, ca=self.path("ca.pem"))
        return known


if __name__ == "__main__":
    main(Nginx)
