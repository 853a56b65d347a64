/* A journal whose end the new master lacks is loaded anew and says so, also when it cannot be read at once. Needs a redis-server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "desk_stage.h"

static void moved(const char *from, const char *to) {
  redis_call(t.redis, redis_lane(t.redis, t.id), NULL, NULL, NULL, "RENAME", from, to, NULL);
  for (int i = 0; i < 20; i++) turn();
}

static void test_not_readable_at_once(void **state) {
  char journal[128], away[128];
  const json_t *opened =
      said("tester", json_pack("{s:s, s:s, s:s, s:s}", "command", "incident.open", "title", "a case", "severity", "low", "because", "x"),
           200);
  snprintf(t.id, sizeof t.id, "%s", json_str_or(opened, "id", ""));
  snprintf(journal, sizeof journal, "tocsin:{%s}:journal", t.id);
  snprintf(away, sizeof away, "tocsin:{%s}:away", t.id);
  struct torn torn = {.from = 2, .to = 3, .known = json_array()};
  log_set_level((enum log_level)0); /* that it cannot be read is told each time */
  moved(journal, away);
  desk_torn(t.desk, t.id, &torn);
  for (int i = 0; i < 400; i++) turn();
  assert_int_equal(desk_uncertain(t.desk), 0);
  moved(away, journal);
  UNTIL(desk_uncertain(t.desk) == 1);
  log_set_level(LOG_ERROR);
  said("tester", json_pack("{s:s, s:s, s:s}", "command", "incident.agree", "id", t.id, "because", "looked at"), 200);
  assert_int_equal(desk_uncertain(t.desk), 0);
  refused("tester", json_pack("{s:s, s:s, s:s}", "command", "incident.agree", "id", t.id, "because", "again"), 409, "nothing is uncertain");
  json_decref(torn.known);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_not_readable_at_once)};
  return cmocka_run_group_tests(tests, desk_setup, desk_teardown);
}
