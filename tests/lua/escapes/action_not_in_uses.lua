-- expect: invalid `unlock` is not in this playbook
return playbook {
  title = "action not in uses",
  uses = { "ldap.lock" },
  run = function(incident, act)
    act.ldap.unlock {}
  end,
}
