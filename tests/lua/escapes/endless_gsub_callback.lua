-- expect: limit too much CPU
return playbook {
  title = "endless gsub callback",
  uses = { "ldap.lock" },
  run = function(incident, act)
    string.gsub("x", "x", function() while true do end end)
  end,
}
