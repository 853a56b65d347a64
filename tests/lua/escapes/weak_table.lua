-- expect: invalid `__mode` is not allowed
return playbook {
  title = "weak table",
  uses = { "ldap.lock" },
  run = function(incident, act)
    setmetatable({}, { __mode = "k" })
  end,
}
