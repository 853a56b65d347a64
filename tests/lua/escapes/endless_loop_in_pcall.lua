-- expect: limit too much CPU
return playbook {
  title = "endless loop in pcall",
  uses = { "ldap.lock" },
  run = function(incident, act)
    while true do
      pcall(function() while true do end end)
    end
  end,
}
