-- expect: done "1 2 10 a b c"
return playbook {
  title = "order of next",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local t, keys = { c = 1, [10] = 1, a = 1, [2] = 1, b = 1, [1] = 1 }, {}
    local k = next(t)
    while k ~= nil do
      keys[#keys + 1] = k
      k = next(t, k)
    end
    return table.concat(keys, " ")
  end,
}
