"""A real Request Tracker 5 on SQLite: a queue "Security", a user "tocsin" and a token for its REST 2.0 interface.

Works from the installed package as well as from the one that tests/install unpacks into the build folder (installing it
would bring a mail server and a configured database with it).
"""
import json
import os
import re
import urllib.error
import urllib.request

from common import UNPACKED, Missing, Server, main, program

HOME = "usr/share/request-tracker5"
LIBRARY = re.compile(r"/usr/share/request-tracker5|/usr/local/share/request-tracker5|/var/(?:lib|cache)/request-tracker5|/etc/request-tracker5")

SEED = r"""
use strict; use warnings;
use RT; RT::LoadConfig(); RT::Init();
sub must { my ($ok, $message) = @_; die "$message\n" unless $ok; }
my $system = RT->SystemUser;
my $queue = RT::Queue->new($system);
must($queue->Create(Name => 'Security', Description => 'Incidents'));
my $user = RT::User->new($system);
must($user->Create(Name => 'tocsin', EmailAddress => 'tocsin@example.org', Privileged => 1));
must($user->PrincipalObj->GrantRight(Object => $queue, Right => $_))
  for qw(SeeQueue ShowTicket CreateTicket CommentOnTicket ReplyToTicket ModifyTicket ShowTicketComments OwnTicket ShowOutgoingEmail);
my $token = RT::AuthToken->new($system);
my ($ok, $message, $string) = $token->Create(Owner => $user->id, Description => 'tests');
must($ok, $message);
print "$string\n";
"""


def home():
    for root in ("/", UNPACKED):
        if os.path.exists(os.path.join(root, HOME, "lib/RT.pm")):
            return os.path.join(root, HOME)
    raise Missing("Request Tracker is not here (tests/install test fetches it)")


class RT(Server):
    name = "rt"
    queue = "Security"
    user = "tocsin"
    token = None

    def prepare(self):
        perl = program("perl", "perl")
        if self.token is None:
            self._relocate()
        self.write("etc/RT_SiteConfig.pm", f"""
Set($rtname, 'example.org');
Set($Organization, 'example.org');
Set($WebDomain, '127.0.0.1');
Set($WebPort, {self.port});
Set($DatabaseType, 'SQLite');
Set($DatabaseName, '{self.path("rt.sqlite")}');
Set($MailCommand, 'mbox');
Set($LogToSyslog, undef);
Set($LogToSTDERR, 'warning');
Set($Timezone, 'UTC');
1;
""")
        if self.token is None:
            self.run(perl, self.path("rt-setup-database"), "--action", "init", "--skip-create", "--dba", "", "--dba-password", "")
            self.token = self.run(perl, *self._libraries(), "-e", SEED).strip().splitlines()[-1]

    def _relocate(self):
        # RT's own paths are compiled into three files: copies of them point to where this one lies.
        base = home()
        places = {"/usr/share/request-tracker5": base, "/etc/request-tracker5": self.path("etc"),
                  "/usr/local/share/request-tracker5": self.path("local"), "/var/lib/request-tracker5": self.path("var"),
                  "/var/cache/request-tracker5": self.path("cache")}
        for folder in ("etc", "local", "var", "cache/mason_data", "cache/session_data", "lib/RT"):
            os.makedirs(self.path(folder), mode=0o700, exist_ok=True)
        sbin = os.path.join(base, "../../sbin")
        copies = {os.path.join(base, "lib/RT/Generated.pm"): "lib/RT/Generated.pm", os.path.join(base, "libexec/rt-server"): "rt-server",
                  os.path.join(sbin, "rt-setup-database-5"): "rt-setup-database"}
        for source, copy in copies.items():
            with open(source, encoding="utf-8") as f:
                text = f.read()
            text = LIBRARY.sub(lambda m: places[m.group()], text)
            # The scripts put their library folders first: ours, with the copied Generated.pm, must come before.
            text = text.replace('"%s/lib");' % self.path("local"), '"%s");' % self.path("lib"))
            self.write(copy, text)

    def _libraries(self):
        return ["-I", self.path("lib"), "-I", os.path.join(home(), "lib")]

    def command(self):
        return [program("perl", "perl"), self.path("rt-server"), "--host", "127.0.0.1", "--port", str(self.port)]

    @property
    def url(self):
        return "http://127.0.0.1:%d/REST/2.0" % self.port

    def call(self, method, path, body=None, token=None):
        """(status, JSON or None) of a REST call, to look from outside at what happened."""
        request = urllib.request.Request(self.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
                                         headers={"Authorization": "token " + (token or self.token), "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as refused:
            return refused.code, None

    def info(self):
        known = super().info()
        known.update(url=self.url, web="http://127.0.0.1:%d" % self.port, token=self.token, queue=self.queue, user=self.user)
        return known


if __name__ == "__main__":
    main(RT)
