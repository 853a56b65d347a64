-- connectors/elastic.lua: Elastic Security detection alerts (kibana.alert.*, and signal.* of version 7), nested or flattened, bare or as search hits.
--
-- ECS says who is who: user.* acts, user.target.* has it done to them; host.* is where it was seen.

local function hits_of(doc)
  return ocsf.table(ocsf.dig(doc, "hits.hits")) or ocsf.table(ocsf.dig(doc, "alerts"))
end

local function event_of(doc)
  local hits = hits_of(doc)
  local one = hits and ocsf.table(hits[1]) or doc
  return ocsf.table(ocsf.dig(one, "_source")) or ocsf.table(ocsf.dig(one, "fields")) or one, one
end

-- Fields of a search answer are arrays even when they bear one value.
local function one(doc, ...)
  for _, path in ipairs { ... } do
    local v = ocsf.dig(doc, path)
    local text = ocsf.str(ocsf.table(v) and v[1] or v)
    if text then return text end
  end
  return nil
end

local function each(doc, path)
  return ipairs(ocsf.list(ocsf.dig(doc, path)))
end

local function attacks(f, doc)
  local threats = ocsf.dig(doc, "kibana.alert.rule.threat") or ocsf.dig(doc, "kibana.alert.rule.parameters.threat") or ocsf.dig(doc, "signal.rule.threat") or
                  ocsf.dig(doc, "threat")
  for _, threat in ipairs(ocsf.list(threats)) do
    local tactic = one(threat, "tactic.name")
    for _, technique in each(threat, "technique") do
      ocsf.attack(f, one(technique, "id"), one(technique, "name"), tactic)
      for _, sub in each(technique, "subtechnique") do ocsf.attack(f, one(sub, "id"), one(sub, "name"), tactic) end
    end
  end
end

local function places(f, doc)
  ocsf.set(f, "device.hostname", "Hostname", one(doc, "host.hostname", "host.name"))
  for _, address in each(doc, "host.ip") do ocsf.endpoint(f, "device", address) end
  ocsf.put(f, "device.uid", one(doc, "host.id", "agent.id"))
  ocsf.endpoint(f, "src_endpoint", one(doc, "source.ip", "source.address", "client.ip"), one(doc, "source.port"))
  ocsf.endpoint(f, "dst_endpoint", one(doc, "destination.ip", "destination.address", "server.ip"), one(doc, "destination.port"))
  ocsf.set(f, "dst_endpoint.hostname", "Hostname", one(doc, "destination.domain"))
  ocsf.set(f, "query.hostname", "Hostname", one(doc, "dns.question.name"))
  ocsf.put(f, "cloud.provider", one(doc, "cloud.provider"))
  ocsf.put(f, "cloud.account.uid", one(doc, "cloud.account.id"))
  ocsf.put(f, "cloud.region", one(doc, "cloud.region"))
end

local function things(f, doc)
  ocsf.user(f, "actor.user", { name = one(doc, "user.name"), uid = one(doc, "user.id"), domain = one(doc, "user.domain"), email_addr = one(doc, "user.email") })
  ocsf.user(f, "user", { name = one(doc, "user.target.name"), uid = one(doc, "user.target.id"), domain = one(doc, "user.target.domain") })
  ocsf.process(f, "actor.process", { name = one(doc, "process.executable", "process.name"), pid = one(doc, "process.pid"), cmd_line = one(doc, "process.command_line") })
  ocsf.hashes(f, "actor.process.file", one(doc, "process.hash.sha256"), one(doc, "process.hash.sha1"), one(doc, "process.hash.md5"))
  ocsf.set(f, "file.path", "File Name", one(doc, "file.path", "file.name"))
  ocsf.hashes(f, "file", one(doc, "file.hash.sha256"), one(doc, "file.hash.sha1"), one(doc, "file.hash.md5"))
  ocsf.set(f, "url.url_string", "URL String", one(doc, "url.full", "url.original"))
  ocsf.resource(f, { uid = one(doc, "container.id"), name = one(doc, "container.name"), type = "container" })
  ocsf.resource(f, { uid = one(doc, "cloud.instance.id"), name = one(doc, "cloud.instance.name"), type = "instance" })
end

return connector {
  name = "elastic", title = "Elastic Security", docs = "https://www.elastic.co/guide/en/security/current/alert-schema.html",
  settings = {}, actions = {},
  alert = {
    source = "elastic",
    recognise = function(whole)
      if ocsf.table(whole) == nil then return 0 end
      local doc = event_of(whole)
      if one(doc, "kibana.alert.rule.name") and one(doc, "kibana.alert.uuid", "kibana.alert.severity") then return 95 end
      return one(doc, "signal.rule.name") and 85 or 0
    end,
    split = function(doc) return hits_of(doc) end,
    normalise = function(whole)
      local doc, envelope = event_of(whole)
      local id = one(doc, "kibana.alert.uuid") or one(envelope, "_id")
      local closed = one(doc, "kibana.alert.workflow_status", "signal.status") == "closed"
      local f = ocsf.finding {
        product = "Elastic Security", vendor = "Elastic", uid = id, title = one(doc, "kibana.alert.rule.name", "signal.rule.name"), message = one(doc, "kibana.alert.reason", "signal.reason"),
        desc = one(doc, "kibana.alert.rule.description", "signal.rule.description"), types = one(doc, "kibana.alert.rule.category", "kibana.alert.rule.type"),
        url = one(doc, "kibana.alert.url"), severity_id = ocsf.severity(one(doc, "kibana.alert.severity", "signal.rule.severity")) or 0,
        time = ocsf.time(one(doc, "@timestamp")) or ocsf.time(one(doc, "kibana.alert.original_time")), correlation_uid = one(doc, "kibana.alert.group.id"),
        start_time = ocsf.time(one(doc, "kibana.alert.threshold_result.from", "kibana.alert.original_time", "signal.original_time")), activity_id = closed and 3 or 1,
      }
      things(f, doc)
      places(f, doc)
      attacks(f, doc)
      return ocsf.done(f)
    end,
  },
}
