-- connectors/alertmanager.lua: Prometheus Alertmanager: its webhooks (version 4) and its own API's form, which falcosidekick posts.
--
-- An alert is its labels; Alertmanager's fingerprint is their digest. firing and resolved of one alert share the fingerprint, so they join
-- one incident; a repetition has the same fingerprint, start and status.

local function labels_key(labels)
  local parts = {}
  for name, value in pairs(ocsf.table(labels) or {}) do
    if type(name) == "string" then parts[#parts + 1] = name .. "=" .. (ocsf.str(value) or "") end
  end
  table.sort(parts)
  local key = table.concat(parts, ",")
  return key ~= "" and #key <= 2048 and key or nil
end

local function known_time(v)
  local text = ocsf.str(v)
  return text and ocsf.time(text) and text or nil
end

local function title_of(doc)
  return ocsf.first(doc, "labels.alertname", "annotations.summary", "annotations.title", "annotations.description")
end

local function places(f, labels)
  ocsf.endpoint(f, "device", ocsf.first(labels, "host", "hostname", "node", "nodename", "instance", "k8s_node_name"))
  ocsf.endpoint(f, "src_endpoint", ocsf.first(labels, "src_ip", "srcip", "source_ip", "remote_ip", "client_ip", "fd_cip"))
  ocsf.endpoint(f, "dst_endpoint", ocsf.first(labels, "dst_ip", "dest_ip", "destination_ip", "fd_sip"))
end

local function things(f, labels)
  local falco = ocsf.get(labels, "source") == "falco"
  ocsf.user(f, falco and "actor.user" or "user", { name = ocsf.first(labels, "user", "username", "user_name", "account") })
  ocsf.process(f, "actor.process", { name = ocsf.first(labels, "proc_name", "process", "process_name"), cmd_line = ocsf.get(labels, "proc_cmdline") })
  ocsf.resource(f, { uid = ocsf.first(labels, "container_id", "container"), name = ocsf.first(labels, "container_name"), type = "container" })
  local pod = ocsf.first(labels, "pod", "k8s_pod_name")
  local namespace = ocsf.first(labels, "namespace", "k8s_ns_name")
  ocsf.resource(f, { uid = pod and (namespace and namespace .. "/" .. pod or pod), name = pod, type = "pod" })
  ocsf.attacks_in(f, ocsf.first(labels, "mitre_technique", "technique", "attack", "tags"))
end

local function normalise(whole)
  local doc = ocsf.table(ocsf.get(whole, "alerts.1")) or ocsf.table(ocsf.get(whole, "1")) or whole
  local labels, notes = ocsf.table(ocsf.get(doc, "labels")) or {}, ocsf.table(ocsf.get(doc, "annotations")) or {}
  local status = ocsf.str(ocsf.get(doc, "status")) or "firing"
  local key = ocsf.str(ocsf.get(doc, "fingerprint")) or labels_key(labels)
  local starts, ends = known_time(ocsf.get(doc, "startsAt")), known_time(ocsf.get(doc, "endsAt"))
  local resolved = status == "resolved"
  local f = ocsf.finding {
    product = "Alertmanager", vendor = "Prometheus", uid = key and starts and table.concat({ key, starts, status }, "/") or nil, finding_uid = key,
    correlation_uid = key, title = title_of(doc), message = ocsf.first(notes, "summary", "message", "description"),
    desc = ocsf.first(notes, "description", "message", "info", "summary"), url = ocsf.get(doc, "generatorURL"),
    severity_id = ocsf.severity(ocsf.get(labels, "severity")) or ocsf.severity(ocsf.get(labels, "priority")) or 0,
    time = ocsf.time(resolved and ends or starts), start_time = ocsf.time(starts), activity_id = resolved and 3 or 1,
  }
  places(f, labels)
  things(f, labels)
  -- Addresses belong in annotations there (each new label value would be a new alert), so their prose is read for them.
  for _, name in ipairs { "summary", "description", "message" } do ocsf.addresses_in(f, "message", notes[name]) end
  return ocsf.done(f)
end

local function alerts_of(doc)
  if ocsf.table(doc) == nil then return nil end
  local list = ocsf.table(doc.alerts) or doc
  if ocsf.table(list[1]) and ocsf.table(list[1].labels) then return list end
  return nil
end

local function split(doc)
  local list = alerts_of(doc)
  if not list or #list < 2 then return nil end
  local each = {}
  for i, one in ipairs(list) do
    each[i] = { labels = ocsf.get(one, "labels"), annotations = ocsf.get(one, "annotations"), status = ocsf.get(one, "status"), startsAt = ocsf.get(one, "startsAt"),
                endsAt = ocsf.get(one, "endsAt"), generatorURL = ocsf.get(one, "generatorURL"), fingerprint = ocsf.get(one, "fingerprint"),
                receiver = ocsf.get(doc, "receiver"), externalURL = ocsf.get(doc, "externalURL"), groupKey = ocsf.get(doc, "groupKey") }
  end
  return each
end

-- ---- silences --------------------------------------------------------------------------------------------------

local API = "https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml"

local function fail(kind, message)
  return { kind = kind, message = message, retry = false }
end

local function refused(response)
  local body = response.body
  return fail(response.status == 404 and "not_found" or "refused", "Alertmanager answered " .. tostring(response.status) .. (type(body) == "string" and ": " .. body:sub(1, 200) or ""))
end

local function ask(settings, method, path, json)
  if not settings.url then return nil, fail("invalid", "connectors.alertmanager has no url in the settings") end
  local auth = settings.token and { bearer = settings.token } or nil
  return { http = { method = method, url = settings.url, path = path, json = json, auth = auth } }
end

-- RFC 3339 from a text of that form or from milliseconds, as now() gives them.
local function rfc3339(v)
  if type(v) == "string" then return time_ms(v) and v or nil end
  local ms = math.tointeger(v)
  return ms and ms > 0 and time_text(ms) or nil
end

local function silence_request(p, settings)
  local ends = rfc3339(p.ends_at)
  if not ends then return nil, fail("invalid", "ends_at: give milliseconds (now() + 3600 * 1000) or a time like 2026-11-23T18:30:00Z") end
  local matchers = array { { name = "alertname", value = p.alertname, isRegex = false, isEqual = true } }
  for name, value in pairs(p.matchers or {}) do matchers[#matchers + 1] = { name = name, value = value, isRegex = false, isEqual = true } end
  -- A start in the past means now to Alertmanager.
  return ask(settings, "POST", { "api", "v2", "silences" },
             { matchers = matchers, startsAt = "2000-01-01T00:00:00Z", endsAt = ends, createdBy = p.created_by, comment = p.comment })
end

local function silence_made(response)
  if response.status ~= 200 or type(response.body) ~= "table" or response.body == null then return nil, refused(response) end
  return { silence_id = response.body.silenceID, already = false }
end

local actions = {
  silence = {
    doc = "Silence alerts of one name for a while.", docs = API, effect = "contain", target = { alertname = "alertname" },
    params = {
      alertname = schema.string { doc = "Name of the alert", min = 1, max = 200 },
      matchers = schema.map { doc = "Further labels that must be equal, for instance { instance = \"web01\" }", of = schema.string {}, optional = true },
      ends_at = schema.any { doc = "When it ends: milliseconds, as now() gives them, or RFC 3339" },
      comment = schema.string { doc = "Why", min = 1, max = 500 },
      created_by = schema.string { doc = "Who", default = "tocsin", max = 100 },
    },
    returns = { silence_id = schema.string { optional = true }, already = schema.boolean { optional = true } },
    request = silence_request, result = silence_made, undo = "expire_silence",
    undo_params = function(_, returns) return { silence_id = returns.silence_id } end,
    simulate = function() return { silence_id = "00000000-0000-0000-0000-000000000000", already = false } end,
  },
  expire_silence = {
    doc = "End a silence now.", docs = API, effect = "contain", target = { silence = "silence_id" },
    params = { silence_id = schema.string { doc = "Id of the silence", pattern = "^[%x-]+$", max = 64 } }, returns = { already = schema.boolean { optional = true } }, idempotent = true,
    lifts = "silence",
    request = function(p, settings) return ask(settings, "DELETE", { "api", "v2", "silence", p.silence_id }) end,
    result = function(response)
      if response.status == 200 then return { already = false } end
      return nil, refused(response)
    end,
    simulate = function() return { already = false } end,
  },
  silences = {
    doc = "List silences in force.", docs = API, effect = "read", params = {}, returns = { silences = schema.list { of = schema.any {} } },
    request = function(_, settings) return ask(settings, "GET", { "api", "v2", "silences" }) end,
    result = function(response)
      if response.status ~= 200 or type(response.body) ~= "table" or response.body == null then return nil, refused(response) end
      local active = array {}
      for _, silence in ipairs(response.body) do
        if ocsf.get(silence, "status.state") ~= "expired" then active[#active + 1] = { id = silence.id, comment = silence.comment, ends_at = silence.endsAt } end
      end
      return { silences = active }
    end,
    simulate = function() return { silences = array {} } end,
  },
}

return connector {
  name = "alertmanager", title = "Prometheus Alertmanager", docs = "https://prometheus.io/docs/alerting/latest/configuration/#webhook_config",
  settings = {
    url = schema.url { doc = "Alertmanager's own address, for silences; its webhooks need none", optional = true },
    token = schema.secret { doc = "Bearer token", optional = true },
  },
  limits = { timeout = "10s", concurrent = 4, per_minute = 60, response_kib = 1024 },
  actions = actions,
  alert = {
    source = "alertmanager",
    recognise = function(doc)
      local list = alerts_of(doc)
      if not list then return ocsf.has(doc, "labels.alertname", "annotations") and 80 or 0 end
      if doc.alerts and ocsf.has(doc, "groupKey", "receiver") then return 95 end
      return ocsf.has(list[1], "labels.alertname") and 85 or 40
    end,
    split = split,
    normalise = normalise,
  },
}
