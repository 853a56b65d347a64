-- What the engine's sandbox offers to the files of each folder (orchestrator/script/).
std = "lua54"
max_line_length = 200
self = false
-- Scripts that try to break out of the sandbox break this house's rules on purpose.
exclude_files = { "tests/lua/escapes", "build*" }

local shared = { "schema", "null", "array", "failure", "must", "list", "json", "time_ms", "time_text", "duration_ms", "percent_encode", "sha256", "from_base64" }
local function globals(...)
  local all = { ... }
  for _, name in ipairs(shared) do all[#all + 1] = name end
  return all
end

files["connectors/*.lua"] = { read_globals = globals("connector", "ocsf") }
files["playbooks/*.lua"] = { read_globals = globals("playbook", "now", "random") }
files["playbooks/*_test.lua"] = { read_globals = globals("tests") }
files["orchestrator/script/ocsf.lua"] = { read_globals = { "null" } }
files["orchestrator/script/settings.lua"] = { read_globals = { "schema", "array", "null" } }
-- Redis runs this one, with Lua 5.1 and its own globals.
files["orchestrator/wire/redis_functions.lua"] = { std = "lua51", read_globals = { "redis", "cjson", "cmsgpack", "struct" } }
