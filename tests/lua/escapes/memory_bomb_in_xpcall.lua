-- expect: memory
return playbook {
  title = "memory bomb in xpcall",
  uses = { "ldap.lock" },
  run = function(incident, act)
    xpcall(function()
      local t = {}
      for i = 1, 1e9 do t[i] = { i } end
    end, function() return "swallowed" end)
    return "survived"
  end,
}
