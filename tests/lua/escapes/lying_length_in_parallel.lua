-- expect: invalid at most
return playbook {
  title = "lying length in parallel",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local t = setmetatable({}, { __len = function() return 1 << 40 end })
    incident:parallel(t, function() end)
  end,
}
