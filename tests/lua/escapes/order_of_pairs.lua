-- expect: done "1 2 10 a b c"
return playbook {
  title = "order of pairs",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local t, keys = { c = 1, [10] = 1, a = 1, [2] = 1, b = 1, [1] = 1 }, {}
    for k in pairs(t) do keys[#keys + 1] = k end
    return table.concat(keys, " ")
  end,
}
