-- expect: done [15,"5x",true]
return playbook {
  title = "numbers and text",
  uses = { "ldap.lock" },
  run = function(incident, act)
    return { "10" + 5, 5 .. "x", "10" ~= 10 }
  end,
}
