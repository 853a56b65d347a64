"""Containment on real servers, proven by asking them: a lock that the same password survives, a new password, sessions that end and are counted."""
import os
import subprocess

from harness import Raw, Tocsin, done, is_, like, ok, program, unlike
from postgres import Postgres
from slapd import SUFFIX, Slapd

OLD, ROLE = "orders-old-password", "app_orders"


def tried(tocsin, action, *words):
    result = tocsin.run("connector", "try", action, "--because", "seen at two places", "--yes", "--json", *words)
    return result.json() if result.status == 0 else {"failed": result.err + result.out}


def session(database):
    """One that is open, and stays open for as long as nobody ends it."""
    child = subprocess.Popen([program("psql", "postgresql-client"), "-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-p", str(database.port), "-U", ROLE, "app"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, env=dict(os.environ, PGPASSWORD=OLD))
    child.stdin.write("SELECT 'here';\n")
    child.stdin.flush()
    is_(child.stdout.readline(), "here\n", "a session is open")
    return child


def account(tocsin, directory):
    is_(directory.bind_code("alice", "alice-old-password"), 0, "before: alice's password works")
    result = tried(tocsin, "ldap.lock_account", "uid=alice")
    ok("failed" not in result, "the account is locked: %s" % result)
    is_(directory.bind_code("alice", "alice-old-password"), 49, "the directory refuses the right password")
    is_(directory.bind_code("bob", "bob-old-password"), 0, "and nobody else's")
    like(tocsin.run("contained").out, r"ldap.lock_account  user alice", "it is listed")
    is_(tocsin.run("release", "user=alice", "--because", "it was her", "--yes").status, 0, "released")
    is_(directory.bind_code("alice", "alice-old-password"), 0, "the same password works again")


def role(tocsin, database):
    open_ones = [session(database), session(database)]
    result = tried(tocsin, "postgresql.rotate_password", "role=" + ROLE)
    like(str(result), r"'sessions_ended': 2\b", "the password is new; two sessions were open, and are ended")
    for child in open_ones:
        out, _ = child.communicate("SELECT 'still here';\n", timeout=20)
        unlike(out, r"(?m)^still here", "an open session is over")
    ok(not database.password_works(ROLE, OLD), "the old password is refused")
    with open(os.path.join(tocsin.folder, "new.password"), encoding="utf-8") as f:
        new = f.read().strip()
    ok(database.password_works(ROLE, new), "the delivered one works")
    unlike(tocsin.log() + str(result), new, "and is neither in the log nor in the answer")


with Slapd() as directory_, Postgres() as database_:
    tocsin_ = Tocsin({}, env={"LDAP_PASSWORD": directory_.service_password, "PG_PASSWORD": database_.service_password})
    tocsin_.settings({"connectors": {
        "ldap": Raw('ldap { url = "%s", bind_dn = "%s", password = secret "env:LDAP_PASSWORD", base = "ou=people,%s" }' % (directory_.url, directory_.service_dn, SUFFIX)),
        "postgresql": Raw('postgresql { host = "127.0.0.1", port = %d, dbname = "app", user = "tocsin", password = secret "env:PG_PASSWORD", sslmode = "disable",\n'
                          '  deliver = { app_orders = "file:%s/new.password" } }' % (database_.port, tocsin_.folder))}})
    with tocsin_:
        account(tocsin_, directory_)
        role(tocsin_, database_)
        is_(tocsin_.terminate(), 0, "it stops in order")
done()
