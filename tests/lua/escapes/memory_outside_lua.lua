-- expect: done 20
return playbook {
  title = "memory outside Lua",
  uses = { "ldap.lock" },
  run = function(_, act)
    local text, n = "[" .. ("[],"):rep(5000) .. "[]]", 0
    for _ = 1, 20 do
      if #json.decode(text) ~= 5001 then error("lost something") end
      n = n + 1
      if n % 2 == 0 then act.ldap.lock {} end
    end
    return n
  end,
}
