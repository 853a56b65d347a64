-- expect: memory not enough memory
return playbook {
  title = "deep recursion",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local function f() return 1 + f() end
    return f()
  end,
}
