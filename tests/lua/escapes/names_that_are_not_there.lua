-- expect: done true
return playbook {
  title = "names that are not there",
  uses = { "ldap.lock" },
  run = function(incident, act)
    for _, name in ipairs { "os", "io", "debug", "coroutine", "package", "require", "load", "loadstring", "loadfile", "dofile", "print", "collectgarbage",
                            "rawset", "_G", "warn", "newproxy", "module", "setfenv", "getfenv", "_VERSION" } do
      local ok, found = pcall(function() return _ENV[name] end)
      if ok and found ~= nil then error("there is a " .. name) end
    end
    if string.dump or math.random or math.randomseed or string.pack then error("there is a library function too many") end
    return true
  end,
}
