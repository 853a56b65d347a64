-- ocsf.lua: what every alert normaliser needs, as one global table `ocsf`. Loaded after prelude.lua into connector states.
--
-- A normaliser makes a builder with ocsf.finding{…}, fills it with ocsf.set, ocsf.endpoint, ocsf.resource, ocsf.attack and returns
-- ocsf.done(f): a Detection Finding (class_uid 2004) of OCSF 1.3. Nothing here raises on odd input: a value of the wrong type is
-- left out, because one strange member must not cost us the alert. Nothing here knows a product.
--
-- What is asked most often is written in C (ocsf.c). Reading strange values:
--   ocsf.table(v)         a table that is not JSON's null, else nil
--   ocsf.str(v)           a text for a string or number that says something, without blanks around it, else nil; whole floats lose their ".0"
--   ocsf.int(v)           a whole number, also from digits in a string, else nil
--   ocsf.list(v)          the array's elements; a single value counts as an array of one; nothing gives an empty one
--   ocsf.get(doc, path)   the value at "a.b.c", or of a member that is called so; nil for nothing and for null. Numbers index arrays ("alerts.1.status")
--   ocsf.dig(doc, path)   the same however the document nests it, also half and half ({["a.b"] = {c = …}}): slower, for products that flatten
--   ocsf.first(doc, …)    the first of several paths that bears a text, and that path
--   ocsf.has(doc, …)      true when every named member is there and not null
--   ocsf.copy(t)          a table with the members of t that have names
-- What a value is:
--   ocsf.time(v)          milliseconds since 1970 from ISO 8601 and its relatives ("2022-03-22 14:21:53.225", "…+0100"), CEF's "Nov 23 2026 10:00:00", or an
--                         epoch number or digits (in s, ms, µs or ns). No zone means UTC. nil when it is no time
--   ocsf.is_ip(v), ocsf.is_hash(v)
--   ocsf.severity(word)   a severity id from a product's word; nil for a word that is none
-- Filling a finding f:
--   ocsf.builder(out)                    an f of one's own making: {out = out, observables = {}, seen = {}, left_off = 0}
--   ocsf.observe(f, path, kind, value)   an observable, once. kind is an OCSF type name
--   ocsf.put(f, path, value)             a value at a path, unless something stands there already, without an observable
--   ocsf.set(f, path, kind, value)       a text, put and observed. A second value for a path is observed too, but the first stays
--   ocsf.user(f, path, user)             a user at "actor.user" (who did it) or "user" (whose account it was done to): name, uid, email_addr, domain, full_name
--   ocsf.endpoint(f, path, value, port)  an address or a name, whichever it is, at "src_endpoint", "dst_endpoint" or "device"; "host:port" is taken apart
--   ocsf.process(f, path, process)       a process at "actor.process" or "process": name (a path gives its last part), pid, cmd_line
--   ocsf.hashes(f, path, …)              a file's digests, whatever their algorithm; texts like "SHA256=…,MD5=…" too
-- Instead of all that, of an event that is OCSF already:
--   ocsf.event(doc)       its finding: passed through, time, severity and names set right, with the observables that it lists and what stands at OCSF's own places.
--                         As with ocsf.copy, tables in it may be doc's own
local ocsf = ...

local MAX_OBSERVABLES = 10000

local SEVERITY = { [0] = "Unknown", "Informational", "Low", "Medium", "High", "Critical", "Fatal", [99] = "Other" }
local str, list, observe, put, is_ip, is_hash, ipairs = ocsf.str, ocsf.list, ocsf.observe, ocsf.put, ocsf.is_ip, ocsf.is_hash, ipairs

-- ---- the finding ---------------------------------------------------------------------------------------

-- A start behind the alert's own time is not believed.
local function began(f, v)
  return v and (not f.time or v <= f.time) and v or nil
end

-- What every finding says of itself, from the fields of ocsf.finding, and its title.
local function basis(f)
  local activity = f.activity_id or 1
  local severity = SEVERITY[f.severity_id] and f.severity_id or 0
  local title = str(f.title) or "Alert without a title"
  return {
    class_uid = 2004, class_name = "Detection Finding", category_uid = 2, activity_id = activity, type_uid = 200400 + activity,
    severity_id = severity, severity = SEVERITY[severity], time = f.time, start_time = began(f, f.start_time), message = str(f.message) or title,
    status_id = f.status_id or (activity == 3 and 4 or 1), metadata = nil, finding_info = nil,
  }, title
end

-- Begins a finding. Fields: product, vendor, feature, product_uid, uid (the product's own id of this very event: what tells a
-- repeated delivery), correlation_uid (joins later news of the same finding), title, finding_uid, desc, types, url, message, severity_id,
-- time (ms), start_time (ms: the earliest event that it is about), first_seen_time (ms: when the product first saw the like), activity_id (1 create,
-- 2 update, 3 close), status_id.
function ocsf.finding(f)
  local out, title = basis(f)
  local feature, kinds = str(f.feature), nil
  for _, kind in ipairs(list(f.types)) do
    kinds = kinds or {}
    kinds[#kinds + 1] = str(kind)
  end
  out.metadata = {
    version = "1.3.0", uid = str(f.uid), correlation_uid = str(f.correlation_uid),
    product = { name = str(f.product) or "Unknown", vendor_name = str(f.vendor), uid = str(f.product_uid), feature = feature and { name = feature } or nil },
  }
  out.finding_info = { title = title, uid = str(f.finding_uid) or str(f.uid), desc = str(f.desc), src_url = str(f.url),
                       types = kinds and kinds[1] and kinds or nil, first_seen_time = began(f, f.first_seen_time) }
  return ocsf.builder(out)
end

-- A resource: uid, name, type, and what else OCSF has for it.
function ocsf.resource(f, resource)
  local uid = str(resource.uid)
  local name = str(resource.name)
  if not uid and not name then return end
  f.out.resources = f.out.resources or {}
  if #f.out.resources >= MAX_OBSERVABLES then return end
  f.out.resources[#f.out.resources + 1] = { uid = uid, name = name, type = str(resource.type), role = str(resource.role) }
  observe(f, "resources.uid", "Resource UID", uid or name)
end

-- What threat intelligence knew the thing as: an address, a name, a digest or a URL.
function ocsf.indicator(f, value)
  value = str(value)
  if not value then return end
  local kind = "Hostname"
  if is_ip(value) then
    kind = "IP Address"
  elseif is_hash(value) then
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
  observe(f, "osint.value", kind, value)
end

-- An ATT&CK technique once; uid like T1078 or T1078.004; name and tactic may be unknown.
function ocsf.attack(f, uid, name, tactic)
  uid = str(uid)
  uid = uid and uid:match("^[Tt]%d%d%d%d%.%d%d%d$") or uid and uid:match("^[Tt]%d%d%d%d$")
  if not uid then return end
  uid = uid:upper()
  if f.seen["attack\0" .. uid] then return end
  f.seen["attack\0" .. uid] = true
  local info = f.out.finding_info
  info.attacks = info.attacks or {}
  tactic = str(tactic)
  info.attacks[#info.attacks + 1] = { technique = { uid = uid, name = str(name) }, tactic = tactic and { name = tactic } or nil }
end

-- Every technique id that a text names.
function ocsf.attacks_in(f, text, tactic)
  text = str(text)
  if not text then return end
  for id in text:gmatch("%f[%w][Tt]%d%d%d%d[%d.]*") do
    ocsf.attack(f, id:match("^%a%d%d%d%d%.%d%d%d") or id:match("^%a%d%d%d%d%f[^%d]") or id:sub(1, 5), nil, tactic)
  end
end

-- Every IPv4 address that a text names, observed where the text stands.
function ocsf.addresses_in(f, path, text)
  for address in (str(text) or ""):gmatch("%f[%w.]%d+%.%d+%.%d+%.%d+%f[^%w]") do
    if is_ip(address) then observe(f, path, "IP Address", address) end
  end
end

-- Ends the building.
function ocsf.done(f)
  if #f.observables > 0 then f.out.observables = f.observables end
  if f.left_off > 0 then put(f, "unmapped.observables_left_off", f.left_off) end
  return f.out
end

return ocsf
