-- expect: invalid steps
return playbook {
  title = "pathological backtracking",
  uses = { "ldap.lock" },
  run = function(incident, act)
    return string.match(("a"):rep(5000), ".-.-.-.-b")
  end,
}
