/* A node that stops while it claims and loads incidents: nothing is sent to a Redis that is gone. Needs a redis-server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "desk_stage.h"
#include "incident/internal.h"

enum { INCIDENTS = 40, LIVES = 8 };

static bool started;

static void on_brakes(void *arg, int64_t epoch, const struct redis_value *pairs) {}
static void on_lapsed(void *arg, loop_cb *go_on, void *go_on_arg) { go_on(go_on_arg); }
static void on_held(void *arg) {}
static void on_gone(void *arg, const char *node) {}
static void on_ousted(void *arg, const struct err *err) { fail_msg("%s", err->text); }

static void on_started(void *arg, const struct err *err) {
  if (err) fail_msg("%s", err->text);
  started = true;
}

static void nodes_up(void) {
  static const struct nodes_events events = {
      .brakes = on_brakes, .lapsed = on_lapsed, .held = on_held, .gone = on_gone, .ousted = on_ousted};
  const struct nodes_config config = {.node = t.node, .version = "1", .folder = "a folder", .key = "a key", .lease_ms = 5000};
  started = false;
  t.nodes = nodes_new(t.loop, t.redis, &config, &events);
  nodes_start(t.nodes, on_started, NULL);
  UNTIL(started);
}

static const char *incident(unsigned n) {
  static char id[64];
  snprintf(id, sizeof id, "INC-%06u", n);
  return id;
}

/* Claims and loads are under way in each life for one turn of the loop longer than in the one before it; AddressSanitizer looks on when this runs under it. */
static void test_stopped_while_loading(void **state) {
  log_set_level((enum log_level)0); /* that they could not be loaded is told each time */
  for (unsigned turns = 0; turns < LIVES; turns++) {
    desk_up();
    for (unsigned i = 1; i <= INCIDENTS; i++) desk_adopt(t.desk, incident(i), "n0");
    for (unsigned i = 0; i < turns; i++) turn();
    desk_down();
  }
  desk_up(); /* and the next one works: those that nobody ever wrote are not there, others can be opened */
  refused("tester", json_pack("{s:s, s:s}", "command", "incident.close", "id", incident(1)), 404, incident(1));
  said("tester", json_pack("{s:s, s:s, s:s, s:s}", "command", "incident.open", "title", "a case", "severity", "low", "because", "x"), 200);
  desk_down();
  log_set_level(LOG_ERROR);
}

static int setup(void **state) {
  stage_begin();
  t.nodes_up = nodes_up;
  return 0;
}

static int teardown(void **state) {
  stage_end();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_stopped_while_loading)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
