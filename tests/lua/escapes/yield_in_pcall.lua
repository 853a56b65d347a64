-- expect: done true
return playbook {
  title = "yield in pcall",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local ok, result = pcall(function() return act.ldap.lock {} end)
    return ok and type(result) == "table"
  end,
}
