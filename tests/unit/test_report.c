/* The views of a journal: times named by their entries, absent ones not recorded, strangers' words harmless in every form, the same bytes each time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "case_help.h"
#include "report/internal.h"

static json_t *moment(const json_t *facts, const char *name) { return json_object_get(json_object_get(facts, "times"), name); }

static void is_moment(const json_t *facts, const char *name, int64_t time, int64_t seq) {
  const json_t *m = moment(facts, name);
  if (!json_is_object(m)) fail_msg("%s is not recorded", name);
  assert_int_equal(json_int_or(m, "time", 0), time);
  assert_int_equal(json_int_or(m, "seq", 0), seq);
}

static void test_times(void **state) {
  struct made_case c;
  case_make(&c);
  json_t *facts = report_facts(&c.source);
  is_moment(facts, "occurred", (T0 - 600 * SECOND) / 1000 * 1000, 2); /* start_time of the alert */
  is_moment(facts, "detected", (T0 - 30 * SECOND) / 1000 * 1000, 2);  /* what the product says */
  is_moment(facts, "received", T0 - SECOND, 2);                       /* not when it was written */
  is_moment(facts, "acknowledged", T0 + 7 * SECOND, 8);               /* the answer */
  is_moment(facts, "contained", T0 + 4 * SECOND, 5);
  is_moment(facts, "recovered", T0 + 11 * SECOND, 12); /* all released, before it was closed */
  json_decref(facts);
  case_free(&c);
}

static void test_person_sets_occurred(void **state) {
  struct made_case c;
  case_begin(&c);
  case_add(&c, KIND_INCIDENT_OPENED, "person:7f3a", 0, NULL, json_pack("{s:s, s:s}", "title", "seen", "occurred", "2025-11-20T10:00:00Z"));
  case_add(&c, KIND_INCIDENT_CLOSED, "person:7f3a", 0, NULL, json_pack("{s:s}", "verdict", "benign"));
  json_t *facts = report_facts(&c.source);
  int64_t us = 0;
  assert_true(time_parse("2025-11-20T10:00:00Z", &us));
  is_moment(facts, "occurred", us, 1);
  is_moment(facts, "received", T0, 1);
  is_moment(facts, "acknowledged", T0, 1);
  is_moment(facts, "recovered", T0 + SECOND, 2);
  assert_true(json_is_null(moment(facts, "detected")));
  assert_true(json_is_null(moment(facts, "contained")));
  json_decref(facts);
  case_free(&c);
}

/* The tag by which a person says that it is contained counts, not what was contained afterwards. */
static void test_contained_until_said(void **state) {
  struct made_case c;
  case_begin(&c);
  case_add(&c, KIND_INCIDENT_OPENED, "engine", 0, NULL, json_pack("{s:s}", "title", "x"));
  for (int i = 0; i < 3; i++) {
    if (i == 2) case_add(&c, KIND_INCIDENT_TAGGED, "person:7f3a", 0, NULL, json_pack("{s:s}", "tag", "contained"));
    case_add(&c, KIND_ACTION_OUTCOME, "playbook:p", 1,
             i == 0   ? "1"
             : i == 1 ? "2"
                      : "3",
             json_pack("{s:b, s:s, s:{s:s}}", "ok", 1, "contains", "active", "target", "user", "a"));
  }
  json_t *facts = report_facts(&c.source);
  is_moment(facts, "contained", T0 + 2 * SECOND, 3);
  assert_true(json_is_null(moment(facts, "recovered"))); /* three are still contained */
  json_decref(facts);
  case_free(&c);
}

static void test_absent_is_not_recorded(void **state) {
  struct made_case c;
  struct buf html;
  buf_init(&html, REPORT_CAP);
  case_begin(&c);
  case_add(&c, KIND_ENGINE_STARTED, "engine", 0, NULL, json_object());
  json_t *facts = report_facts(&c.source);
  const char *name;
  json_t *value;
  json_object_foreach(json_object_get(facts, "times"), name, value) assert_true(json_is_null(value));
  report_html(&c.source, facts, &html);
  unsigned times = 0;
  for (const char *p = html.data; (p = strstr(p, "</b>not recorded")); p++) times++;
  assert_int_equal(times, 6);
  assert_null(strstr(html.data, "1970"));
  json_decref(facts);
  buf_release(&html);
  case_free(&c);
}

static void test_facts(void **state) {
  struct made_case c;
  case_make(&c);
  json_t *facts = report_facts(&c.source);
  const json_t *held = json_array_get(json_object_get(facts, "containments"), 0);
  assert_string_equal(json_str_or(held, "status", ""), "released");
  assert_string_equal(json_str_or(held, "because", ""), "he asked <b>nicely</b>");
  assert_string_equal(json_str_or(held, "ended_by", ""), "Bob & \"Co\"");
  assert_int_equal(json_int_or(held, "ended_seq", 0), 12);
  const json_t *q = json_array_get(json_object_get(facts, "questions"), 0);
  assert_string_equal(json_str_or(q, "answer", ""), "keep");
  const json_t *d = json_array_get(json_object_get(facts, "decisions"), 0);
  assert_int_equal(json_int_or(d, "seq", 0), 8);
  assert_string_equal(json_str_or(d, "about", ""), "Keep alice locked?");
  assert_int_equal(json_array_size(json_object_get(json_object_get(facts, "controls"), "A.5.25")), 2);
  assert_int_equal(json_array_size(json_object_get(facts, "removed")), 1);
  json_decref(facts);
  case_free(&c);
}

/* ---- forms */

/* Every fact of custody that the standards ask for is on the page, and what nobody said is not recorded. */
static void test_custody(void **state) {
  static const char *const shown[] = {"INC-000042/2</td>",
                                      "SHA-256 before: b0b0",
                                      "SHA-256 after: afaf",
                                      "source: web1, serial 117",
                                      "from: web1:/dev/mem",
                                      "to: the safe",
                                      "lies at node: n2",
                                      "tool: LiME 1.9.1",
                                      "collected by: Eve",
                                      "collected at: 2025-11-23T19:42:00+01:00",
                                      "not synchronized",
                                      "class: standard",
                                      "kept until: ",
                                      "why: the loader",
                                      "legal hold: litigation",
                                      "handed over",
                                      "to: Sgt. Doe",
                                      "receipt acknowledged",
                                      "received by: Sgt. Doe",
                                      "of the handing over in entry: 3",
                                      "legal hold set",
                                      "legal hold lifted",
                                      "a copy was taken",
                                      "destroyed, with its key, before its time",
                                      "source: not recorded",
                                      "tool: not recorded",
                                      "SHA-256 before: not recorded",
                                      "what this entry said was removed",
                                      NULL};
  struct made_case c;
  struct buf html;
  json_t *clock = json_pack("{s:s}", "state", "not synchronized");
  buf_init(&html, REPORT_CAP);
  case_begin(&c);
  case_add(&c, KIND_INCIDENT_OPENED, "person:7f3a", 0, NULL, json_pack("{s:s}", "title", "x"));
  json_t *body = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "name", "memory.lime", "size", 8, "sha256_before", "b0b0",
                           "sha256", "afaf", "source", "web1, serial 117", "from", "web1:/dev/mem", "to", "the safe", "node", "n2", "tool",
                           "LiME 1.9.1", "collected_by", "Eve");
  json_object_update_new(body, json_pack("{s:s, s:O, s:s, s:I, s:s, s:s}", "collected", "2025-11-23T19:42:00+01:00", "clock", clock,
                                         "class", "standard", "retain_until", (json_int_t)(T0 + 90 * SECOND), "because", "the loader",
                                         "hold", "litigation"));
  case_add(&c, KIND_EVIDENCE_COLLECTED, "person:7f3a", 0, NULL, body);
  case_add(&c, KIND_EVIDENCE_TRANSFERRED, "person:7f3a", 0, NULL,
           json_pack("{s:i, s:s, s:O}", "item", 2, "to", "Sgt. Doe", "clock", clock));
  case_add(&c, KIND_EVIDENCE_ACKNOWLEDGED, "person:7f3a", 0, NULL,
           json_pack("{s:i, s:s, s:i}", "item", 2, "received_by", "Sgt. Doe", "transfer", 3));
  case_add(&c, KIND_EVIDENCE_HELD, "person:7f3a", 0, NULL, json_pack("{s:i}", "item", 2));
  case_add(&c, KIND_EVIDENCE_HOLD_LIFTED, "person:7f3a", 0, NULL, json_pack("{s:i}", "item", 2));
  case_add(&c, KIND_EVIDENCE_COPIED, "person:7f3a", 0, NULL, json_pack("{s:i}", "item", 2));
  case_add(&c, KIND_EVIDENCE_DELETED, "person:7f3a", 0, NULL, json_pack("{s:i, s:b}", "item", 2, "before_retention", 1));
  case_add(&c, KIND_EVIDENCE_COLLECTED, "person:7f3a", 0, NULL, json_pack("{s:s}", "name", "bare"));
  case_add(&c, KIND_EVIDENCE_COLLECTED, "person:7f3a", 0, NULL, NULL);
  json_t *facts = report_facts(&c.source);
  report_html(&c.source, facts, &html);
  for (const char *const *s = shown; *s; s++)
    if (!strstr(html.data, *s)) fail_msg("%s is not on the page", *s);
  json_decref(facts);
  json_decref(clock);
  buf_release(&html);
  case_free(&c);
}

static void test_html_is_harmless(void **state) {
  struct made_case c;
  struct buf html, again;
  buf_init(&html, REPORT_CAP), buf_init(&again, REPORT_CAP);
  case_make(&c);
  json_t *facts = report_facts(&c.source);
  report_html(&c.source, facts, &html);
  report_html(&c.source, facts, &again);
  assert_true(buf_ok(&html) && html.len == again.len && memcmp(html.data, again.data, html.len) == 0);
  assert_null(strstr(html.data, "<script"));
  assert_null(strstr(html.data, "<img"));
  assert_null(strstr(html.data, "<b>nicely"));
  assert_non_null(strstr(html.data, "&lt;script&gt;alert(1)&lt;/script&gt;"));
  assert_non_null(strstr(html.data, "Bob &amp; &quot;Co&quot;"));
  /* Nothing is fetched: no attribute names anything but a place on the page. */
  for (const char *p = html.data; (p = strstr(p, "href=\"")); p++) assert_int_equal(p[6], '#');
  for (const char *p = html.data; (p = strchr(p, '<')); p++) {
    const char *src = strstr(p, " src=");
    assert_true(!src || src > strchr(p, '>'));
  }
  assert_null(strstr(html.data, "url("));
  assert_null(strstr(html.data, "@import"));
  /* Every entry that is named is on the page. */
  for (const char *p = html.data; (p = strstr(p, "href=\"#e")); p++) {
    char id[40];
    snprintf(id, sizeof id, "id=\"e%ld\"", strtol(p + 8, NULL, 10));
    if (!strstr(html.data, id)) fail_msg("no %s on the page", id);
  }
  json_decref(facts);
  buf_release(&html), buf_release(&again);
  case_free(&c);
}

/* One record of RFC 4180; returns what follows. */
static const char *record(const char *p, char cells[10][256]) {
  for (int i = 0; i < 10; i++) {
    size_t n = 0;
    bool quoted = *p == '"';
    if (quoted) p++;
    for (; quoted ? !(*p == '"' && p[1] != '"') : *p != ',' && *p != '\r'; p++) {
      assert_true(*p != 0);
      if (quoted && *p == '"') p++;
      if (n < 255) cells[i][n++] = *p;
    }
    cells[i][n] = 0;
    if (quoted) p++;
    if (i < 9) assert_int_equal(*p++, ',');
  }
  assert_int_equal(p[0], '\r');
  assert_int_equal(p[1], '\n');
  return p + 2;
}

static void test_csv(void **state) {
  struct made_case c;
  struct buf csv;
  char cells[10][256];
  buf_init(&csv, REPORT_CAP);
  case_make(&c);
  report_csv(&c.source, &csv);
  const char *p = record(csv.data, cells);
  assert_string_equal(cells[8], "what");
  for (size_t i = 0; i < c.source.count; i++) {
    p = record(p, cells);
    assert_int_equal(strtoul(cells[0], NULL, 10), i + 1);
    assert_string_equal(cells[9], c.source.entries[i]->leaf);
    for (int n = 0; n < 10; n++) assert_null(cells[n][0] ? strchr("=+-@", cells[n][0]) : NULL);
    if (i == 9) assert_string_equal(cells[8], "'=HYPERLINK(\"http://evil.example\") <script>alert(1)</script>");
  }
  assert_int_equal(*p, 0);
  buf_release(&csv);
  case_free(&c);
}

static void test_ocsf(void **state) {
  static const char *const required[] = {"class_uid",   "category_uid", "activity_id",       "type_uid", "time",
                                         "severity_id", "status_id",    "finding_info_list", "metadata"};
  struct made_case c;
  case_make(&c);
  json_t *facts = report_facts(&c.source), *o = report_ocsf(facts);
  for (size_t i = 0; i < sizeof required / sizeof *required; i++) assert_non_null(json_object_get(o, required[i]));
  assert_int_equal(json_int_or(o, "type_uid", 0), 2005 * 100 + json_int_or(o, "activity_id", 0));
  assert_int_equal(json_int_or(o, "activity_id", 0), 3);
  assert_int_equal(json_int_or(o, "status_id", 0), 5);
  assert_int_equal(json_int_or(o, "verdict_id", 0), 2);
  assert_int_equal(json_int_or(o, "start_time", 0), (T0 - 600 * SECOND) / 1000);
  const json_t *info = json_array_get(json_object_get(o, "finding_info_list"), 0);
  assert_string_equal(json_str_or(info, "uid", ""), "wazuh-7");
  assert_non_null(json_object_get(o, "assignee_group")); /* nobody owns it, and one of the two is required */
  json_decref(o);
  json_decref(facts);
  case_free(&c);
}

static const json_t *stix_object(const json_t *bundle, const char *type) {
  size_t i;
  json_t *o;
  json_array_foreach(json_object_get(bundle, "objects"), i, o) if (strcmp(json_str_or(o, "type", ""), type) == 0) return o;
  fail_msg("no %s in the bundle", type);
  return NULL;
}

static void test_stix(void **state) {
  struct made_case c;
  case_make(&c);
  json_t *facts = report_facts(&c.source), *b = report_stix(facts), *again = report_stix(facts), *o;
  assert_true(json_equal(b, again));
  size_t i;
  json_array_foreach(json_object_get(b, "objects"), i, o) {
    const char *type = json_str_or(o, "type", "?"), *id = json_str_or(o, "id", "");
    assert_string_equal(json_str_or(o, "spec_version", ""), "2.1");
    assert_true(strncmp(id, type, strlen(type)) == 0 && strncmp(id + strlen(type), "--", 2) == 0 && strlen(id) == strlen(type) + 38);
    assert_int_equal(id[strlen(type) + 2 + 14], '5'); /* the version */
  }
  /* As any other producer computes it. */
  assert_string_equal(json_str_or(stix_object(b, "ipv4-addr"), "id", ""), "ipv4-addr--e17823ff-cd7d-55c9-8a58-6ff3c5c23bcb");
  assert_string_equal(json_str_or(stix_object(b, "indicator"), "pattern", ""), "[ipv4-addr:value = '203.0.113.66']");
  const json_t *report = stix_object(b, "report"), *seen = stix_object(b, "observed-data");
  assert_string_equal(json_str_or(report, "name", ""), "Brute <b>force</b>");
  assert_int_equal(json_int_or(seen, "number_observed", 0), 1);
  json_array_foreach(json_object_get(report, "object_refs"), i, o) {
    size_t n;
    json_t *other;
    bool found = false;
    json_array_foreach(json_object_get(b, "objects"), n, other) found = found || json_equal(json_object_get(other, "id"), o);
    assert_true(found);
  }
  json_decref(b), json_decref(again), json_decref(facts);
  case_free(&c);
}

/* Whatever leaves of an exercise says so, and nobody blocks what it made up. */
static void test_exercise_is_marked(void **state) {
  struct made_case c;
  struct buf csv, html;
  case_make(&c);
  c.source.incident = "EX-000042";
  json_t *facts = report_facts(&c.source), *b = report_stix(facts), *o = report_ocsf(facts), *one;
  size_t i, named = 0, rows = 0;
  json_array_foreach(json_object_get(b, "objects"), i, one) {
    const char *type = json_str_or(one, "type", "");
    assert_string_not_equal(type, "indicator");
    if (strcmp(type, "report") != 0 && strcmp(type, "incident") != 0) continue;
    assert_int_equal(strncmp(json_str_or(one, "name", ""), "EXERCISE: ", 10), 0);
    named++;
  }
  assert_int_equal(named, 2);
  char *text = json_text(o);
  assert_non_null(strstr(text, "EXERCISE: Brute"));
  free(text);
  buf_init(&csv, REPORT_CAP), buf_init(&html, REPORT_CAP);
  report_csv(&c.source, &csv);
  report_html(&c.source, facts, &html);
  assert_non_null(strstr(html.data, "<h1>EXERCISE: "));
  for (const char *p = csv.data; (p = strstr(p, "\"EXERCISE: ")); p++) rows++;
  assert_int_equal(rows, c.source.count);
  buf_release(&csv), buf_release(&html);
  json_decref(b), json_decref(o), json_decref(facts);
  case_free(&c);
}

/* RFC 9562, appendix A.4. */
static void test_uuid(void **state) {
  char uuid[UUID_TEXT];
  uuid5("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "www.example.com", 15, uuid);
  assert_string_equal(uuid, "2ed6657d-e927-568b-95e1-2665a8aea6a2");
}

static void test_every_control_has_a_title(void **state) {
  for (int kind = 0; kind < KIND_COUNT; kind++)
    if (!report_control(kind_control((enum kind)kind))[0]) fail_msg("no title for %s", kind_control((enum kind)kind));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_times),
      cmocka_unit_test(test_person_sets_occurred),
      cmocka_unit_test(test_contained_until_said),
      cmocka_unit_test(test_absent_is_not_recorded),
      cmocka_unit_test(test_facts),
      cmocka_unit_test(test_custody),
      cmocka_unit_test(test_html_is_harmless),
      cmocka_unit_test(test_csv),
      cmocka_unit_test(test_ocsf),
      cmocka_unit_test(test_stix),
      cmocka_unit_test(test_exercise_is_marked),
      cmocka_unit_test(test_uuid),
      cmocka_unit_test(test_every_control_has_a_title),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
