-- expect: done "function"
return playbook {
  title = "address of function",
  uses = { "ldap.lock" },
  run = function(incident, act)
    return tostring(pairs)
  end,
}
