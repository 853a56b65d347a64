-- connectors/securityhub.lua: findings of AWS Security Hub in ASFF: bare, as a GetFindings answer, or inside EventBridge events.
--
-- The product is the one that found it (GuardDuty, Inspector…), as Security Hub itself maps ASFF to OCSF. A custom action on a finding is a
-- person's wish at that moment, so it is never a repetition of the import: its event id becomes part of the id.

local LABEL = { INFORMATIONAL = 1, LOW = 2, MEDIUM = 3, HIGH = 4, CRITICAL = 5 }

local function findings_of(doc)
  if ocsf.table(doc) == nil then return nil end
  return ocsf.table(ocsf.get(doc, "detail.findings")) or ocsf.table(doc.Findings) or ocsf.table(doc.findings)
end

local function severity(doc)
  local label = ocsf.first(doc, "Severity.Label", "FindingProviderFields.Severity.Label", "ProductFields.aws/securityhub/SeverityLabel")
  if label and LABEL[label] then return LABEL[label] end
  local n = tonumber(ocsf.get(doc, "Severity.Normalized"))
  if not n then return 0 end
  if n < 1 then return 1 elseif n < 40 then return 2 elseif n < 70 then return 3 elseif n < 90 then return 4 end
  return 5
end

-- The person behind an access key: its user, or for an assumed role the session's name ("AROA…:john.doe").
local function key_user(details)
  local name = ocsf.str(ocsf.get(details, "UserName"))
  local principal = ocsf.str(ocsf.get(details, "PrincipalId"))
  if not name and principal then name = principal:match("^[^:]+:(.+)$") end
  return name, principal
end

local function resource(f, r)
  local uid, kind, role = ocsf.str(ocsf.get(r, "Id")), ocsf.str(ocsf.get(r, "Type")), ocsf.str(ocsf.get(r, "ResourceRole"))
  local details = ocsf.get(r, "Details")
  local who = role == "Target" and "user" or "actor.user"
  local name, principal = key_user(ocsf.get(details, "AwsIamAccessKey"))
  ocsf.user(f, who, { name = name, uid = principal })
  if kind == "AwsIamUser" then
    ocsf.user(f, role == "Actor" and "actor.user" or "user", { name = ocsf.str(ocsf.get(details, "AwsIamUser.UserName")) or (uid and uid:match(":user/([^/]+)$")), uid = uid })
  end
  if kind == "AwsEc2Instance" then
    ocsf.put(f, "device.uid", uid)
    for _, list in ipairs { "AwsEc2Instance.IpV4Addresses", "AwsEc2Instance.IpV6Addresses" } do
      for _, address in ipairs(ocsf.list(ocsf.get(details, list))) do ocsf.endpoint(f, "device", address) end
    end
  end
  if uid and uid:find(":null$") then uid = nil end -- GuardDuty's way to say that it knows no key id
  ocsf.resource(f, { uid = uid, type = kind, role = role and role:lower() })
  local issuer = ocsf.str(ocsf.get(details, "AwsIamAccessKey.SessionContext.SessionIssuer.Arn"))
  ocsf.put(f, "actor.session.issuer", issuer)
end

local function places(f, doc)
  local via = "ProductFields.action/"
  ocsf.endpoint(f, "src_endpoint", ocsf.first(doc, "Action.AwsApiCallAction.RemoteIpDetails.IpAddressV4", via .. "awsApiCallAction/remoteIpDetails/ipAddressV4",
                                              "Network.SourceIpV4", "Network.SourceIpV6", "Network.SourceDomain"), ocsf.get(doc, "Network.SourcePort"))
  ocsf.set(f, "src_endpoint.hostname", "Hostname", ocsf.get(doc, "Action.AwsApiCallAction.DomainDetails.Domain"))
  ocsf.endpoint(f, "dst_endpoint", ocsf.first(doc, "Network.DestinationIpV4", "Network.DestinationIpV6", "Network.DestinationDomain"), ocsf.get(doc, "Network.DestinationPort"))
  local outbound = ocsf.get(doc, "Action.NetworkConnectionAction.ConnectionDirection") == "OUTBOUND"
  ocsf.endpoint(f, outbound and "dst_endpoint" or "src_endpoint",
                ocsf.first(doc, "Action.NetworkConnectionAction.RemoteIpDetails.IpAddressV4", via .. "networkConnectionAction/remoteIpDetails/ipAddressV4"))
  ocsf.set(f, "query.hostname", "Hostname", ocsf.first(doc, "Action.DnsRequestAction.Domain", via .. "dnsRequestAction/domain"))
  for _, probe in ipairs(ocsf.list(ocsf.get(doc, "Action.PortProbeAction.PortProbeDetails"))) do
    ocsf.endpoint(f, "src_endpoint", ocsf.get(probe, "RemoteIpDetails.IpAddressV4"))
  end
end

local function things(f, doc)
  ocsf.process(f, "actor.process", { name = ocsf.first(doc, "Process.Path", "Process.Name"), pid = ocsf.get(doc, "Process.Pid") })
  for _, malware in ipairs(ocsf.list(ocsf.get(doc, "Malware"))) do ocsf.set(f, "file.path", "File Name", ocsf.get(malware, "Path")) end
  for _, indicator in ipairs(ocsf.list(ocsf.get(doc, "ThreatIntelIndicators"))) do ocsf.indicator(f, ocsf.get(indicator, "Value")) end
end

local function event_id(whole, doc)
  local id, created, updated = ocsf.str(ocsf.get(doc, "Id")), ocsf.str(ocsf.get(doc, "CreatedAt")), ocsf.str(ocsf.get(doc, "UpdatedAt"))
  if not id then return nil, nil, false end
  local again = created ~= nil and updated ~= nil and created ~= updated
  local uid = again and id .. "@" .. updated or id
  local event, kind = ocsf.str(ocsf.get(whole, "id")), ocsf.str(ocsf.get(whole, "detail-type"))
  if event and kind and kind:find("Custom Action", 1, true) then uid = uid .. "#" .. event end
  return uid, id, again
end

local function normalise(whole)
  local list = findings_of(whole)
  local doc = list and ocsf.table(list[1]) or whole
  local uid, id, again = event_id(whole, doc)
  local closed = ocsf.get(doc, "RecordState") == "ARCHIVED" or ocsf.get(doc, "Workflow.Status") == "RESOLVED"
  local f = ocsf.finding {
    product = ocsf.first(doc, "ProductName", "ProductFields.aws/securityhub/ProductName") or "Security Hub",
    vendor = ocsf.first(doc, "CompanyName", "ProductFields.aws/securityhub/CompanyName") or "AWS", product_uid = ocsf.get(doc, "ProductArn"), feature = "Security Hub",
    uid = uid, finding_uid = id, correlation_uid = id, title = ocsf.get(doc, "Title"), desc = ocsf.get(doc, "Description"),
    types = ocsf.get(doc, "Types") or ocsf.get(doc, "FindingProviderFields.Types"), url = ocsf.get(doc, "SourceUrl"), severity_id = severity(doc),
    time = ocsf.time(ocsf.get(doc, "UpdatedAt")) or ocsf.time(ocsf.get(doc, "CreatedAt")) or ocsf.time(ocsf.get(whole, "time")),
    first_seen_time = ocsf.time(ocsf.get(doc, "FirstObservedAt")), activity_id = closed and 3 or again and 2 or 1,
  }
  ocsf.put(f, "cloud.provider", "AWS")
  ocsf.put(f, "cloud.account.uid", ocsf.first(doc, "AwsAccountId"))
  ocsf.put(f, "cloud.region", ocsf.first(doc, "Region", "Resources.1.Region"))
  for _, r in ipairs(ocsf.list(ocsf.get(doc, "Resources"))) do resource(f, r) end
  places(f, doc)
  things(f, doc)
  return ocsf.done(f)
end

-- Each finding keeps its envelope: the event's id and kind are part of what it means.
local function split(doc)
  local list = findings_of(doc)
  if not list or #list < 2 then return nil end
  local each = {}
  for i, finding in ipairs(list) do
    each[i] = { id = doc.id, ["detail-type"] = doc["detail-type"], source = doc.source, time = doc.time, detail = { findings = { finding } } }
  end
  return each
end

local function is_finding(doc)
  return ocsf.has(doc, "AwsAccountId", "ProductArn", "GeneratorId")
end

return connector {
  name = "securityhub", title = "AWS Security Hub", docs = "https://docs.aws.amazon.com/securityhub/latest/userguide/securityhub-findings-format.html",
  settings = {}, actions = {},
  alert = {
    source = "securityhub",
    recognise = function(doc)
      if ocsf.table(doc) == nil then return 0 end
      if doc.source == "aws.securityhub" and findings_of(doc) then return 97 end
      if is_finding(doc) then return 95 end
      local list = findings_of(doc)
      return list and is_finding(list[1]) and 94 or 0
    end,
    split = split,
    normalise = normalise,
  },
}
