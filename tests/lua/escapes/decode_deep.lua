-- expect: done [true,"JSON nested deeper than 64 levels"]
return playbook {
  title = "decode deep",
  uses = { "ldap.lock" },
  run = function()
    local value, why = json.decode(("["):rep(100000) .. ("]"):rep(100000))
    return { value == nil, why }
  end,
}
