-- expect: invalid too much data
return playbook {
  title = "table that unfolds",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local t = { "x" }
    for _ = 1, 60 do t = { t, t } end
    act.ldap.lock { t = t }
  end,
}
