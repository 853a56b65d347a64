-- expect: load unknown name `act`
act.ldap.lock {}
return playbook { title = "x", run = function() end }
