-- declare.lua: checks the shape of a playbook or a connector, and returns it without its functions (a function becomes `true`).
-- A mistake is raised as { path, message }: the loader finds the path's line.
local native = ...
local duration, near = native.duration, native.near
local declare = {}

local function fail(path, message)
  error({ path = path, message = (path ~= "" and "`" .. path .. "`: " or "") .. message }, 0)
end

local function join(path, name) return path == "" and tostring(name) or path .. "." .. tostring(name) end

local function article(kind) return (kind:find("^[aeiou]") and "an " or "a ") .. kind end

local function has(list, value)
  for _, item in ipairs(list) do
    if item == value then return true end
  end
  return false
end

-- Readers: each takes a path and a value, and returns what stands in the declaration.
local read = {}

local function of_type(kind)
  return function(path, value)
    if type(value) ~= kind then fail(path, "must be " .. article(kind) .. ", not " .. article(type(value))) end
    return value
  end
end
read.text, read.flag = of_type("string"), of_type("boolean")

function read.func(path, value)
  if type(value) ~= "function" then fail(path, "must be a function") end
  return true
end

function read.time(path, value)
  local ms = type(value) == "string" and duration(value)
  if not ms then fail(path, "must be a time like \"20s\", \"30m\" or \"7d\"") end
  return ms
end

function read.count(path, value)
  if math.type(value) ~= "integer" or value < 0 then fail(path, "must be a whole number") end
  return value
end

function read.texts(path, value)
  if type(value) ~= "table" then fail(path, "must be a list of texts") end
  local list = native.array {}
  for i, item in ipairs(value) do
    if type(item) ~= "string" then fail(path .. "[" .. i .. "]", "must be a text") end
    list[i] = item
  end
  for key in pairs(value) do
    if math.type(key) ~= "integer" or key > #list then fail(path, "must be a list of texts") end
  end
  return list
end

function read.one_of(...)
  local allowed = { ... }
  return function(path, value)
    if not has(allowed, value) then
      fail(path, "must be one of " .. table.concat(allowed, ", ") .. (type(value) == "string" and near(value, allowed) or ""))
    end
    return value
  end
end

function read.data(path, value)
  if type(value) ~= "table" then fail(path, "must be a table") end
  return value
end

local function read_fields(path, t, fields)
  if type(t) ~= "table" then fail(path, "must be a table") end
  local names = {}
  for name in pairs(fields) do names[#names + 1] = name end
  for name in pairs(t) do
    if type(name) ~= "string" or not fields[name] then
      fail(join(path, name), "is not known here" .. (type(name) == "string" and near(name, names) or ""))
    end
  end
  local result = {}
  for name, field in pairs(fields) do
    local value = t[name]
    if value ~= nil then result[name] = field[1](join(path, name), value)
    elseif field.required then fail(path, "needs `" .. name .. "`")
    elseif type(field.default) == "function" then result[name] = field.default()
    else result[name] = field.default end
  end
  return result
end

local function read_map(reader)
  return function(path, value)
    if type(value) ~= "table" then fail(path, "must be a table of names") end
    local result = {}
    for name, item in pairs(value) do
      if type(name) ~= "string" or not name:find("^[%a_][%w_%-]*$") then fail(join(path, name), "is no name") end
      result[name] = reader(join(path, name), item)
    end
    return result
  end
end

local read_schema
read_schema = function(path, value)
  if type(value) ~= "table" or not native.is_schema(value) then fail(path, "must be made by schema.string {}, schema.integer {}…") end
  local copy = {}
  for name, item in pairs(value) do copy[name] = item end
  if copy.of ~= nil then copy.of = read_schema(path .. ".of", copy.of) end
  if copy.fields ~= nil then copy.fields = read_map(read_schema)(path .. ".fields", copy.fields) end
  local wrong = native.check_schema(copy)
  if wrong then fail(path, wrong) end
  return copy
end
local schemas = read_map(read_schema)
local function empty() return {} end

local function read_condition(path, value)
  if type(value) ~= "table" then fail(path, "must be a table of conditions") end
  if next(value) == nil then fail(path, "must not be empty") end
  return value
end

local function read_uses(path, value)
  local list = read.texts(path, value)
  for i, item in ipairs(list) do
    if not item:find("^[%w_%-]+%.[%w_]+$") then fail(path .. "[" .. i .. "]", "must be \"connector.action\"") end
  end
  return list
end

local playbook_fields = {
  title = { read.text, required = true }, doc = { read.text }, attack = { read.texts }, when = { read_condition }, group = { read.texts },
  window = { read.time, default = 3600000 }, mode = { read.one_of("single", "parallel", "queued", "restart"), default = "single" },
  uses = { read_uses, default = native.array {} }, runbook = { read.text }, params = { schemas, default = empty },
  settings = { schemas, default = empty }, shadow = { read.flag, default = false }, run = { read.func, required = true },
}

local action_fields = {
  doc = { read.text, required = true }, docs = { read.text }, effect = { read.one_of("read", "record", "notify", "contain", "destroy"), required = true },
  target = { read.data }, params = { schemas, default = empty }, returns = { schemas, default = empty }, request = { read.func, required = true },
  result = { read.func, required = true }, simulate = { read.func }, idempotent = { read.flag }, probe = { read.text },
  undo = { function(path, value)
    if value ~= false and type(value) ~= "string" then fail(path, "must be an action's name, or false") end
    return value
  end },
  lifts = { read.text }, undo_params = { read.func }, recover = { read.text }, resolve = { read.text }, settle = { read.time }, timeout = { read.time }, role = { read.text },
}

local function check_names(path, action, actions)
  for _, field in ipairs { "probe", "undo", "resolve", "lifts" } do
    local name = action[field]
    if name and not actions[name] then
      local names = {}
      for known in pairs(actions) do names[#names + 1] = known end
      fail(path .. "." .. field, "there is no action `" .. name .. "`" .. near(name, names))
    end
    if name and field ~= "undo" and field ~= "lifts" and actions[name].effect ~= "read" then fail(path .. "." .. field, "`" .. name .. "` must have the effect read") end
  end
end

local function check_target(path, action)
  for kind, param in pairs(action.target or {}) do
    if type(kind) ~= "string" or type(param) ~= "string" then fail(path .. ".target", "must be a table like { user = \"uid\" }") end
    if not action.params[param] then fail(path .. ".target", "there is no parameter `" .. param .. "`") end
  end
end

-- What every containment has, whoever wrote it.
local function check_containment(path, action)
  if action.effect ~= "contain" and action.effect ~= "destroy" then
    if action.undo == false then fail(path .. ".undo", "is for contain and destroy only") end
    return
  end
  if action.lifts and action.undo ~= nil then fail(path, "`lifts` and `undo` exclude each other: what lifts a containment is none") end
  if action.undo == nil and not action.lifts then fail(path, "a " .. action.effect .. " action needs `undo = \"action\"`, or `undo = false` with `recover`, or `lifts = \"action\"`") end
  if action.undo == false and not action.recover then fail(path, "`undo = false` needs `recover`: what a person does instead") end
  if not action.target or next(action.target) == nil then fail(path, "a " .. action.effect .. " action needs `target`: { user = \"uid\" }") end
  if not action.params.because then
    action.params.because = { type = "string", doc = "Why this is done; it goes on record.", min = 1, max = 2000 }
  end
  if action.undo and not action.params.lift_after then
    action.params.lift_after = { type = "duration", doc = "Undo it by itself after this time.", optional = true }
  end
end

local alert_fields = {
  source = { read.text, required = true }, doc = { read.text }, docs = { read.text }, recognise = { read.func }, split = { read.func },
  normalise = { read.func, required = true }, signature = { read.data },
}

local limit_fields = {
  timeout = { read.time, default = 20000 }, concurrent = { read.count, default = 8 }, per_minute = { read.count, default = 0 },
  response_kib = { read.count, default = 256 },
}

local function read_limits(path, value)
  local limits = read_fields(path, value, limit_fields)
  limits.response, limits.response_kib = limits.response_kib * 1024, nil
  return limits
end

local connector_fields = {
  name = { function(path, value)
    if type(value) ~= "string" or not value:find("^%l[%w_]*$") then fail(path, "must be a short lower-case name") end
    return value
  end, required = true },
  title = { read.text, required = true }, doc = { read.text }, docs = { read.text }, settings = { schemas, default = empty },
  limits = { read_limits, default = function() return read_limits("limits", {}) end }, network = { read.data },
  actions = { read_map(function(path, value) return read_fields(path, value, action_fields) end), default = empty },
  alert = { function(path, value) return read_fields(path, value, alert_fields) end },
}

function declare.playbook(t)
  local result = read_fields("", t, playbook_fields)
  if result.when and result.when[1] ~= nil then native.array(result.when) end
  return { playbook = result }
end

function declare.connector(t)
  local result = read_fields("", t, connector_fields)
  for name, action in pairs(result.actions) do
    local path = "actions." .. name
    check_target(path, action)
    check_containment(path, action)
    check_names(path, action, result.actions)
  end
  if next(result.actions) == nil and not result.alert then fail("", "a connector needs `actions` or `alert`") end
  return { connector = result }
end

return declare
