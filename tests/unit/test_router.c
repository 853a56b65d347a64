/* The router: what matches with ten thousand triggers is what a walk over all of them finds; group keys; suppression. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "route/route.h"

static json_t *parse(const char *text) {
  struct err err = {0};
  json_t *value = NULL;
  if (json_parse(text, strlen(text), &value, &err)) fail_msg("%s: %s", text, err.text);
  return value;
}

static uint64_t seed;
static unsigned roll(unsigned n) { /* xorshift64: the same numbers on every run */
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return (unsigned)(seed >> 33) % n;
}

/* ---- against a walk over everything ---- */

static const char *const paths[] = {"a.b", "a.c", "u", "p.name", "raw.x.y", "raw.f.g.h", "unmapped.k.l", "sev"};
static const char *const texts[] = {"alpha",
                                    "ALPHA",
                                    "alphabet",
                                    "beta",
                                    "b",
                                    "gamma-long-value-beyond-the-thirty-two-bytes",
                                    "gamma-long-value-beyond-the-thirty-two-letters",
                                    "4",
                                    "10.0.0.1",
                                    "Ärger",
                                    "a|b=c",
                                    ""};
enum { PATHS = sizeof paths / sizeof *paths, TEXTS = sizeof texts / sizeof *texts };

static json_t *random_value(bool empty) {
  unsigned n = roll(empty ? TEXTS : TEXTS - 1);
  return n == 7 && roll(2) ? json_integer(4) : json_string(texts[n]);
}

static json_t *random_values(bool empty) {
  if (roll(3)) return random_value(empty);
  json_t *list = json_array();
  for (unsigned i = 0, n = 1 + roll(3); i < n; i++) json_array_append_new(list, random_value(empty));
  return list;
}

static json_t *random_tests(unsigned depth, bool anchor);

static void add_test(json_t *to, bool anchor) {
  static const char *const suffix[] = {"",     "|startswith", "|cased", "|startswith|cased", "|contains", "|endswith",
                                       "|all", "|exists",     "|re"};
  char key[80];
  unsigned kind = roll(anchor ? 4 : 9);
  snprintf(key, sizeof key, "%s%s", paths[roll(PATHS)], suffix[kind]);
  json_object_set_new(to, key,
                      kind == 7   ? json_boolean(roll(2))
                      : kind == 8 ? json_string(roll(2) ? "^al" : "a$|4")
                                  : random_values(kind == 0 || kind == 2));
}

static json_t *random_any(unsigned depth, bool anchor) {
  json_t *list = json_array();
  for (unsigned i = 0, n = 1 + roll(3); i < n; i++) json_array_append_new(list, random_tests(depth + 1, anchor));
  return list;
}

static json_t *random_tests(unsigned depth, bool anchor) {
  json_t *o = json_object();
  bool by_any = anchor && depth < 2 && roll(4) == 0;
  if (by_any) json_object_set_new(o, "any", random_any(depth, true));
  else add_test(o, anchor);
  for (unsigned i = 0, n = roll(3); i < n; i++) add_test(o, false);
  if (anchor && !by_any && json_object_size(o) == 0) add_test(o, true);
  if (roll(6) == 0 && depth < 2) json_object_set_new(o, "none", random_any(depth, false));
  return o;
}

static void put_at(json_t *root, const char *path, json_t *value, bool may_join) {
  const char *dot = may_join && roll(3) == 0 ? NULL : strchr(path, '.');
  if (!dot) {
    json_object_set_new(root, path, value);
    return;
  }
  char key[32];
  snprintf(key, sizeof key, "%.*s", (int)(dot - path), path);
  json_t *child = json_object_get(root, key);
  if (!json_is_object(child)) json_object_set_new(root, key, child = json_object());
  put_at(child, dot + 1, value, may_join || strcmp(key, "unmapped") == 0);
}

static void random_alert(json_t **alert, json_t **raw) {
  *alert = json_object(), *raw = json_object();
  for (int i = 0; i < PATHS; i++) {
    if (roll(2)) continue;
    json_t *value = roll(5) == 0 ? json_pack("{s:o}", "name", random_value(true)) : random_values(true);
    if (strncmp(paths[i], "raw.", 4) == 0) put_at(*raw, paths[i] + 4, value, true);
    else put_at(*alert, paths[i], value, false);
  }
  for (unsigned i = 0, n = roll(12); i < n; i++) {
    char key[16];
    snprintf(key, sizeof key, "k%u", i);
    json_object_set_new(roll(2) ? *alert : *raw, key, json_integer(i));
  }
}

static void test_against_brute_force(void **state) {
  enum { TRIGGERS = 10000, ALERTS = 500 };
  static struct trigger triggers[TRIGGERS];
  static struct condition *conditions[TRIGGERS];
  static char names[TRIGGERS][16];
  size_t total = 0, some = 0;
  seed = 88172645463325252u;
  for (int i = 0; i < TRIGGERS; i++) {
    struct err err = {0};
    json_t *when;
    do { /* an anchor may have been overwritten by a null or other member of the same name: the router itself says so */
      struct router *one = NULL;
      when = random_tests(0, true);
      struct trigger t = {.playbook = "p", .when = when};
      if (router_new(&t, 1, NULL, NULL, &one, &err) == 0) {
        router_free(one);
        break;
      }
      json_decref(when);
    } while (true);
    snprintf(names[i], sizeof names[i], "p%d", i);
    triggers[i] = (struct trigger){.playbook = names[i], .when = when, .window_ms = i};
    if (condition_compile(when, NULL, &conditions[i], &err)) fail_msg("%s", err.text);
  }
  struct router *r = NULL;
  struct err err = {0};
  if (router_new(triggers, TRIGGERS, NULL, NULL, &r, &err)) fail_msg("%s", err.text);
  for (int a = 0; a < ALERTS; a++) {
    json_t *alert, *raw;
    struct routing out;
    size_t n = 0;
    random_alert(&alert, &raw);
    router_match(r, alert, raw, 0, &out);
    for (int i = 0; i < TRIGGERS; i++) {
      bool listed = n < out.count && out.matches[n].window_ms == i;
      if (condition_match(conditions[i], alert, raw, 0) != listed) {
        char *w = json_text(triggers[i].when), *d = json_text(alert), *x = json_text(raw);
        fail_msg("%s on %s, raw %s: router says %d", w, d, x, listed);
      }
      if (listed) assert_string_equal(out.matches[n++].playbook, names[i]);
    }
    assert_int_equal(n, out.count);
    total += n, some += n > 0;
    routing_release(&out);
    json_decref(alert), json_decref(raw);
  }
  assert_true(some > ALERTS / 2 && total > ALERTS && total < (size_t)TRIGGERS * ALERTS / 2); /* neither nothing nor everything */
  router_free(r);
  for (int i = 0; i < TRIGGERS; i++) {
    condition_free(conditions[i]);
    json_decref((json_t *)(uintptr_t)triggers[i].when);
  }
}

/* ---- single routers ---- */

static struct router *router_of(const char *when, const char *group, const char *suppress) {
  struct router *r = NULL;
  struct err err = {0};
  json_t *w = parse(when), *g = parse(group), *s = parse(suppress);
  struct trigger t = {.playbook = "p", .when = w, .group = g, .window_ms = 5};
  if (router_new(&t, 1, s, NULL, &r, &err)) fail_msg("%s", err.text);
  json_decref(w), json_decref(g), json_decref(s); /* the router keeps nothing of the caller's */
  return r;
}

static char *key_of(const char *group, const char *alert) {
  struct router *r = router_of("{\"t\":1}", group, "[]");
  json_t *a = parse(alert);
  struct routing out;
  json_object_set_new(a, "t", json_integer(1));
  router_match(r, a, a, 0, &out);
  assert_int_equal(out.count, 1);
  assert_int_equal(out.matches[0].window_ms, 5);
  char *key = out.matches[0].group ? strdup(out.matches[0].group) : NULL;
  routing_release(&out);
  json_decref(a);
  router_free(r);
  return key;
}

static void test_group_keys(void **state) {
  static const struct {
    const char *group, *alert, *key;
  } cases[] = {
      {"[\"actor.user\"]", "{\"actor\":{\"user\":{\"name\":\"Alice\"}}}", "actor.user=\"alice\""},
      {"[\"b\",\"a\"]", "{\"a\":1,\"b\":\"x\"}", "a=\"1\"|b=\"x\""},
      {"[\"a\"]", "{\"a\":[\"y\",\"X\",\"Y\",null]}", "a=\"x\",\"y\""},
      {"[\"a\",\"b\"]", "{\"b\":\"x\"}", "a=|b=\"x\""},
      {"[\"a\",\"b\"]", "{\"c\":\"x\"}", NULL},
      {"[\"a\"]", "{\"a\":\"\"}", NULL},
      {"[]", "{\"a\":\"x\"}", NULL},
      {"null", "{\"a\":\"x\"}", NULL},
      {"[\"raw.a.b\"]", "{\"a.b\":\"x\"}", "raw.a.b=\"x\""},
      {"[\"a\"]", "{\"a\":\"x\\\"|b=\\\"y\\u0000\"}", "a=\"x\\\"|b=\\\"y\\u0000\""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *key = key_of(cases[i].group, cases[i].alert);
    if (cases[i].key) assert_string_equal(key, cases[i].key);
    else assert_null(key);
    free(key);
  }
}

/* Values made to look like other keys, lists or escapes: all keys differ. */
static void test_crafted_values_do_not_collide(void **state) {
  static const char *const alerts[] = {
      "{\"a\":\"x\",\"b\":\"y\"}",
      "{\"a\":\"x|b=y\"}",
      "{\"a\":\"x\\\"|b=\\\"y\"}",
      "{\"a\":\"x\\\"|b=\\\"y\",\"b\":\"z\"}",
      "{\"a\":\"x|b=\",\"b\":\"y\"}",
      "{\"a\":[\"x\",\"y\"]}",
      "{\"a\":\"x,y\"}",
      "{\"a\":\"x\\\",\\\"y\"}",
      "{\"a\":\"x\\\\\",\"b\":\"y\"}",
      "{\"a\":\"x\\u0000\",\"b\":\"y\"}",
      "{\"a\":\"x\\\\u0000\",\"b\":\"y\"}",
      "{\"b\":\"x\",\"a\":\"y\"}",
      "{\"b\":\"x\"}",
      "{\"a\":\"x\"}",
      "{\"a\":\"x\",\"b\":\"|\"}",
      "{\"a\":\"x|\",\"b\":\"\"}",
  };
  enum { COUNT = sizeof alerts / sizeof *alerts };
  char *keys[COUNT];
  for (int i = 0; i < COUNT; i++) keys[i] = key_of("[\"a\",\"b\"]", alerts[i]);
  for (int i = 0; i < COUNT; i++)
    for (int j = 0; j < i; j++)
      if (strcmp(keys[i], keys[j]) == 0) fail_msg("%s and %s share %s", alerts[i], alerts[j], keys[i]);
  for (int i = 0; i < COUNT; i++) free(keys[i]);
}

static void test_long_keys_become_digests(void **state) {
  char alert[2000], other[2000];
  memset(alert, 'x', sizeof alert);
  memcpy(alert, "{\"a\":\"", 6);
  memcpy(alert + sizeof alert - 3, "\"}", 3);
  memcpy(other, alert, sizeof alert);
  other[sizeof other - 4] = 'z';
  char *one = key_of("[\"a\"]", alert), *two = key_of("[\"a\"]", other), *again = key_of("[\"a\"]", alert);
  assert_int_equal(strncmp(one, "sha256:", 7), 0);
  assert_int_equal(strlen(one), 71);
  assert_string_equal(one, again);
  assert_string_not_equal(one, two);
  free(one), free(two), free(again);
}

static const char *suppressed(const struct router *r, const char *alert, const char *time, char out[64]) {
  json_t *a = parse(alert);
  struct routing routing;
  int64_t now = 0;
  assert_true(time_parse(time, &now));
  router_match(r, a, NULL, now, &routing);
  assert_int_equal(routing.count, 1);
  snprintf(out, 64, "%s", routing.suppressed_by ? routing.suppressed_by : "-");
  assert_true(!routing.suppressed_by == !routing.suppression);
  if (routing.suppression) assert_string_equal(json_str(routing.suppression, "owner"), "ops");
  routing_release(&routing);
  json_decref(a);
  return out;
}

static void test_suppression(void **state) {
  char out[64];
  struct router *r =
      router_of("{\"t\":1}", "null",
                "[{\"name\":\"deploy\",\"when\":{\"h\":\"web\",\"sev|lt\":4},\"reason\":\"deploy\",\"owner\":\"ops\",\"starts\":\"2026-11-"
                "20\",\"expires\":\"2026-11-23\"},"
                "{\"when\":{\"h|startswith\":\"scan\"},\"reason\":\"scanner\",\"owner\":\"ops\",\"expires\":\"2026-11-23T12:00:00Z\"}]");
  assert_string_equal(suppressed(r, "{\"t\":1,\"h\":\"web\",\"sev\":3}", "2026-11-23T23:59:59Z", out), "deploy");
  assert_string_equal(suppressed(r, "{\"t\":1,\"h\":\"web\",\"sev\":3}", "2026-11-24T00:00:00Z", out), "-");
  assert_string_equal(suppressed(r, "{\"t\":1,\"h\":\"web\",\"sev\":3}", "2026-11-20T00:00:00Z", out), "deploy");
  assert_string_equal(suppressed(r, "{\"t\":1,\"h\":\"web\",\"sev\":3}", "2026-11-19T23:59:59Z", out), "-");
  assert_string_equal(suppressed(r, "{\"t\":1,\"h\":\"web\",\"sev\":4}", "2026-11-23T00:00:00Z", out), "-");
  assert_string_equal(suppressed(r, "{\"t\":1,\"h\":\"scanner-7\"}", "2026-11-23T11:59:59Z", out), "suppression 2");
  assert_string_equal(suppressed(r, "{\"t\":1,\"h\":\"scanner-7\"}", "2026-11-23T12:00:00Z", out), "-");
  router_free(r);
}

static void test_mistakes_are_named(void **state) {
  static const struct {
    const char *when, *group, *suppress, *says;
  } cases[] = {
      {"{\"a|re\":\"x\"}", "null", "[]", "playbook p: when: needs one exact or |startswith condition"},
      {"{\"a|contains\":\"x\",\"sev|gte\":4}", "null", "[]", "[\"metadata.product.name\"]"},
      {"{\"a\":[\"x\",null]}", "null", "[]", "needs one exact"},
      {"{\"none\":{\"a\":\"x\"}}", "null", "[]", "needs one exact"},
      {"{\"any\":{\"a\":\"x\",\"b|re\":\"y\"}}", "null", "[]", "each branch of any"},
      {"{\"a|ends\":\"x\"}", "null", "[]", "playbook p: when: `a|ends`"},
      {"{\"a\":1}", "\"a\"", "[]", "group must be a list"},
      {"{\"a\":1}", "{\"a\":1}", "[]", "group must be a list"},
      {"{\"a\":1}", "[4]", "[]", "group must be a list"},
      {"{\"a\":1}", "[\"a..b\"]", "[]", "group: path `a..b`"},
      {"{\"a\":1}", "[\"a\",\"a\"]", "[]", "twice"},
      {"{\"a\":1}", "null", "[{\"when\":{\"a\":1},\"owner\":\"o\",\"expires\":\"2026-01-01\"}]", "`reason` is missing"},
      {"{\"a\":1}", "null", "[{\"name\":\"n\",\"when\":{\"a\":1},\"reason\":\" \",\"owner\":\"o\",\"expires\":\"2026-01-01\"}]",
       "suppression n (number 1): `reason`"},
      {"{\"a\":1}", "null", "[{\"when\":{\"a\":1},\"reason\":\"r\",\"expires\":\"2026-01-01\"}]", "`owner` is missing"},
      {"{\"a\":1}", "null", "[{\"when\":{\"a\":1},\"reason\":\"r\",\"owner\":\"o\"}]", "`expires` is missing"},
      {"{\"a\":1}", "null", "[{\"when\":{\"a\":1},\"reason\":\"r\",\"owner\":\"o\",\"expires\":\"never\"}]", "`never` is no date"},
      {"{\"a\":1}", "null", "[{\"when\":{\"a\":1},\"reason\":\"r\",\"owner\":\"o\",\"expire\":\"2026-01-01\"}]", "did you mean `expires`?"},
      {"{\"a\":1}", "null", "[{\"when\":{\"a\":1},\"reason\":\"r\",\"owner\":\"o\",\"starts\":\"2026-02-01\",\"expires\":\"2026-01-01\"}]",
       "before it starts"},
      {"{\"a\":1}", "null", "[{\"reason\":\"r\",\"owner\":\"o\",\"expires\":\"2026-01-01\"}]", "when: a condition must be"},
      {"{\"a\":1}", "null",
       "[{\"name\":\"n\",\"when\":{\"a|cidr\":\"10.0.0.0/8\"},\"reason\":\"r\",\"owner\":\"o\",\"expires\":\"2026-01-01\"}]",
       "suppression n: when: needs one exact"},
      {"{\"a\":1}", "null", "[7]", "must be a table"},
      {"{\"a\":1}", "null", "{\"when\":1}", "list of rules"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    json_t *w = parse(cases[i].when), *g = parse(cases[i].group), *s = parse(cases[i].suppress);
    struct trigger t = {.playbook = "p", .when = w, .group = g};
    struct router *r = NULL;
    struct err err = {0};
    int rc = router_new(&t, 1, s, NULL, &r, &err);
    if (rc == 0 || r) fail_msg("%s %s %s should be refused", cases[i].when, cases[i].group, cases[i].suppress);
    if (!strstr(err.text, cases[i].says)) fail_msg("got \"%s\", expected \"…%s…\"", err.text, cases[i].says);
    assert_true(router_new(&t, 1, s, NULL, &r, NULL) < 0);
    json_decref(w), json_decref(g), json_decref(s);
  }
}

static void test_by_hand_only(void **state) {
  struct trigger t = {.playbook = "manual"};
  struct router *r = NULL;
  struct routing out;
  json_t *alert = parse("{\"a\":1}");
  assert_int_equal(router_new(&t, 1, NULL, NULL, &r, NULL), 0);
  router_match(r, alert, NULL, 0, &out);
  assert_int_equal(out.count, 0);
  routing_release(&out);
  router_match(r, NULL, NULL, 0, &out);
  assert_int_equal(out.count, 0);
  routing_release(&out);
  router_free(r);
  assert_int_equal(router_new(NULL, 0, NULL, NULL, &r, NULL), 0);
  router_match(r, alert, alert, 0, &out);
  assert_int_equal(out.count, 0);
  routing_release(&out);
  router_free(r);
  json_decref(alert);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_by_hand_only),
      cmocka_unit_test(test_group_keys),
      cmocka_unit_test(test_crafted_values_do_not_collide),
      cmocka_unit_test(test_long_keys_become_digests),
      cmocka_unit_test(test_suppression),
      cmocka_unit_test(test_mistakes_are_named),
      cmocka_unit_test(test_against_brute_force),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
