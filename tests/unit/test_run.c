/* The run room by itself: every verb, every ending, and replay from every point of a journal. */
#include "run_fakes.h"

/* Every entry gets a time of its own. */
static int64_t wall(const struct clock *clock) {
  return clock_wall(clock_system()) / 1000 * 1000 + (fake.journal ? (int64_t)journal_seq(fake.journal) : 0);
}
static const struct clock test_clock = {.wall = wall, .boot = wall};

static struct journal_store store;
static struct runs *runs;
static struct run *run;
static char done[32];
static unsigned dones;
static struct declaration playbook = {.name = (char *)"contain-account", .digest = "aa"};

static void on_done(void *arg, struct run *ended, const char *status) {
  assert_ptr_equal(ended, run);
  snprintf(done, sizeof done, "%s", status);
  dones++;
}

static void on_entry(void *arg, struct journal *j, const struct entry *e) {
  json_array_append_new(fake.entries,
                        json_pack("{s:I, s:s, s:s, s:i, s:s, s:I, s:O*}", "seq", (json_int_t)e->seq, "type", kind_name(e->kind), "actor",
                                  e->actor, "run", (int)e->run, "step", e->step, "time", (json_int_t)e->time, "body", e->body));
}

static const json_t *world_alerts(void *arg, struct journal *j) { return fake.alerts; }
static bool world_matches(void *arg, const json_t *when, const json_t *alert) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)when, key, value) if (!json_equal(value, json_object_get(alert, key))) return false;
  return true;
}
static int world_change(void *arg, struct journal *j, const char *verb, const json_t *args, const char *actor, unsigned number,
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

static int setup(void **state) {
  memset(&fake, 0, sizeof fake);
  fake.loop = loop_new();
  store = (struct journal_store){.loop = fake.loop, .clock = &test_clock, .node = "n1"};
  struct runs_deps deps = {.loop = fake.loop,
                           .registry = (void *)&store,
                           .world = {.alerts = world_alerts, .matches = world_matches, .change = world_change}};
  runs = runs_new(&deps);
  playbook.json = json_pack("{s:[s]}", "uses", "ldap.lock_account");
  return 0;
}

static void unload(void) {
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

static int teardown(void **state) {
  unload();
  runs_free(runs);
  json_decref(playbook.json);
  loop_free(fake.loop);
  return 0;
}

static void load(const struct program *program) {
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

static void alert_comes(int n) {
  json_array_append_new(fake.alerts, json_pack("{s:i}", "n", n));
  journal_add(fake.journal, KIND_ALERT_ATTACHED, "engine", 0, NULL, json_pack("{s:s, s:i}", "id", "x", "n", n));
  if (run) run_alert(run, NULL);
}

static void begin(const struct program *program) {
  load(program);
  alert_comes(1);
  json_t *params = json_pack("{s:s}", "user", "alice");
  struct run_spec spec = {.journal = fake.journal, .number = 1, .playbook = &playbook, .params = params};
  assert_int_equal(run_start(runs, &spec, on_done, NULL, &run, NULL), 0);
  json_decref(params);
}

static const json_t *last_entry(void) { return json_array_get(fake.entries, json_array_size(fake.entries) - 1); }
static const char *last_type(void) { return json_str_or(last_entry(), "type", ""); }

/* Turns until the run has ended; a run that waits for an alert gets one when nothing else happens. */
static void finish(void) {
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

static const json_t *given(const char *step) {
  size_t i;
  json_t *line;
  json_array_foreach(fake.transcript, i, line) if (strcmp(json_str_or(line, "step", ""), step) == 0) return line;
  fail_msg("no burst was woken by step %s", step);
  return NULL;
}

static size_t count_type(const char *type) {
  size_t i, n = 0;
  json_t *e;
  json_array_foreach(fake.entries, i, e) n += strcmp(json_str_or(e, "type", ""), type) == 0;
  return n;
}

/* --- every verb once ---------------------------------------------------------------------------------------------- */

#define LOCK                                                                                                                               \
  { "action", "{\"connector\": \"ldap\", \"action\": \"lock_account\", \"params\": {\"uid\": \"alice\", \"because\": \"x\"}}" }
#define FAIL                                                                                                                               \
  { "action", "{\"connector\": \"ldap\", \"action\": \"fail\", \"params\": {}}" }
#define NOTE                                                                                                                               \
  { "note", "{\"text\": \"hello\"}" }
#define PARALLEL                                                                                                                           \
  { "parallel", "{\"count\": 3, \"max\": 2}" }

static const struct line all_verbs[] = {
    LOCK,
    NOTE,
    {"severity", "{\"severity\": \"high\"}"},
    {"ask", "{\"text\": \"Keep it?\", \"otherwise\": \"keep\", \"within\": 60000}"},
    PARALLEL,
    {"wait", "{\"ms\": 3}"},
    {"wait_for", "{\"alert\": {\"n\": 2}, \"within\": 3600000}"},
    {"poll", "{\"connector\": \"ldap\", \"action\": \"find\", \"params\": {}, \"every\": 100, \"within\": 60000, \"until\": {\"n\": 2}}"},
    {"action", "{\"connector\": \"ldap\", \"action\": \"broken\", \"params\": {}}"},
    {"undo", "{\"step\": \"1\"}"},
    {"release", "{\"of\": \"incident\"}"},
    {"severity", "{\"severity\": \"nonsense\"}"},
    {NULL, NULL}};
static const struct line branch_works[] = {LOCK, NOTE, {NULL, NULL}};
static const struct line branch_raises[] = {NOTE, {"raise", "boom"}, {NULL, NULL}};
static const struct program everything = {all_verbs, {branch_works, branch_raises, branch_works}};

static void test_every_verb(void **state) {
  begin(&everything);
  finish();
  assert_string_equal(done, "done");
  assert_string_equal(last_type(), "run.finished");
  assert_string_equal(json_str_or(json_object_get(given("1"), "given"), "step", ""), "1");
  assert_true(json_is_true(json_object_get(given("2"), "given")));
  assert_string_equal(json_string_value(json_object_get(given("4"), "given")), "keep");
  const json_t *branches = json_object_get(given("5"), "given");
  assert_int_equal(json_array_size(branches), 3);
  assert_string_equal(json_str_or(json_array_get(branches, 0), "result", ""), "branch 1");
  assert_string_equal(json_str_or(json_object_get(json_array_get(branches, 1), "error"), "message", ""), "boom");
  assert_true(json_bool_or(json_array_get(branches, 2), "ok", false));
  assert_int_equal(json_int_or(json_object_get(given("7"), "given"), "n", 0), 2);
  assert_int_equal(json_int_or(json_object_get(given("8"), "given"), "n", 0), 2);
  assert_true(json_is_false(json_object_get(given("9"), "ok")));
  assert_string_equal(json_str_or(json_object_get(given("9"), "given"), "kind", ""), "invalid");
  assert_true(json_bool_or(json_object_get(given("10"), "given"), "released", false));
  assert_int_equal(json_array_size(json_object_get(json_object_get(given("11"), "given"), "released")), 2); /* those of the branches */
  assert_string_equal(json_str_or(json_object_get(given("12"), "given"), "message", ""), "there is no severity \"nonsense\"");
  assert_true(json_object_get(fake.started, "1/5.3.1") != NULL);
  assert_int_equal(json_object_size(json_object_get(journal_state(fake.journal), "waits")), 0);
}

/* What a burst sees is the incident up to the entry that woke it. */
static void test_view_is_of_the_waking_entry(void **state) {
  begin(&everything);
  finish();
  assert_string_equal(json_str_or(given("2"), "severity", ""), "unknown");
  assert_string_equal(json_str_or(given("3"), "severity", ""), "high");
  assert_int_equal(json_int_or(given("6"), "alert_count", 0), 1);
  assert_int_equal(json_int_or(given("7"), "alert_count", 0), 2);
  size_t i, n;
  json_t *line, *e;
  json_array_foreach(fake.transcript, i, line) { /* now() is the time of an entry of that step, or of the start */
    const char *step = json_str_or(line, "step", "");
    bool found = false;
    json_array_foreach(fake.entries, n, e) found |=
        json_equal(json_object_get(e, "time"), json_object_get(line, "now")) && (!*step || strcmp(json_str_or(e, "step", ""), step) == 0);
    assert_true(found);
  }
}

/* --- endings --------------------------------------------------------------------------------------------------------- */

static void test_raise_fails_the_run(void **state) {
  static const struct line lines[] = {NOTE, {"raise", "playbooks/x.lua:7: oops"}, {NULL, NULL}};
  static const struct program p = {lines, {NULL}};
  begin(&p);
  finish();
  assert_string_equal(done, "failed");
  const json_t *body = json_object_get(last_entry(), "body");
  assert_string_equal(json_str_or(body, "error", ""), "playbooks/x.lua:7: oops");
  assert_string_equal(json_str_or(body, "traceback", ""), "traceback");
  assert_int_equal(json_int_or(body, "line", 0), 7);
}

static void test_hand_over(void **state) {
  static const struct line lines[] = {{"hand_over", "{\"text\": \"locked out\", \"why\": \"refused: no\"}"}, NOTE, {NULL, NULL}};
  static const struct program p = {lines, {NULL}};
  begin(&p);
  finish();
  assert_string_equal(done, "handed_over");
  assert_string_equal(last_type(), "run.handed_over");
  assert_string_equal(json_str_or(json_object_get(last_entry(), "body"), "why", ""), "refused: no");
  assert_int_equal(count_type("incident.noted"), 0);
}

static void test_cancel_drops_what_waits(void **state) {
  static const struct line lines[] = {PARALLEL, {NULL, NULL}};
  static const struct line asks[] = {{"ask", "{\"text\": \"?\", \"otherwise\": \"no\", \"within\": 60000}"}, {NULL, NULL}};
  static const struct line waits[] = {{"wait", "{\"ms\": 60000}"}, {NULL, NULL}};
  static const struct program p = {lines, {asks, waits, branch_works}};
  begin(&p);
  loop_turn(fake.loop);
  loop_turn(fake.loop);
  assert_int_equal(count_type("question.asked"), 1);
  run_cancel(run, "person:7f3a", "false alarm");
  run_cancel(run, "person:7f3a", "twice");
  finish();
  assert_string_equal(done, "cancelled");
  assert_string_equal(last_type(), "run.cancelled");
  assert_int_equal(count_type("run.cancelled"), 1);
  assert_int_equal(json_object_size(json_object_get(journal_state(fake.journal), "questions")), 0);
}

static void test_run_free_in_the_middle(void **state) {
  begin(&everything);
  for (int i = 0; i < 12; i++) loop_turn(fake.loop);
  run_free(run);
  run = NULL;
  size_t entries = json_array_size(fake.entries);
  for (int i = 0; i < 20; i++) loop_turn(fake.loop);
  assert_int_equal(json_array_size(fake.entries), entries);
  assert_int_equal(dones, 0);
  assert_int_equal(fake.scripts, 0);
}

static void test_stop_on_error(void **state) {
  static const struct line lines[] = {{"parallel", "{\"count\": 3, \"max\": 2, \"stop_on_error\": true}"}, {NULL, NULL}};
  static const struct line waits[] = {{"wait", "{\"ms\": 60000}"}, {NULL, NULL}};
  static const struct program p = {lines, {waits, branch_raises, branch_works}};
  begin(&p);
  finish();
  const json_t *branches = json_object_get(given("1"), "given");
  assert_string_equal(json_str_or(json_object_get(json_array_get(branches, 0), "error"), "kind", ""), "cancelled");
  assert_string_equal(json_str_or(json_object_get(json_array_get(branches, 1), "error"), "message", ""), "boom");
  assert_string_equal(json_str_or(json_object_get(json_array_get(branches, 2), "error"), "kind", ""), "cancelled");
  assert_null(json_object_get(fake.started, "1/1.3.1")); /* never begun */
  assert_int_equal(json_int_or(json_object_get(last_entry(), "seq")
                                   ? json_object_get(json_array_get(fake.entries, json_array_size(fake.entries) - 2), "body")
                                   : NULL,
                               "cancelled", 0),
                   2);
}

static void test_too_many_steps(void **state) {
  struct line *lines = calloc(5002, sizeof *lines);
  assert_non_null(lines);
  for (int i = 0; i < 5001; i++) lines[i] = (struct line)NOTE;
  struct program p = {lines, {NULL}};
  begin(&p);
  finish();
  free(lines);
  assert_string_equal(done, "failed");
  assert_int_equal(count_type("incident.noted"), 5000);
  assert_non_null(strstr(json_str_or(json_object_get(last_entry(), "body"), "error", ""), "continue_as"));
}

static void test_continue_as(void **state) {
  static const struct line first[] = {NOTE, {"continue_as", "{\"params\": {\"user\": \"bob\"}}"}, NOTE, {NULL, NULL}};
  static const struct line second[] = {NOTE, {NULL, NULL}};
  static const struct program p = {first, {NULL}}, q = {second, {NULL}};
  begin(&p);
  for (int i = 0; i < 50 && run_number(run) == 1; i++) {
    loop_turn(fake.loop);
    if (run_number(run) == 2) fake.program = &q;
  }
  fake.program = &q;
  finish();
  assert_string_equal(done, "done");
  assert_int_equal(run_number(run), 2);
  assert_int_equal(count_type("run.started"), 2);
  assert_int_equal(count_type("run.finished"), 2);
  assert_int_equal(count_type("incident.noted"), 2);
  const json_t *runs_state = json_object_get(journal_state(fake.journal), "runs");
  assert_string_equal(json_str_or(json_object_get(runs_state, "1"), "status", ""), "done");
  json_t *view = run_view(run);
  assert_int_equal(json_int_or(view, "steps", 0), 1);
  json_decref(view);
}

/* A step that ended first is resumed first, however late its callback comes. */
static void test_order_is_of_the_entries(void **state) {
  static const struct line lines[] = {{"parallel", "{\"count\": 2, \"max\": 2}"}, {NULL, NULL}};
  static const struct line asks[] = {NOTE, {"ask", "{\"text\": \"?\", \"otherwise\": \"keep\", \"within\": 60000}"}, {NULL, NULL}};
  static const struct line locks[] = {LOCK, {NULL, NULL}};
  static const struct program p = {lines, {asks, locks, NULL}};
  begin(&p);
  fake.slow = "1.2.1";
  finish();
  int64_t before = 0;
  size_t i;
  json_t *line;
  json_array_foreach(fake.transcript, i, line) {
    int64_t now = json_int_or(line, "now", 0);
    assert_true(now >= before);
    before = now;
  }
}

/* An incident keeps so many alerts and no more; one beyond them wakes a run all the same. */
static void test_alert_beyond_those_kept(void **state) {
  static const struct line lines[] = {{"wait_for", "{\"alert\": {\"n\": 7}, \"within\": 3600000}"}, {NULL, NULL}};
  static const struct program p = {lines, {NULL}};
  begin(&p);
  loop_turn(fake.loop);
  loop_turn(fake.loop);
  assert_int_equal(count_type("wait.started"), 1);
  json_t *other = json_pack("{s:i}", "n", 6), *fitting = json_pack("{s:i, s:s}", "n", 7, "title", "late");
  run_alert(run, other);
  assert_int_equal(count_type("wait.ended"), 0);
  run_alert(run, fitting);
  json_decref(other);
  json_decref(fitting);
  finish();
  assert_string_equal(json_str_or(json_object_get(given("1"), "given"), "title", ""), "late");
}

/* --- replay ------------------------------------------------------------------------------------------------------------ */

/* A journal that holds the first `count` of these entries. */
static void rebuild(const struct program *program, const json_t *entries, size_t count) {
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

static int take_up(struct err *err) {
  struct run_spec spec = {.journal = fake.journal, .number = 1, .playbook = &playbook};
  json_t *past = json_copy(fake.entries);
  int r = run_take_up(runs, &spec, past, on_done, NULL, &run, err);
  json_decref(past);
  return r;
}

static bool has_outcome(const json_t *entries, size_t count, const char *place) {
  for (size_t i = 0; i < count; i++) {
    const json_t *e = json_array_get(entries, i);
    const char *type = json_str_or(e, "type", "");
    char at[ID_PATH];
    snprintf(at, sizeof at, "%lld/%s", (long long)json_int_or(e, "run", 0), json_str_or(e, "step", ""));
    if (strcmp(at, place) == 0 && (strcmp(type, "action.outcome") == 0 || strcmp(type, "containment.released") == 0)) return true;
  }
  return false;
}

static json_t *burst_of(const json_t *transcript, const json_t *like) {
  size_t i;
  json_t *line;
  json_array_foreach(transcript, i, line) if (json_equal(json_object_get(line, "step"), json_object_get(like, "step")) &&
                                              json_equal(json_object_get(line, "thread"), json_object_get(like, "thread"))) return line;
  fail_msg("no burst of %s at step %s", json_str(like, "thread"), json_str(like, "step"));
  return NULL;
}

/* What the journal knew is the same in the same order, its times too; what was lived anew is the same, but branches may overtake each other. */
static void transcripts_agree(const json_t *live, int64_t until) {
  assert_int_equal(json_array_size(fake.transcript), json_array_size(live));
  for (size_t i = 0; i < json_array_size(live); i++) {
    json_t *a = json_copy(json_array_get(live, i)), *b;
    if (json_int_or(a, "now", 0) <= until) {
      b = json_copy(json_array_get(fake.transcript, i));
    } else {
      b = json_copy(burst_of(fake.transcript, a));
      json_object_del(a, "now");
      json_object_del(b, "now");
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
static void replay_everywhere(const struct program *program) {
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

static void test_replay_from_every_entry(void **state) { replay_everywhere(&everything); }

static void test_replay_of_every_ending(void **state) {
  static const struct line raises[] = {LOCK, {"raise", "oops"}, {NULL, NULL}},
                           hands[] = {NOTE, {"hand_over", "{\"text\": \"x\"}"}, {NULL, NULL}};
  static const struct line stops[] = {{"parallel", "{\"count\": 3, \"max\": 3, \"stop_on_error\": true}"}, LOCK, {NULL, NULL}};
  static const struct line waits[] = {{"wait", "{\"ms\": 60000}"}, {NULL, NULL}};
  static const struct program p = {raises, {NULL}}, q = {hands, {NULL}}, r = {stops, {waits, branch_raises, waits}};
  replay_everywhere(&p);
  unload();
  replay_everywhere(&q);
  unload();
  replay_everywhere(&r);
}

static void test_replay_that_differs(void **state) {
  static const struct line first[] = {LOCK,
                                      NOTE,
                                      {"ask", "{\"text\": \"Keep it?\", \"otherwise\": \"keep\", \"within\": 1000}"},
                                      {NULL, NULL}};
  static const struct line second[] = {LOCK, {"note", "{\"text\": \"something else\"}"}, {NULL, NULL}};
  static const struct line third[] = {LOCK, NOTE, {NULL, NULL}};
  static const struct line fourth[] = {{"action",
                                        "{\"connector\": \"ldap\", \"action\": \"lock_account\", \"params\": {\"uid\": \"bob\"}}"},
                                       {NULL, NULL}};
  static const struct program p = {first, {NULL}}, others[] = {{second, {NULL}}, {third, {NULL}}, {fourth, {NULL}}};
  static const char *const at[] = {"at step 2", "at step 3", "at step 1"};
  begin(&p);
  finish();
  json_t *entries = json_incref(fake.entries);
  for (size_t i = 0; i < 3; i++) {
    unload();
    rebuild(&others[i], entries, json_array_size(entries) - 1); /* all but run.finished */
    assert_int_equal(take_up(NULL), 0);
    finish();
    assert_string_equal(done, "handed_over");
    assert_string_equal(last_type(), "run.handed_over");
    const json_t *body = json_object_get(last_entry(), "body");
    assert_non_null(strstr(json_str_or(body, "text", ""), at[i]));
    assert_non_null(json_str(json_object_get(body, "why"), "journal"));
    assert_int_equal(json_object_size(fake.started), 0);
  }
  json_decref(entries);
}

static void test_take_up_needs_its_version(void **state) {
  begin(&everything);
  finish();
  json_t *entries = json_incref(fake.entries);
  unload();
  rebuild(&everything, entries, json_array_size(entries));
  json_decref(entries);
  struct err err;
  snprintf(playbook.digest, sizeof playbook.digest, "bb");
  assert_int_equal(take_up(&err), ERR_CONFLICT);
  snprintf(playbook.digest, sizeof playbook.digest, "aa");
  assert_non_null(strstr(err.text, "the version that it began with"));
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      T(test_every_verb),
      T(test_view_is_of_the_waking_entry),
      T(test_raise_fails_the_run),
      T(test_hand_over),
      T(test_cancel_drops_what_waits),
      T(test_run_free_in_the_middle),
      T(test_stop_on_error),
      T(test_too_many_steps),
      T(test_continue_as),
      T(test_order_is_of_the_entries),
      T(test_alert_beyond_those_kept),
      T(test_replay_from_every_entry),
      T(test_replay_of_every_ending),
      T(test_replay_that_differs),
      T(test_take_up_needs_its_version),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
