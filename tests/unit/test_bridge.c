/* Values between JSON and Lua, and connectors' pure calls: nothing is lost, nothing is mixed up, nothing stays behind. */
#include "script_help.h"

#include "base/secret.h"
#include "script/internal.h"

static const char source[] =
    "local calls = 0\n"
    "local kept = { list = {} }\n"
    "local function action(request) return { doc = 'd', effect = 'read', request = request, result = function() end } end\n"
    "return connector { name = 'test', title = 'T', settings = { token = schema.secret {} }, actions = {\n"
    "  echo = action(function(v) return v end),\n"
    "  kind = action(function(v) return type(v) end),\n"
    "  keys = action(function(v) local out = array {} for k in pairs(v) do out[#out + 1] = k end return out end),\n"
    "  token = action(function(_, settings) return { bearer = settings.token, text = tostring(settings.token) } end),\n"
    "  count = action(function() calls = calls + 1 return calls end),\n"
    "  keep = action(function() kept.x = 1 end),\n"
    "  keep_deep = action(function() kept.list[1] = 1 end),\n"
    "  insert = action(function() table.insert(kept.list, 1) end),\n"
    "  change_settings = action(function(_, settings) settings.token = 'x' end),\n"
    "  change_library = action(function() string.upper = nil end),\n"
    "  global = action(function() leaked = 1 end),\n"
    "  fail = action(function() return nil, failure('refused', 'no') end),\n"
    "  fail_text = action(function() return nil, 'no' end),\n"
    "  nothing = action(function() return nil end),\n"
    "  no = action(function() return false end),\n"
    "  endless = action(function() while true do end end),\n"
    "  bomb = action(function() local t = {} for i = 1, 1e9 do t[i] = {} end end),\n"
    "  raise = action(function() error('it broke') end),\n"
    "  cycle = action(function() local t = {} t.t = t return t end),\n"
    "  mixed = action(function() return { 1, x = 2 } end),\n"
    "  backward = action(function() local t = {} for i = 40, 1, -1 do t[i] = { i, [2] = { i } } end return t end),\n"
    "  part = action(function() local t = { 1, 2 } t[4] = 4 t[3] = 3 return { t, array { t } } end),\n"
    "  more = action(function() return { 1, 2, 3, [0] = 4 } end),\n"
    "  holes = action(function() return { 1, nil, 3, nil, nil, 6 } end),\n"
    "  nan = action(function() return 0 / 0 end),\n"
    "  bytes = action(function() return { ['k\\255'] = 'a\\255b\\0c' } end),\n"
    "  empty = action(function() return { {}, array {}, null } end),\n"
    "  forged = action(function() return { ['$secret'] = 'x' } end),\n"
    "  yields = action(function() return act.ldap.lock {} end),\n"
    "  decode = action(function(v) return json.decode(v) end),\n"
    "  helpers = action(function() return { time_ms('2026-11-23T18:42:01.5Z'), time_ms(1700000000), time_text(1700000000123), "
    "duration_ms('2h'), percent_encode('a b/ü'),\n"
    "    sha256('abc'):sub(1, 8), from_base64('aGk='), json.encode({ b = 1, a = array {} }) } end),\n"
    "} }";

static struct connector_state *make(struct declaration **ret) {
  struct connector_state *c = NULL;
  struct err err = {0};
  struct script_limits limits = {.burst_ms = 60, .memory = 4 << 20}; /* what fills it is to be stopped by that even on a slow machine */
  *ret = test_connector(source);
  json_t *settings = test_json("{\"token\":{\"$secret\":\"test.token\"}}");
  if (connector_state_new(*ret, settings, &limits, &c, &err) < 0) fail_msg("%s", err.text);
  json_decref(settings);
  return c;
}

static json_t *call(struct connector_state *c, const char *action, const char *arg, enum script_trust trust) {
  char path[128];
  struct err err = {0};
  json_t *args = json_array(), *result = NULL;
  json_array_append_new(args, test_json(arg));
  snprintf(path, sizeof path, "actions.%s.request", action);
  if (connector_call(c, path, args, trust, &result, NULL, &err) < 0) fail_msg("%s: %s", action, err.text);
  json_decref(args);
  return result;
}

static void expect_call(struct connector_state *c, const char *action, const char *arg, enum script_trust trust, const char *expected) {
  json_t *result = call(c, action, arg, trust);
  assert_json(result, expected);
  json_decref(result);
}

static void expect_refusal(struct connector_state *c, const char *action, int code, const char *text) {
  char path[128];
  struct err err = {0};
  json_t *args = json_array(), *result = NULL;
  snprintf(path, sizeof path, "actions.%s.request", action);
  json_array_append_new(args, json_object());
  int r = connector_call(c, path, args, SCRIPT_DATA, &result, NULL, &err);
  if (r != code || !strstr(err.text, text)) fail_msg("%s: expected %d %s, got %d %s", action, code, text, r, err.text);
  assert_null(result);
  json_decref(args);
}

static void test_what_comes_back_is_what_went_in(void **state) {
  static const char *const values[] = {
      "{}",
      "[]",
      "[[],{},[{}],null]",
      "{\"a\":{\"b\":[1,2.5,true,false,null,\"x\"]}}",
      "9223372036854775807",
      "-9223372036854775808",
      "1.0",
      "\"\"",
      "\"a\\u0000b\"",
      "\"\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80\"",
      "9007199254740993",
      "{\"1\":\"text key\"}",
      "[1,[2,[3,[4]]]]",
      "{\"$$x\":1}",
      "[null]",
      "{\"a\":null}",
  };
  struct declaration *d;
  struct connector_state *c = make(&d);
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    expect_call(c, "echo", values[i], SCRIPT_DATA, values[i]);
    expect_call(c, "echo", values[i], SCRIPT_TRUSTED, values[i]);
  }
  connector_state_free(c);
  declaration_free(d);
}

static void test_secrets_cross_only_when_trusted(void **state) {
  struct declaration *d;
  struct connector_state *c = make(&d);
  expect_call(c, "token", "{}", SCRIPT_DATA, "{\"bearer\":{\"$secret\":\"test.token\"},\"text\":\"[secret]\"}");
  expect_call(c, "kind", "{\"$secret\":\"x\"}", SCRIPT_TRUSTED, "\"userdata\"");
  expect_call(c, "kind", "{\"$secret\":\"x\"}", SCRIPT_DATA, "\"table\"");
  expect_call(c, "echo", "{\"$secret\":\"x\"}", SCRIPT_DATA, "{\"$$secret\":\"x\"}");
  expect_call(c, "echo", "{\"$$secret\":\"x\"}", SCRIPT_DATA, "{\"$$$secret\":\"x\"}");
  expect_call(c, "echo", "{\"$$secret\":\"x\"}", SCRIPT_TRUSTED, "{\"$$secret\":\"x\"}");
  expect_call(c, "echo", "{\"$secret\":\"x\",\"and\":1}", SCRIPT_TRUSTED, "{\"$$secret\":\"x\",\"and\":1}");
  expect_call(c, "echo", "{\"$secret\":5}", SCRIPT_TRUSTED, "{\"$$secret\":5}");
  expect_call(c, "decode", "\"{\\\"$secret\\\":\\\"x\\\"}\"", SCRIPT_TRUSTED, "{\"$$secret\":\"x\"}");
  expect_refusal(c, "forged", ERR_INVALID, "names a secret by hand");
  connector_state_free(c);
  declaration_free(d);
}

/* However a list was made, it leaves as one. */
static void test_lists_that_were_made_out_of_order(void **state) {
  struct declaration *d;
  struct connector_state *c = make(&d);
  json_t *list = call(c, "backward", "{}", SCRIPT_DATA);
  assert_int_equal(json_array_size(list), 40);
  for (int i = 1; i <= 40; i++) {
    json_t *expected = json_pack("[i, [i]]", i, i);
    assert_true(json_equal(json_array_get(list, (size_t)i - 1), expected));
    json_decref(expected);
  }
  json_decref(list);
  expect_call(c, "part", "{}", SCRIPT_DATA, "[[1,2,3,4],[[1,2,3,4]]]");
  connector_state_free(c);
  declaration_free(d);
}

static void test_what_cannot_leave(void **state) {
  struct declaration *d;
  struct connector_state *c = make(&d);
  expect_refusal(c, "cycle", ERR_INVALID, "nested too deep");
  expect_refusal(c, "mixed", ERR_INVALID, "half list, half map");
  expect_refusal(c, "holes", ERR_INVALID, "hole");
  expect_refusal(c, "more", ERR_INVALID, "half list, half map");
  expect_refusal(c, "nan", ERR_INVALID, "not a finite number");
  expect_call(c, "bytes", "{}", SCRIPT_DATA,
              "{\"k\xef\xbf\xbd\":\"a\xef\xbf\xbd"
              "b\\u0000c\"}");
  expect_call(c, "empty", "{}", SCRIPT_DATA, "[{},[],null]");
  expect_call(c, "keys", "{\"b\":1,\"a\":2,\"c\":3}", SCRIPT_DATA, "[\"a\",\"b\",\"c\"]");
  expect_call(c, "helpers", "{}", SCRIPT_DATA,
              "[1795459321500,1700000000000,\"2023-11-14T22:13:20.123000Z\",7200000,\"a%20b%2F%C3%BC\",\"ba7816bf\",\"hi\",\"{\\\"a\\\":[],"
              "\\\"b\\\":1}\"]");
  connector_state_free(c);
  declaration_free(d);
}

static void test_calls_are_pure(void **state) {
  struct declaration *d;
  struct connector_state *c = make(&d);
  for (int i = 0; i < 2; i++) {
    expect_refusal(c, "count", ERR_INVALID, "changed `calls`, a local of its file");
    expect_refusal(c, "keep", ERR_INVALID, "read-only");
    expect_refusal(c, "keep_deep", ERR_INVALID, "read-only");
    expect_refusal(c, "insert", ERR_INVALID, "read-only");
    expect_refusal(c, "change_settings", ERR_INVALID, "read-only");
    expect_refusal(c, "change_library", ERR_INVALID, "read-only");
    expect_refusal(c, "global", ERR_INVALID, "not declared");
    expect_refusal(c, "yields", ERR_INVALID, "unknown name `act`");
    expect_refusal(c, "endless", ERR_LIMIT, "CPU time");
    expect_refusal(c, "bomb", ERR_MEMORY, "memory");
    expect_refusal(c, "raise", ERR_INVALID, "connectors/test.lua:");
    expect_refusal(c, "unheard_of", ERR_INVALID, "has no function");
    expect_call(c, "echo", "[1]", SCRIPT_DATA, "[1]"); /* still alive after each of them */
  }
  connector_state_free(c);
  declaration_free(d);
}

static void test_failures(void **state) {
  struct declaration *d;
  struct connector_state *c = make(&d);
  json_t *args = json_pack("[{}]"), *result = (json_t *)1, *failed = NULL;
  struct err err;
  assert_int_equal(connector_call(c, "actions.fail.request", args, SCRIPT_DATA, &result, &failed, &err), 0);
  assert_null(result);
  assert_json(failed, "{\"kind\":\"refused\",\"message\":\"no\",\"retry\":false}");
  json_decref(failed);
  assert_int_equal(connector_call(c, "actions.fail_text.request", args, SCRIPT_DATA, &result, &failed, &err), 0);
  assert_json(failed, "{\"kind\":\"failed\",\"message\":\"no\",\"retry\":false}");
  json_decref(failed);
  assert_int_equal(connector_call(c, "actions.nothing.request", args, SCRIPT_DATA, &result, &failed, &err), 0);
  assert_null(result);
  assert_null(failed);
  assert_int_equal(connector_call(c, "actions.no.request", args, SCRIPT_DATA, &result, &failed, &err), 0);
  assert_true(json_is_false(result));
  json_decref(args);
  connector_state_free(c);
  declaration_free(d);
}

/* Memory is bounded in making, too: no size of cap crashes, each either works or says so. */
static void test_too_little_memory(void **state) {
  struct declaration *d = test_connector(source);
  int failed = 0, made = 0;
  for (size_t memory = 1000; memory < 400000; memory += 3001) {
    struct connector_state *c = NULL;
    struct script_limits limits = {.memory = memory};
    struct err err = {0};
    int r = connector_state_new(d, NULL, &limits, &c, &err);
    if (r == 0) {
      json_t *args = json_pack("[{s:s}]", "a", "b"), *result = NULL;
      r = connector_call(c, "actions.echo.request", args, SCRIPT_DATA, &result, NULL, &err);
      json_decref(result);
      json_decref(args);
    }
    if (r < 0) assert_int_equal(r, ERR_MEMORY);
    r < 0 ? failed++ : made++;
    connector_state_free(c);
  }
  assert_true(failed > 10 && made > 10);
  declaration_free(d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_comes_back_is_what_went_in),
      cmocka_unit_test(test_secrets_cross_only_when_trusted),
      cmocka_unit_test(test_lists_that_were_made_out_of_order),
      cmocka_unit_test(test_what_cannot_leave),
      cmocka_unit_test(test_calls_are_pure),
      cmocka_unit_test(test_failures),
      cmocka_unit_test(test_too_little_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
