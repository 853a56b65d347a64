-- expect: invalid read-only
return playbook {
  title = "string library",
  uses = { "ldap.lock" },
  run = function(incident, act)
    string.upper = function() return "stolen" end
  end,
}
