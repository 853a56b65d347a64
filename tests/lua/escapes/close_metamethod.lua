-- expect: invalid `__close` is not allowed
return playbook {
  title = "close metamethod",
  uses = { "ldap.lock" },
  run = function(incident, act)
    setmetatable({}, { __close = function() end })
  end,
}
