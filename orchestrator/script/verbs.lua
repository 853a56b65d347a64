-- verbs.lua: incident's verbs, made when a run first names one. Every verb ends in `return yield(…)`.
local native = ...
local look, yield, duration, step_of, uses = native.look, native.yield, native.duration, native.step_of, native.uses
local verbs = {}

local function text_of(value, what)
  if type(value) == "string" then return value end
  if type(value) == "number" then return tostring(value) end
  if type(value) == "table" and type(value.message) == "string" then return (value.kind and value.kind .. ": " or "") .. value.message end
  error(what .. " must be a text, not a " .. type(value), 3)
end

local function milliseconds(value, what)
  local ms = type(value) == "string" and duration(value)
  if not ms then error(what .. " must be a time like \"30m\"", 3) end
  return ms
end

local function checked(self, value, verb)
  if not rawequal(self, native.incident) then error("write incident:" .. verb .. " with a colon", 3) end
  if value ~= nil and type(value) ~= "table" then error("incident:" .. verb .. " takes a table", 3) end
  return value or {}
end

local function only(t, names, verb)
  for name in pairs(t) do
    if not names[name] then error("incident:" .. verb .. " knows no `" .. tostring(name) .. "`", 3) end
  end
end

local ask_names = { [1] = true, text = true, role = true, options = true, within = true, otherwise = true, approvals = true }
function verbs.ask(self, question)
  question = checked(self, question, "ask")
  only(question, ask_names, "ask")
  local options, otherwise = question.options, question.otherwise
  if otherwise == nil then error("a question needs `otherwise`: what does silence mean?", 2) end
  if options ~= nil then
    local known = false
    if type(options) ~= "table" then error("`options` must be a list of texts", 2) end
    for _, option in ipairs(options) do
      if type(option) ~= "string" then error("`options` must be a list of texts", 2) end
      known = known or option == otherwise
    end
    if not known then error("`otherwise` must be one of `options`", 2) end
  end
  return yield("ask", {
    text = text_of(question[1] or question.text, "the question"), role = question.role, options = options,
    within = milliseconds(question.within, "`within`"), otherwise = text_of(otherwise, "`otherwise`"), approvals = question.approvals,
  })
end

function verbs.wait(self, time)
  checked(self, nil, "wait")
  return yield("wait", { ms = milliseconds(time, "incident:wait") })
end

local wait_for_names = { alert = true, within = true }
function verbs.wait_for(self, spec)
  spec = checked(self, spec, "wait_for")
  only(spec, wait_for_names, "wait_for")
  if type(spec.alert) ~= "table" then error("incident:wait_for needs `alert`, written like a `when`", 2) end
  return yield("wait_for", { alert = spec.alert, within = milliseconds(spec.within, "`within`") })
end

local poll_names = { [1] = true, action = true, params = true, every = true, within = true, when = true, ["until"] = true }
function verbs.poll(self, spec)
  spec = checked(self, spec, "poll")
  only(spec, poll_names, "poll")
  local name = spec.action or spec[1]
  local connector, action
  if type(name) == "string" then connector, action = name:match("^([%w_%-]+)%.([%w_]+)$") end
  if not connector then error("incident:poll needs `action` as \"connector.action\"", 2) end
  if not (uses[connector] and uses[connector][action]) then error("`" .. name .. "` is not in this playbook's `uses`", 2) end
  local condition = spec.when or spec["until"]
  if type(condition) ~= "table" then error("incident:poll needs `when`: what the answer must be like", 2) end
  return yield("poll", {
    connector = connector, action = action, params = spec.params or {}, every = milliseconds(spec.every or "30s", "`every`"),
    within = milliseconds(spec.within, "`within`"), ["until"] = condition,
  })
end

function verbs.note(self, text)
  checked(self, nil, "note")
  return yield("note", { text = text_of(text, "a note") })
end

function verbs.hand_over(self, text, why)
  checked(self, nil, "hand_over")
  return yield("hand_over", { text = text_of(text, "the reason"), why = why ~= nil and text_of(why, "the cause") or nil })
end

function verbs.severity(self, severity)
  checked(self, nil, "severity")
  return yield("severity", { severity = text_of(severity, "the severity") })
end

function verbs.assign(self, to)
  checked(self, nil, "assign")
  return yield("assign", { to = text_of(to, "the person") })
end

function verbs.tag(self, tag)
  checked(self, nil, "tag")
  return yield("tag", { tag = text_of(tag, "a tag") })
end

function verbs.close(self, spec)
  if type(spec) == "string" then spec = { verdict = spec } end
  return yield("close", checked(self, spec, "close"))
end

local collect_names = { name = true, content = true, because = true, source = true, tool = true, class = true, hold = true }
function verbs.collect(self, spec)
  spec = checked(self, spec, "collect")
  only(spec, collect_names, "collect")
  for _, name in ipairs { "name", "because" } do
    if type(spec[name]) ~= "string" or spec[name] == "" then error("incident:collect needs `" .. name .. "`", 2) end
  end
  if type(spec.content) ~= "string" and type(spec.content) ~= "table" then
    error("incident:collect needs `content`: a text, or a table such as what an action returned", 2)
  end
  return yield("collect", {
    name = spec.name, content = spec.content, because = spec.because, source = spec.source, tool = spec.tool, class = spec.class, hold = spec.hold,
  })
end

function verbs.undo(self, result)
  checked(self, nil, "undo")
  local step = step_of(result)
  if not step then error("incident:undo takes what an action returned", 2) end
  return yield("undo", { step = step })
end

function verbs.release_all(self)
  checked(self, nil, "release_all")
  return yield("release", { of = "incident" })
end

function verbs.continue_as(self, params)
  return yield("continue_as", { params = checked(self, params, "continue_as") })
end

function verbs.observables(self, kind)
  checked(self, nil, "observables")
  return look("observables", kind)
end

function verbs.summary(self)
  checked(self, nil, "summary")
  return look("summary")
end

verbs.parallel = native.parallel

-- random(): 0 <= x < 1; random(m): 1..m; random(m, n): m..n. The same in a replay.
function verbs.random(low, high)
  local bits = look("random")
  if not low then return (bits >> 11) * 2.0 ^ -53 end
  if not high then low, high = 1, low end
  if math.type(low) ~= "integer" or math.type(high) ~= "integer" or low > high then error("random needs integers, the lower one first", 2) end
  local range = high - low + 1
  if range <= 0 then error("the range of random is too wide", 2) end
  return low + (bits >> 1) % range
end

return verbs
