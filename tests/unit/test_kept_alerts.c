/* An incident's alerts are the same however late somebody looks at them, and the same as those that are read back from its journal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "evidence/leaf.h"
#include "incident/internal.h"

static struct incident inc;

static int setup(void **state) {
  inc = (struct incident){.alerts = json_array()};
  STAILQ_INIT(&inc.unread);
  return 0;
}

static int teardown(void **state) {
  incident_alerts_set(&inc, NULL);
  return 0;
}

static json_t *body_of(const char *member, const char *text) {
  return json_pack("{s:s, s:{s:i, s:s}, s:s*}", "id", "x:1", "finding", "class_uid", 2004, "message", "m", member, text);
}

static void attach(const json_t *body) {
  struct entry *e;
  struct entry_spec spec = {.kind = KIND_ALERT_ATTACHED, .actor = "engine", .body = body};
  assert_int_equal(entry_make(&spec, "INC-000001", "n1", 1, leaf_none(), 0, NULL, &e, NULL), 0);
  incident_alert_keep(&inc, e);
  entry_free(e);
}

static void attach_raw(const char *member, const char *text) {
  json_t *body = body_of(member, text);
  attach(body);
  json_decref(body);
}

static void expect(size_t at, const char *raw) {
  char *text = json_text(json_object_get(json_array_get(incident_alerts(&inc), at), "raw"));
  assert_int_equal(json_int_or(json_array_get(inc.alerts, at), "class_uid", 0), 2004);
  if (raw) assert_string_equal(text, raw);
  else assert_null(text);
  free(text);
}

static void test_a_look_between(void **state) {
  attach_raw("raw", "{\"b\":1,\"a\":[2]}");
  attach_raw("raw", "a line, no JSON");
  assert_int_equal(json_array_size(inc.alerts), 0);
  expect(0, "{\"a\":[2],\"b\":1}");
  attach_raw("raw", "3");
  assert_int_equal(json_array_size(incident_alerts(&inc)), 3);
  expect(1, "\"a line, no JSON\"");
  expect(2, "3");
}

static void test_bytes_in_base64(void **state) {
  char *coded = base64_encode("{\"a\":\"\\n\"}", 10);
  attach_raw("raw_base64", coded);
  free(coded);
  coded = base64_encode("\xff\xfe", 2);
  attach_raw("raw_base64", coded);
  free(coded);
  expect(0, "{\"a\":\"\\n\"}");
  expect(1, NULL);
}

/* What cannot be put on record whole says so instead, and is no alert. */
static void test_no_finding(void **state) {
  json_t *body = json_pack("{s:s}", "error", "too large");
  attach(body);
  json_decref(body);
  attach_raw("raw", "1");
  assert_int_equal(json_array_size(incident_alerts(&inc)), 1);
  incident_alert_keep(&inc, NULL);
  assert_int_equal(json_array_size(incident_alerts(&inc)), 1);
}

static void test_the_first_of_many(void **state) {
  for (int i = 0; i < ALERTS_KEPT + 5; i++) attach_raw("raw", i == ALERTS_KEPT - 1 ? "\"last\"" : "1");
  assert_int_equal(json_array_size(incident_alerts(&inc)), ALERTS_KEPT);
  attach_raw("raw", "\"too late\"");
  assert_int_equal(json_array_size(incident_alerts(&inc)), ALERTS_KEPT);
  expect(ALERTS_KEPT - 1, "\"last\"");
}

static void test_set_anew(void **state) {
  json_t *body = body_of("raw", "1"), *alerts = json_array();
  attach_raw("raw", "\"to be removed\"");
  incident_alert_add(alerts, body);
  json_decref(body);
  incident_alerts_set(&inc, alerts);
  attach_raw("raw", "2");
  assert_int_equal(json_array_size(incident_alerts(&inc)), 2);
  expect(0, "1");
  expect(1, "2");
}

int main(void) {
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
  const struct CMUnitTest tests[] = {T(test_a_look_between), T(test_bytes_in_base64), T(test_no_finding), T(test_the_first_of_many),
                                     T(test_set_anew)};
#undef T
  return cmocka_run_group_tests(tests, NULL, NULL);
}
