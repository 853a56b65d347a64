-- expect: invalid read-only
return playbook {
  title = "library by move",
  uses = { "ldap.lock" },
  run = function(incident, act)
    table.move({ 1 }, 1, 1, 1, string)
  end,
}
