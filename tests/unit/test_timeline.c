/* The timeline that people read: every kind has words, what strangers wrote is harmless, a storm is short. */
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
#include "cmd/blocks.h"
#include "cmd/timeline.h"

static const int64_t T0 = 1763923321123456; /* 2025-11-23T18:42:01.123456Z */

static int utc(void **state) {
  setenv("TZ", "UTC", 1);
  tzset();
  return 0;
}

static json_t *entry(int64_t seq, int64_t time, const char *actor, const char *name, const char *type, int run, const char *step,
                     json_t *body_take) {
  return json_pack("{s:I, s:I, s:s, s:s, s:s, s:i, s:s, s:o*, s:s}", "seq", (json_int_t)seq, "time", (json_int_t)time, "actor", actor,
                   "name", name, "type", type, "run", run, "step", step, "body", body_take, "meaning", "what it means");
}

static char *words_of(const char *type, json_t *body_take) {
  struct view v;
  json_t *e = entry(1, T0, "engine", "engine", type, 1, "3", body_take);
  view_init(&v, false, 0);
  timeline_words(&v, e);
  char *text = buf_take(&v.out, NULL);
  json_decref(e);
  view_release(&v);
  return text;
}

static void says(const char *type, json_t *body_take, const char *expected) {
  char *text = words_of(type, body_take);
  assert_string_equal(text, expected);
  free(text);
}

static char *printed(const json_t *entries, bool all, unsigned width) {
  struct view v;
  struct timeline t = {.all = all};
  view_init(&v, false, width);
  timeline_print(&t, &v, entries);
  char *text = buf_take(&v.out, NULL);
  view_release(&v);
  return text;
}

/* Nobody takes an exercise for the real thing. */
static void test_an_exercise_says_so(void **state) {
  static const char *const ids[] = {"EX-000007", "INC-000007"};
  for (size_t i = 0; i < 2; i++) {
    struct view v;
    char step[64];
    view_init(&v, false, 0);
    snprintf(step, sizeof step, "%s/1/3", ids[i]);
    json_t *rows = json_pack("[{s:s, s:s}]", "id", ids[i], "title", "A leaked key"),
           *steps = json_pack("[{s:s, s:s}]", "id", step, "text", "?");
    block_incidents(&v, rows);
    assert_int_equal(strstr(v.out.data, "EXERCISE: A leaked key") != NULL, i == 0);
    block_questions(&v, "QUESTIONS", steps);
    assert_int_equal(strstr(v.out.data, "EXERCISE EX-000007/1/3") != NULL, i == 0);
    json_decref(rows);
    json_decref(steps);
    view_release(&v);
  }
}

static void test_every_kind_has_words(void **state) {
  for (int kind = 0; kind < KIND_COUNT; kind++) {
    if (!timeline_knows((enum kind)kind)) fail_msg("no words for %s", kind_name((enum kind)kind));
    char *text = words_of(kind_name((enum kind)kind), json_object());
    assert_true(strlen(text) > 3); /* an empty body too says something */
    free(text);
  }
}

static void test_words(void **state) {
  says("action.outcome",
       json_pack("{s:b, s:s, s:s, s:s, s:{s:s}, s:i, s:{s:b, s:i}}", "ok", 1, "connector", "ldap", "action", "lock_account", "effect",
                 "contain", "target", "user", "alice", "took_ms", 230, "returns", "already", 0, "ticket", 17),
       "ldap: lock account, user alice (contain)  ok  0.2 s  -> ticket 17");
  says("action.outcome",
       json_pack("{s:b, s:s, s:s, s:s, s:i, s:{s:s, s:s}}", "ok", 0, "connector", "rt", "action", "create_ticket", "effect", "record",
                 "took_ms", 12345, "failure", "kind", "refused", "message", "no such queue"),
       "rt: create ticket (record)  FAILED  12.3 s: no such queue");
  says("question.asked", json_pack("{s:s, s:[s,s], s:s}", "text", "Keep alice locked?", "options", "keep", "release", "role", "responder"),
       "asks: Keep alice locked?  [keep|release]  role responder");
  says("incident.opened", json_pack("{s:s, s:i}", "title", "Brute force", "severity_id", 4), "opened: Brute force (high)");
  says("alert.attached",
       json_pack("{s:s, s:s, s:i, s:{s:{s:s}}}", "id", "wazuh:1", "source", "wazuh", "severity_id", 5, "finding", "finding_info", "title",
                 "sshd: many failures"),
       "alert from wazuh: sshd: many failures (critical)");
  says("run.started",
       json_pack("{s:s, s:{s:s}, s:{s:s, s:s}}", "playbook", "contain-account", "params", "user", "alice", "trigger", "person", "person:1",
                 "because", "phoned in"),
       "began contain-account with user=alice, asked for: phoned in");
  says("run.finished", json_pack("{s:s, s:s}", "status", "failed", "error", "line 3"), "failed: line 3");
  says("containment.still", json_pack("{s:s, s:s}", "of", "1/3", "why", "the directory refused"),
       "STILL CONTAINED: lifting step 1/3 failed: the directory refused");
  says("action.in_doubt", json_pack("{s:s, s:s, s:s}", "why", "time-out", "connector", "edr", "action", "isolate_host"),
       "IN DOUBT edr: isolate host: it may or may not have happened (time-out)");
}

static void test_unknown_kinds_and_removed_bodies(void **state) {
  says("moon.landed", json_pack("{s:s}", "where", "there"), "moon.landed: where=there");
  says("incident.noted", NULL, "incident.noted: what it means (the body was removed)");
  says("incident.noted", json_string("not an object"), "incident.noted: what it means (the body was removed)");
}

/* A terminal obeys escape sequences and C1 controls; readers trust the direction of writing and invisible characters. */
static void test_hostile_text_is_harmless(void **state) {
  static const char hostile[] = "\033[2J\033]0;owned\a \r\n \xc2\x9b"
                                "31m \xe2\x80\xae gpj.exe \xe2\x80\x8b \xff\xfe \x7f";
  for (int kind = 0; kind < KIND_COUNT; kind++) {
    static const char *const members[] = {"title",       "because", "text",   "why",     "source",    "id",        "playbook", "owner",
                                          "tag",         "into",    "from",   "verdict", "lessons",   "connector", "action",   "effect",
                                          "answer",      "reason",  "error",  "role",    "otherwise", "channel",   "to",       "name",
                                          "slot",        "scope",   "rule",   "of",      "verb",      "status",    "what",     "file",
                                          "fingerprint", "version", "digest", NULL};
    json_t *body = json_object(), *text = json_stringn_nocheck(hostile, sizeof hostile - 1);
    for (const char *const *m = members; *m; m++) json_object_set(body, *m, text);
    json_object_set_new(body, "target", json_pack("{s:O}", "user", text));
    json_object_set_new(body, "params", json_pack("{s:[O]}", "users", text));
    json_object_set_new(body, "returns", json_pack("{s:O}", "id", text));
    json_object_set_new(body, "finding", json_pack("{s:O}", "message", text));
    json_object_set_new(body, "options", json_pack("[O]", text));
    json_decref(text);
    char *shown = words_of(kind_name((enum kind)kind), body);
    for (const unsigned char *p = (const unsigned char *)shown; *p; p++) {
      if (*p < 0x20 && *p != '\n') fail_msg("%s lets byte %02x through: %s", kind_name((enum kind)kind), *p, shown);
      if (*p == 0x7f || *p == 0xff) fail_msg("%s lets byte %02x through", kind_name((enum kind)kind), *p);
    }
    assert_null(strstr(shown, "\xc2\x9b"));
    assert_null(strstr(shown, "\xe2\x80\xae"));
    assert_null(strstr(shown, "\xe2\x80\x8b"));
    free(shown);
  }
}

static void test_text_clean(void **state) {
  struct buf out;
  buf_init(&out, 4096);
  assert_int_equal(text_clean("a\033b\tc\nd\x80", 0, &out), 15);
  assert_string_equal(out.data, "a\\x1bb c\\nd\\x80");
  buf_reset(&out);
  assert_int_equal(text_clean("Zürich 東京", 0, &out), 11);
  assert_string_equal(out.data, "Zürich 東京");
  buf_reset(&out);
  assert_int_equal(text_clean("abcdefgh", 5, &out), 5);
  assert_string_equal(out.data, "abcd…");
  buf_reset(&out);
  assert_int_equal(text_clean("abcde", 5, &out), 5);
  assert_string_equal(out.data, "abcde");
  buf_reset(&out);
  assert_true(text_clean("ab\033\033\033", 5, &out) <= 5); /* an escape is never cut in two */
  assert_string_equal(out.data, "ab…");
  buf_reset(&out);
  text_clean("\xed\xa0\x80\xc0\xaf\xf4\x90\x80\x80", 0, &out); /* surrogate, overlong, too large */
  assert_string_equal(out.data, "\\xed\\xa0\\x80\\xc0\\xaf\\xf4\\x90\\x80\\x80");
  buf_release(&out);
}

static void test_intents_are_told_by_their_outcome(void **state) {
  json_t *entries = json_array();
  json_array_append_new(entries, entry(1, T0, "playbook:contain-account", "", "action.intended", 1, "3",
                                       json_pack("{s:s, s:s}", "connector", "ldap", "action", "lock_account")));
  json_array_append_new(entries, entry(2, T0 + 200000, "playbook:contain-account", "", "action.outcome", 1, "3",
                                       json_pack("{s:b, s:s, s:s}", "ok", 1, "connector", "ldap", "action", "lock_account")));
  json_array_append_new(entries, entry(3, T0 + 300000, "playbook:contain-account", "", "action.intended", 1, "4",
                                       json_pack("{s:s, s:s}", "connector", "rt", "action", "comment")));
  char *text = printed(entries, false, 0);
  assert_string_equal(text, "-- Sun 23 Nov 2025 (UTC)\n"
                            "18:42:01  playbook contain-account  ldap: lock account  ok\n"
                            "18:42:01  playbook contain-account  sends rt: comment\n");
  free(text);
  text = printed(entries, true, 0);
  assert_non_null(strstr(text, "    1  18:42:01  playbook contain-account  sends ldap: lock account\n"));
  free(text);
  json_decref(entries);
}

static void test_a_storm_takes_two_lines(void **state) {
  json_t *entries = json_array();
  for (int i = 0; i < 10000; i++)
    json_array_append_new(entries, entry(i + 1, T0 + i * 1000, "engine", "", "alert.attached", 0, "",
                                         json_pack("{s:s, s:s}", "source", "wazuh", "id", "wazuh:1")));
  json_array_append_new(entries, entry(10001, T0 + 11000000, "person:7f3a91c2", "bob", "incident.noted", 0, "",
                                       json_pack("{s:s}", "text", "what a storm\nreally")));
  char *text = printed(entries, false, 0);
  assert_string_equal(text, "-- Sun 23 Nov 2025 (UTC)\n"
                            "18:42:01  tocsin  alert from wazuh: wazuh:1\n"
                            "                  and 9999 more alerts, the last one at 18:42:11\n"
                            "18:42:12  bob     note: what a storm\n"
                            "                  really\n");
  free(text);
  json_decref(entries);
}

static void test_days_are_told_apart(void **state) {
  json_t *entries = json_array();
  json_array_append_new(entries, entry(1, T0, "engine", "", "incident.opened", 0, "", json_pack("{s:s}", "title", "a")));
  json_array_append_new(entries, entry(2, T0 + INT64_C(86400000000), "engine", "", "incident.reopened", 0, "", json_object()));
  char *text = printed(entries, false, 0);
  assert_non_null(strstr(text, "-- Sun 23 Nov 2025"));
  assert_non_null(strstr(text, "-- Mon 24 Nov 2025"));
  free(text);
  json_decref(entries);
}

static void test_lines_fit_the_terminal(void **state) {
  json_t *entries = json_array();
  char longest[900];
  for (size_t i = 0; i < sizeof longest - 1; i++) longest[i] = i % 8 == 7 ? ' ' : 'x';
  longest[sizeof longest - 1] = 0;
  json_array_append_new(entries, entry(1, T0, "engine", "", "incident.noted", 0, "", json_pack("{s:s}", "text", longest)));
  char *text = printed(entries, false, 80);
  for (char *line = text; *line;) {
    size_t n = strcspn(line, "\n");
    assert_true(n <= 80);
    line += n + (line[n] == '\n');
  }
  free(text);
  json_decref(entries);
}

static void test_blocks(void **state) {
  struct view v;
  view_init(&v, false, 0);
  v.now = T0 + INT64_C(12) * 60 * 1000000;
  json_t *paused = json_pack("{s:{s:s, s:s, s:I}}", "all", "by", "bob", "because", "wrong\033[31m accounts", "since", (json_int_t)T0);
  block_paused(&v, paused);
  assert_string_equal(v.out.data, "PAUSED everything since 18:42 by bob: wrong\\x1b[31m accounts   (tocsin resume all --because …)\n\n");
  buf_reset(&v.out);
  json_t *questions = json_pack("[{s:s, s:s, s:[s,s], s:s, s:I, s:I, s:s}]", "id", "INC-000042/1/4", "text", "Keep alice locked?",
                                "options", "keep", "release", "role", "responder", "asked", (json_int_t)T0, "deadline",
                                (json_int_t)(T0 + INT64_C(30) * 60 * 1000000), "otherwise", "keep");
  block_questions(&v, NULL, questions);
  assert_string_equal(v.out.data, "  INC-000042/1/4  Keep alice locked?\n    asks a responder, since 18:42, until 19:12 (in 18m), then "
                                  "keep\n    tocsin answer INC-000042/1/4 keep|release\n");
  buf_reset(&v.out);
  json_t *contained =
      json_pack("[{s:s, s:s, s:s, s:s, s:{s:s}, s:s, s:I, s:s}]", "id", "INC-000042/1/3", "incident", "INC-000042", "connector", "ldap",
                "action", "lock_account", "target", "user", "alice", "status", "still", "since", (json_int_t)T0, "why", "refused");
  block_contained(&v, "CONTAINED NOW", contained);
  assert_string_equal(v.out.data, "CONTAINED NOW\n  INC-000042/1/3  ldap.lock_account  user alice  STILL CONTAINED: lifting it failed "
                                  "(refused)\n    since 18:42 (12m)\n"
                                  "    tocsin release INC-000042 --because …\n");
  json_decref(paused);
  json_decref(questions);
  json_decref(contained);
  view_release(&v);
}

static void test_narrow_terminals_lose_columns_not_titles(void **state) {
  static const char *const head[] = {"ID", "OWNER", "TITLE", NULL};
  struct table t;
  struct view v;
  view_init(&v, false, 44);
  table_init(&t, head);
  table_spare(&t, 1);
  table_row(&t, STYLE_PLAIN, (const char *const[]){"INC-000001", "somebody", "what a responder must be able to read"});
  table_print(&t, &v);
  assert_string_equal(v.out.data, "ID          TITLE\nINC-000001  what a responder must be able t…\n");
  view_release(&v);
}

static void test_tables_align_and_clean(void **state) {
  static const char *const head[] = {"ID", "TITLE", NULL};
  struct table t;
  struct view v;
  view_init(&v, false, 40);
  table_init(&t, head);
  table_row(&t, STYLE_PLAIN, (const char *const[]){"INC-000001", "a\nb"});
  table_row(&t, STYLE_PLAIN, (const char *const[]){"東京", "this title is much too long for such a narrow terminal"});
  table_row(&t, STYLE_PLAIN, (const char *const[]){NULL, NULL});
  table_print(&t, &v);
  assert_string_equal(v.out.data, "ID          TITLE\nINC-000001  a\\nb\n東京        this title is much too long…\n            \n");
  view_release(&v);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_an_exercise_says_so),
      cmocka_unit_test(test_every_kind_has_words),
      cmocka_unit_test(test_words),
      cmocka_unit_test(test_unknown_kinds_and_removed_bodies),
      cmocka_unit_test(test_hostile_text_is_harmless),
      cmocka_unit_test(test_text_clean),
      cmocka_unit_test(test_intents_are_told_by_their_outcome),
      cmocka_unit_test(test_a_storm_takes_two_lines),
      cmocka_unit_test(test_days_are_told_apart),
      cmocka_unit_test(test_lines_fit_the_terminal),
      cmocka_unit_test(test_blocks),
      cmocka_unit_test(test_tables_align_and_clean),
      cmocka_unit_test(test_narrow_terminals_lose_columns_not_titles),
  };
  return cmocka_run_group_tests(tests, utc, NULL);
}
