-- expect: invalid inside a sort, a gsub
return playbook {
  title = "yield in gsub",
  uses = { "ldap.lock" },
  run = function(incident, act)
    string.gsub("x", "x", function() act.ldap.lock {} end)
  end,
}
