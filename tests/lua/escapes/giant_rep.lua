-- expect: invalid longer than
return playbook {
  title = "giant rep",
  uses = { "ldap.lock" },
  run = function(incident, act)
    return ("x"):rep(1 << 40)
  end,
}
