-- isolate-and-ticket: a host runs what it should not. Cut it off for a day at most, open a ticket, let a person decide.
return playbook {
  title    = "Isolate a host and open a ticket",
  doc      = "Cuts the host off the network, opens a ticket, and asks whether it stays so. The isolation ends by itself after a day.",
  attack   = { "T1486", "T1105", "T1071", "T1059" },
  when     = { ["finding_info.attacks.technique.uid|startswith"] = { "T1486", "T1105", "T1071", "T1059" }, ["severity_id|gte"] = 5, ["device.hostname|exists"] = true },
  group    = { "device.hostname" }, window = "4h",
  mode     = "single",
  uses     = { "edr.isolate_host", "rt.create_ticket", "rt.comment" },
  runbook  = "isolate-and-ticket",
  params   = { host = schema.string { doc = "The host", from = "device.hostname", max = 253 } },
  settings = {
    queue = schema.string { doc = "Queue for tickets", default = "Security" },
    lift_after = schema.string { doc = "The isolation ends by itself after this time", default = "24h" },
  },

  run = function(incident, act, p, settings)
    local isolated, why = act.edr.isolate_host { host = p.host, because = incident.title, lift_after = settings.lift_after }
    -- What was known when the host was cut off, for whoever examines it later.
    local kept, not_kept = incident:collect {
      name = "known-of-" .. p.host .. ".txt", content = incident:summary(),
      because = "what was known of " .. p.host .. " when it was cut off",
    }
    if not kept and not_kept.kind ~= "exists" then incident:note("What was known could not be kept as a file: " .. not_kept.message) end
    local ticket, no_ticket = act.rt.create_ticket {
      queue = settings.queue, reference = incident.id, subject = (isolated and "Isolated host: " or "Suspicious host, NOT isolated: ") .. p.host,
      content = incident.title .. "\n\n" .. incident:summary(),
    }
    if not ticket then incident:note("No ticket could be opened: " .. no_ticket.message) end
    if not isolated then return incident:hand_over("the host " .. p.host .. " could not be isolated", why) end

    local answer = incident:ask {
      "Keep " .. p.host .. " isolated? It ends by itself after " .. settings.lift_after .. ".", role = "responder", options = { "keep", "release" }, within = "2h", otherwise = "keep",
    }
    if answer == "release" then must(incident:undo(isolated)) end

    if ticket and ticket.id then
      local text = answer == "release" and p.host .. " is on the network again." or p.host .. " stays isolated."
      local commented, silent = act.rt.comment { id = ticket.id, content = text .. "\n\n" .. incident:summary() }
      if not commented then incident:note("The ticket could not be commented on: " .. silent.message) end
    end
    return answer
  end,
}
