-- expect: done ["ab",false,"seen: boom",true,1,2]
return playbook {
  title = "handler of xpcall",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local ok, text = xpcall(error, function(e) act.ldap.lock {} return "seen: " .. e end, "boom", 0)
    local fine, a, b = xpcall(function(x) act.ldap.lock {} return x, 2 end, tostring, 1)
    return { incident and "ab", ok, text, fine, a, b }
  end,
}
