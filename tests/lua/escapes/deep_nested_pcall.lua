-- expect: done true
return playbook {
  title = "deep nested pcall",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local function f() return pcall(f) end
    f()
    return true
  end,
}
