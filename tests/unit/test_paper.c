/* Our scenarios played on paper, by their scripts and by nobody, and the page that says how it went. */
#include "journal/state.h"
#include "paper_help.h"
#include "report/report.h"

static const char *const scenarios[] = {"ci-credentials", "cross-tenant-kubernetes", "leaked-payment-key", "ransomware-file-server"};

static struct paper *begun(const char *name) {
  char path[128];
  struct scenario *s = NULL;
  struct err err = {0};
  struct paper *p = calloc(1, sizeof *p);
  char *text = calloc(1, 1 << 20);
  assert_true(p && text);
  snprintf(path, sizeof path, "runbooks/tabletop/%s.lua", name);
  FILE *f = fopen(path, "r");
  if (!f) fail_msg("%s", path);
  size_t len = fread(text, 1, (1 << 20) - 1, f);
  fclose(f);
  if (scenario_load(path, text, len, &s, &err) < 0) fail_msg("%s", err.text);
  free(text);
  paper_begin(p, s);
  return p;
}

static void each_is(const json_t *result, const char *list, const char *member, const char *allowed, const char *scenario) {
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(result, list), i, item) {
    if (!strstr(allowed, json_str_or(item, member, "?")))
      fail_msg("%s: %s is \"%s\": %s", scenario, json_str(item, "id"), json_str(item, member), json_str_or(item, "why", ""));
  }
}

/* With people who do everything right each objective is met, and the storyline leaves nothing hanging but the branches that were not taken. */
static void test_by_the_script(void **state) {
  for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
    struct paper *p = begun(scenarios[i]);
    json_t *result = paper_play(p, true);
    each_is(result, "objectives", "verdict", "met", scenarios[i]);
    assert_int_equal(json_array_size(json_object_get(result, "gaps")), 0);
    assert_int_equal(p->journals[0].count > 20, true);
    json_t *script = scenario_script_due(p->scenario, &p->play, PAPER_START + 7200 * 1000000LL, NULL);
    assert_int_equal(json_array_size(script), 0); /* everybody has said all that they had to say */
    json_decref(script);
    assert_true(json_is_object(json_at(result, "times.contained")));
    json_decref(result);
    paper_end(p);
  }
}

/* With nobody none is met, each has its gap, and the worse branches come. */
static void test_by_nobody(void **state) {
  for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
    struct paper *p = begun(scenarios[i]);
    json_t *result = paper_play(p, false);
    each_is(result, "objectives", "verdict", "not met, not judged", scenarios[i]);
    assert_true(json_array_size(json_object_get(result, "gaps")) >= 5);
    json_decref(result);
    paper_end(p);
  }
}

static void test_recalled_from_its_journal(void **state) {
  struct paper *p = begun(scenarios[0]);
  struct scenario *s = NULL;
  struct scenario_play play;
  struct err err = {0};
  json_t *result = paper_play(p, true);
  assert_int_equal(scenario_recall(p->journals, 2, &s, &play, &err), 0);
  play.names = p->names;
  json_t *again = scenario_judge(s, &play, PAPER_START + 7200 * 1000000LL, true);
  assert_true(json_equal(result, again));
  scenario_free(s);
  assert_int_equal(scenario_recall(p->journals + 1, 1, &s, &play, &err), ERR_NOT_FOUND);
  json_decref(again);
  json_decref(result);
  paper_end(p);
}

static void has(const struct buf *page, const char *words) {
  if (!strstr(page->data, words)) fail_msg("the page lacks \"%s\"", words);
}

static void test_page(void **state) {
  struct paper *p = begun(scenarios[0]), *q = begun(scenarios[0]);
  struct buf page;
  json_t *good = paper_play(p, true), *bad = paper_play(q, false);
  buf_init(&page, REPORT_CAP);
  json_object_set_new(json_array_get(json_object_get(bad, "decisions"), 0), "text", json_string("<script>alert(1)</script>"));
  json_object_set_new(bad, "title", json_string("<img src=x>"));
  report_exercise(bad, good, &page);
  assert_true(buf_ok(&page));
  has(&page, "<p class=\"mark\">EXERCISE</p>");
  has(&page, "<b>0 of 9</b> objectives met");
  has(&page, "default-src 'none'");
  has(&page, "Gaps, and what to do about them");
  has(&page, "Put the authority&#39;s form and the clock of 72 hours into the runbook");
  has(&page, "<td>Objectives met</td><td class=\"n\">9 of 9</td><td class=\"n\">0 of 9</td>");
  assert_null(strstr(page.data, "<script"));
  assert_null(strstr(page.data, "<img"));
  assert_null(strstr(page.data, "lead <b>"));
  buf_reset(&page);
  report_exercise(good, NULL, &page);
  has(&page, "was not played before");
  has(&page, "EX-000008 #");
  has(&page, "lead &lt;b&gt;");
  buf_release(&page);
  json_decref(good);
  json_decref(bad);
  paper_end(p);
  paper_end(q);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_by_the_script), cmocka_unit_test(test_by_nobody),
                                     cmocka_unit_test(test_recalled_from_its_journal), cmocka_unit_test(test_page)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
