-- expect: invalid too many captures
return playbook {
  title = "deep pattern",
  uses = { "ldap.lock" },
  run = function(incident, act)
    return string.find(("a"):rep(1000), ("(a"):rep(500))
  end,
}
