-- The form is described in tests/lua/README.md.
local alert = {
  class_uid = 2004, severity_id = 4, message = "Multiple authentication failures followed by a success.",
  metadata = { product = { name = "Wazuh" }, uid = "1795459317.4242" },
  finding_info = { title = "Multiple authentication failures followed by a success.", attacks = { { technique = { uid = "T1078" } } } },
  actor = { user = { name = "alice" } }, user = { name = "alice" }, src_endpoint = { ip = "203.0.113.66" }, device = { hostname = "web01" },
}
local alice = { dn = "uid=alice,ou=people,dc=example,dc=org", uid = "alice", name = "Alice Liddell", locked = false }

return tests {
  ["locks, rotates and keeps the lock when a person says so"] = {
    alert = alert, settings = { roles = { alice = "app_orders" } }, answers = { "keep" },
    simulate = { ["ldap.find_user"] = alice, ["rt.create_ticket"] = { id = 7 }, ["postgresql.rotate_password"] = { already = false, sessions_ended = 2 } },
    expect = {
      status = "done", result = "keep", undone = {}, notes = {}, asks = { "Keep alice (Alice Liddell) locked? The database role app_orders has a new password." },
      actions = {
        { "ldap.find_user", uid = "alice" }, { "rt.create_ticket", queue = "Security", subject = "Compromised account: alice" }, { "ldap.lock_account", uid = "alice" },
        { "postgresql.rotate_password", role = "app_orders" }, { "rt.comment", id = 7 },
      },
    },
  },
  ["lifts the lock when a person says release"] = {
    alert = alert, params = { role = "app_orders" }, answers = { "release" }, simulate = { ["ldap.find_user"] = alice },
    expect = { status = "done", result = "release", undone = { "ldap.lock_account" } },
  },
  ["silence keeps the account locked"] = {
    alert = alert, params = { role = "app_orders" }, answers = { "(silence)" }, simulate = { ["ldap.find_user"] = alice },
    expect = { status = "done", result = "keep", undone = {} },
  },
  ["says so when no database role is known"] = {
    alert = alert, answers = { "keep" }, simulate = { ["ldap.find_user"] = alice },
    expect = {
      status = "done", notes = { "No database role is known for alice" },
      actions = { { "ldap.find_user" }, { "rt.create_ticket" }, { "ldap.lock_account" }, { "rt.comment" } },
    },
  },
  ["contains although the ticket system is down"] = {
    alert = alert, params = { role = "app_orders" }, answers = { "keep" },
    simulate = { ["ldap.find_user"] = alice, ["rt.create_ticket"] = { error = { kind = "unavailable", message = "no answer" } } },
    expect = {
      status = "done", notes = { "No ticket could be opened: no answer" },
      actions = { { "ldap.find_user" }, { "rt.create_ticket" }, { "ldap.lock_account" }, { "postgresql.rotate_password" } },
    },
  },
  ["hands over when the account cannot be locked"] = {
    alert = alert, simulate = { ["ldap.find_user"] = alice, ["ldap.lock_account"] = { error = { kind = "denied", message = "LDAP result 50" } } },
    expect = { status = "handed_over", says = "could not be locked", asks = {}, actions = { { "ldap.find_user" }, { "rt.create_ticket" }, { "ldap.lock_account" } } },
  },
  ["hands over when the directory knows nobody of that name"] = {
    alert = alert, simulate = { ["ldap.find_user"] = { error = { kind = "not_found", message = "nobody" } } },
    expect = { status = "handed_over", says = "does not know alice", actions = { { "ldap.find_user" } } },
  },
  ["asks, and hands over, when the old database password still lives"] = {
    alert = alert, params = { role = "app_orders" }, answers = { "keep" },
    simulate = { ["ldap.find_user"] = alice, ["postgresql.rotate_password"] = { error = { kind = "refused", message = "no" } } },
    expect = { status = "handed_over", says = "rotate the password of the database role app_orders by hand", asks = { "still has its OLD password" } },
  },
}
