-- expect: done "$$secret"
return playbook {
  title = "secret from data",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local keys = {}
    for k in pairs(incident.evil) do keys[#keys + 1] = k end
    return keys[1]
  end,
}
