-- Cross-tenant access on a shared Kubernetes cluster: since an upgrade every tenant's workloads can read every tenant's secrets, and one of them noticed.
-- Two hours. What is trained: containing on a machine that nine customers share, finding out who could read what, and telling customers about each other without telling
-- them about each other.

local function falco(id, node, namespace, pod, command)
  return { source = "falco", body = {
    uuid = "7b1e2c40-0000-4000-8000-0000000000" .. id, hostname = node, source = "syscall", priority = "Critical", rule = "Terminal shell in container", time = "{time}",
    output = "Critical A shell was spawned in a container with an attached terminal (user=root namespace=" .. namespace .. " pod=" .. pod .. ")",
    tags = { "T1059", "container", "mitre_execution", "shell" },
    output_fields = { ["container.id"] = "3f2504e0" .. id, ["container.name"] = pod, ["container.image.repository"] = "registry.example/" .. namespace .. "/worker",
      ["k8s.ns.name"] = namespace,
                      ["k8s.pod.name"] = pod, ["proc.cmdline"] = command, ["proc.name"] = "bash", ["proc.pid"] = 4242, ["user.name"] = "root", ["user.uid"] = 0 },
  } }
end

return scenario {
  title    = "Cross-tenant access on a shared Kubernetes cluster",
  summary  = "A workload of one customer reads the secrets of another. The hole is ours, it has been open for nine days, and the audit log reaches back seven.",
  duration = "2h",

  roles = {
    lead     = "Leads the incident: decides, assigns, keeps the timeline",
    platform = "Runs the cluster, its roles and its audit log",
    accounts = "Looks after the customers, alpha and beta among them",
    legal    = "Contracts, privacy, what must be told to whom",
  },

  world = {
    accounts = { ["svc-beta"] = { name = "Beta's machine account", owner = "accounts", privileged = false } },
    hosts = {
      ["node-3"] = { owner = "platform", state = "up", note = "31 pods of nine tenants" },
      ["node-5"] = { owner = "platform", state = "up", note = "28 pods of nine tenants" },
    },
    services = {
      alpha = { owner = "accounts", state = "up", note = "a small customer; its developers have shells in their own pods, by contract" },
      beta  = { owner = "accounts", state = "up", note = "a clinic; patients' data" },
    },
  },

  injects = {
    { id = "start", at = "0s", fact = "Thursday, 09:50. The cluster was upgraded nine days ago. Everything has been green since." },
    { id = "beta-asks", at = "2m", message = { to = "accounts", text =
      "Beta's engineer: \"Our secret db-main was read 14 times this night by somebody who is not us. It says `alpha` in the name. Is that you, testing something?\"" } },

    { id = "shell", at = "6m", alert = falco("11", "node-3", "tenant-alpha", "worker-6d4", "bash -i") },
    { id = "shell-normal", at = "8m", message = { to = { "platform", "accounts" }, text =
      "Alpha has a shell in its contract: their developers use it every week. And node-3 carries 31 pods of nine customers: whoever cuts it off hits them all." } },

    { id = "guardduty", at = "11m", alert = { source = "guardduty", noise = true, body = {
      version = "0", id = "0b7f0001", ["detail-type"] = "GuardDuty Finding", source = "aws.guardduty", account = "111122223333", time = "{time}", region = "eu-central-1",
        resources = array {},
      detail = {
        schemaVersion = "2.0", accountId = "111122223333", region = "eu-central-1", partition = "aws", id = "ccb01b99",
        arn = "arn:aws:guardduty:eu-central-1:111122223333:detector/d1/finding/ccb01b99", type = "CredentialAccess:Kubernetes/AnomalousBehavior.SecretsAccessed",
        resource = { resourceType = "EKSCluster", eksClusterDetails = { name = "shared-1", arn = "arn:aws:eks:eu-central-1:111122223333:cluster/shared-1" },
                     kubernetesDetails = { kubernetesUserDetails = { username = "system:serviceaccount:tenant-alpha:worker" } } },
        service = { serviceName = "guardduty", detectorId = "d1", count = 14, archived = false }, severity = 5, createdAt = "{time-3m}", updatedAt = "{time}",
        title = "Secrets of a namespace were read by an account that never did so before.", description = "Secrets in tenant-beta were listed and read.",
      },
    } } },

    { id = "beta-login", at = "15m", alert = { source = "wazuh", body = {
      timestamp = "{time}", id = "1795700000.21", manager = { name = "wazuh-manager" }, agent = { id = "205", name = "beta-db", ip = "10.40.2.5" },
        decoder = { name = "postgresql" }, location = "/var/log/postgresql/main.log",
      rule = { level = 13, id = "100611", description = "Machine account logs in from another tenant's network.", firedtimes = 1, mail = true, groups = { "postgresql",
        "authentication_success" }, mitre = { id = { "T1078" } } },
      full_log = "svc-beta@clinic LOG: connection authorized: user=svc-beta host=10.40.1.77", data = { srcip = "10.40.1.77", srcuser = "svc-beta" },
    } } },

    { id = "the-hole", at = "20m", message = { to = "platform", text =
      "In the upgrade's diff: a ClusterRoleBinding `view-all` for the group system:authenticated, \"for the dashboard, remove later\". Every workload of every tenant can read every secret." } },
    { id = "hole-question", after = "the-hole", delay = "2m", question = {
      to = "platform", text = "What happens with the binding?", options = { "remove it now, with a copy kept", "first find out who needs it" },
        otherwise = "first find out who needs it", within = "8m" } },
    { id = "second-node", at = "34m", unless = { answered = "hole-question", with = "remove it now, with a copy kept" }, alert = falco("12", "node-5", "tenant-gamma", "batch-77c",
      "bash -c curl") },
    { id = "dashboards", after = { answered = "hole-question", with = "remove it now, with a copy kept" }, delay = "6m", message = { to = { "accounts", "platform" }, text =
      "Three customers write: their dashboards are empty since a few minutes. Do you break things on purpose?" } },
    { id = "nodes-hurt", after = { contained = "host=node-3" }, delay = "5m", message = { to = { "accounts", "lead" }, text =
      "Nine customers see errors since node-3 went. The clinic is one of them: its appointments do not load." } },

    { id = "alpha-talks", at = "38m", call = { to = { "accounts", "lead" }, from = "Alpha's managing director", text =
      "\"One of my people saw the other names in the list and got curious. He has told me. He has looked at three of them. I want to help, but I want to know what happens to him.\"" } },

    { id = "seven-days", at = "44m", fact = "The audit log is kept for seven days. The hole has been open for nine. The first two days cannot be seen." },
    { id = "tell-question", after = "seven-days", delay = "3m", question = {
      to = "lead", text = "Whom do you tell, today?", options = { "all tenants whose secrets could be read", "beta only: that one is proven", "nobody until all is known" },
      otherwise = "nobody until all is known", within = "15m" } },
    { id = "forum", after = { any = { { answered = "tell-question", with = "nobody until all is known" }, { silent = "tell-question" } } }, delay = "8m", call = {
      to = "accounts", from = "A customer", text = "\"I read in a forum that everybody on your cluster could read my secrets. I read it in a forum.\"" } },
    { id = "rotate-wave", after = { answered = "tell-question", with = "all tenants whose secrets could be read" }, delay = "8m", message = { to = "accounts", text =
      "Six customers rotate their secrets and ask: until when, which ones, and who pays?" } },

    { id = "log-wish", at = "58m", message = { to = "legal", text =
      "Beta's data protection officer wants the whole audit log, today. It bears the names and the habits of all nine customers." } },
    { id = "log-question", after = "log-wish", delay = "2m", question = {
      to = "legal", text = "What does beta get?", options = { "its own entries, and a statement about the rest", "the whole log", "nothing" }, otherwise = "nothing", within = "15m" } },

    { id = "token-found", at = "66m", alert = { source = "github", body = {
      action = "created", alert = { number = 9, created_at = "{time-1m}", updated_at = "{time-1m}", state = "open", secret_type = "kubernetes_service_account_token",
        secret_type_display_name = "Kubernetes service account token", validity = "unknown", publicly_leaked = true, resolution = null,
          html_url = "https://github.com/alpha/tools/security/secret-scanning/9",
        first_location_detected = { path = "notes/shared-1.md", start_line = 12 } },
      repository = { id = 77, name = "tools", full_name = "alpha/tools", private = false }, organization = { login = "alpha" }, sender = { login = "curious", id = 12, type = "User" },
    } } },

    { id = "contract", at = "74m", message = { to = { "legal", "accounts" }, text =
      "The contracts say: 24 hours to tell a customer of a breach. Beta's says 12, it being a clinic. The authority's clock runs beside it." } },
    { id = "notify-question", after = "contract", delay = "3m", question = {
      to = "legal", text = "Patients' data may have been read. What do you do about the authority?",
      options = { "beta notifies, we deliver within 12 hours, both written down", "we notify for everybody", "nothing is proven" }, otherwise = "nothing is proven", within = "20m" } },

    { id = "delete-wish", at = "84m", message = { to = { "platform", "lead" }, text = "An engineer: \"I restart alpha's pods now, then the shell is gone and node-3 can come back.\"" } },
    { id = "others", at = "95m", message = { to = "platform", text =
      "The lead's question, on everybody's mind: \"How do we know that alpha was the only one?\" Write down what shows it, and what cannot be shown." } },
    { id = "hand-over", at = "110m", fact = "Ten minutes are left. Say what is closed, what is known, what will never be known, and who calls which customer when." },
  },

  answers = {
    { action = "ldap.find_user", params = { uid = "svc-beta" }, latency = "3s" },
    { action = "rt.*", from = "the-hole", lasts = "10m", fails = { kind = "unavailable", message = "502 Bad Gateway: the ticket system runs on node-3" },
      only_if = { contained = "host=node-3" } },
  },

  objectives = {
    { id = "awake", text = "The customer's question is taken as an alarm within 10 minutes", judge = { acknowledged = true, since = "beta-asks", within = "10m" },
      gap = { owner = "accounts", days = 14, text = "Tell the people who look after customers how to raise an incident" } },
    { id = "account", text = "Beta's machine account is locked within 15 minutes of its misuse", judge = { contained = "user=svc-beta", since = "beta-login", within = "15m" },
      gap = { owner = "platform", days = 30, text = "Agree with each tenant who may lock its machine accounts" } },
    { id = "hole", text = "The binding is removed within half an hour of the first shell", judge = { answered = "hole-question", with = "remove it now, with a copy kept",
      since = "shell", within = "30m" },
      gap = { owner = "platform", days = 30, text = "Compare the cluster's roles with what is wanted, every night" } },
    { id = "evidence", text = "The pod and the audit log are secured before anybody restarts anything", judge = { note = { "snapshot", "audit log copied", "memory dump" },
      before = "delete-wish" },
      gap = { owner = "platform", days = 30, text = "Keep the audit log for 90 days, and practise securing a pod" } },
    { id = "customers", text = "Everybody whose secrets could be read is told", judge = { answered = "tell-question", with = "all tenants whose secrets could be read" },
      gap = { owner = "accounts", days = 30, text = "Prepare a message for all tenants, and a list of whom to call" } },
    { id = "separation", text = "No customer gets another's entries", judge = { answered = "log-question", with = "its own entries, and a statement about the rest" },
      gap = { owner = "legal", days = 60, text = "Build an export of the audit log by tenant" } },
    { id = "deadlines", text = "The contract's hours are known and written down",
      judge = { all = { { answered = "notify-question", with = "beta notifies, we deliver within 12 hours, both written down" }, { note = { "12 hours", "12h", "12 h" } } } },
      gap = { owner = "legal", days = 14, text = "List the hours of all contracts in one place" } },
    { id = "two-people", text = "Containment on shared machines is decided by two people", judge = { decided_by = 2, within = "45m" },
      gap = { owner = "lead", days = 30, text = "Require two approvals for hosts that tenants share" } },
  },

  script = {
    { by = "accounts", after = "beta-asks", delay = "3m", note = "Raised: beta sees its secret read by alpha. Not us." },
    { by = "lead", answer = 'edr.isolate_host on {"host":"node-3"}', with = "refuse", delay = "4m" },
    { by = "platform", answer = 'ldap.lock_account on {"user":"svc-beta"}', with = "approve", delay = "3m" },
    { by = "platform", after = "shell", delay = "12m", note = "Snapshot of the pod's disk taken, audit log copied to the evidence share, network of tenant-alpha closed by policy." },
    { by = "platform", answer = "hole-question", with = "remove it now, with a copy kept", delay = "3m" },
    { by = "lead", answer = "tell-question", with = "all tenants whose secrets could be read", delay = "6m" },
    { by = "legal", answer = "log-question", with = "its own entries, and a statement about the rest", delay = "5m" },
    { by = "platform", answer = "Which database role does the credential in alpha/tools open", with = "none", delay = "3m" },
    { by = "legal", answer = "notify-question", with = "beta notifies, we deliver within 12 hours, both written down", delay = "6m" },
    { by = "legal", after = { answered = "notify-question" }, delay = "2m", note = "Beta: 12 hours, until 21:52 today. The others: 24 hours." },
    { by = "lead", after = "hand-over", delay = "2m", tag = "contained" },
    { by = "lead", after = "hand-over", delay = "5m", close = { verdict = "true_positive", root_cause = "a role for everybody, left over from an upgrade",
      impact = "secrets of nine tenants could be read for nine days",
      lessons = "audit log for 90 days; roles compared every night" } },
  },
}
