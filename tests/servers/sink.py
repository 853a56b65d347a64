"""An HTTP server in the test's own process that keeps every request and answers as told, well or badly.

sink.answer("/path", status=…, body=…, headers={…}) for good answers; sink.behave("/path", "stall"|"close"|"half"|"huge"|
"garbage"|"refuse") for bad ones: never answering, closing at once, closing in the middle of the body, sending 1 GB,
sending what is not HTTP, resetting the connection. tls=True presents a certificate of a throw-away authority
(sink.ca), tls="bad" one that is for another name.
"""
import http.server
import json
import os
import shutil
import socket
import socketserver
import ssl
import struct
import tempfile
import threading

from common import certificates, main


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120

    def setup(self):
        super().setup()
        self.server.sink.connections.append(self.client_address)

    def any(self):
        sink = self.server.sink
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = self._chunks()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        sink.keep({"method": self.command, "path": self.path, "headers": dict(self.headers.items()), "body": body,
                   "connection": self.client_address[1]})
        rule = sink.rule(self.path)
        if callable(rule):
            rule = rule(sink.requests[-1])
        if isinstance(rule, str):
            getattr(self, "bad_" + rule)()
            return
        self.reply(rule)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = any

    def _chunks(self):
        body = b""
        while True:
            size = int(self.rfile.readline().split(b";")[0], 16)
            body += self.rfile.read(size)
            self.rfile.readline()
            if not size:
                return body

    def reply(self, rule):
        body = rule.get("body", {"ok": True})
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        body = body.encode() if isinstance(body, str) else body
        self.send_response(rule.get("status", 200))
        headers = {"Content-Type": "application/json", "Content-Length": len(body)}
        headers.update(rule.get("headers", {}))
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format, *args):
        pass

    def bad_stall(self):
        self.server.sink.stopping.wait(120)
        self.close_connection = True

    def bad_close(self):
        self.close_connection = True

    def bad_refuse(self):
        # An RST instead of a FIN: what a crashed machine's kernel says.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
        self.close_connection = True

    def bad_half(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"half":')
        self.close_connection = True

    def bad_huge(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(1 << 30))
        self.end_headers()
        piece = b"x" * 65536
        for _ in range((1 << 30) // len(piece)):
            self.wfile.write(piece)

    def bad_garbage(self):
        self.wfile.write(b"\x00\xff this is not HTTP\r\n\r\n")
        self.close_connection = True


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512

    def get_request(self):
        connection, address = super().get_request()
        if self.sink.context:
            # The handshake belongs to the handler's thread, not to the one that accepts.
            connection = self.sink.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request, client_address):
        pass


class Sink:
    def __init__(self, folder=None, port=0, tls=False):
        self.folder, self.wanted_port, self.tls = folder, port, tls
        self.requests, self.connections, self.rules = [], [], {}
        self.lock, self.stopping, self.context = threading.Lock(), threading.Event(), None
        self.own_folder = folder is None

    def start(self):
        if self.tls:
            self.folder = self.folder or tempfile.mkdtemp(prefix="tocsin-sink-")
            hosts = ("elsewhere.example",) if self.tls == "bad" else ("localhost", "127.0.0.1")
            files = certificates(self.folder, hosts)
            self.ca = files["ca"]
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(files["cert"], files["key"])
        self.listener = _Listener(("127.0.0.1", self.wanted_port), _Handler)
        self.listener.sink = self
        self.port = self.listener.server_address[1]
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()
        return self

    @property
    def url(self):
        return "%s://%s:%d" % ("https" if self.tls else "http", "localhost" if self.tls else "127.0.0.1", self.port)

    def answer(self, path="/", status=200, body=None, headers=None):
        self.rules[path] = {"status": status, "body": {"ok": True} if body is None else body, "headers": headers or {}}

    def behave(self, path, how):
        """how: a name of the list above, or a function(request) that returns one or an answer's dict."""
        self.rules[path] = how

    def rule(self, path):
        """The longest prefix wins; {} answers 200."""
        fitting = [p for p in self.rules if path.startswith(p)]
        return self.rules[max(fitting, key=len)] if fitting else {}

    def keep(self, request):
        with self.lock:
            self.requests.append(request)

    def seen(self, path="/"):
        with self.lock:
            return [r for r in self.requests if r["path"].startswith(path)]

    def info(self):
        return {"host": "127.0.0.1", "port": self.port, "url": self.url}

    def _spawn(self):
        """Nothing to spawn: it lives in this process."""

    def stop(self):
        self.stopping.set()
        self.listener.shutdown()
        self.listener.server_close()
        if self.folder and self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


if __name__ == "__main__":
    main(Sink)
