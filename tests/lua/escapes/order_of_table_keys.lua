-- expect: invalid no fixed order
return playbook {
  title = "order of table keys",
  uses = { "ldap.lock" },
  run = function(incident, act)
    for _ in pairs { [{}] = 1 } do return 1 end
  end,
}
