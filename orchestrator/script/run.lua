-- run.lua: what a playbook's run finds beside the prelude: incident, list, now, random. Made anew for each run, so what is not always needed is in verbs.lua.
local native = ...
local look, verb = native.look, native.verb
local run = {}

-- `incident.severity` reads and `incident:severity "high"` sets: the text that was read is called, and comes back here.
run.call_text = function(_, self, ...)
  if not rawequal(self, native.incident) then error("attempt to call a text", 2) end
  return verb("severity")(self, ...)
end

run.index = function(_, name)
  if name == "alerts" then return native.alerts() end
  return name ~= "severity" and name ~= "random" and verb(name) or look("incident", name)
end

-- Named lists: list("vpn-egress"):match(value), :rows().
local lists = { __index = {
  match = function(self, value)
    return look("list.match", { list = self["$list"], value = tostring(value) }) or nil
  end,
  rows = function(self) return look("list.rows", self["$list"]) end,
} }
run.list = function(name)
  if type(name) ~= "string" then error("list needs a name: list \"vpn-egress\"", 2) end
  return setmetatable({ ["$list"] = name }, lists)
end

-- The time of the entry that woke the run, in milliseconds since 1970.
run.now = function() return look("now") // 1000 end

run.random = function(...) return verb("random")(...) end

return run
