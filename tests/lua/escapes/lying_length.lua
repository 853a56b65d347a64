-- expect: invalid out of bounds
return playbook {
  title = "lying length",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local t = setmetatable({}, { __len = function() return 1 << 40 end })
    table.insert(t, 5, "x")
  end,
}
