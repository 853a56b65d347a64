-- expect: limit too much CPU
return playbook {
  title = "endless metamethod",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local t = setmetatable({}, { __index = function(self, k) return self[k + 1] end })
    while true do pcall(function() return t[1] end) end
  end,
}
