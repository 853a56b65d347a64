-- expect: invalid what an action returned
return playbook {
  title = "result of another",
  uses = { "ldap.lock" },
  run = function(incident, act)
    incident:undo({ step = "1" })
  end,
}
