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

local function users(f, doc)
  local source, target = ocsf.first(doc, "data.srcuser", "data.win.eventdata.subjectUserName", "syscheck.audit.user.name", "data.audit.auid_name",
                                    "data.aws.userIdentity.userName"),
                         ocsf.first(doc, "data.dstuser", "data.win.eventdata.targetUserName")
  local groups, techniques = ocsf.get(doc, "rule.groups"), ocsf.get(doc, "rule.mitre.id")
  local worked = contains(groups, "authentication_success") or contains(techniques, "T1078")
  if not worked and (contains(groups, "authentication_failed") or contains(groups, "authentication_failures")) then
    ocsf.user(f, "user", { name = target or source })
    return
  end
  ocsf.user(f, "actor.user", { name = source or (worked and target or nil), uid = ocsf.get(doc, "data.win.eventdata.subjectUserSid"),
                               domain = ocsf.get(doc, "data.win.eventdata.subjectDomainName") })
  ocsf.user(f, "user", { name = target })
end

local function places(f, doc)
  ocsf.set(f, "device.hostname", "Hostname", ocsf.first(doc, "agent.name", "data.win.system.computer", "predecoder.hostname"))
  local address = ocsf.first(doc, "agent.ip")
  if ocsf.is_ip(address) then ocsf.set(f, "device.ip", "IP Address", address) end
  ocsf.put(f, "device.uid", ocsf.str(ocsf.get(doc, "agent.id")))
  local source, from = ocsf.first(doc, "data.srcip", "data.src_ip", "data.win.eventdata.ipAddress", "data.win.eventdata.sourceIp", "data.aws.sourceIPAddress")
  ocsf.endpoint(f, "src_endpoint", source, ocsf.get(doc, from == "data.src_ip" and "data.src_port" or "data.srcport"))
  ocsf.endpoint(f, "dst_endpoint", ocsf.first(doc, "data.dstip", "data.dest_ip", "data.win.eventdata.destinationIp"),
                ocsf.first(doc, "data.dstport", "data.dest_port", "data.win.eventdata.destinationPort"))
end

local function things(f, doc)
  ocsf.process(f, "actor.process", { name = ocsf.first(doc, "data.win.eventdata.image", "data.win.eventdata.processName", "data.audit.exe", "syscheck.audit.process.name"),
                                     pid = ocsf.first(doc, "data.win.eventdata.processId", "data.audit.pid", "syscheck.audit.process.id"),
                                     cmd_line = ocsf.first(doc, "data.win.eventdata.commandLine", "data.command", "data.audit.command") })
  ocsf.set(f, "file.path", "File Name", ocsf.first(doc, "syscheck.path", "data.virustotal.source.file", "data.win.eventdata.targetFilename"))
  ocsf.hashes(f, "file", ocsf.get(doc, "syscheck.sha256_after"), ocsf.get(doc, "syscheck.sha1_after"), ocsf.get(doc, "syscheck.md5_after"),
              ocsf.get(doc, "data.virustotal.source.sha1"), ocsf.get(doc, "data.virustotal.source.md5"))
  ocsf.hashes(f, "actor.process.file", ocsf.get(doc, "data.win.eventdata.hashes"))
  ocsf.set(f, "url.url_string", "URL String", ocsf.first(doc, "data.url"))
  ocsf.indicator(f, ocsf.first(doc, "data.opencti.observable_value", "data.misp.value"))
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
  }
  ocsf.put(f, "finding_info.analytic", { name = ocsf.str(ocsf.get(doc, "rule.description")), uid = ocsf.str(ocsf.get(doc, "rule.id")), type = "Rule", type_id = 1 })
  ocsf.put(f, "metadata.log_provider", ocsf.str(ocsf.get(doc, "manager.name")))
  users(f, doc)
  places(f, doc)
  things(f, doc)
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
    split = function() return nil end,
    normalise = normalise,
  },
}
