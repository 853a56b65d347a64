/* Schemas: what fits, what the message says when it does not, defaults, and JSON Schema. */
#include "script_help.h"

static const struct {
  const char *schema, *value, *expected, *error;
} checks[] = {
    {"{\"type\":\"string\"}", "\"x\"", "\"x\"", NULL},
    {"{\"type\":\"string\"}", "5", NULL, "t: `v` must be a text, not a number"},
    {"{\"type\":\"string\"}", "{\"$secret\":\"s\"}", NULL, "must be a text, not a secret"},
    {"{\"type\":\"string\",\"pattern\":\"^%x+$\",\"max\":4}", "\"ab12\"", "\"ab12\"", NULL},
    {"{\"type\":\"string\",\"pattern\":\"^%x+$\"}", "\"xyz\"", NULL, "does not have the form ^%x+$"},
    {"{\"type\":\"string\",\"max\":2}", "\"\xc3\xbc\xc3\xbc\"", "\"\xc3\xbc\xc3\xbc\"", NULL},
    {"{\"type\":\"string\",\"max\":2}", "\"abc\"", NULL, "at most 2 characters long"},
    {"{\"type\":\"string\",\"min\":1}", "\"\"", NULL, "at least 1 characters long"},
    {"{\"type\":\"string\",\"one_of\":[\"keep\",\"release\"]}", "\"kepe\"", NULL, "must be one of keep, release; did you mean `keep`?"},
    {"{\"type\":\"integer\"}", "5", "5", NULL},
    {"{\"type\":\"integer\"}", "5.0", "5", NULL},
    {"{\"type\":\"integer\"}", "5.5", NULL, "must be a whole number"},
    {"{\"type\":\"integer\",\"min\":1,\"max\":9}", "10", NULL, "must be at most 9"},
    {"{\"type\":\"number\"}", "5.5", "5.5", NULL},
    {"{\"type\":\"number\"}", "\"5\"", NULL, "must be a number, not a text"},
    {"{\"type\":\"boolean\"}", "true", "true", NULL},
    {"{\"type\":\"boolean\"}", "\"true\"", NULL, "must be true or false"},
    {"{\"type\":\"duration\"}", "\"20s\"", "20000", NULL},
    {"{\"type\":\"duration\"}", "20000", "20000", NULL},
    {"{\"type\":\"duration\"}", "\"soon\"", NULL, "must be a time like"},
    {"{\"type\":\"duration\"}", "-1", NULL, "must not be negative"},
    {"{\"type\":\"url\"}", "\"https://x.example/y\"", "\"https://x.example/y\"", NULL},
    {"{\"type\":\"url\"}", "\"https://x y\"", NULL, "is no URL"},
    {"{\"type\":\"url\"}", "\"x.example\"", NULL, "is no URL"},
    {"{\"type\":\"ip\"}", "\"2001:db8::1\"", "\"2001:db8::1\"", NULL},
    {"{\"type\":\"ip\"}", "\"300.1.1.1\"", NULL, "is no IP address"},
    {"{\"type\":\"host\"}", "\"db-1.corp.example\"", "\"db-1.corp.example\"", NULL},
    {"{\"type\":\"host\"}", "\"-x\"", NULL, "is no host name"},
    {"{\"type\":\"host\"}", "\"a..b\"", NULL, "is no host name"},
    {"{\"type\":\"email\"}", "\"a@b.example\"", "\"a@b.example\"", NULL},
    {"{\"type\":\"email\"}", "\"a@b@c\"", NULL, "is no e-mail address"},
    {"{\"type\":\"email\"}", "\"<a@b.example>\"", NULL, "is no e-mail address"},
    {"{\"type\":\"secret\"}", "{\"$secret\":\"s\"}", "{\"$secret\":\"s\"}", NULL},
    {"{\"type\":\"secret\"}", "\"hunter2\"", NULL, "must be a secret, not a text"},
    {"{\"type\":\"list\",\"of\":{\"type\":\"integer\"}}", "[1,2]", "[1,2]", NULL},
    {"{\"type\":\"list\",\"of\":{\"type\":\"integer\"}}", "{}", "[]", NULL},
    {"{\"type\":\"list\",\"of\":{\"type\":\"integer\"}}", "[1,\"x\"]", NULL, "`v[2]` must be a number"},
    {"{\"type\":\"list\",\"max\":1}", "[1,2]", NULL, "at most 1 elements long"},
    {"{\"type\":\"map\",\"of\":{\"type\":\"duration\"}}", "{\"a\":\"1s\"}", "{\"a\":1000}", NULL},
    {"{\"type\":\"map\",\"of\":{\"type\":\"duration\"}}", "{\"a\":{}}", NULL, "`v.a` must be a time"},
    {"{\"type\":\"map\"}", "[1]", NULL, "must be a table of names, not a list"},
    {"{\"type\":\"object\",\"fields\":{\"n\":{\"type\":\"integer\",\"default\":3},\"m\":{\"type\":\"integer\",\"optional\":true}}}", "{}",
     "{\"n\":3}", NULL},
    {"{\"type\":\"object\",\"fields\":{\"name\":{\"type\":\"string\"}}}", "{\"nmae\":\"x\"}", NULL,
     "`v.nmae` is not known here; did you mean `name`?"},
    {"{\"type\":\"any\"}", "[1,{\"a\":null}]", "[1,{\"a\":null}]", NULL},
    {"{\"type\":\"string\",\"default\":\"d\"}", "null", "\"d\"", NULL},
    {"{\"type\":\"string\"}", "null", NULL, "`v` is missing"},
};

static void test_values(void **state) {
  for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
    json_t *schema = json_object(), *value = json_object(), *result = NULL;
    json_object_set_new(schema, "v", test_json(checks[i].schema));
    json_object_set_new(value, "v", test_json(checks[i].value));
    struct err err = {0};
    int r = schema_check(schema, value, "t", &result, &err);
    if (checks[i].error) {
      if (r != ERR_INVALID || !strstr(err.text, checks[i].error))
        fail_msg("%s with %s: expected %s, got %s", checks[i].schema, checks[i].value, checks[i].error, err.text);
      assert_null(result);
    } else {
      if (r < 0) fail_msg("%s with %s: %s", checks[i].schema, checks[i].value, err.text);
      assert_json(json_object_get(result, "v"), checks[i].expected);
    }
    json_decref(result);
    json_decref(schema);
    json_decref(value);
  }
}

static void test_generated_and_optional_may_be_absent(void **state) {
  json_t *schema = test_json(
             "{\"p\":{\"type\":\"generated\"},\"o\":{\"type\":\"string\",\"optional\":true},\"d\":{\"type\":\"integer\",\"default\":1}}"),
         *result = NULL;
  assert_int_equal(schema_check(schema, NULL, "t", &result, NULL), 0);
  assert_json(result, "{\"d\":1}");
  json_decref(result);
  json_decref(schema);
}

/* Checking what was checked changes nothing. */
static void test_checking_twice(void **state) {
  json_t *schema = test_json("{\"t\":{\"type\":\"duration\",\"default\":\"5s\"},\"l\":{\"type\":\"list\",\"default\":{}}}"), *once = NULL,
         *twice = NULL;
  assert_int_equal(schema_check(schema, NULL, "t", &once, NULL), 0);
  assert_int_equal(schema_check(schema, once, "t", &twice, NULL), 0);
  assert_true(json_equal(once, twice));
  json_decref(once);
  json_decref(twice);
  json_decref(schema);
}

/* What is as it shall be is not copied; what is not by a little is neither taken for it nor changed. */
static void test_its_own_result(void **state) {
  static const struct {
    const char *value, *result; /* NULL: itself */
  } row[] = {{"{\"s\":\"x\",\"n\":2}", NULL},
             {"{\"n\":2,\"s\":\"x\",\"k\":{\"$secret\":\"a\"}}", NULL},
             {"{\"s\":\"x\",\"n\":2,\"o\":\"y\"}", NULL},
             {"{\"s\":\"x\"}", "{\"s\":\"x\",\"n\":1}"},
             {"{\"s\":\"x\",\"n\":null}", "{\"s\":\"x\",\"n\":1}"},
             {"{\"s\":\"x\",\"n\":2,\"o\":null}", "{\"s\":\"x\",\"n\":2}"},
             {"{\"s\":\"x\",\"n\":2.0}", "{\"s\":\"x\",\"n\":2}"},
             {"{\"s\":\"x\",\"n\":2,\"t\":\"5s\"}", "{\"s\":\"x\",\"n\":2,\"t\":5000}"},
             {"{\"s\":\"x\",\"n\":2,\"l\":[\"5s\"]}", "{\"s\":\"x\",\"n\":2,\"l\":[5000]}"}};
  json_t *schema = test_json("{\"s\":{\"type\":\"string\"},\"n\":{\"type\":\"integer\",\"default\":1},"
                             "\"o\":{\"type\":\"string\",\"optional\":true},\"t\":{\"type\":\"duration\",\"optional\":true},"
                             "\"l\":{\"type\":\"list\",\"of\":{\"type\":\"duration\"},\"optional\":true},"
                             "\"k\":{\"type\":\"secret\",\"optional\":true}}");
  for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
    json_t *value = test_json(row[i].value), *result = NULL;
    assert_int_equal(schema_check(schema, value, "t", &result, NULL), 0);
    assert_true((result == value) == !row[i].result);
    assert_json(value, row[i].value);
    if (row[i].result) assert_json(result, row[i].result);
    json_decref(result);
    json_decref(value);
  }
  json_decref(schema);
}

static void test_json_schema(void **state) {
  json_t *schema = test_json("{\"a\":{\"type\":\"string\",\"doc\":\"d\",\"max\":4},\"b\":{\"type\":\"integer\",\"default\":1,\"min\":0},"
                             "\"c\":{\"type\":\"list\",\"of\":{\"type\":\"ip\"},\"optional\":true}}");
  json_t *out = schema_json(schema);
  assert_json(out,
              "{\"$schema\":\"https://json-schema.org/draft/2020-12/"
              "schema\",\"type\":\"object\",\"required\":[\"a\"],\"additionalProperties\":false,\"properties\":{"
              "\"a\":{\"type\":\"string\",\"description\":\"d\",\"maxLength\":4},\"b\":{\"type\":\"integer\",\"default\":1,\"minimum\":0},"
              "\"c\":{\"type\":\"array\",\"items\":{\"type\":\"string\",\"anyOf\":[{\"format\":\"ipv4\"},{\"format\":\"ipv6\"}]}}}}");
  json_decref(out);
  json_decref(schema);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values),         cmocka_unit_test(test_generated_and_optional_may_be_absent),
      cmocka_unit_test(test_checking_twice), cmocka_unit_test(test_its_own_result),
      cmocka_unit_test(test_json_schema),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
