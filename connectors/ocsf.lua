-- connectors/ocsf.lua: what speaks OCSF already (Security Lake, Prowler, the new Security Hub…): passed through, times set right, observables made whole.
--
-- A scanner that finds the same again sends the same finding uid with a new time: that is news, so without metadata.uid the time belongs to the id.

local USERS = { "actor.user", "user" }
local PLACES = { "device", "src_endpoint", "dst_endpoint" }

local function copy(t)
  local fresh = {}
  for key, value in pairs(t) do
    if type(key) == "string" then fresh[key] = value end
  end
  return fresh
end

-- Observes what one object bears: the document's own members, at their paths.
local function observe_user(f, path, user)
  if ocsf.table(user) == nil then return end
  ocsf.observe(f, path .. ".name", "User Name", ocsf.get(user, "name"))
  ocsf.observe(f, path .. ".email_addr", "Email Address", ocsf.get(user, "email_addr"))
end

local function observe_place(f, path, place)
  if ocsf.table(place) == nil then return end
  ocsf.observe(f, path .. ".hostname", "Hostname", ocsf.get(place, "hostname"))
  ocsf.observe(f, path .. ".ip", "IP Address", ocsf.get(place, "ip"))
  ocsf.observe(f, path .. ".mac", "MAC Address", ocsf.get(place, "mac"))
end

local function observe_file(f, path, file)
  if ocsf.table(file) == nil then return end
  ocsf.observe(f, path .. ".name", "File Name", ocsf.get(file, "name"))
  for _, hash in ipairs(ocsf.list(ocsf.get(file, "hashes"))) do ocsf.observe(f, path .. ".hashes.value", "Hash", ocsf.get(hash, "value")) end
end

local function observe_process(f, path, process)
  if ocsf.table(process) == nil then return end
  ocsf.observe(f, path .. ".name", "Process Name", ocsf.get(process, "name"))
  observe_file(f, path .. ".file", ocsf.get(process, "file"))
end

local function observe_all(f, prefix, doc)
  for _, path in ipairs(USERS) do observe_user(f, prefix .. path, ocsf.get(doc, path)) end
  for _, path in ipairs(PLACES) do observe_place(f, prefix .. path, ocsf.get(doc, path)) end
  observe_process(f, prefix .. "actor.process", ocsf.get(doc, "actor.process"))
  observe_process(f, prefix .. "process", ocsf.get(doc, "process"))
  observe_file(f, prefix .. "file", ocsf.get(doc, "file"))
  ocsf.observe(f, prefix .. "url.url_string", "URL String", ocsf.get(doc, "url.url_string"))
  ocsf.observe(f, prefix .. "query.hostname", "Hostname", ocsf.get(doc, "query.hostname"))
end

local function observables(f, doc)
  for _, o in ipairs(ocsf.list(ocsf.get(doc, "observables"))) do
    if ocsf.table(o) and #f.observables < 10000 then
      local name, value = ocsf.str(o.name), ocsf.str(o.value)
      if name and value then
        f.seen[name .. "\0" .. value] = true
        f.observables[#f.observables + 1] = o
      end
    end
  end
  observe_all(f, "", doc)
  for _, evidence in ipairs(ocsf.list(ocsf.get(doc, "evidences"))) do observe_all(f, "evidences.", evidence) end
  for _, r in ipairs(ocsf.list(ocsf.get(doc, "resources"))) do ocsf.observe(f, "resources.uid", "Resource UID", ocsf.first(r, "uid", "name")) end
end

local function whole_time(v)
  return ocsf.time(v)
end

local function metadata(doc, time)
  local meta = copy(ocsf.table(ocsf.get(doc, "metadata")) or {})
  local finding = ocsf.str(ocsf.get(doc, "finding_info.uid"))
  if not ocsf.str(meta.uid) then meta.uid = finding and (time and finding .. "@" .. time or finding) or nil end
  if not ocsf.str(meta.correlation_uid) then meta.correlation_uid = finding end
  if ocsf.table(meta.product) == nil then meta.product = { name = "Unknown" } end
  if not ocsf.str(meta.version) then meta.version = "1.3.0" end
  return meta
end

local function normalise(doc)
  local out = copy(ocsf.table(doc) or {})
  local time = whole_time(ocsf.get(doc, "time")) or ocsf.time(ocsf.get(doc, "time_dt"))
  local class, activity = ocsf.int(ocsf.get(doc, "class_uid")), ocsf.int(ocsf.get(doc, "activity_id")) or 1
  local plain = ocsf.finding { product = "Unknown", title = ocsf.first(doc, "finding_info.title", "finding.title", "message", "class_name"), activity_id = activity, time = time,
                               start_time = ocsf.time(ocsf.get(doc, "start_time")) or ocsf.time(ocsf.get(doc, "start_time_dt")),
                               severity_id = ocsf.int(ocsf.get(doc, "severity_id")) or ocsf.severity(ocsf.get(doc, "severity")), message = ocsf.get(doc, "message") }
  for _, name in ipairs { "class_uid", "class_name", "category_uid", "activity_id", "type_uid", "severity_id", "severity", "time", "start_time", "message" } do out[name] = plain.out[name] end
  if class and class ~= 2004 then
    out.unmapped = copy(ocsf.table(out.unmapped) or {})
    out.unmapped.class_uid, out.unmapped.class_name = class, ocsf.str(ocsf.get(doc, "class_name"))
    out.category_name = nil
  end
  out.metadata = metadata(doc, time)
  out.finding_info = copy(ocsf.table(ocsf.get(doc, "finding_info")) or ocsf.table(ocsf.get(doc, "finding")) or {})
  out.finding_info.title = ocsf.str(out.finding_info.title) or plain.out.finding_info.title
  if out.finding_info.attacks == nil then out.finding_info.attacks = ocsf.table(ocsf.get(doc, "attacks")) end
  local f = { out = out, observables = {}, seen = {}, left_off = 0 }
  out.observables = nil
  observables(f, doc)
  return ocsf.done(f)
end

return connector {
  name = "ocsf", title = "OCSF events", docs = "https://schema.ocsf.io/1.3.0/classes/detection_finding",
  settings = {}, actions = {},
  alert = {
    source = "ocsf",
    recognise = function(doc)
      if ocsf.table(doc) == nil or not ocsf.int(doc.class_uid) or not ocsf.table(doc.metadata) then return 0 end
      if ocsf.int(doc.class_uid) == 2004 then return 98 end
      return ocsf.has(doc, "category_uid", "metadata.version") and 80 or 0
    end,
    split = function() return nil end,
    normalise = normalise,
  },
}
