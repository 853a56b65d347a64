-- expect: done ""
return playbook {
  title = "giant rep of nothing",
  uses = { "ldap.lock" },
  run = function(incident, act)
    return (""):rep(1 << 40)
  end,
}
