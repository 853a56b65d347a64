-- expect: invalid an error that is a table
return playbook {
  title = "error with endless tostring",
  uses = { "ldap.lock" },
  run = function(incident, act)
    error(setmetatable({}, { __tostring = function() while true do end end }))
  end,
}
