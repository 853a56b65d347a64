-- connectors/smtp.lua: mail. The Message-ID comes from the step's idempotency key, so a mail that is sent twice after a doubt is recognisable as one.

return connector {
  name = "smtp", title = "Mail (SMTP)", docs = "https://www.rfc-editor.org/rfc/rfc5321",
  settings = {
    url = schema.string { doc = "smtp://host:587 or smtps://host:465", pattern = "^smtps?://" },
    starttls = schema.string { doc = "On smtp://: TLS is required, or never used (loopback only)", default = "required", one_of = { "required", "never" } },
    user = schema.string { doc = "Log-in", optional = true },
    password = schema.secret { doc = "Its password", optional = true },
    from = schema.email { doc = "Sender" },
    to = schema.list { doc = "Recipients of mails that name none", of = schema.email {}, optional = true },
  },
  limits = { timeout = "30s", concurrent = 2, per_minute = 60, response_kib = 64 },
  actions = {
    send = {
      doc = "Send a plain text mail.", docs = "https://www.rfc-editor.org/rfc/rfc5322", effect = "notify", target = { mail = "to" },
      params = {
        to = schema.list { doc = "Recipients; without it the settings' ones", of = schema.email {}, optional = true, max = 50 },
        subject = schema.string { doc = "Subject", min = 1, max = 500 },
        text = schema.string { doc = "Body", min = 1, max = 65536 },
        reply_to = schema.email { doc = "Where answers go", optional = true },
        incident = schema.string { doc = "Incident's id, sent as X-Tocsin-Incident", optional = true, max = 60 },
      },
      returns = { message_id = schema.string { optional = true } }, idempotent = true,
      request = function(p, settings)
        local to = p.to or settings.to
        if not to or #to == 0 then return nil, { kind = "invalid", message = "no recipient: give `to`, here or in the connector's settings", retry = false } end
        local smtps = settings.url:find("^smtps:") ~= nil
        return { smtp = { url = settings.url, starttls = not smtps and settings.starttls or nil, user = settings.user, password = settings.password, from = settings.from, to = to,
                          reply_to = p.reply_to, subject = (p.subject:gsub("%c+", " ")), text = p.text, headers = p.incident and { ["X-Tocsin-Incident"] = p.incident } or nil } }
      end,
      result = function(response)
        if response.status < 200 or response.status > 299 then
          return nil, { kind = "refused", message = "the mail server answered " .. tostring(response.status) .. " " .. tostring(response.message), retry = response.status < 500 }
        end
        return { message_id = response.message_id }
      end,
      simulate = function() return { message_id = "<simulated@tocsin>" } end,
    },
  },
}
