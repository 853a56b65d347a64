-- expect: invalid a metamethod
return playbook {
  title = "yield in tostring",
  uses = { "ldap.lock" },
  run = function(incident, act)
    tostring(setmetatable({}, { __tostring = function() act.ldap.lock {} end }))
  end,
}
