-- expect: done 100
return playbook {
  title = "contradicting comparator",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local t = {}
    for i = 1, 100 do t[i] = i end
    table.sort(t, function() return true end)
    return #t
  end,
}
