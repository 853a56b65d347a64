/* What stands between an action and its sending: the ceiling, approvals, protected entities, budgets; and the secrets that it makes. */
#include "action_stage.h"

#define HOST "{'host': 'h1', 'because': 'test'}"

/* --- guardrails ---------------------------------------------------------------------------------------------------------------- */

static void test_the_ceiling_asks(void **state) {
  struct result r;
  struct err err;
  guard_is("{}");
  start(&r, "isolate", HOST, (struct how){0});
  UNTIL(questions_count(questions) == 1);
  assert_int_equal(say("vic", "approve", &err), ERR_DENIED);
  assert_int_equal(say("rita", "perhaps", &err), ERR_INVALID);
  assert_int_equal(kinds[KIND_QUESTION_REFUSED], 2);
  NEVER(product.requests, 50);
  answer_with("rita", "approve");
  wait_for(&r);
  assert_true(r.ok);
  start(&r, "isolate", "{'host': 'h2', 'because': 'test'}", (struct how){0});
  answer_with("rita", "refuse");
  wait_for(&r);
  assert_false(r.ok);
  assert_string_equal(r.kind, "refused");
  assert_int_equal(kinds[KIND_ACTION_REFUSED], 1);
  assert_int_equal(product.requests, 1);
  start(&r, "isolate", "{'host': 'h3', 'because': 'test'}", (struct how){.requester = person("rita")->actor}); /* a person's own call */
  wait_for(&r);
  assert_true(r.ok);
}

static void test_two_of_three_without_the_requester(void **state) {
  struct result r;
  struct err err;
  guard_is("{'ceiling': 'destroy', 'approvals': [{'effect': 'contain', 'count': 2}]}");
  start(&r, "isolate", HOST, (struct how){.requester = person("rita")->actor});
  UNTIL(questions_count(questions) == 1);
  assert_int_equal(say("rita", "approve", &err), ERR_DENIED);
  assert_int_equal(say("ron", "approve", &err), 0);
  NEVER(r.done || product.requests, 50);
  assert_int_equal(say("ron", "approve", &err), ERR_DENIED); /* not twice the same */
  assert_int_equal(say("lea", "approve", &err), 0);
  wait_for(&r);
  assert_true(r.ok);
}

static void test_protected(void **state) {
  struct result r;
  struct err err;
  guard_is("{'ceiling': 'destroy', 'protected': [{'type': 'host', 'value': 'DC1', 'reason': 'domain controller'}]}");
  assert_int_equal(try_start(&r, "isolate", "{'host': 'dc1', 'because': 'x'}", (struct how){0}, &err), ERR_DENIED);
  assert_non_null(strstr(err.text, "domain controller"));
  assert_int_equal(try_start(&r, "isolate", "{'host': 'dc1', 'because': 'x'}", (struct how){.requester = person("lea")->actor}, &err),
                   ERR_DENIED);
  start(&r, "is_isolated", "{'host': 'dc1'}", (struct how){0});
  wait_for(&r);
}

static void test_budgets(void **state) {
  struct result r;
  char text[128];
  snprintf(text, sizeof text, "{'ceiling': 'destroy', 'budgets': [{'effect': 'contain', 'most': 2, 'within': %d}]}", 600000);
  guard_is(text);
  ask(loop, redis_link, "DEL tocsin:budget:live:0:all");
  for (int i = 0; i < 2; i++) {
    start(&r, "isolate", "{'host': 'h1', 'because': 'x'}", (struct how){0});
    wait_for(&r);
    assert_true(r.ok);
  }
  start(&r, "isolate", "{'host': 'h3', 'because': 'x'}", (struct how){0});
  UNTIL(questions_count(questions) == 1);
  assert_int_equal(product.requests, 2);
  assert_string_equal(json_str_or(bodies[KIND_QUESTION_ASKED], "kind", ""), "budget");
  answer_with("rita", "refuse");
  wait_for(&r);
  assert_false(r.ok);
  start(&r, "isolate", "{'host': 'h3', 'because': 'x'}", (struct how){0});
  answer_with("rita", "proceed");
  wait_for(&r);
  assert_true(r.ok);
  assert_int_equal(product.requests, 3);
  start(&r, "isolate", "{'host': 'h4', 'because': 'x'}", (struct how){.simulated = true}); /* a rehearsal has a purse of its own */
  wait_for(&r);
  assert_true(r.ok);
}

static int64_t passed, wrong_by; /* µs; wrong_by: as much as somebody has set the wall clock */
static int64_t wrong_wall(const struct clock *clock) { return clock_wall(clock_system()) + passed + wrong_by; }
static int64_t passed_boot(const struct clock *clock) { return clock_boot(clock_system()) + passed; }

/* 0: the budget is spent, and a person would be asked. */
static bool affords(const char *host) {
  struct result r;
  char params[64];
  snprintf(params, sizeof params, "{'host': '%s', 'because': 'x'}", host);
  start(&r, "isolate", params, (struct how){0});
  UNTIL(r.done || questions_count(questions) == 1);
  if (questions_count(questions)) answer_with("rita", "refuse");
  wait_for(&r);
  return r.ok;
}

/* Ten minutes are ten minutes, whatever the clock on the wall says meanwhile. */
static void test_budgets_of_a_clock_that_is_set(void **state) {
  static const struct clock clock = {.wall = wrong_wall, .boot = passed_boot};
  const int64_t minute = 60000000;
  guard_is("{'ceiling': 'destroy', 'budgets': [{'effect': 'contain', 'most': 1, 'within': 600000}]}");
  ask(loop, redis_link, "DEL tocsin:budget:live:0:all");
  store.clock = &clock;
  passed = wrong_by = 0;
  assert_true(affords("h1"));
  wrong_by = 60 * minute;
  assert_false(affords("h2"));
  wrong_by = -60 * minute;
  assert_false(affords("h3"));
  passed = 11 * minute;
  assert_true(affords("h4"));
  wrong_by = 0;
  assert_false(affords("h5"));
  store.clock = clock_system();
}

static void test_mistakes_of_the_caller(void **state) {
  static const char *const wrong[][2] = {{"isolate", "{'host': 'h1'}"},
                                         {"isolate", "{'because': 'x'}"},
                                         {"isolate", "{'host': 7, 'because': 'x'}"},
                                         {"isolat", HOST},
                                         {"isolate", "{'host': 'h', 'because': 'x', 'lift_after': 'soon'}"},
                                         {"rotate", "{'role': 'r', 'password': 'mine-is-better', 'because': 'x'}"}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    struct result r;
    struct err err;
    int code = try_start(&r, wrong[i][0], wrong[i][1], (struct how){0}, &err);
    assert_true(code == ERR_INVALID || code == ERR_NOT_FOUND);
    assert_true(err.text[0]);
  }
  assert_int_equal(journal_seq(journal), 0);
}

/* Messages of the engine itself to people ask nobody, whatever happens to them. */
static void test_notifications_ask_nobody(void **state) {
  struct result r;
  guard_is("{'ceiling': 'read', 'approvals': [{'effect': 'notify', 'count': 1}]}");
  start(&r, "say", "{'text': 'a question waits'}", (struct how){.engine = true});
  wait_for(&r);
  if (!r.ok) fail_msg("%s: %s", r.kind, r.message);
  product.script = "s";
  start(&r, "say", "{'text': 'a question waits'}", (struct how){.engine = true});
  wait_for(&r);
  assert_false(r.ok);
  assert_int_equal(kinds[KIND_QUESTION_ASKED], 0);
  assert_int_equal(json_object_size(state_part("intents")), 0);
}

/* --- shadow ------------------------------------------------------------------------------------------------------------------------ */

/* Under the strictest guard, with every brake pulled, with a journal that claims an intent: nothing leaves, nobody is asked, nothing is counted. */
static void test_a_shadow_sends_nothing(void **state) {
  char url[128];
  snprintf(url, sizeof url, "{'url': 'http://127.0.0.1:%d/own'}", product.port);
  const char *const tries[][2] = {{"isolate", HOST},
                                  {"isolate_again", HOST},
                                  {"isolate_probe", HOST},
                                  {"revoke", HOST},
                                  {"free", HOST},
                                  {"say", "{'text': 'hello'}"},
                                  {"isolate_found", HOST},
                                  {"hook", url},
                                  {"rotate", "{'role': 'r', 'because': 'x'}"},
                                  {"isolate", "{'host': 'h1', 'because': 'x', 'lift_after': '1s'}"}};
  json_t *past = json_of("[{'type': 'action.intended', 'seq': 1, 'body': {'attempt': 1, 'request': {'http': {}}, 'digest': 'x'}}]");
  struct result r;
  struct err err;
  char key[64];
  unsigned reads = 0;
  guard_is("{'budgets': [{'effect': 'contain', 'most': 0, 'within': 600000}], 'approvals': [{'effect': 'record', 'count': 2}]}");
  assert_int_equal(actions_pause(actions, "all", "person:x", "stop", NULL, NULL, &err), 0);
  for (size_t i = 0; i < 2 * sizeof tries / sizeof *tries; i++) {
    const char *const *t = tries[i / 2];
    start(&r, t[0], t[1], (struct how){.shadow = true, .history = i % 2 ? past : NULL});
    wait_for(&r);
    assert_true(r.ok);
    assert_string_equal(r.status, "");
    reads += strcmp(t[0], "isolate_found") == 0 && !(i % 2); /* the search before it is a read: a real one; what was rendered needs none */
    assert_int_equal(product.requests, reads);
    assert_int_equal(kinds[KIND_RUN_WOULD], i + 1);
    assert_string_equal(json_str_or(bodies[KIND_RUN_WOULD], "action", ""), t[0]);
    assert_non_null(json_object_get(json_object_get(bodies[KIND_RUN_WOULD], "request"), "http"));
  }
  json_decref(past);
  NEVER(product.requests > reads || questions_count(questions), 100);
  assert_int_equal(kinds[KIND_ACTION_INTENDED] + kinds[KIND_ACTION_HELD] + kinds[KIND_QUESTION_ASKED] + kinds[KIND_SECRET_SEALED] +
                       kinds[KIND_ACTION_IN_DOUBT] + kinds[KIND_SECRET_DELIVERED],
                   0);
  json_t *contained = actions_contained(actions);
  assert_int_equal(json_array_size(contained), 0);
  json_decref(contained);
  assert_int_equal(json_object_size(state_part("containments")) + json_object_size(state_part("intents")), 0);
  assert_int_equal(actions_attended(actions), 0);
  snprintf(key, sizeof key, "EXISTS tocsin:{%s}:sealed", journal_incident(journal));
  assert_string_equal(ask(loop, redis_link, "%s", key), "0");
  start(&r, "is_isolated", "{'host': 'h1'}", (struct how){.shadow = true}); /* a read is a read */
  wait_for(&r);
  assert_true(r.ok);
  assert_int_equal(product.requests, reads + 1);
}

static void test_a_shadow_says_what(void **state) {
  struct result r;
  struct err err;
  guard_is("{}");
  start(&r, "isolate", HOST, (struct how){.shadow = true});
  wait_for(&r);
  json_t *would = json_incref(bodies[KIND_RUN_WOULD]);
  assert_string_equal(json_string_value(json_at(would, "request.http.method")), "PUT");
  assert_string_equal(json_string_value(json_at(would, "target.host")), "h1");
  assert_int_equal(json_integer_value(json_at(would, "approval.count")), 1);
  assert_true(json_is_false(json_at(would, "returns.already")));
  struct action_spec spec = {.journal = journal, .run = 1, .step = "77", .actor = "playbook:test", .playbook = "test"};
  memset(&r, 0, sizeof r);
  assert_int_equal(action_would_undo(actions, &spec, "1/1", would, on_outcome, &r, &r.action, &err), 0);
  wait_for(&r);
  assert_true(r.ok);
  assert_string_equal(json_str_or(bodies[KIND_RUN_WOULD], "verb", ""), "undo");
  assert_string_equal(json_str_or(bodies[KIND_RUN_WOULD], "undo_of", ""), "1/1");
  assert_string_equal(json_string_value(json_at(bodies[KIND_RUN_WOULD], "request.http.method")), "DELETE");
  json_object_set_new(would, "action", json_string("revoke"));
  assert_int_equal(action_would_undo(actions, &spec, "1/1", would, on_outcome, &r, &r.action, &err), ERR_DENIED);
  assert_non_null(strstr(err.text, "Give out a new one."));
  json_decref(would);
  assert_int_equal(secrets_put(secrets, "known", "a-secret-nobody-reads", 21, &err), 0);
  start(&r, "say", "{'text': 'it is a-secret-nobody-reads'}", (struct how){.shadow = true});
  wait_for(&r);
  char *text = json_text(bodies[KIND_RUN_WOULD]);
  assert_null(strstr(text, "nobody-reads"));
  assert_non_null(strstr(text, "it is "));
  free(text);
  assert_int_equal(product.requests, 0);
  guard_is("{'protected': [{'type': 'host', 'value': 'h1', 'reason': 'ours'}]}");
  assert_int_equal(try_start(&r, "isolate", HOST, (struct how){.shadow = true}, &err), ERR_DENIED);
}

/* --- secrets --------------------------------------------------------------------------------------------------------------------- */

static void read_line(const char *path, char *out, size_t size) {
  FILE *f = fopen(path, "r");
  out[0] = 0;
  if (!f) return;
  if (!fgets(out, (int)size, f)) out[0] = 0;
  fclose(f);
  out[strcspn(out, "\n")] = 0;
}

static void test_a_new_password(void **state) {
  struct result r;
  char file[128], previous[140], old[64], new[64];
  snprintf(file, sizeof file, "%s/app.password", server.folder);
  snprintf(previous, sizeof previous, "%s.previous", file);
  FILE *f = fopen(file, "w");
  fputs("the-old-password\n", f);
  fclose(f);
  registry_make(product.port, file);
  actions_set_registry(actions, registry);
  kill(server.pid, SIGSTOP);
  start(&r, "rotate", "{'role': 'app', 'because': 'leaked'}", (struct how){0});
  NEVER(product.requests || kinds[KIND_ACTION_INTENDED], 200); /* not even the intent before the seal */
  read_line(file, old, sizeof old);
  assert_string_equal(old, "the-old-password");
  kill(server.pid, SIGCONT);
  product.script = "so";
  UNTIL(product.requests == 1);
  read_line(file, new, sizeof new);
  assert_int_equal(strlen(new), 32);
  assert_non_null(strstr(product.body[0], new)); /* delivered before the old one died */
  read_line(previous, old, sizeof old);
  assert_string_equal(old, "the-old-password"); /* and kept until it is known */
  answer_with("rita", "not done");
  wait_for(&r);
  assert_true(r.ok);
  assert_non_null(strstr(product.body[1], new)); /* the same one */
  assert_int_equal(access(previous, F_OK), -1);
  const char *text = ask(loop, redis_link, "XRANGE tocsin:{%s}:journal - +", journal_incident(journal));
  assert_null(strstr(text, new));
  assert_null(strstr(ask(loop, redis_link, "HGETALL tocsin:{%s}:sealed", journal_incident(journal)), new));
  assert_int_equal(kinds[KIND_SECRET_SEALED], 1);
  actions_orphan(actions, NULL);
  registry_make(product.port, NULL);
  actions_set_registry(actions, registry);
}

/* Held by a brake between delivery and intent, and refused by the product in the end: the old secret is put back. */
static void test_the_old_password_comes_back(void **state) {
  struct result r;
  struct err err;
  char file[128], text[64];
  snprintf(file, sizeof file, "%s/db.password", server.folder);
  FILE *f = fopen(file, "w");
  fputs("the-old-password\n", f);
  fclose(f);
  registry_make(product.port, file);
  actions_set_registry(actions, registry);
  kill(server.pid, SIGSTOP);
  start(&r, "rotate", "{'role': 'app', 'because': 'leaked'}", (struct how){0});
  NEVER(product.requests, 20);
  assert_int_equal(actions_pause(actions, "edr", "person:x", "wait", NULL, NULL, &err), 0); /* while the seal is on its way */
  kill(server.pid, SIGCONT);
  UNTIL(kinds[KIND_ACTION_HELD] == 1);
  assert_int_equal(product.requests, 0);
  product.script = "rrr"; /* "it did nothing", as often as it is asked */
  assert_int_equal(actions_resume(actions, "edr", NULL, NULL, &err), 0);
  wait_for(&r);
  assert_false(r.ok);
  read_line(file, text, sizeof text);
  assert_string_equal(text, "the-old-password");
  actions_orphan(actions, NULL);
  registry_make(product.port, NULL);
  actions_set_registry(actions, registry);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, test_up, test_down)
  const struct CMUnitTest tests[] = {
      TEST(test_the_ceiling_asks),
      TEST(test_two_of_three_without_the_requester),
      TEST(test_protected),
      TEST(test_budgets),
      TEST(test_budgets_of_a_clock_that_is_set),
      TEST(test_mistakes_of_the_caller),
      TEST(test_notifications_ask_nobody),
      TEST(test_a_shadow_sends_nothing),
      TEST(test_a_shadow_says_what),
      TEST(test_a_new_password),
      TEST(test_the_old_password_comes_back),
  };
  return cmocka_run_group_tests_name("guard", tests, stage_up, stage_down);
}
