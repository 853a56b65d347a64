-- connectors/postgresql.lua: roles of a PostgreSQL server: new passwords, no more log-ins, open sessions ended.
--
-- The server is only ever given a SCRAM verifier, so its log shows no password. Open sessions outlive a password, so they are ended after the
-- new one is in force: a client that comes back needs the new one.

local role = schema.string { doc = "Name of the role", min = 1, max = 63 }
local ROLE = "SELECT rolcanlogin, rolsuper, (SELECT count(*) FROM pg_stat_activity WHERE usename = $1) AS sessions FROM pg_roles WHERE rolname = $1"
local ENDED = "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) AS ended FROM pg_stat_activity WHERE usename = $1 AND pid <> pg_backend_pid()"

local function fail(kind, message)
  return { kind = kind, message = message, retry = false }
end

local KIND = { ["42704"] = "not_found", ["42501"] = "denied", ["28P01"] = "denied" }

local function refused(response)
  return fail(KIND[response.sqlstate] or "refused", (response.message or "PostgreSQL refused") .. " (SQLSTATE " .. tostring(response.sqlstate) .. ")")
end

local function connect(settings, statements, transaction)
  return { sql = { host = settings.host, port = settings.port, dbname = settings.dbname, user = settings.user, password = settings.password, sslmode = settings.sslmode,
                   transaction = transaction or false, statements = statements } }
end

local function first_row(response, n)
  local result = response.results and response.results[n]
  local rows = result and result.rows
  return rows and rows[1]
end

-- A new log-in with the given password, on the same server.
local function log_in(p, settings)
  return { sql = { host = settings.host, port = settings.port, dbname = settings.dbname, user = p.role, password = p.password, sslmode = settings.sslmode, log_in = true } }
end

-- What the first statement saw tells whether the change was ours; the last one counts the sessions.
local function login_changed(was)
  return function(response)
    if response.sqlstate and (response.failed or 1) <= 2 then return nil, refused(response) end
    local before = first_row(response, 1)
    if not before then return nil, fail("not_found", "there is no such role") end
    local ended = first_row(response, 3)
    return { already = before.rolcanlogin ~= was, sessions_ended = ended and ended.ended or nil }
  end
end

local SEEN = "SELECT rolcanlogin FROM pg_roles WHERE rolname = $1"

return connector {
  name = "postgresql", title = "PostgreSQL", docs = "https://www.postgresql.org/docs/current/user-manag.html",
  settings = {
    host = schema.string { doc = "Host name, address, or a Unix socket's folder" },
    port = schema.integer { doc = "Port", default = 5432, min = 1, max = 65535 },
    dbname = schema.string { doc = "Database to connect to", default = "postgres" },
    user = schema.string { doc = "Tocsin's own role: CREATEROLE and a member of pg_signal_backend" },
    password = schema.secret { doc = "Its password" },
    sslmode = schema.string { doc = "How the server is verified", default = "verify-full", one_of = { "verify-full", "verify-ca", "disable" } },
    deliver = schema.any { doc = "Where a role's new password goes before the old one dies: \"file:/path\", or { role = \"file:/path\" }", optional = true },
  },
  limits = { timeout = "10s", concurrent = 4, per_minute = 60, response_kib = 256 },
  actions = {
    role_exists = {
      doc = "Look up a role and how many sessions it has open.", docs = "https://www.postgresql.org/docs/current/view-pg-roles.html",
      effect = "read", target = { role = "role" }, params = { role = role },
      returns = { exists = schema.boolean {}, can_login = schema.boolean {}, superuser = schema.boolean {}, sessions = schema.integer {} },
      request = function(p, settings)
        return connect(settings, { { text = ROLE, params = { p.role } } })
      end,
      result = function(response)
        if response.sqlstate then return nil, refused(response) end
        local row = response.rows and response.rows[1]
        if not row then return { exists = false, can_login = false, superuser = false, sessions = 0 } end
        return { exists = true, can_login = row.rolcanlogin, superuser = row.rolsuper, sessions = row.sessions }
      end,
      simulate = function() return { exists = true, can_login = true, superuser = false, sessions = 1 } end,
    },
    rotate_password = {
      doc = "Give a role a new random password and end its open sessions; the old password is refused from then on.", docs = "https://www.postgresql.org/docs/current/sql-alterrole.html",
      effect = "contain", target = { role = "role" },
      params = { role = role, password = schema.generated { doc = "Made by Tocsin" } },
      returns = { already = schema.boolean { optional = true }, sessions_ended = schema.integer { doc = "Sessions that were open and are ended", optional = true },
                  warning = schema.string { optional = true } },
      request = function(p, settings)
        return connect(settings, { { text = "ALTER ROLE %I PASSWORD %P", values = { p.role, { role = p.role, password = p.password } } }, { text = ENDED, params = { p.role } } })
      end,
      -- The password is in force once the first statement is through, whatever becomes of the second.
      result = function(response)
        if response.sqlstate and (response.failed or 1) == 1 then return nil, refused(response) end
        if response.sqlstate then return { already = false, warning = "the password is new, but open sessions could not be ended: " .. (response.message or response.sqlstate) } end
        local row = first_row(response, 2)
        return { already = false, sessions_ended = row and row.ended or 0 }
      end,
      probe = "password_works", undo = false,
      recover = "Nothing brings the old password back: it is known to a stranger. Put the new one (tocsin secret take, or the file that the settings' deliver names) " ..
                "where the application reads it, and restart the application.",
      simulate = function() return { already = false, sessions_ended = 1 } end,
    },
    password_works = {
      doc = "Log in as a role with a password: does the server take it?", docs = "https://www.postgresql.org/docs/current/auth-password.html",
      effect = "read", target = { role = "role" }, params = { role = role, password = schema.secret { doc = "The password to try" } },
      returns = { happened = schema.boolean { optional = true } },
      request = log_in,
      result = function(response)
        if response.logged_in == false and response.sqlstate ~= "28P01" and response.sqlstate ~= "28000" then return nil, refused(response) end
        return { happened = response.logged_in }
      end,
      simulate = function() return { happened = true } end,
    },
    disable_login = {
      doc = "Forbid a role to log in and end its sessions; its password stays as it is.", docs = "https://www.postgresql.org/docs/current/sql-alterrole.html",
      effect = "contain", target = { role = "role" }, params = { role = role },
      returns = { already = schema.boolean { optional = true }, sessions_ended = schema.integer { optional = true } },
      request = function(p, settings)
        return connect(settings, { { text = SEEN, params = { p.role } }, { text = "ALTER ROLE %I NOLOGIN", values = { p.role } }, { text = ENDED, params = { p.role } } })
      end,
      result = login_changed(true), probe = "login_disabled", undo = "enable_login",
      simulate = function() return { already = false, sessions_ended = 0 } end,
    },
    enable_login = {
      doc = "Allow a role to log in again.", docs = "https://www.postgresql.org/docs/current/sql-alterrole.html",
      effect = "contain", target = { role = "role" }, params = { role = role },
      returns = { already = schema.boolean { optional = true }, sessions_ended = schema.integer { optional = true } },
      request = function(p, settings)
        return connect(settings, { { text = SEEN, params = { p.role } }, { text = "ALTER ROLE %I LOGIN", values = { p.role } } })
      end,
      result = login_changed(false), probe = "login_enabled", lifts = "disable_login", simulate = function() return { already = false } end,
    },
    login_disabled = {
      doc = "Is the role forbidden to log in?", docs = "https://www.postgresql.org/docs/current/view-pg-roles.html",
      effect = "read", target = { role = "role" }, params = { role = role }, returns = { happened = schema.boolean {} },
      request = function(p, settings) return connect(settings, { { text = SEEN, params = { p.role } } }) end,
      result = function(response)
        local row = not response.sqlstate and first_row(response, 1)
        if not row then return nil, fail("not_found", response.message or "there is no such role") end
        return { happened = not row.rolcanlogin }
      end,
      simulate = function() return { happened = true } end,
    },
    login_enabled = {
      doc = "Is the role allowed to log in?", docs = "https://www.postgresql.org/docs/current/view-pg-roles.html",
      effect = "read", target = { role = "role" }, params = { role = role }, returns = { happened = schema.boolean {} },
      request = function(p, settings) return connect(settings, { { text = SEEN, params = { p.role } } }) end,
      result = function(response)
        local row = not response.sqlstate and first_row(response, 1)
        if not row then return nil, fail("not_found", response.message or "there is no such role") end
        return { happened = row.rolcanlogin }
      end,
      simulate = function() return { happened = true } end,
    },
  },
}
