-- expect: invalid longer than
return playbook {
  title = "giant gsub",
  uses = { "ldap.lock" },
  run = function(incident, act)
    return (("x"):rep(1000)):gsub("x", ("y"):rep(100000))
  end,
}
