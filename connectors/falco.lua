-- connectors/falco.lua: Falco's JSON output, as it logs it or as falcosidekick's webhook passes it on.

local PRIORITY = { emergency = 6, alert = 5, critical = 5, error = 4, warning = 3, notice = 2, informational = 1, info = 1, debug = 1 }

local function connection(f, fields)
  ocsf.endpoint(f, "src_endpoint", ocsf.first(fields, "fd.cip"), ocsf.get(fields, "fd.cport"))
  ocsf.endpoint(f, "dst_endpoint", ocsf.first(fields, "fd.sip", "fd.rip"), ocsf.first(fields, "fd.sport", "fd.rport"))
end

-- A descriptor's name is a path, or a connection "10.0.0.5:40000->203.0.113.9:4444".
local function descriptor(f, name)
  name = ocsf.str(name)
  if not name then return end
  local from, to = name:match("^(%S+:%d+)%->(%S+:%d+)$")
  if from then
    ocsf.endpoint(f, "src_endpoint", from)
    ocsf.endpoint(f, "dst_endpoint", to)
  else
    ocsf.set(f, "file.path", "File Name", name)
  end
end

local function containers(f, fields)
  local id = ocsf.str(ocsf.get(fields, "container.id"))
  if id ~= "host" then ocsf.resource(f, { uid = id, name = ocsf.first(fields, "container.name", "container.image.repository"), type = "container" }) end
  local pod, namespace = ocsf.first(fields, "k8s.pod.name"), ocsf.first(fields, "k8s.ns.name")
  ocsf.resource(f, { uid = pod and (namespace and namespace .. "/" .. pod or pod), name = pod, type = "pod" })
end

local function tactic_of(tags)
  for _, tag in ipairs(tags) do
    local tactic = type(tag) == "string" and tag:match("^mitre_(.+)$")
    if tactic then return (tactic:gsub("_", " ")) end
  end
  return nil
end

return connector {
  name = "falco", title = "Falco", docs = "https://falco.org/docs/concepts/outputs/formatting/",
  settings = {}, actions = {},
  alert = {
    source = "falco",
    recognise = function(doc)
      if ocsf.table(doc) == nil or not ocsf.has(doc, "rule", "priority", "output") then return 0 end
      return ocsf.table(doc.output_fields) and 95 or 75
    end,
    normalise = function(doc)
      local fields = ocsf.table(ocsf.get(doc, "output_fields")) or {}
      local tags = ocsf.list(ocsf.get(doc, "tags"))
      local priority = ocsf.str(ocsf.get(doc, "priority")) or ""
      local f = ocsf.finding {
        product = "Falco", vendor = "The Falco Project", uid = ocsf.get(doc, "uuid"), title = ocsf.get(doc, "rule"), desc = ocsf.get(doc, "output"), message = ocsf.get(doc, "output"),
        types = #tags > 0 and tags or nil, severity_id = PRIORITY[priority:lower()] or 0, time = ocsf.time(ocsf.get(doc, "time")) or ocsf.time(ocsf.get(fields, "evt.time")),
        start_time = ocsf.time(ocsf.get(fields, "evt.time")),
      }
      ocsf.set(f, "device.hostname", "Hostname", ocsf.first(doc, "hostname") or ocsf.first(fields, "evt.hostname"))
      ocsf.user(f, "actor.user", { name = ocsf.first(fields, "user.name", "user.loginname"), uid = ocsf.get(fields, "user.uid") })
      local command = ocsf.first(fields, "proc.cmdline")
      ocsf.process(f, "actor.process", { name = ocsf.first(fields, "proc.name") or (command and command:match("^(%S+)")), pid = ocsf.get(fields, "proc.pid"), cmd_line = command })
      connection(f, fields)
      descriptor(f, ocsf.get(fields, "fd.name"))
      ocsf.hashes(f, "actor.process.file", ocsf.get(fields, "proc.hash.sha256"), ocsf.get(fields, "proc.exe_sha256"))
      containers(f, fields)
      for _, tag in ipairs(tags) do ocsf.attacks_in(f, tag, tactic_of(tags)) end
      return ocsf.done(f)
    end,
  },
}
