-- expect: done "table"
return playbook {
  title = "address in error",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local ok, e = pcall(error, {})
    return ok == false and tostring(e)
  end,
}
