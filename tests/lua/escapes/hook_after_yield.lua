-- expect: limit too much CPU
return playbook {
  title = "hook after yield",
  uses = { "ldap.lock" },
  run = function(incident, act)
    act.ldap.lock {}
    while true do end
  end,
}
