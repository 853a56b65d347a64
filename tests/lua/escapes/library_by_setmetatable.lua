-- expect: invalid protected
return playbook {
  title = "library by setmetatable",
  uses = { "ldap.lock" },
  run = function(incident, act)
    setmetatable(string, { __index = {} })
  end,
}
