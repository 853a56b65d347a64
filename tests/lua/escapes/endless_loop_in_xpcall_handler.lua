-- expect: limit too much CPU
return playbook {
  title = "endless loop in xpcall handler",
  uses = { "ldap.lock" },
  run = function(incident, act)
    while true do
      xpcall(error, function() while true do end end)
    end
  end,
}
