#include "exercise/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/clock.h"
#include "base/json.h"
#include "exercise/pseudonym.h"
#include "journal/state.h"

struct recording {
  const struct record_source *source;
  unsigned run;
  const char *playbook;
  json_t *test, *expect, *places;
  int64_t begun;
  bool parallel; /* then answers are told apart by their parameters, not by their order */
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

/* In the order of the playbook's steps, as a test has them. */
static void add(const struct recording *r, const char *list, const struct entry *e, json_t *value_take) {
  char place[ID_PATH];
  snprintf(place, sizeof place, "%u/%s", e->run, e->step);
  json_t *places = json_object_get(r->places, list);
  if (!places) json_object_set_new(r->places, list, places = json_array());
  size_t at = json_array_size(places);
  while (at && id_step_compare(json_string_value(json_array_get(places, at - 1)), place) > 0) at--;
  json_array_insert_new(places, at, json_string(place));
  json_array_insert_new(json_object_get(r->expect, list), at, value_take);
}

/* --- reading the journal --------------------------------------------------------------------------------------------------------- */

static const struct entry *of_step(const struct recording *r, const struct entry *like, enum kind kind) {
  for (size_t i = 0; i < r->source->count; i++) {
    const struct entry *e = r->source->entries[i];
    if (e->kind == kind && e->run == like->run && strcmp(e->step, like->step) == 0) return e;
  }
  return NULL;
}

/* The answer in a list of its own: used up call by call; where calls are made side by side, with the parameters that it is for. */
static void answers_with(const struct recording *r, const char *name, const json_t *params, const struct entry *e) {
  json_t *all = json_object_get(r->test, "simulate"), *list = json_object_get(all, name), *answer;
  if (!list) json_object_set_new(all, name, list = r->parallel ? json_pack("{s:[]}", "$recorded") : json_array());
  const json_t *failure = json_object_get(e->body, "failure");
  if (e->kind == KIND_ACTION_REFUSED)
    answer =
        json_pack("{s:{s:s, s:s}}", "error", "kind", json_str_or(e->body, "kind", "refused"), "message", json_str_or(e->body, "why", ""));
  else if (failure) answer = json_pack("{s:O}", "error", failure);
  else answer = json_deep_copy(json_object_get(e->body, "returns"));
  if (!answer) answer = json_object();
  if (r->parallel)
    json_array_append_new(json_object_get(list, "$recorded"), json_pack("{s:o, s:o}", "params", repeating(r, params), "answer", answer));
  else json_array_append_new(list, answer);
}

/* "3.0.1" is an attempt of a poll at step 3, whose answers are needed too; else it is a helper of the engine's own. */
static bool is_attempt(const struct recording *r, const struct entry *e) {
  char step[ID_STEP];
  struct entry above = {.run = e->run};
  const char *helper = strstr(e->step, ".0.");
  if (!helper) return false;
  snprintf(step, sizeof step, "%.*s", (int)(helper - e->step), e->step);
  snprintf(above.step, sizeof above.step, "%s", step);
  const struct entry *wait = of_step(r, &above, KIND_WAIT_STARTED);
  return wait && json_object_get(wait->body, "poll");
}

static void acted(const struct recording *r, const struct entry *e) {
  char name[256];
  const char *action = json_str(e->body, "action");
  bool attempt = is_attempt(r, e);
  if (!action || (strstr(e->step, ".0.") && !attempt) || json_str(e->body, "undo_of")) return;
  const struct entry *intent = of_step(r, e, KIND_ACTION_INTENDED);
  const json_t *params = json_object_get(e->body, "params");
  if (!params && intent) params = json_object_get(intent->body, "params");
  snprintf(name, sizeof name, "%s.%s", json_str_or(e->body, "connector", ""), action);
  answers_with(r, name, params, e);
  if (attempt) return;
  json_t *seen = repeating(r, params);
  json_object_set_new(seen, "", json_string(name));
  add(r, "actions", e, seen);
}

static void asked(const struct recording *r, const struct entry *e) {
  const char *answer = NULL;
  const char *kind = json_str_or(e->body, "kind", "");
  if (strcmp(kind, "ask") != 0 && strcmp(kind, "release") != 0) return; /* a guardrail's, which the test has not */
  for (size_t i = 0; i < r->source->count && !answer; i++) {
    const struct entry *a = r->source->entries[i];
    if (a->run != e->run || strcmp(a->step, e->step) != 0) continue;
    if (a->kind == KIND_QUESTION_EXPIRED) answer = "(silence)";
    if (a->kind == KIND_QUESTION_ANSWERED && !json_bool_or(a->body, "more", false)) answer = json_str(a->body, "answer");
  }
  add(r, "asks", e, said(r, json_str_or(e->body, "text", "")));
  json_array_append_new(json_object_get(r->test, "answers"), json_string(answer ? answer : "(silence)"));
}

static void undone(const struct recording *r, const struct entry *e) {
  char place[ID_PATH];
  for (size_t i = 0; i < r->source->count; i++) {
    const struct entry *o = r->source->entries[i];
    snprintf(place, sizeof place, "%u/%s", o->run, o->step);
    if (o->kind != KIND_ACTION_OUTCOME || strcmp(place, json_str_or(e->body, "of", "")) != 0) continue;
    add(r, "undone", e, json_sprintf("%s.%s", json_str_or(o->body, "connector", ""), json_str_or(o->body, "action", "")));
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

static void attached(const struct recording *r, const struct entry *e, bool running) {
  json_t *alert = json_deep_copy(json_object_get(e->body, "finding")), *raw = NULL;
  const char *text = json_str(e->body, "raw");
  if (text && json_parse(text, strlen(text), &raw, NULL) == 0) json_object_set_new(alert, "raw", raw);
  if (alert && running)
    json_array_append_new(json_object_get(r->test, "later"),
                          json_pack("{s:o, s:o}", "after", json_sprintf("%lldms", (long long)(e->time - r->begun) / 1000), "alert", alert));
  else if (alert) json_array_append_new(json_object_get(r->test, "alerts"), alert);
}

static void began(struct recording *r, const struct entry *e) {
  char begins[TIME_TEXT];
  if (r->begun) return; /* a run that it goes on as (continue_as) */
  r->begun = e->time;
  time_format(e->time, begins);
  json_object_set_new(r->test, "begins", json_string(begins));
  json_object_set(r->test, "params", json_object_get(e->body, "params"));
  if (json_object_get(e->body, "settings")) json_object_set(r->test, "settings", json_object_get(e->body, "settings"));
}

static void take(struct recording *r, const struct entry *e) {
  switch (e->kind) {
  case KIND_RUN_STARTED: began(r, e); break;
  case KIND_ACTION_OUTCOME:
    if (json_str(e->body, "verb")) add(r, "files", e, json_string(json_str_or(e->body, "name", ""))); /* simulated */
    else acted(r, e);
    break;
  case KIND_ACTION_REFUSED: acted(r, e); break;
  case KIND_QUESTION_ASKED: asked(r, e); break;
  case KIND_CONTAINMENT_RELEASED: undone(r, e); break;
  case KIND_INCIDENT_NOTED: add(r, "notes", e, said(r, json_str_or(e->body, "text", ""))); break;
  case KIND_INCIDENT_TAGGED: add(r, "tags", e, json_string(json_str_or(e->body, "tag", ""))); break;
  case KIND_INCIDENT_SEVERITY:
    json_object_set_new(r->expect, "severity", json_string(severity_name(json_int_or(e->body, "severity_id", 0))));
    break;
  case KIND_INCIDENT_CLOSED: json_object_set_new(r->expect, "closed", json_string(json_str_or(e->body, "verdict", ""))); break;
  case KIND_EVIDENCE_COLLECTED: add(r, "files", e, json_string(json_str_or(e->body, "name", ""))); break;
  case KIND_RUN_FINISHED:
  case KIND_RUN_HANDED_OVER: ended(r, e); break;
  default: break;
  }
}

/* --- all of it ------------------------------------------------------------------------------------------------------------------- */

/* The journal may be a stranger's file, and its words name files and stand in the test. */
static bool plain(const char *name) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
  return *name && *name != '.' && !name[strspn(name, letters)];
}

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
  if (!plain(r->source->incident) || (r->playbook && !plain(r->playbook)))
    return err_set(err, ERR_INVALID, "\"%.60s\" is no incident's id, or \"%.60s\" no playbook's name: this journal is not of an engine",
                   r->source->incident, r->playbook ? r->playbook : "");
  if (r->playbook) return 0;
  return err_set(err, ERR_NOT_FOUND, "%s has no such run of a playbook; `tocsin run list --all` lists them", r->source->incident);
}

/* What a test has no means to play; NULL: nothing. */
static const char *beyond(const struct entry *e) {
  if (e->kind == KIND_CONTAINMENT_STILL) return "could not lift a containment";
  if (e->kind == KIND_CONTAINMENT_KEPT) return "kept a containment for another incident";
  if (e->kind == KIND_RUN_HANDED_OVER && strcmp(e->actor, "engine") == 0) return "was handed over by the engine, not by the playbook";
  return NULL;
}

static void look_ahead(struct recording *r) {
  for (size_t i = 0; i < r->source->count; i++) {
    const struct entry *e = r->source->entries[i];
    bool branches = e->kind == KIND_PARALLEL_STARTED && strcmp(json_str_or(e->body, "verb", ""), "release") != 0;
    r->parallel = r->parallel || (e->run >= r->run && branches);
  }
}

static int read_journal(struct recording *r, struct err *err) {
  look_ahead(r);
  for (size_t i = 0; i < r->source->count && !json_str(r->expect, "status"); i++) {
    const struct entry *e = r->source->entries[i];
    bool titles = e->kind == KIND_INCIDENT_OPENED || e->kind == KIND_INCIDENT_TITLED;
    if (!r->begun && titles && json_str(e->body, "title")) json_object_set(r->test, "title", json_object_get(e->body, "title"));
    if (e->kind == KIND_ALERT_ATTACHED) attached(r, e, r->begun != 0);
    if (e->run != r->run) continue;
    if (beyond(e)) return err_set(err, ERR_CONFLICT, "%s/%u %s, which a test cannot play", r->source->incident, r->run, beyond(e));
    if (e->kind == KIND_RUN_FINISHED && json_int_or(e->body, "continued", 0)) r->run = (unsigned)json_int_or(e->body, "continued", 0);
    else take(r, e);
  }
  if (json_str(r->expect, "status")) return 0;
  return err_set(err, ERR_CONFLICT, "%s/%u has not ended in the playbook's own way; a test needs an end to expect", r->source->incident,
                 r->run);
}

/* The actions' names stand in values, too: { "ldap.lock_account", uid = … }. A person called as an action is kept. */
static void without_names(struct recording *r) {
  const char *called;
  json_t *answers, *names = json_object();
  pseudonyms_find(json_object_get(r->test, "alerts"), names);
  pseudonyms_find(json_object_get(r->test, "later"), names);
  json_object_foreach(json_object_get(r->test, "simulate"), called, answers) {
    char connector[64];
    snprintf(connector, sizeof connector, "%.*s", (int)strcspn(called, "."), called);
    json_object_del(names, connector);
    if (strchr(called, '.')) json_object_del(names, strchr(called, '.') + 1);
  }
  json_t *test = pseudonyms_put(r->test, names);
  json_decref(r->test);
  r->test = test;
  json_decref(names);
}

int record_test(const struct record_source *s, struct buf *out, const char **ret_playbook, struct err *err) {
  struct recording r = {.source = s};
  r.test = json_pack("{s:[], s:{}, s:[], s:[]}", "alerts", "simulate", "answers", "later");
  r.places = json_object();
  r.expect = json_pack("{s:[], s:[], s:[], s:[], s:[], s:[]}", "actions", "undone", "asks", "notes", "tags", "files");
  int code = find_run(&r, err);
  unsigned run = r.run;
  if (code == 0) code = read_journal(&r, err);
  if (code == 0) {
    json_object_set(r.test, "expect", r.expect);
    if (!s->names) without_names(&r);
    if (!json_array_size(json_object_get(r.test, "later"))) json_object_del(r.test, "later");
    buf_addf(out,
             "-- Recorded from %s/%u. The form is described in tests/lua/README.md.\nreturn tests {\n  [\"as in %s/%u\"] = ", s->incident,
             run, s->incident, run);
    lua_value(out, r.test, 1);
    buf_adds(out, ",\n}\n");
    if (!buf_ok(out)) code = err_set(err, ERR_LIMIT, "the test would be too large");
  }
  if (code == 0) *ret_playbook = r.playbook;
  json_decref(r.test);
  json_decref(r.expect);
  json_decref(r.places);
  return code;
}
