-- connectors/okta.lua: events of Okta's System Log: bare, from an event hook, or through EventBridge.
--
-- The login (alternateId) is the name: it is what accounts are found and locked by. `actor` did it; a target of type User had it done to them.

local SEVERITY = { DEBUG = 1, INFO = 1, WARN = 3, ERROR = 4 }

local function events_of(doc)
  return ocsf.table(ocsf.get(doc, "data.events"))
end

local function event_of(doc)
  local events = events_of(doc)
  return events and ocsf.table(events[1]) or ocsf.table(ocsf.get(doc, "detail")) or doc
end

local function person(f, path, p)
  ocsf.user(f, path, { name = ocsf.first(p, "alternateId", "displayName"), uid = ocsf.get(p, "id"), full_name = ocsf.get(p, "displayName") })
end

local function targets(f, doc)
  for _, target in ipairs(ocsf.list(ocsf.get(doc, "target"))) do
    local kind = ocsf.str(ocsf.get(target, "type"))
    if kind == "User" or kind == "AppUser" then
      person(f, "user", target)
    else
      ocsf.resource(f, { uid = ocsf.get(target, "id"), name = ocsf.first(target, "displayName", "alternateId"), type = kind, role = "target" })
    end
  end
end

local function normalise(whole)
  local doc = event_of(whole)
  local f = ocsf.finding {
    product = "Okta", vendor = "Okta", feature = "System Log", uid = ocsf.get(doc, "uuid"), title = ocsf.first(doc, "displayMessage", "eventType"),
    desc = ocsf.first(doc, "outcome.reason", "displayMessage"), types = ocsf.get(doc, "eventType"), severity_id = SEVERITY[ocsf.get(doc, "severity")] or 0,
    time = ocsf.time(ocsf.get(doc, "published")), correlation_uid = ocsf.first(doc, "authenticationContext.externalSessionId"),
  }
  person(f, "actor.user", ocsf.get(doc, "actor"))
  targets(f, doc)
  ocsf.endpoint(f, "src_endpoint", ocsf.get(doc, "client.ipAddress"))
  for _, hop in ipairs(ocsf.list(ocsf.get(doc, "request.ipChain"))) do ocsf.endpoint(f, "src_endpoint", ocsf.get(hop, "ip")) end
  ocsf.put(f, "http_request.user_agent", ocsf.str(ocsf.get(doc, "client.userAgent.rawUserAgent")))
  ocsf.put(f, "status_detail", ocsf.str(ocsf.get(doc, "outcome.result")))
  return ocsf.done(f)
end

local function confidence(doc)
  if not ocsf.has(doc, "eventType", "published") then return 0 end
  if ocsf.has(doc, "legacyEventType") or ocsf.has(doc, "uuid", "actor.alternateId") then return 95 end
  return ocsf.has(doc, "actor.alternateId", "displayMessage") and 85 or 0
end

return connector {
  name = "okta", title = "Okta System Log", docs = "https://developer.okta.com/docs/reference/api/system-log/",
  settings = {}, actions = {},
  alert = {
    source = "okta",
    recognise = function(doc) return ocsf.table(doc) and confidence(event_of(doc)) or 0 end,
    split = function(doc) return events_of(doc) end,
    normalise = normalise,
  },
}
