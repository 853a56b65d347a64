-- connectors/defender.lua: Microsoft Defender XDR: streamed AlertInfo and AlertEvidence rows, Graph alerts (alerts_v2) and Defender for Endpoint alerts.

-- Rows of the streaming API keep their columns in `properties`.
local function row_of(doc)
  local category = ocsf.get(doc, "category")
  if type(category) == "string" and category:find("^AdvancedHunting%-Alert") then return ocsf.table(doc.properties), category end
  return nil
end

local function techniques(f, doc, tactic)
  for _, path in ipairs { "mitreTechniques", "MitreTechniques" } do
    for _, id in ipairs(ocsf.list(ocsf.get(doc, path))) do ocsf.attack(f, id, nil, tactic) end
  end
  -- A JSON text: ["Regsvr32 (T1218.010)", …]
  local text = ocsf.get(doc, "AttackTechniques")
  if type(text) ~= "string" or #text > 16384 then return end
  for part in text:gmatch('"([^"]+)"') do
    local name, id = part:match("^(.-) ?%((T[%d.]+)%)$")
    ocsf.attack(f, id, name, tactic)
  end
end

local function account(f, a, path)
  ocsf.user(f, path, { name = ocsf.first(a, "accountName", "userName", "AccountName", "AccountUpn", "userPrincipalName"),
                       uid = ocsf.first(a, "azureAdUserId", "userSid", "accountSid", "AccountObjectId", "AccountSid"), domain = ocsf.first(a, "domainName", "AccountDomain"),
                       email_addr = ocsf.first(a, "userPrincipalName", "AccountUpn"), full_name = ocsf.first(a, "displayName") })
end

local function file(f, e, path)
  ocsf.set(f, path .. ".name", "File Name", ocsf.first(e, "fileName", "FileName"))
  ocsf.put(f, path .. ".path", ocsf.first(e, "filePath", "FolderPath"))
  ocsf.hashes(f, path, ocsf.first(e, "sha256", "SHA256"), ocsf.first(e, "sha1", "SHA1"), ocsf.first(e, "md5"))
end

-- One piece of evidence, whichever interface wrote it. Impacted users are those it was done to; related ones did it.
local function evidence(f, e)
  local kind = ocsf.first(e, "@odata.type", "entityType", "EntityType") or ""
  kind = (kind:match("([^.]+)$") or ""):lower()
  if kind:find("user", 1, true) or kind:find("mailbox", 1, true) then
    local role = ocsf.str(ocsf.get(e, "EvidenceRole"))
    account(f, ocsf.table(ocsf.get(e, "userAccount")) or e, role == "Impacted" and "user" or "actor.user")
  elseif kind:find("process", 1, true) then
    local image = ocsf.table(ocsf.get(e, "imageFile")) or e
    ocsf.process(f, "actor.process", { name = ocsf.first(image, "fileName", "FileName"), pid = ocsf.first(e, "processId"),
                                       cmd_line = ocsf.first(e, "processCommandLine", "ProcessCommandLine") })
    ocsf.hashes(f, "actor.process.file", ocsf.first(image, "sha256", "SHA256"), ocsf.first(image, "sha1", "SHA1"))
    account(f, ocsf.table(ocsf.get(e, "userAccount")) or e, "actor.user")
  elseif kind:find("file", 1, true) then
    file(f, ocsf.table(ocsf.get(e, "fileDetails")) or e, "file")
  elseif kind:find("device", 1, true) or kind:find("machine", 1, true) then
    ocsf.set(f, "device.hostname", "Hostname", ocsf.first(e, "deviceDnsName", "hostName", "DeviceName"))
    ocsf.put(f, "device.uid", ocsf.first(e, "mdeDeviceId", "DeviceId"))
    ocsf.endpoint(f, "device", ocsf.first(e, "lastIpAddress", "LocalIP"))
  elseif kind:find("ip", 1, true) then
    ocsf.endpoint(f, "src_endpoint", ocsf.first(e, "ipAddress", "RemoteIP"))
  elseif kind:find("url", 1, true) then
    ocsf.set(f, "url.url_string", "URL String", ocsf.first(e, "url", "RemoteUrl"))
  end
end

local function normalise_row(doc, row, category)
  local id = ocsf.str(ocsf.get(row, "AlertId"))
  local f = ocsf.finding {
    -- Evidence rows repeat their alert's id and bear none of their own, so only the alert's row can be known as a repetition.
    product = "Microsoft Defender XDR", vendor = "Microsoft", feature = ocsf.get(row, "ServiceSource"), uid = category == "AdvancedHunting-AlertInfo" and id or nil,
    finding_uid = id, correlation_uid = id, title = ocsf.first(row, "Title", "EntityType"), types = ocsf.get(row, "Category") or ocsf.get(row, "Categories"),
    severity_id = ocsf.severity(ocsf.get(row, "Severity")) or 0, time = ocsf.time(ocsf.get(row, "Timestamp")) or ocsf.time(ocsf.get(doc, "time")),
    activity_id = category == "AdvancedHunting-AlertInfo" and 1 or 2,
  }
  techniques(f, row, ocsf.str(ocsf.get(row, "Category")))
  if category == "AdvancedHunting-AlertEvidence" then evidence(f, row) end
  ocsf.put(f, "metadata.tenant_uid", ocsf.str(ocsf.get(doc, "tenantId")))
  return ocsf.done(f)
end

local function normalise_alert(doc)
  local id = ocsf.first(doc, "id", "alertId")
  local created, updated = ocsf.first(doc, "createdDateTime", "alertCreationTime", "creationTime"), ocsf.first(doc, "lastUpdateDateTime", "lastUpdateTime", "lastUpdatedTime")
  local status = ocsf.str(ocsf.get(doc, "status"))
  local closed = status ~= nil and status:lower() == "resolved"
  local again = id and created and updated and created ~= updated
  local f = ocsf.finding {
    product = "Microsoft Defender XDR", vendor = "Microsoft", feature = ocsf.first(doc, "serviceSource", "detectionSource"), uid = again and id .. "@" .. updated or id,
    finding_uid = id, correlation_uid = id, title = ocsf.get(doc, "title"), desc = ocsf.get(doc, "description"), types = ocsf.get(doc, "category"),
    url = ocsf.get(doc, "alertWebUrl"), severity_id = ocsf.severity(ocsf.get(doc, "severity")) or 0,
    time = ocsf.time(ocsf.first(doc, "lastEventTime", "lastActivityDateTime", "lastActivity")) or ocsf.time(created),
    first_seen_time = ocsf.time(ocsf.first(doc, "firstEventTime", "firstActivityDateTime", "firstActivity")), activity_id = closed and 3 or again and 2 or 1,
  }
  techniques(f, doc, ocsf.str(ocsf.get(doc, "category")))
  ocsf.set(f, "device.hostname", "Hostname", ocsf.first(doc, "computerDnsName"))
  ocsf.put(f, "device.uid", ocsf.first(doc, "machineId"))
  account(f, ocsf.get(doc, "relatedUser"), "actor.user")
  for _, e in ipairs(ocsf.list(ocsf.get(doc, "evidence"))) do evidence(f, e) end
  ocsf.put(f, "metadata.tenant_uid", ocsf.first(doc, "tenantId", "rbacGroupName"))
  return ocsf.done(f)
end

local function is_alert(doc)
  if ocsf.has(doc, "providerAlertId", "detectionSource") then return 92 end
  if ocsf.has(doc, "machineId", "detectionSource", "title") then return 90 end
  return ocsf.has(doc, "incidentId", "serviceSource", "title") and 88 or 0
end

return connector {
  name = "defender", title = "Microsoft Defender XDR", docs = "https://learn.microsoft.com/en-us/defender-xdr/streaming-api",
  settings = {}, actions = {},
  alert = {
    source = "defender",
    recognise = function(doc)
      if ocsf.table(doc) == nil then return 0 end
      if row_of(doc) then return 95 end
      local inner = ocsf.table(ocsf.get(doc, "records.1")) or ocsf.table(ocsf.get(doc, "value.1"))
      if inner then return row_of(inner) and 94 or is_alert(inner) end
      return is_alert(doc)
    end,
    split = function(doc) return ocsf.table(ocsf.get(doc, "records")) or ocsf.table(ocsf.get(doc, "value")) end,
    normalise = function(whole)
      local doc = ocsf.table(ocsf.get(whole, "records.1")) or ocsf.table(ocsf.get(whole, "value.1")) or whole
      local row, category = row_of(doc)
      if row then return normalise_row(doc, row, category) end
      return normalise_alert(doc)
    end,
  },
}
