/* A playbook in shadow: every verb, every ending, replay from every entry; nothing of it is done, and all of it is said. */
#include "run_stage.h"

static int shadow_setup(void **state) {
  int r = setup(state);
  json_object_set_new(playbook.json, "shadow", json_true());
  return r;
}

#define UNDO(step)                                                                                                                         \
  { "undo", "{\"step\": \"" step "\"}" }

static const struct line all_verbs[] = {
    LOCK,
    NOTE,
    {"severity", "{\"severity\": \"high\"}"},
    {"ask", "{\"text\": \"Keep it?\", \"options\": [\"keep\", \"free\"], \"otherwise\": \"free\", \"within\": 60000}"},
    PARALLEL,
    {"wait", "{\"ms\": 3}"},
    {"wait_for", "{\"alert\": {\"n\": 2}, \"within\": 3600000}"},
    {"poll", "{\"connector\": \"ldap\", \"action\": \"find\", \"params\": {}, \"every\": 100, \"within\": 60000, \"until\": {\"n\": 2}}"},
    {"action", "{\"connector\": \"ldap\", \"action\": \"find\", \"params\": {}}"},
    UNDO("1"),
    UNDO("1"),
    FAIL,
    {"release", "{\"of\": \"incident\"}"},
    {"assign", "{\"to\": \"alice\"}"},
    {"tag", "{\"tag\": \"x\"}"},
    {"close", "{\"verdict\": \"true_positive\"}"},
    {"action", "{\"connector\": \"ldap\", \"action\": \"lock_for_ever\", \"params\": {}}"},
    UNDO("17"),
    {"action", "{\"connector\": \"ldap\", \"action\": \"broken\", \"params\": {}}"},
    {"collect", "{\"name\": \"n\", \"content\": \"text\", \"because\": \"x\"}"},
    {NULL, NULL}};
static const struct line branch_works[] = {LOCK, NOTE, {NULL, NULL}};
static const struct line branch_raises[] = {NOTE, {"raise", "boom"}, {NULL, NULL}};
static const struct program everything = {all_verbs, {branch_works, branch_raises, branch_works}};

static const json_t *entry_of_step(const char *type, const char *step) {
  size_t i;
  json_t *e;
  json_array_foreach(fake.entries, i, e) if (strcmp(json_str_or(e, "type", ""), type) == 0 &&
                                             strcmp(json_str_or(e, "step", ""), step) == 0) return json_object_get(e, "body");
  return NULL;
}

/* What a run in shadow may leave in a journal, and nothing else. */
static void assert_nothing_done(void) {
  static const char *const allowed[] = {"alert.attached", "run.started",      "run.finished",   "run.would",     "wait.started",
                                        "wait.ended",     "parallel.started", "parallel.ended", "action.refused"};
  const json_t *s = journal_state(fake.journal);
  size_t i;
  json_t *e, *how;
  const char *place;
  json_array_foreach(fake.entries, i, e) {
    const char *type = json_str_or(e, "type", ""), *action = json_str(json_object_get(e, "body"), "action");
    bool fine = strcmp(type, "action.outcome") == 0 && action && strcmp(action, "find") == 0; /* a read is real */
    for (size_t n = 0; n < sizeof allowed / sizeof *allowed; n++) fine |= strcmp(type, allowed[n]) == 0;
    if (!fine) fail_msg("a run in shadow left %s", type);
  }
  json_object_foreach(fake.started, place, how) assert_string_equal(json_string_value(how), "shadow");
  assert_int_equal(json_object_size(json_object_get(s, "containments")), 0);
  assert_int_equal(json_object_size(json_object_get(s, "intents")), 0);
  assert_int_equal(json_object_size(json_object_get(s, "questions")), 0);
  assert_string_equal(json_str_or(s, "severity", ""), "unknown");
  assert_string_equal(json_str_or(s, "status", ""), "open");
  assert_null(json_object_get(s, "owner"));
  assert_int_equal(json_int_or(s, "notes", 0), 0);
}

static void test_every_verb(void **state) {
  begin(&everything);
  finish();
  assert_string_equal(done, "done");
  assert_nothing_done();
  assert_true(json_bool_or(entry_of_step("run.started", ""), "shadow", false));
  assert_true(json_bool_or(json_object_get(json_object_get(journal_state(fake.journal), "runs"), "1"), "shadow", false));
  assert_string_equal(json_str_or(json_object_get(given("1"), "given"), "step", ""), "1"); /* what simulate() said */
  assert_true(json_is_true(json_object_get(given("2"), "given")));
  assert_string_equal(json_string_value(json_object_get(given("4"), "given")), "free");
  assert_int_equal(json_array_size(json_object_get(given("5"), "given")), 3);
  assert_int_equal(json_int_or(json_object_get(given("8"), "given"), "n", 0), 2);
  assert_true(json_bool_or(json_object_get(given("10"), "given"), "released", false));
  assert_false(json_bool_or(given("11"), "ok", true)); /* undone already */
  assert_string_equal(json_str_or(json_object_get(given("12"), "given"), "kind", ""), "refused");
  assert_int_equal(json_array_size(json_object_get(json_object_get(given("13"), "given"), "released")), 2); /* the branches' */
  assert_false(json_bool_or(given("18"), "ok", true));                                                      /* nothing undoes it */
  assert_string_equal(json_str_or(json_object_get(given("19"), "given"), "kind", ""), "invalid");
  assert_string_equal(json_str_or(entry_of_step("run.would", "10"), "undo_of", ""), "1/1");
  assert_string_equal(json_str_or(entry_of_step("run.would", "3"), "severity", ""), "high");
  assert_string_equal(json_str_or(entry_of_step("run.would", "16"), "verb", ""), "close");
  assert_string_equal(json_str_or(entry_of_step("run.would", "4"), "text", ""), "Keep it?");
  assert_int_equal(json_int_or(json_object_get(given("20"), "given"), "size", 0), 4);
  assert_true(json_int_or(json_object_get(given("20"), "given"), "item", 0) > 0);
  assert_string_equal(json_str_or(entry_of_step("run.would", "20"), "name", ""), "n");
  assert_null(json_object_get(entry_of_step("run.would", "20"), "content"));
  json_t *view = run_view(run);
  assert_true(json_bool_or(view, "shadow", false));
  json_decref(view);
}

/* kill -9 after each of its entries: what comes after is in shadow too, nothing is said twice, and it comes to the same end. */
static void test_replay_from_every_entry(void **state) {
  replay_everywhere(&everything);
  assert_nothing_done();
}

static void test_hand_over_calls_nobody(void **state) {
  static const struct line lines[] = {LOCK, {"hand_over", "{\"text\": \"locked out\", \"why\": \"refused: no\"}"}, NOTE, {NULL, NULL}};
  static const struct program p = {lines, {NULL}};
  begin(&p);
  finish();
  assert_string_equal(done, "done");
  assert_string_equal(last_type(), "run.finished");
  const json_t *would = json_object_get(json_object_get(last_entry(), "body"), "would");
  assert_string_equal(json_str_or(would, "text", ""), "locked out");
  assert_string_equal(json_str_or(would, "why", ""), "refused: no");
  assert_nothing_done();
  unload();
  replay_everywhere(&p);
}

/* `shadow` is gone from the installed playbook, and even from what was taken for the pinned one: its run.started has the last word. */
static void test_stays_in_shadow(void **state) {
  begin(&everything);
  finish();
  json_t *entries = json_incref(fake.entries);
  for (size_t count = 2; count < json_array_size(entries); count += 3) {
    unload();
    rebuild(&everything, entries, count);
    json_object_set_new(playbook.json, "shadow", json_false());
    assert_int_equal(take_up(NULL), 0);
    finish();
    assert_string_equal(done, "done");
    assert_nothing_done();
  }
  json_decref(entries);
}

static void test_continues_in_shadow(void **state) {
  static const struct line first[] = {LOCK, {"continue_as", "{\"params\": {\"user\": \"bob\"}}"}, {NULL, NULL}};
  static const struct line second[] = {UNDO("1"), LOCK, {NULL, NULL}};
  static const struct program p = {first, {NULL}}, q = {second, {NULL}};
  begin(&p);
  for (int i = 0; i < 50 && run_number(run) == 1; i++) loop_turn(fake.loop);
  fake.program = &q;
  finish();
  assert_int_equal(run_number(run), 2);
  assert_true(run_shadow(run));
  assert_int_equal(count_type("run.would"), 2);
  assert_int_equal(count_type("action.refused"), 1); /* nothing of the run before it is its own */
  assert_nothing_done();
}

/* A playbook gets what is on record, live as after a restart: no secret that the record does not show. */
static void test_a_read_gives_what_is_on_record(void **state) {
  static const struct line lines[] = {{"action", "{\"connector\": \"ldap\", \"action\": \"find\", \"params\": {}}"}, {NULL, NULL}};
  static const struct program p = {lines, {NULL}};
  struct secrets *secrets = secrets_new();
  struct err err;
  assert_int_equal(secrets_put(secrets, "t", "hunter2-hunter2", 15, &err), 0);
  store.secrets = secrets;
  fake.tells = "hunter2-hunter2";
  begin(&p);
  finish();
  assert_string_equal(json_str_or(json_object_get(entry_of_step("action.outcome", "1"), "returns"), "step", ""), "[secret:t]");
  assert_string_equal(json_str_or(json_object_get(given("1"), "given"), "step", ""), "[secret:t]");
  store.secrets = NULL;
  secrets_free(secrets);
}

static void test_an_unknown_verb_is_refused(void **state) {
  static const struct line lines[] = {{"shell", "{\"command\": \"reboot\"}"}, NOTE, {NULL, NULL}};
  static const struct program p = {lines, {NULL}};
  begin(&p);
  finish();
  assert_string_equal(done, "failed");
  assert_nothing_done();
}

static void test_replay_that_differs(void **state) {
  static const struct line first[] = {LOCK, NOTE, {"ask", "{\"text\": \"?\", \"otherwise\": \"no\", \"within\": 1000}"}, {NULL, NULL}};
  static const struct line others[][4] = {{NOTE, NOTE, {NULL, NULL}},
                                          {LOCK, {"tag", "{\"tag\": \"hello\"}"}, {NULL, NULL}},
                                          {LOCK, {"note", "{\"text\": \"something else\"}"}, {NULL, NULL}},
                                          {LOCK, UNDO("1"), {NULL, NULL}},
                                          {LOCK, NOTE, LOCK, {NULL, NULL}},
                                          {LOCK, NOTE, {NULL, NULL}}};
  static const char *const at[] = {"at step 1", "at step 2", "at step 2", "at step 2", "at step 3", "at step 3"};
  static const struct program p = {first, {NULL}};
  begin(&p);
  finish();
  json_t *entries = json_incref(fake.entries);
  for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
    struct program other = {others[i], {NULL}};
    unload();
    rebuild(&other, entries, json_array_size(entries) - 1);
    assert_int_equal(take_up(NULL), 0);
    finish();
    assert_string_equal(done, "handed_over");
    assert_non_null(strstr(json_str_or(json_object_get(last_entry(), "body"), "text", ""), at[i]));
    assert_int_equal(json_object_size(fake.started), 0);
  }
  json_decref(entries);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, shadow_setup, teardown)
  const struct CMUnitTest tests[] = {
      T(test_every_verb),
      T(test_replay_from_every_entry),
      T(test_hand_over_calls_nobody),
      T(test_stays_in_shadow),
      T(test_continues_in_shadow),
      T(test_an_unknown_verb_is_refused),
      T(test_replay_that_differs),
      T(test_a_read_gives_what_is_on_record),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
