-- settings.lua: every setting of tocsin.lua, in the order in which a person reads them: name, form, text, default. A list of { name, schema }.
local text, whole, time, flag, secret = schema.string, schema.integer, schema.duration, schema.boolean, schema.secret
local list, map, object = schema.list, schema.map, schema.object
local effects = { "read", "record", "notify", "contain", "destroy" }
local role = text { doc = "a role", min = 1, max = 64 }

return {
  { "data", text { doc = "Folder for everything that Tocsin keeps; relative to this file", default = "tocsin-data", min = 1 } },
  { "node", text { doc = "Name of this node; each node of a cluster has its own", default = "n1", pattern = "^[%w%-]+$", max = 40 } },
  { "redis", object { doc = "An own Redis 7 (appendfsync always); without this, `tocsin serve` runs a private one in its data folder", optional = true, fields = {
    socket = text { doc = "Unix socket, in place of host and port", optional = true },
    host = text { doc = "Host name or address", optional = true },
    port = whole { doc = "TCP port", default = 6379, min = 1, max = 65535 },
    tls = flag { doc = "Speak TLS", default = false },
    tls_ca = text { doc = "CA certificates (PEM); the system's without", optional = true },
    tls_cert = text { doc = "Client certificate (PEM)", optional = true },
    tls_key = text { doc = "Its key (PEM)", optional = true },
    user = text { doc = "Redis ACL user", optional = true },
    password = secret { doc = "Its password", optional = true },
    lanes = whole { doc = "Connections; an incident stays on one", default = 8, min = 1, max = 64 },
  } } },
  { "redis_maxmemory", text { doc = "maxmemory of the private Redis, like \"512mb\"", optional = true, pattern = "^%d+[kmgKMG]?[bB]?$" } },
  { "lease", time { doc = "How long this node keeps its incidents without reaching Redis; then others take them over", default = "10s", min = 2000, max = 60000 } },
  { "seal_key", secret { doc = "Key that seals secrets in Redis; all nodes share it. Without: a key file in the data folder", optional = true } },
  { "evidence", object { doc = "The evidence log into which every journal is sealed", default = {}, fields = {
    folder = text { doc = "Where it lies; default: evidence in the data folder", optional = true, min = 1 },
    origin = text { doc = "Name of this node's log, for ever; default: made of the host's name and the node's", optional = true, pattern = "^[^%s+]+$", max = 120 },
    key = secret { doc = "Its signing key, as `tocsin evidence keygen` makes it; default: evidence.key in the data folder, made at the first start", optional = true },
    file_most_mib = whole { doc = "Largest file that is kept as evidence", default = 256, min = 1, max = 1024 },
    classes = map { doc = "How long files are kept at least, by class; none may be deleted earlier but by a lead", default = { standard = "1095d" }, of = time {} },
    class = text { doc = "The class of a file that none is named for", default = "standard", min = 1 },
    hot = time { doc = "How long the journals of closed incidents stay in Redis; then they are read from the log", default = "30d", min = 1000 },
  } } },
  { "anchor", object { doc = "Where the evidence log's checkpoints go that its key alone cannot change: time stamps, witnesses, copies", default = {}, fields = {
    every = time { doc = "How often the newest checkpoint goes there", default = "10m", min = 1000 },
    tsa = list { doc = "Time-stamping authorities (RFC 3161)", default = {}, max = 8, of = object { fields = {
      url = schema.url { doc = "Where it answers" },
      ca = text { doc = "Full path of the certificate (PEM) that its stamps lead to", pattern = "^/", max = 1000 },
      ca_file = text { doc = "Full path of the CA (PEM) of its HTTPS; the system's without", optional = true, pattern = "^/", max = 1000 },
    } } },
    witness = list { doc = "Witnesses (C2SP tlog-witness)", default = {}, max = 8, of = object { fields = {
      url = schema.url { doc = "Its submission prefix, before /add-checkpoint" },
      key = text { doc = "Its verifier key: name+hash+base64, of type 4", max = 300 },
      ca_file = text { doc = "Full path of the CA (PEM) of its HTTPS; the system's without", optional = true, pattern = "^/", max = 1000 },
    } } },
    copy = list { doc = "Copies of the log (bodies encrypted, never their keys): folders, or S3 buckets", default = {}, max = 8, of = object { fields = {
      folder = text { doc = "Full path of a folder", optional = true, pattern = "^/", max = 1000 },
      bucket = schema.url { doc = "URL of a bucket, with a prefix if wanted", optional = true },
      region = text { doc = "The bucket's region", optional = true, max = 64 },
      access_key = secret { doc = "Access key", optional = true },
      secret_key = secret { doc = "Its secret", optional = true },
      lock_days = whole { doc = "Object lock: so long nobody can remove what was put (the bucket must allow it); 0: none", default = 0, min = 0, max = 36500 },
      ca_file = text { doc = "Full path of the CA (PEM) of its HTTPS; the system's without", optional = true, pattern = "^/", max = 1000 },
    } } },
  } } },
  { "api", object { doc = "How commands come in", default = {}, fields = {
    socket = text { doc = "Unix socket of `tocsin serve`; default: tocsin.sock in the data folder", optional = true },
    group = text { doc = "Group that may open the socket", optional = true },
  } } },
  { "webhook", object { doc = "Alerts over HTTP: POST /v1/alerts/<source>", default = {}, fields = {
    listen = text { doc = "Address and port; \"\" for none. Not opened before there are sources", default = "127.0.0.1:8470" },
    tls_cert = text { doc = "Certificate (PEM)", optional = true },
    tls_key = text { doc = "Its key (PEM)", optional = true },
    max_body_kib = whole { doc = "Largest body", default = 1024, min = 1, max = 1048576 },
    per_minute = whole { doc = "Most requests a minute from one source", default = 6000, min = 1 },
    sources = map { doc = "Who may send: name → format, token, signature", default = {}, of = object { fields = {
      format = text { doc = "Connector that reads it; without, the content tells", optional = true },
      token = secret { doc = "Bearer token that the sender shows", optional = true },
      signature = secret { doc = "Key of the HMAC that the product signs with", optional = true },
    } } },
  } } },
  { "folders", object { doc = "Where the content lies; relative to this file, else what is installed", default = {}, fields = {
    playbooks = text { doc = "Playbooks", default = "playbooks" },
    connectors = text { doc = "Connectors", default = "connectors" },
    runbooks = text { doc = "Runbooks", default = "runbooks" },
    lists = text { doc = "Named lists and assets.csv", default = "playbooks/lists" },
  } } },
  { "connectors", map { doc = "Instances of connectors: corp = ldap { url = …, password = secret \"file:…\" }", of = schema.any {}, default = {} } },
  { "people", map { doc = "Who may do what: alice = { uid = 1000, roles = { \"responder\" } }", default = {}, of = object { fields = {
    uid = whole { doc = "Unix user id (id -u)", optional = true, min = 0, max = 4294967294 },
    token = secret { doc = "API token", optional = true },
    roles = list { doc = "Roles", of = role, default = {}, max = 32 },
    email = schema.email { doc = "Where questions are sent", optional = true },
  } } } },
  { "roles", list { doc = "Roles that there are", of = role, default = { "viewer", "responder", "lead", "auditor", "admin" } } },
  { "notify", map { doc = "Channels that tell people of questions: name → action, params, roles", default = {}, of = object { fields = {
    action = text { doc = "connector.action, like \"mail.send\"", pattern = "^[%w_%-]+%.[%w_]+$" },
    params = map { doc = "Its parameters", default = {}, of = schema.any {} },
    roles = list { doc = "Questions to these roles only; empty: all", of = role, default = {} },
  } } } },
  { "exercise_notify", object { doc = "Tells participants of a tabletop exercise what concerns them, marked EXERCISE; without it nothing of an exercise leaves the engine", optional = true, fields = {
    action = text { doc = "connector.action, like \"smtp.send\"", pattern = "^[%w_%-]+%.[%w_]+$" },
    participants = list { doc = "Who is told: names of `people` that have an email", of = text { doc = "a name", min = 1 } },
    params = map { doc = "Its parameters", default = {}, of = schema.any {} },
  } } },
  { "guard", object { doc = "Brakes that no playbook can step over", default = {}, fields = {
    ceiling = text { doc = "The most that an alert alone may cause; above it a person is asked", one_of = effects, default = "notify" },
    protected = list { doc = "What is never contained", default = {}, of = object { fields = {
      type = text { doc = "Kind of target: user, host, ip…", optional = true },
      value = text { doc = "Its name", min = 1 },
      reason = text { doc = "Why", optional = true },
    } } },
    budgets = list { doc = "Most actions in a time", default = {}, of = object { fields = {
      effect = text { doc = "Counts this effect", one_of = effects, optional = true },
      connector = text { doc = "Counts this connector", optional = true },
      action = text { doc = "Counts this action (connector.action)", optional = true },
      most = whole { doc = "So many", min = 0 },
      within = time { doc = "In this time", min = 1000 },
      per = text { doc = "Counted over all incidents or for each", one_of = { "all", "incident" }, default = "all" },
    } } },
    approvals = list { doc = "Who must agree first", default = {}, of = object { fields = {
      effect = text { doc = "To this effect", one_of = effects, optional = true },
      connector = text { doc = "Of this connector", optional = true },
      action = text { doc = "To this action (connector.action)", optional = true },
      role = text { doc = "People with this role", default = "responder" },
      count = whole { doc = "So many different ones", default = 1, min = 1, max = 16 },
    } } },
  } } },
  { "suppress", list { doc = "Alerts that open nothing, each on record", default = {}, of = object { fields = {
    name = text { doc = "Name of the rule", min = 1 },
    when = map { doc = "Which alerts, written like a playbook's `when`", of = schema.any {}, min = 1 },
    reason = text { doc = "Why", min = 1 },
    owner = text { doc = "Whose decision it is", min = 1 },
    expires = text { doc = "Until when: a date", min = 1 },
  } } } },
  { "playbooks", map { doc = "Settings of playbooks: name → its own", default = {}, of = map { of = schema.any {} } } },
  { "default_playbook", text { doc = "Takes the alerts that no playbook wants", default = "triage-only" } },
  { "dedupe", time { doc = "How long a repeated delivery is recognised", default = "24h" } },
  { "group_cap", whole { doc = "Most live incidents", default = 100000, min = 1 } },
  { "run", object { doc = "Limits of one run", default = {}, fields = {
    memory_mib = whole { doc = "Memory", default = 16, min = 1, max = 1024 },
    burst = time { doc = "CPU time between two waits", default = "250ms", min = 10, max = 60000 },
    total = time { doc = "CPU time in all", default = "10s", min = 10 },
    most = whole { doc = "Runs at the same time", default = 1000, min = 1 },
  } } },
  { "stop_within", time { doc = "How long a stop waits for what is in flight", default = "20s" } },
}
