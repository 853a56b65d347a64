-- expect: invalid an error that is a function
return playbook {
  title = "error that is a function",
  uses = { "ldap.lock" },
  run = function(incident, act)
    error(function() end)
  end,
}
