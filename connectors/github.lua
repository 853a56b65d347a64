-- connectors/github.lua: GitHub: webhooks of secret scanning, code scanning and Dependabot, and audit log events.
--
-- GitHub gives a leaked secret no severity. It opens a door until it is proven dead, so it counts as high (settings.secret_severity), as
-- critical when GitHub has seen that it still works. The delivery's id is in a header that the body does not repeat: the repository,
-- the alert's number, what happened and when tell a repetition.

local LEVEL = { critical = 5, high = 4, medium = 3, low = 2, error = 4, warning = 3, note = 2, none = 1 }
local CLOSES = { resolved = true, fixed = true, closed_by_user = true, dismissed = true, auto_dismissed = true, revoked = true }

local function kind_of(doc)
  local a = ocsf.table(ocsf.get(doc, "alert"))
  if not a then return nil end
  if ocsf.get(a, "secret_type") then return "secret-scanning" end
  if ocsf.get(a, "security_advisory") or ocsf.get(a, "security_vulnerability") then return "dependabot" end
  return ocsf.get(a, "rule") and ocsf.get(a, "tool") and "code-scanning" or nil
end

local function title_of(doc, kind)
  local a = doc.alert
  if kind == "secret-scanning" then
    return "Secret scanning: " .. (ocsf.first(a, "secret_type_display_name", "secret_type") or "secret")
  elseif kind == "dependabot" then
    return "Dependabot: " .. (ocsf.first(a, "security_advisory.summary") or "vulnerable dependency")
  end
  return "Code scanning: " .. (ocsf.first(a, "rule.description", "rule.name", "rule.id") or "alert")
end

local function severity(doc, kind, settings)
  local a = doc.alert
  if kind == "secret-scanning" then
    if ocsf.get(a, "validity") == "active" then return 5 end
    return ocsf.severity(ocsf.get(settings, "secret_severity")) or 4
  end
  return LEVEL[ocsf.first(a, "rule.security_severity_level", "rule.severity", "security_advisory.severity") or ""] or 0
end

local function changed_at(doc)
  return ocsf.first(doc.alert, "updated_at", "resolved_at", "dismissed_at", "fixed_at", "created_at")
end

local function file_of(f, a)
  ocsf.set(f, "file.path", "File Name", ocsf.first(a, "most_recent_instance.location.path", "instances.1.location.path", "first_location_detected.path", "dependency.manifest_path"))
end

local function normalise_webhook(doc, kind, settings)
  local a, repository, action = doc.alert, ocsf.first(doc, "repository.full_name") or "unknown", ocsf.str(ocsf.get(doc, "action")) or "created"
  local id = table.concat({ repository, kind, ocsf.str(ocsf.get(a, "number")) or "?" }, "/")
  local at = changed_at(doc)
  local f = ocsf.finding {
    product = "GitHub", vendor = "GitHub", feature = kind, uid = id .. ":" .. action .. (at and "@" .. at or ""), finding_uid = id, correlation_uid = id,
    title = title_of(doc, kind), desc = ocsf.first(a, "rule.full_description", "security_advisory.description"),
    types = { kind, ocsf.first(a, "secret_type", "rule.id", "security_advisory.ghsa_id") }, url = ocsf.get(a, "html_url"),
    severity_id = severity(doc, kind, settings), time = ocsf.time(at), activity_id = CLOSES[action] and 3 or (action == "created" and 1 or 2),
  }
  ocsf.user(f, "actor.user", { name = ocsf.get(doc, "sender.login"), uid = ocsf.get(doc, "sender.id") })
  ocsf.resource(f, { uid = ocsf.first(doc, "repository.full_name"), name = ocsf.get(doc, "repository.name"), type = "repository", role = "target" })
  ocsf.put(f, "metadata.tenant_uid", ocsf.str(ocsf.get(doc, "organization.login")))
  file_of(f, a)
  for _, tag in ipairs(ocsf.list(ocsf.get(a, "rule.tags"))) do ocsf.attacks_in(f, tag) end
  return ocsf.done(f)
end

local function normalise_audit(doc, settings)
  local action = ocsf.str(ocsf.get(doc, "action"))
  local leaked = action and action:find("^secret_scanning_alert%.") ~= nil
  local repository, number = ocsf.first(doc, "repo"), ocsf.str(ocsf.get(doc, "number"))
  local same = leaked and repository and number and repository .. "/secret-scanning/" .. number or nil
  local f = ocsf.finding {
    product = "GitHub", vendor = "GitHub", feature = "audit log", uid = ocsf.get(doc, "_document_id"), finding_uid = same, correlation_uid = same, title = action, types = action,
    severity_id = leaked and (ocsf.severity(ocsf.get(settings, "secret_severity")) or 4) or 0,
    time = ocsf.time(ocsf.get(doc, "@timestamp")) or ocsf.time(ocsf.get(doc, "created_at")),
  }
  local actor, user = ocsf.first(doc, "actor"), ocsf.first(doc, "user")
  ocsf.user(f, "actor.user", { name = actor, uid = ocsf.get(doc, "actor_id") })
  if user ~= actor then ocsf.user(f, "user", { name = user }) end
  ocsf.endpoint(f, "src_endpoint", ocsf.get(doc, "actor_ip"))
  ocsf.resource(f, { uid = repository, type = "repository", role = "target" })
  ocsf.put(f, "metadata.tenant_uid", ocsf.first(doc, "org"))
  return ocsf.done(f)
end

return connector {
  name = "github", title = "GitHub", docs = "https://docs.github.com/en/webhooks/webhook-events-and-payloads#secret_scanning_alert",
  settings = {
    secret_severity = schema.string { doc = "Severity of a leaked secret that GitHub has not tried", default = "high", one_of = { "low", "medium", "high", "critical" } },
  },
  actions = {},
  alert = {
    source = "github",
    signature = { header = "X-Hub-Signature-256", algorithm = "hmac-sha256", encoding = "hex", prefix = "sha256=" },
    recognise = function(doc)
      if ocsf.table(doc) == nil then return 0 end
      if kind_of(doc) and ocsf.has(doc, "action", "repository.full_name") then return 95 end
      if type(doc.action) == "string" and doc.action:find("^[%w_]+%.[%w_]+$") and type(doc.actor) == "string" and (ocsf.has(doc, "org") or ocsf.has(doc, "repo")) then
        return 80
      end
      return 0
    end,
    normalise = function(doc, settings)
      local kind = kind_of(doc)
      if kind then return normalise_webhook(doc, kind, settings) end
      return normalise_audit(doc, settings)
    end,
  },
}
