-- The form is described in tests/lua/README.md.
local alert = {
  class_uid = 2004, severity_id = 5, message = "Executable file dropped", metadata = { product = { name = "Wazuh" } },
  finding_info = { title = "Executable file dropped in folder commonly used by malware", attacks = { { technique = { uid = "T1105" } } } }, device = { hostname = "PC-042" },
}

return tests {
  ["isolates and keeps"] = {
    alert = alert, answers = { "keep" }, simulate = { ["rt.create_ticket"] = { id = 3 } },
    expect = {
      status = "done", result = "keep", undone = {}, files = { "known-of-PC-042.txt" }, notes = {}, asks = { "Keep PC-042 isolated? It ends by itself after 24h." },
      actions = { { "edr.isolate_host", host = "PC-042" }, { "rt.create_ticket", subject = "Isolated host: PC-042" }, { "rt.comment", id = 3 } },
    },
  },
  ["releases when told so"] = { alert = alert, answers = { "release" }, expect = { status = "done", undone = { "edr.isolate_host" } } },
  ["opens the ticket and hands over when the host cannot be isolated"] = {
    alert = alert, simulate = { ["edr.isolate_host"] = { error = { kind = "not_found", message = "HTTP 404" } } },
    expect = { status = "handed_over", says = "could not be isolated", asks = {}, actions = { { "edr.isolate_host" }, { "rt.create_ticket", subject = "Suspicious host, NOT isolated: PC-042" } } },
  },
}
