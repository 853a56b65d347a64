-- expect: limit too much CPU
return playbook {
  title = "endless tostring",
  uses = { "ldap.lock" },
  run = function(incident, act)
    tostring(setmetatable({}, { __tostring = function() while true do end end }))
  end,
}
