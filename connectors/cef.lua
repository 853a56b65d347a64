-- connectors/cef.lua: ArcSight's Common Event Format, a text (with or without a syslog header), or a log shipper's object that bears one as its message.
--
-- CEF:0|vendor|product|version|class id|name|severity|key=value key=value…   In the header "\|" and "\\" are escapes, in the rest "\=", "\\" and "\n".

local MAX_TEXT = 65536
local WORD = { low = 2, medium = 3, high = 4, ["very-high"] = 5, unknown = 0 }

local function text_of(doc)
  if type(doc) ~= "string" then
    doc = ocsf.table(doc) and ocsf.first(doc, "MESSAGE", "message", "MSG", "raw", "event.original") or nil
  end
  if type(doc) ~= "string" then return nil end
  doc = doc:sub(1, MAX_TEXT)
  local at = doc:find("CEF:%d")
  -- Before it only a syslog header may stand.
  if not at or at > 512 then return nil end
  return doc:sub(at)
end

local function unescape(text)
  return (text:gsub("\\(.)", function(c)
    if c == "n" then return "\n" elseif c == "r" then return "\r" end
    return c
  end))
end

-- Where the next unescaped separator stands.
local function unescaped(text, separator, from)
  while true do
    local at = text:find(separator, from, true)
    if not at then return nil end
    local slashes = 0
    while text:byte(at - 1 - slashes) == 92 do slashes = slashes + 1 end
    if slashes % 2 == 0 then return at end
    from = at + 1
  end
end

local function header(text)
  local fields, from = {}, 1
  for i = 1, 7 do
    local bar = unescaped(text, "|", from)
    if not bar then return nil end
    fields[i] = unescape(text:sub(from, bar - 1))
    from = bar + 1
  end
  return fields, text:sub(from)
end

-- A key is the word before an unescaped "="; a value runs until the next key.
local function extension(text)
  local keys, from = {}, 1
  while #keys < 1024 do
    local equals = unescaped(text, "=", from)
    if not equals then break end
    local start = equals
    while start > 1 and text:sub(start - 1, start - 1):find("[%w_.%-%[%]]") do start = start - 1 end
    if start < equals and (start == 1 or text:sub(start - 1, start - 1):find("%s")) then keys[#keys + 1] = { name = text:sub(start, equals - 1), at = start, value = equals + 1 } end
    from = equals + 1
  end
  local found = {}
  for i, key in ipairs(keys) do
    local stop = keys[i + 1] and keys[i + 1].at - 1 or #text
    local value = ocsf.str(unescape(text:sub(key.value, stop)))
    if found[key.name] == nil then found[key.name] = value end
  end
  return found
end

-- cs1Label=Technique cs1=T1110 means Technique=T1110.
local function labels(found)
  local named = {}
  for name, label in pairs(found) do
    local base = name:match("^(.+)Label$")
    if base and found[base] then named[label:lower()] = found[base] end
  end
  return named
end

local function severity(v)
  local n = tonumber(v)
  if n then return n < 0 and 0 or n <= 3 and 2 or n <= 6 and 3 or n <= 8 and 4 or n <= 10 and 5 or 0 end
  return WORD[(v or ""):lower()] or 0
end

local function fill(f, x)
  ocsf.user(f, "actor.user", { name = x.suser, uid = x.suid, domain = x.sntdom })
  ocsf.user(f, "user", { name = x.duser, uid = x.duid, domain = x.dntdom })
  ocsf.endpoint(f, "src_endpoint", x.src or x.c6a2, x.spt)
  ocsf.set(f, "src_endpoint.hostname", "Hostname", x.shost)
  ocsf.set(f, "src_endpoint.mac", "MAC Address", x.smac)
  ocsf.endpoint(f, "dst_endpoint", x.dst or x.c6a3, x.dpt)
  ocsf.set(f, "dst_endpoint.hostname", "Hostname", x.dhost)
  ocsf.set(f, "dst_endpoint.mac", "MAC Address", x.dmac)
  ocsf.endpoint(f, "device", x.dvchost)
  ocsf.endpoint(f, "device", x.dvc)
  ocsf.process(f, "actor.process", { name = x.sproc, pid = x.spid })
  ocsf.process(f, "process", { name = x.dproc, pid = x.dpid })
  ocsf.set(f, "file.name", "File Name", x.fname)
  ocsf.put(f, "file.path", x.filePath)
  ocsf.hashes(f, "file", x.fileHash, x.oldFileHash)
  ocsf.set(f, "url.url_string", "URL String", x.request)
  ocsf.put(f, "http_request.user_agent", x.requestClientApplication)
end

local function normalise(doc)
  local text = text_of(doc) or ""
  local h, rest = header(text)
  h = h or {}
  local x = extension(rest or "")
  local named = labels(x)
  local f = ocsf.finding {
    product = h[3] or "CEF", vendor = h[2], uid = x.externalId, title = h[6] or (text ~= "" and text:sub(1, 200)) or nil, desc = x.msg, message = x.msg, types = { h[5], x.cat },
    severity_id = severity(h[7]), time = ocsf.time(x.rt) or ocsf.time(x["end"]) or ocsf.time(x.start), start_time = ocsf.time(x.start),
  }
  ocsf.put(f, "metadata.product.version", ocsf.str(h[4]))
  fill(f, x)
  for label, value in pairs(named) do
    if label:find("technique", 1, true) or label:find("mitre", 1, true) or label:find("att&ck", 1, true) then ocsf.attacks_in(f, value) end
    if label:find("hash", 1, true) or label:find("sha", 1, true) or label == "md5" then ocsf.hashes(f, "file", value) end
  end
  return ocsf.done(f)
end

return connector {
  name = "cef", title = "Common Event Format", docs = "https://www.microfocus.com/documentation/arcsight/arcsight-smartconnectors/pdfdoc/common-event-format-v25/common-event-format-v25.pdf",
  settings = {}, actions = {},
  alert = {
    source = "cef",
    recognise = function(doc)
      local text = text_of(doc)
      if not text or not header(text) then return 0 end
      return type(doc) == "string" and 95 or 60
    end,
    normalise = normalise,
  },
}
