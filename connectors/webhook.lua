-- connectors/webhook.lua: any HTTP interface that takes or gives JSON. What it does is in its owner's hands, so a POST counts as a notification.

local function fail(kind, message)
  return { kind = kind, message = message, retry = false }
end

local function refused(response)
  local kind = response.status == 404 and "not_found" or (response.status == 401 or response.status == 403) and "denied" or "refused"
  return fail(kind, "the server answered " .. tostring(response.status) .. (response.text and ": " .. response.text:sub(1, 200) or ""))
end

local function auth_of(settings)
  if settings.bearer then return { bearer = settings.bearer } end
  if settings.hmac_secret then return { hmac = { secret = settings.hmac_secret, header = settings.hmac_header, prefix = "sha256=", encoding = "hex", signed = "%b" } } end
  if settings.header_value then return { header = { name = settings.header_name, value = settings.header_value } } end
  return nil
end

local function segments(path)
  local each = array {}
  for segment in (path or ""):gmatch("[^/]+") do each[#each + 1] = segment end
  return #each > 0 and each or nil
end

local function answer(response)
  if response.status < 200 or response.status > 299 then return nil, refused(response) end
  return { status = response.status, body = response.body, text = response.text }
end

local ANSWER = { status = schema.integer { optional = true }, body = schema.any { optional = true }, text = schema.string { optional = true } }

return connector {
  name = "webhook", title = "Webhook", docs = "https://www.rfc-editor.org/rfc/rfc9110#name-post",
  settings = {
    url = schema.url { doc = "Where to" },
    bearer = schema.secret { doc = "Sent as Authorization: Bearer …", optional = true },
    hmac_secret = schema.secret { doc = "Signs the body (HMAC-SHA-256, hex, after \"sha256=\")", optional = true },
    hmac_header = schema.string { doc = "Header of the signature", default = "X-Hub-Signature-256" },
    header_name = schema.string { doc = "Header of a key", default = "X-Api-Key" },
    header_value = schema.secret { doc = "The key", optional = true },
  },
  limits = { timeout = "15s", concurrent = 4, per_minute = 120, response_kib = 256 },
  actions = {
    post = {
      doc = "POST a JSON document. The step's idempotency key goes along as Idempotency-Key.", docs = "https://www.rfc-editor.org/rfc/rfc9110#name-post",
      effect = "notify", target = { path = "path" },
      params = { json = schema.any { doc = "The document" }, path = schema.string { doc = "Added to the settings' URL", optional = true, max = 1000 } }, returns = ANSWER,
      request = function(p, settings)
        return { http = { method = "POST", url = settings.url, path = segments(p.path), json = p.json, auth = auth_of(settings), idempotency_key = "header" } }
      end,
      result = answer, simulate = function() return { status = 200 } end,
    },
    get = {
      doc = "GET a document, to enrich an incident.", docs = "https://www.rfc-editor.org/rfc/rfc9110#name-get",
      effect = "read", target = { path = "path" },
      params = { path = schema.string { doc = "Added to the settings' URL", optional = true, max = 1000 }, query = schema.map { doc = "Query parameters", of = schema.string {}, optional = true } },
      returns = ANSWER,
      request = function(p, settings) return { http = { method = "GET", url = settings.url, path = segments(p.path), query = p.query, auth = auth_of(settings) } } end,
      result = answer, simulate = function() return { status = 200 } end,
    },
  },
}
