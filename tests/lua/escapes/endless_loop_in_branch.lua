-- expect: limit too much CPU
return playbook {
  title = "endless loop in branch",
  uses = { "ldap.lock" },
  run = function(incident, act)
    incident:parallel({ 1 }, function() while true do end end)
  end,
}
