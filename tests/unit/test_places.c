/* The lists of open and recent incidents: those opened in one turn go there together, and each gets there whatever comes in between. Needs a redis-server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "desk_stage.h"
#include "incident/internal.h"

enum { INCIDENTS = 150 };

static const char *incident(unsigned n) {
  static char id[ID_INCIDENT];
  snprintf(id, sizeof id, "INC-%06u", n);
  return id;
}

static long number(const char *text) { return strtol(text, NULL, 10); }

static bool in_list(const char *list, unsigned n) { return number(ask(t.loop, t.redis, "ZSCORE %s %s", list, incident(n))) > 0; }

static void all_new(unsigned from) {
  for (unsigned n = from; n < from + INCIDENTS; n++) incident_place_new(t.desk, incident(n));
}

static void empty(void) { ask(t.loop, t.redis, "DEL tocsin:open tocsin:recent"); }

static long zadds(void) {
  const char *stats = ask(t.loop, t.redis, "INFO commandstats"), *calls = strstr(stats, "cmdstat_zadd:calls=");
  return calls ? number(calls + strlen("cmdstat_zadd:calls=")) : 0;
}

static void test_together(void **state) {
  empty();
  long before = zadds();
  all_new(1);
  UNTIL(number(ask(t.loop, t.redis, "ZCARD tocsin:open")) == INCIDENTS);
  assert_in_range(zadds() - before, 1, 6); /* two lanes, 64 in one command */
  for (unsigned n = 1; n <= INCIDENTS; n++) assert_true(in_list("tocsin:open", n));
}

/* Something else has the list's name: nothing is added until that is over, and then all are. */
static void test_refused(void **state) {
  empty();
  ask(t.loop, t.redis, "SET tocsin:open in-the-way");
  all_new(1001);
  for (int i = 0; i < 50; i++) turn();
  assert_string_equal(ask(t.loop, t.redis, "GET tocsin:open"), "in-the-way");
  ask(t.loop, t.redis, "DEL tocsin:open");
  UNTIL(number(ask(t.loop, t.redis, "ZCARD tocsin:open")) == INCIDENTS);
}

/* Closed before its place among the open ones has left: it is in one list only, also after the ones that were refused are tried again. */
static void test_closed_at_once(void **state) {
  for (int refused = 0; refused < 2; refused++) {
    unsigned from = refused ? 2001 : 3001;
    empty();
    if (refused) ask(t.loop, t.redis, "SET tocsin:open in-the-way");
    all_new(from);
    incident_place(t.desk, incident(from + 7), false);
    if (refused) {
      for (int i = 0; i < 50; i++) turn();
      ask(t.loop, t.redis, "DEL tocsin:open");
    }
    UNTIL(number(ask(t.loop, t.redis, "ZCARD tocsin:open")) == INCIDENTS - 1 && in_list("tocsin:recent", from + 7));
    assert_false(in_list("tocsin:open", from + 7));
    for (int64_t until = test_now_ms() + 400; test_now_ms() < until;) turn(); /* whoever is to be asked for again has been */
    assert_int_equal(number(ask(t.loop, t.redis, "ZCARD tocsin:open")), INCIDENTS - 1);
    assert_int_equal(number(ask(t.loop, t.redis, "ZCARD tocsin:recent")), 1);
  }
}

/* A desk that goes with places that have not left yet. */
static void test_desk_gone(void **state) {
  all_new(4001);
  desk_down();
  desk_up();
  said("tester", json_pack("{s:s, s:s, s:s, s:s}", "command", "incident.open", "title", "a case", "severity", "low", "because", "x"), 200);
  refused("guest", json_pack("{s:s, s:s, s:s, s:s}", "command", "incident.open", "title", "a case", "severity", "low", "because", "x"), 403,
          "");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_together), cmocka_unit_test(test_refused), cmocka_unit_test(test_closed_at_once),
                                     cmocka_unit_test(test_desk_gone)};
  return cmocka_run_group_tests(tests, desk_setup, desk_teardown);
}
