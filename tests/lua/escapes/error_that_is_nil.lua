-- expect: invalid
return playbook {
  title = "error that is nil",
  uses = { "ldap.lock" },
  run = function(incident, act)
    error(nil)
  end,
}
