/* Parameters as people type them become what their schema says, and nothing else is touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/json.h"
#include "incident/params.h"

static void reads(const char *type, const char *text, const char *expected) {
  json_t *schema = json_pack("{s:{s:s, s:{s:s}}}", "p", "type", type, "of", "type", "integer"), *params = json_pack("{s:s}", "p", text);
  json_t *read = params_read(schema, params);
  char *got = json_dumps(json_object_get(read, "p"), JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
  assert_string_equal(got, expected);
  free(got);
  json_decref(read);
  json_decref(params);
  json_decref(schema);
}

static void test_texts_become_what_the_schema_wants(void **state) {
  reads("string", "42", "\"42\"");
  reads("integer", "42", "42");
  reads("integer", "-1", "-1");
  reads("number", "1.5", "1.5");
  reads("boolean", "yes", "true");
  reads("boolean", "false", "false");
  reads("list", "1,2", "[1,2]");
  reads("list", "[1, \"a\"]", "[1,\"a\"]");
  reads("list", "", "[]");
  reads("map", "{\"a\": 1}", "{\"a\":1}");
  reads("any", "[true]", "[true]");
  reads("any", "plain words", "\"plain words\"");
}

static void test_what_does_not_fit_stays_a_text(void **state) {
  reads("integer", "1.5", "\"1.5\"");
  reads("integer", "0x10", "\"0x10\"");
  reads("integer", "99999999999999999999", "\"99999999999999999999\"");
  reads("boolean", "maybe", "\"maybe\"");
  reads("map", "[1]", "\"[1]\"");
  reads("host", "10.0.0.1", "\"10.0.0.1\"");
}

static void test_values_and_unknown_names_pass(void **state) {
  json_t *params = json_pack("{s:i, s:{s:s}, s:s}", "n", 3, "m", "a", "b", "unknown", "7");
  json_t *read = params_read(NULL, params);
  assert_true(json_equal(read, params));
  json_decref(read);
  json_decref(params);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_texts_become_what_the_schema_wants),
      cmocka_unit_test(test_what_does_not_fit_stays_a_text),
      cmocka_unit_test(test_values_and_unknown_names_pass),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
