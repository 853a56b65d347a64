/* Back-tests: which alerts count, what real outcomes change, what guardrails say, and what differs between two versions. Needs a redis-server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "case_help.h"
#include "exercise/backtest.h"

enum { MINUTE = 60 };
static const int64_t BEGAN = 1772359200000000; /* 2026-03-01T10:00:00Z */

static json_t *alert(const char *id, int64_t minute, const char *user, const char *technique) {
  json_t *finding = json_pack("{s:i, s:I, s:{s:s, s:[{s:{s:s}}]}, s:{s:{s:s}}, s:{s:s}}", "severity_id", 4, "time",
                              (json_int_t)(BEGAN / 1000 + minute * MINUTE * 1000), "finding_info", "title", "Account misuse", "attacks",
                              "technique", "uid", technique, "actor", "user", "name", user, "src_endpoint", "ip", "203.0.113.9");
  return json_pack("{s:s, s:I, s:o, s:{}}", "id", id, "time", (json_int_t)(BEGAN + minute * MINUTE * 1000000), "finding", finding, "raw");
}

static json_t *past(void) {
  return json_pack("[o, o, o, o, o, o, o]", alert("a:4", 200, "alice", "T1078"), alert("a:1", 0, "alice", "T1078"),
                   alert("a:2", 5, "alice", "T1078"), alert("a:2", 6, "alice", "T1078"), alert("a:3", 7, "bob", "T1078"),
                   alert("a:5", 8, "carol", "T1490"), alert("a:6", 9, "deploy-bot", "T1078"));
}

static json_t *settings(void) {
  return json_pack("{s:{s:s, s:[{s:s, s:s, s:s}]}, s:[{s:s, s:{s:s}, s:s, s:s, s:s}]}", "guard", "ceiling", "notify", "protected", "type",
                   "user", "value", "bob", "reason", "break-glass", "suppress", "name", "deploys", "when", "actor.user.name", "deploy-bot",
                   "reason", "deploy window", "owner", "ops", "expires", "2099-01-01");
}

static struct lists *lists;

static json_t *played_by(unsigned processes, const char *playbook, json_t *settings_take, const json_t *alerts, const json_t *recorded) {
  json_t *report = NULL;
  struct err err = {0};
  struct backtest spec = {.playbook = playbook,
                          .connectors = "connectors",
                          .settings = settings_take,
                          .lists = lists,
                          .alerts = alerts,
                          .recorded = recorded,
                          .processes = processes};
  if (backtest(&spec, &report, &err) < 0) fail_msg("%s", err.text);
  json_decref(settings_take);
  return report;
}

static json_t *tested_on(const char *playbook, const json_t *alerts, const json_t *recorded) {
  return played_by(1, playbook, settings(), alerts, recorded);
}

static int64_t times(const json_t *report, const char *list, const char *begins) {
  size_t i;
  json_t *row;
  json_array_foreach(json_object_get(report, list), i,
                     row) if (strncmp(json_str_or(row, "text", ""), begins, strlen(begins)) == 0) return json_int_or(row, "times", 0);
  return 0;
}

static void test_numbers(void **state) {
  json_t *alerts = past(), *report = tested_on("playbooks/contain-account.lua", alerts, NULL);
  static const struct {
    const char *name;
    int64_t is;
  } numbers[] = {{"alerts", 7}, {"duplicates", 1}, {"suppressed", 1}, {"unwanted", 1}, {"attached", 4}, {"incidents", 3}};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    if (json_int_or(report, numbers[i].name, -1) != numbers[i].is)
      fail_msg("%s: %lld", numbers[i].name, (long long)json_int_or(report, numbers[i].name, -1));
  assert_int_equal(times(report, "actions", "contain ldap.lock_account user=alice"), 2); /* within the window one, after it another */
  assert_int_equal(times(report, "actions", "contain ldap.lock_account user=bob"), 0);
  assert_int_equal(times(report, "guardrails", "refused: ldap.lock_account: user bob is protected (break-glass)"), 1);
  assert_int_equal(times(report, "guardrails", "May contain-account run ldap.lock_account on {\"user\":\"alice\"}"), 2);
  assert_int_equal(times(report, "questions", "Keep alice"), 2);
  assert_true(json_number_value(json_object_get(json_object_get(report, "minutes"), "most")) >= 30);
  json_decref(report);
  json_decref(alerts);
}

/* In INC-000007 the directory refused: so it does again. */
static void test_real_outcomes(void **state) {
  json_t *alerts = json_pack("[o]", alert("a:1", 0, "alice", "T1078"));
  json_object_set_new(json_array_get(alerts, 0), "incident", json_string("INC-000007"));
  json_t *recorded = json_pack("{s:{s:[{s:{s:s}, s:{s:{s:s, s:s, s:b}}}]}}", "INC-000007", "ldap.lock_account", "params", "uid", "alice",
                               "answer", "error", "kind", "refused", "message", "insufficient access", "retry", 0);
  json_t *as_then = tested_on("playbooks/contain-account.lua", alerts, recorded),
         *simulated = tested_on("playbooks/contain-account.lua", alerts, NULL);
  assert_int_equal(json_int_or(json_object_get(as_then, "runs"), "handed_over", 0), 1);
  assert_int_equal(json_int_or(json_object_get(simulated, "runs"), "done", 0), 1);
  json_decref(as_then);
  json_decref(simulated);
  json_decref(recorded);
  json_decref(alerts);
}

static void test_from_a_journal(void **state) {
  struct made_case c;
  json_t *alerts = json_array(), *recorded = json_object();
  case_fill(&c, false);
  backtest_read(c.incident, c.entries, c.source.count, alerts, recorded);
  assert_int_equal(json_array_size(alerts), 1);
  assert_string_equal(json_str(json_array_get(alerts, 0), "id"), "wazuh:7");
  assert_int_equal(json_array_size(json_object_get(json_object_get(recorded, c.incident), "ldap.lock_account")), 1);
  json_decref(alerts);
  json_decref(recorded);
  case_free(&c);
}

static void edited(const char *from, const char *to, const char *what, const char *with) {
  char text[1 << 16];
  FILE *f = fopen(from, "r");
  assert_non_null(f);
  size_t n = fread(text, 1, sizeof text - 1, f);
  fclose(f);
  text[n] = '\0';
  char *at = strstr(text, what);
  assert_non_null(at);
  f = fopen(to, "w");
  assert_non_null(f);
  fprintf(f, "%.*s%s%s", (int)(at - text), text, with, at + strlen(what));
  fclose(f);
}

static void test_two_versions(void **state) {
  char folder[] = "/tmp/tocsin-backtest-XXXXXX", path[128];
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/contain-account.lua", folder);
  edited("playbooks/contain-account.lua", path, "default = \"Security\"", "default = \"Incidents\"");
  json_t *alerts = past(), *old = tested_on("playbooks/contain-account.lua", alerts, NULL), *new = tested_on(path, alerts, NULL),
         *same = backtest_compare(old, old), *changed = backtest_compare(old, new);
  assert_int_equal(json_array_size(json_object_get(same, "different")), 0);
  assert_int_equal(json_int_or(same, "same", 0), 3);
  assert_int_equal(json_array_size(json_object_get(changed, "different")), 3);
  const json_t *one = json_array_get(json_object_get(changed, "different"), 0);
  assert_string_equal(json_string_value(json_array_get(json_object_get(one, "before"), 0)), "record rt.create_ticket queue=Security");
  assert_string_equal(json_string_value(json_array_get(json_object_get(one, "after"), 0)), "record rt.create_ticket queue=Incidents");
  assert_int_equal(json_array_size(json_object_get(one, "after")), 1);
  assert_int_equal(json_array_size(json_object_get(changed, "actions")), 2);
  json_decref(same);
  json_decref(changed);
  json_decref(old);
  json_decref(new);
  json_decref(alerts);
  unlink(path);
  rmdir(folder);
}

/* Chance, several alerts to an incident, incidents that overlap in time, some of them refused: the same to the letter, whoever played which. */
static void test_by_several_processes(void **state) {
  char folder[] = "/tmp/tocsin-backtest-XXXXXX", path[128];
  json_t *alerts = json_array(), *reports[3];
  static const unsigned processes[] = {1, 3, 2};
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/contain-account.lua", folder);
  edited("playbooks/contain-account.lua", path, "run = function(incident, act, p, settings)",
         "run = function(incident, act, p, settings)\n  incident:ask { incident.id .. random(1000000), options = { 'a' }, within = '1m', "
         "otherwise = "
         "'a' }\n");
  for (int i = 0; i < 120; i++) {
    char id[16], user[16];
    snprintf(id, sizeof id, "a:%d", i);
    snprintf(user, sizeof user, i % 10 ? "user%d" : "bob", (i * 7) % 50);
    json_array_append_new(alerts, alert(id, (i * 37) % 100, user, i % 9 ? "T1078" : "T1490"));
  }
  for (size_t i = 0; i < 3; i++) reports[i] = played_by(processes[i], path, settings(), alerts, NULL);
  assert_true(json_int_or(reports[0], "incidents", 0) > 40);
  assert_true(json_int_or(reports[0], "attached", 0) > json_int_or(reports[0], "incidents", 0));
  for (size_t i = 1; i < 3; i++) {
    char *one = json_dumps(reports[0], JSON_SORT_KEYS), *many = json_dumps(reports[i], JSON_SORT_KEYS);
    assert_string_equal(one, many);
    free(one);
    free(many);
  }
  for (size_t i = 0; i < 3; i++) json_decref(reports[i]);
  json_decref(alerts);
  unlink(path);
  rmdir(folder);
}

/* A budget looks across incidents: of 40 accounts in ten minutes five are locked without being asked about, however many processes there may be. */
static void test_budgets_look_across(void **state) {
  json_t *alerts = json_array();
  for (int i = 0; i < 40; i++) {
    char id[16], user[16];
    snprintf(id, sizeof id, "a:%d", i);
    snprintf(user, sizeof user, "user%d", i);
    json_array_append_new(alerts, alert(id, 0, user, "T1078"));
  }
  json_t *guard = json_pack("{s:{s:s, s:[{s:s, s:i, s:i}]}}", "guard", "ceiling", "destroy", "budgets", "effect", "contain", "most", 5,
                            "within", 600000);
  json_t *report = played_by(4, "playbooks/contain-account.lua", guard, alerts, NULL);
  size_t i;
  int64_t hit = 0;
  json_t *row;
  json_array_foreach(json_object_get(report, "guardrails"), i, row) hit += json_int_or(row, "times", 0);
  assert_int_equal(hit, 35);
  json_decref(report);
  json_decref(alerts);
}

static void test_by_hand_only(void **state) {
  struct err err = {0};
  json_t *report = NULL, *alerts = past();
  struct backtest spec = {.playbook = "playbooks/release.lua", .connectors = "connectors", .lists = lists, .alerts = alerts};
  assert_true(backtest(&spec, &report, &err) < 0);
  assert_non_null(strstr(err.text, "starts only by hand"));
  json_decref(alerts);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_numbers),      cmocka_unit_test(test_real_outcomes),        cmocka_unit_test(test_from_a_journal),
      cmocka_unit_test(test_two_versions), cmocka_unit_test(test_by_several_processes), cmocka_unit_test(test_budgets_look_across),
      cmocka_unit_test(test_by_hand_only)};
  struct err err;
  cmocka_set_message_output(CM_OUTPUT_TAP);
  if (lists_load("playbooks/lists", &lists, &err) < 0) return 1;
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  lists_free(lists);
  return failed;
}
