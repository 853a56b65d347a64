-- expect: invalid at most
return playbook {
  title = "many branches",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local t = {}
    for i = 1, 10001 do t[i] = i end
    incident:parallel(t, function() end)
  end,
}
