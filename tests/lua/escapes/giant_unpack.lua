-- expect: invalid too many
return playbook {
  title = "giant unpack",
  uses = { "ldap.lock" },
  run = function(incident, act)
    return table.unpack({}, 1, 1e8)
  end,
}
