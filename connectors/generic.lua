-- connectors/generic.lua: a document of nobody's format. The settings say where its fields are; what they do not say is guessed by name.
--
-- A guess is marked as one: it is observed where it stood ("unmapped.columns.username"), never as actor.user or src_endpoint, because a
-- playbook must not lock somebody on the strength of a member's name. A mapped field goes where the settings put it.

local MAX_MEMBERS = 2000
local MAX_DEPTH = 6

-- OCSF paths that settings.fields may fill, and the type of what they bear.
local TARGETS = {
  ["actor.user.name"] = "User Name", ["actor.user.email_addr"] = "Email Address", ["user.name"] = "User Name", ["user.email_addr"] = "Email Address",
  ["src_endpoint.ip"] = "IP Address", ["src_endpoint.hostname"] = "Hostname", ["dst_endpoint.ip"] = "IP Address", ["dst_endpoint.hostname"] = "Hostname",
  ["device.hostname"] = "Hostname", ["device.ip"] = "IP Address", ["actor.process.name"] = "Process Name", ["process.name"] = "Process Name",
  ["file.name"] = "File Name", ["file.path"] = "File Name", ["file.hashes.value"] = "Hash", ["url.url_string"] = "URL String", ["query.hostname"] = "Hostname",
}
local TITLES = { "title", "name", "alert_name", "rule_name", "rule.name", "rule.description", "summary", "subject", "message", "msg", "description" }
local TIMES = { "time", "timestamp", "@timestamp", "event_time", "created_at", "createdAt", "detection_timestamp", "date", "ISODATE" }
local IDS = { "id", "uuid", "alert_id", "alertId", "event_id", "_id" }
local LEVELS = { "severity", "level", "priority", "criticality" }

-- ---- guessing ---------------------------------------------------------------------------------------------

local function kind_of(name, value)
  local text = ocsf.str(value)
  if not text or #text > 1024 then return nil end
  if ocsf.is_ip(text) then return "IP Address" end
  if name:find("md5", 1, true) or name:find("sha", 1, true) or name:find("hash", 1, true) then return ocsf.is_hash(text) and "Hash" or nil end
  if name:find("mail", 1, true) or name:find("user", 1, true) or name == "account" or name == "login" then
    if text:find("^[^@%s]+@[^@%s]+%.[^@%s]+$") then return "Email Address" end
    if name:find("^user_?name$") or name:find("^user$") or name == "account" or name == "login" or name:find("_user$") or name:find("user_?name$") then return "User Name" end
    return nil
  end
  if name == "url" or name == "uri" or name:find("_url$") then return text:find("^%a[%w+.-]*://") and "URL String" or nil end
  if name == "host" or name == "hostname" or name == "host_name" or name == "computer" or name == "computername" then return "Hostname" end
  if name == "process" or name == "process_name" or name == "processname" or name == "image" or name == "imagefilename" then return "Process Name" end
  return nil
end

local function guess_one(f, path, name, value)
  local kind = kind_of(name:lower(), value)
  if kind then ocsf.observe(f, path, kind, value) end
end

local function guess(f, path, value, depth, budget)
  for key, inner in pairs(value) do
    budget.left = budget.left - 1
    if budget.left < 0 then return end
    if type(key) == "string" and inner ~= null then
      local at = path .. "." .. key
      if type(inner) ~= "table" then
        guess_one(f, at, key, inner)
      elseif inner[1] ~= nil and type(inner[1]) ~= "table" then
        for i = 1, math.min(#inner, budget.left) do guess_one(f, at, key, inner[i]) end
        budget.left = budget.left - #inner
      elseif depth < MAX_DEPTH then
        if inner[1] ~= nil then
          for i = 1, math.min(#inner, budget.left) do
            if ocsf.table(inner[i]) then guess(f, at, inner[i], depth + 1, budget) end
          end
        else
          guess(f, at, inner, depth + 1, budget)
        end
      end
    end
  end
end

-- ---- what the settings say --------------------------------------------------------------------------------

local function mapped(doc, fields, name)
  local path = ocsf.str(ocsf.get(fields, name))
  if not path then return nil end
  local v = ocsf.dig(doc, path)
  if ocsf.table(v) then v = v[1] end
  return v
end

local function fill(f, doc, fields)
  for target, kind in pairs(TARGETS) do
    local path = ocsf.str(ocsf.table(fields) and fields[target])
    if path then
      for _, value in ipairs(ocsf.list(ocsf.dig(doc, path))) do
        if target == "file.hashes.value" then ocsf.hashes(f, "file", value) else ocsf.set(f, target, kind, value) end
      end
    end
  end
  local resource = ocsf.str(ocsf.table(fields) and fields["resources.uid"])
  for _, uid in ipairs(resource and ocsf.list(ocsf.dig(doc, resource)) or {}) do ocsf.resource(f, { uid = uid }) end
  local technique = ocsf.str(ocsf.table(fields) and fields.attack)
  for _, text in ipairs(technique and ocsf.list(ocsf.dig(doc, technique)) or {}) do ocsf.attacks_in(f, text) end
end

local function severity(doc, settings, fields)
  local v = mapped(doc, fields, "severity") or ocsf.first(doc, table.unpack(LEVELS))
  local text = ocsf.str(v)
  if not text then return 0 end
  local own = ocsf.table(ocsf.get(settings, "severities"))
  local word = own and ocsf.str(own[text] or own[text:lower()]) or text
  return ocsf.severity(word) or 0
end

local function time(doc, fields)
  local v = ocsf.time(mapped(doc, fields, "time"))
  if v then return v end
  for _, path in ipairs(TIMES) do
    v = ocsf.time(ocsf.get(doc, path))
    if v then return v end
  end
  return nil
end

local function normalise(doc, settings)
  local fields = ocsf.table(ocsf.get(settings, "fields")) or {}
  if type(doc) == "string" then doc = { message = doc } end
  if ocsf.table(doc) == nil then doc = {} end
  local line = ocsf.first(doc, "message")
  local f = ocsf.finding {
    product = ocsf.str(ocsf.get(settings, "product")) or "Unknown", vendor = ocsf.get(settings, "vendor"), uid = mapped(doc, fields, "uid") or ocsf.first(doc, table.unpack(IDS)),
    title = mapped(doc, fields, "title") or ocsf.first(doc, table.unpack(TITLES)), message = mapped(doc, fields, "message") or line, desc = mapped(doc, fields, "desc"),
    severity_id = severity(doc, settings, fields), time = time(doc, fields), start_time = ocsf.time(mapped(doc, fields, "start_time")), correlation_uid = mapped(doc, fields, "correlation_uid"),
  }
  fill(f, doc, fields)
  if ocsf.get(settings, "guess") ~= false then guess(f, "unmapped", doc, 1, { left = MAX_MEMBERS }) end
  if line then ocsf.addresses_in(f, "message", line) end
  return ocsf.done(f)
end

return connector {
  name = "generic", title = "Any JSON or text", docs = "https://schema.ocsf.io/1.3.0/classes/detection_finding",
  settings = {
    product = schema.string { doc = "Name of the product that sends these", optional = true, max = 100 },
    vendor = schema.string { doc = "Its vendor", optional = true, max = 100 },
    fields = schema.map { doc = "Where things are: OCSF path = path in the document, for instance [\"actor.user.name\"] = \"login.user\"; also title, message, desc, severity, time, start_time, " ..
                                "uid, correlation_uid, attack, [\"resources.uid\"]", of = schema.string {}, optional = true },
    severities = schema.map { doc = "The product's severities in OCSF's words, for instance { [\"1\"] = \"critical\" }", of = schema.string {}, optional = true },
    guess = schema.boolean { doc = "Observe what members' names suggest", default = true },
  },
  actions = {},
  alert = {
    source = "generic",
    recognise = function() return 1 end,
    normalise = normalise,
  },
}
