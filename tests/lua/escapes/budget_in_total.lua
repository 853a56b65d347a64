-- expect: limit used up its CPU time
return playbook {
  title = "budget in total",
  uses = { "ldap.lock" },
  run = function(incident, act)
    while true do
      for _ = 1, 1000000 do end
      act.ldap.lock {}
    end
  end,
}
