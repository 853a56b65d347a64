-- expect: invalid
return playbook {
  title = "string library by index",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local mt = getmetatable("")
    mt.__index.upper = function() return "stolen" end
  end,
}
