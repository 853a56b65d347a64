-- connectors/ldap.lua: find, lock and unlock people in an LDAP directory, and give them new passwords.
--
-- A lock is one that the same password works after again: by default the ppolicy overlay's pwdAccountLockedTime at its value for "until
-- somebody lifts it", or the attribute that the settings name. It is added, not replaced, so that the directory itself tells whether the lock
-- is ours (result 0) or was there before (20), and it is removed by its value, so that somebody else's lock stays.

local uid = schema.string { doc = "Login name, as the settings' user_filter looks for it", min = 1, max = 256 }

local function fail(kind, message)
  return { kind = kind, message = message, retry = false }
end

local MEANING = {
  [1] = "operations error", [8] = "stronger authentication required", [19] = "constraint violation", [21] = "invalid syntax", [32] = "no such object",
  [34] = "invalid DN", [49] = "invalid credentials", [50] = "Tocsin's account may not do this", [51] = "busy", [52] = "unavailable", [53] = "unwilling to perform",
}

local function refused(response)
  local text = response.message
  if text == nil or text == "" then text = MEANING[response.code] or response.name or "refused" end
  return fail(response.code == 32 and "not_found" or response.code == 50 and "denied" or "refused", "LDAP result " .. tostring(response.code) .. ": " .. text)
end

local function connect(settings, operation)
  operation.url, operation.bind_dn, operation.password = settings.url, settings.bind_dn, settings.password
  if settings.starttls then operation.starttls = true end
  return { ldap = operation }
end

local function lock_value(settings)
  return settings.lock_value
end

-- ---- reading ------------------------------------------------------------------------------------------------

local function search_user(p, settings)
  local filter, values = settings.user_filter, {}
  for _ in filter:gmatch("%%s") do values[#values + 1] = p.uid end
  return connect(settings, { search = {
    base = settings.base, scope = "sub", filter = filter, values = values, limit = 2,
    attributes = { "uid", "cn", "displayName", "mail", "manager", "employeeNumber", "memberOf", settings.lock_attribute },
  } })
end

local function one(entry, name)
  local values = entry.attributes[name]
  local value = values and values[1]
  return type(value) == "string" and value or nil
end

-- The one entry of an answer, or nil and why not.
local function only(response)
  if response.code ~= 0 and response.code ~= 4 then return nil, refused(response) end
  local entries = response.entries or {}
  if #entries == 0 then return nil, fail("not_found", "nobody in the directory has this login name") end
  if #entries > 1 then return nil, fail("ambiguous", "several entries have this login name; make user_filter or base narrower") end
  return entries[1]
end

local function strings(values)
  local texts = array {}
  for _, value in ipairs(values or {}) do
    if type(value) == "string" then texts[#texts + 1] = value end
  end
  return texts
end

local function user_of(response, settings)
  local entry, why = only(response)
  if not entry then return nil, why end
  local lock = one(entry, settings.lock_attribute)
  return {
    dn = entry.dn, uid = one(entry, "uid"), name = one(entry, "displayName") or one(entry, "cn"), mail = one(entry, "mail"), manager = one(entry, "manager"),
    employee_number = one(entry, "employeeNumber"), groups = strings(entry.attributes.memberOf), lock = lock, locked = lock == lock_value(settings),
  }
end

-- ---- changing -----------------------------------------------------------------------------------------------

local function lock_request(_, found, settings)
  local attribute, changes = settings.lock_attribute, {}
  -- The directory's own lock of a moment (too many wrong passwords) gives way to ours; our own is left to say 20.
  if found.lock and found.lock ~= lock_value(settings) then changes[1] = { op = "delete", attribute = attribute, values = { found.lock } } end
  changes[#changes + 1] = { op = "add", attribute = attribute, values = { lock_value(settings) } }
  return connect(settings, { modify = { dn = found.dn, changes = changes } })
end

local function unlock_request(_, found, settings)
  return connect(settings, { modify = { dn = found.dn, changes = { { op = "delete", attribute = settings.lock_attribute, values = { lock_value(settings) } } } } })
end

-- code: the one by which the directory says that nothing had to be changed.
local function changed_unless(code)
  return function(response)
    if response.code == 0 then return { already = false } end
    if response.code == code then return { already = true } end
    return nil, refused(response)
  end
end

local function lock_state(wanted)
  return function(response, settings)
    local user, why = user_of(response, settings)
    if not user then return nil, why end
    return { happened = user.locked == wanted, locked = user.locked }
  end
end

return connector {
  name = "ldap", title = "LDAP directory", docs = "https://www.openldap.org/doc/admin26/overlays.html#Password%20Policies",
  settings = {
    url = schema.string { doc = "ldap://, ldaps:// or ldapi://", pattern = "^ldap[si]?://" },
    starttls = schema.boolean { doc = "Start TLS on an ldap:// connection", default = false },
    bind_dn = schema.string { doc = "DN of Tocsin's own account" },
    password = schema.secret { doc = "Its password" },
    base = schema.string { doc = "DN under which people are looked for" },
    user_filter = schema.string { doc = "How a login name is looked for; %s is the name", default = "(&(objectClass=person)(uid=%s))", pattern = "%%s" },
    lock_attribute = schema.string { doc = "Attribute that locks an account", default = "pwdAccountLockedTime", pattern = "^%a[%w;-]*$" },
    lock_value = schema.string { doc = "Its value for a lock that only a person or Tocsin lifts", default = "000001010000Z" },
    deliver = schema.any { doc = "Where a new password goes before the old one dies: \"file:/path\", or { name = \"file:/path\" }", optional = true },
  },
  limits = { timeout = "10s", concurrent = 4, per_minute = 120, response_kib = 256 },
  actions = {
    find_user = {
      doc = "Look up one person by login name.", docs = "https://www.rfc-editor.org/rfc/rfc4511#section-4.5",
      effect = "read", target = { user = "uid" }, params = { uid = uid },
      returns = {
        dn = schema.string {}, uid = schema.string { optional = true }, name = schema.string { optional = true }, mail = schema.string { optional = true },
        manager = schema.string { optional = true }, employee_number = schema.string { optional = true }, groups = schema.list { of = schema.string {}, optional = true },
        lock = schema.string { doc = "Value of the lock's attribute", optional = true }, locked = schema.boolean {},
      },
      request = search_user, result = user_of,
      simulate = function(p)
        return { dn = "uid=" .. p.uid .. ",ou=people,dc=example,dc=org", uid = p.uid, name = p.uid, mail = p.uid .. "@example.org", locked = false, groups = array {} }
      end,
    },
    lock_account = {
      doc = "Lock an account until it is unlocked; its password stays as it is.", docs = "https://www.openldap.org/software/man.cgi?query=slapo-ppolicy",
      effect = "contain", target = { user = "uid" }, params = { uid = uid }, returns = { already = schema.boolean { optional = true } },
      resolve = "find_user", request = lock_request, result = changed_unless(20),
      probe = "is_locked", undo = "unlock_account", simulate = function() return { already = false } end,
    },
    unlock_account = {
      doc = "Lift Tocsin's lock; the same password works again.", docs = "https://www.openldap.org/software/man.cgi?query=slapo-ppolicy",
      effect = "contain", target = { user = "uid" }, params = { uid = uid }, returns = { already = schema.boolean { optional = true } },
      resolve = "find_user", request = unlock_request, result = changed_unless(16),
      probe = "is_unlocked", lifts = "lock_account", simulate = function() return { already = false } end,
    },
    is_locked = {
      doc = "Is the account locked the way Tocsin locks?", docs = "https://www.rfc-editor.org/rfc/rfc4511#section-4.5",
      effect = "read", target = { user = "uid" }, params = { uid = uid }, returns = { happened = schema.boolean {}, locked = schema.boolean {} },
      request = search_user, result = lock_state(true), simulate = function() return { happened = true, locked = true } end,
    },
    is_unlocked = {
      doc = "Is Tocsin's lock gone?", docs = "https://www.rfc-editor.org/rfc/rfc4511#section-4.5",
      effect = "read", target = { user = "uid" }, params = { uid = uid }, returns = { happened = schema.boolean {}, locked = schema.boolean {} },
      request = search_user, result = lock_state(false), simulate = function() return { happened = true, locked = false } end,
    },
    set_password = {
      doc = "Give an account a new random password (RFC 3062); the old one is refused from then on.", docs = "https://www.rfc-editor.org/rfc/rfc3062",
      effect = "contain", target = { user = "uid" },
      params = { uid = uid, password = schema.generated { doc = "Made by Tocsin" } }, returns = { already = schema.boolean { optional = true } },
      resolve = "find_user",
      request = function(p, found, settings) return connect(settings, { password_modify = { dn = found.dn, new = p.password } }) end,
      result = function(response)
        if response.code == 0 then return { already = false } end
        return nil, refused(response)
      end,
      probe = "password_works", undo = false,
      recover = "Nothing brings the old password back, and it should not come back. Hand the new one over in person (tocsin secret take), or let the user choose one through the usual reset.",
      simulate = function() return { already = false } end,
    },
    password_works = {
      doc = "Try to log in with a password. Locked accounts are refused too, so a refusal proves nothing.", docs = "https://www.rfc-editor.org/rfc/rfc4511#section-4.2",
      effect = "read", target = { user = "uid" }, params = { uid = uid, password = schema.secret { doc = "The password to try" } },
      returns = { happened = schema.boolean { optional = true }, code = schema.integer {} },
      resolve = "find_user",
      request = function(p, found, settings)
        local operation = { url = settings.url, bind = { dn = found.dn, password = p.password } }
        if settings.starttls then operation.starttls = true end
        return { ldap = operation }
      end,
      result = function(response)
        if response.code ~= 0 and response.code ~= 49 then return nil, refused(response) end
        return { happened = response.code == 0 or nil, code = response.code }
      end,
      simulate = function() return { happened = true, code = 0 } end,
    },
  },
}
