/* The scenarios that ship, played with nobody there: the same seed is the same play, also with a crash in the middle. Needs a redis-server. */
#include "tabletop_stage.h"

static const char *const scenarios[] = {"ci-credentials", "ransomware-file-server", "cross-tenant-kubernetes", "leaked-payment-key"};

static char *played(const char *scenario, int seed, char id[ID_INCIDENT]) {
  json_t *command = shipped(scenario, true);
  json_object_set_new(command, "seed", json_integer(seed));
  begin("tester", command, id);
  UNTIL(!hall_find(hall, id));
  return timeline_of(id);
}

/* Twice with each of three seeds: one timeline for each seed, to the microsecond. */
static void test_every_scenario_twice(void **state) {
  for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
    char *last = NULL;
    for (int seed = 1; seed <= 3; seed++) {
      char id[ID_INCIDENT], *first = played(scenarios[i], seed, id), *second = played(scenarios[i], seed, id);
      same_timeline(first, second);
      assert_non_null(strstr(first, "exercise.ended"));
      const char *failed = strstr(first, "The script's"); /* what it wanted to do could be done */
      if (failed) fail_msg("%.200s", failed);
      if (last) assert_string_not_equal(first, last); /* another seed is another play */
      free(last);
      free(second);
      last = first;
    }
    free(last);
  }
  assert_int_equal(transports_sent(live_transports), 0);
}

/* How it went is read from the journals alone. */
static void test_it_can_be_judged(void **state) {
  char id[ID_INCIDENT], *text = played("ransomware-file-server", 4, id);
  assert_non_null(strstr(text, "containment") ? text : strstr(text, "\"contains\""));
  assert_non_null(strstr(text, "exercise.injected"));
  free(text);
}

/* Stopped dead several times: nothing is played twice, nothing is left out, and it ends as if nothing had been. */
static void test_goes_on_after_a_crash(void **state) {
  char id[ID_INCIDENT], *whole = played("ci-credentials", 5, id), *broken;
  json_t *command = shipped("ci-credentials", true);
  json_object_set_new(command, "seed", json_integer(5));
  begin("tester", command, id);
  for (size_t entries = 10; entries <= 34; entries += 12) {
    struct exercise *x = hall_find(hall, id);
    assert_non_null(x);
    /* A process that dies takes its commands with it; here one under way would still be carried out. */
    UNTIL(!hall_find(hall, id) || (x->records[0].count >= entries && !x->saying));
    if (hall_find(hall, id)) hall_again();
  }
  UNTIL(!hall_find(hall, id));
  broken = timeline_of(id);
  same_timeline(whole, broken);
  free(whole);
  free(broken);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_scenario_twice),
      cmocka_unit_test(test_it_can_be_judged),
      cmocka_unit_test(test_goes_on_after_a_crash),
  };
  return cmocka_run_group_tests(tests, stage_up, stage_down);
}
