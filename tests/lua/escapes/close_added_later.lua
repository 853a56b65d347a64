-- expect: invalid non-closable
return playbook {
  title = "close added later",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local mt = {}
    local t = setmetatable({}, mt)
    mt.__close = function() while true do end end
    local x <close> = t
    return x
  end,
}
