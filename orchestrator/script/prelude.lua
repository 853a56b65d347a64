-- prelude.lua: what every script finds beside Lua itself. `native` holds the C functions that it stands on.
local native = ...
local prelude = {}

local retried = { unavailable = true, limit = true, timeout = true, busy = true }

-- The product's own words about what went wrong, from a transport's response.
local function words_of(response)
  local words = {}
  if response.status then words[#words + 1] = "HTTP " .. tostring(response.status) end
  if response.code then words[#words + 1] = "code " .. tostring(response.code) .. (response.name and " " .. tostring(response.name) or "") end
  if response.sqlstate then words[#words + 1] = "SQLSTATE " .. tostring(response.sqlstate) end
  if response.exit then words[#words + 1] = "exit status " .. tostring(response.exit) end
  local text = response.message or response.error or response.text or response.stderr
  local body = response.body
  if text == nil and type(body) == "table" then text = body.message or body.error_description or body.error or body.detail or body.title end
  if type(text) == "table" then text = text.message end
  if type(text) == "string" and text ~= "" then words[#words + 1] = #text > 300 and text:sub(1, 300) .. "…" or text end
  return table.concat(words, ": ")
end

-- failure("refused", response) or failure("refused", "why", retry): the second result of `result` and of actions.
function prelude.failure(kind, why, retry)
  if type(kind) ~= "string" then error("failure needs a kind, for example failure(\"refused\", response)", 2) end
  local message = kind
  if type(why) == "table" then
    message = words_of(why)
    if message == "" then message = kind end
    if retry == nil then retry = why.status == 429 or why.status == 503 or nil end
  elseif why ~= nil then
    message = tostring(why)
  end
  if retry == nil then retry = retried[kind] or false end
  return { kind = kind, message = message, retry = retry }
end

-- must(x, failure): x, or an error with the failure's message where must was called.
function prelude.must(value, why, ...)
  if value then return value, why, ... end
  if type(why) == "table" then
    error((why.kind and tostring(why.kind) .. ": " or "") .. tostring(why.message or "it failed"), 2)
  end
  error(why ~= nil and tostring(why) or "a result that must be there is missing", 2)
end

-- list "vpn-egress": a named list, in a `when`. Runs have a list that can also be asked.
function prelude.list(name)
  if type(name) ~= "string" then error("list needs a name: list \"vpn-egress\"", 2) end
  return { ["$list"] = name }
end

prelude.null = native.null
return prelude
