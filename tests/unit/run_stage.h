/* run_stage.h: a run on run_fakes.h from its start to its end, and replayed from every point of its journal; for test_run.c and test_shadow.c. */
#ifndef RUN_STAGE_H
#define RUN_STAGE_H

#include "evidence/leaf.h"
#include "run_fakes.h"

/* Every entry gets a time of its own. */
static inline int64_t wall(const struct clock *clock) {
  return clock_wall(clock_system()) / 1000 * 1000 + (fake.journal ? (int64_t)journal_seq(fake.journal) : 0);
}
static const struct clock test_clock = {.wall = wall, .boot = wall};

static struct journal_store store;
static struct runs *runs;
static struct run *run;
static char done[32];
static unsigned dones;
static struct declaration playbook = {.name = (char *)"contain-account", .digest = "aa"};

static inline void on_done(void *arg, struct run *ended, const char *status) {
  assert_ptr_equal(ended, run);
  snprintf(done, sizeof done, "%s", status);
  dones++;
}

/* A body that was appended as bytes is read here for itself: the run shall find its entry as it came. */
static inline void on_entry(void *arg, struct journal *j, const struct entry *e) {
  json_t *body = json_incref(e->body);
  if (!body) assert_int_equal(json_parse_stored(e->envelope + ENVELOPE_PREFIX, e->envelope_len - ENVELOPE_PREFIX, &body, NULL), 0);
  json_array_append_new(fake.entries,
                        json_pack("{s:I, s:s, s:s, s:i, s:s, s:I, s:o}", "seq", (json_int_t)e->seq, "type", kind_name(e->kind), "actor",
                                  e->actor, "run", (int)e->run, "step", e->step, "time", (json_int_t)e->time, "body", body));
}

static inline const json_t *world_alerts(void *arg, struct journal *j) { return fake.alerts; }
static inline bool world_matches(void *arg, void *lists, int64_t now, const json_t *when, const json_t *alert) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)when, key, value) if (!json_equal(value, json_object_get(alert, key))) return false;
  return true;
}
static inline int world_change(void *arg, struct journal *j, const char *verb, const json_t *args, const char *actor, unsigned number,
                               const char *step, struct err *err) {
  if (strcmp(verb, "severity") == 0) {
    int64_t id = severity_by_name(json_str_or(args, "severity", ""));
    if (id < 0) return err_set(err, ERR_INVALID, "there is no severity \"%s\"", json_str_or(args, "severity", ""));
    journal_add(j, KIND_INCIDENT_SEVERITY, actor, number, step, json_pack("{s:I}", "severity_id", (json_int_t)id));
    return 0;
  }
  journal_add(j, KIND_INCIDENT_NOTED, actor, number, step, json_pack("{s:s}", "text", json_str_or(args, "text", "")));
  return 0;
}

/* A file that comes: kept in a later turn; of the content "refused" no turn comes, of "broken" an error. */
struct keeping {
  run_kept_cb *cb;
  void *arg;
  json_t *body;
  bool broken;
};

static inline void on_keep(void *arg) {
  struct keeping *k = arg;
  struct err err;
  err_set(&err, ERR_IO, "the disk is full");
  fake.kept += k->cb(k->arg, k->body, k->broken ? &err : NULL);
  json_decref(k->body);
  free(k);
}

static inline int world_collect(void *arg, struct journal *j, const json_t *facts, char *bytes_take, size_t len, run_kept_cb *cb,
                                void *cb_arg, struct err *err) {
  char digest[DIGEST_HEX];
  uint8_t raw[DIGEST_BYTES];
  bool refused = strcmp(bytes_take, "refused") == 0, broken = strcmp(bytes_take, "broken") == 0;
  digest_sha256(bytes_take, len, raw);
  hex_encode(raw, sizeof raw, digest);
  free(bytes_take);
  if (refused) return err_set(err, ERR_LIMIT, "it is too large");
  struct keeping *k = calloc(1, sizeof *k);
  assert_non_null(k);
  *k = (struct keeping){cb, cb_arg, json_deep_copy(facts), broken};
  json_object_set_new(k->body, "sha256", json_string(digest));
  json_object_set_new(k->body, "size", json_integer((json_int_t)len));
  if (fake.hold_files) fake.held = k;
  else loop_soon(fake.loop, on_keep, k);
  return 0;
}

static inline int setup(void **state) {
  memset(&fake, 0, sizeof fake);
  fake.loop = loop_new();
  store = (struct journal_store){.loop = fake.loop, .clock = &test_clock, .node = "n1"};
  struct runs_deps deps = {.loop = fake.loop,
                           .registry = (void *)&store,
                           .world = {.alerts = world_alerts, .matches = world_matches, .change = world_change, .collect = world_collect}};
  runs = runs_new(&deps);
  playbook.json = json_pack("{s:[s]}", "uses", "ldap.lock_account");
  playbook.uses = json_pack("{s:[s]}", "ldap", "lock_account");
  return 0;
}

static inline void unload(void) {
  run_free(run);
  run = NULL;
  for (int i = 0; i < 40; i++) loop_turn(fake.loop);
  journal_free(fake.journal);
  fake.journal = NULL;
  json_decref(fake.entries);
  json_decref(fake.transcript);
  json_decref(fake.started);
  json_decref(fake.alerts);
  fake.entries = fake.transcript = fake.started = fake.alerts = NULL;
}

static inline int teardown(void **state) {
  unload();
  runs_free(runs);
  json_decref(playbook.json);
  json_decref(playbook.uses);
  loop_free(fake.loop);
  return 0;
}

static inline void load(const struct program *program) {
  fake.program = program;
  fake.journal = journal_new(&store, "INC-000042");
  fake.entries = json_array();
  fake.transcript = json_array();
  fake.started = json_object();
  fake.alerts = json_array();
  journal_watch(fake.journal, on_entry, NULL);
  done[0] = 0;
  dones = 0;
}

static inline void alert_comes(int n) {
  json_array_append_new(fake.alerts, json_pack("{s:i}", "n", n));
  journal_add(fake.journal, KIND_ALERT_ATTACHED, "engine", 0, NULL, json_pack("{s:s, s:i}", "id", "x", "n", n));
  if (run) run_alert(run, NULL);
}

static inline void begin(const struct program *program) {
  load(program);
  alert_comes(1);
  json_t *params = json_pack("{s:s}", "user", "alice");
  struct run_spec spec = {.journal = fake.journal, .number = 1, .playbook = &playbook, .params = params};
  assert_int_equal(run_start(runs, &spec, on_done, NULL, &run, NULL), 0);
  json_decref(params);
}

static inline const json_t *last_entry(void) { return json_array_get(fake.entries, json_array_size(fake.entries) - 1); }
static inline const char *last_type(void) { return json_str_or(last_entry(), "type", ""); }

/* Turns until the run has ended; a run that waits for an alert gets one when nothing else happens. */
static inline void finish(void) {
  int64_t deadline = clock_boot(clock_system()) + 20000000;
  for (int idle = 0; !dones && clock_boot(clock_system()) < deadline;) {
    size_t before = json_array_size(fake.entries) + json_array_size(fake.transcript);
    loop_turn(fake.loop);
    if (json_array_size(fake.entries) + json_array_size(fake.transcript) != before) idle = 0;
    else if (++idle > 8 && json_object_get(json_object_get(json_object_get(journal_state(fake.journal), "waits"), "1/7"), "alert"))
      alert_comes(2);
  }
  if (!dones) {
    json_t *view = run_view(run);
    char *text = json_text(view);
    json_decref(view);
    print_error("%zu entries, last %s: %s\n", json_array_size(fake.entries),
                json_str_or(json_array_get(fake.entries, json_array_size(fake.entries) - 1), "type", ""), text);
    free(text);
  }
  assert_int_equal(dones, 1);
  assert_int_equal(fake.scripts, 0);
}

static inline const json_t *given(const char *step) {
  size_t i;
  json_t *line;
  json_array_foreach(fake.transcript, i, line) if (strcmp(json_str_or(line, "step", ""), step) == 0) return line;
  fail_msg("no burst was woken by step %s", step);
  return NULL;
}

static inline size_t count_type(const char *type) {
  size_t i, n = 0;
  json_t *e;
  json_array_foreach(fake.entries, i, e) n += strcmp(json_str_or(e, "type", ""), type) == 0;
  return n;
}

#define LOCK                                                                                                                               \
  { "action", "{\"connector\": \"ldap\", \"action\": \"lock_account\", \"params\": {\"uid\": \"alice\", \"because\": \"x\"}}" }
#define FAIL                                                                                                                               \
  { "action", "{\"connector\": \"ldap\", \"action\": \"fail\", \"params\": {}}" }
#define NOTE                                                                                                                               \
  { "note", "{\"text\": \"hello\"}" }
#define PARALLEL                                                                                                                           \
  { "parallel", "{\"count\": 3, \"max\": 2}" }

/* --- replay ------------------------------------------------------------------------------------------------------------ */

/* A journal that holds the first `count` of these entries. */
static inline void rebuild(const struct program *program, const json_t *entries, size_t count) {
  load(program);
  for (size_t i = 0; i < count; i++) {
    json_t *stored = json_array_get(entries, i);
    struct entry e = {.seq = (uint64_t)json_int_or(stored, "seq", 0),
                      .time = json_int_or(stored, "time", 0),
                      .kind = kind_by_name(json_str_or(stored, "type", "")),
                      .run = (unsigned)json_int_or(stored, "run", 0),
                      .body = json_object_get(stored, "body")};
    snprintf(e.step, sizeof e.step, "%s", json_str_or(stored, "step", ""));
    snprintf(e.actor, sizeof e.actor, "%s", json_str_or(stored, "actor", ""));
    snprintf(e.leaf, sizeof e.leaf, "%064d", 0);
    journal_take_entry(fake.journal, &e);
    json_array_append(fake.entries, stored);
    if (e.kind == KIND_ALERT_ATTACHED) json_array_append_new(fake.alerts, json_pack("{s:O}", "n", json_object_get(e.body, "n")));
  }
}

static inline int take_up(struct err *err) {
  struct run_spec spec = {.journal = fake.journal, .number = 1, .playbook = &playbook};
  json_t *past = json_copy(fake.entries);
  int r = run_take_up(runs, &spec, past, on_done, NULL, &run, err);
  json_decref(past);
  return r;
}

static inline bool has_outcome(const json_t *entries, size_t count, const char *place) {
  for (size_t i = 0; i < count; i++) {
    const json_t *e = json_array_get(entries, i);
    const char *type = json_str_or(e, "type", "");
    char at[ID_PATH];
    snprintf(at, sizeof at, "%lld/%s", (long long)json_int_or(e, "run", 0), json_str_or(e, "step", ""));
    if (strcmp(at, place) == 0 &&
        (strcmp(type, "action.outcome") == 0 || strcmp(type, "containment.released") == 0 || strcmp(type, "run.would") == 0))
      return true;
  }
  return false;
}

static inline json_t *burst_of(const json_t *transcript, const json_t *like) {
  size_t i;
  json_t *line;
  json_array_foreach(transcript, i, line) if (json_equal(json_object_get(line, "step"), json_object_get(like, "step")) &&
                                              json_equal(json_object_get(line, "thread"), json_object_get(like, "thread"))) return line;
  fail_msg("no burst of %s at step %s", json_str(like, "thread"), json_str(like, "step"));
  return NULL;
}

/* Another time, and another number of the entry that took a file. */
static inline void lived_anew(json_t *burst) {
  json_t *given = json_copy(json_object_get(burst, "given"));
  json_object_del(burst, "now");
  json_object_del(given, "item");
  json_object_set_new(burst, "given", given);
}

/* What the journal knew is the same in the same order, its times too; what was lived anew is the same, but branches may overtake each other. */
static inline void transcripts_agree(const json_t *live, int64_t until) {
  assert_int_equal(json_array_size(fake.transcript), json_array_size(live));
  for (size_t i = 0; i < json_array_size(live); i++) {
    json_t *a = json_copy(json_array_get(live, i)), *b;
    if (json_int_or(a, "now", 0) <= until) {
      b = json_copy(json_array_get(fake.transcript, i));
    } else {
      b = json_copy(burst_of(fake.transcript, a));
      lived_anew(a);
      lived_anew(b);
    }
    char *x = json_text(a), *y = json_text(b);
    assert_string_equal(x, y);
    free(x);
    free(y);
    json_decref(a);
    json_decref(b);
  }
}

/* The run is cut off after each of its entries, and taken up: it must come to the same end, see the same, and start no action whose outcome is on record. */
static inline void replay_everywhere(const struct program *program) {
  begin(program);
  finish();
  json_t *entries = json_incref(fake.entries), *live = json_incref(fake.transcript);
  char status[32];
  snprintf(status, sizeof status, "%s", done);
  for (size_t count = json_array_size(entries); count >= 2; count--) { /* 1: the alert, 2: run.started */
    unload();
    rebuild(program, entries, count);
    struct err err = {0};
    assert_int_equal(take_up(&err), 0);
    finish();
    assert_string_equal(done, status);
    transcripts_agree(live, json_int_or(json_array_get(entries, count - 1), "time", 0));
    assert_int_equal(json_array_size(fake.entries) >= json_array_size(entries) - 2, true);
    const char *place;
    json_t *how;
    json_object_foreach(fake.started, place, how) assert_false(has_outcome(entries, count, place));
    if (count == json_array_size(entries)) assert_int_equal(json_array_size(fake.entries), count); /* a finished run gets no entry */
  }
  json_decref(entries);
  json_decref(live);
}

#endif
