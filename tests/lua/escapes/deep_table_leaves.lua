-- expect: invalid nested too deep
return playbook {
  title = "deep table leaves",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local t = {}
    for _ = 1, 5000 do t = { t } end
    act.ldap.lock { t = t }
  end,
}
