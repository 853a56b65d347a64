-- expect: invalid nested too deep
return playbook {
  title = "cyclic table leaves",
  uses = { "ldap.lock" },
  run = function(incident, act)
    local t = {}
    t.t = t
    act.ldap.lock(t)
  end,
}
