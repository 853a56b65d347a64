-- expect: hand_over
return playbook {
  title = "hand over swallowed",
  uses = { "ldap.lock" },
  run = function(incident, act)
    pcall(function() incident:hand_over("enough") end)
    while true do act.ldap.lock {} end
  end,
}
