-- expect: invalid
return playbook {
  title = "string metatable",
  uses = { "ldap.lock" },
  run = function(incident, act)
    getmetatable("").__index = function() return "stolen" end
  end,
}
