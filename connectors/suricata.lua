-- connectors/suricata.lua: alerts of Suricata's EVE JSON log.
--
-- EVE gives no id to an alert (flow_id names a flow, which may raise many), so nothing here marks an alert as a repetition; the flow
-- joins what belongs together. Severity 1 is Suricata's highest.

local SEVERITY = { 4, 3, 2, 1 }

local function url_of(doc)
  local url, host = ocsf.str(ocsf.get(doc, "http.url")), ocsf.str(ocsf.get(doc, "http.hostname"))
  if not url then return nil end
  if url:find("^%a[%w+.-]*://") then return url end
  if not host then return nil end
  local port = ocsf.int(ocsf.get(doc, "http.http_port"))
  if port and port ~= 80 and not host:find(":%d+$") then host = host .. ":" .. port end
  return "http://" .. host .. (url:sub(1, 1) == "/" and url or "/" .. url)
end

local function files(f, doc)
  local all = {}
  for _, file in ipairs(ocsf.list(ocsf.get(doc, "files"))) do all[#all + 1] = file end
  all[#all + 1] = ocsf.table(ocsf.get(doc, "fileinfo"))
  for _, file in ipairs(all) do
    local name = ocsf.str(ocsf.get(file, "filename"))
    -- For HTTP the file's name is the URL's path: no news.
    if name ~= ocsf.str(ocsf.get(doc, "http.url")) then ocsf.set(f, "file.name", "File Name", name) end
    ocsf.hashes(f, "file", ocsf.get(file, "sha256"), ocsf.get(file, "sha1"), ocsf.get(file, "md5"))
  end
end

local function names(f, doc)
  local host = ocsf.str(ocsf.get(doc, "http.hostname"))
  if host and not ocsf.is_ip(host) then ocsf.set(f, "url.hostname", "Hostname", host) end
  ocsf.set(f, "url.url_string", "URL String", url_of(doc))
  ocsf.set(f, "dst_endpoint.hostname", "Hostname", ocsf.get(doc, "tls.sni"))
  ocsf.set(f, "query.hostname", "Hostname", ocsf.get(doc, "dns.rrname"))
  for _, list in ipairs { "dns.query", "dns.queries" } do
    for _, query in ipairs(ocsf.list(ocsf.get(doc, list))) do ocsf.set(f, "query.hostname", "Hostname", ocsf.get(query, "rrname")) end
  end
  ocsf.user(f, "actor.user", { name = ocsf.first(doc, "smb.ntlmssp.user", "rdp.cookie") })
end

local function attacks(f, doc)
  local meta = ocsf.get(doc, "alert.metadata")
  local ids, titles = ocsf.list(ocsf.get(meta, "mitre_technique_id")), ocsf.list(ocsf.get(meta, "mitre_technique_name"))
  local tactics = ocsf.list(ocsf.get(meta, "mitre_tactic_name"))
  for i, id in ipairs(ids) do
    local title, tactic = ocsf.str(titles[i]), ocsf.str(tactics[i])
    ocsf.attack(f, id, title and (title:gsub("_", " ")), tactic and (tactic:gsub("_", " ")))
  end
end

return connector {
  name = "suricata", title = "Suricata", docs = "https://docs.suricata.io/en/latest/output/eve/eve-json-format.html",
  settings = {}, actions = {},
  alert = {
    source = "suricata",
    recognise = function(doc)
      if ocsf.table(doc) == nil then return 0 end
      if ocsf.table(doc.alert) and ocsf.has(doc, "alert.signature", "alert.signature_id") then
        return doc.event_type == "alert" and 95 or 70
      end
      return ocsf.has(doc, "event_type", "flow_id", "src_ip") and 40 or 0
    end,
    normalise = function(doc)
      local f = ocsf.finding {
        product = "Suricata", vendor = "OISF", title = ocsf.first(doc, "alert.signature", "anomaly.event", "event_type"), types = ocsf.get(doc, "alert.category"),
        severity_id = SEVERITY[ocsf.int(ocsf.get(doc, "alert.severity"))] or 0, time = ocsf.time(ocsf.get(doc, "timestamp")),
        start_time = ocsf.time(ocsf.get(doc, "flow.start")), correlation_uid = ocsf.int(ocsf.get(doc, "flow_id")),
      }
      ocsf.put(f, "finding_info.analytic", { name = ocsf.str(ocsf.get(doc, "alert.signature")), uid = ocsf.str(ocsf.get(doc, "alert.signature_id")), type = "Rule", type_id = 1 })
      ocsf.put(f, "metadata.log_provider", ocsf.str(ocsf.get(doc, "host")))
      ocsf.endpoint(f, "src_endpoint", ocsf.get(doc, "src_ip"), ocsf.get(doc, "src_port"))
      ocsf.endpoint(f, "dst_endpoint", ocsf.get(doc, "dest_ip"), ocsf.get(doc, "dest_port"))
      ocsf.set(f, "src_endpoint.mac", "MAC Address", ocsf.get(doc, "ether.src_mac"))
      ocsf.set(f, "dst_endpoint.mac", "MAC Address", ocsf.get(doc, "ether.dest_mac"))
      ocsf.put(f, "connection_info.protocol_name", ocsf.str(ocsf.get(doc, "proto")))
      names(f, doc)
      files(f, doc)
      attacks(f, doc)
      return ocsf.done(f)
    end,
  },
}
