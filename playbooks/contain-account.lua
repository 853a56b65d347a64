-- contain-account: somebody else uses an account. Lock it, take the database password that it knew out of use, open a ticket, and let a
-- person decide how long. A ticket that cannot be opened never stops the containment.
return playbook {
  title    = "Contain a compromised account",
  doc      = "Locks the account in the directory, rotates the database role that it knew, opens a ticket and asks whether the lock stays.",
  attack   = { "T1078", "T1110" },
  when     = { ["finding_info.attacks.technique.uid|startswith"] = "T1078", ["severity_id|gte"] = 4, ["actor.user.name|exists"] = true,
               none = { ["src_endpoint.ip|cidr_in"] = list "vpn-egress" } },
  group    = { "actor.user" }, window = "1h",
  mode     = "single",
  uses     = { "ldap.find_user", "ldap.lock_account", "postgresql.rotate_password", "rt.create_ticket", "rt.comment" },
  runbook  = "contain-account",
  params   = {
    user = schema.string { doc = "Login name of the account", from = "actor.user", max = 256 },
    role = schema.string { doc = "Database role whose password the account knew; without it the settings' roles tell", optional = true, max = 63 },
  },
  settings = {
    queue = schema.string { doc = "Queue for tickets", default = "Security" },
    roles = schema.map { doc = "Login name → database role whose password that account knows", of = schema.string {}, default = {} },
    answer_within = schema.string { doc = "How long the question waits", default = "30m" },
  },

  run = function(incident, act, p, settings)
    local who, unknown = act.ldap.find_user { uid = p.user }
    if not who then return incident:hand_over("the directory does not know " .. p.user, unknown) end
    local name = who.name or p.user

    local ticket, no_ticket = act.rt.create_ticket {
      queue = settings.queue, reference = incident.id, subject = "Compromised account: " .. p.user,
      content = incident.title .. "\n\n" .. p.user .. " is " .. name .. " (" .. who.dn .. ").\n\n" .. incident:summary(),
    }
    if not ticket then incident:note("No ticket could be opened: " .. no_ticket.message) end

    local locked, why = act.ldap.lock_account { uid = p.user, because = incident.title }
    if not locked then return incident:hand_over("the account " .. p.user .. " could not be locked", why) end

    local role = p.role or settings.roles[p.user]
    local rotated, not_rotated
    if role then
      rotated, not_rotated = act.postgresql.rotate_password { role = role, because = p.user .. " knew its password: " .. incident.title }
      if not rotated then incident:note("The password of the database role " .. role .. " could not be rotated: " .. not_rotated.message) end
    else
      incident:note("No database role is known for " .. p.user .. "; if there is one, rotate its password by hand.")
    end

    local told = rotated and " The database role " .. role .. " has a new password."
                 or role and " The database role " .. role .. " still has its OLD password: rotate it by hand." or ""
    local answer = incident:ask {
      "Keep " .. p.user .. " (" .. name .. ") locked?" .. told, role = "responder", options = { "keep", "release" },
      within = settings.answer_within, otherwise = "keep",
    }
    if answer == "release" then must(incident:undo(locked)) end

    if ticket and ticket.id then
      local text = answer == "release" and "The lock of " .. p.user .. " was lifted." or p.user .. " stays locked."
      local commented, silent = act.rt.comment { id = ticket.id, content = text .. told .. "\n\n" .. incident:summary() }
      if not commented then incident:note("The ticket could not be commented on: " .. silent.message) end
    end
    if role and not rotated then return incident:hand_over("rotate the password of the database role " .. role .. " by hand", not_rotated) end
    return answer
  end,
}
