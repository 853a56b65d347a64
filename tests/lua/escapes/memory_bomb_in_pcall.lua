-- expect: memory
return playbook {
  title = "memory bomb in pcall",
  uses = { "ldap.lock" },
  run = function(incident, act)
    while true do
      pcall(function()
        local t = {}
        for i = 1, 1e9 do t[i] = { i } end
      end)
    end
  end,
}
