-- Ransomware on a file server, Saturday night. The attacker came by a workstation, took an administrator's account, and is heading for the backups.
-- Two hours. What is trained: cutting off what the business needs, saving the backups, and deciding about a ransom with people who do not do this every day.

local function wazuh(id, level, what, technique, agent, more)
  local doc = {
    timestamp = "{time}", id = "1795620000." .. id, agent = agent, manager = { name = "wazuh-manager" }, decoder = { name = "windows_eventchannel" }, location = "EventChannel",
    rule = { level = level, id = "1005" .. id, description = what, firedtimes = 1, mail = true, groups = { "windows", "attack" }, mitre = { id = { technique } } },
  }
  for name, value in pairs(more) do doc[name] = value end
  return { source = "wazuh", body = doc }
end

local FS01 = { id = "101", name = "fs01", ip = "10.30.0.11" }
local FS02 = { id = "102", name = "fs02", ip = "10.30.0.12" }

return scenario {
  title    = "Ransomware on a file server",
  summary  = "Files are being encrypted while the plant works its night shift. Stop the spread, keep the backups alive, and decide what is said, to whom, and whether anybody pays.",
  duration = "2h",

  roles = {
    lead       = "Leads the incident: decides, assigns, keeps the timeline",
    it         = "Runs servers, backups and the directory",
    management = "May stop production, and decides about money",
    comms      = "Speaks with staff, customers and the press",
    legal      = "Privacy, police, insurance",
  },

  world = {
    accounts = { ["adm-fs"] = { name = "Administrator of the file servers", owner = "it", privileged = true }, carol = { name = "Carol Conti", owner = "it", privileged = false } },
    hosts = {
      ["PC-042"] = { owner = "it", state = "up", note = "Carol's workstation" },
      fs01       = { owner = "it", state = "up", note = "plans and work orders of the plant" },
      fs02       = { owner = "it", state = "up", note = "personnel and finance" },
      bk01       = { owner = "it", state = "up", note = "backups; joined to the same domain" },
    },
    services = { plant = { owner = "management", state = "up", note = "reads its work orders from fs01; runs 40 minutes without it" } },
  },

  injects = {
    { id = "start", at = "0s", fact = "Saturday, 22:40. The plant works its night shift. One person is on call, everybody else is at home." },

    { id = "pc-shell", at = "1m", alert = { source = "elastic", body = {
      ["@timestamp"] = "{time}", ["kibana.alert.uuid"] = "5d0c61f7a1", ["kibana.alert.status"] = "active", ["kibana.alert.workflow_status"] = "open",
      ["kibana.alert.severity"] = "critical", ["kibana.alert.risk_score"] = 99,
      ["kibana.alert.reason"] = "process event with process powershell.exe, by carol on PC-042 created critical alert Encoded PowerShell from Office.",
      ["kibana.alert.rule.name"] = "Encoded PowerShell from Office", ["kibana.alert.rule.uuid"] = "7e2b", ["kibana.alert.rule.category"] = "Custom Query Rule",
      ["kibana.alert.rule.threat"] = { {
        framework = "MITRE ATT&CK", tactic = { id = "TA0002", name = "Execution", reference = "https://attack.mitre.org/tactics/TA0002/" },
        technique = { { id = "T1059", name = "Command and Scripting Interpreter", reference = "https://attack.mitre.org/techniques/T1059/" } },
      } },
      user = { name = "carol", domain = "CORP" }, host = { name = "PC-042", hostname = "PC-042", ip = { "10.20.0.42" } },
      process = { name = "powershell.exe", pid = 5150, command_line = "powershell.exe -w hidden -enc aQBlAHgA" }, destination = { ip = "203.0.113.9", port = 443 },
        ecs = { version = "8.11.0" },
    } } },

    { id = "antivirus", at = "4m", alert = { source = "defender", noise = true, body = {
      ["@odata.type"] = "#microsoft.graph.security.alert", id = "da6375_17", providerAlertId = "da6375_17", incidentId = "9917", status = "new", severity = "medium",
      serviceSource = "microsoftDefenderForEndpoint", detectionSource = "antivirus", title = "Unwanted software was blocked", description = "A toolbar was removed.",
        category = "UnwantedSoftware",
      createdDateTime = "{time}", lastUpdateDateTime = "{time}", evidence = array { { ["@odata.type"] = "#microsoft.graph.security.deviceEvidence",
        deviceDnsName = "pc-017.corp.example" } },
    } } },

    { id = "admin-login", at = "8m", alert = wazuh("11", 13, "Administrator of the file servers logs in from a workstation.", "T1078.002", FS01, {
      data = { srcip = "10.20.0.42", win = { system = { computer = "fs01", eventID = "4624" }, eventdata = { subjectUserName = "adm-fs", ipAddress = "10.20.0.42" } } } }) },

    { id = "encrypting", at = "13m", alert = wazuh("12", 15, "Thousands of files renamed in a minute: possible encryption.", "T1486", FS01, {
      data = { win = { system = { computer = "fs01", eventID = "11" }, eventdata = { image = "C:\\Windows\\Temp\\svch0st.exe",
        targetFilename = "D:\\orders\\2026\\plan.xlsx.locked" } } } }) },

    { id = "night-shift", at = "16m", call = { to = { "it", "lead" }, from = "The shift's foreman", text =
      "\"Our work orders do not open any more. They all end in .locked. We have what is printed: forty minutes, then the line stands.\"" } },
    { id = "stop-question", at = "18m", question = {
      to = "management", text = "Cutting fs01 off stops the plant in forty minutes. Not cutting it off lets the encryption go on. What do you decide?",
      options = { "cut it off", "wait for the end of the shift" }, otherwise = "wait for the end of the shift", within = "10m" } },

    { id = "note", at = "25m", fact =
      "README.txt lies in every folder: 40 bitcoin within 72 hours. \"We have 180 GB of your files, personnel too. Do not call the police, do not call a recovery firm.\" " ..
      "A chat address stands below." },

    { id = "spread", at = "30m", unless = { contained = "host=fs01" }, alert = wazuh("13", 15, "Thousands of files renamed in a minute: possible encryption.", "T1486", FS02, {
      data = { win = { system = { computer = "fs02", eventID = "11" }, eventdata = { targetFilename = "E:\\personnel\\contracts.pdf.locked" } } } }) },
    { id = "stopped", at = "30m", only_if = { contained = "host=fs01" }, fact = "The renaming on fs01 has stopped at 61 percent. fs02 shows nothing unusual." },

    { id = "backup-console", at = "35m", message = { to = "it", text =
      "The backup server bk01 stands in the same domain, and its console was opened at 23:02 with adm-fs. Tonight's backup starts at 00:00. The last copy that is offline is from Wednesday." } },
    { id = "backup-question", after = "backup-console", delay = "2m", question = {
      to = "it", text = "What happens with bk01?", options = { "off the network, now", "leave it: tonight's backup must run" }, otherwise = "leave it: tonight's backup must run",
        within = "10m" } },
    { id = "backups-gone", at = "52m", unless = { answered = "backup-question", with = "off the network, now" }, world = { hosts = { bk01 = { state = "wiped" } } } },
    { id = "backups-gone-seen", after = "backups-gone", delay = "3m", message = { to = { "it", "lead" }, text =
      "bk01 has no backup sets any more. What is left is Wednesday's copy in the safe." } },
    { id = "backups-live", at = "52m", only_if = { answered = "backup-question", with = "off the network, now" }, fact =
      "On bk01's last screen: a job \"delete all sets\", made at 23:20, waiting for its turn. It never ran." },

    { id = "pay-question", at = "60m", question = {
      to = "management", text = "The insurer's hotline asks: what is your position on the ransom?",
      options = { "we do not pay", "talk to them to win time, pay nothing", "pay" }, otherwise = "pay", within = "15m" } },
    { id = "chat", after = { answered = "pay-question", with = "talk to them to win time, pay nothing" }, delay = "8m", message = { to = { "management", "legal" }, text =
      "The chat answers within a minute: \"Good that you are sensible. Two sample files attached. 35 if you pay by Monday.\" The samples are real: two employment contracts." } },

    { id = "journalist", at = "68m", call = { to = "comms", from = "A regional newspaper", text =
      "\"A site in the dark net names your company since an hour, with a countdown. What has happened at your plant?\"" } },
    { id = "press-question", after = "journalist", delay = "2m", question = {
      to = "comms", text = "What do you tell the newspaper?",
      options = { "an attack, the plant stands, we work on it, more tomorrow at ten", "no comment", "a technical fault" }, otherwise = "no comment", within = "15m" } },

    { id = "personnel", at = "74m", message = { to = "legal", text = "The sample files are contracts of two employees, with bank details and a sick note. There may be 412 of them." } },
    { id = "regulator-question", after = "personnel", delay = "3m", question = {
      to = "legal", text = "Personal data of employees was taken. What about the authority and the police?",
      options = { "notify the authority within 72 hours, and file with the police", "wait what becomes of it", "nothing: they said no police" },
        otherwise = "wait what becomes of it", within = "20m" } },

    { id = "staff", at = "84m", message = { to = "comms", text = "Monday's early shift starts in 30 hours. Staff write to each other already: \"do we get our wages?\"" } },
    { id = "reinstall-wish", at = "92m", message = { to = { "it", "lead" }, text =
      "A colleague came in: \"I can set fs01 up anew from the image right now, then we save half the night.\"" } },
    { id = "restore-question", at = "100m", question = {
      to = "lead", text = "Where to is restored first?", options = { "into a clean network, looked at first", "onto fs01, as fast as can be" },
        otherwise = "onto fs01, as fast as can be", within = "10m" } },
    { id = "again", after = { answered = "restore-question", with = "onto fs01, as fast as can be" }, delay = "6m", alert = wazuh("14", 15,
      "Thousands of files renamed in a minute: possible encryption.", "T1486", FS01, { data = { win = { system = { computer = "fs01", eventID = "11" } } } }) },
    { id = "hand-over", at = "113m", fact = "The day's team comes in. Say what stands, what is safe, who waits for what, and when you meet again." },
  },

  answers = {
    { action = "edr.isolate_host", params = { host = "fs02" }, from = "spread", lasts = "15m", fails = { kind = "refused", message = "the agent on fs02 has not answered since 23:09" } },
    { action = "ldap.find_user", params = { uid = "adm-fs" }, latency = "4s" },
    { action = "edr.isolate_host", params = { host = "bk01" }, where = { ["hosts.bk01.state"] = "wiped" }, already = true },
  },

  objectives = {
    { id = "awake", text = "The person on call attends within 5 minutes", judge = { acknowledged = true, since = "pc-shell", within = "5m" },
      gap = { owner = "lead", days = 14, text = "Test the pager at night, and name a second person on call" } },
    { id = "workstation", text = "The workstation is cut off before the servers are reached", judge = { contained = "host=PC-042", before = "encrypting" },
      gap = { owner = "it", days = 30, text = "Let the playbook isolate workstations without asking" } },
    { id = "admin", text = "The administrator's account is locked within 15 minutes of its strange login", judge = { contained = "user=adm-fs", since = "admin-login", within = "15m" },
      gap = { owner = "it", days = 30, text = "Give administrators' accounts only to administrators' machines" } },
    { id = "server", text = "The file server is cut off within 20 minutes of the first encrypted file", judge = { contained = "host=fs01", since = "encrypting", within = "20m" },
      gap = { owner = "management", days = 30, text = "Decide beforehand who may stop the plant at night, in writing" } },
    { id = "backups", text = "The backups are out of the attacker's reach", judge = { answered = "backup-question", with = "off the network, now" },
      gap = { owner = "it", days = 60, text = "Take the backup server out of the domain, and keep a copy offline every day" } },
    { id = "ransom", text = "The ransom is decided by management, and is not paid", judge = { answered = "pay-question", with = { "we do not pay",
      "talk to them to win time, pay nothing" } },
      gap = { owner = "management", days = 60, text = "Write down the company's position on ransoms, with the insurer's" } },
    { id = "evidence", text = "Evidence is secured before anything is set up anew", judge = { note = { "disk image", "snapshot", "memory dump" }, since = "encrypting" },
      gap = { owner = "it", days = 30, text = "Write into the runbook: secure evidence before reinstalling" } },
    { id = "regulator", text = "Authority and police are notified in time, and the time is written down",
      judge = { all = { { answered = "regulator-question", with = "notify the authority within 72 hours, and file with the police" }, { note = { "72 hours", "72h", "72 h" } } } },
      gap = { owner = "legal", days = 14, text = "Keep the authority's form and the police's contact in the runbook" } },
    { id = "restore", text = "Restoring begins in a clean network", judge = { answered = "restore-question", with = "into a clean network, looked at first" },
      gap = { owner = "it", days = 60, text = "Build and practise a clean network to restore into" } },
  },

  script = {
    { by = "lead", after = "pc-shell", delay = "2m", note = "Awake, at the desk. IT is called in." },
    { by = "it", answer = 'edr.isolate_host on {"host":"PC-042"}', with = "approve", delay = "4m" },
    { by = "lead", answer = 'ldap.lock_account on {"user":"adm-fs"}', with = "approve", delay = "3m" },
    { by = "management", answer = "stop-question", with = "cut it off", delay = "3m" },
    { by = "lead", answer = 'edr.isolate_host on {"host":"fs01"}', with = "approve", delay = "9m" },
    { by = "it", after = { contained = "host=fs01" }, delay = "8m", note = "Memory dump and disk image of fs01 run, digests follow." },
    { by = "it", answer = "backup-question", with = "off the network, now", delay = "2m" },
    { by = "management", answer = "pay-question", with = "talk to them to win time, pay nothing", delay = "8m" },
    { by = "comms", answer = "press-question", with = "an attack, the plant stands, we work on it, more tomorrow at ten", delay = "5m" },
    { by = "legal", answer = "regulator-question", with = "notify the authority within 72 hours, and file with the police", delay = "4m" },
    { by = "legal", after = { answered = "regulator-question" }, delay = "2m", note = "Authority: 72 hours, until Tuesday 23:55. Police filed by phone, number follows." },
    { by = "lead", answer = "restore-question", with = "into a clean network, looked at first", delay = "3m" },
    { by = "lead", after = "hand-over", delay = "2m", tag = "contained" },
    { by = "lead", after = "hand-over", delay = "4m", close = { verdict = "true_positive", root_cause = "a macro on a workstation, an administrator's password in its memory",
      impact = "the plant stood for a night, personnel files were taken", lessons = "backups out of the domain; administrators' accounts only on their own machines" } },
  },
}
