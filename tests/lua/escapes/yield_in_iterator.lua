-- expect: done 3
return playbook {
  title = "yield in iterator",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local n = 0
    for _ in function() if n < 3 then return act.ldap.lock {} end end do n = n + 1 end
    return n
  end,
}
