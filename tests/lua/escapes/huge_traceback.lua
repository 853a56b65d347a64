-- expect: invalid deep
return playbook {
  title = "huge traceback",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local function f(n) if n == 0 then error(("deep"):rep(100000)) end return f(n - 1) .. "" end
    f(10000)
  end,
}
