-- expect: invalid names a secret by hand
return playbook {
  title = "secret by hand",
  uses = { "ldap.lock" },
  run = function(incident, act)
    act.ldap.lock { password = { ["$secret"] = "settings.key" } }
  end,
}
