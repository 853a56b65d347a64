-- expect: invalid longer than
return playbook {
  title = "giant concat",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local t = {}
    local s = ("x"):rep(1 << 19)
    for i = 1, 20 do t[i] = s end
    return table.concat(t)
  end,
}
