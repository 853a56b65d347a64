/* The run room by itself: every verb, every ending, and replay from every point of a journal. */
#include "run_stage.h"

/* --- every verb once ---------------------------------------------------------------------------------------------- */

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
    {"collect", "{\"name\": \"found.json\", \"content\": {\"mail\": \"a@b\"}, \"because\": \"x\"}"},
    {"collect", "{\"name\": \"none.txt\", \"content\": \"refused\", \"because\": \"x\"}"},
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
  const json_t *file = json_object_get(given("13"), "given");
  assert_string_equal(json_str_or(file, "sha256", ""), "7656be194ad344b63c0ec630d48d12dd0c35699039bf1c8a5fc5727598da6429");
  assert_int_equal(json_int_or(file, "size", 0), strlen("{\"mail\":\"a@b\"}"));
  char item[24];
  snprintf(item, sizeof item, "%lld", (long long)json_int_or(file, "item", 0));
  assert_string_equal(json_str_or(json_object_get(json_object_get(journal_state(fake.journal), "files"), item), "name", ""), "found.json");
  assert_string_equal(json_str_or(json_object_get(given("14"), "given"), "message", ""), "it is too large");
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

/* What was in force when it began is looked for by its digest once something else is. */
static void test_a_reload_in_its_middle(void **state) {
  static const struct line locks[] = {LOCK, {"wait", "{\"ms\": 3}"}, LOCK, {NULL, NULL}};
  static const struct program twice = {locks, {NULL}};
  begin(&twice);
  while (!fake.versions[0]) loop_turn(fake.loop);
  runs_set_registry(runs, (void *)&store);
  finish();
  assert_string_equal(fake.versions, "- cc ");
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
      T(test_a_reload_in_its_middle),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
