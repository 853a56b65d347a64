-- leaked-credential: a secret was found in code. Find who owns it, take it out of use, prove that the old one is dead, keep the ticket.
-- The alert does not bear the secret itself, so whether the old one is refused is tried here only when a person gave it; otherwise a person tries.
return playbook {
  title    = "A credential was found in code",
  doc      = "Rotates the database role whose password was published, verifies that the old one is refused, and tracks it in a ticket.",
  attack   = { "T1552.001" },
  when     = { ["metadata.product.name"] = "GitHub", ["finding_info.types"] = "secret-scanning", none = { activity_id = 3 } },
  group    = { "finding_info.uid" }, window = "7d",
  mode     = "single",
  uses     = { "postgresql.role_exists", "postgresql.rotate_password", "postgresql.password_works", "rt.create_ticket", "rt.comment" },
  runbook  = "leaked-credential",
  params   = {
    repository = schema.string { doc = "Where it was found", from = "resources.uid", max = 300 },
    role = schema.string { doc = "Database role that it opens; without it the settings' roles tell, or a person", optional = true, max = 63 },
    old_password = schema.secret { doc = "The leaked password, to prove that it is dead", optional = true },
  },
  settings = {
    queue = schema.string { doc = "Queue for tickets", default = "Security" },
    roles = schema.map { doc = "Repository → database role that its code uses", of = schema.string {}, default = {} },
    owners = schema.map { doc = "Repository → mail address of its owner", of = schema.string {}, default = {} },
  },

  run = function(incident, act, p, settings)
    local owner = settings.owners[p.repository]
    local ticket, no_ticket = act.rt.create_ticket {
      queue = settings.queue, reference = incident.id, subject = "Leaked credential in " .. p.repository, requestor = owner,
      content = incident.title .. "\n\nOwner of the repository: " .. (owner or "not in the settings, ask around") .. "\n\n" .. incident:summary(),
    }
    if not ticket then incident:note("No ticket could be opened: " .. no_ticket.message) end

    local role = p.role or settings.roles[p.repository]
    if not role then
      role = incident:ask { "Which database role does the credential in " .. p.repository .. " open? Answer its name, or none.", role = "responder", within = "4h", otherwise = "none" }
    end
    if role == "none" then return incident:hand_over("the credential in " .. p.repository .. " opens no database role that we know: revoke it where it was issued") end

    local known, unreachable = act.postgresql.role_exists { role = role }
    if not known then return incident:hand_over("the database could not be asked about the role " .. role, unreachable) end
    if not known.exists then return incident:hand_over("there is no database role " .. role .. "; the leaked credential is still alive") end

    local rotated, why = act.postgresql.rotate_password { role = role, because = "its password was published in " .. p.repository }
    if not rotated then return incident:hand_over("the password of " .. role .. " could not be rotated", why) end

    local verdict
    if p.old_password then
      local tried = act.postgresql.password_works { role = role, password = p.old_password }
      if tried and tried.happened then return incident:hand_over("the OLD password of " .. role .. " still works after the rotation") end
      verdict = tried and "refused" or "not tried"
    else
      verdict = incident:ask {
        "The password of " .. role .. " is new. Try the leaked one: is it refused?", role = "responder", options = { "refused", "still works", "not tried" },
        within = "24h", otherwise = "not tried",
      }
    end
    if verdict == "still works" then return incident:hand_over("the leaked credential of " .. role .. " still works") end

    incident:tag("rotated")
    if ticket and ticket.id then
      local commented, silent = act.rt.comment { id = ticket.id, content = "The password of " .. role .. " was rotated. The old one: " .. verdict .. ".\n\n" .. incident:summary() }
      if not commented then incident:note("The ticket could not be commented on: " .. silent.message) end
    end
    return verdict
  end,
}
