-- connectors/rt.lua: tickets of Request Tracker 5 through its REST 2.0 interface. Parameter names are RT's, in lower case.
--
-- RT knows no idempotency key. A ticket's subject begins with a reference (the incident's id), so that a doubtful creation can be looked for: the
-- reference has to be unlike any other ticket's of that queue.

local id = schema.integer { doc = "Number of the ticket", min = 1 }
local DOCS = "https://docs.bestpractical.com/rt/5.0.5/RT/REST2.html"

local function fail(kind, message)
  return { kind = kind, message = message, retry = false }
end

local function refused(response)
  local body, text = response.body, nil
  if type(body) == "table" and body ~= null then text = type(body.message) == "string" and body.message or type(body[1]) == "string" and body[1] or nil end
  local kind = response.status == 404 and "not_found" or (response.status == 401 or response.status == 403) and "denied" or "refused"
  return fail(kind, "RT answered " .. tostring(response.status) .. (text and ": " .. text or ""))
end

local function ask(settings, method, path, more)
  local http = { method = method, url = settings.url, path = path, auth = { header = { name = "Authorization", value = settings.token, prefix = "token " } }, expect = "json" }
  for name, value in pairs(more or {}) do http[name] = value end
  return { http = http }
end

-- A text as TicketSQL quotes it. Line breaks cannot stand in a subject.
local function quoted(text)
  return "'" .. text:gsub("%c+", " "):gsub("[\\']", "\\%0") .. "'"
end

local function subject_of(p)
  local subject = p.subject:gsub("%c+", " ")
  if p.reference then subject = "[" .. (p.reference:gsub("%c+", " ")) .. "] " .. subject end
  return subject:sub(1, 200)
end

local function number(v)
  if type(v) == "string" then v = tonumber(v) end
  return v and math.tointeger(v)
end

-- RT answers 200 also to what it did not do; the reason is in the texts.
local function messages_deny(body)
  if type(body) ~= "table" or body == null then return nil end
  for _, text in ipairs(body) do
    if type(text) == "string" and (text:find("[Pp]ermission [Dd]enied") or text:find("[Cc]ould not")) then return text end
  end
  return nil
end

local function changed(response)
  if response.status ~= 200 and response.status ~= 201 then return nil, refused(response) end
  local why = messages_deny(response.body)
  if why then return nil, fail("denied", why) end
  return { done = true }
end

local function ticket_of(body)
  local queue, owner = body.Queue, body.Owner
  return {
    id = number(body.id), subject = type(body.Subject) == "string" and body.Subject or "", status = type(body.Status) == "string" and body.Status or "",
    queue = type(queue) == "table" and queue ~= null and type(queue.Name) == "string" and queue.Name or nil,
    owner = type(owner) == "table" and owner ~= null and type(owner.id) == "string" and owner.id or nil,
  }
end

local TICKET = { id = id, subject = schema.string {}, status = schema.string {}, queue = schema.string { optional = true }, owner = schema.string { optional = true } }

local function set_status(status)
  return function(p, settings) return ask(settings, "PUT", { "ticket", p.id }, { json = { Status = status } }) end
end

return connector {
  name = "rt", title = "Request Tracker", docs = DOCS,
  settings = {
    url = schema.url { doc = "The REST interface, for instance https://rt.example/REST/2.0" },
    token = schema.secret { doc = "An authentication token of Tocsin's RT user (RT::AuthToken)" },
    queue = schema.string { doc = "Queue for tickets that name none", default = "General" },
  },
  limits = { timeout = "20s", concurrent = 4, per_minute = 120, response_kib = 256 },
  actions = {
    create_ticket = {
      doc = "Open a ticket.", docs = DOCS .. "#Creating-a-ticket", effect = "record", target = { queue = "queue" },
      params = {
        queue = schema.string { doc = "Queue; without it the settings' one", optional = true, max = 200 },
        subject = schema.string { doc = "Subject", min = 1, max = 500 },
        content = schema.string { doc = "First message, plain text", optional = true, max = 65536 },
        reference = schema.string { doc = "What makes the subject unlike any other: the incident's id", optional = true, max = 60 },
        requestor = schema.string { doc = "Mail address of the requestor", optional = true, max = 200 },
        owner = schema.string { doc = "RT user who owns it", optional = true, max = 200 },
        priority = schema.integer { doc = "Priority", optional = true, min = 0, max = 1000 },
      },
      returns = { id = schema.integer { optional = true }, url = schema.string { optional = true } },
      request = function(p, settings)
        return ask(settings, "POST", { "ticket" }, { json = { Queue = p.queue or settings.queue, Subject = subject_of(p), Content = p.content or p.subject, ContentType = "text/plain",
                                                               Requestor = p.requestor, Owner = p.owner, Priority = p.priority } })
      end,
      result = function(response, settings)
        local made = response.status == 201 and type(response.body) == "table" and response.body ~= null and number(response.body.id)
        if not made then return nil, refused(response) end
        return { id = made, url = (settings.url:gsub("/REST/2%.0/?$", "")) .. "/Ticket/Display.html?id=" .. made }
      end,
      probe = "find_ticket", simulate = function() return { id = 1 } end,
    },
    find_ticket = {
      doc = "Is there a ticket with this reference and subject?", docs = DOCS .. "#Searching-for-tickets", effect = "read", target = { queue = "queue" },
      params = { queue = schema.string { optional = true, max = 200 }, subject = schema.string { min = 1, max = 500 }, reference = schema.string { optional = true, max = 60 } },
      returns = { happened = schema.boolean { optional = true }, id = schema.integer { optional = true } },
      request = function(p, settings)
        return ask(settings, "GET", { "tickets" }, { query = { query = "Queue = " .. quoted(p.queue or settings.queue) .. " AND Subject = " .. quoted(subject_of(p)), per_page = 2,
                                                               orderby = "id", order = "DESC" } })
      end,
      result = function(response)
        if response.status ~= 200 or type(response.body) ~= "table" or response.body == null then return nil, refused(response) end
        local items = response.body.items
        local first = type(items) == "table" and items ~= null and items[1]
        return { happened = first and true or false, id = first and number(first.id) or nil }
      end,
      simulate = function() return { happened = true, id = 1 } end,
    },
    search = {
      doc = "Search tickets by TicketSQL.", docs = DOCS .. "#Searching-for-tickets", effect = "read",
      params = { query = schema.string { doc = "TicketSQL, for instance Queue = 'Security' AND Status = '__Active__'", min = 1, max = 2000 },
                 per_page = schema.integer { default = 20, min = 1, max = 100 } },
      returns = { total = schema.integer {}, tickets = schema.list { of = schema.any {} } },
      request = function(p, settings)
        return ask(settings, "GET", { "tickets" }, { query = { query = p.query, per_page = p.per_page, fields = "Subject,Status", orderby = "id", order = "DESC" } })
      end,
      result = function(response)
        if response.status ~= 200 or type(response.body) ~= "table" or response.body == null then return nil, refused(response) end
        local tickets = array {}
        for _, item in ipairs(type(response.body.items) == "table" and response.body.items ~= null and response.body.items or {}) do tickets[#tickets + 1] = ticket_of(item) end
        return { total = number(response.body.total) or #tickets, tickets = tickets }
      end,
      simulate = function() return { total = 0, tickets = array {} } end,
    },
    get_ticket = {
      doc = "Read one ticket.", docs = DOCS .. "#Tickets", effect = "read", target = { ticket = "id" }, params = { id = id }, returns = TICKET,
      request = function(p, settings) return ask(settings, "GET", { "ticket", p.id }) end,
      result = function(response)
        if response.status ~= 200 or type(response.body) ~= "table" or response.body == null then return nil, refused(response) end
        return ticket_of(response.body)
      end,
      simulate = function(p) return { id = p.id, subject = "simulated", status = "open" } end,
    },
    comment = {
      doc = "Add a comment that only staff see.", docs = DOCS .. "#Replying-to-commenting-on-a-ticket", effect = "record", target = { ticket = "id" },
      params = { id = id, content = schema.string { doc = "Plain text", min = 1, max = 65536 } }, returns = { done = schema.boolean { optional = true } },
      request = function(p, settings) return ask(settings, "POST", { "ticket", p.id, "comment" }, { json = { Content = p.content, ContentType = "text/plain" } }) end,
      result = changed, simulate = function() return { done = true } end,
    },
    correspond = {
      doc = "Answer the requestor.", docs = DOCS .. "#Replying-to-commenting-on-a-ticket", effect = "notify", target = { ticket = "id" },
      params = { id = id, content = schema.string { doc = "Plain text", min = 1, max = 65536 } }, returns = { done = schema.boolean { optional = true } },
      request = function(p, settings) return ask(settings, "POST", { "ticket", p.id, "correspond" }, { json = { Content = p.content, ContentType = "text/plain" } }) end,
      result = changed, simulate = function() return { done = true } end,
    },
    resolve = {
      doc = "Set a ticket to resolved.", docs = DOCS .. "#Updating-a-ticket", effect = "record", target = { ticket = "id" }, params = { id = id },
      returns = { done = schema.boolean { optional = true } }, idempotent = true, request = set_status("resolved"), result = changed, simulate = function() return { done = true } end,
    },
    reopen = {
      doc = "Set a ticket to open.", docs = DOCS .. "#Updating-a-ticket", effect = "record", target = { ticket = "id" }, params = { id = id },
      returns = { done = schema.boolean { optional = true } }, idempotent = true, request = set_status("open"), result = changed, simulate = function() return { done = true } end,
    },
  },
}
