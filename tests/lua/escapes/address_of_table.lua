-- expect: done "table"
return playbook {
  title = "address of table",
  uses = { "ldap.lock" },
  run = function(incident, act)
    return tostring({})
  end,
}
