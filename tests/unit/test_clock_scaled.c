/* clock: one that runs at a speed of its own, stands still and is put forward. Driven by a clock that the test sets, so that nothing is waited for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "base/clock_scaled.h"

#define SECOND INT64_C(1000000)
#define START INT64_C(1790000000000000)

static struct clock base;
static struct clock_scaled clk;

static int setup(void **state) {
  struct err err;
  clock_init_settable(&base, 5 * SECOND);
  return clock_scaled_init(&clk, &base, START, 60, &err);
}

static void pass(int64_t us) { clock_set(&base, clock_boot(&base) + us); }

static void test_runs_at_its_speed(void **state) {
  assert_int_equal(clock_wall(&clk.clock), START);
  pass(SECOND);
  assert_int_equal(clock_wall(&clk.clock), START + 60 * SECOND);
  assert_int_equal(clock_boot(&clk.clock), clock_wall(&clk.clock));
  pass(1);
  assert_int_equal(clock_wall(&clk.clock), START + 60 * SECOND + 60);
}

static void test_paused_for_a_day(void **state) {
  pass(SECOND);
  clock_pause(&clk);
  pass(86400 * SECOND);
  assert_int_equal(clock_wall(&clk.clock), START + 60 * SECOND);
  clock_pause(&clk); /* twice is once */
  pass(SECOND);
  clock_resume(&clk);
  assert_int_equal(clock_wall(&clk.clock), START + 60 * SECOND);
  pass(SECOND);
  clock_resume(&clk);
  assert_int_equal(clock_wall(&clk.clock), START + 120 * SECOND);
}

static void test_jumps_forward_only(void **state) {
  struct err err;
  pass(SECOND);
  assert_int_equal(clock_jump(&clk, START + 59 * SECOND, &err), ERR_INVALID);
  assert_non_null(strstr(err.text, "never goes back"));
  assert_int_equal(clock_wall(&clk.clock), START + 60 * SECOND);
  assert_int_equal(clock_jump(&clk, START + 600 * SECOND, &err), 0);
  pass(SECOND);
  assert_int_equal(clock_wall(&clk.clock), START + 660 * SECOND);
  clock_pause(&clk);
  assert_int_equal(clock_jump(&clk, START + 900 * SECOND, &err), 0);
  pass(SECOND);
  assert_int_equal(clock_wall(&clk.clock), START + 900 * SECOND);
  clock_resume(&clk);
  pass(SECOND);
  assert_int_equal(clock_wall(&clk.clock), START + 960 * SECOND);
}

/* Whoever sleeps for as long as it says wakes up when the moment has come, and not a microsecond before it had to. */
static void test_until(void **state) {
  static const double speeds[] = {1, 1.7, 3, 60, 997, CLOCK_SPEED_MOST};
  for (size_t s = 0; s < sizeof speeds / sizeof *speeds; s++) {
    assert_int_equal(clock_scaled_init(&clk, &base, START, speeds[s], NULL), 0);
    for (int64_t ahead = 1; ahead < 400000 * SECOND; ahead = ahead * 7 + 3) {
      int64_t to = clock_wall(&clk.clock) + ahead, wait = clock_until(&clk, to);
      assert_true(wait > 0);
      pass(wait - 1);
      assert_true(clock_wall(&clk.clock) < to);
      assert_int_equal(clock_until(&clk, to), 1);
      pass(1);
      assert_true(clock_wall(&clk.clock) >= to);
      assert_int_equal(clock_until(&clk, to), 0);
    }
  }
  int64_t now = clock_wall(&clk.clock);
  clock_pause(&clk);
  assert_int_equal(clock_until(&clk, now), 0);
  assert_true(clock_until(&clk, now + 1) == INT64_MAX);
}

static void test_speeds_refused(void **state) {
  static const double wrong[] = {0, -1, 0.5, 3601, 1e9, INFINITY, NAN};
  struct clock_scaled before = clk;
  struct err err;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    assert_int_equal(clock_scaled_init(&clk, &base, START, wrong[i], &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "from 1 to 3600"));
  }
  assert_int_equal(clk.clock.offset, before.clock.offset);
  assert_true(clk.speed == before.speed);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(test_runs_at_its_speed, setup),  cmocka_unit_test_setup(test_paused_for_a_day, setup),
      cmocka_unit_test_setup(test_jumps_forward_only, setup), cmocka_unit_test_setup(test_until, setup),
      cmocka_unit_test_setup(test_speeds_refused, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
