/* The incident as a STIX 2.1 bundle: a report over an incident, its techniques, what was observed, and indicators for what the attacker left.
 *
 * Ids are UUIDs of version 5: those of cyber observables in the namespace and by the properties that STIX 2.1 §2.9 names, so that every producer gives the same ones; those of our own
 * objects in a namespace of ours, by the incident and the object's place in it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/internal.h"

static const char SCO_SPACE[] = "00abedb4-aa42-466c-9c01-fed23315a9b7";
static const char OUR_SPACE[] = "b71d9459-8dd0-5f32-a4b1-2cdc54848cd3";

enum { STIX_ID = 80 };

struct stix {
  const json_t *facts;
  json_t *objects, *refs;        /* refs: what the report is about */
  json_t *observed, *indicators; /* ids of observables; {id, pattern, name} */
  char created[TIME_TEXT], modified[TIME_TEXT], identity[STIX_ID];
};

static void stamp(int64_t us, char out[TIME_TEXT]) {
  time_format(us, out);
  memcpy(out + 23, "Z", 2); /* milliseconds, as STIX writes them */
}

static void our_id(const struct stix *x, const char *type, const char *what, char out[STIX_ID]) {
  char name[512], uuid[UUID_TEXT];
  int n = snprintf(name, sizeof name, "%s|%s|%s", json_str_or(x->facts, "id", ""), type, what);
  uuid5(OUR_SPACE, name, n < (int)sizeof name ? (size_t)n : sizeof name - 1, uuid);
  snprintf(out, STIX_ID, "%s--%s", type, uuid);
}

/* A domain object with what all of them have. Borrowed. */
static json_t *object_add(struct stix *x, const char *type, const char *what) {
  char id[STIX_ID];
  our_id(x, type, what, id);
  json_t *o =
      json_pack("{s:s, s:s, s:s, s:s, s:s}", "type", type, "spec_version", "2.1", "id", id, "created", x->created, "modified", x->modified);
  if (x->identity[0]) json_object_set_new(o, "created_by_ref", json_string(x->identity));
  json_array_append_new(x->objects, o);
  if (strcmp(type, "report") != 0) json_array_append_new(x->refs, json_string(id));
  return o;
}

/* ---- observables */

static bool is_hash(const char *value, size_t digits) {
  return strlen(value) == digits && strspn(value, "0123456789abcdefABCDEF") == digits;
}

static const char *hash_name(const char *value) {
  return is_hash(value, 64) ? "SHA-256" : is_hash(value, 40) ? "SHA-1" : is_hash(value, 32) ? "MD5" : NULL;
}

/* By OCSF's type_id of the observable: 1 hostname, 2 IP address, 4 user name, 5 e-mail, 6 URL, 8 hash. */
static json_t *sco_properties(int64_t type_id, const char *value, const char **ret_type) {
  switch (type_id) {
  case 1: *ret_type = "domain-name"; return json_pack("{s:s}", "value", value);
  case 2: *ret_type = strchr(value, ':') ? "ipv6-addr" : "ipv4-addr"; return json_pack("{s:s}", "value", value);
  case 4: *ret_type = "user-account"; return json_pack("{s:s}", "account_login", value);
  case 5: *ret_type = "email-addr"; return json_pack("{s:s}", "value", value);
  case 6: *ret_type = "url"; return json_pack("{s:s}", "value", value);
  case 8:
    if (!hash_name(value)) return NULL;
    *ret_type = "file";
    return json_pack("{s:{s:s}}", "hashes", hash_name(value), value);
  default: return NULL;
  }
}

static void quoted(struct buf *out, const char *value) {
  buf_addc(out, '\'');
  for (; *value; value++) {
    if (*value == '\'' || *value == '\\') buf_addc(out, '\\');
    buf_addc(out, *value);
  }
  buf_addc(out, '\'');
}

/* What the attacker came from or left behind; the victim's own hosts and people indicate nothing. */
static bool is_theirs(const char *name, int64_t type_id) {
  if (type_id == 8) return true;
  return (type_id == 2 || type_id == 6) && (strncmp(name, "src_endpoint.", 13) == 0 || strncmp(name, "http_request.url", 16) == 0);
}

static void indicator_note(struct stix *x, const char *type, const char *value) {
  struct buf pattern;
  buf_init(&pattern, 1 << 16);
  if (strcmp(type, "file") == 0) buf_addf(&pattern, "[file:hashes.'%s' = ", hash_name(value));
  else buf_addf(&pattern, "[%s:value = ", type);
  quoted(&pattern, value);
  buf_addc(&pattern, ']');
  json_object_set_new(x->indicators, pattern.data, json_string(value));
  buf_release(&pattern);
}

static void observable_add(struct stix *x, const json_t *o) {
  const char *type = NULL, *value = json_str(o, "value");
  int64_t type_id = json_int_or(o, "type_id", 0);
  json_t *sco = value ? sco_properties(type_id, value, &type) : NULL;
  char uuid[UUID_TEXT], id[STIX_ID];
  if (!sco) return;
  char *contributing = json_text(sco);
  uuid5(SCO_SPACE, contributing, strlen(contributing), uuid);
  free(contributing);
  snprintf(id, sizeof id, "%s--%s", type, uuid);
  if (is_theirs(json_str_or(o, "name", ""), type_id)) indicator_note(x, type, value);
  if (!json_array_has(x->observed, id)) {
    json_array_append_new(x->observed, json_string(id));
    json_object_set_new(sco, "type", json_string(type));
    json_object_set_new(sco, "spec_version", json_string("2.1"));
    json_object_set_new(sco, "id", json_string(id));
    json_array_append(x->objects, sco);
    json_array_append_new(x->refs, json_string(id));
  }
  json_decref(sco);
}

static void observed_add(struct stix *x) {
  const json_t *alerts = json_object_get(x->facts, "alerts");
  size_t i;
  json_t *o;
  char first[TIME_TEXT], last[TIME_TEXT];
  json_array_foreach(json_object_get(x->facts, "observables"), i, o) observable_add(x, o);
  if (!json_array_size(x->observed)) return;
  int64_t from = json_int_or(x->facts, "first", 0), to = json_int_or(json_array_get(alerts, json_array_size(alerts) - 1), "time", from);
  stamp(from, first);
  stamp(to > from ? to : from, last);
  json_t *seen = object_add(x, "observed-data", "alerts");
  json_object_set_new(seen, "first_observed", json_string(first));
  json_object_set_new(seen, "last_observed", json_string(last));
  json_object_set_new(seen, "number_observed", json_integer(json_array_size(alerts) ? (json_int_t)json_array_size(alerts) : 1));
  json_object_set(seen, "object_refs", x->observed);
}

/* Only what people judged to be an attack indicates one; a rehearsed one must not be blocked anywhere. */
static void indicators_add(struct stix *x) {
  const char *pattern, *verdict = json_str_or(json_object_get(x->facts, "closing"), "verdict", "");
  json_t *value;
  if (strcmp(verdict, "true_positive") != 0 || strcmp(json_str_or(x->facts, "mode", ""), "exercise") == 0) return;
  json_object_foreach(x->indicators, pattern, value) {
    json_t *i = object_add(x, "indicator", pattern);
    json_object_set(i, "name", value);
    json_object_set_new(i, "pattern", json_string(pattern));
    json_object_set_new(i, "pattern_type", json_string("stix"));
    json_object_set_new(i, "valid_from", json_string(x->created));
    json_object_set_new(i, "indicator_types", json_pack("[s]", "malicious-activity"));
  }
}

/* ---- the rest */

static void techniques_add(struct stix *x) {
  size_t i;
  json_t *uid;
  json_array_foreach(json_object_get(x->facts, "attack"), i, uid) {
    json_t *a = object_add(x, "attack-pattern", json_string_value(uid));
    json_object_set(a, "name", uid);
    json_object_set_new(a, "external_references", json_pack("[{s:s, s:O}]", "source_name", "mitre-attack", "external_id", uid));
  }
}

static void identity_add(struct stix *x) {
  json_t *i = object_add(x, "identity", "tocsin");
  json_object_set_new(i, "name", json_string("Tocsin"));
  json_object_set_new(i, "identity_class", json_string("system"));
  json_object_del(i, "created_by_ref");
  snprintf(x->identity, sizeof x->identity, "%s", json_str_or(i, "id", ""));
}

static json_t *external(const struct stix *x) {
  return json_pack("[{s:s, s:s}]", "source_name", "tocsin", "external_id", json_str_or(x->facts, "id", ""));
}

static void report_add(struct stix *x) {
  const json_t *closing = json_object_get(x->facts, "closing");
  const char *title = json_str_or(x->facts, "title", "Without a title"), *impact = json_str(closing, "impact");
  json_t *incident = object_add(x, "incident", "itself");
  json_object_set_new(incident, "name", json_string(title));
  if (impact) json_object_set_new(incident, "description", json_string(impact));
  json_object_set_new(incident, "external_references", external(x));
  json_t *report = object_add(x, "report", "itself");
  json_object_set_new(report, "name", json_string(title));
  json_object_set_new(report, "published", json_string(x->modified));
  json_object_set_new(report, "report_types", json_pack("[s]", "incident"));
  json_object_set_new(report, "external_references", external(x));
  json_object_set(report, "object_refs", x->refs);
}

json_t *report_stix(const json_t *facts) {
  struct stix x = {.facts = facts, .objects = json_array(), .refs = json_array(), .observed = json_array(), .indicators = json_object()};
  char id[STIX_ID];
  stamp(json_int_or(facts, "first", 0), x.created);
  stamp(json_int_or(facts, "last", 0), x.modified);
  identity_add(&x);
  techniques_add(&x);
  observed_add(&x);
  indicators_add(&x);
  report_add(&x);
  our_id(&x, "bundle", "itself", id);
  json_t *bundle = json_pack("{s:s, s:s, s:O}", "type", "bundle", "id", id, "objects", x.objects);
  json_decref(x.objects);
  json_decref(x.refs);
  json_decref(x.observed);
  json_decref(x.indicators);
  return bundle;
}
