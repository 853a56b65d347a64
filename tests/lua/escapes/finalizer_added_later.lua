-- expect: done true
return playbook {
  title = "finalizer added later",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local ran
    local mt = {}
    for _ = 1, 100 do setmetatable({}, mt) end
    mt.__gc = function() ran = true end
    for _ = 1, 20000 do local _ = { {} } end
    return ran == nil
  end,
}
