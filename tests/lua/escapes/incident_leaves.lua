-- expect: invalid cannot be passed on
return playbook {
  title = "incident leaves",
  uses = { "ldap.lock" },
  run = function(incident, act)
    act.ldap.lock { incident = incident }
  end,
}
