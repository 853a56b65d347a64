"""The real servers that the other tests lean on do what those tests take for granted, seen by their own clients."""
import json
import smtplib
import ssl
import urllib.error
import urllib.request

from harness import Missing, ReplyError, done, is_, like, ok, skip, wait_until

from alertmanager import Alertmanager
from nginx import Nginx
from postgres import Postgres
from redis import Redis
from rt import RT
from sink import Sink
from slapd import Slapd
from smtp import Smtp
from syslogng import SyslogNg


def directory():
    with Slapd(tls=True) as s:
        is_(s.bind_code("alice", "alice-old-password"), 0, "slapd: the right password binds")
        is_(s.bind_code("alice", "wrong"), 49, "slapd: a wrong password is refused")
        is_(s.lock("alice"), 0, "slapd: the service account may lock")
        is_(s.bind_code("alice", "alice-old-password"), 49, "slapd: a locked account is refused with its own password")
        is_(s.bind_code("bob", "bob-old-password"), 0, "slapd: others are not")
        is_(s.unlock("alice"), 0, "slapd: the lock can be lifted")
        is_(s.bind_code("alice", "alice-old-password"), 0, "slapd: the same password works again")


def database():
    with Postgres() as s:
        ok(s.password_works("app_orders", "orders-old-password"), "postgres: the role's password works")
        is_(s.psql(s.service, s.service_password, "ALTER ROLE app_orders PASSWORD 'another'").returncode, 0, "postgres: tocsin may change it")
        ok(not s.password_works("app_orders", "orders-old-password"), "postgres: the old one is refused")
        ok(s.password_works("app_orders", "another"), "postgres: the new one works")


def tracker():
    with RT() as s:
        status, ticket = s.call("POST", "/ticket", {"Queue": s.queue, "Subject": "A test", "Content": "text"})
        is_(status, 201, "rt: a ticket is made")
        is_(s.call("POST", "/ticket/%s/comment" % ticket["id"], {"Content": "note", "ContentType": "text/plain"})[0], 201, "rt: a comment is kept")
        is_(s.call("GET", "/ticket/%s" % ticket["id"], token="1-1-bad")[0], 401, "rt: a bad token is refused")
        is_(s.call("POST", "/ticket", {"Queue": "Nowhere", "Subject": "x"})[0], 403, "rt: an unknown queue is refused")


def queue():
    with Redis(tls=True) as s:
        with s.client("siem", s.siem_password) as siem:
            like(siem.call("XADD", "tocsin:alerts", "*", "alert", "{}").decode(), r"^\d+-0$", "redis: a SIEM may add alerts")
            try:
                refusal = siem.call("XLEN", "tocsin:alerts")
            except ReplyError as error:
                refusal = str(error)
            like(str(refusal), "NOPERM", "redis: and nothing else")
        s.restart()
        with s.client() as admin:
            is_(admin.call("XLEN", "tocsin:alerts"), 1, "redis: what was acknowledged survives a restart")
        ok(s.password_works("app", s.app_password) and not s.password_works("app", "wrong"), "redis: passwords are checked")


def web():
    with Nginx(tls=True) as s:
        request = urllib.request.Request(s.url + "/json/x", data=b"{}", headers={"Idempotency-Key": "k-1"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            is_((answer.status, json.load(answer)["id"]), (201, "42"), "nginx: a POST is answered")
        try:
            urllib.request.urlopen(s.url + "/status/429", timeout=10)
        except urllib.error.HTTPError as error:
            is_((error.code, error.headers["Retry-After"]), (429, "1"), "nginx: refuses when asked to")
        ok(wait_until(lambda: len(s.requests()) == 2, 10), "nginx: both requests are in its log")
        is_(s.requests()[0]["key"], "k-1", "nginx: with the idempotency key")
        trust = ssl.create_default_context(cafile=s.path("ca.pem"))
        with urllib.request.urlopen(s.info()["tls_url"], context=trust, timeout=10) as answer:
            is_(answer.status, 200, "nginx: TLS by the test's own authority")


def alerts():
    with Sink() as hook, Alertmanager(hook.url + "/hook") as s:
        s.fire({"alertname": "LeakedKey", "user": "alice"}, {"summary": "a key was seen"})
        ok(wait_until(lambda: hook.seen("/hook"), 20), "alertmanager: fires at the webhook")
        first = hook.seen("/hook")[0]
        is_((first["headers"].get("Authorization"), json.loads(first["body"])["status"]), ("Bearer webhook-token", "firing"),
            "alertmanager: with its token")
        s.fire({"alertname": "LeakedKey", "user": "alice"}, ends="now")
        ok(wait_until(lambda: any(json.loads(r["body"])["status"] == "resolved" for r in hook.seen("/hook")), 20), "alertmanager: sends the resolution")


def mail():
    with Smtp(tls=True, password="secret") as s:
        client = smtplib.SMTP("127.0.0.1", s.port, timeout=10)
        client.starttls(context=ssl._create_unverified_context())
        client.login("tocsin", "secret")
        client.sendmail("tocsin@example.org", ["alice@example.org"], "Subject: hello\r\n\r\ntext\r\n")
        is_([(m["to"], m["tls"]) for m in s.messages], [(["alice@example.org"], True)], "smtp: a message is kept")
        s.refuse["rcpt"] = "550 no such person"
        try:
            client.sendmail("tocsin@example.org", ["bob@example.org"], "text")
            code = None
        except smtplib.SMTPRecipientsRefused as refused:
            code = refused.recipients["bob@example.org"][0]
        is_(code, 550, "smtp: and one is refused when told so")
        client.close()


def shipper():
    with Redis() as redis, SyslogNg(redis.port, redis.admin_password) as s, redis.client() as client:
        s.send('{"id": "first"}', '{"id": "second"}')
        ok(wait_until(lambda: client.call("XLEN", "tocsin:alerts") == 2, 20), "syslog-ng: ships both messages into the queue")
        is_([e[1] for e in client.call("XRANGE", "tocsin:alerts", "-", "+")], [[b"alert", b'{"id": "first"}'], [b"alert", b'{"id": "second"}']],
            "syslog-ng: unchanged, in order")


for name, test in (("slapd", directory), ("postgres", database), ("rt", tracker), ("redis", queue), ("nginx", web), ("alertmanager", alerts),
                   ("smtp", mail), ("syslog-ng", shipper)):
    try:
        test()
    except Missing as missing:
        skip(name, str(missing))
done()
