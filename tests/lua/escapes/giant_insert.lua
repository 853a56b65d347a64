-- expect: done 1
return playbook {
  title = "giant insert",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local t = setmetatable({}, { __len = function() return 1 << 40 end })
    table.insert(t, "x")
    return rawlen(t)
  end,
}
