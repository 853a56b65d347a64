/* What a playbook in shadow would have done, against what was done: matched once each, with who and when; everything else is no deed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/json.h"
#include "case_help.h"
#include "exercise/compare.h"

static struct made_case made;
static json_t *report;

static int up(void **state) {
  case_begin(&made);
  report = compare_new("lock-out");
  return 0;
}

static int down(void **state) {
  for (size_t i = 0; i < made.source.count; i++) entry_free(made.entries[i]);
  json_decref(made.names);
  json_decref(report);
  return 0;
}

static void began(unsigned run, const char *playbook, bool shadow, const char *person) {
  json_t *body = json_pack("{s:s, s:{s:s?}}", "playbook", playbook, "trigger", "person", person);
  if (shadow) json_object_set_new(body, "shadow", json_true());
  case_add(&made, KIND_RUN_STARTED, "playbook:x", run, NULL, body);
}

static json_t *lock(const char *user, bool ok) {
  return json_pack("{s:s, s:s, s:s, s:s, s:{s:s}, s:b}", "verb", "action", "connector", "ldap", "action", "lock_account", "effect",
                   "contain", "target", "user", user, "ok", ok);
}

static void would(const char *step, json_t *body_take) { case_add(&made, KIND_RUN_WOULD, "playbook:lock-out", 1, step, body_take); }
static void done(unsigned run, const char *step, json_t *body_take) {
  case_add(&made, KIND_ACTION_OUTCOME, run ? "playbook:x" : "person:7f3a", run, step, body_take);
}

static const json_t *row(size_t i) { return json_array_get(json_object_get(report, "rows"), i); }
static void counts(int same, int not_done, int not_suggested) {
  compare_add(report, made.incident, made.entries, made.source.count);
  assert_int_equal(json_int_or(report, "same", -1), same);
  assert_int_equal(json_int_or(report, "not_done", -1), not_done);
  assert_int_equal(json_int_or(report, "not_suggested", -1), not_suggested);
  assert_int_equal(json_array_size(json_object_get(report, "rows")), same + not_done + not_suggested);
}

static void test_each_way(void **state) {
  began(1, "lock-out", true, NULL);
  would("1", lock("alice", true));
  would("2", lock("bob", true));
  would("3", lock("mallory", false)); /* it would have failed */
  would("4", json_pack("{s:s, s:s}", "verb", "ask", "text", "Keep?"));
  would("5", json_pack("{s:s, s:s}", "verb", "severity", "severity", "high"));
  would("6", json_pack("{s:s, s:s}", "verb", "close", "verdict", "false_positive"));
  case_add(&made, KIND_RUN_FINISHED, "playbook:lock-out", 1, NULL,
           json_pack("{s:s, s:{s:s}}", "status", "done", "would", "verb", "hand_over"));
  began(2, "contain-account", false, "person:7f3a");
  done(2, "1", lock("alice", true));
  done(2, "2", lock("carol", true));
  case_add(&made, KIND_INCIDENT_SEVERITY, "person:7f3a", 0, NULL, json_pack("{s:i}", "severity_id", 4));
  case_add(&made, KIND_INCIDENT_CLOSED, "person:7f3a", 0, NULL, json_pack("{s:s}", "verdict", "true_positive"));
  counts(2, 2, 1);
  assert_int_equal(json_int_or(report, "incidents", 0), 1);
  assert_int_equal(json_int_or(report, "asked", 0), 1);
  assert_int_equal(json_int_or(report, "handed_over", 0), 1);
  assert_string_equal(json_str_or(row(0), "text", ""), "contain ldap.lock_account user=alice");
  assert_string_equal(json_str_or(row(0), "verdict", ""), "same");
  assert_string_equal(json_str_or(row(0), "by", ""), "person:7f3a");
  assert_int_equal(json_int_or(row(0), "after_ms", 0), 8000);
  assert_string_equal(json_str_or(row(0), "step", ""), "1/1");
  assert_string_equal(json_str_or(row(1), "verdict", ""), "not_done");
  assert_string_equal(json_str_or(row(2), "text", ""), "severity high");
  assert_string_equal(json_str_or(row(3), "text", ""), "close false_positive");
  assert_string_equal(json_str_or(row(4), "text", ""), "contain ldap.lock_account user=carol");
  assert_string_equal(json_str_or(row(4), "verdict", ""), "not_suggested");
  const json_t *total = json_array_get(json_object_get(report, "actions"), 0);
  assert_string_equal(json_str_or(total, "text", ""), "contain ldap.lock_account");
  assert_int_equal(json_int_or(total, "same", 0), 1);
  assert_int_equal(json_int_or(total, "not_done", 0), 1);
  assert_int_equal(json_int_or(total, "not_suggested", 0), 1);
}

static void test_one_deed_counts_once(void **state) {
  began(1, "lock-out", true, NULL);
  done(0, "2", lock("alice", true)); /* before it: a person was quicker */
  would("1", lock("alice", true));
  would("2", lock("alice", true));
  counts(1, 1, 0);
  assert_int_equal(json_int_or(row(0), "after_ms", 0), -1000);
  assert_string_equal(json_str_or(row(0), "by", ""), "person:7f3a");
}

static void test_an_undo_is_another_thing(void **state) {
  json_t *undo = lock("alice", true), *undone = lock("alice", true);
  began(1, "lock-out", true, NULL);
  json_object_set_new(undo, "undo_of", json_string("1/1"));
  json_object_set_new(undone, "undo_of", json_string("2/1"));
  would("1", undo);
  done(2, "1", lock("alice", true));
  done(2, "2", undone);
  counts(1, 0, 1);
  assert_string_equal(json_str_or(row(0), "text", ""), "undo: contain ldap.lock_account user=alice");
}

static void test_no_deeds(void **state) {
  json_t *simulated = lock("alice", true), *read = lock("alice", true);
  json_object_set_new(simulated, "simulated", json_true());
  json_object_set_new(read, "effect", json_string("read"));
  began(1, "lock-out", true, NULL);
  would("1", lock("alice", true));
  done(2, "1", simulated);
  done(2, "2", read);
  done(2, "3", lock("alice", false));
  case_add(&made, KIND_ACTION_OUTCOME, "engine", 0, "7", lock("alice", true)); /* the engine's own message to people */
  case_add(&made, KIND_ACTION_OUTCOME, "playbook:x", 2, "9", NULL);            /* its body was removed */
  counts(0, 1, 0);
}

static void test_failed_runs(void **state) {
  began(1, "lock-out", true, NULL);
  case_add(&made, KIND_RUN_FINISHED, "playbook:lock-out", 1, NULL, json_pack("{s:s}", "status", "failed"));
  began(2, "contain-account", false, NULL);
  case_add(&made, KIND_RUN_FINISHED, "playbook:contain-account", 2, NULL, json_pack("{s:s}", "status", "failed"));
  counts(0, 0, 0);
  assert_int_equal(json_int_or(report, "failed", 0), 1);
}

/* Another playbook's shadow, and a run in earnest, are not what is looked at. */
static void test_others_do_not_count(void **state) {
  began(1, "other", true, NULL);
  would("1", lock("alice", true));
  began(2, "lock-out", false, NULL);
  done(2, "1", lock("alice", true));
  counts(0, 0, 0);
  assert_int_equal(json_int_or(report, "incidents", 9), 0);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, up, down)
  const struct CMUnitTest tests[] = {T(test_each_way), T(test_one_deed_counts_once), T(test_an_undo_is_another_thing),
                                     T(test_no_deeds), T(test_failed_runs),          T(test_others_do_not_count)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
