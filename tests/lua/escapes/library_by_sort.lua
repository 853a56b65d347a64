-- expect: invalid read-only
return playbook {
  title = "library by sort",
  uses = { "ldap.lock" },
  run = function(incident, act)
    table.sort(math)
  end,
}
