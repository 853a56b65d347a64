/* An alert's OCSF observables: OCSF names their types by number, caption or both; people ask for "ip" or "user". */
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "route/paths.h"
#include "route/route.h"

/* OCSF 1.x observable types: number, caption, and the short word under which playbooks ask for them. */
static const struct kind {
  int id;
  const char *caption, *word;
} kinds[] = {
    {1, "Hostname", "host"},
    {2, "IP Address", "ip"},
    {3, "MAC Address", "mac"},
    {4, "User Name", "user"},
    {5, "Email Address", "email"},
    {6, "URL String", "url"},
    {7, "File Name", "file"},
    {8, "Hash", "hash"},
    {9, "Process Name", "process"},
    {10, "Resource UID", "resource"},
    {11, "Port", "port"},
    {12, "Subnet", "subnet"},
    {13, "Command Line", "command"},
    {14, "Country", "country"},
    {15, "Process ID", "process"},
    {16, "HTTP User-Agent", "user_agent"},
    {17, "CWE Object: uid", "cwe"},
    {18, "CVE Object: uid", "cve"},
    {19, "User Credential ID", "credential"},
    {20, "Endpoint", "host"},
    {21, "User", "user"},
    {22, "Email", "email"},
    {23, "Uniform Resource Locator", "url"},
    {24, "File", "file"},
    {25, "Process", "process"},
    {26, "Geo Location", "location"},
    {27, "Container", "container"},
    {28, "Registry Key", "registry"},
    {29, "Registry Value", "registry"},
    {30, "Fingerprint", "hash"},
    {31, "User Object: uid", "user"},
    {45, "File Path", "file"},
};

static const struct kind *kind_of(int64_t id, const char *caption) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (caption ? strcasecmp(kinds[i].caption, caption) == 0 : kinds[i].id == id) return &kinds[i];
  return NULL;
}

static bool wanted(const char *type, const char *caption, const struct kind *kind) {
  return !type || strcasecmp(type, caption) == 0 || (kind && strcasecmp(type, kind->word) == 0);
}

json_t *alert_observables(const json_t *alert, const char *type) {
  json_t *list = json_array(), *o;
  size_t i;
  json_array_foreach(json_object_get(alert, "observables"), i, o) {
    const char *caption = json_str(o, "type"), *text;
    const struct kind *kind = kind_of(json_int_or(o, "type_id", -1), caption);
    char room[PATH_NUMBER];
    size_t len;
    const json_t *value = json_object_get(o, "value");
    if (!caption) caption = kind ? kind->caption : "Unknown";
    if (!value || !wanted(type, caption, kind) || !scalar_text(value, room, &text, &len)) continue;
    json_array_append_new(list, json_pack("{s:s, s:o, s:s}", "type", caption, "value", json_stringn_nocheck(text, len), "path",
                                          json_str_or(o, "name", "")));
  }
  return list;
}
