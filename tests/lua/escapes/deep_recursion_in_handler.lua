-- expect: memory not enough memory
return playbook {
  title = "deep recursion in handler",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local function f() return 1 + f() end
    return (xpcall(f, f))
  end,
}
