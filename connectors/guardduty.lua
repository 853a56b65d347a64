-- connectors/guardduty.lua: findings of AWS GuardDuty, bare or inside an EventBridge event.
--
-- The credentials that made an API call are the actor; what was called upon is a resource. GuardDuty sends a finding again whenever it
-- counts it up: such news is a new event (id@updatedAt) of the same finding, not a repetition.

local function finding_of(doc)
  if ocsf.get(doc, "source") == "aws.guardduty" then return ocsf.table(ocsf.get(doc, "detail")) or doc end
  return doc
end

local function severity(n)
  n = tonumber(n)
  if not n or n < 1 then return 0 end
  if n < 4 then return 2 elseif n < 7 then return 3 elseif n < 9 then return 4 end
  return 5
end

local function remote(f, path, details)
  ocsf.endpoint(f, path, ocsf.first(details, "ipAddressV4", "ipAddressV6"))
end

local function api_call(f, call)
  remote(f, "src_endpoint", ocsf.get(call, "remoteIpDetails"))
  ocsf.set(f, "src_endpoint.hostname", "Hostname", ocsf.get(call, "domainDetails.domain"))
  ocsf.put(f, "api.operation", ocsf.str(ocsf.get(call, "api")))
  ocsf.put(f, "api.service.name", ocsf.str(ocsf.get(call, "serviceName")))
  local affected = ocsf.table(ocsf.get(call, "affectedResources")) or {}
  for kind, uid in pairs(affected) do
    if type(kind) == "string" then ocsf.resource(f, { uid = uid, type = kind, role = "target" }) end
  end
end

local function action(f, doc)
  local act = ocsf.get(doc, "service.action")
  api_call(f, ocsf.get(act, "awsApiCallAction"))
  ocsf.set(f, "query.hostname", "Hostname", ocsf.get(act, "dnsRequestAction.domain"))
  local net = ocsf.get(act, "networkConnectionAction")
  local outbound = ocsf.get(net, "connectionDirection") == "OUTBOUND"
  remote(f, outbound and "dst_endpoint" or "src_endpoint", ocsf.get(net, "remoteIpDetails"))
  ocsf.put(f, outbound and "dst_endpoint.port" or "src_endpoint.port", ocsf.int(ocsf.get(net, "remotePortDetails.port")))
  for _, probe in ipairs(ocsf.list(ocsf.get(act, "portProbeAction.portProbeDetails"))) do remote(f, "src_endpoint", ocsf.get(probe, "remoteIpDetails")) end
  remote(f, "src_endpoint", ocsf.get(act, "rdsLoginAttemptAction.remoteIpDetails"))
  remote(f, "src_endpoint", ocsf.get(act, "kubernetesApiCallAction.remoteIpDetails"))
  for _, address in ipairs(ocsf.list(ocsf.get(act, "kubernetesApiCallAction.sourceIps"))) do ocsf.endpoint(f, "src_endpoint", address) end
end

local function instance(f, details)
  local id = ocsf.str(ocsf.get(details, "instanceId"))
  if not id then return end
  ocsf.put(f, "device.uid", id)
  ocsf.resource(f, { uid = id, type = "AWS::EC2::Instance", role = "target" })
  for _, interface in ipairs(ocsf.list(ocsf.get(details, "networkInterfaces"))) do
    ocsf.endpoint(f, "device", ocsf.get(interface, "privateIpAddress"))
    ocsf.endpoint(f, "device", ocsf.get(interface, "publicIp"))
  end
end

local function resources(f, doc)
  local r = ocsf.get(doc, "resource")
  local key = ocsf.get(r, "accessKeyDetails")
  ocsf.user(f, "actor.user", { name = ocsf.get(key, "userName"), uid = ocsf.get(key, "principalId") })
  ocsf.resource(f, { uid = ocsf.get(key, "accessKeyId"), type = "AWS::IAM::AccessKey", role = "actor" })
  instance(f, ocsf.get(r, "instanceDetails"))
  for _, bucket in ipairs(ocsf.list(ocsf.get(r, "s3BucketDetails"))) do
    ocsf.resource(f, { uid = ocsf.first(bucket, "arn", "name"), name = ocsf.get(bucket, "name"), type = "AWS::S3::Bucket", role = "target" })
  end
  ocsf.resource(f, { uid = ocsf.get(r, "eksClusterDetails.arn"), name = ocsf.get(r, "eksClusterDetails.name"), type = "AWS::EKS::Cluster", role = "target" })
  ocsf.resource(f, { uid = ocsf.get(r, "ecsClusterDetails.arn"), name = ocsf.get(r, "ecsClusterDetails.name"), type = "AWS::ECS::Cluster", role = "target" })
  ocsf.resource(f, { uid = ocsf.get(r, "lambdaDetails.functionArn"), name = ocsf.get(r, "lambdaDetails.functionName"), type = "AWS::Lambda::Function", role = "target" })
  ocsf.resource(f, { uid = ocsf.get(r, "rdsDbInstanceDetails.dbInstanceArn"), name = ocsf.get(r, "rdsDbInstanceDetails.dbInstanceIdentifier"),
                     type = "AWS::RDS::DBInstance", role = "target" })
  ocsf.user(f, "user", { name = ocsf.get(r, "rdsDbUserDetails.user") })
  ocsf.user(f, "actor.user", { name = ocsf.get(r, "kubernetesDetails.kubernetesUserDetails.username") })
end

local function runtime(f, doc)
  local process = ocsf.get(doc, "service.runtimeDetails.process")
  ocsf.process(f, "actor.process", { name = ocsf.first(process, "executablePath", "name"), pid = ocsf.get(process, "pid") })
  ocsf.hashes(f, "actor.process.file", ocsf.get(process, "executableSha256"))
  ocsf.user(f, "actor.user", { name = ocsf.get(process, "user") })
end

-- An attack sequence tells who, from where and how in its prose only.
local function sequence(f, doc)
  local text = ocsf.str(ocsf.get(doc, "description")) or ""
  local name, principal = text:match("IAMUser/([%w+=,.@_-]+) with principalId (%w+)")
  ocsf.user(f, "actor.user", { name = name, uid = principal })
  for address in text:gmatch("Tor Exit Node: ([%x.:]+)") do ocsf.endpoint(f, "src_endpoint", (address:gsub("[.:]+$", ""))) end
  for id, title in text:gmatch("(T%d%d%d%d[.%d]*) %- ([^,\n]+)") do ocsf.attack(f, id, title) end
end

return connector {
  name = "guardduty", title = "AWS GuardDuty", docs = "https://docs.aws.amazon.com/guardduty/latest/ug/guardduty_findings_cloudwatch.html",
  settings = {}, actions = {},
  alert = {
    source = "guardduty",
    recognise = function(doc)
      if ocsf.table(doc) == nil then return 0 end
      if doc.source == "aws.guardduty" and ocsf.table(doc.detail) then return 97 end
      if ocsf.get(doc, "service.serviceName") == "guardduty" then return 95 end
      return type(doc.arn) == "string" and doc.arn:find("^arn:aws[%w-]*:guardduty:") and 90 or 0
    end,
    normalise = function(whole)
      local doc = finding_of(whole)
      local id, created, updated = ocsf.str(ocsf.get(doc, "id")), ocsf.str(ocsf.get(doc, "createdAt")), ocsf.str(ocsf.get(doc, "updatedAt"))
      local again = id and updated and created and updated ~= created
      local f = ocsf.finding {
        product = "GuardDuty", vendor = "AWS", uid = again and id .. "@" .. updated or id, finding_uid = id, correlation_uid = id, title = ocsf.get(doc, "title"),
        desc = ocsf.get(doc, "description"), types = ocsf.get(doc, "type"), severity_id = severity(ocsf.get(doc, "severity")),
        time = ocsf.time(updated) or ocsf.time(created) or ocsf.time(ocsf.get(whole, "time")), first_seen_time = ocsf.time(ocsf.get(doc, "service.eventFirstSeen")),
        activity_id = again and 2 or 1,
        status_id = ocsf.get(doc, "service.archived") == true and 5 or nil,
      }
      ocsf.put(f, "cloud.provider", "AWS")
      ocsf.put(f, "cloud.account.uid", ocsf.first(doc, "accountId", "account"))
      ocsf.put(f, "cloud.region", ocsf.first(doc, "region"))
      resources(f, doc)
      action(f, doc)
      runtime(f, doc)
      local kind = ocsf.str(ocsf.get(doc, "type"))
      if kind and kind:find("^AttackSequence:") then sequence(f, doc) end
      return ocsf.done(f)
    end,
  },
}
