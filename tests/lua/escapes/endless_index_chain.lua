-- expect: invalid loop
return playbook {
  title = "endless index chain",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local a, b = {}, {}
    setmetatable(a, { __index = b })
    setmetatable(b, { __index = a })
    return a.x
  end,
}
