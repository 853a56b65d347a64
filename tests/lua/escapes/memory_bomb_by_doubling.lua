-- expect: memory
return playbook {
  title = "memory bomb by doubling",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local s = "x"
    while true do s = s .. s end
  end,
}
