-- triage-only: what every alert gets that no other playbook wants. Look up who is involved, open a ticket, ask a person to look.
-- Nothing here contains anything, and nothing that is missing (a directory, a ticket system) keeps the question from being asked.
local MOST_USERS = 5

-- The result of an action, or nil and a text: also when its connector is not configured, which is a mistake elsewhere.
local function try(action, params)
  local ok, result, why = pcall(action, params)
  if not ok then return nil, tostring(result) end
  if not result then return nil, why and why.message or "it failed" end
  return result
end

local function people(incident, act)
  local seen, lines = {}, {}
  for _, o in ipairs(incident:observables("User Name")) do
    if not seen[o.value] and #lines < MOST_USERS then
      seen[o.value] = true
      local who, why = try(act.ldap.find_user, { uid = o.value })
      lines[#lines + 1] = o.value .. ": " .. (who and (who.name or who.dn) .. (who.mail and ", " .. who.mail or "") .. (who.locked and ", locked" or "") or why)
    end
  end
  return table.concat(lines, "\n")
end

return playbook {
  title   = "Look at an alert",
  doc     = "Looks up the people involved, opens a ticket and asks a person to judge. The settings' default playbook for alerts that nobody else wants.",
  uses    = { "ldap.find_user", "rt.create_ticket" },
  mode    = "single",
  runbook = "triage-only",
  settings = {
    queue = schema.string { doc = "Queue for tickets", default = "Security" },
    answer_within = schema.string { doc = "How long the question waits", default = "24h" },
  },

  run = function(incident, act, _, settings)
    local known = people(incident, act)
    if known ~= "" then incident:note("Who is involved:\n" .. known) end
    local ticket, why = try(act.rt.create_ticket, {
      queue = settings.queue, reference = incident.id, subject = incident.title, content = incident:summary() .. (known ~= "" and "\n\nWho is involved:\n" .. known or ""),
    })
    if not ticket then incident:note("No ticket could be opened: " .. why) end

    local answer = incident:ask {
      "What is this: " .. incident.title .. "?", role = "responder", options = { "investigate", "benign" }, within = settings.answer_within, otherwise = "investigate",
    }
    incident:tag(answer)
    if answer == "investigate" then return incident:hand_over("a person has to look at it", "triage: " .. incident.title) end
    incident:note("Judged benign. Close it with `tocsin incident close " .. incident.id .. " --verdict benign`, or suppress its like with a rule that has an owner and an end.")
    return answer
  end,
}
