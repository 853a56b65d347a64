-- expect: memory
return playbook {
  title = "memory bomb",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local t = {}
    for i = 1, 1e9 do t[i] = { i } end
  end,
}
