-- expect: invalid inside a sort
return playbook {
  title = "yield in sort",
  uses = { "ldap.lock" },
  run = function(incident, act)
    table.sort({ 2, 1 }, function() act.ldap.lock {} end)
  end,
}
