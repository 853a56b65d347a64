-- ocsf.lua: what every alert normaliser needs, as one global table `ocsf`. Loaded after prelude.lua into connector states.
--
-- A normaliser makes a builder with ocsf.finding{…}, fills it with ocsf.set, ocsf.endpoint, ocsf.resource, ocsf.attack and returns
-- ocsf.done(f): a Detection Finding (class_uid 2004) of OCSF 1.3. Nothing here raises on odd input: a value of the wrong type is
-- left out, because one strange member must not cost us the alert. Nothing here knows a product.
local ocsf = {}

local find, sub, byte, match = string.find, string.sub, string.byte, string.match

local MAX_OBSERVABLES = 10000
local MAX_VALUE = 4096

local TYPE_ID = {
  ["Hostname"] = 1, ["IP Address"] = 2, ["MAC Address"] = 3, ["User Name"] = 4, ["Email Address"] = 5, ["URL String"] = 6,
  ["File Name"] = 7, ["Hash"] = 8, ["Process Name"] = 9, ["Resource UID"] = 10, ["Command Line"] = 13,
}
local SEVERITY = { [0] = "Unknown", "Informational", "Low", "Medium", "High", "Critical", "Fatal", [99] = "Other" }
local SEVERITY_ID = {
  unknown = 0, info = 1, information = 1, informational = 1, debug = 1, none = 1, ok = 1, notice = 2, low = 2, minor = 2,
  medium = 3, moderate = 3, warn = 3, warning = 3, high = 4, error = 4, err = 4, major = 4, important = 4, severe = 4,
  critical = 5, crit = 5, alert = 5, page = 5, ["very-high"] = 5, ["very high"] = 5, veryhigh = 5,
  emergency = 6, emerg = 6, fatal = 6, panic = 6, disaster = 6,
}
-- What products write where they know nothing.
local NOTHING = { [""] = true, ["-"] = true, ["null"] = true, ["(null)"] = true, ["<NA>"] = true, ["N/A"] = true, ["n/a"] = true }

-- ---- reading strange values ------------------------------------------------------------------------

-- A table that is not JSON's null, else nil.
function ocsf.table(v)
  if type(v) == "table" then return v end
  return nil
end

-- A text for a string or number that says something, else nil. Whole floats lose their ".0".
function ocsf.str(v)
  local kind = type(v)
  if kind == "string" then
    if #v > MAX_VALUE then v = sub(v, 1, MAX_VALUE) end
    if (byte(v, 1) or 32) <= 32 or byte(v, -1) <= 32 then v = match(v, "^%s*(.-)%s*$") end
    if NOTHING[v] then return nil end
    return v
  end
  if kind ~= "number" then return nil end
  if math.type(v) == "float" and v == math.floor(v) and v > -2^53 and v < 2^53 then return tostring(math.tointeger(v)) end
  return tostring(v)
end

-- A whole number, also from digits in a string, else nil.
function ocsf.int(v)
  if type(v) == "string" and #v <= 18 and find(v, "^%-?%d+$") then v = tonumber(v) end
  if type(v) ~= "number" then return nil end
  return math.tointeger(v) or (v == v and v > -2^53 and v < 2^53 and math.floor(v) or nil)
end

-- The array's elements; a single value counts as an array of one; nothing gives an empty one.
function ocsf.list(v)
  if v == nil or v == null then return {} end
  if type(v) ~= "table" then return { v } end
  if v[1] ~= nil then return v end
  if next(v) == nil then return {} end
  return { v }
end

-- Member or element: "7" names both t["7"] and t[7].
local function member(t, key)
  local v = t[key]
  if v == nil then
    local first = byte(key, 1)
    if first and first >= 48 and first <= 57 and #key <= 4 then v = t[math.tointeger(tonumber(key))] end
  end
  if v == null then return nil end
  return v
end

-- The value at "a.b.c", or of a member that is called so; nil for nothing and for null. Numbers index arrays ("alerts.1.status").
function ocsf.get(doc, path)
  if type(doc) ~= "table" then return nil end
  local direct = doc[path]
  if direct ~= nil then
    if direct == null then return nil end
    return direct
  end
  local from, dot = 1, find(path, ".", 1, true)
  if not dot then return member(doc, path) end
  while dot do
    doc = member(doc, sub(path, from, dot - 1))
    if type(doc) ~= "table" then return nil end
    from = dot + 1
    dot = find(path, ".", from, true)
  end
  return member(doc, sub(path, from))
end

local function dig(v, path)
  if type(v) ~= "table" then return nil end
  local direct = member(v, path)
  if direct ~= nil then return direct end
  local dot = find(path, ".", 1, true)
  while dot do
    local inner = member(v, sub(path, 1, dot - 1))
    if inner ~= nil then
      local found = dig(inner, sub(path, dot + 1))
      if found ~= nil then return found end
    end
    dot = find(path, ".", dot + 1, true)
  end
  return nil
end

-- The same however the document nests it, also half and half ({["a.b"] = {c = …}}): slower, for products that flatten.
function ocsf.dig(doc, path)
  if type(path) ~= "string" or #path > 256 then return nil end
  return dig(doc, path)
end

-- The first of several paths that bears a text, and that path.
function ocsf.first(doc, path, ...)
  if type(doc) ~= "table" or path == nil then return nil end
  local text = ocsf.str(ocsf.get(doc, path))
  if text then return text, path end
  return ocsf.first(doc, ...)
end

-- True when every named member is there and not null.
function ocsf.has(doc, ...)
  if ocsf.table(doc) == nil then return false end
  for _, path in ipairs { ... } do
    if ocsf.get(doc, path) == nil then return false end
  end
  return true
end

-- ---- time -------------------------------------------------------------------------------------------

-- Days since 1970-01-01 of a date in the Gregorian calendar; years begin in March so that leap days come last.
local function days(year, month, day)
  if month <= 2 then year = year - 1 end
  local era = year // 400
  local of_era = year - era * 400
  local of_year = (153 * (month + (month > 2 and -3 or 9)) + 2) // 5 + day - 1
  return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
end

-- Epoch numbers come as seconds, ms, µs or ns: their size tells. Too small to be a date of our days: nil.
local function epoch(n)
  if n ~= n or n < 1e8 or n >= 2^63 then return nil end
  if n < 1e11 then return math.floor(n * 1000 + 0.5) end
  if n < 1e14 then return math.floor(n) end
  if n < 1e17 then return math.floor(n) // 1000 end
  return math.floor(n) // 1000000
end

local function zone_ms(zone)
  zone = zone:match("^%s*(.-)%s*$")
  if zone == "" or zone == "Z" or zone == "z" or zone == "UTC" or zone == "GMT" then return 0 end
  local sign, hours, minutes = zone:match("^([+-])(%d%d)[:.]?(%d?%d?)$")
  if not sign then return nil end
  local ms = (tonumber(hours) * 60 + (tonumber(minutes) or 0)) * 60000
  return sign == "+" and ms or -ms
end

local MONTH = { jan = 1, feb = 2, mar = 3, apr = 4, may = 5, jun = 6, jul = 7, aug = 8, sep = 9, oct = 10, nov = 11, dec = 12 }

local function clock(y, mo, d, h, mi, s, fraction, zone)
  y, mo, d, h, mi, s = tonumber(y), tonumber(mo), tonumber(d), tonumber(h), tonumber(mi), tonumber(s)
  if y < 1970 or mo < 1 or mo > 12 or d < 1 or d > 31 or h > 24 or mi > 59 or s > 60 then return nil end
  local shift = zone_ms(zone)
  if not shift then return nil end
  local ms = tonumber(((fraction .. "000"):sub(1, 3)))
  return ((days(y, mo, d) * 24 + h) * 60 + mi) * 60000 + s * 1000 + ms - shift
end

-- Milliseconds since 1970 from ISO 8601 and its relatives ("2022-03-22 14:21:53.225", "…+0100"), CEF's "Nov 23 2026 10:00:00", or an
-- epoch number or digits. No zone means UTC. nil when it is no time.
function ocsf.time(v)
  if type(v) == "number" then return epoch(v) end
  if type(v) ~= "string" or #v > 64 then return nil end
  if v:find("^%d+%.?%d*$") then return epoch(math.tointeger(tonumber(v)) or tonumber(v)) end
  local y, mo, d, h, mi, s, rest = v:match("^(%d%d%d%d)-(%d%d)-(%d%d)[Tt ](%d%d):(%d%d):(%d%d)(.*)$")
  if not y then
    local month
    month, d, y, h, mi, s, rest = v:match("^(%a%a%a) +(%d%d?) (%d%d%d%d) (%d%d):(%d%d):(%d%d)(.*)$")
    mo = month and MONTH[month:lower()]
    if not mo then return nil end
  end
  local fraction, zone = rest:match("^[.,](%d+)(.*)$")
  return clock(y, mo, d, h, mi, s, fraction or "", zone or rest)
end

-- ---- what a value looks like -------------------------------------------------------------------------

local function is_ipv4(s)
  local a, b, c, d = s:match("^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$")
  return a ~= nil and tonumber(a) < 256 and tonumber(b) < 256 and tonumber(c) < 256 and tonumber(d) < 256
end

local function is_ipv6(s)
  if #s > 45 or not s:find(":", 1, true) or s:find("[^%x:.]") or s:find(":::", 1, true) then return false end
  local head, v4 = s:match("^(.*:)(%d+%.%d+%.%d+%.%d+)$")
  local groups = 0
  if v4 then
    if not is_ipv4(v4) then return false end
    s, groups = head:sub(-2) == "::" and head or head:sub(1, -2), 2
  end
  local short = s:find("::", 1, true)
  if short and s:find("::", short + 2, true) then return false end
  if (s:find("^:") and short ~= 1) or (s:find(":$") and s:sub(-2) ~= "::") then return false end
  for group in s:gmatch("[^:]+") do
    if #group > 4 or group:find(".", 1, true) then return false end
    groups = groups + 1
  end
  return groups == 8 or (short ~= nil and groups < 8)
end

function ocsf.is_ip(v)
  return type(v) == "string" and (is_ipv4(v) or is_ipv6(v))
end

function ocsf.is_hash(v)
  if type(v) ~= "string" or v:find("[^%x]") or not v:find("[^0]") then return false end
  return #v == 32 or #v == 40 or #v == 64 or #v == 128
end

-- ---- the finding ---------------------------------------------------------------------------------------

-- A severity id from a product's word; nil for a word that is none.
function ocsf.severity(word)
  if type(word) ~= "string" then return nil end
  return SEVERITY_ID[word:lower()]
end

-- A start behind the alert's own time is not believed.
local function began(f, v)
  return v and (not f.time or v <= f.time) and v or nil
end

-- Begins a finding. Fields: product, vendor, feature, product_uid, uid (the product's own id of this very event: what tells a
-- repeated delivery), correlation_uid (joins later news of the same finding), title, finding_uid, desc, types, url, message, severity_id,
-- time (ms), start_time (ms: the earliest event that it is about), first_seen_time (ms: when the product first saw the like), activity_id (1 create,
-- 2 update, 3 close), status_id.
function ocsf.finding(f)
  local activity = f.activity_id or 1
  local severity = SEVERITY[f.severity_id] and f.severity_id or 0
  local title, feature, kinds = ocsf.str(f.title) or "Alert without a title", ocsf.str(f.feature), nil
  for _, kind in ipairs(ocsf.list(f.types)) do
    kinds = kinds or {}
    kinds[#kinds + 1] = ocsf.str(kind)
  end
  local out = {
    class_uid = 2004, class_name = "Detection Finding", category_uid = 2, activity_id = activity, type_uid = 200400 + activity,
    severity_id = severity, severity = SEVERITY[severity], time = f.time, start_time = began(f, f.start_time), message = ocsf.str(f.message) or title,
    status_id = f.status_id or (activity == 3 and 4 or 1),
    metadata = {
      version = "1.3.0", uid = ocsf.str(f.uid), correlation_uid = ocsf.str(f.correlation_uid),
      product = { name = ocsf.str(f.product) or "Unknown", vendor_name = ocsf.str(f.vendor), uid = ocsf.str(f.product_uid), feature = feature and { name = feature } or nil },
    },
    finding_info = { title = title, uid = ocsf.str(f.finding_uid) or ocsf.str(f.uid), desc = ocsf.str(f.desc), src_url = ocsf.str(f.url),
                     types = kinds and kinds[1] and kinds or nil, first_seen_time = began(f, f.first_seen_time) },
  }
  return { out = out, observables = {}, seen = {}, left_off = 0 }
end

-- Adds an observable once. kind is an OCSF type name of TYPE_ID.
function ocsf.observe(f, path, kind, value)
  value = ocsf.str(value)
  if not value then return end
  local key = path .. "\0" .. value
  if f.seen[key] then return end
  if #f.observables >= MAX_OBSERVABLES then
    f.left_off = f.left_off + 1
    return
  end
  f.seen[key] = true
  f.observables[#f.observables + 1] = { name = path, type = kind, type_id = TYPE_ID[kind] or 0, value = value }
end

-- Puts a value at a path of the finding, unless something stands there already, without an observable.
function ocsf.put(f, path, value)
  if value == nil or value == null then return end
  local at, from, dot = f.out, 1, find(path, ".", 1, true)
  while dot do
    local key = sub(path, from, dot - 1)
    local inner = at[key]
    if inner == nil then
      inner = {}
      at[key] = inner
    elseif type(inner) ~= "table" then
      return
    end
    at, from = inner, dot + 1
    dot = find(path, ".", from, true)
  end
  local last = sub(path, from)
  if at[last] == nil then at[last] = value end
end

-- Puts a text and observes it. A second value for a path is observed too, but the first stays.
function ocsf.set(f, path, kind, value)
  value = ocsf.str(value)
  if not value then return end
  ocsf.put(f, path, value)
  ocsf.observe(f, path, kind, value)
end

-- A user at "actor.user" (who did it) or "user" (whose account it was done to): name, uid, email_addr, domain, full_name.
function ocsf.user(f, path, user)
  local name, email = ocsf.str(user.name), ocsf.str(user.email_addr)
  if not name and not email and not ocsf.str(user.uid) then return end
  if name and not email and name:find("^[^@%s]+@[^@%s]+%.[^@%s]+$") then email = name end
  local fresh = ocsf.get(f.out, path) == nil
  ocsf.set(f, path .. ".name", "User Name", name)
  ocsf.set(f, path .. ".email_addr", "Email Address", email)
  if not fresh then return end
  ocsf.put(f, path .. ".uid", ocsf.str(user.uid))
  ocsf.put(f, path .. ".domain", ocsf.str(user.domain))
  ocsf.put(f, path .. ".full_name", ocsf.str(user.full_name))
end

-- An address or a name, whichever it is, at "src_endpoint", "dst_endpoint" or "device"; "host:port" is taken apart.
function ocsf.endpoint(f, path, value, port)
  value = ocsf.str(value)
  if not value then return end
  if not ocsf.is_ip(value) then
    local host, digits = value:match("^%[?([^%[%]]-)%]?:(%d+)$")
    if host and host ~= "" and (ocsf.is_ip(host) or not host:find(":", 1, true)) then value, port = host, port or digits end
  end
  if ocsf.is_ip(value) then
    ocsf.set(f, path .. ".ip", "IP Address", value)
  else
    ocsf.set(f, path .. ".hostname", "Hostname", value)
  end
  ocsf.put(f, path .. ".port", ocsf.int(port))
end

-- A resource: uid, name, type, and what else OCSF has for it.
function ocsf.resource(f, resource)
  local uid = ocsf.str(resource.uid)
  local name = ocsf.str(resource.name)
  if not uid and not name then return end
  f.out.resources = f.out.resources or {}
  if #f.out.resources >= MAX_OBSERVABLES then return end
  f.out.resources[#f.out.resources + 1] = { uid = uid, name = name, type = ocsf.str(resource.type), role = ocsf.str(resource.role) }
  ocsf.observe(f, "resources.uid", "Resource UID", uid or name)
end

-- A file's digests, whatever their algorithm; texts like "SHA256=…,MD5=…" too.
function ocsf.hashes(f, path, ...)
  for i = 1, select("#", ...) do
    local text = select(i, ...)
    for digest in (ocsf.str(text) or ""):gmatch("%x+") do
      if ocsf.is_hash(digest) then ocsf.observe(f, path .. ".hashes.value", "Hash", digest) end
    end
  end
end

-- A process at "actor.process" or "process": name (a path gives its last part), pid, cmd_line.
function ocsf.process(f, path, process)
  local name = ocsf.str(process.name)
  if not name and process.pid == nil and process.cmd_line == nil then return end
  local base = name and (name:match("([^/\\]+)$") or name)
  ocsf.set(f, path .. ".name", "Process Name", base)
  if base ~= name then ocsf.put(f, path .. ".path", name) end
  ocsf.put(f, path .. ".pid", ocsf.int(process.pid))
  ocsf.put(f, path .. ".cmd_line", ocsf.str(process.cmd_line))
end

-- What threat intelligence knew the thing as: an address, a name, a digest or a URL.
function ocsf.indicator(f, value)
  value = ocsf.str(value)
  if not value then return end
  local kind = "Hostname"
  if ocsf.is_ip(value) then
    kind = "IP Address"
  elseif ocsf.is_hash(value) then
    kind = "Hash"
  elseif value:find("^%a[%w+.-]*://") then
    kind = "URL String"
  elseif value:find("^[^@%s]+@[^@%s]+$") then
    kind = "Email Address"
  elseif value:find("[%s/\\]") then
    kind = "File Name"
  end
  f.out.osint = f.out.osint or {}
  f.out.osint[#f.out.osint + 1] = { value = value, type = kind }
  ocsf.observe(f, "osint.value", kind, value)
end

-- An ATT&CK technique once; uid like T1078 or T1078.004; name and tactic may be unknown.
function ocsf.attack(f, uid, name, tactic)
  uid = ocsf.str(uid)
  uid = uid and uid:match("^[Tt]%d%d%d%d%.%d%d%d$") or uid and uid:match("^[Tt]%d%d%d%d$")
  if not uid then return end
  uid = uid:upper()
  if f.seen["attack\0" .. uid] then return end
  f.seen["attack\0" .. uid] = true
  local info = f.out.finding_info
  info.attacks = info.attacks or {}
  tactic = ocsf.str(tactic)
  info.attacks[#info.attacks + 1] = { technique = { uid = uid, name = ocsf.str(name) }, tactic = tactic and { name = tactic } or nil }
end

-- Every technique id that a text names.
function ocsf.attacks_in(f, text, tactic)
  text = ocsf.str(text)
  if not text then return end
  for id in text:gmatch("%f[%w][Tt]%d%d%d%d[%d.]*") do
    ocsf.attack(f, id:match("^%a%d%d%d%d%.%d%d%d") or id:match("^%a%d%d%d%d%f[^%d]") or id:sub(1, 5), nil, tactic)
  end
end

-- Every IPv4 address that a text names, observed where the text stands.
function ocsf.addresses_in(f, path, text)
  for address in (ocsf.str(text) or ""):gmatch("%f[%w.]%d+%.%d+%.%d+%.%d+%f[^%w]") do
    if is_ipv4(address) then ocsf.observe(f, path, "IP Address", address) end
  end
end

-- Ends the building.
function ocsf.done(f)
  if #f.observables > 0 then f.out.observables = f.observables end
  if f.left_off > 0 then ocsf.put(f, "unmapped.observables_left_off", f.left_off) end
  return f.out
end

return ocsf
