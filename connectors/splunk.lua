-- connectors/splunk.lua: Splunk's webhook alert action and Enterprise Security's notables sent by it; field names are the Common Information Model's.
--
-- A search id (sid) names one execution of the search, which may send many rows: the row's place, or its content, completes the id.

-- What tells this row from others of the same search.
local function row_key(row)
  local place = ocsf.first(row, "event_id", "_cd")
  if place then return place end
  local parts = {}
  for name, value in pairs(ocsf.table(row) or {}) do
    if type(name) == "string" and name:sub(1, 1) ~= "_" and ocsf.str(value) then parts[#parts + 1] = name .. "=" .. ocsf.str(value) end
  end
  table.sort(parts)
  local key = table.concat(parts, ",")
  return key ~= "" and #key <= 1024 and key or nil
end

local function severity(row)
  local word = ocsf.first(row, "urgency", "severity", "severity_label", "priority")
  return ocsf.severity(word) or 0
end

local function people(f, row)
  local source, user = ocsf.first(row, "src_user"), ocsf.first(row, "user", "username", "user_name", "dest_user")
  ocsf.user(f, "actor.user", { name = source or user })
  if source then ocsf.user(f, "user", { name = user }) end
end

local function places(f, row)
  ocsf.endpoint(f, "src_endpoint", ocsf.first(row, "src_ip", "src", "srcip", "clientip", "src_host"), ocsf.get(row, "src_port"))
  ocsf.endpoint(f, "dst_endpoint", ocsf.first(row, "dest_ip", "dest", "dstip", "dest_host"), ocsf.get(row, "dest_port"))
  ocsf.endpoint(f, "device", ocsf.first(row, "dvc", "dvc_host", "host"))
end

local function things(f, row)
  ocsf.process(f, "actor.process", { name = ocsf.first(row, "process_name", "process_path", "process_exec"), pid = ocsf.get(row, "process_id"), cmd_line = ocsf.first(row, "process") })
  ocsf.set(f, "file.name", "File Name", ocsf.first(row, "file_name", "file_path"))
  ocsf.hashes(f, "file", ocsf.get(row, "file_hash"), ocsf.get(row, "sha256"), ocsf.get(row, "sha1"), ocsf.get(row, "md5"))
  ocsf.set(f, "url.url_string", "URL String", ocsf.first(row, "url", "URL"))
  for _, name in ipairs { "annotations.mitre_attack", "annotations.mitre_attack.mitre_technique_id", "mitre_technique_id", "mitre_attack" } do
    for _, text in ipairs(ocsf.list(ocsf.get(row, name))) do ocsf.attacks_in(f, text) end
  end
end

return connector {
  name = "splunk", title = "Splunk webhook", docs = "https://docs.splunk.com/Documentation/Splunk/latest/Alert/Webhooks",
  settings = {}, actions = {},
  alert = {
    source = "splunk",
    recognise = function(doc)
      if ocsf.table(doc) == nil or not ocsf.table(doc.result) or type(doc.sid) ~= "string" then return 0 end
      return (doc.search_name ~= nil or doc.results_link ~= nil) and 95 or 60
    end,
    normalise = function(doc)
      local row = ocsf.table(ocsf.get(doc, "result")) or {}
      local sid, key = ocsf.str(ocsf.get(doc, "sid")), row_key(row)
      local app = ocsf.str(ocsf.get(doc, "app"))
      local f = ocsf.finding {
        product = "Splunk", vendor = "Splunk", uid = sid and key and sid .. "#" .. key or nil, finding_uid = sid, correlation_uid = sid,
        title = ocsf.first(doc, "search_name", "result.rule_title", "result.search_name") or "Splunk alert" .. (app and " (" .. app .. ")" or ""),
        desc = ocsf.first(row, "rule_description", "description", "signature"), url = ocsf.get(doc, "results_link"), types = ocsf.first(row, "security_domain", "category"),
        severity_id = severity(row), time = ocsf.time(ocsf.get(row, "_time")) or ocsf.time(sid and sid:match("_at_(%d+)_")), start_time = ocsf.time(ocsf.get(row, "firstTime")),
      }
      people(f, row)
      places(f, row)
      things(f, row)
      return ocsf.done(f)
    end,
  },
}
