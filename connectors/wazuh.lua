-- connectors/wazuh.lua: alerts of the Wazuh manager (alerts.json, the integrator, the indexer's documents).
--
-- Who is who: `srcuser` acts. `dstuser` is the account that was logged in to or changed. After a login that worked (rule group
-- authentication_success, or ATT&CK T1078, use of a valid account) that account is also the one that acts from now on; after one that
-- failed it is only the target, and a srcuser is only what the stranger typed.

local function event_of(doc)
  return ocsf.table(ocsf.get(doc, "_source")) or doc
end

-- A relay that keeps only texts: "Rule ID 2902\nLevel 7\nAgent ID 001\nAgent Name test\n…"
local function relayed(doc)
  local text = ocsf.get(doc, "description")
  if type(text) ~= "string" or #text > 65536 then return nil end
  local rule, level = text:match("^Rule ID (%d+)%s+Level (%d+)%s")
  if not rule then return nil end
  return { rule = rule, level = tonumber(level), agent = text:match("Agent ID (%w+)"), name = text:match("Agent Name ([^\n]+)"), text = text }
end

local function severity(level)
  level = ocsf.int(level)
  if not level or level < 0 then return 0 end
  if level <= 3 then return 1 elseif level <= 6 then return 2 elseif level <= 11 then return 3 elseif level <= 14 then return 4 end
  return 5
end

local function contains(v, wanted)
  for _, element in ipairs(ocsf.list(v)) do
    if element == wanted then return true end
  end
  return false
end

local function users(f, d)
  local source = ocsf.first(d.data, "srcuser", "aws.userIdentity.userName") or ocsf.first(d.event, "subjectUserName") or ocsf.first(d.file, "audit.user.name")
  local target = ocsf.first(d.data, "dstuser") or ocsf.first(d.event, "targetUserName")
  if not source and not target then return end
  local groups = ocsf.get(d.rule, "groups")
  local worked = contains(groups, "authentication_success") or contains(ocsf.get(d.rule, "mitre.id"), "T1078")
  if not worked and (contains(groups, "authentication_failed") or contains(groups, "authentication_failures")) then
    ocsf.user(f, "user", { name = target or source })
    return
  end
  ocsf.user(f, "actor.user", { name = source or (worked and target or nil), uid = ocsf.get(d.event, "subjectUserSid"), domain = ocsf.get(d.event, "subjectDomainName") })
  ocsf.user(f, "user", { name = target })
end

local function places(f, doc, d)
  local agent = ocsf.get(doc, "agent")
  ocsf.set(f, "device.hostname", "Hostname", ocsf.first(agent, "name") or ocsf.first(d.data, "win.system.computer") or ocsf.first(doc, "predecoder.hostname"))
  local address = ocsf.first(agent, "ip")
  if ocsf.is_ip(address) then ocsf.set(f, "device.ip", "IP Address", address) end
  ocsf.put(f, "device.uid", ocsf.first(agent, "id"))
  local source, from = ocsf.first(d.data, "srcip", "src_ip", "aws.sourceIPAddress")
  ocsf.endpoint(f, "src_endpoint", source or ocsf.first(d.event, "ipAddress", "sourceIp"), ocsf.get(d.data, from == "src_ip" and "src_port" or "srcport"))
  ocsf.endpoint(f, "dst_endpoint", ocsf.first(d.data, "dstip", "dest_ip") or ocsf.first(d.event, "destinationIp"),
                ocsf.first(d.data, "dstport", "dest_port") or ocsf.first(d.event, "destinationPort"))
end

local function things(f, d)
  local audit = ocsf.table(ocsf.get(d.data, "audit"))
  ocsf.process(f, "actor.process", { name = ocsf.first(d.event, "image", "processName") or ocsf.first(audit, "exe") or ocsf.first(d.file, "audit.process.name"),
                                     pid = ocsf.first(d.event, "processId") or ocsf.first(audit, "pid") or ocsf.first(d.file, "audit.process.id"),
                                     cmd_line = ocsf.first(d.event, "commandLine") or ocsf.first(d.data, "command") or ocsf.first(audit, "command") })
  local scanned = ocsf.get(d.data, "virustotal.source")
  ocsf.set(f, "file.path", "File Name", ocsf.first(d.file, "path") or ocsf.first(scanned, "file") or ocsf.first(d.event, "targetFilename"))
  if d.file then ocsf.hashes(f, "file", d.file.sha256_after, d.file.sha1_after, d.file.md5_after) end
  if scanned then ocsf.hashes(f, "file", ocsf.get(scanned, "sha1"), ocsf.get(scanned, "md5")) end
  if d.event then ocsf.hashes(f, "actor.process.file", d.event.hashes) end
  ocsf.set(f, "url.url_string", "URL String", ocsf.first(d.data, "url"))
  ocsf.indicator(f, ocsf.first(d.data, "opencti.observable_value", "misp.value"))
end

local function attacks(f, doc)
  local ids = ocsf.list(ocsf.get(doc, "rule.mitre.id"))
  local names, tactics = ocsf.list(ocsf.get(doc, "rule.mitre.technique")), ocsf.list(ocsf.get(doc, "rule.mitre.tactic"))
  for i, id in ipairs(ids) do
    -- Wazuh lists names beside ids only when each id has one; tactics are the union, so one is certain only when it is the only one.
    ocsf.attack(f, id, #names == #ids and names[i] or nil, #tactics == 1 and tactics[1] or nil)
  end
end

local function normalise_relayed(doc, r)
  local f = ocsf.finding {
    product = "Wazuh", vendor = "Wazuh", title = ocsf.get(doc, "message"), desc = r.text, types = { r.rule },
    severity_id = ocsf.severity(ocsf.get(doc, "severity")) or severity(r.level), time = ocsf.time(ocsf.get(doc, "created_at")),
  }
  ocsf.set(f, "device.hostname", "Hostname", r.name)
  ocsf.put(f, "device.uid", r.agent)
  return ocsf.done(f)
end

local function normalise(whole)
  local r = relayed(whole)
  if r then return normalise_relayed(whole, r) end
  local doc = event_of(whole)
  local f = ocsf.finding {
    product = "Wazuh", vendor = "Wazuh", uid = ocsf.get(doc, "id"), title = ocsf.first(doc, "rule.description"), desc = ocsf.get(doc, "full_log"),
    types = ocsf.get(doc, "rule.groups"), severity_id = severity(ocsf.get(doc, "rule.level")),
    time = ocsf.time(ocsf.get(doc, "timestamp")) or ocsf.time(ocsf.get(doc, "@timestamp")),
    start_time = ocsf.time(ocsf.get(doc, "data.win.system.systemTime")),
  }
  ocsf.put(f, "finding_info.analytic", { name = ocsf.str(ocsf.get(doc, "rule.description")), uid = ocsf.str(ocsf.get(doc, "rule.id")), type = "Rule", type_id = 1 })
  ocsf.put(f, "metadata.log_provider", ocsf.str(ocsf.get(doc, "manager.name")))
  local data = ocsf.table(ocsf.get(doc, "data"))
  local d = { data = data, rule = ocsf.table(ocsf.get(doc, "rule")), event = ocsf.table(ocsf.get(data, "win.eventdata")), file = ocsf.table(ocsf.get(doc, "syscheck")) }
  users(f, d)
  places(f, doc, d)
  things(f, d)
  attacks(f, doc)
  return ocsf.done(f)
end

return connector {
  name = "wazuh", title = "Wazuh", docs = "https://documentation.wazuh.com/current/user-manual/reference/ossec-conf/integration.html",
  settings = {}, actions = {},
  alert = {
    source = "wazuh",
    recognise = function(whole)
      if ocsf.table(whole) == nil then return 0 end
      local doc = event_of(whole)
      if ocsf.table(doc.rule) and ocsf.int(ocsf.get(doc, "rule.level")) and ocsf.get(doc, "rule.description") then
        if ocsf.has(doc, "agent", "manager") then return 95 end
        if ocsf.has(doc, "decoder") or ocsf.has(doc, "location") or ocsf.has(doc, "agent.id") then return 80 end
        return 30
      end
      return relayed(whole) and 60 or 0
    end,
    normalise = normalise,
  },
}
