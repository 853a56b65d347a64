-- expect: limit too much CPU
return playbook {
  title = "goto around the kill",
  uses = { "ldap.lock" },
  run = function(incident, act)
    ::again::
    pcall(function() for _ = 1, 1e18 do end end)
    goto again
  end,
}
