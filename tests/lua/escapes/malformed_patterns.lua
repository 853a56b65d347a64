-- expect: done true
return playbook {
  title = "malformed patterns",
  uses = { "ldap.lock" },
  run = function(incident, act)
    for _, p in ipairs { "%", "[", "[a", "[%", "(", ".)", "%b", "%bx", "%f", "%fa", "%1", "(%1)", "[^", "(()", "%b(", ("("):rep(40) } do
      local ok = pcall(string.find, "some text (a)", p)
      if ok then error("accepted: " .. p) end
    end
    return true
  end,
}
