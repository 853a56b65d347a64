-- The form is described in tests/lua/README.md.
local alert = {
  class_uid = 2004, severity_id = 3, message = "Something odd", metadata = { product = { name = "Doors" } }, finding_info = { title = "Badge used twice" },
  actor = { user = { name = "alice" } }, observables = { { name = "actor.user.name", type = "User Name", type_id = 4, value = "alice" } },
}

return tests {
  ["looks up who is involved, opens a ticket and hands over"] = {
    alert = alert, answers = { "investigate" },
    simulate = { ["ldap.find_user"] = { dn = "uid=alice,ou=people,dc=example,dc=org", name = "Alice Liddell", mail = "alice@example.org", locked = false } },
    expect = {
      status = "handed_over", tags = { "investigate" }, notes = { "alice: Alice Liddell, alice@example.org" },
      actions = { { "ldap.find_user", uid = "alice" }, { "rt.create_ticket" } },
    },
  },
  ["benign ends here"] = { alert = alert, answers = { "benign" }, expect = { status = "done", result = "benign", tags = { "benign" } } },
  ["silence means that a person has to look"] = { alert = alert, answers = { "(silence)" }, expect = { status = "handed_over", says = "a person has to look" } },
  ["asks although directory and tickets are down"] = {
    alert = alert, answers = { "investigate" },
    simulate = { ["ldap.find_user"] = { error = { kind = "unavailable", message = "no directory" } }, ["rt.create_ticket"] = { error = { kind = "unavailable", message = "no RT" } } },
    expect = { status = "handed_over", notes = { "alice: no directory", "No ticket could be opened: no RT" }, asks = { "What is this" } },
  },
}
