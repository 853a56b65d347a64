/* Rehearsals: the tests of our own playbooks, and proof that a test can fail. Needs a redis-server. */
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
#include "route/route.h"
#include "run/rehearse.h"

static bool matches(void *arg, void *lists, int64_t now, const json_t *when, const json_t *alert) {
  struct condition *c = NULL;
  if (condition_compile(when, NULL, &c, NULL) < 0) return false;
  bool fits = condition_match(c, alert, json_object_get(alert, "raw"), 0);
  condition_free(c);
  return fits;
}

static json_t *rehearsed(const char *playbook, const char *tests) {
  struct rehearsal spec = {
      .playbook = playbook, .tests = tests, .connectors = "connectors", .world = {.matches = matches}, .values = path_values};
  json_t *report = NULL;
  struct err err = {0};
  if (rehearse(&spec, &report, &err) < 0) fail_msg("%s: %s", playbook, err.text);
  return report;
}

static void show_problems(const json_t *report) {
  size_t i, n;
  json_t *test, *text;
  json_array_foreach(json_object_get(report, "tests"), i, test) json_array_foreach(json_object_get(test, "problems"), n, text)
      print_error("%s: %s: %s\n", json_str(report, "playbook"), json_str(test, "name"), json_string_value(text));
}

static void test_our_playbooks(void **state) {
  static const char *const names[] = {"contain-account", "isolate-and-ticket", "leaked-credential", "release", "triage-only"};
  int64_t failed = 0;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char playbook[128], tests[128];
    snprintf(playbook, sizeof playbook, "playbooks/%s.lua", names[i]);
    snprintf(tests, sizeof tests, "playbooks/%s_test.lua", names[i]);
    json_t *report = rehearsed(playbook, tests);
    show_problems(report);
    failed += json_int_or(report, "failed", 0);
    assert_true(json_int_or(report, "passed", 0) > 0);
    const json_t *coverage = json_object_get(report, "coverage");
    print_message("%s: %lld of %lld lines\n", names[i], (long long)json_int_or(coverage, "hit", 0),
                  (long long)json_int_or(coverage, "lines", 0));
    assert_true(json_int_or(coverage, "hit", 0) * 10 >= json_int_or(coverage, "lines", 0) * 8);
    json_decref(report);
  }
  assert_int_equal(failed, 0);
}

/* --- files of our own ------------------------------------------------------------------------------------------- */

static char folder[64];

static void write_file(const char *name, const char *text, char out[128]) {
  snprintf(out, 128, "%s/%s", folder, name);
  FILE *f = fopen(out, "w");
  assert_non_null(f);
  assert_true(fputs(text, f) >= 0);
  assert_int_equal(fclose(f), 0);
}

static const char playbook_text[] =
    "return playbook {\n"
    "  title = \"x\", uses = { \"ldap.find_user\", \"ldap.lock_account\" }, shadow = true,\n" /* a test plays it as in earnest all the same */
    "  params = { user = schema.string { from = \"actor.user.name\" } },\n"
    "  run = function(incident, act, p)\n"
    "    local who, why = act.ldap.find_user { uid = p.user }\n"
    "    if not who then\n"
    "      return incident:hand_over(\"nobody\", why)\n" /* 7 */
    "    end\n"
    "    incident:wait \"2h\"\n"
    "    local more = incident:wait_for { alert = { severity_id = 5 }, within = \"3h\" }\n"
    "    incident:note(more and \"more\" or \"quiet\")\n"
    "    if incident:ask { \"Go on?\", options = { \"yes\", \"no\" }, within = \"1h\", otherwise = \"no\" } == \"yes\" then\n"
    "      error(\"boom\")\n" /* 13 */
    "    end\n"
    "    return now()\n"
    "  end,\n"
    "}\n";

static json_t *rehearse_texts(const char *tests_text) {
  char playbook[128], tests[128];
  write_file("x.lua", playbook_text, playbook);
  write_file("x_test.lua", tests_text, tests);
  json_t *report = rehearsed(playbook, tests);
  unlink(playbook);
  unlink(tests);
  return report;
}

#define ALERT "alert = { severity_id = 3, actor = { user = { name = \"alice\" } } }"

static void test_time_flies(void **state) {
  json_t *report = rehearse_texts("return tests { [\"six hours\"] = { " ALERT ", answers = { \"(silence)\" },\n"
                                  "  expect = { status = \"done\", notes = { \"quiet\" }, asks = { \"Go on?\" }, actions = { { "
                                  "\"ldap.find_user\", uid = \"alice\" } } } } }");
  show_problems(report);
  assert_int_equal(json_int_or(report, "passed", 0), 1);
  const json_t *coverage = json_object_get(report, "coverage"), *missed = json_object_get(coverage, "missed");
  assert_int_equal(json_array_size(missed), 2);
  assert_int_equal(json_integer_value(json_array_get(missed, 0)), 7);
  assert_int_equal(json_integer_value(json_array_get(missed, 1)), 13);
  assert_int_equal(json_int_or(coverage, "lines", 0), json_int_or(coverage, "hit", 0) + 2);
  json_decref(report);
}

static void test_alerts_come_later(void **state) {
  json_t *report = rehearse_texts(
      "return tests {\n"
      "  [\"in time\"] = { " ALERT ", begins = \"2026-02-03T04:05:06Z\", later = { { after = \"3h\", alert = { severity_id = 5 } } },\n"
      "    answers = { \"no\" }, expect = { notes = { \"more\" }, result = 1770102306000 } },\n"
      "  [\"not the one\"] = { " ALERT ", later = { { after = \"3h\", alert = { severity_id = 4 } } },\n"
      "    answers = { \"no\" }, expect = { notes = { \"quiet\" } } },\n"
      "  [\"too late\"] = { " ALERT ", later = { { after = \"6h\", alert = { severity_id = 5 } } },\n"
      "    answers = { \"no\" }, expect = { notes = { \"quiet\" } } },\n"
      "  [\"wrong\"] = { " ALERT ", later = { { after = \"soon\", alert = {} } }, expect = { status = \"done\" } },\n"
      "  [\"wrong again\"] = { " ALERT ", begins = \"noon\", expect = { status = \"done\" } },\n"
      "}");
  if (json_int_or(report, "passed", 0) != 3) show_problems(report);
  assert_int_equal(json_int_or(report, "passed", 0), 3);
  const json_t *tests = json_object_get(report, "tests");
  assert_non_null(strstr(json_string_value(json_array_get(json_object_get(json_array_get(tests, 3), "problems"), 0)), "later[1]"));
  assert_non_null(strstr(json_string_value(json_array_get(json_object_get(json_array_get(tests, 4), "problems"), 0)), "begins"));
  json_decref(report);
}

/* Each of these expects something else than what happens; each must fail, and say why. */
static void test_a_test_can_fail(void **state) {
  static const struct {
    const char *test, *says;
  } cases[] = {
      {ALERT ", answers = { \"no\" }, expect = { status = \"failed\" }", "status: expected \"failed\", seen \"done\""},
      {ALERT ", answers = { \"no\" }, expect = { actions = {} }", "actions: expected"},
      {ALERT ", answers = { \"no\" }, expect = { actions = { { \"ldap.find_user\", uid = \"bob\" } } }", "actions: expected"},
      {ALERT ", answers = { \"no\" }, expect = { notes = { \"loud\" } }", "notes: expected [\"loud\"], seen [\"quiet\"]"},
      {ALERT ", answers = { \"no\" }, expect = { result = 7 }", "result: expected 7"},
      {ALERT ", answers = { \"no\" }, expect = { undone = { \"ldap.lock_account\" } }", "undone: expected"},
      {ALERT ", answers = { \"no\", \"no\" }, expect = { status = \"done\" }", "not every answer was asked for"},
      {ALERT ", expect = { status = \"done\" }", "has no answer left"},
      {ALERT ", answers = { \"maybe\" }, expect = { status = \"done\" }", "is no answer"},
      {ALERT ", answers = { \"yes\" }, expect = { status = \"done\" }", "boom"},
      {"answers = { \"no\" }, expect = { status = \"done\" }", "user"},
      {ALERT
       ", simulate = { [\"ldap.find_user\"] = { error = { kind = \"not_found\", message = \"who?\" } } }, expect = { says = \"somebody\" }",
       "says: expected \"somebody\", seen \"nobody: not_found: who?\""},
  };
  struct buf text;
  buf_init(&text, 65536);
  buf_adds(&text, "return tests {\n");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) buf_addf(&text, "  [\"case %02zu\"] = { %s },\n", i, cases[i].test);
  buf_adds(&text, "}\n");
  json_t *report = rehearse_texts(text.data), *test;
  buf_release(&text);
  size_t i;
  assert_int_equal(json_int_or(report, "failed", 0), (int64_t)(sizeof cases / sizeof *cases));
  json_array_foreach(json_object_get(report, "tests"), i, test) {
    char *problems = NULL;
    json_t *list = json_object_get(test, "problems"), *line;
    size_t n;
    bool said = false;
    json_array_foreach(list, n, line) said |= strstr(json_string_value(line), cases[i].says) != NULL;
    if (!said) fail_msg("case %zu: \"%s\" is not in %s", i, cases[i].says, problems = json_text(list));
    free(problems);
  }
  json_decref(report);
}

static void refused(const char *tests_text, const char *says) {
  char playbook[128], tests[128];
  struct err err = {0};
  json_t *report = NULL;
  write_file("x.lua", playbook_text, playbook);
  write_file("x_test.lua", tests_text, tests);
  struct rehearsal spec = {.playbook = playbook, .tests = tests, .connectors = "connectors"};
  assert_true(rehearse(&spec, &report, &err) < 0);
  assert_null(report);
  if (!strstr(err.text, says)) fail_msg("\"%s\" is not in \"%s\"", says, err.text);
  unlink(playbook);
  unlink(tests);
}

static void test_bad_files(void **state) {
  refused("return tests { [\"a\"] = { expect = { stats = \"done\" } } }", "did you mean `status`");
  refused("return tests { [\"a\"] = { answer = \"x\", expect = { status = \"done\" } } }", "did you mean `answers`");
  refused("return tests { [\"a\"] = { answers = { \"x\" } } }", "cannot fail");
  refused("return tests { { expect = { status = \"done\" } } }", "each test has a name");
  refused("return tests { [\"a\"] = { expect = { actions = { { uid = 1 } } } } }", "begins with its name");
  refused("return tests {", "x_test.lua:1");
  refused("return 7", "return tests");
  refused("while true do end", "CPU time");
}

int main(void) {
  snprintf(folder, sizeof folder, "/tmp/tocsin-rehearse-XXXXXX");
  if (!mkdtemp(folder)) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_our_playbooks), cmocka_unit_test(test_time_flies),
                                     cmocka_unit_test(test_alerts_come_later), cmocka_unit_test(test_a_test_can_fail),
                                     cmocka_unit_test(test_bad_files)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  rmdir(folder);
  return failed;
}
