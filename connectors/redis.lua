-- connectors/redis.lua: users of a Redis server's ACL: new passwords, switched off, connections closed.
--
-- Passwords travel as their SHA-256 (the ACL's own form), so neither MONITOR nor the slow log shows one. ACL SETUSER makes a user that is not
-- there, so each change looks first.

local user = schema.string { doc = "Name of the ACL user", min = 1, max = 256, pattern = "^%S+$" }

local function fail(kind, message)
  return { kind = kind, message = message, retry = false }
end

local function refused(response)
  local text = tostring(response.error)
  return fail(text:find("^NOPERM") and "denied" or "refused", text)
end

local function connect(settings, commands)
  return { redis = { host = settings.host, port = settings.port, tls = settings.tls, user = settings.user, password = settings.password, commands = commands } }
end

-- What makes a change outlive a restart, as the settings say.
local function kept(settings, commands)
  if settings.save == "acl" then commands[#commands + 1] = { "ACL", "SAVE" } end
  if settings.save == "config" then commands[#commands + 1] = { "CONFIG", "REWRITE" } end
  return commands
end

local function must_exist(found)
  if not found.exists then return fail("not_found", "there is no such user; nothing was made") end
  return nil
end

-- ACL GETUSER answers names and values in turns.
local function user_of(reply)
  if type(reply) ~= "table" or reply == null then return { exists = false, enabled = false } end
  local enabled = false
  for i = 1, #reply - 1, 2 do
    if reply[i] == "flags" and type(reply[i + 1]) == "table" then
      for _, flag in ipairs(reply[i + 1]) do enabled = enabled or flag == "on" end
    end
  end
  return { exists = true, enabled = enabled }
end

local function look(p, settings)
  return connect(settings, { { "ACL", "GETUSER", p.user } })
end

-- Commands: look, change, close connections, save. Only the first two decide.
local function switched(was)
  return function(response)
    if response.error and (response.failed or 1) <= 2 then return nil, refused(response) end
    local closed = response.replies[3]
    return { already = user_of(response.replies[1]).enabled ~= was, connections_closed = type(closed) == "number" and closed or nil,
             warning = response.error and "not all of it: " .. tostring(response.error) or nil }
  end
end

local function enabled_is(wanted)
  return function(response)
    if response.error then return nil, refused(response) end
    local found = user_of(response.replies[1])
    if not found.exists then return nil, fail("not_found", "there is no such user") end
    return { happened = found.enabled == wanted }
  end
end

local CHANGED = { already = schema.boolean { optional = true }, connections_closed = schema.integer { optional = true }, warning = schema.string { optional = true } }

return connector {
  name = "redis", title = "Redis", docs = "https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/",
  settings = {
    host = schema.string { doc = "Host name or address" },
    port = schema.integer { doc = "Port", default = 6379, min = 1, max = 65535 },
    tls = schema.boolean { doc = "Connect with TLS", default = true },
    user = schema.string { doc = "Tocsin's own ACL user, allowed acl and client|kill; without it the default user", optional = true },
    password = schema.secret { doc = "Its password", optional = true },
    save = schema.string { doc = "Keep changes over a restart: in the aclfile, in redis.conf, or not", default = "none", one_of = { "acl", "config", "none" } },
    deliver = schema.any { doc = "Where a user's new password goes before the old one dies: \"file:/path\", or { user = \"file:/path\" }", optional = true },
  },
  limits = { timeout = "5s", concurrent = 4, per_minute = 120, response_kib = 256 },
  actions = {
    user_exists = {
      doc = "Look up an ACL user.", docs = "https://redis.io/docs/latest/commands/acl-getuser/",
      effect = "read", target = { user = "user" }, params = { user = user }, returns = { exists = schema.boolean {}, enabled = schema.boolean {} },
      request = look,
      result = function(response)
        if response.error then return nil, refused(response) end
        return user_of(response.replies[1])
      end,
      simulate = function() return { exists = true, enabled = true } end,
    },
    rotate_password = {
      doc = "Replace all passwords of a user by one new random one and close its connections.", docs = "https://redis.io/docs/latest/commands/acl-setuser/",
      effect = "contain", target = { user = "user" }, params = { user = user, password = schema.generated { doc = "Made by Tocsin" } }, returns = CHANGED,
      resolve = "user_exists",
      request = function(p, found, settings)
        local missing = must_exist(found)
        if missing then return nil, missing end
        return connect(settings, kept(settings, {
          { "ACL", "SETUSER", p.user, "resetpass", { ["$concat"] = { "#", { ["$sha256"] = p.password } } } }, { "CLIENT", "KILL", "USER", p.user },
        }))
      end,
      result = function(response)
        if response.error and (response.failed or 1) == 1 then return nil, refused(response) end
        local closed = response.replies[2]
        return { already = false, connections_closed = type(closed) == "number" and closed or nil,
                 warning = response.error and "the password is new, but: " .. tostring(response.error) or nil }
      end,
      probe = "password_works", undo = false,
      recover = "Nothing brings the old password back: it is known to a stranger. Put the new one (tocsin secret take, or the file that the settings' deliver names) where the application reads it.",
      simulate = function() return { already = false, connections_closed = 1 } end,
    },
    password_works = {
      doc = "Log in as a user with a password: does the server take it?", docs = "https://redis.io/docs/latest/commands/auth/",
      effect = "read", target = { user = "user" }, params = { user = user, password = schema.secret { doc = "The password to try" } },
      returns = { happened = schema.boolean { optional = true } },
      request = function(p, settings) return { redis = { host = settings.host, port = settings.port, tls = settings.tls, user = p.user, password = p.password, log_in = true } } end,
      result = function(response)
        if response.logged_in == false and not tostring(response.error):find("^WRONGPASS") then return nil, refused(response) end
        return { happened = response.logged_in }
      end,
      simulate = function() return { happened = true } end,
    },
    disable_user = {
      doc = "Switch a user off and close its connections; its passwords stay as they are.", docs = "https://redis.io/docs/latest/commands/acl-setuser/",
      effect = "contain", target = { user = "user" }, params = { user = user }, returns = CHANGED, resolve = "user_exists",
      request = function(p, found, settings)
        local missing = must_exist(found)
        if missing then return nil, missing end
        return connect(settings, kept(settings, { { "ACL", "GETUSER", p.user }, { "ACL", "SETUSER", p.user, "off" }, { "CLIENT", "KILL", "USER", p.user } }))
      end,
      result = switched(true), probe = "is_disabled", undo = "enable_user", simulate = function() return { already = false, connections_closed = 0 } end,
    },
    enable_user = {
      doc = "Switch a user on again.", docs = "https://redis.io/docs/latest/commands/acl-setuser/",
      effect = "contain", target = { user = "user" }, params = { user = user }, returns = CHANGED, resolve = "user_exists",
      request = function(p, found, settings)
        local missing = must_exist(found)
        if missing then return nil, missing end
        return connect(settings, kept(settings, { { "ACL", "GETUSER", p.user }, { "ACL", "SETUSER", p.user, "on" } }))
      end,
      result = switched(false), probe = "is_enabled", lifts = "disable_user", simulate = function() return { already = false } end,
    },
    is_disabled = {
      doc = "Is the user switched off?", docs = "https://redis.io/docs/latest/commands/acl-getuser/",
      effect = "read", target = { user = "user" }, params = { user = user }, returns = { happened = schema.boolean {} }, request = look, result = enabled_is(false),
      simulate = function() return { happened = true } end,
    },
    is_enabled = {
      doc = "Is the user switched on?", docs = "https://redis.io/docs/latest/commands/acl-getuser/",
      effect = "read", target = { user = "user" }, params = { user = user }, returns = { happened = schema.boolean {} }, request = look, result = enabled_is(true),
      simulate = function() return { happened = true } end,
    },
  },
}
