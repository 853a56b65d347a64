-- expect: invalid read-only
return playbook {
  title = "action added by hand",
  uses = { "ldap.lock" },
  run = function(incident, act)
    act.ldap.steal = act.ldap.lock
  end,
}
