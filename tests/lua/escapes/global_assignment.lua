-- expect: invalid not declared
return playbook {
  title = "global assignment",
  uses = { "ldap.lock" },
  run = function(incident, act)
    stolen = 1 -- luacheck: ignore
  end,
}
