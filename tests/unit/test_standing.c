/* An incident's standing is its state, whatever its form: any entries are folded both ways, and everything that can be asked is compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "evidence/leaf.h"
#include "journal/standing.h"

static uint64_t seed;

static unsigned pick(unsigned below) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return (unsigned)((seed >> 11) % below);
}

/* --- any entry ------------------------------------------------------------------------------------------------------ */

static const char *const members[] = {"title",   "mode",    "playbook", "by",      "occurred",  "tenant", "exercise",    "digest",
                                      "trigger", "group",   "shadow",   "error",   "text",      "result", "action",      "connector",
                                      "effect",  "target",  "params",   "because", "attempt",   "key",    "send_before", "settle",
                                      "timeout", "version", "undo_of",  "lift_at", "simulated", "since",  "actor",       "handed_over",
                                      "verb",    "why",     "tag",      "owner"};

static json_t *any_value(void) {
  static const char *const texts[] = {"", "p", "q", "open", "live", "a \"quoted\" one\\", "zwei\nZeilen\x01", "ünïcode"};
  switch (pick(9)) {
  case 0: return json_integer((json_int_t)pick(100000) - 50000);
  case 1: return json_boolean(pick(2));
  case 2: return json_null();
  case 3: return json_pack("[s, i]", texts[pick(8)], (int)pick(9));
  case 4: return json_pack("{s:s, s:{s:i}}", "z", texts[pick(8)], "a", "n", (int)pick(9));
  case 5: return json_real(pick(1000) / 8.0);
  default: return json_string(texts[pick(8)]);
  }
}

static json_t *words(void) {
  static const char *const all[] = {"one", "two", "T1059", "three"};
  json_t *list = json_array();
  for (unsigned n = pick(3); n; n--) json_array_append_new(list, json_string(all[pick(4)]));
  return list;
}

static json_t *observables(void) {
  json_t *list = json_array();
  for (unsigned n = pick(4); n; n--)
    json_array_append_new(list,
                          json_pack("{s:s, s:s, s:s}", "type", "ip", "value", pick(2) ? "1.2.3.4" : "::1", "path", pick(2) ? "a.b" : "c"));
  return list;
}

static json_t *any_body(enum kind kind) {
  static const char *const ids[] = {"wazuh:9", "wazuh:10", "b", "a", "with \"quotes\"", "ü"}, *const ends[] = {"done", "failed", "odd"};
  json_t *body = json_object();
  for (unsigned n = pick(12); n; n--) json_object_set_new(body, members[pick(sizeof members / sizeof *members)], any_value());
  if (pick(2)) json_object_set_new(body, "playbook", json_string(pick(2) ? "p" : "q"));
  if (pick(3)) json_object_set_new(body, "shadow", json_boolean(pick(2)));
  if (pick(2)) json_object_set_new(body, "severity_id", json_integer((json_int_t)pick(9) - 1));
  if (pick(2)) json_object_set_new(body, "groups", pick(9) ? words() : any_value());
  if (pick(2)) json_object_set_new(body, "attack", pick(9) ? words() : any_value());
  if (pick(2)) json_object_set_new(body, "observables", pick(9) ? observables() : any_value());
  if (pick(2)) json_object_set_new(body, "ok", json_boolean(pick(2)));
  if (pick(9) == 0) json_object_set_new(body, "contains", json_string("active"));
  if (pick(2)) json_object_set_new(body, "status", json_string(ends[pick(3)]));
  if (kind == KIND_ALERT_ATTACHED && pick(20)) json_object_set_new(body, "id", json_string(ids[pick(6)]));
  if (kind == KIND_INCIDENT_MERGED) json_object_set_new(body, "into", json_string("INC-000009"));
  return body;
}

static enum kind any_kind(void) {
  static const enum kind usual[] = {KIND_INCIDENT_OPENED, KIND_ALERT_ATTACHED,   KIND_RUN_STARTED,    KIND_RUN_FINISHED,
                                    KIND_ACTION_INTENDED, KIND_ACTION_INTENDED,  KIND_ACTION_OUTCOME, KIND_ACTION_OUTCOME,
                                    KIND_ACTION_REFUSED,  KIND_INCIDENT_NOTED,   KIND_RUN_WOULD,      KIND_RUN_HANDED_OVER,
                                    KIND_RUN_CANCELLED,   KIND_INCIDENT_SEVERITY};
  return pick(60) ? usual[pick(sizeof usual / sizeof *usual)] : (enum kind)pick(KIND_COUNT + 1);
}

static struct entry any_entry(uint64_t seq) {
  static const char *const actors[] = {"engine", "playbook:p", "playbook:q", "person:7f3a91c2"};
  static const unsigned runs[] = {1, 2, 9, 10};
  struct entry e = {.seq = seq, .time = (int64_t)seq * 1000 + pick(1000), .kind = any_kind(), .run = runs[pick(4)]};
  snprintf(e.actor, sizeof e.actor, "%s", actors[pick(8) ? pick(3) : 3]);
  snprintf(e.step, sizeof e.step, pick(20) ? "%u" : "%u.1.2.3.4.5.6.7.8.9.10.11.12", 1 + pick(12));
  e.body = pick(40) ? any_body(e.kind) : NULL;
  return e;
}

/* Sometimes as it is appended by whoever writes its bytes at once: without a tree. The caller frees. */
static char *written(struct entry *e) {
  if (!e->body || pick(3)) return NULL;
  char *text = json_text(e->body);
  e->envelope_len = ENVELOPE_PREFIX + strlen(text);
  e->envelope = calloc(1, e->envelope_len);
  memcpy(e->envelope + ENVELOPE_PREFIX, text, strlen(text));
  free(text);
  e->bare = e->kind == KIND_ACTION_OUTCOME && !json_object_get(e->body, "contains");
  json_decref(e->body);
  e->body = NULL;
  return e->envelope;
}

/* --- both ways --------------------------------------------------------------------------------------------------------- */

static void assert_same_bytes(const struct standing *s, const json_t *state) {
  struct buf bytes;
  buf_init(&bytes, SIZE_MAX / 2);
  standing_write(s, &bytes);
  char *wanted = json_text(state);
  assert_true(buf_ok(&bytes));
  assert_string_equal(bytes.data, wanted);
  free(wanted);
  buf_release(&bytes);
}

static void assert_shown(struct standing *s, const json_t *state) {
  const char *name;
  struct standing_view *view = standing_look(s);
  json_t *shown = json_copy((json_t *)(uintptr_t)standing_view_fields(view)), *value;
  standing_view_drop(view);
  assert_true(json_object_size(shown) >= 7);
  json_object_foreach(shown, name, value) assert_true(json_equal(value, json_object_get(state, name)));
  static const char *const wanted[] = {"title", "owner", "first_alert", "last_alert", "opened", NULL};
  for (const char *const *w = wanted; *w; w++) assert_true(!json_object_get(state, *w) == !json_object_get(shown, *w));
  json_decref(shown);
}

static bool ran(const json_t *state, const char *playbook, bool shadow, bool running) {
  const char *number;
  json_t *run;
  json_object_foreach(json_object_get(state, "runs"), number, run) {
    if (strcmp(json_str_or(run, "playbook", ""), playbook) != 0 || json_bool_or(run, "shadow", false) != shadow) continue;
    if (!running || strcmp(json_str_or(run, "status", ""), "running") == 0) return true;
  }
  return false;
}

static size_t size(const json_t *state, const char *member) { return json_object_size(json_object_get(state, member)); }

/* What asks without making it another form comes first. */
static void assert_answers(struct standing *s, const json_t *state) {
  size_t in_doubt;
  bool plain = !s->json && !s->bytes;
  assert_int_equal(standing_seq(s), json_int_or(state, "seq", 0));
  assert_int_equal(standing_alerts(s), json_int_or(state, "alerts", 0));
  assert_int_equal(standing_next_run(s), json_int_or(state, "next_run", 0));
  assert_string_equal(standing_status(s), json_str_or(state, "status", ""));
  assert_true(!standing_merged_into(s) == !json_str(state, "merged_into"));
  assert_int_equal(standing_busy(s), size(state, "questions") || size(state, "intents") || size(state, "held"));
  assert_int_equal(standing_holds_targets(s), state_holds_targets(state));
  assert_int_equal(standing_intents(s, &in_doubt), size(state, "intents"));
  assert_true(!s->json == (plain || s->bytes));
  assert_int_equal(standing_has_alert(s, "b"), state_has_alert(state, "b"));
  for (int i = 0; i < 8; i++)
    assert_int_equal(standing_ran(s, i & 1 ? "p" : "q", i & 2, i & 4), ran(state, i & 1 ? "p" : "q", i & 2, i & 4));
  assert_shown(s, state);
  if (plain) assert_null(s->json);
}

static void rest(struct standing *s) {
  struct buf bytes;
  buf_init(&bytes, SIZE_MAX / 2);
  standing_write(s, &bytes);
  standing_rest(s, bytes.data, bytes.len);
  buf_release(&bytes);
}

struct seen {
  unsigned plain, bytes, json; /* comparisons of each form */
};

/* A view that was taken some entries ago still shows what was so then. */
struct taken {
  struct standing_view *view;
  json_t *fields;
};

static void view_take(struct taken *t, struct standing *s, const json_t *state) {
  static const char *const names[] = {"id",   "title",       "severity",   "severity_id", "status", "owner", "tags",
                                      "mode", "first_alert", "last_alert", "opened",      "attack", NULL};
  t->view = standing_look(s);
  t->fields = json_object();
  for (const char *const *n = names; *n; n++) json_object_set_new(t->fields, *n, json_deep_copy(json_object_get(state, *n)));
}

static void view_check(struct taken *t) {
  if (t->view) assert_true(json_equal(standing_view_fields(t->view), t->fields));
  standing_view_drop(t->view);
  json_decref(t->fields);
  *t = (struct taken){0};
}

static void one_incident(struct seen *seen) {
  const char *id = pick(5) ? "INC-000001" : "EX-000042";
  struct standing s = {0};
  struct taken taken = {0};
  json_t *state = state_blank(id);
  standing_init(&s, id);
  assert_same_bytes(&s, state);
  for (uint64_t seq = 1, last = 1 + pick(14); seq <= last; seq++) {
    struct entry e = any_entry(seq);
    char *bytes = written(&e);
    standing_fold(&s, &e);
    assert_true(!e.bare || !e.body);
    entry_body(&e);
    state_fold(state, &e);
    json_decref(e.body);
    free(bytes);
    if (pick(12) == 0) rest(&s);
    if (pick(5) == 0) view_check(&taken);
    if (!taken.view && pick(2)) view_take(&taken, &s, state);
    if (s.json) seen->json++;
    else if (s.bytes) seen->bytes++;
    else seen->plain++;
    assert_same_bytes(&s, state);
    if (pick(3) == 0) assert_answers(&s, state);
    if (pick(30) == 0) assert_true(json_equal(standing_json(&s), state));
  }
  assert_true(json_equal(standing_json(&s), state));
  standing_release(&s);
  view_check(&taken);
  json_decref(state);
}

static void test_any_entries(void **state) {
  struct seen seen = {0};
  for (unsigned i = 0; i < 20000; i++) {
    seed = 0x9e3779b97f4a7c15U + i;
    one_incident(&seen);
  }
  assert_true(seen.plain > 10000 && seen.bytes > 1000 && seen.json > 10000); /* each form has had its share */
}

/* --- what most incidents are -------------------------------------------------------------------------------------------- */

static void fold(struct standing *s, enum kind kind, unsigned run, const char *step, json_t *body_take) {
  struct entry e = {.seq = s->seq + 1, .time = 1000, .kind = kind, .run = run, .actor = "engine", .body = body_take};
  snprintf(e.step, sizeof e.step, "%s", step);
  standing_fold(s, &e);
  json_decref(body_take);
}

/* It stays plain all the way, and bytes once it is stored and at rest; neither before. */
static void test_usual(void **state) {
  struct standing s = {0};
  standing_init(&s, "INC-000001");
  fold(&s, KIND_INCIDENT_OPENED, 0, "", json_pack("{s:s, s:i}", "title", "t", "severity_id", 3));
  fold(&s, KIND_ALERT_ATTACHED, 0, "", json_pack("{s:s}", "id", "a:1"));
  fold(&s, KIND_RUN_STARTED, 1, "", json_pack("{s:s}", "playbook", "p"));
  for (unsigned i = 0; i < 3; i++) {
    fold(&s, KIND_ACTION_INTENDED, 1, "3", json_pack("{s:s}", "action", "lock"));
    assert_true(standing_busy(&s));
    fold(&s, KIND_ACTION_OUTCOME, 1, "3", json_pack("{s:b}", "ok", 1));
  }
  rest(&s);
  assert_null(s.bytes);
  fold(&s, KIND_RUN_FINISHED, 1, "", json_pack("{s:s}", "status", "done"));
  assert_null(s.json);
  rest(&s);
  assert_non_null(s.bytes);
  assert_true(standing_has_alert(&s, "a:1"));
  assert_string_equal(json_str_or(standing_json(&s), "title", ""), "t");
  standing_release(&s);
}

/* --- what the engine never writes, and a stranger who can write into Redis may ---------------------------------------------- */

static json_t *nested(unsigned depth) {
  json_t *value = json_integer(1);
  while (depth--) value = json_pack("{s:o}", "x", value);
  return value;
}

static void both_ways(enum kind kind, const char *actor, const char *step, json_t *body_take) {
  struct entry e = {.seq = 1, .time = 1000, .kind = kind, .run = 1, .body = body_take};
  struct standing s = {0};
  json_t *state = state_blank("INC-000001");
  snprintf(e.actor, sizeof e.actor, "%s", actor);
  snprintf(e.step, sizeof e.step, "%s", step);
  standing_init(&s, "INC-000001");
  standing_fold(&s, &e);
  state_fold(state, &e);
  json_decref(body_take);
  assert_same_bytes(&s, state);
  assert_true(json_equal(standing_json(&s), state));
  standing_release(&s);
  json_decref(state);
}

static void test_strange_entries(void **state) {
  both_ways(KIND_ACTION_INTENDED, "engine", "1\":{},\"2", json_pack("{s:s}", "action", "lock"));
  both_ways(KIND_ACTION_INTENDED, "engine", "\\", json_object());
  both_ways(KIND_ACTION_INTENDED, "engine", "\n\xc3", json_object());
  both_ways(KIND_ACTION_INTENDED, "engine", "", json_object());
  both_ways(KIND_RUN_STARTED, "person:\xc3", "", json_pack("{s:s}", "playbook", "p"));
  both_ways(KIND_RUN_STARTED, "person:\"\n", "", json_pack("{s:s}", "playbook", "p"));
}

/* As deep as an entry's body is read at all. */
static void test_deep_bodies(void **state) {
  both_ways(KIND_ACTION_INTENDED, "engine", "1", json_pack("{s:o}", "params", nested(JSON_STORED_DEPTH - 1)));
  both_ways(KIND_RUN_STARTED, "engine", "", json_pack("{s:o}", "trigger", nested(JSON_STORED_DEPTH - 1)));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_entries), cmocka_unit_test(test_usual),
                                     cmocka_unit_test(test_strange_entries), cmocka_unit_test(test_deep_bodies)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
