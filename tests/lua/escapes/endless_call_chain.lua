-- expect: invalid `__call` must be a function
return playbook {
  title = "endless call chain",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local t = {}
    setmetatable(t, { __call = t })
    t()
  end,
}
