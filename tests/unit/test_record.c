/* From a journal to a playbook's unit test: what is in it, what is left out, and that nothing in it can be more than text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/json.h"
#include "case_help.h"
#include "exercise/pseudonym.h"
#include "exercise/record.h"
#include "script/testfile.h"

static struct made_case made;

static int up(void **state) {
  case_begin(&made);
  return 0;
}

static int down(void **state) {
  for (size_t i = 0; i < made.source.count; i++) entry_free(made.entries[i]);
  json_decref(made.names);
  return 0;
}

static int make(unsigned run, struct buf *out, struct err *err) {
  struct record_source source = {.incident = made.incident, .entries = made.entries, .count = made.source.count, .run = run};
  const char *playbook = NULL;
  buf_init(out, 1 << 20);
  int r = record_test(&source, out, &playbook, err);
  if (r == 0) assert_string_equal(playbook, "contain-account");
  return r;
}

/* Loaded as the engine loads it. */
static json_t *loaded(void) {
  struct buf text;
  struct err err = {0};
  json_t *tests = NULL;
  if (make(0, &text, &err) < 0) fail_msg("%s", err.text);
  if (testfile_load("recorded_test.lua", text.data, text.len, &tests, &err) < 0) fail_msg("%s in %s", err.text, text.data);
  buf_release(&text);
  assert_int_equal(json_object_size(tests), 1);
  json_t *test = json_incref(json_object_get(tests, "as in INC-000042/1"));
  json_decref(tests);
  assert_non_null(test);
  return test;
}

static void begin(void) {
  json_t *alert = case_alert();
  json_object_set_new(alert, "raw", json_string("{\"rule\": {\"id\": 5}}"));
  case_add(&made, KIND_INCIDENT_OPENED, "engine", 0, NULL, json_pack("{s:s}", "title", "Brute <b>force</b>"));
  case_add(&made, KIND_ALERT_ATTACHED, "engine", 0, NULL, alert);
  case_add(&made, KIND_RUN_STARTED, "playbook:contain-account", 1, NULL,
           json_pack("{s:s, s:{s:s}, s:{s:s}}", "playbook", "contain-account", "params", "user", "alice", "settings", "queue", "Security"));
}

static void intended(const char *step, const char *action, json_t *params_take) {
  case_add(&made, KIND_ACTION_INTENDED, "playbook:contain-account", 1, step,
           json_pack("{s:s, s:s, s:o}", "connector", "ldap", "action", action, "params", params_take));
}

static void outcome(const char *step, const char *action, bool ok, json_t *value_take) {
  case_add(&made, KIND_ACTION_OUTCOME, "playbook:contain-account", 1, step,
           json_pack("{s:s, s:s, s:b, s:o}", "connector", "ldap", "action", action, "ok", ok, ok ? "returns" : "failure", value_take));
}

static void handed_over(void) {
  case_add(&made, KIND_RUN_HANDED_OVER, "playbook:contain-account", 1, NULL, json_pack("{s:s}", "text", "look at INC-000042 by hand"));
}

static void test_what_is_in_it(void **state) {
  begin();
  intended("1", "lock_account", json_pack("{s:s, s:s, s:s}", "uid", "alice", "because", "INC-000042", "text", "two\nlines"));
  outcome("1", "lock_account", true, json_pack("{s:b}", "already", 0));
  intended("2", "lock_account", json_pack("{s:s}", "uid", "bob"));
  outcome("2", "lock_account", false, json_pack("{s:s, s:s}", "kind", "denied", "message", "LDAP result 50"));
  outcome("2.0.1", "find_user", true, json_object()); /* a helper of the engine's own */
  case_add(&made, KIND_QUESTION_ASKED, "playbook:contain-account", 1, "3", json_pack("{s:s, s:s}", "kind", "ask", "text", "Keep?"));
  case_add(&made, KIND_QUESTION_EXPIRED, "engine", 1, "3", json_pack("{s:s}", "answer", "keep"));
  case_add(&made, KIND_QUESTION_ASKED, "playbook:contain-account", 1, "4", json_pack("{s:s, s:s}", "kind", "approve", "text", "May it?"));
  case_add(&made, KIND_CONTAINMENT_RELEASED, "playbook:contain-account", 1, "5", json_pack("{s:s}", "of", "1/1"));
  case_add(&made, KIND_INCIDENT_NOTED, "person:7f3a", 0, NULL, json_pack("{s:s}", "text", "a person's note"));
  handed_over();
  json_t *test = loaded(), *expect = json_object_get(test, "expect"), *actions = json_object_get(expect, "actions");
  assert_int_equal(json_array_size(json_object_get(test, "alerts")), 1);
  assert_int_equal(json_integer_value(json_at(json_array_get(json_object_get(test, "alerts"), 0), "raw.rule.id")), 5);
  assert_int_equal(json_array_size(actions), 2);
  assert_string_equal(json_str_or(json_array_get(actions, 0), "action", ""), "ldap.lock_account");
  json_t *params = json_object_get(json_array_get(actions, 0), "params");
  assert_string_equal(json_str_or(params, "uid", ""), "user-1"); /* alice, whom the alert names */
  assert_int_equal(json_object_size(params), 1);                 /* what another incident cannot repeat is not expected */
  json_t *answers = json_object_get(json_object_get(test, "simulate"), "ldap.lock_account");
  assert_int_equal(json_array_size(answers), 2);
  assert_string_equal(json_string_value(json_at(json_array_get(answers, 1), "error.kind")), "denied");
  assert_int_equal(json_array_size(json_object_get(test, "answers")), 1);
  assert_string_equal(json_string_value(json_array_get(json_object_get(test, "answers"), 0)), "(silence)");
  assert_string_equal(json_string_value(json_array_get(json_object_get(expect, "undone"), 0)), "ldap.lock_account");
  assert_int_equal(json_array_size(json_object_get(expect, "notes")), 0);
  assert_string_equal(json_str_or(expect, "status", ""), "handed_over");
  assert_string_equal(json_str_or(expect, "says", ""), "look at ");
  json_decref(test);
}

/* Whatever a stranger wrote stays a text. */
static void test_hostile_texts(void **state) {
  static const char bad[] = "\"}} os.exit() --[[ \\\" ]] \r\x01"
                            "9 \xc3\xa4 \x7f";
  begin();
  json_t *returns = json_object();
  json_object_set_new(returns, bad, json_string(bad));
  intended("1", "lock_account", json_pack("{s:s}", "uid", bad));
  outcome("1", "lock_account", true, returns);
  handed_over();
  json_t *test = loaded();
  json_t *answer = json_array_get(json_object_get(json_object_get(test, "simulate"), "ldap.lock_account"), 0);
  assert_string_equal(json_str_or(answer, bad, ""), bad);
  json_t *action = json_array_get(json_object_get(json_object_get(test, "expect"), "actions"), 0);
  assert_string_equal(json_str_or(json_object_get(action, "params"), "uid", ""), bad);
  json_decref(test);
}

static void test_refused(void **state) {
  struct buf text;
  struct err err;
  begin();
  assert_int_equal(make(0, &text, &err), ERR_CONFLICT); /* it has not ended */
  assert_int_equal(text.len, 0);
  buf_release(&text);
  assert_int_equal(make(7, &text, &err), ERR_NOT_FOUND);
  buf_release(&text);
  static const struct {
    enum kind kind;
    const char *actor, *says;
  } beyond[] = {{KIND_CONTAINMENT_STILL, "playbook:contain-account", "could not lift"},
                {KIND_CONTAINMENT_KEPT, "playbook:contain-account", "another incident"},
                {KIND_RUN_HANDED_OVER, "engine", "by the engine"}};
  for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++) {
    down(state);
    up(state);
    begin();
    case_add(&made, beyond[i].kind, beyond[i].actor, 1, "5", json_pack("{s:s, s:s}", "of", "1/1", "text", "x"));
    handed_over();
    assert_int_equal(make(0, &text, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.text, beyond[i].says));
    buf_release(&text);
  }
}

/* A stranger's journal names no file elsewhere, and puts nothing but a name into the test. */
static void test_strange_names(void **state) {
  static const char *const bad[][2] = {{"../../home/alice/.config/x", "INC-000042"},
                                       {"/etc/cron.d/x", "INC-000042"},
                                       {".hidden", "INC-000042"},
                                       {"contain-account", "INC-1\"] = os.exit(), [\"x"}};
  struct buf text;
  struct err err;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    down(state);
    up(state);
    made.incident = bad[i][1];
    case_add(&made, KIND_RUN_STARTED, "playbook:x", 1, NULL, json_pack("{s:s}", "playbook", bad[i][0]));
    handed_over();
    assert_int_equal(make(0, &text, &err), ERR_INVALID);
    assert_int_equal(text.len, 0);
    buf_release(&text);
  }
}

static void finding(const char *title) {
  json_t *alert = case_alert();
  json_object_set_new(json_object_get(json_object_get(alert, "finding"), "finding_info"), "title", json_string(title));
  case_add(&made, KIND_ALERT_ATTACHED, "engine", 0, NULL, alert);
}

/* A poll's attempts, branches that end in another order than they began, alerts that come meanwhile, changes of the incident. */
static void test_all_that_a_test_can_play(void **state) {
  begin();
  case_add(&made, KIND_WAIT_STARTED, "playbook:contain-account", 1, "1",
           json_pack("{s:s, s:{s:s, s:s}}", "verb", "poll", "poll", "connector", "ldap", "action", "find_user"));
  outcome("1.0.1", "find_user", true, json_pack("{s:b}", "locked", 0));
  outcome("1.0.2", "find_user", true, json_pack("{s:b}", "locked", 1));
  case_add(&made, KIND_WAIT_STARTED, "playbook:contain-account", 1, "2",
           json_pack("{s:s, s:{s:s}}", "verb", "wait_for", "alert", "a", "b"));
  finding("the second");
  case_add(&made, KIND_PARALLEL_STARTED, "playbook:contain-account", 1, "3", json_pack("{s:i}", "count", 2));
  intended("3.1.1", "lock_account", json_pack("{s:s}", "uid", "ann"));
  intended("3.2.1", "lock_account", json_pack("{s:s}", "uid", "bob"));
  outcome("3.2.1", "lock_account", true, json_pack("{s:s}", "of", "bob"));
  outcome("3.1.1", "lock_account", true, json_pack("{s:s}", "of", "ann"));
  case_add(&made, KIND_INCIDENT_SEVERITY, "playbook:contain-account", 1, "4", json_pack("{s:i}", "severity_id", 5));
  case_add(&made, KIND_INCIDENT_CLOSED, "playbook:contain-account", 1, "5", json_pack("{s:s}", "verdict", "true_positive"));
  case_add(&made, KIND_RUN_FINISHED, "playbook:contain-account", 1, NULL, json_pack("{s:s, s:i}", "status", "done", "continued", 2));
  case_add(&made, KIND_RUN_STARTED, "playbook:contain-account", 2, NULL, json_pack("{s:s, s:{}}", "playbook", "contain-account", "params"));
  case_add(&made, KIND_INCIDENT_TAGGED, "playbook:contain-account", 2, "1", json_pack("{s:s}", "tag", "again"));
  case_add(&made, KIND_RUN_FINISHED, "playbook:contain-account", 2, NULL, json_pack("{s:s}", "status", "done"));
  finding("after its end");
  json_t *test = loaded(), *expect = json_object_get(test, "expect"), *simulate = json_object_get(test, "simulate");
  assert_string_equal(json_str_or(test, "begins", ""), "2025-11-23T18:42:03.123456Z");
  json_t *polled = json_object_get(json_object_get(simulate, "ldap.find_user"), "$recorded");
  assert_int_equal(json_array_size(polled), 2);
  json_t *locks = json_object_get(json_object_get(simulate, "ldap.lock_account"), "$recorded"), *lock = json_array_get(locks, 0);
  assert_int_equal(json_array_size(locks), 2);
  assert_string_equal(json_string_value(json_at(lock, "params.uid")), json_string_value(json_at(lock, "answer.of")));
  json_t *actions = json_object_get(expect, "actions"), *later = json_object_get(test, "later");
  assert_int_equal(json_array_size(actions), 2);
  assert_string_equal(json_string_value(json_at(json_array_get(actions, 0), "params.uid")), "ann"); /* in the order of the steps */
  assert_int_equal(json_array_size(later), 1);
  assert_string_equal(json_str_or(json_array_get(later, 0), "after", ""), "5000ms");
  assert_string_equal(json_string_value(json_at(json_array_get(later, 0), "alert.finding_info.title")), "the second");
  assert_string_equal(json_str_or(expect, "severity", ""), "critical");
  assert_string_equal(json_str_or(expect, "closed", ""), "true_positive");
  assert_string_equal(json_str_or(json_object_get(test, "params"), "user", ""), "user-1");
  assert_string_equal(json_string_value(json_array_get(json_object_get(expect, "tags"), 0)), "again");
  assert_string_equal(json_str_or(expect, "status", ""), "done");
  json_decref(test);
}

static void test_of_a_shadow_there_is_none(void **state) {
  struct buf text;
  struct err err;
  case_add(&made, KIND_RUN_STARTED, "playbook:contain-account", 1, NULL,
           json_pack("{s:s, s:b}", "playbook", "contain-account", "shadow", 1));
  case_add(&made, KIND_RUN_FINISHED, "playbook:contain-account", 1, NULL, json_pack("{s:s}", "status", "done"));
  assert_int_equal(make(1, &text, &err), ERR_CONFLICT);
  assert_non_null(strstr(err.text, "in shadow"));
  buf_release(&text);
  assert_int_equal(make(0, &text, &err), ERR_NOT_FOUND);
  buf_release(&text);
}

/* A body that was removed from the evidence is missing, and nothing else. */
static void test_removed_bodies(void **state) {
  begin();
  case_add(&made, KIND_ALERT_ATTACHED, "engine", 0, NULL, NULL);
  case_add(&made, KIND_ACTION_OUTCOME, "playbook:contain-account", 1, "1", NULL);
  case_add(&made, KIND_INCIDENT_NOTED, "playbook:contain-account", 1, "2", NULL);
  handed_over();
  json_decref(loaded());
}

static json_t *renamed(const char *text, const json_t *names) {
  json_t *in = json_pack("{s:[s]}", "alice", text), *out = pseudonyms_put(in, names);
  json_decref(in);
  return out;
}

/* A word is replaced wherever it stands, in whatever case, and nothing else: no part of a word, no account that is nobody's, no member's name. */
static void test_pseudonyms(void **state) {
  static const char *const cases[][2] = {{"alice", "user-1"},
                                         {"Alice's laptop, ALICE@example.org", "user-1's laptop, user-1@example.org"},
                                         {"malice alices", "malice alices"},
                                         {"alice.smith and bob", "user-2 and user-3"},
                                         {"CORP\\bob, arn:aws:iam::1:user/bob", "CORP\\user-3, arn:aws:iam::1:user/user-3"},
                                         {"root and x", "root and x"},
                                         {"", ""}};
  json_t *names = json_object();
  json_t *alerts =
      json_pack("[{s:[{s:i, s:s}, {s:i, s:s}, {s:i, s:s}, {s:i, s:s}, {s:i, s:s}]}, {s:{s:[{s:i, s:s}]}}]", "observables", "type_id", 4,
                "value", "alice", "type_id", 5, "value", "Alice.Smith@example.org", "type_id", 4, "value", "root", "type_id", 4, "value",
                "x", "type_id", 2, "value", "192.0.2.7", "alert", "observables", "type_id", 4, "value", "CORP\\bob");
  assert_non_null(alerts);
  pseudonyms_find(alerts, names);
  assert_int_equal(json_object_size(names), 3);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    json_t *out = renamed(cases[i][0], names);
    assert_string_equal(json_string_value(json_array_get(json_object_get(out, "alice"), 0)), cases[i][1]);
    json_decref(out);
  }
  json_decref(alerts);
  json_decref(names);
}

static void test_names_kept(void **state) {
  struct buf text;
  struct err err = {0};
  const char *playbook;
  begin();
  handed_over();
  struct record_source source = {.incident = made.incident, .entries = made.entries, .count = made.source.count, .names = true};
  buf_init(&text, 1 << 20);
  assert_int_equal(record_test(&source, &text, &playbook, &err), 0);
  assert_non_null(strstr(text.data, "alice"));
  assert_null(strstr(text.data, "user-1"));
  buf_release(&text);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_what_is_in_it, up, down),
                                     cmocka_unit_test_setup_teardown(test_hostile_texts, up, down),
                                     cmocka_unit_test_setup_teardown(test_refused, up, down),
                                     cmocka_unit_test_setup_teardown(test_strange_names, up, down),
                                     cmocka_unit_test_setup_teardown(test_all_that_a_test_can_play, up, down),
                                     cmocka_unit_test_setup_teardown(test_of_a_shadow_there_is_none, up, down),
                                     cmocka_unit_test_setup_teardown(test_removed_bodies, up, down),
                                     cmocka_unit_test(test_pseudonyms),
                                     cmocka_unit_test_setup_teardown(test_names_kept, up, down)};
  return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
