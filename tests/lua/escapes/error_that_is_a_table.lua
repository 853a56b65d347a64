-- expect: invalid it broke
return playbook {
  title = "error that is a table",
  uses = { "ldap.lock" },
  run = function(incident, act)
    error({ message = "it broke" })
  end,
}
