-- expect: limit too much CPU
return playbook {
  title = "pathological pattern repeated",
  uses = { "ldap.lock" },
  run = function(incident, act)
    while true do pcall(string.find, ("a"):rep(40), ("a?"):rep(40) .. ("a"):rep(40)) end
  end,
}
