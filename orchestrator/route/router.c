#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/map.h"
#include "route/condition.h"
#include "route/expiry.h"
#include "route/fold.h"
#include "route/index.h"
#include "route/near.h"

enum { MAX_TRIGGERS = 100000, MAX_GROUP_FIELDS = 8, GROUP_PLAIN = 300, GROUP_MOST = 4 << 20 };

struct rule {
  json_t *json;
  const char *name; /* borrowed from json, or from made */
  char *made;
  int64_t starts, expires;
};

struct target {
  char *playbook;
  struct condition *when; /* NULL: only by hand */
  struct path group[MAX_GROUP_FIELDS];
  size_t group_count;
  int64_t window_ms;
  bool shadow;
};

/* Triggers have the index's numbers from 0 on, suppression rules follow. */
struct router {
  struct target *targets;
  struct rule *rules;
  struct condition **rule_when;
  size_t count, rule_count;
  struct index *index;
};

void router_free(struct router *r) {
  if (!r) return;
  for (size_t i = 0; r->targets && i < r->count; i++) {
    for (size_t g = 0; g < r->targets[i].group_count; g++) path_release(&r->targets[i].group[g]);
    condition_free(r->targets[i].when);
    free(r->targets[i].playbook);
  }
  for (size_t i = 0; r->rules && r->rule_when && i < r->rule_count; i++) {
    condition_free(r->rule_when[i]);
    json_decref(r->rules[i].json);
    free(r->rules[i].made);
  }
  free(r->targets);
  free(r->rules);
  free(r->rule_when);
  index_free(r->index);
  free(r);
}

/* ---- building ---- */

static int by_text(const void *a, const void *b) { return strcmp(((const struct path *)a)->text, ((const struct path *)b)->text); }

/* Nothing, or a list; an empty table of Lua arrives as {}. */
static bool list_or_nothing(const json_t *value) {
  return !value || json_is_null(value) || json_is_array(value) || (json_is_object(value) && !json_object_size(value));
}

/* Sorted and without repetition, so that two playbooks that group by the same fields share their incidents. */
static int group_compile(const json_t *group, struct target *t, struct err *err) {
  size_t i;
  json_t *field;
  if (!list_or_nothing(group)) return err_set(err, ERR_INVALID, "group must be a list of fields such as { \"actor.user\" }");
  if (json_array_size(group) > MAX_GROUP_FIELDS) return err_set(err, ERR_LIMIT, "group has more than %d fields", MAX_GROUP_FIELDS);
  json_array_foreach(group, i, field) {
    if (!json_is_string(field)) return err_set(err, ERR_INVALID, "group must be a list of fields such as { \"actor.user\" }");
    int rc = path_compile(json_string_value(field), json_string_length(field), &t->group[t->group_count], err);
    if (rc) return err_wrap(err, "group");
    t->group_count++;
  }
  if (t->group_count) qsort(t->group, t->group_count, sizeof *t->group, by_text);
  for (i = 1; i < t->group_count; i++)
    if (by_text(&t->group[i - 1], &t->group[i]) == 0) return err_set(err, ERR_INVALID, "group names `%s` twice", t->group[i].text);
  return 0;
}

static int target_compile(const struct trigger *from, const struct lists *lists, struct target *t, struct err *err) {
  t->window_ms = from->window_ms;
  t->shadow = from->shadow;
  if (!from->playbook || !(t->playbook = strdup(from->playbook))) return err_set(err, ERR_INVALID, "a trigger without a playbook");
  int rc = group_compile(from->group, t, err);
  if (!rc && from->when && !json_is_null(from->when) && (rc = condition_compile(from->when, lists, &t->when, err))) err_wrap(err, "when");
  return rc ? err_wrap(err, "playbook %s", from->playbook) : 0;
}

static int rule_text(const json_t *rule, const char *member, const char **ret, struct err *err) {
  const char *text = json_str(rule, member);
  if (!text || !text[strspn(text, " \t")])
    return err_set(err, ERR_INVALID, "`%s` is missing: who silences alerts says when, why (reason), who (owner) and until when (expires)",
                   member);
  if (ret) *ret = text;
  return 0;
}

static int rule_members(const json_t *rule, struct err *err) {
  static const char *const known[] = {"name", "when", "reason", "owner", "starts", "expires", NULL};
  const char *key, *meant;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)rule, key, value) {
    meant = route_near_miss(key, known);
    if (meant && strcmp(meant, key) == 0) continue;
    if (meant) return err_set(err, ERR_INVALID, "unknown member `%.64s`; did you mean `%s`?", key, meant);
    return err_set(err, ERR_INVALID, "unknown member `%.64s`; there are name, when, reason, owner, starts, expires", key);
  }
  return 0;
}

static int rule_compile(const json_t *json, size_t number, const struct lists *lists, struct rule *r, struct condition **ret_when,
                        struct err *err) {
  const char *expires = NULL, *starts = json_str(json, "starts");
  struct buf made;
  if (!json_is_object(json)) return err_set(err, ERR_INVALID, "a suppression rule must be a table");
  r->json = json_deep_copy(json);
  if (!r->json) return err_set(err, ERR_MEMORY, "no memory for a suppression rule");
  r->starts = INT64_MIN;
  int rc = rule_members(json, err);
  if (!rc) rc = rule_text(json, "reason", NULL, err);
  if (!rc) rc = rule_text(json, "owner", NULL, err);
  if (!rc) rc = rule_text(json, "expires", &expires, err);
  if (rc) return rc;
  if (!expiry_parse(expires, &r->expires))
    return err_set(err, ERR_INVALID, "expires `%.40s` is no date: write 2027-01-31 (through that day) or 2027-01-31T18:00:00Z", expires);
  if (json_object_get(json, "starts") && (!starts || !expiry_parse(starts, &r->starts)))
    return err_set(err, ERR_INVALID, "starts is no date: write 2027-01-31 or 2027-01-31T18:00:00Z");
  if (starts && strlen(starts) == 10) r->starts -= INT64_C(86400) * 1000000; /* a day starts where it begins */
  if (starts && r->starts >= r->expires) return err_set(err, ERR_INVALID, "it expires before it starts");
  if ((rc = condition_compile(json_object_get(json, "when"), lists, ret_when, err))) return err_wrap(err, "when");
  buf_init(&made, 64);
  buf_addf(&made, "suppression %zu", number);
  r->made = buf_take(&made, NULL);
  r->name = json_str_or(r->json, "name", r->made ? r->made : "suppression");
  buf_release(&made);
  return 0;
}

static int index_build(struct router *r, struct err *err) {
  int rc = 0;
  size_t total = r->count + r->rule_count;
  for (size_t i = 0; i < total; i++) {
    const struct condition *c = i < r->count ? r->targets[i].when : r->rule_when[i - r->count];
    if (c && (rc = index_count(r->index, c, err))) return rc;
  }
  for (size_t i = 0; i < total; i++) {
    bool rule = i >= r->count;
    const struct condition *c = rule ? r->rule_when[i - r->count] : r->targets[i].when;
    if (!c || !(rc = index_add(r->index, c, (uint32_t)i, err))) continue;
    return rule ? err_wrap(err, "suppression %s: when", r->rules[i - r->count].name)
                : err_wrap(err, "playbook %s: when", r->targets[i].playbook);
  }
  return 0;
}

int router_new(const struct trigger *triggers, size_t count, const json_t *suppress, const struct lists *lists, struct router **ret,
               struct err *err) {
  size_t rules = json_array_size(suppress);
  struct err own = {0};
  int rc = 0;
  if (!err) err = &own;
  if (count > MAX_TRIGGERS || rules > MAX_TRIGGERS)
    return err_set(err, ERR_LIMIT, "more than %d playbooks or suppression rules", MAX_TRIGGERS);
  if (!list_or_nothing(suppress)) return err_set(err, ERR_INVALID, "suppress must be a list of rules");
  struct router *r = calloc(1, sizeof *r);
  if (!r) return err_set(err, ERR_MEMORY, "no memory for the router");
  r->targets = calloc(count + 1, sizeof *r->targets);
  r->rules = calloc(rules + 1, sizeof *r->rules);
  r->rule_when = calloc(rules + 1, sizeof *r->rule_when);
  r->index = index_new();
  r->count = count;
  r->rule_count = rules;
  if (!r->targets || !r->rules || !r->rule_when || !r->index) rc = err_set(err, ERR_MEMORY, "no memory for the router");
  for (size_t i = 0; !rc && i < count; i++) rc = target_compile(&triggers[i], lists, &r->targets[i], err);
  for (size_t i = 0; !rc && i < rules; i++) {
    const json_t *rule = json_array_get(suppress, i);
    if ((rc = rule_compile(rule, i + 1, lists, &r->rules[i], &r->rule_when[i], err)))
      err_wrap(err, "suppression %s (number %zu)", json_str_or(rule, "name", "without a name"), i + 1);
  }
  if (!rc) rc = index_build(r, err);
  if (rc) return router_free(r), rc;
  *ret = r;
  return 0;
}

/* ---- group keys ---- */

static int by_value(const void *a, const void *b) {
  const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
  return value_compare(json_string_value(x), json_string_length(x), json_string_value(y), json_string_length(y));
}

/* Every distinct value, folded, in a fixed order: neither the order in an alert nor its capitals make a new incident. */
struct field {
  json_t *set;
};

static bool field_value(void *arg, const json_t *value) {
  struct field *f = arg;
  char room[PATH_NUMBER];
  const char *text;
  size_t len;
  struct folded folded;
  if (!scalar_text(value, room, &text, &len) || !len) return false;
  fold_init(&folded, text, len);
  json_object_setn_new_nocheck(f->set, folded.data, folded.len, json_stringn_nocheck(folded.data, folded.len));
  fold_release(&folded);
  return false;
}

static size_t field_add(const struct path *path, const json_t *alert, const json_t *raw, struct buf *out) {
  struct field f = {json_object()};
  path_walk(path, alert, raw, field_value, &f);
  size_t count = json_object_size(f.set), n = 0;
  json_t **values = calloc(count + 1, sizeof(json_t *)), *value;
  const char *key;
  if (!f.set || !values) abort();
  json_object_foreach(f.set, key, value) values[n++] = value;
  if (n > 1) qsort(values, n, sizeof(json_t *), by_value);
  buf_adds(out, path->text);
  buf_addc(out, '=');
  for (size_t i = 0; i < n; i++) {
    if (i) buf_addc(out, ',');
    buf_add_json_string(out, json_string_value(values[i]), json_string_length(values[i]));
  }
  free(values);
  json_decref(f.set);
  return n;
}

/* A key too long for a name becomes its digest. NULL: no field has a value, so the alert stands alone. */
static char *group_key(const struct target *t, const json_t *alert, const json_t *raw) {
  struct buf b;
  size_t values = 0;
  char *key = NULL;
  if (!t->group_count) return NULL;
  buf_init(&b, GROUP_MOST);
  for (size_t i = 0; i < t->group_count; i++) {
    if (i) buf_addc(&b, '|');
    values += field_add(&t->group[i], alert, raw, &b);
  }
  if (!buf_ok(&b)) values = 0; /* too large to compare: alone rather than in a wrong group */
  if (values && b.len > GROUP_PLAIN) {
    uint8_t digest[DIGEST_BYTES];
    char hex[DIGEST_HEX];
    digest_sha256(b.data, b.len, digest);
    hex_encode(digest, sizeof digest, hex);
    buf_reset(&b);
    buf_addf(&b, "sha256:%s", hex);
  }
  if (values) key = buf_take(&b, NULL);
  buf_release(&b);
  return key;
}

/* ---- matching ---- */

static void suppress(const struct router *r, size_t i, const json_t *alert, const json_t *raw, int64_t now_us, struct routing *out) {
  const struct rule *rule = &r->rules[i];
  if (out->suppressed_by || now_us < rule->starts || now_us >= rule->expires || !condition_match(r->rule_when[i], alert, raw, now_us))
    return;
  out->suppressed_by = rule->name;
  out->suppression = rule->json;
}

void router_match(const struct router *r, const json_t *alert, const json_t *raw, int64_t now_us, struct routing *out) {
  size_t count;
  uint32_t *found = index_find(r->index, alert, raw, &count);
  *out = (struct routing){0};
  if (count && !(out->matches = calloc(count, sizeof *out->matches))) abort();
  for (size_t i = 0; i < count; i++) {
    if (found[i] >= r->count) {
      suppress(r, found[i] - r->count, alert, raw, now_us, out);
      continue;
    }
    const struct target *t = &r->targets[found[i]];
    if (!condition_match(t->when, alert, raw, now_us)) continue;
    out->matches[out->count++] = (struct route_match){t->playbook, group_key(t, alert, raw), t->window_ms, t->shadow};
  }
  free(found);
}

void routing_release(struct routing *out) {
  for (size_t i = 0; i < out->count; i++) free(out->matches[i].group);
  free(out->matches);
  *out = (struct routing){0};
}
