"""A real PostgreSQL with roles for applications and one for Tocsin that may change their passwords."""
import os
import signal
import subprocess

from common import Server, certificates, give_away, main, program, unprivileged

ROLES = {"app_orders": "orders-old-password", "app_reports": "reports-old-password", "alice": "alice-database-password"}


class Postgres(Server):
    name = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown
    database = "app"

    def __init__(self, folder=None, port=None, tls=False):
        super().__init__(folder, port)
        self.tls = tls
        self.admin, self.admin_password = "postgres", "admin-password"
        self.service, self.service_password = "tocsin", "tocsin-database-password"

    def prepare(self):
        if os.path.exists(self.path("data")):
            return
        password = self.write("admin-secret", self.admin_password)
        self.run(program("initdb", "postgresql"), "-D", self.path("data"), "-U", self.admin, "-A", "scram-sha-256",
                 "--pwfile", password, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
        os.unlink(password)
        if self.tls:
            certificates(self.folder)
        self.new = True

    def command(self):
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off",
                    "max_connections": 50, "shared_buffers": "16MB", "log_statement": "none"}
        if self.tls:
            settings.update(ssl="on", ssl_cert_file=self.path("cert.pem"), ssl_key_file=self.path("key.pem"))
        flags = [x for k, v in settings.items() for x in ("-c", "%s=%s" % (k, v))]
        return [program("postgres", "postgresql"), "-D", self.path("data"), *flags]

    def ready(self):
        return self.psql(self.admin, self.admin_password, "SELECT 1", "postgres").returncode == 0

    def start(self, timeout=60):
        super().start(timeout)
        if getattr(self, "new", False):
            self.new = False
            roles = "".join("CREATE ROLE %s LOGIN PASSWORD '%s';" % item for item in ROLES.items())
            self.sql(f"CREATE ROLE {self.service} LOGIN CREATEROLE PASSWORD '{self.service_password}' IN ROLE pg_signal_backend;" + roles,
                     "postgres")
            self.sql("CREATE DATABASE %s" % self.database, "postgres")
        return self

    def psql(self, role, password, sql, database=None):
        """One statement through psql; the finished process."""
        give_away(self.folder)
        env = dict(self.environment(), PGPASSWORD=password, PGCONNECT_TIMEOUT="10")
        return subprocess.run([program("psql", "postgresql-client"), "-X", "-A", "-t", "-h", "127.0.0.1", "-p", str(self.port), "-U", role,
                               "-v", "ON_ERROR_STOP=1", "-d", database or self.database, "-c", sql], capture_output=True, text=True,
                              timeout=60, check=False, env=env, **unprivileged())

    def sql(self, sql, database=None):
        """As the superuser; the rows as text."""
        done = self.psql(self.admin, self.admin_password, sql, database)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    def password_works(self, role, password):
        return self.psql(role, password, "SELECT 1").returncode == 0

    def info(self):
        known = super().info()
        known.update(database=self.database, admin={"role": self.admin, "password": self.admin_password},
                     service={"role": self.service, "password": self.service_password}, roles=ROLES)
        if self.tls:
            known["ca"] = self.path("ca.pem")
        return known


if __name__ == "__main__":
    main(Postgres)
