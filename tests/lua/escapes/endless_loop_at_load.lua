-- expect: load too much CPU
while true do end
return playbook { title = "x", run = function() end }
