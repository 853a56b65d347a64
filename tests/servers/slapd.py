"""A real OpenLDAP directory with the password policy overlay, some people and a service account for Tocsin.

pwdAccountLockedTime locks an account (every bind is refused, result 49) and removing it lets the same password in again.
"""
import os
import subprocess

from common import Server, certificates, free_port, give_away, main, program, unprivileged

SUFFIX = "dc=example,dc=org"
PEOPLE = {  # uid: (given name, surname, password)
    "alice": ("Alice", "Liddell", "alice-old-password"),
    "bob": ("Bob", "Sawyer", "bob-old-password"),
    "carol": ("Carol", "Danvers", "carol-old-password"),
    "dave": ("Dave", "Bowman", "dave-old-password"),
    "svc-backup": ("Backup", "Service", "backup-old-password"),
}


class Slapd(Server):
    name = "slapd"

    def __init__(self, folder=None, port=None, tls=False, people=None):
        super().__init__(folder, port)
        self.tls = tls
        self.people = dict(PEOPLE, **(people or {}))
        self.tls_port = free_port() if tls else None
        self.admin_dn, self.admin_password = "cn=admin," + SUFFIX, "admin-password"
        self.service_dn, self.service_password = "cn=tocsin,ou=services," + SUFFIX, "tocsin-directory-password"

    def dn(self, uid):
        return "uid=%s,ou=people,%s" % (uid, SUFFIX)

    def prepare(self):
        os.makedirs(self.path("db"), mode=0o700, exist_ok=True)
        tls = ""
        if self.tls:
            files = certificates(self.folder)
            tls = "TLSCACertificateFile %(ca)s\nTLSCertificateFile %(cert)s\nTLSCertificateKeyFile %(key)s\n" % files
        schemas = "".join("include /etc/ldap/schema/%s.schema\n" % s for s in ("core", "cosine", "nis", "inetorgperson"))
        self.write("slapd.conf", f"""{schemas}modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
pidfile {self.path("slapd.pid")}
argsfile {self.path("slapd.args")}
{tls}
database mdb
suffix "{SUFFIX}"
rootdn "{self.admin_dn}"
rootpw {self.admin_password}
directory {self.path("db")}
maxsize 67108864
index objectClass,uid,mail eq
overlay ppolicy
ppolicy_default "cn=default,ou=policies,{SUFFIX}"
access to attrs=userPassword
  by dn.exact="{self.service_dn}" manage
  by self write
  by anonymous auth
  by * none
access to *
  by dn.exact="{self.service_dn}" manage
  by users read
  by anonymous auth
""")
        if not os.path.exists(self.path("db", "data.mdb")):
            ldif = self.write("data.ldif", self._ldif())
            self.run(program("slapadd", "slapd"), "-f", self.path("slapd.conf"), "-l", ldif)

    def _ldif(self):
        entries = [f"""dn: {SUFFIX}
objectClass: dcObject
objectClass: organization
dc: example
o: Example
"""]
        for unit in ("people", "services", "policies", "groups"):
            entries.append(f"dn: ou={unit},{SUFFIX}\nobjectClass: organizationalUnit\nou: {unit}\n")
        entries.append(f"""dn: cn=default,ou=policies,{SUFFIX}
objectClass: applicationProcess
objectClass: pwdPolicy
cn: default
pwdAttribute: userPassword
pwdLockout: TRUE
""")
        entries.append(f"""dn: {self.service_dn}
objectClass: applicationProcess
objectClass: simpleSecurityObject
cn: tocsin
userPassword: {self.service_password}
""")
        for number, (uid, (given, surname, password)) in enumerate(sorted(self.people.items()), 10001):
            entries.append(f"""dn: {self.dn(uid)}
objectClass: inetOrgPerson
objectClass: posixAccount
uid: {uid}
cn: {given} {surname}
givenName: {given}
sn: {surname}
mail: {uid}@example.org
manager: {self.dn("dave")}
employeeNumber: {number}
uidNumber: {number}
gidNumber: {number}
homeDirectory: /home/{uid}
userPassword: {password}
""")
        return "\n".join(entries)

    def command(self):
        urls = "ldap://127.0.0.1:%d/" % self.port
        if self.tls:
            urls += " ldaps://127.0.0.1:%d/" % self.tls_port
        return [program("slapd", "slapd"), "-f", self.path("slapd.conf"), "-h", urls, "-d", "0"]

    @property
    def url(self):
        return "ldap://127.0.0.1:%d" % self.port

    def info(self):
        known = super().info()
        known.update(url=self.url, suffix=SUFFIX, admin={"dn": self.admin_dn, "password": self.admin_password},
                     service={"dn": self.service_dn, "password": self.service_password},
                     people={uid: {"dn": self.dn(uid), "password": p[2]} for uid, p in self.people.items()})
        if self.tls:
            known.update(tls_url="ldaps://127.0.0.1:%d" % self.tls_port, ca=self.path("ca.pem"))
        return known

    # ---- looking from outside, with OpenLDAP's own client

    def _client(self, tool, dn, password, *args, stdin=""):
        secret = self.write("client-secret", password)
        give_away(self.folder)
        return subprocess.run([program(tool, "ldap-utils"), "-x", "-H", self.url, "-D", dn, "-y", secret, *args], input=stdin,
                              capture_output=True, text=True, timeout=30, check=False, env=self.environment(), **unprivileged())

    def bind_code(self, uid, password):
        """The LDAP result of a bind: 0 welcome, 49 refused."""
        return self._client("ldapwhoami", uid if "=" in uid else self.dn(uid), password).returncode

    def modify(self, ldif):
        """As the service account; the LDAP result code."""
        return self._client("ldapmodify", self.service_dn, self.service_password, stdin=ldif).returncode

    def lock(self, uid):
        return self.modify(f"dn: {self.dn(uid)}\nchangetype: modify\nadd: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n")

    def unlock(self, uid):
        return self.modify(f"dn: {self.dn(uid)}\nchangetype: modify\ndelete: pwdAccountLockedTime\n")

    def attribute(self, uid, name):
        """The values of one attribute of a person's entry, operational ones too."""
        done = self._client("ldapsearch", self.service_dn, self.service_password, "-LLL", "-o", "ldif-wrap=no", "-b", self.dn(uid),
                            "-s", "base", "(objectClass=*)", name)
        prefix = name + ": "
        return [line[len(prefix):] for line in done.stdout.splitlines() if line.startswith(prefix)]


if __name__ == "__main__":
    main(Slapd)
