-- release: lift everything that an incident contained, in reverse order, and say so in its ticket. By hand only: `tocsin trigger release --incident 42`.
return playbook {
  title   = "Release what an incident contained",
  doc     = "Lifts every containment of the incident, last first. What has no undo, or is held by another incident, stays and is named.",
  uses    = { "rt.comment" },
  mode    = "single",
  runbook = "release",
  params  = { ticket = schema.integer { doc = "Ticket to comment on", optional = true, min = 1 } },

  run = function(incident, act, p)
    local answer = incident:ask {
      "Lift everything that " .. incident.id .. " contained?", role = "responder", options = { "release", "keep" }, within = "1h", otherwise = "keep",
    }
    if answer == "keep" then return "keep" end
    incident:release_all()
    if p.ticket then
      local commented, why = act.rt.comment { id = p.ticket, content = "Everything that could be lifted was lifted.\n\n" .. incident:summary() }
      if not commented then incident:note("The ticket could not be commented on: " .. why.message) end
    end
    return "release"
  end,
}
