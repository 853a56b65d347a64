-- expect: invalid too complex
return playbook {
  title = "deep pattern of items",
  uses = { "ldap.lock" },
  run = function(incident, act)
    return string.find(("a"):rep(1000), ("a?"):rep(1000))
  end,
}
