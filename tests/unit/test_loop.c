/* The loop's promises: order, "never before x returned", freeing inside callbacks, posting from a thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "wire/loop.h"

#define W(text) ((void *)(uintptr_t)(text)) /* callbacks here only read their argument */

static struct loop *loop;
static char said[128];
static struct timer *timers[3];
static struct watch *watch;

static int setup(void **state) {
  loop = loop_new();
  said[0] = 0;
  return 0;
}

static int teardown(void **state) {
  loop_free(loop);
  return 0;
}

static void say(void *arg) { strncat(said, arg, sizeof said - strlen(said) - 1); }
static void stop(void *arg) { loop_stop(loop); }

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void test_defer_keeps_order(void **state) {
  loop_defer(loop, say, W("a"));
  loop_defer(loop, say, W("b"));
  loop_defer(loop, say, W("c"));
  assert_string_equal(said, "");
  loop_turn(loop);
  assert_string_equal(said, "abc");
  loop_turn(loop);
  assert_string_equal(said, "abc");
}

static void say_and_defer(void *arg) {
  say(W("1"));
  loop_defer(loop, say, W("2"));
}

static void test_defer_in_defer_waits_for_the_next_turn(void **state) {
  loop_defer(loop, say_and_defer, NULL);
  loop_turn(loop);
  assert_string_equal(said, "1");
  loop_turn(loop);
  assert_string_equal(said, "12");
}

static void chain(void *arg) {
  uintptr_t left = (uintptr_t)arg;
  say(W("c"));
  if (left > 1) loop_soon(loop, chain, (void *)(left - 1)); /* NOLINT: a number, never looked at as an address */
}

static void say_and_soon(void *arg) {
  loop_defer(loop, say, W("n"));
  loop_soon(loop, say, W("2"));
  loop_soon(loop, say, W("3"));
  say(W("1"));
}

static void test_soon_comes_right_after(void **state) {
  loop_defer(loop, say_and_soon, NULL);
  loop_defer(loop, say, W("4"));
  loop_turn(loop);
  assert_string_equal(said, "1234");
  loop_turn(loop);
  assert_string_equal(said, "1234n");
}

static void say_and_last(void *arg) {
  say(W("1"));
  loop_last(loop, say, W("z"));
  loop_defer(loop, say, W("3"));
}

static void last_from_last(void *arg) {
  say(W("x"));
  loop_last(loop, say, W("y"));
}

/* Behind what was deferred before, also by others, and before the next turn; asked for from outside it comes with the next turn's. */
static void test_last_ends_the_turn(void **state) {
  loop_defer(loop, say_and_last, NULL);
  loop_defer(loop, say, W("2"));
  loop_turn(loop);
  assert_string_equal(said, "12z");
  loop_turn(loop);
  assert_string_equal(said, "12z3");
  said[0] = 0;
  loop_last(loop, last_from_last, NULL);
  loop_last(loop, say, W("never"));
  loop_undefer(loop, say, W("never"));
  loop_defer(loop, say, W("a"));
  loop_turn(loop);
  assert_string_equal(said, "axy");
  loop_last(loop, say, W("b")); /* alone it wakes the loop, too */
  loop_wait(loop);
  assert_string_equal(said, "axyb");
}

static void test_soon_from_outside_is_deferred(void **state) {
  loop_soon(loop, say, W("a"));
  loop_undefer(loop, say, W("a"));
  loop_soon(loop, say, W("b"));
  assert_string_equal(said, "");
  loop_turn(loop);
  assert_string_equal(said, "b");
}

static void test_a_long_chain_lets_others_in(void **state) {
  loop_defer(loop, chain, (void *)20); /* NOLINT */
  loop_defer(loop, say, W("x"));
  loop_turn(loop);
  assert_string_equal(said, "cccccccccccccccccx");
  loop_turn(loop);
  assert_string_equal(said, "cccccccccccccccccxccc");
}

static void soon_and_undefer(void *arg) {
  loop_soon(loop, say, W("1"));
  loop_soon(loop, say, W("2"));
  loop_undefer(loop, say, W("1"));
  loop_undefer(loop, say, W("1"));
}

static void test_undefer_takes_what_comes_soon(void **state) {
  loop_defer(loop, soon_and_undefer, NULL);
  loop_turn(loop);
  assert_string_equal(said, "2");
}

static void test_undefer_takes_all_of_them(void **state) {
  char *x = W("x");
  loop_defer(loop, say, x);
  loop_defer(loop, say, W("y"));
  loop_defer(loop, say, x);
  loop_undefer(loop, say, x);
  loop_turn(loop);
  assert_string_equal(said, "y");
  loop_defer(loop, say, x);
  loop_undefer(loop, say, x);
  loop_defer(loop, say, W("z"));
  loop_turn(loop);
  assert_string_equal(said, "yz");
}

/* Many more than there are slots to find them by: each is found, and the others keep their order. */
static void test_undefer_among_many(void **state) {
  enum { MANY = 5000, KEPT = 100 };
  static char args[MANY][2];
  for (int i = 0; i < MANY; i++) {
    args[i][0] = (char)(i % 2 ? 'a' + i % 26 : 'x');
    loop_defer(loop, say, args[i]);
  }
  for (int i = 0; i < MANY; i++)
    if (i >= KEPT || i % 2 == 0) loop_undefer(loop, say, args[i]);
  loop_turn(loop);
  assert_int_equal(strlen(said), KEPT / 2);
  for (int i = 0; i < KEPT / 2; i++) assert_int_equal(said[i], args[2 * i + 1][0]);
}

static char victim[] = "victim";

static void undefer_victim(void *arg) { loop_undefer(loop, say, victim); }

static void test_undefer_inside_the_same_turn(void **state) {
  loop_defer(loop, undefer_victim, NULL);
  loop_defer(loop, say, victim);
  loop_defer(loop, say, W("other"));
  loop_turn(loop);
  assert_string_equal(said, "other");
}

static void test_timers_fire_once_in_order_and_never_early(void **state) {
  int64_t from = now_ms();
  timers[0] = timer_start(loop, 60, stop, NULL);
  timers[1] = timer_start(loop, 40, say, W("b"));
  timers[2] = timer_start(loop, 20, say, W("a"));
  loop_run(loop);
  assert_string_equal(said, "ab");
  assert_true(now_ms() - from >= 60);
  for (int i = 0; i < 3; i++) timer_free(timers[i]);
}

static void free_itself(void *arg) {
  say(W("x"));
  timer_free(timers[0]);
  timer_free(timers[1]); /* due at the same time: must not fire any more */
  loop_defer(loop, stop, NULL);
}

static void test_timer_freed_inside_a_callback(void **state) {
  timers[0] = timer_start(loop, 5, free_itself, NULL);
  timers[1] = timer_start(loop, 5, say, W("never"));
  loop_run(loop);
  assert_string_equal(said, "x");
}

static void test_timer_of_zero_waits_a_turn(void **state) {
  timers[0] = timer_start(loop, 0, say, W("z"));
  assert_string_equal(said, "");
  timers[1] = timer_start(loop, 10, stop, NULL);
  loop_run(loop);
  assert_string_equal(said, "z");
  timer_free(timers[0]);
  timer_free(timers[1]);
  timer_free(NULL);
}

static void ready(void *arg, int fd, int events) {
  char c;
  assert_int_equal(read(fd, &c, 1), 1);
  say(W("r"));
  if (c != 'q') return;
  watch_free(watch);
  loop_stop(loop);
}

static void test_watch_until_freed(void **state) {
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  watch = watch_fd(loop, fds[0], WATCH_READ, ready, NULL);
  assert_int_equal(write(fds[1], "abq!", 4), 4);
  loop_run(loop);
  loop_turn(loop);
  assert_string_equal(said, "rrr");
  close(fds[0]);
  close(fds[1]);
}

static void test_signal(void **state) {
  struct watch *w = watch_signal(loop, SIGUSR1, stop, NULL);
  assert_int_equal(raise(SIGUSR1), 0);
  loop_run(loop);
  watch_free(w);
}

static void *other_thread(void *arg) {
  loop_post(loop, say, W("p"));
  loop_post(loop, stop, NULL);
  return NULL;
}

static void test_post_from_a_thread(void **state) {
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, other_thread, NULL), 0);
  loop_run(loop);
  pthread_join(thread, NULL);
  assert_string_equal(said, "p");
}

static void test_what_was_never_run_is_freed(void **state) {
  loop_defer(loop, say, W("n"));
  loop_post(loop, say, W("n")); /* the leak checker looks at the end */
  assert_string_equal(said, "");
}

static void test_stop_before_run(void **state) {
  loop_stop(loop);
  loop_run(loop);
  loop_defer(loop, stop, NULL);
  loop_run(loop);
  assert_string_equal(said, "");
}

static void test_a_broken_pipe_kills_nobody(void **state) {
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  close(fds[0]);
  assert_int_equal(write(fds[1], "x", 1), -1);
  close(fds[1]);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(test_defer_keeps_order),
      T(test_defer_in_defer_waits_for_the_next_turn),
      T(test_soon_comes_right_after),
      T(test_soon_from_outside_is_deferred),
      T(test_last_ends_the_turn),
      T(test_a_long_chain_lets_others_in),
      T(test_undefer_takes_what_comes_soon),
      T(test_undefer_takes_all_of_them),
      T(test_undefer_among_many),
      T(test_undefer_inside_the_same_turn),
      T(test_timers_fire_once_in_order_and_never_early),
      T(test_timer_freed_inside_a_callback),
      T(test_timer_of_zero_waits_a_turn),
      T(test_watch_until_freed),
      T(test_signal),
      T(test_post_from_a_thread),
      T(test_what_was_never_run_is_freed),
      T(test_stop_before_run),
      T(test_a_broken_pipe_kills_nobody),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
