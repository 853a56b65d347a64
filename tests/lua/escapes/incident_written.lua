-- expect: invalid cannot be written
return playbook {
  title = "incident written",
  uses = { "ldap.lock" },
  run = function(incident, act)
    incident.title = "x"
  end,
}
