-- expect: invalid `__gc` is not allowed
return playbook {
  title = "finalizer",
  uses = { "ldap.lock" },
  run = function(incident, act)
    setmetatable({}, { __gc = function() while true do end end })
  end,
}
