-- expect: invalid
return playbook {
  title = "giant move",
  uses = { "ldap.lock" },
  run = function(incident, act)
    return table.move({}, 1, 1 << 50, 2)
  end,
}
