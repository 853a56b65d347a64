-- expect: done true
return playbook {
  title = "yield in metamethod",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local t = setmetatable({}, { __index = function() return act.ldap.lock {} ~= nil end })
    return t.x
  end,
}
