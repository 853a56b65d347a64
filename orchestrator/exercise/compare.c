#include "exercise/compare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/json.h"
#include "journal/state.h"

enum { TEXT_CAP = 1 << 16 };

struct comparing {
  json_t *report;
  const char *playbook, *incident;
  struct entry *const *entries;
  size_t count;
  json_t *shadows; /* {run: true}: in shadow, of this playbook */
  json_t *people;  /* {run: "person:…"}: who asked for it */
  bool *taken;     /* by entry: this deed has counted */
};

/* --- texts ---------------------------------------------------------------------------------------------------------- */

static void target_text(const json_t *target, struct buf *out) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)target, key, value) {
    char *text = json_is_string(value) ? NULL : json_text(value);
    buf_addf(out, " %s=%s", key, text ? text : json_string_value(value));
    free(text);
  }
}

static void name_text(const json_t *body, struct buf *out) {
  buf_addf(out, "%s %s.%s", json_str_or(body, "effect", "?"), json_str_or(body, "connector", ""), json_str_or(body, "action", ""));
}

void action_text(const json_t *body, struct buf *out) {
  name_text(body, out);
  target_text(json_object_get(body, "target"), out);
}

/* A change of the incident that can be told again by its value; NULL: no such kind. */
static const char *change_of(enum kind kind, const json_t *body) {
  switch (kind) {
  case KIND_INCIDENT_SEVERITY: return json_str_or(body, "severity", severity_name(json_int_or(body, "severity_id", 0)));
  case KIND_INCIDENT_TAGGED: return json_str_or(body, "tag", "");
  case KIND_INCIDENT_CLOSED: return json_str_or(body, "verdict", "");
  default: return NULL;
  }
}

static const struct {
  const char *verb, *member;
  enum kind kind;
} changes[] = {{"severity", "severity", KIND_INCIDENT_SEVERITY},
               {"tag", "tag", KIND_INCIDENT_TAGGED},
               {"close", "verdict", KIND_INCIDENT_CLOSED}};

/* What it would have done or what was done, in words that are the same for both; false: nothing that could be compared. */
static bool text_of(const struct entry *e, bool with_target, struct buf *out) {
  const json_t *body = e->body;
  buf_reset(out);
  if (json_str(body, "action")) {
    if (json_str(body, "undo_of")) buf_adds(out, "undo: ");
    name_text(body, out);
    if (with_target) target_text(json_object_get(body, "target"), out);
    return true;
  }
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    bool would = e->kind == KIND_RUN_WOULD && strcmp(json_str_or(body, "verb", ""), changes[i].verb) == 0;
    if (!would && e->kind != changes[i].kind) continue;
    buf_addf(out, "%s %s", changes[i].verb, would ? json_str_or(body, changes[i].member, "") : change_of(e->kind, body));
    return true;
  }
  return false;
}

/* --- what was done ---------------------------------------------------------------------------------------------------- */

static bool in_shadow(const struct comparing *c, const struct entry *e) {
  char number[16];
  snprintf(number, sizeof number, "%u", e->run);
  return json_object_get(c->shadows, number) != NULL;
}

static bool is_deed(const struct entry *e) {
  if (e->kind != KIND_ACTION_OUTCOME) return change_of(e->kind, e->body) != NULL;
  return json_bool_or(e->body, "ok", false) && !json_bool_or(e->body, "simulated", false) && json_str(e->body, "action") &&
         strcmp(json_str_or(e->body, "effect", "read"), "read") != 0 && (e->run || strncmp(e->actor, "person:", 7) == 0);
}

static const char *doer(const struct comparing *c, const struct entry *e) {
  char number[16];
  snprintf(number, sizeof number, "%u", e->run);
  const char *person = json_string_value(json_object_get(c->people, number));
  return person ? person : e->actor;
}

static const struct entry *find_deed(const struct comparing *c, const char *text) {
  struct buf mine;
  const struct entry *found = NULL;
  buf_init(&mine, TEXT_CAP);
  for (size_t i = 0; i < c->count && !found; i++) {
    const struct entry *e = c->entries[i];
    if (c->taken[i] || !is_deed(e) || !text_of(e, true, &mine) || strcmp(mine.data, text) != 0) continue;
    c->taken[i] = true;
    found = e;
  }
  buf_release(&mine);
  return found;
}

/* --- the report --------------------------------------------------------------------------------------------------------- */

static void more(json_t *object, const char *member) {
  json_object_set_new(object, member, json_integer(json_int_or(object, member, 0) + 1));
}

static json_t *total_of(const struct comparing *c, const char *text) {
  json_t *all = json_object_get(c->report, "actions"), *total;
  size_t i;
  json_array_foreach(all, i, total) if (strcmp(json_str_or(total, "text", ""), text) == 0) return total;
  total = json_pack("{s:s, s:i, s:i, s:i}", "text", text, "same", 0, "not_done", 0, "not_suggested", 0);
  json_array_append_new(all, total);
  return total;
}

static void row(const struct comparing *c, const struct entry *about, const struct entry *deed, const char *verdict) {
  static const char *const keys[] = {"effect", "target", NULL};
  struct buf text;
  char place[ID_PATH];
  buf_init(&text, TEXT_CAP);
  text_of(about, false, &text);
  more(total_of(c, text.data), verdict);
  text_of(about, true, &text);
  snprintf(place, sizeof place, "%u/%s", about->run, about->step);
  json_t *r = json_pack("{s:s, s:s, s:s, s:s}", "incident", c->incident, "verdict", verdict, "text", text.data, "step", place);
  for (const char *const *k = keys; *k; k++)
    if (json_object_get(about->body, *k)) json_object_set(r, *k, json_object_get(about->body, *k));
  if (json_str(about->body, "action"))
    json_object_set_new(r, "action",
                        json_sprintf("%s.%s", json_str_or(about->body, "connector", ""), json_str_or(about->body, "action", "")));
  if (deed) json_object_set_new(r, "by", json_string(doer(c, deed)));
  if (deed && deed != about) json_object_set_new(r, "after_ms", json_integer((deed->time - about->time) / 1000));
  json_array_append_new(json_object_get(c->report, "rows"), r);
  more(c->report, verdict);
  buf_release(&text);
}

static void would(const struct comparing *c, const struct entry *e) {
  const char *verb = json_str_or(e->body, "verb", "");
  struct buf text;
  if (strcmp(verb, "ask") == 0) more(c->report, "asked");
  buf_init(&text, TEXT_CAP);
  if (json_bool_or(e->body, "ok", true) && text_of(e, true, &text)) {
    const struct entry *deed = find_deed(c, text.data);
    row(c, e, deed, deed ? "same" : "not_done");
  }
  buf_release(&text);
}

static void find_runs(struct comparing *c) {
  for (size_t i = 0; i < c->count; i++) {
    const struct entry *e = c->entries[i];
    char number[16];
    if (e->kind != KIND_RUN_STARTED) continue;
    snprintf(number, sizeof number, "%u", e->run);
    const char *person = json_str(json_object_get(e->body, "trigger"), "person");
    if (person) json_object_set_new(c->people, number, json_string(person));
    if (!json_bool_or(e->body, "shadow", false) || strcmp(json_str_or(e->body, "playbook", ""), c->playbook) != 0) continue;
    json_object_set_new(c->shadows, number, json_true());
    more(c->report, "runs");
  }
}

json_t *compare_new(const char *playbook) {
  return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:[], s:[]}", "playbook", playbook, "incidents", 0, "runs", 0, "same", 0,
                   "not_done", 0, "not_suggested", 0, "asked", 0, "handed_over", 0, "failed", 0, "actions", "rows");
}

void compare_add(json_t *report, const char *incident, struct entry *const *entries, size_t count) {
  struct comparing c = {.report = report,
                        .playbook = json_str_or(report, "playbook", ""),
                        .incident = incident,
                        .entries = entries,
                        .count = count,
                        .shadows = json_object(),
                        .people = json_object(),
                        .taken = calloc(count + 1, sizeof(bool))};
  if (!c.taken) abort();
  find_runs(&c);
  if (json_object_size(c.shadows)) more(report, "incidents");
  for (size_t i = 0; i < count && json_object_size(c.shadows); i++) {
    if (entries[i]->kind == KIND_RUN_WOULD && in_shadow(&c, entries[i])) would(&c, entries[i]);
    if (entries[i]->kind == KIND_RUN_FINISHED && in_shadow(&c, entries[i]) &&
        strcmp(json_str_or(entries[i]->body, "status", ""), "failed") == 0)
      more(report, "failed");
    if (entries[i]->kind == KIND_RUN_FINISHED && in_shadow(&c, entries[i]) && json_object_get(entries[i]->body, "would"))
      more(report, "handed_over");
  }
  for (size_t i = 0; i < count && json_object_size(c.shadows); i++)
    if (!c.taken[i] && is_deed(entries[i]) && entries[i]->kind == KIND_ACTION_OUTCOME && strcmp(entries[i]->actor, "engine") != 0)
      row(&c, entries[i], entries[i], "not_suggested");
  json_decref(c.shadows);
  json_decref(c.people);
  free(c.taken);
}
