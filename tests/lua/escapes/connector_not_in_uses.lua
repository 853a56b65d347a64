-- expect: invalid `rt` is not in this playbook
return playbook {
  title = "connector not in uses",
  uses = { "ldap.lock" },
  run = function(incident, act)
    act.rt.create {}
  end,
}
