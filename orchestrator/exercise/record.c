#include "exercise/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/json.h"

struct recording {
  const struct record_source *source;
  unsigned run;
  const char *playbook;
  json_t *test, *expect;
};

/* --- Lua text ----------------------------------------------------------------------------------------------------- */

static void lua_string(struct buf *out, const char *text) {
  buf_addc(out, '"');
  for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
    if (*p == '"' || *p == '\\') buf_addf(out, "\\%c", *p);
    else if (*p == '\n') buf_adds(out, "\\n");
    else if (*p < ' ' || *p == 127) buf_addf(out, "\\%03u", *p);
    else buf_addc(out, (char)*p);
  }
  buf_addc(out, '"');
}

static void lua_value(struct buf *out, const json_t *value, unsigned depth);

/* The member "" stands first and bears no name: { "ldap.lock_account", uid = "alice" }. */
static void lua_table(struct buf *out, const json_t *value, unsigned depth) {
  json_t *member;
  const char *key, **names = calloc(json_object_size(value) + 1, sizeof *names);
  size_t count = 0;
  if (!names) abort();
  json_object_foreach((json_t *)(uintptr_t)value, key, member) names[count++] = key;
  for (size_t i = 1; i < count; i++) /* few members: in place */
    for (size_t k = i; k && strcmp(names[k - 1], names[k]) > 0; k--) key = names[k], names[k] = names[k - 1], names[k - 1] = key;
  buf_adds(out, "{ ");
  for (size_t i = 0; i < count; i++) {
    member = json_object_get(value, names[i]);
    if (json_is_null(member)) continue;
    if (*names[i]) {
      buf_adds(out, "[");
      lua_string(out, names[i]);
      buf_adds(out, "] = ");
    }
    lua_value(out, member, depth + 1);
    buf_adds(out, depth < 2 ? ",\n    " : ", ");
  }
  buf_adds(out, "}");
  free(names);
}

static void lua_value(struct buf *out, const json_t *value, unsigned depth) {
  size_t i;
  json_t *item;
  if (json_is_string(value)) lua_string(out, json_string_value(value));
  else if (json_is_integer(value)) buf_addf(out, "%lld", (long long)json_integer_value(value));
  else if (json_is_real(value)) buf_addf(out, "%.17g", json_real_value(value));
  else if (json_is_boolean(value)) buf_adds(out, json_is_true(value) ? "true" : "false");
  else if (json_is_object(value)) lua_table(out, value, depth);
  else if (!json_is_array(value)) buf_adds(out, "false"); /* null in a list keeps its place */
  else {
    buf_adds(out, "{ ");
    json_array_foreach((json_t *)(uintptr_t)value, i, item) {
      lua_value(out, item, depth + 1);
      buf_adds(out, ", ");
    }
    buf_adds(out, "}");
  }
}

/* --- what can be expected again ------------------------------------------------------------------------------------------- */

static bool repeats(const struct recording *r, const json_t *value) {
  const char *key, *text = json_string_value(value);
  size_t i;
  json_t *item;
  bool good = true;
  if (text) return !strstr(text, r->source->incident) && !strchr(text, '\n');
  json_array_foreach(value, i, item) good = good && repeats(r, item);
  json_object_foreach((json_t *)(uintptr_t)value, key, item) good = good && strcmp(key, "$secret") != 0 && repeats(r, item);
  return good;
}

static json_t *repeating(const struct recording *r, const json_t *params) {
  json_t *out = json_object(), *value;
  const char *name;
  json_object_foreach((json_t *)(uintptr_t)params, name, value) if (repeats(r, value)) json_object_set(out, name, value);
  return out;
}

/* Its first line, up to where the incident's id stands: what the test's text must bear. */
static json_t *said(const struct recording *r, const char *text) {
  const char *id = strstr(text, r->source->incident);
  size_t len = strcspn(text, "\n");
  if (id && (size_t)(id - text) < len) len = (size_t)(id - text);
  return json_stringn(text, len);
}

static void add(const struct recording *r, const char *list, json_t *value_take) {
  json_array_append_new(json_object_get(r->expect, list), value_take);
}

/* --- reading the journal --------------------------------------------------------------------------------------------------------- */

static const struct entry *of_step(const struct recording *r, const struct entry *like, enum kind kind) {
  for (size_t i = 0; i < r->source->count; i++) {
    const struct entry *e = r->source->entries[i];
    if (e->kind == kind && e->run == like->run && strcmp(e->step, like->step) == 0) return e;
  }
  return NULL;
}

/* The answer in a list of its own: used up call by call. */
static void answers_with(const struct recording *r, const char *name, const struct entry *e) {
  json_t *all = json_object_get(r->test, "simulate"), *list = json_object_get(all, name), *answer;
  if (!list) json_object_set_new(all, name, list = json_array());
  const json_t *failure = json_object_get(e->body, "failure");
  if (e->kind == KIND_ACTION_REFUSED)
    answer =
        json_pack("{s:{s:s, s:s}}", "error", "kind", json_str_or(e->body, "kind", "refused"), "message", json_str_or(e->body, "why", ""));
  else if (failure) answer = json_pack("{s:O}", "error", failure);
  else answer = json_deep_copy(json_object_get(e->body, "returns"));
  json_array_append_new(list, answer ? answer : json_object());
}

static void acted(const struct recording *r, const struct entry *e) {
  char name[256];
  const char *action = json_str(e->body, "action");
  if (!action || strstr(e->step, ".0.") || json_str(e->body, "undo_of")) return;
  const struct entry *intent = of_step(r, e, KIND_ACTION_INTENDED);
  const json_t *params = json_object_get(e->body, "params");
  if (!params && intent) params = json_object_get(intent->body, "params");
  snprintf(name, sizeof name, "%s.%s", json_str_or(e->body, "connector", ""), action);
  json_t *seen = repeating(r, params);
  json_object_set_new(seen, "", json_string(name));
  add(r, "actions", seen);
  answers_with(r, name, e);
}

static void asked(const struct recording *r, const struct entry *e) {
  const char *answer = NULL;
  if (strcmp(json_str_or(e->body, "kind", ""), "ask") != 0) return; /* a guardrail's, which the test has not */
  for (size_t i = 0; i < r->source->count && !answer; i++) {
    const struct entry *a = r->source->entries[i];
    if (a->run != e->run || strcmp(a->step, e->step) != 0) continue;
    if (a->kind == KIND_QUESTION_EXPIRED) answer = "(silence)";
    if (a->kind == KIND_QUESTION_ANSWERED && !json_bool_or(a->body, "more", false)) answer = json_str(a->body, "answer");
  }
  add(r, "asks", said(r, json_str_or(e->body, "text", "")));
  json_array_append_new(json_object_get(r->test, "answers"), json_string(answer ? answer : "(silence)"));
}

static void undone(const struct recording *r, const struct entry *e) {
  char place[ID_PATH];
  for (size_t i = 0; i < r->source->count; i++) {
    const struct entry *o = r->source->entries[i];
    snprintf(place, sizeof place, "%u/%s", o->run, o->step);
    if (o->kind != KIND_ACTION_OUTCOME || strcmp(place, json_str_or(e->body, "of", "")) != 0) continue;
    add(r, "undone", json_sprintf("%s.%s", json_str_or(o->body, "connector", ""), json_str_or(o->body, "action", "")));
    return;
  }
}

static void ended(const struct recording *r, const struct entry *e) {
  const char *status = e->kind == KIND_RUN_HANDED_OVER ? "handed_over" : json_str_or(e->body, "status", "done");
  const json_t *result = json_object_get(e->body, "result");
  if (e->kind == KIND_RUN_FINISHED && json_str(e->body, "error")) status = "failed";
  json_object_set_new(r->expect, "status", json_string(status));
  if (e->kind == KIND_RUN_HANDED_OVER) json_object_set_new(r->expect, "says", said(r, json_str_or(e->body, "text", "")));
  else if (result && repeats(r, result)) json_object_set(r->expect, "result", (json_t *)(uintptr_t)result);
}

static void attached(const struct recording *r, const struct entry *e) {
  json_t *alert = json_deep_copy(json_object_get(e->body, "finding")), *raw = NULL;
  const char *text = json_str(e->body, "raw");
  if (text && json_parse(text, strlen(text), &raw, NULL) == 0) json_object_set_new(alert, "raw", raw);
  if (alert) json_array_append_new(json_object_get(r->test, "alerts"), alert);
}

static void began(const struct recording *r, const struct entry *e) {
  json_object_set(r->test, "params", json_object_get(e->body, "params"));
  if (json_object_get(e->body, "settings")) json_object_set(r->test, "settings", json_object_get(e->body, "settings"));
}

static void take(const struct recording *r, const struct entry *e) {
  switch (e->kind) {
  case KIND_RUN_STARTED: began(r, e); break;
  case KIND_ACTION_OUTCOME:
  case KIND_ACTION_REFUSED: acted(r, e); break;
  case KIND_QUESTION_ASKED: asked(r, e); break;
  case KIND_CONTAINMENT_RELEASED: undone(r, e); break;
  case KIND_INCIDENT_NOTED: add(r, "notes", said(r, json_str_or(e->body, "text", ""))); break;
  case KIND_INCIDENT_TAGGED: add(r, "tags", json_string(json_str_or(e->body, "tag", ""))); break;
  case KIND_RUN_FINISHED:
  case KIND_RUN_HANDED_OVER: ended(r, e); break;
  default: break;
  }
}

/* --- all of it ------------------------------------------------------------------------------------------------------------------- */

static int find_run(struct recording *r, struct err *err) {
  for (size_t i = 0; i < r->source->count && !r->playbook; i++) {
    const struct entry *e = r->source->entries[i];
    if (e->kind != KIND_RUN_STARTED || (r->source->run && e->run != r->source->run)) continue;
    if (json_bool_or(e->body, "shadow", false)) { /* it took no step that a test could expect */
      if (!r->source->run) continue;
      return err_set(err, ERR_CONFLICT, "%s/%u ran in shadow: nothing came of its actions that a test could play", r->source->incident,
                     e->run);
    }
    r->run = e->run;
    r->playbook = json_str(e->body, "playbook");
  }
  if (r->playbook) return 0;
  return err_set(err, ERR_NOT_FOUND, "%s has no such run of a playbook; `tocsin run list --all` lists them", r->source->incident);
}

static int read_journal(struct recording *r, struct err *err) {
  bool running = false;
  for (size_t i = 0; i < r->source->count; i++) {
    const struct entry *e = r->source->entries[i];
    bool titles = e->kind == KIND_INCIDENT_OPENED || e->kind == KIND_INCIDENT_TITLED;
    if (!running && titles && json_str(e->body, "title")) json_object_set(r->test, "title", json_object_get(e->body, "title"));
    if (e->run == r->run && e->kind == KIND_RUN_STARTED) running = true;
    if (!running && e->kind == KIND_ALERT_ATTACHED) attached(r, e);
    if (e->run != r->run) continue;
    if (e->kind == KIND_WAIT_STARTED && strcmp(json_str_or(e->body, "verb", ""), "wait_for") == 0)
      return err_set(err, ERR_CONFLICT, "%s/%u waited for an alert, which a test cannot send", r->source->incident, r->run);
    take(r, e);
  }
  if (json_str(r->expect, "status")) return 0;
  return err_set(err, ERR_CONFLICT, "%s/%u has not ended in the playbook's own way; a test needs an end to expect", r->source->incident,
                 r->run);
}

int record_test(const struct record_source *s, struct buf *out, const char **ret_playbook, struct err *err) {
  struct recording r = {.source = s};
  r.test = json_pack("{s:[], s:{}, s:[]}", "alerts", "simulate", "answers");
  r.expect = json_pack("{s:[], s:[], s:[], s:[], s:[]}", "actions", "undone", "asks", "notes", "tags");
  int code = find_run(&r, err);
  if (code == 0) code = read_journal(&r, err);
  if (code == 0) {
    json_object_set(r.test, "expect", r.expect);
    buf_addf(out,
             "-- Recorded from %s/%u. The form is described in tests/lua/README.md.\nreturn tests {\n  [\"as in %s/%u\"] = ", s->incident,
             r.run, s->incident, r.run);
    lua_value(out, r.test, 1);
    buf_adds(out, ",\n}\n");
    if (!buf_ok(out)) code = err_set(err, ERR_LIMIT, "the test would be too large");
  }
  if (code == 0) *ret_playbook = r.playbook;
  json_decref(r.test);
  json_decref(r.expect);
  return code;
}
