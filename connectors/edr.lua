-- connectors/edr.lua: cut hosts off the network through a small REST bridge in front of an EDR, a NAC or a switch.
--
-- There is no standard for this, so the bridge is yours; it answers, for the host named in the path (percent-encoded):
--   PUT    <url>/hosts/<host>/isolation   200, 201, 202 or 204: isolated now; 409: it was before; 404: unknown host
--   DELETE <url>/hosts/<host>/isolation   200, 202 or 204: let in again; 409: it was not isolated
--   GET    <url>/hosts/<host>             200 with {"isolated": true|false}
-- An isolated host should still reach the EDR's own servers, or nobody can release it.

local host = schema.string { doc = "Host name or agent id, as the bridge knows it", min = 1, max = 253, pattern = "^[%w._:-]+$" }
local ISOLATED = { [200] = true, [201] = true, [202] = true, [204] = true }

local function ask(method, path, p, settings, json)
  table.insert(path, 1, "hosts")
  table.insert(path, 2, p.host)
  return { http = { method = method, url = settings.url, path = path, json = json, bearer = settings.token, idempotency_key = "header" } }
end

local function changed(response)
  if response.status == 409 then return { already = true } end
  if ISOLATED[response.status] then return { already = false } end
  return nil, failure(response.status == 404 and "not_found" or "refused", response)
end

local function isolated_is(wanted)
  return function(response)
    local body = response.body
    if response.status ~= 200 or type(body) ~= "table" or type(body.isolated) ~= "boolean" then return nil, failure(response.status == 404 and "not_found" or "refused", response) end
    return { happened = body.isolated == wanted, isolated = body.isolated }
  end
end

local STATE = { happened = schema.boolean {}, isolated = schema.boolean {} }

return connector {
  name = "edr", title = "Host isolation (REST bridge)", docs = "https://attack.mitre.org/mitigations/M1030/",
  settings = { url = schema.url { doc = "The bridge" }, token = schema.secret { doc = "Bearer token" } },
  limits = { timeout = "20s", concurrent = 4, per_minute = 60, response_kib = 64 },
  actions = {
    isolate_host = {
      doc = "Cut a host off the network.", docs = "https://attack.mitre.org/mitigations/M1030/", effect = "contain", target = { host = "host" },
      params = { host = host }, returns = { already = schema.boolean { optional = true } },
      request = function(p, settings) return ask("PUT", { "isolation" }, p, settings, { reason = p.because }) end,
      result = changed, probe = "is_isolated", undo = "release_host", simulate = function() return { already = false } end,
    },
    release_host = {
      doc = "Let a host in again.", docs = "https://attack.mitre.org/mitigations/M1030/", effect = "contain", target = { host = "host" },
      params = { host = host }, returns = { already = schema.boolean { optional = true } },
      request = function(p, settings) return ask("DELETE", { "isolation" }, p, settings) end,
      result = changed, probe = "is_released", lifts = "isolate_host", simulate = function() return { already = false } end,
    },
    is_isolated = {
      doc = "Is the host cut off?", docs = "https://attack.mitre.org/mitigations/M1030/", effect = "read", target = { host = "host" }, params = { host = host }, returns = STATE,
      request = function(p, settings) return ask("GET", {}, p, settings) end, result = isolated_is(true), simulate = function() return { happened = true, isolated = true } end,
    },
    is_released = {
      doc = "Is the host on the network?", docs = "https://attack.mitre.org/mitigations/M1030/", effect = "read", target = { host = "host" }, params = { host = host }, returns = STATE,
      request = function(p, settings) return ask("GET", {}, p, settings) end, result = isolated_is(false), simulate = function() return { happened = true, isolated = false } end,
    },
  },
}
