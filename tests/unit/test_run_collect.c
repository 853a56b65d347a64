/* What a playbook takes into custody: kept once, the same bytes in a replay, nothing in a simulated run. */
#include "run_stage.h"

#define COLLECT(content)                                                                                                                   \
  { "collect", "{\"name\": \"n\", \"content\": " content ", \"because\": \"x\"}" }

static void test_collect(void **state) {
  static const struct line one[] = {COLLECT("\"text\""), COLLECT("\"broken\""), {NULL, NULL}},
                           two[] = {COLLECT("\"another\""), {NULL, NULL}};
  static const struct program p = {one, {NULL}}, other = {two, {NULL}};
  begin(&p);
  finish();
  assert_int_equal(fake.kept, 1);
  assert_int_equal(count_type("evidence.collected"), 1);
  assert_string_equal(json_str_or(json_object_get(given("2"), "given"), "message", ""), "the disk is full");
  json_t *entries = json_incref(fake.entries);
  unload();
  rebuild(&other, entries, json_array_size(entries) - 1);
  assert_int_equal(take_up(NULL), 0);
  finish();
  assert_string_equal(done, "handed_over"); /* other bytes than the journal's */
  json_decref(entries);
  unload();
  /* A run that ends meanwhile: what was kept has no entry. */
  begin(&p);
  fake.hold_files = true;
  for (int i = 0; i < 100 && !fake.held; i++) loop_turn(fake.loop);
  assert_non_null(fake.held);
  run_cancel(run, "person:7f3a", "enough");
  on_keep(fake.held);
  finish();
  assert_int_equal(fake.kept, 1);
  assert_int_equal(count_type("evidence.collected"), 0);
}

/* Nothing is kept: the step ends with an outcome, and a replay is none the wiser. */
static void test_collect_simulated(void **state) {
  static const struct line one[] = {COLLECT("\"text\""), NOTE, {NULL, NULL}};
  static const struct program p = {one, {NULL}};
  load(&p);
  struct run_spec spec = {.journal = fake.journal, .number = 1, .playbook = &playbook, .simulated = true};
  assert_int_equal(run_start(runs, &spec, on_done, NULL, &run, NULL), 0);
  finish();
  assert_string_equal(done, "done");
  assert_int_equal(fake.kept, 0);
  assert_int_equal(count_type("evidence.collected"), 0);
  assert_int_equal(json_int_or(json_object_get(given("1"), "given"), "size", 0), 4);
  json_t *entries = json_incref(fake.entries);
  unload();
  rebuild(&p, entries, json_array_size(entries) - 1);
  assert_int_equal(take_up(NULL), 0);
  finish();
  assert_string_equal(done, "done");
  json_decref(entries);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {T(test_collect), T(test_collect_simulated)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
