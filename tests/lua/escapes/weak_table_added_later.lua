-- expect: done 100
return playbook {
  title = "weak table added later",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local mt = {}
    local t = setmetatable({}, mt)
    mt.__mode = "kv"
    for i = 1, 100 do t[i] = {} end
    for _ = 1, 20000 do local _ = { {} } end
    local n = 0
    for _ in pairs(t) do n = n + 1 end
    return n
  end,
}
