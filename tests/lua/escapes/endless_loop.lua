-- expect: limit too much CPU
return playbook {
  title = "endless loop",
  uses = { "ldap.lock" },
  run = function(incident, act)
    while true do end
  end,
}
