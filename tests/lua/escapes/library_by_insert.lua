-- expect: invalid read-only
return playbook {
  title = "library by insert",
  uses = { "ldap.lock" },
  run = function(incident, act)
    table.insert(table, 1)
  end,
}
