-- expect: invalid
return playbook {
  title = "environment as upvalue",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local _ENV = { pairs = pairs }
    return tostring(1) -- luacheck: ignore
  end,
}
