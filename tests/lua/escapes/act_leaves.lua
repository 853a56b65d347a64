-- expect: invalid
return playbook {
  title = "act leaves",
  uses = { "ldap.lock" },
  run = function(incident, act)
    act.ldap.lock { act = act }
  end,
}
