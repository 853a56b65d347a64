-- expect: invalid not declared
return playbook {
  title = "environment walk",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local env = _ENV
    env.pairs = nil
  end,
}
