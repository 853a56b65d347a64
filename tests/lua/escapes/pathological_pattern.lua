-- expect: invalid steps
return playbook {
  title = "pathological pattern",
  uses = { "ldap.lock" },
  run = function(incident, act)
    return string.find(("a"):rep(40), ("a?"):rep(40) .. ("a"):rep(40))
  end,
}
