-- A leaked payment-service key, found while logs are being trimmed to save cost: what happened before Monday is about to be deleted by ourselves.
-- Two hours. What is trained: keeping evidence that a cost project is deleting, changing a key that the checkout lives on, and answering the acquirer with half a log.

local function wazuh(id, level, what, technique, more)
  local doc = {
    timestamp = "{time}", id = "1795800000." .. id, agent = { id = "310", name = "pay01", ip = "10.50.0.10" }, manager = { name = "wazuh-manager" }, decoder = { name = "json" },
      location = "/var/log/pay/api.log",
    rule = { level = level, id = "1007" .. id, description = what, firedtimes = 1, mail = true, groups = { "payment", "attack" }, mitre = { id = { technique } } },
  }
  for name, value in pairs(more) do doc[name] = value end
  return { source = "wazuh", body = doc }
end

return scenario {
  title    = "A leaked payment key, and logs trimmed to save cost",
  summary  = "The live key of the payment service was public, refunds go to strangers, and the logs that would show since when are deleted at half past. " ..
    "Stop the money, keep the logs, tell those who must know.",
  duration = "2h",

  roles = {
    lead     = "Leads the incident: decides, assigns, keeps the timeline",
    payments = "Runs the payment service and its keys",
    platform = "Runs hosts and logs; owns the project that trims them",
    finance  = "Accounts, refunds, the acquirer",
    legal    = "Contracts, card schemes' rules, privacy",
    comms    = "Speaks with customers and the press",
  },

  world = {
    accounts = { ["svc-pay"] = { name = "Payment service", owner = "payments", privileged = true } },
    hosts = { pay01 = { owner = "payments", state = "up", note = "payment API, the only one" } },
    services = {
      checkout = { owner = "payments", state = "up", note = "2,100 orders an hour; reads the key at start" },
      logs     = { owner = "platform", state = "trimming", note = "API logs; since yesterday kept for three days instead of ninety" },
    },
  },

  injects = {
    { id = "start", at = "0s", fact = "Thursday, 14:00, a week before the big sale. Since yesterday a project trims logs: it is to save 9,000 a month." },

    { id = "key-found", at = "2m", alert = { source = "github", body = {
      action = "created",
      alert = { number = 52, created_at = "{time-30s}", updated_at = "{time-30s}", state = "open", secret_type = "payment_service_live_key",
        secret_type_display_name = "Payment service live key",
        validity = "active", publicly_leaked = true, resolution = null, push_protection_bypassed = true, html_url = "https://github.com/acme/checkout/security/secret-scanning/52",
        first_location_detected = { path = "examples/refund.http", start_line = 4 } },
      repository = { id = 8, name = "checkout", full_name = "acme/checkout", private = false, owner = { login = "acme", type = "Organization" } },
      organization = { login = "acme" }, sender = { login = "dana", id = 21, type = "User" },
    } } },

    { id = "trim-notice", at = "5m", message = { to = "platform", text =
      "Reminder of your own job: at 14:30 the API logs older than three days are deleted, in the backups too. Estimated saving this month: 2,400." } },
    { id = "hold-question", after = "trim-notice", delay = "2m", question = {
      to = "platform", text = "The trimming job starts at 14:30. What happens with it?", options = { "stop it, and hold all logs", "let it run: it was decided" },
        otherwise = "let it run: it was decided", within = "15m" } },

    { id = "refund-odd", at = "11m", alert = wazuh("21", 13, "Refund by the payment service's account from an address outside.", "T1078", {
      full_log = "POST /v1/refunds 200 user=svc-pay ip=198.51.100.201 amount=480.00", data = { srcip = "198.51.100.201", srcuser = "svc-pay" } }) },

    { id = "latency", at = "14m", alert = { source = "alertmanager", noise = true, body = {
      version = "4", groupKey = "{}:{alertname=\"CheckoutSlow\"}", truncatedAlerts = 0, status = "firing", receiver = "tocsin", groupLabels = { alertname = "CheckoutSlow" },
      commonLabels = { alertname = "CheckoutSlow" }, commonAnnotations = { summary = "p95 over 2 s" }, externalURL = "http://alertmanager.example:9093",
      alerts = array { { status = "firing", labels = { alertname = "CheckoutSlow", instance = "shop-2:9100", severity = "warning" }, annotations = { summary = "checkout is slow" },
        startsAt = "{time-5m}", endsAt = "0001-01-01T00:00:00Z", generatorURL = "http://prometheus.example:9090/graph", fingerprint = "00c0ffee00c0fff1" } },
    } } },

    { id = "four-places", at = "18m", message = { to = { "payments", "lead" }, text =
      "The key stands in four services, one of them a batch that nobody has touched for two years. A new key means: checkout is down for about twenty minutes, in the busiest hour." } },
    { id = "rotate-question", after = "four-places", delay = "2m", question = {
      to = "lead", text = "When is the key changed?", options = { "now, checkout goes down for it", "at night, and watch the refunds until then" },
        otherwise = "at night, and watch the refunds until then", within = "12m" } },

    { id = "logs-gone", at = "30m", unless = { answered = "hold-question", with = "stop it, and hold all logs" }, world = { services = { logs = { state = "trimmed" } } } },
    { id = "logs-gone-seen", after = "logs-gone", delay = "4m", message = { to = { "platform", "lead" }, text =
      "The job has run. API logs begin on Monday. The commit with the key is from the Friday before." } },
    { id = "logs-held", at = "30m", only_if = { answered = "hold-question", with = "stop it, and hold all logs" }, fact =
      "The job is stopped and the logs are on hold. They show it: the first refund from outside was on Saturday, 03:12." },

    { id = "sum", at = "36m", message = { to = { "finance", "payments" }, text =
      "212 refunds to three cards since Saturday, 98,400 in all. They look like ours: each refers to an order that exists." } },
    { id = "refunds-go-on", at = "45m", unless = { answered = "rotate-question", with = "now, checkout goes down for it" }, alert = wazuh("22", 13,
      "Refunds by the payment service's account, ten in a minute.", "T1078", { full_log = "POST /v1/refunds 200 user=svc-pay ip=198.51.100.201 amount=990.00",
        data = { srcip = "198.51.100.201", srcuser = "svc-pay" } }) },
    { id = "checkout-down", after = { answered = "rotate-question", with = "now, checkout goes down for it" }, delay = "5m", call = { to = { "comms", "lead" },
      from = "Head of sales", text =
      "\"Nobody can pay! Do you know what an hour of this costs? Who has decided that, and until when?\"" } },

    { id = "acquirer", at = "52m", call = { to = { "finance", "legal" }, from = "The acquirer's fraud desk", text =
      "\"Three cards with 212 refunds from you. We freeze your settlement at 17:00 unless we know what this is. Was card data touched?\"" } },
    { id = "acquirer-question", after = "acquirer", delay = "3m", question = {
      to = "finance", text = "What does the acquirer hear?", options = { "what is known, in writing, before 17:00", "that we look into it", "nothing before legal has it" },
        otherwise = "that we look into it", within = "20m" } },

    { id = "shell", at = "62m", alert = wazuh("23", 15, "Shell started by the payment API.", "T1059", {
      full_log = "type=EXECVE a0=\"sh\" a1=\"-c\" a2=\"id; env\"", decoder = { name = "auditd" }, location = "/var/log/audit/audit.log",
      data = { audit = { exe = "/usr/bin/sh", pid = "8812", command = "sh" } } }) },
    { id = "one-host", at = "65m", message = { to = "payments", text =
      "pay01 is the only one. Cut off means no payments until a second one is built: forty minutes, if the image is right." } },

    { id = "cost", at = "74m", message = { to = { "finance", "platform" }, text = "The controller: \"Who has stopped the trimming? That costs 300 a day. Until when?\"" } },
    { id = "cost-question", after = "cost", delay = "2m", question = {
      to = "finance", text = "How long are the logs held?", options = { "until the case is closed, and ninety days for payments from now on", "until Friday", "trim tonight" },
        otherwise = "until Friday", within = "15m" } },

    { id = "cards", at = "84m", message = { to = "legal", text =
      "The API returns the last four digits, names and addresses of whoever it refunds. 212 people. The card schemes' rules name 24 hours for the acquirer, the authority's clock is 72." } },
    { id = "notify-question", after = "cards", delay = "3m", question = {
      to = "legal", text = "What is notified, and until when?", options = { "acquirer within 24 hours, authority within 72, both written down", "the acquirer knows already",
        "nothing: no full card numbers" },
      otherwise = "the acquirer knows already", within = "15m" } },

    { id = "customer", at = "92m", call = { to = "comms", from = "A customer", text =
      "\"I got a refund that I did not ask for, and then a call from somebody who wants it back. Was that you?\"" } },
    { id = "before-monday", at = "100m", message = { to = { "platform", "legal" }, text =
      "The acquirer's next question: \"Since when, and how do you know?\" Say what shows it, and what no longer can be shown. The payment service's own statements are still there." } },
    { id = "hand-over", at = "111m", fact = "Nine minutes are left: what is closed, what is still in force, who has the deadlines." },
  },

  answers = {
    { action = "ldap.lock_account", params = { uid = "svc-pay" }, latency = "2s" },
    { action = "edr.isolate_host", params = { host = "pay01" }, latency = "5s" },
    { action = "rt.*", from = "acquirer", lasts = "10m", fails = { kind = "unavailable", message = "503 Service Unavailable" } },
    { action = "postgresql.role_exists", fails = { kind = "refused", message = "the leaked key opens no database" } },
  },

  objectives = {
    { id = "awake", text = "Somebody attends to the leaked key within 5 minutes", judge = { acknowledged = true, since = "key-found", within = "5m" },
      gap = { owner = "lead", days = 14, text = "Page somebody for leaked live keys, at any hour" } },
    { id = "logs", text = "The logs are held before the job deletes them", judge = { answered = "hold-question", with = "stop it, and hold all logs", within = "30m" },
      gap = { owner = "platform", days = 30, text = "Give every trimming job a stop that the person on call can pull" } },
    { id = "account", text = "The payment service's account is contained within 15 minutes of the first strange refund", judge = { contained = "user=svc-pay", since = "refund-odd",
      within = "15m" },
      gap = { owner = "payments", days = 30, text = "Let refunds be stopped without stopping payments" } },
    { id = "key", text = "The key is changed at once, not at night", judge = { answered = "rotate-question", with = "now, checkout goes down for it" },
      gap = { owner = "payments", days = 60, text = "Make the key changeable without an outage, and practise it" } },
    { id = "acquirer", text = "The acquirer gets a written answer in time", judge = { answered = "acquirer-question", with = "what is known, in writing, before 17:00" },
      gap = { owner = "finance", days = 30, text = "Name who speaks with the acquirer, and what may be said at once" } },
    { id = "evidence", text = "Logs and the host's memory are secured, with digests", judge = { note = { "digest", "memory dump", "snapshot" }, before = "before-monday" },
      gap = { owner = "platform", days = 30, text = "Write into the runbook how logs are secured so that an acquirer believes them" } },
    { id = "retention", text = "Payment logs are kept as long as they are needed, whatever it costs", judge = { answered = "cost-question",
      with = "until the case is closed, and ninety days for payments from now on" },
      gap = { owner = "finance", days = 60, text = "Decide how long which logs are kept by what they must show, then by cost" } },
    { id = "deadlines", text = "24 and 72 hours are known and written down",
      judge = { all = { { answered = "notify-question", with = "acquirer within 24 hours, authority within 72, both written down" }, { note = { "24 hours", "24h", "24 h" } },
        { note = { "72 hours", "72h", "72 h" } } } },
      gap = { owner = "legal", days = 14, text = "Put the card schemes' and the authority's deadlines into the runbook" } },
  },

  script = {
    { by = "lead", after = "key-found", delay = "2m", note = "I have it. Payments: what can the key do? Platform: what do the logs show?" },
    { by = "platform", answer = "hold-question", with = "stop it, and hold all logs", delay = "3m" },
    { by = "payments", answer = "Which database role does the credential in acme/checkout open", with = "none", delay = "4m" },
    { by = "lead", answer = 'ldap.lock_account on {"user":"svc-pay"}', with = "approve", delay = "4m" },
    { by = "lead", answer = "rotate-question", with = "now, checkout goes down for it", delay = "4m" },
    { by = "platform", after = "logs-held", delay = "10m", note = "Logs since August copied to the evidence share, digest written into the ticket." },
    { by = "finance", answer = "acquirer-question", with = "what is known, in writing, before 17:00", delay = "7m" },
    { by = "payments", answer = 'edr.isolate_host on {"host":"pay01"}', with = "approve", delay = "6m" },
    { by = "finance", answer = "cost-question", with = "until the case is closed, and ninety days for payments from now on", delay = "4m" },
    { by = "legal", answer = "notify-question", with = "acquirer within 24 hours, authority within 72, both written down", delay = "5m" },
    { by = "legal", after = { answered = "notify-question" }, delay = "2m", note = "Acquirer: 24 hours, until Friday 15:30. Authority: 72 hours, until Sunday 15:30." },
    { by = "lead", after = "hand-over", delay = "2m", tag = "contained" },
    { by = "lead", after = "hand-over", delay = "4m", close = { verdict = "true_positive", root_cause = "a live key in an example, push protection bypassed",
      impact = "98,400 in refunds to strangers, checkout down for twenty minutes",
      lessons = "no live keys outside the vault; retention decided by what logs must show" } },
  },
}
