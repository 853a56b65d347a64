/* Conditions: every modifier, lists, arrays, types, and what an attacker would try. Table-driven: a `when`, an alert, whether it matches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "route/fold.h"
#include "route/nfa.h"
#include "route/paths.h"
#include "route/route.h"

static json_t *parse(const char *text) {
  struct err err = {0};
  json_t *value = NULL;
  if (json_parse(text, strlen(text), &value, &err)) fail_msg("%s: %s", text, err.text);
  return value;
}

struct match_case {
  const char *when, *alert;
  bool matches;
};

static void check(const struct match_case *cases, size_t count) {
  for (size_t i = 0; i < count; i++) {
    struct err err = {0};
    struct condition *c = NULL;
    json_t *when = parse(cases[i].when), *alert = parse(cases[i].alert);
    if (condition_compile(when, NULL, &c, &err)) fail_msg("%s: %s", cases[i].when, err.text);
    if (condition_match(c, alert, json_object_get(alert, "doc"), 0) != cases[i].matches)
      fail_msg("%s against %s should %smatch", cases[i].when, cases[i].alert, cases[i].matches ? "" : "not ");
    condition_free(c);
    json_decref(when);
    json_decref(alert);
  }
}
#define CHECK(table) check(table, sizeof table / sizeof *table)

static void test_modifiers(void **state) {
  static const struct match_case cases[] = {
      {"{\"a\":\"x\"}", "{\"a\":\"x\"}", true},
      {"{\"a\":\"x\"}", "{\"a\":\"xy\"}", false},
      {"{\"a\":\"x\"}", "{\"b\":\"x\"}", false},
      {"{\"a\":\"X\"}", "{\"a\":\"x\"}", true},
      {"{\"a|cased\":\"X\"}", "{\"a\":\"x\"}", false},
      {"{\"a|cased\":\"X\"}", "{\"a\":\"X\"}", true},
      {"{\"a|contains\":\"OO\"}", "{\"a\":\"foobar\"}", true},
      {"{\"a|contains|cased\":\"OO\"}", "{\"a\":\"foobar\"}", false},
      {"{\"a|contains\":\"oz\"}", "{\"a\":\"foobar\"}", false},
      {"{\"a|startswith\":\"foo\"}", "{\"a\":\"FOObar\"}", true},
      {"{\"a|startswith\":\"bar\"}", "{\"a\":\"foobar\"}", false},
      {"{\"a|endswith\":\"bar\"}", "{\"a\":\"fooBAR\"}", true},
      {"{\"a|endswith\":\"foobarfoobar\"}", "{\"a\":\"bar\"}", false},
      {"{\"a|cidr\":\"10.0.0.0/8\"}", "{\"a\":\"10.255.1.2\"}", true},
      {"{\"a|cidr\":\"10.0.0.0/8\"}", "{\"a\":\"11.0.0.1\"}", false},
      {"{\"a|cidr\":\"10.0.0.0/8\"}", "{\"a\":\"::ffff:10.1.1.1\"}", true},
      {"{\"a|cidr\":\"10.0.0.7\"}", "{\"a\":\"10.0.0.7\"}", true},
      {"{\"a|cidr\":\"2001:db8::/33\"}", "{\"a\":\"2001:DB8:7fff::1\"}", true},
      {"{\"a|cidr\":\"2001:db8::/33\"}", "{\"a\":\"2001:db8:8000::1\"}", false},
      {"{\"a|cidr\":\"::/0\"}", "{\"a\":\"10.0.0.1\"}", false},
      {"{\"a|cidr\":\"0.0.0.0/0\"}", "{\"a\":\"10.0.0.1\"}", true},
      {"{\"a|cidr\":\"fe80::/10\"}", "{\"a\":\"fe80::1%eth0\"}", true},
      {"{\"a|cidr\":[\"10.0.0.0/8\",\"192.0.2.0/24\"]}", "{\"a\":\"192.0.2.9\"}", true},
      {"{\"a|cidr\":\"10.0.0.0/8\"}", "{\"a\":\"10.0.0.1.evil.example\"}", false},
      {"{\"a|gte\":4}", "{\"a\":4}", true},
      {"{\"a|gt\":4}", "{\"a\":4}", false},
      {"{\"a|lte\":4}", "{\"a\":4}", true},
      {"{\"a|lt\":4}", "{\"a\":3.99}", true},
      {"{\"a|gte\":\"4\"}", "{\"a\":\"5\"}", true},
      {"{\"a|re\":\"^ad.*n$\"}", "{\"a\":\"admin\"}", true},
      {"{\"a|re\":\"^ad.*n$\"}", "{\"a\":\"ADMIN\"}", false},
      {"{\"a|re|i\":\"^ad.*n$\"}", "{\"a\":\"ADMIN\"}", true},
      {"{\"a|re|m\":\"^b$\"}", "{\"a\":\"a\\nb\\nc\"}", true},
      {"{\"a|re|s\":\"a.b\"}", "{\"a\":\"a\\nb\"}", true},
      {"{\"a|exists\":true}", "{\"a\":0}", true},
      {"{\"a|exists\":true}", "{\"a\":null}", false},
      {"{\"a|exists\":true}", "{\"a\":[]}", false},
      {"{\"a|exists\":true}", "{\"a\":{\"b\":1}}", true},
      {"{\"a|exists\":false}", "{}", true},
      {"{\"a|contains|all\":[\"x\",\"y\"]}", "{\"a\":\"xy\"}", true},
      {"{\"a|contains|all\":[\"x\",\"y\"]}", "{\"a\":\"x\"}", false},
      {"{\"a|all\":[\"x\",\"y\"]}", "{\"a\":[\"y\",\"z\",\"x\"]}", true},
      {"{\"a|all\":[\"x\",\"y\"]}", "{\"a\":[\"y\",\"z\"]}", false},
      {"{\"a|re|all\":[\"x$\",\"^y\"]}", "{\"a\":\"yx\"}", true},
      {"{\"a|cidr|all\":[\"10.0.0.0/8\",\"10.1.0.0/16\"]}", "{\"a\":\"10.2.0.1\"}", false},
  };
  CHECK(cases);
}

static void test_combining(void **state) {
  static const struct match_case cases[] = {
      {"{\"a\":[\"x\",\"y\"]}", "{\"a\":\"Y\"}", true},
      {"{\"a\":[\"x\",\"y\"]}", "{\"a\":\"z\"}", false},
      {"{\"a\":\"x\",\"b\":\"y\"}", "{\"a\":\"x\"}", false},
      {"{\"any\":{\"a\":\"x\",\"b\":\"y\"}}", "{\"b\":\"y\"}", true},
      {"{\"any\":{\"a\":\"x\",\"b\":\"y\"}}", "{\"b\":\"x\"}", false},
      {"{\"none\":{\"a\":\"x\",\"b\":\"y\"}}", "{\"b\":\"y\"}", false},
      {"{\"none\":{\"a\":\"x\",\"b\":\"y\"}}", "{\"c\":\"y\"}", true},
      {"{\"none\":[{\"a\":\"x\",\"b\":\"y\"}]}", "{\"b\":\"y\"}", true},
      {"{\"none\":[{\"a\":\"x\",\"b\":\"y\"}]}", "{\"b\":\"y\",\"a\":\"x\"}", false},
      {"{\"any\":[{\"a\":\"x\",\"b\":\"y\"},{\"c\":1}]}", "{\"c\":1}", true},
      {"[{\"a\":1},{\"b\":2}]", "{\"b\":2}", true},
      {"[{\"a\":1},{\"b\":2}]", "{\"b\":1}", false},
      {"{\"c\":1,\"any\":{\"a\":1,\"none\":{\"b\":1}}}", "{\"c\":1,\"b\":2}", true},
      {"{\"c\":1,\"any\":{\"a\":1,\"none\":{\"b\":1}}}", "{\"c\":1,\"b\":1}", false},
  };
  CHECK(cases);
}

static void test_paths(void **state) {
  static const struct match_case cases[] = {
      {"{\"a.b.c\":1}", "{\"a\":{\"b\":{\"c\":1}}}", true},
      {"{\"a.b\":2}", "{\"a\":[{\"b\":1},{\"b\":[3,[2]]}]}", true},
      {"{\"a\":2}", "{\"a\":[1,2,3]}", true},
      {"{\"actor.user\":\"alice\"}", "{\"actor\":{\"user\":{\"name\":\"Alice\",\"uid\":\"7\"}}}", true},
      {"{\"actor.user\":\"7\"}", "{\"actor\":{\"user\":{\"name\":\"Alice\",\"uid\":\"7\"}}}", false},
      {"{\"actor.user\":\"7\"}", "{\"actor\":{\"user\":{\"name\":\"\",\"uid\":7}}}", true},
      {"{\"actor.user\":\"a@b\"}", "{\"actor\":{\"user\":{\"email_addr\":\"a@b\"}}}", true},
      {"{\"actor.user\":\"alice\"}", "{\"actor\":{\"user\":\"alice\"}}", true},
      {"{\"users\":\"bob\"}", "{\"users\":[{\"name\":\"alice\"},{\"name\":\"bob\"}]}", true},
      {"{\"raw.rule.id\":\"5710\"}", "{\"doc\":{\"rule\":{\"id\":5710}}}", true},
      {"{\"raw.kibana.alert.severity\":\"high\"}", "{\"doc\":{\"kibana.alert.severity\":\"high\"}}", true},
      {"{\"raw.kibana.alert.severity\":\"high\"}", "{\"doc\":{\"kibana.alert\":{\"severity\":\"high\"}}}", true},
      {"{\"rule.id\":\"1\"}", "{\"rule.id\":\"1\"}", false},
      {"{\"unmapped.a.b\":1}", "{\"unmapped\":{\"a.b\":1}}", true},
      {"{\"a.b\":1}", "{\"a\":\"b\"}", false},
      {"{\"raw.x\":1}", "{\"x\":1}", false},
  };
  CHECK(cases);
}

static void test_types(void **state) {
  static const struct match_case cases[] = {
      {"{\"a\":4}", "{\"a\":\"4\"}", true},
      {"{\"a\":\"4\"}", "{\"a\":4}", true},
      {"{\"a\":4.0}", "{\"a\":4}", true},
      {"{\"a\":4}", "{\"a\":\"4.0\"}", false},
      {"{\"a\":1.5}", "{\"a\":\"1.5\"}", true},
      {"{\"a\":-0.0}", "{\"a\":0}", true},
      {"{\"a\":9007199254740993}", "{\"a\":9007199254740992}", false},
      {"{\"a|gt\":9007199254740992}", "{\"a\":9007199254740993}", true},
      {"{\"a|gt\":18446744073709551615}", "{\"a\":\"18446744073709551616\"}", true},
      {"{\"a\":18446744073709551616}", "{\"a\":18446744073709551616}", true},
      {"{\"a\":true}", "{\"a\":true}", true},
      {"{\"a\":true}", "{\"a\":\"True\"}", true},
      {"{\"a\":true}", "{\"a\":1}", false},
      {"{\"a|gte\":1}", "{\"a\":true}", false},
      {"{\"a|gte\":1}", "{\"a\":\"0x10\"}", false},
      {"{\"a|gte\":1}", "{\"a\":\"inf\"}", false},
      {"{\"a|gte\":1}", "{\"a\":\" 5\"}", false},
      {"{\"a|gte\":1}", "{\"a\":\"5e0\"}", true},
      {"{\"a|lt\":1}", "{\"a\":\"nan\"}", false},
      {"{\"a|gte\":1}", "{\"a\":[]}", false},
      {"{\"a\":null}", "{}", true},
      {"{\"a\":null}", "{\"a\":null}", true},
      {"{\"a\":null}", "{\"a\":\"\"}", false},
      {"{\"a\":[null,\"x\"]}", "{\"a\":\"x\"}", true},
      {"{\"a\":[null,\"x\"]}", "{\"a\":\"y\"}", false},
      {"{\"a\":\"\"}", "{\"a\":\"\"}", true},
      {"{\"a|contains\":\"null\"}", "{\"a\":null}", false},
      {"{\"a|contains\":\"x\"}", "{\"a\":{\"b\":\"x\"}}", false},
  };
  CHECK(cases);
}

static void test_folding(void **state) {
  static const struct match_case cases[] = {
      {"{\"a\":\"ÄÖÜ\"}", "{\"a\":\"äöü\"}", true},
      {"{\"a\":\"ПАРОЛЬ\"}", "{\"a\":\"пароль\"}", true},
      {"{\"a\":\"ΣΊΣΥΦΟΣ\"}", "{\"a\":\"σίσυφος\"}", true},
      {"{\"a\":\"kelvin\"}", "{\"a\":\"\\u212aelvin\"}", true},
      {"{\"a\":\"root\"}", "{\"a\":\"ＲＯＯＴ\"}", false},          /* full width is another letter */
      {"{\"a\":\"admin\"}", "{\"a\":\"аdmin\"}", false},            /* Cyrillic a */
      {"{\"a\":\"strasse\"}", "{\"a\":\"straße\"}", false},         /* no full folding */
      {"{\"a\":\"caf\\u00e9\"}", "{\"a\":\"cafe\\u0301\"}", false}, /* no normalisation */
      {"{\"a|contains\":\"É\"}", "{\"a\":\"café\"}", true},
      {"{\"a|endswith\":\"ŸŽ\"}", "{\"a\":\"xÿž\"}", true},
      {"{\"a|re|i\":\"[а-я]+É\"}", "{\"a\":\"ПРИВЕТé\"}", true},
  };
  CHECK(cases);
  char out[4], twice[4];
  for (uint32_t cp = 0; cp < 0x110000; cp++) {
    char in[4];
    size_t len = utf8_put(cp, in), n = fold_text(in, len, out);
    assert_true(n <= len);
    assert_int_equal(fold_text(out, n, twice), n);
    assert_memory_equal(out, twice, n);
  }
}

static void test_attackers_inputs(void **state) {
  static const struct match_case cases[] = {
      {"{\"a\":\"root\"}", "{\"a\":\"root\\u0000x\"}", false},
      {"{\"a|endswith\":\"x\"}", "{\"a\":\"root\\u0000x\"}", true},
      {"{\"a|contains\":\"evil\"}", "{\"a\":\"\\u0000evil\"}", true},
      {"{\"a|cidr\":\"10.0.0.0/8\"}", "{\"a\":\"10.0.0.1\\u0000\"}", false},
      {"{\"a|cidr\":\"10.0.0.0/8\"}", "{\"a\":\"010.0.0.1\"}", false},
      {"{\"a|re\":\"\\\\.exe$\"}", "{\"a\":\"x.exe\\n\"}", true},
      {"{\"a|re\":\"\\\\.exe\\\\z\"}", "{\"a\":\"x.exe\\n\"}", false},
      {"{\"a|re\":\"^b\"}", "{\"a\":\"a\\nb\"}", false},
      {"{\"a\":\"x\"}", "{\"a.\":\"x\",\"\":{\"a\":\"x\"}}", false},
      {"{\"raw.a.b\":\"x\"}", "{\"doc\":{\"a.\":\"x\",\"a..b\":\"x\",\".a.b\":\"x\"}}", false},
  };
  CHECK(cases);
}

/* Patterns that hang a backtracking matcher, on a text that almost matches. */
static void test_patterns_stay_linear(void **state) {
  static const char *const evil[] = {"^(a+)+$",       "^(a|a)*$", "^(a|aa)+$", "(a*)*b", "(.*a){20}", "^(([a-z])+.)+[A-Z]([a-z])+$",
                                     "(a?){50}a{50}$"};
  size_t len = 50000;
  char *text = malloc(len + 1);
  memset(text, 'a', len);
  text[len] = '!';
  for (size_t i = 0; i < sizeof evil / sizeof *evil; i++) {
    struct nfa *n = NULL;
    assert_int_equal(nfa_new(evil[i], strlen(evil[i]), 0, &n, NULL), 0);
    clock_t began = clock();
    bool matched = nfa_match(n, text, len + 1);
    assert_true(matched == (i == 4)); /* only (.*a){20} is found */
    assert_true(clock() - began < 5 * CLOCKS_PER_SEC);
    nfa_free(n);
  }
  free(text);
}

static void test_patterns(void **state) {
  static const struct {
    const char *pattern, *text;
    bool matches;
  } cases[] = {
      {"", "", true},
      {"a|b|cd", "xcd", true},
      {"^(a|b)$", "c", false},
      {"^$", "", true},
      {"a{2,3}", "a", false},
      {"^a{2,3}$", "aaa", true},
      {"^a{2,3}$", "aaaa", false},
      {"^a{2,}$", "aaaaa", true},
      {"^(ab){2}$", "abab", true},
      {"^(ab){2}$", "aba", false},
      {"a{,2}", "a{,2}", true},
      {"x{y}", "x{y}", true},
      {"^a*?b+?c??$", "aabb", true},
      {"[^a-c]", "abc", false},
      {"[^a-c]", "abcd", true},
      {"[]a]", "]", true},
      {"[a-]", "-", true},
      {"[\\d_]+$", "12_", true},
      {"\\bfoo\\b", "a foo b", true},
      {"\\bfoo\\b", "afoob", false},
      {"\\Bo\\B", "fox", true},
      {"\\w+@\\w+\\.com", "me@x.com", true},
      {"\\S\\s\\S", "a b", true},
      {"\\D", "12", false},
      {"\\W", "a_9", false},
      {"[[:alpha:]]+[[:digit:]]", "ab1", true},
      {"[[:upper:]]", "abc", false},
      {"(?i)ABC", "xabc", true},
      {"(?i)[A-C]{3}", "abc", true},
      {"(?i)[^A-C]", "abc", false},
      {"(?:a|b)c", "bc", true},
      {"\\x41\\x{1F600}", "A😀", true},
      {"^.$", "é", true},
      {"^..$", "é", false},
      {"a.c", "a\nc", false},
      {"(?s)a.c", "a\nc", true},
      {"(?m)^b$", "a\nb", true},
      {"\\Ab", "a\nb", false},
      {"a$", "a\n", true},
      {"a$", "a\n\n", false},
      {"(|a)+b", "aab", true},
      {"()*", "", true},
      {"(a*)*$", "b", true},
      {"((a)|b)+c", "abac", true},
      {"\\.\\*\\(", ".*(", true},
      {"(a|b|c|d|e)f", "ef", true},
      {"^(?:(a)|(b|c))$", "c", true},
      {"a{0}b", "b", true},
      {"^a{0,2}$", "aaa", false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct nfa *n = NULL;
    struct err err = {0};
    if (nfa_new(cases[i].pattern, strlen(cases[i].pattern), 0, &n, &err)) fail_msg("%s: %s", cases[i].pattern, err.text);
    if (nfa_match(n, cases[i].text, strlen(cases[i].text)) != cases[i].matches) fail_msg("%s on %s", cases[i].pattern, cases[i].text);
    nfa_free(n);
  }
  static const char *const wrong[] = {"(",         ")",     "a)",         "[a",     "[z-a]",         "*a",
                                      "a**",       "a++",   "(?=a)",      "(?<!a)", "(?P<n>a)",      "\\1",
                                      "\\q",       "\\",    "a{3,2}",     "a{256}", "(a{100}){100}", "((((a{50}){50}){50}){50})",
                                      "[[:foo:]]", "(?x)a", "\\x{110000}"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    struct nfa *n = NULL;
    struct err err = {0};
    if (nfa_new(wrong[i], strlen(wrong[i]), 0, &n, &err) == 0) fail_msg("%s should be refused", wrong[i]);
    assert_null(n);
    assert_true(strlen(err.text) > 10);
  }
}

static void test_mistakes_are_named(void **state) {
  static const struct {
    const char *when, *says;
  } cases[] = {
      {"{\"a|contain\":\"x\"}", "did you mean |contains?"},
      {"{\"a|startwith\":\"x\"}", "did you mean |startswith?"},
      {"{\"a|bogusness\":\"x\"}", "there are contains"},
      {"{\"a|neq\":\"x\"}", "none = {"},
      {"{\"a|base64offset\":\"x\"}", "not available"},
      {"{\"a|contains|re\":\"x\"}", "two comparisons"},
      {"{\"a|i\":\"x\"}", "only follows |re"},
      {"{\"a|cased|gte\":4}", "texts only"},
      {"{\"a|re|cased\":\"x\"}", "|re|i"},
      {"{\"a|exists\":\"yes\"}", "true or false"},
      {"{\"a|exists|all\":true}", "do not go together"},
      {"{\"a|gte\":\"four\"}", "number"},
      {"{\"a|cidr\":\"10.1.2.3/8\"}", "10.0.0.0/8"},
      {"{\"a|cidr\":\"10.0.0.0/33\"}", "up to 32"},
      {"{\"a|cidr\":\"example.com\"}", "not an address"},
      {"{\"a|cidr_in\":\"vpn\"}", "no list `vpn`"},
      {"{\"a\":{\"$list\":\"vpn\"}}", "create vpn.csv"},
      {"{\"a|re\":\"(\"}", "never closed"},
      {"{\"a\":\"foo*\"}", "|startswith"},
      {"{\"a\":[]}", "empty list"},
      {"{\"a|contains\":\"\"}", "|exists"},
      {"{\"a\":{\"b\":1}}", "a value must be"},
      {"{\"a\":[[1]]}", "a value must be"},
      {"{}", "there are none"},
      {"[]", "there are none"},
      {"[1]", "tables of members"},
      {"4", "must be a table"},
      {"{\"any\":{}}", "any: "},
      {"{\"none\":\"x\"}", "none: "},
      {"{\"not\":{\"a\":1}}", "none = {"},
      {"{\"\":1}", "empty"},
      {"{\"a..b\":1}", "empty part"},
      {"{\"a b\":1}", "spaces"},
      {"{\"a=b\":1}", "spaces, quotes"},
      {"{\"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q\":1}", "more than 16"},
      {"{\"any\":{\"any\":{\"any\":{\"any\":{\"any\":{\"any\":{\"any\":{\"any\":{\"any\":{\"a\":1}}}}}}}}}}", "deeper than"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct err err = {0};
    struct condition *c = NULL;
    json_t *when = parse(cases[i].when);
    assert_true(condition_compile(when, NULL, &c, &err) < 0);
    assert_null(c);
    if (!strstr(err.text, cases[i].says)) fail_msg("%s: got \"%s\", expected \"…%s…\"", cases[i].when, err.text, cases[i].says);
    assert_true(condition_compile(when, NULL, &c, NULL) < 0);
    json_decref(when);
  }
}

static void test_values_and_observables(void **state) {
  json_t *alert = parse("{\"u\":[{\"name\":\"a\"},{\"name\":\"b\"},{\"name\":\"a\"},null,{\"x\":1},7],\"observables\":["
                        "{\"name\":\"src_endpoint.ip\",\"type_id\":2,\"value\":\"10.0.0.1\"},{\"name\":\"actor.user\",\"type\":\"User\","
                        "\"type_id\":21,\"value\":\"alice\"},"
                        "{\"name\":\"x\",\"type_id\":777,\"value\":5},{\"name\":\"y\",\"type_id\":2,\"value\":null},17]}");
  json_t *values = path_values(alert, NULL, "u"), *want = parse("[\"a\",\"b\",\"7\"]");
  assert_true(json_equal(values, want));
  json_decref(values), json_decref(want);
  values = path_values(alert, NULL, "no..path");
  assert_int_equal(json_array_size(values), 0);
  json_decref(values);
  values = alert_observables(alert, NULL);
  assert_int_equal(json_array_size(values), 3);
  json_decref(values);
  values = alert_observables(alert, "ip"), want = parse("[{\"type\":\"IP Address\",\"value\":\"10.0.0.1\",\"path\":\"src_endpoint.ip\"}]");
  assert_true(json_equal(values, want));
  json_decref(values), json_decref(want);
  values = alert_observables(alert, "user");
  assert_int_equal(json_array_size(values), 1);
  json_decref(values), json_decref(alert);
}

/* Ten thousand observables against a thousand values stays a matter of milliseconds. */
static void test_wide_alert(void **state) {
  json_t *list = json_array(), *wanted = json_array();
  char text[40];
  for (int i = 0; i < 10000; i++) snprintf(text, sizeof text, "have-%d", i), json_array_append_new(list, json_pack("{s:s}", "value", text));
  for (int i = 0; i < 1000; i++) snprintf(text, sizeof text, "want-%d", i), json_array_append_new(wanted, json_string(text));
  json_t *alert = json_pack("{s:o}", "observables", list), *when = json_pack("{s:o}", "observables.value", wanted);
  struct condition *c = NULL;
  assert_int_equal(condition_compile(when, NULL, &c, NULL), 0);
  clock_t began = clock();
  assert_false(condition_match(c, alert, NULL, 0));
  json_t *values = path_values(alert, NULL, "observables.value");
  assert_int_equal(json_array_size(values), 10000);
  assert_true(clock() - began < CLOCKS_PER_SEC);
  json_decref(values);
  condition_free(c);
  json_decref(alert), json_decref(when);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_modifiers),
      cmocka_unit_test(test_combining),
      cmocka_unit_test(test_paths),
      cmocka_unit_test(test_types),
      cmocka_unit_test(test_folding),
      cmocka_unit_test(test_attackers_inputs),
      cmocka_unit_test(test_patterns),
      cmocka_unit_test(test_patterns_stay_linear),
      cmocka_unit_test(test_mistakes_are_named),
      cmocka_unit_test(test_values_and_observables),
      cmocka_unit_test(test_wide_alert),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
