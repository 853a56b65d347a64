/* An exercise's incident (EX-…) reaches nothing, however it is asked; and meets the guardrails of earnest. */
#include "action_stage.h"

#include "base/id.h"

#define HOST "{'host': 'h1', 'because': 'test'}"

static uint64_t sent;

static int exercise_up(void **state) {
  char id[ID_INCIDENT];
  test_up(state);
  journal_free(journal);
  id_incident(id, MODE_EXERCISE, ++incidents);
  journal = journal_new(&store, id);
  journal_watch(journal, on_entry, NULL);
  sent = transports_sent(transports);
  return 0;
}

/* After every test: the product heard nothing. */
static int exercise_down(void **state) {
  unsigned heard = product.requests;
  bool left = transports_sent(transports) != sent;
  test_down(state);
  return heard || left;
}

static void test_only_the_id_decides(void **state) {
  assert_true(id_exercise("EX-000042"));
  assert_false(id_exercise("INC-000042"));
  assert_false(id_exercise("ex-000042")); /* the engine writes it so and not otherwise */
  assert_false(id_exercise("EX"));
  assert_false(id_exercise(NULL));
}

/* Nobody says "simulated": the incident's id is enough, for every action and on every way to one. */
static void test_every_action(void **state) {
  static const char *const actions_of[] = {"isolate", "isolate_again", "isolate_probe", "revoke", "free", "is_isolated"};
  struct result r;
  for (size_t i = 0; i < sizeof actions_of / sizeof *actions_of; i++) {
    start(&r, actions_of[i], strcmp(actions_of[i], "is_isolated") == 0 ? "{'host': 'h1'}" : HOST, (struct how){0});
    wait_for(&r);
    assert_true(r.ok);
  }
  start(&r, "say", "{'text': 'hello'}", (struct how){.engine = true}); /* the engine's own message to people */
  wait_for(&r);
  assert_true(r.ok);
  start(&r, "rotate", "{'role': 'app', 'because': 'test'}", (struct how){.requester = person("rita")->actor});
  wait_for(&r);
  assert_true(r.ok);
}

static void test_the_request_is_on_record(void **state) {
  struct result r;
  start(&r, "isolate", HOST, (struct how){0});
  wait_for(&r);
  const json_t *http = json_object_get(json_object_get(bodies[KIND_ACTION_INTENDED], "request"), "http");
  assert_string_equal(json_str_or(http, "method", ""), "PUT");
  assert_true(json_bool_or(bodies[KIND_ACTION_INTENDED], "simulated", false));
}

static void test_undo(void **state) {
  struct result r;
  struct err err;
  start(&r, "isolate", HOST, (struct how){0});
  wait_for(&r);
  memset(&r, 0, sizeof r);
  struct action_spec spec = {.journal = journal, .run = 2, .step = "1", .actor = "engine", .requester = person("rita")->actor};
  if (action_release(actions, &spec, "1/1", on_outcome, &r, NULL, &err) < 0) fail_msg("%s", err.text);
  wait_for(&r);
  assert_true(r.ok);
  assert_int_equal(kinds[KIND_CONTAINMENT_RELEASED], 1);
}

/* After a kill -9 between intent and outcome: the key sends again, the probe asks, and both only seemingly. */
static void test_taken_up(void **state) {
  static const char *const all[] = {"isolate_again", "isolate_probe"};
  struct result r;
  for (size_t i = 0; i < 2; i++) {
    json_t *past = json_of("[{'type': 'action.intended', 'body': {'attempt': 1, 'request': {'http': {'method': 'PUT', 'url': "
                           "'http://127.0.0.1:%d/'}}}}]",
                           product.port);
    start(&r, all[i], HOST, (struct how){.history = past});
    json_decref(past);
    UNTIL(r.done || questions_count(questions) == 1);
    if (!r.done) answer_with("rita", "done");
    wait_for(&r);
  }
}

static void test_reload_in_the_middle(void **state) {
  struct result r;
  struct registry *old = registry;
  guard_is("{'ceiling': 'notify'}");
  start(&r, "isolate", HOST, (struct how){0});
  UNTIL(questions_count(questions) == 1);
  registry = NULL;
  registry_make(product.port, NULL);
  actions_set_registry(actions, registry);
  answer_with("rita", "approve");
  wait_for(&r);
  assert_true(r.ok);
  start(&r, "isolate", "{'host': 'h2', 'because': 'test'}", (struct how){.requester = person("rita")->actor});
  wait_for(&r);
  assert_true(r.ok);
  actions_orphan(actions, NULL);
  registry_free(old);
}

static void test_guardrails_of_earnest(void **state) {
  struct result r;
  struct err err;
  guard_is("{'protected': [{'type': 'host', 'value': 'dc1'}], 'budgets': [{'effect': 'contain', 'most': 1, 'within': 600000}]}");
  assert_int_equal(try_start(&r, "isolate", "{'host': 'dc1', 'because': 'x'}", (struct how){0}, &err), ERR_DENIED);
  start(&r, "isolate", HOST, (struct how){0});
  answer_with("rita", "approve"); /* what an alert alone may not cause is asked in an exercise too */
  wait_for(&r);
  assert_true(r.ok);
}

/* A back-test or a playbook's test is no exercise: nobody is there to be asked. */
static void test_a_dry_run_asks_nobody(void **state) {
  struct result r;
  guard_is("{}");
  start(&r, "isolate", HOST, (struct how){.simulated = true});
  wait_for(&r);
  assert_true(r.ok);
}

static void in_incident(struct result *r, const char *id, const char *action, bool asked) {
  struct journal *before = journal, *other = journal_new(&store, id);
  journal = other;
  start(r, action, HOST, (struct how){0});
  if (asked) answer_with("rita", "refuse");
  wait_for(r);
  journal = before;
  actions_orphan(actions, other);
  for (int i = 0; i < 50; i++) loop_turn(loop);
  questions_forget(questions, other);
  journal_free(other);
}

/* Of a budget of one, each exercise and the live incidents have one each. */
static void test_budgets_apart(void **state) {
  struct result r;
  guard_is("{'ceiling': 'destroy', 'budgets': [{'effect': 'contain', 'most': 1, 'within': 600000}]}");
  ask(loop, redis_link, "DEL tocsin:budget:live:0:all");
  in_incident(&r, "EX-800001", "isolate", false);
  in_incident(&r, "EX-800002", "isolate", false);
  assert_true(r.ok);
  start(&r, "isolate", HOST, (struct how){0});
  wait_for(&r);
  assert_true(r.ok);
  assert_int_equal(product.requests, 1);
  in_incident(&r, "INC-800003", "isolate", true);
  assert_false(r.ok);
}

/* One host, contained by two exercises and in earnest: each lets go of its own, and only the real one is sent. */
static void test_ledgers_apart(void **state) {
  struct result r;
  struct err err;
  struct journal *live = journal, *exercises[2] = {journal_new(&store, "EX-800004"), journal_new(&store, "EX-800005")};
  start(&r, "isolate", HOST, (struct how){0});
  wait_for(&r);
  for (int i = 0; i < 2; i++) {
    journal = exercises[i];
    steps = 0;
    start(&r, "isolate", HOST, (struct how){0});
    wait_for(&r);
  }
  for (int i = 0; i < 2; i++) {
    memset(&r, 0, sizeof r);
    struct action_spec spec = {.journal = exercises[i], .run = 2, .step = "1", .actor = "engine", .requester = person("rita")->actor};
    if (action_release(actions, &spec, "1/1", on_outcome, &r, NULL, &err) < 0) fail_msg("%s", err.text);
    wait_for(&r);
    assert_true(r.ok);
    const json_t *c = json_object_get(json_object_get(journal_state(exercises[i]), "containments"), "1/1");
    assert_string_equal(json_str_or(c, "status", ""), "released"); /* not "another incident still holds it" */
    assert_int_equal(product.requests, 1);
  }
  journal = live;
  assert_string_equal(json_str_or(json_object_get(state_part("containments"), "1/1"), "status", ""), "active");
  actions_orphan(actions, NULL);
  for (int i = 0; i < 50; i++) loop_turn(loop);
  for (int i = 0; i < 2; i++) journal_free(exercises[i]);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, exercise_up, exercise_down)
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_only_the_id_decides),
      TEST(test_every_action),
      TEST(test_the_request_is_on_record),
      TEST(test_undo),
      TEST(test_taken_up),
      TEST(test_reload_in_the_middle),
      TEST(test_guardrails_of_earnest),
      cmocka_unit_test_setup_teardown(test_budgets_apart, test_up, test_down),
      cmocka_unit_test_setup_teardown(test_ledgers_apart, test_up, test_down),
      cmocka_unit_test_setup_teardown(test_a_dry_run_asks_nobody, test_up, test_down),
  };
  return cmocka_run_group_tests_name("exercise", tests, stage_up, stage_down);
}
