-- connectors/ocsf.lua: what speaks OCSF already (Security Lake, Prowler, the new Security Hub…): passed through, times set right, observables made whole
-- (ocsf.event).
--
-- A scanner that finds the same again sends the same finding uid with a new time: that is news, so without metadata.uid the time belongs to the id.

local int, table_of = ocsf.int, ocsf.table

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
    normalise = ocsf.event,
  },
}
