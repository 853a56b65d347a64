/* Scenarios: what a file may say, and the line at which a mistake is named. */
#include "script_help.h"

#include "exercise/scenario.h"

#define SMALL(more)                                                                                                                        \
  "return scenario {\n  title = \"T\", summary = \"S\", duration = \"1h\",\n  roles = { lead = \"leads\", press = \"speaks\" },\n"         \
  "  objectives = { { id = \"fast\", text = \"Acknowledge fast\", judge = { acknowledged = true, within = \"5m\" } } },\n"                 \
  "  injects = { { id = \"first\", at = \"1m\", fact = \"It begins.\" } },\n" more "\n}\n"

static struct scenario *loaded(const char *source) {
  struct scenario *s = NULL;
  struct err err = {0};
  if (scenario_load("runbooks/tabletop/small.lua", source, strlen(source), &s, &err) < 0) fail_msg("%s", err.text);
  return s;
}

static void refused(const char *source, const char *words) {
  struct scenario *s = NULL;
  struct err err = {0};
  assert_int_equal(scenario_load("runbooks/tabletop/small.lua", source, strlen(source), &s, &err), ERR_INVALID);
  assert_null(s);
  if (!strstr(err.text, words)) fail_msg("expected \"%s\" in \"%s\"", words, err.text);
}

static void test_plain_json(void **state) {
  struct scenario *s = loaded(SMALL(
      "script = { { by = \"lead\", answer = \"pay\", with = \"no\" } },\n"
      "answers = { { action = \"rt.*\", fails = { kind = \"unavailable\", message = \"503\" }, from = \"first\", lasts = \"10m\" } }"));
  assert_string_equal(s->name, "small");
  assert_string_equal(json_str(s->json, "name"), "small");
  assert_int_equal(json_int_or(s->json, "duration", 0), 3600000);
  assert_json(json_object_get(s->json, "injects"), "[{\"id\":\"first\",\"at\":60000,\"fact\":\"It begins.\",\"kind\":\"fact\"}]");
  assert_json(json_object_get(s->json, "script"),
              "[{\"id\":\"s1\",\"by\":\"lead\",\"answer\":\"pay\",\"with\":\"no\",\"after\":{\"asked\":\"pay\"}}]");
  assert_int_equal(json_int_or(json_array_get(json_object_get(s->json, "answers"), 0), "lasts", 0), 600000);
  scenario_free(s);
}

/* What an exercise keeps in its journal is the same scenario. */
static void test_again_from_json(void **state) {
  struct scenario *s = loaded(SMALL("")), *again = NULL;
  struct err err = {0};
  assert_int_equal(scenario_from_json(s->json, &again, &err), 0);
  assert_string_equal(again->name, s->name);
  assert_string_equal(again->digest, s->digest);
  json_object_set_new(s->json, "injects", json_array());
  struct scenario *none = NULL;
  assert_int_equal(scenario_from_json(s->json, &none, &err), ERR_INVALID);
  assert_non_null(strstr(err.text, "nothing happens"));
  json_object_del(s->json, "name");
  assert_int_equal(scenario_from_json(s->json, &none, &err), ERR_INVALID);
  scenario_free(again);
  scenario_free(s);
}

static void test_lines(void **state) {
  refused("return scenario {\n  title = \n}\n", "runbooks/tabletop/small.lua:3:");
  refused("return { title = 1 }\n x", "small.lua:");
  refused("return 3\n", "must end with `return scenario { … }`");
  refused(SMALL("worlds = {}"), "small.lua:6: `worlds`: is not known here; did you mean `world`?");
  refused(SMALL("script = {\n  { by = \"laed\", at = \"1m\", note = \"x\" } }"),
          "small.lua:7: script item s1: `by`: there is no role `laed`; did you mean `lead`?");
  refused(SMALL("world = { hosts = { 3 } }"), "`world.hosts`: is a table of things by id");
  refused(SMALL("answers = { { action = \"ldap.lock_account\", returns = {}, already = true } }"),
          "answer ldap.lock_account: has `returns` and `already`");
  refused(SMALL("script = { { by = \"lead\", at = \"1m\", note = function() end } }"), "function");
}

static void inject_refused(const char *inject, const char *words) {
  char source[1500];
  snprintf(source, sizeof source,
           "return scenario { title = \"T\", summary = \"S\", duration = \"1h\", roles = { lead = \"leads\" },\n"
           "objectives = { { id = \"o\", text = \"O\", judge = { closed = true } } }, injects = {\n{ id = \"first\", at = \"1m\", fact = "
           "\"x\" },\n%s } }",
           inject);
  refused(source, words);
}

static void test_injects(void **state) {
  inject_refused("{ id = \"first\", at = \"2m\", fact = \"y\" }", "small.lua:4: inject first: there are two of this id");
  inject_refused("{ id = \"late\", at = \"61m\", fact = \"y\" }", "inject late: `at`: is after the exercise's end (`duration` is 1h");
  inject_refused("{ id = \"when\", fact = \"y\" }", "needs `at` or `after`");
  inject_refused("{ id = \"two\", at = \"2m\", after = \"first\", fact = \"y\" }", "`at` and `after`");
  inject_refused("{ id = \"two\", at = \"2m\", fact = \"y\", call = {} }", "one of them");
  inject_refused("{ id = \"none\", at = \"2m\" }", "needs one of `alert`, `message`");
  inject_refused("{ id = \"x\", after = \"frist\", fact = \"y\" }", "there is no inject `frist`; did you mean `first`?");
  inject_refused("{ id = \"x\", at = \"soon\", fact = \"y\" }", "is a duration like \"10m\"");
  inject_refused("{ id = \"x\", at = \"-5m\", fact = \"y\" }", "is a duration like \"10m\"");
  inject_refused("{ id = \"x\", after = { contaned = true }, fact = \"y\" }", "is no condition; did you mean `contained`?");
  inject_refused("{ id = \"x\", after = { contained = true, wihtin = \"5m\" }, fact = \"y\" }",
                 "`after.wihtin`: is not known here; did you mean `within`?");
  inject_refused("{ id = \"x\", at = \"5m\", unless = { any = {} }, fact = \"y\" }", "is a list of conditions");
  inject_refused("{ id = \"q\", at = \"5m\", question = { to = \"lead\", text = \"?\", options = { \"yes\", \"no\" }, otherwise = "
                 "\"maybe\", within = \"5m\" } }",
                 "inject q: `question.otherwise`: `maybe` is none of the options");
  inject_refused("{ id = \"q\", at = \"5m\", question = { to = \"lead\", text = \"?\", options = { \"yes\", \"no\" }, within = \"5m\" } }",
                 "`otherwise` is missing");
  inject_refused("{ id = \"m\", at = \"5m\", message = { to = { \"lead\", \"boss\" }, text = \"?\" } }", "there is no role `boss`");
}

static void test_every_mistake_at_once(void **state) {
  static const char source[] = SMALL("colour = 1, script = { { by = \"lead\", note = \"x\" } }");
  json_t *findings = json_array();
  struct scenario *s = NULL;
  scenario_read("small.lua", source, strlen(source), findings, &s);
  assert_null(s);
  assert_int_equal(json_array_size(findings), 2);
  json_decref(findings);
  refused(source, "(and 1 more");
}

/* Enough is enough: the engine reads scenarios, too, while it has other things to do. */
static void test_bounded(void **state) {
  struct buf source;
  struct scenario *s = NULL;
  json_t *findings = json_array();
  buf_init(&source, 1 << 20);
  buf_adds(&source, "return scenario { title = \"T\", summary = \"S\", duration = \"1h\", roles = { lead = \"leads\" },\n"
                    "objectives = { { id = \"o\", text = \"O\", judge = { all = {");
  for (int i = 0; i < SCENARIO_CONDITIONS; i++) buf_adds(&source, "{ closed = true },");
  buf_adds(&source, "} } } }, injects = { { id = \"a\", at = \"1m\", fact = \"x\" } } }");
  refused(source.data, "is one condition too many: a scenario has at most 5000");
  buf_reset(&source);
  buf_adds(&source, "return scenario { title = \"T\", ");
  for (int i = 0; i < 200; i++) buf_addf(&source, "x%d = 1, ", i);
  buf_adds(&source, "}");
  scenario_read("small.lua", source.data, source.len, findings, &s);
  assert_null(s);
  assert_int_equal(json_array_size(findings), 51);
  assert_non_null(strstr(json_string_value(json_array_get(findings, 50)), "and more"));
  json_decref(findings);
  buf_release(&source);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_plain_json), cmocka_unit_test(test_again_from_json),       cmocka_unit_test(test_lines),
      cmocka_unit_test(test_injects),    cmocka_unit_test(test_every_mistake_at_once), cmocka_unit_test(test_bounded)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
