-- expect: invalid attempt to call
return playbook {
  title = "calling a text",
  uses = { "ldap.lock" },
  run = function(incident, act)
    return ("x")(1)
  end,
}
