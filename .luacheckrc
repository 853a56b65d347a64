-- What the engine's sandbox offers to the files of each folder (orchestrator/script/).
std = "lua54"
max_line_length = 200
self = false

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
files["orchestrator/script/prelude.lua"] = { ignore = { "1" } }
