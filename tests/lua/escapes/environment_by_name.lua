-- expect: invalid read-only
return playbook {
  title = "environment by name",
  uses = { "ldap.lock" },
  run = function(incident, act)
    _ENV.string.x = 1
  end,
}
