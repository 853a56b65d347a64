-- expect: invalid invalid conversion
return playbook {
  title = "giant format",
  uses = { "ldap.lock" },
  run = function(incident, act)
    return string.format("%999999999d", 1)
  end,
}
