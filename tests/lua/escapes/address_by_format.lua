-- expect: invalid invalid conversion
return playbook {
  title = "address by format",
  uses = { "ldap.lock" },
  run = function(incident, act)
    return string.format("%p", {})
  end,
}
