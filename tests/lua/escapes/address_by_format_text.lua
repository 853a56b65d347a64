-- expect: done "table function"
return playbook {
  title = "address by format text",
  uses = { "ldap.lock" },
  run = function(incident, act)
    return string.format("%s %s", {}, pairs)
  end,
}
