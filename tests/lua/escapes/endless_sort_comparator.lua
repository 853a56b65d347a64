-- expect: limit too much CPU
return playbook {
  title = "endless sort comparator",
  uses = { "ldap.lock" },
  run = function(incident, act)
    table.sort({ 3, 2, 1 }, function() while true do end end)
  end,
}
