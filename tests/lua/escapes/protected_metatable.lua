-- expect: invalid `__metatable` is not allowed
return playbook {
  title = "protected metatable",
  uses = { "ldap.lock" },
  run = function(incident, act)
    setmetatable({}, { __metatable = false })
  end,
}
