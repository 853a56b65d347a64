-- The form is described in tests/lua/README.md.
local alert = {
  class_uid = 2004, activity_id = 1, severity_id = 5, message = "Secret scanning: PostgreSQL Connection String",
  metadata = { product = { name = "GitHub", feature = { name = "secret-scanning" } } },
  finding_info = { uid = "acme/shop/secret-scanning/7", title = "Secret scanning: PostgreSQL Connection String", types = { "secret-scanning", "postgres_connection_string" } },
  actor = { user = { name = "bob" } }, resources = { { uid = "acme/shop", type = "repository" } },
}

return tests {
  ["rotates, and a person finds the old one refused"] = {
    alert = alert, settings = { roles = { ["acme/shop"] = "app_shop" }, owners = { ["acme/shop"] = "shop@example.org" } }, answers = { "refused" },
    simulate = { ["rt.create_ticket"] = { id = 9 } },
    expect = {
      status = "done", result = "refused", tags = { "rotated" }, asks = { "Try the leaked one" },
      actions = {
        { "rt.create_ticket", requestor = "shop@example.org", subject = "Leaked credential in acme/shop" }, { "postgresql.role_exists", role = "app_shop" },
        { "postgresql.rotate_password", role = "app_shop" }, { "rt.comment", id = 9 },
      },
    },
  },
  ["asks for the role when nobody wrote it down"] = {
    alert = alert, answers = { "app_shop", "refused" },
    expect = {
      status = "done", asks = { "Which database role", "Try the leaked one" },
      actions = { { "rt.create_ticket" }, { "postgresql.role_exists", role = "app_shop" }, { "postgresql.rotate_password" }, { "rt.comment" } },
    },
  },
  ["hands over what opens no database"] = {
    alert = alert, answers = { "none" },
    expect = { status = "handed_over", says = "revoke it where it was issued", actions = { { "rt.create_ticket" } } },
  },
  ["silence about the role means a person has to act"] = {
    alert = alert, answers = { "(silence)" }, expect = { status = "handed_over", says = "revoke it where it was issued" },
  },
  ["does not rotate a role that is not there"] = {
    alert = alert, params = { role = "app_gone" }, simulate = { ["postgresql.role_exists"] = { exists = false, can_login = false, superuser = false, sessions = 0 } },
    expect = { status = "handed_over", says = "there is no database role app_gone", actions = { { "rt.create_ticket" }, { "postgresql.role_exists" } } },
  },
  ["cries out when the leaked one still works"] = {
    alert = alert, params = { role = "app_shop" }, answers = { "still works" }, expect = { status = "handed_over", says = "still works", tags = {} },
  },
}
