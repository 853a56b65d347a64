-- expect: invalid is a function
return playbook {
  title = "function leaves",
  uses = { "ldap.lock" },
  run = function(incident, act)
    act.ldap.lock { f = function() end }
  end,
}
