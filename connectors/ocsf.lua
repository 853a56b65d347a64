-- connectors/ocsf.lua: what speaks OCSF already (Security Lake, Prowler, the new Security Hub…): passed through, times set right, observables made whole.
--
-- A scanner that finds the same again sends the same finding uid with a new time: that is news, so without metadata.uid the time belongs to the id.

local get, str, int, first, copy, table_of, time_of = ocsf.get, ocsf.str, ocsf.int, ocsf.first, ocsf.copy, ocsf.table, ocsf.time

local function metadata(doc, time)
  local meta = copy(table_of(get(doc, "metadata")) or {})
  local finding = str(get(doc, "finding_info.uid"))
  if not str(meta.uid) then meta.uid = finding and (time and finding .. "@" .. time or finding) or nil end
  if not str(meta.correlation_uid) then meta.correlation_uid = finding end
  if table_of(meta.product) == nil then meta.product = { name = "Unknown" } end
  if not str(meta.version) then meta.version = "1.3.0" end
  return meta
end

local function normalise(doc)
  local out = copy(table_of(doc) or {})
  local time = time_of(get(doc, "time")) or time_of(get(doc, "time_dt"))
  local class, activity = int(get(doc, "class_uid")), int(get(doc, "activity_id")) or 1
  local plain, title = ocsf.basis { title = first(doc, "finding_info.title", "finding.title", "message", "class_name"), activity_id = activity, time = time,
                                    start_time = time_of(get(doc, "start_time")) or time_of(get(doc, "start_time_dt")),
                                    severity_id = int(get(doc, "severity_id")) or ocsf.severity(get(doc, "severity")), message = get(doc, "message") }
  out.class_uid, out.class_name, out.category_uid, out.activity_id, out.type_uid = plain.class_uid, plain.class_name, plain.category_uid, plain.activity_id, plain.type_uid
  out.severity_id, out.severity, out.time, out.start_time, out.message = plain.severity_id, plain.severity, plain.time, plain.start_time, plain.message
  if class and class ~= 2004 then
    out.unmapped = copy(table_of(out.unmapped) or {})
    out.unmapped.class_uid, out.unmapped.class_name = class, str(get(doc, "class_name"))
    out.category_name = nil
  end
  out.metadata = metadata(doc, time)
  out.finding_info = copy(table_of(get(doc, "finding_info")) or table_of(get(doc, "finding")) or {})
  out.finding_info.title = str(out.finding_info.title) or title
  if out.finding_info.attacks == nil then out.finding_info.attacks = table_of(get(doc, "attacks")) end
  out.observables = nil
  local f = ocsf.builder(out)
  ocsf.observe_event(f, doc)
  return ocsf.done(f)
end

return connector {
  name = "ocsf", title = "OCSF events", docs = "https://schema.ocsf.io/1.3.0/classes/detection_finding",
  settings = {}, actions = {},
  alert = {
    source = "ocsf",
    recognise = function(doc)
      local class = table_of(doc) and int(doc.class_uid)
      if not class or not table_of(doc.metadata) then return 0 end
      if class == 2004 then return 98 end
      return ocsf.has(doc, "category_uid", "metadata.version") and 80 or 0
    end,
    normalise = normalise,
  },
}
