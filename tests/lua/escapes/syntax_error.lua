-- expect: load near
return playbook { title = 
