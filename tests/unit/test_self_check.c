/* The orchestrator counts itself: an entry each minute, small where nothing has changed, and a difference is told. The minutes are the test's: each count sets the clock
 * forward by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "cmd/self_check.h"
#include "redis_server.h"

enum { MINUTES = 180, PATIENCE_MS = 20000 };
static const int64_t BEGAN = 1767261600000000, MINUTE = 60000000;

static struct server server;
static struct loop *loop;
static struct redis *redis_link;
static struct journal_store store;
static struct journal *node;

static struct {
  struct clock clock;
  unsigned counted;
  bool away;
  int64_t accepted, attached, open, attended;
  unsigned alarms[ALARMS];
  int64_t told[ALARMS];
} world;

struct entry_seen {
  int64_t time;
  size_t bytes;
  bool figures;
  int64_t as, seq, difference;
};
static struct entry_seen entries[MINUTES + 10];
static unsigned seen, warnings, incidents;

static void on_entry(void *arg, struct journal *j, const struct entry *e) {
  warnings += e->kind == KIND_ENGINE_WARNING;
  if (e->kind != KIND_ENGINE_CHECKED) return;
  assert_true(seen < MINUTES + 10);
  entries[seen++] = (struct entry_seen){.time = e->time,
                                        .bytes = e->head_len + e->envelope_len,
                                        .figures = json_object_get(e->body, "alerts") && json_object_get(e->body, "intents"),
                                        .as = json_int_or(e->body, "as", 0),
                                        .seq = (int64_t)e->seq,
                                        .difference = json_int_or(json_object_get(e->body, "intents"), "difference", 0)};
}

static int count_alerts(void *arg, intake_counts_cb *cb, void *cb_arg, struct err *err) {
  clock_set(&world.clock, BEGAN + ++world.counted * MINUTE);
  if (world.away) return err_set(err, ERR_UNAVAILABLE, "Redis is away");
  json_t *counts = json_pack("{s:I, s:I, s:i, s:I}", "accepted", (json_int_t)world.accepted, "attached", (json_int_t)world.attached,
                             "waiting", 0, "difference", (json_int_t)(world.accepted - world.attached));
  cb(cb_arg, counts, NULL);
  json_decref(counts);
  return 0;
}

static void count_actions(void *arg, int64_t *ret_open, int64_t *ret_in_doubt, int64_t *ret_attended) {
  *ret_open = world.open;
  *ret_in_doubt = 0;
  *ret_attended = world.attended;
}

static void alarm_comes(void *arg, enum alarm what, int64_t difference, const char *text) {
  world.alarms[what] += difference != 0;
  world.told[what] = difference;
}

static struct self_check *begin(void) {
  memset(&world, 0, sizeof world);
  seen = warnings = 0;
  clock_init_settable(&world.clock, BEGAN);
  char id[32];
  snprintf(id, sizeof id, "INC-%06u", ++incidents);
  node = journal_new(&store, id);
  journal_watch(node, on_entry, NULL);
  struct self_check_deps deps = {
      .loop = loop, .node = node, .every_ms = 1, .alerts = count_alerts, .actions = count_actions, .alarm = alarm_comes};
  return self_check_start(&deps);
}

static void end(struct self_check *s) {
  self_check_free(s);
  for (int64_t deadline = test_now_ms() + PATIENCE_MS; !journal_idle(node);) { /* all of it is on record */
    assert_true(test_now_ms() < deadline);
    loop_turn(loop);
  }
  journal_free(node);
}

static void until(unsigned count) {
  int64_t deadline = test_now_ms() + PATIENCE_MS;
  while (seen < count) {
    assert_true(test_now_ms() < deadline);
    loop_turn(loop);
  }
}

static void test_an_entry_each_minute(void **state) {
  struct self_check *s = begin();
  assert_int_equal(seen, 1); /* at once */
  until(60);
  world.accepted = world.attached = 5;
  until(MINUTES);
  for (unsigned i = 0; i < MINUTES; i++) {
    assert_int_equal(entries[i].time, BEGAN + (i + 1) * MINUTE);
    bool changed = i == 0 || i == 60;
    assert_int_equal(entries[i].figures, changed);
    if (!changed) assert_int_equal(entries[i].as, entries[i < 60 ? 0 : 60].seq);
    if (!changed) assert_in_range(entries[i].bytes, 200, 400);
  }
  assert_int_equal(warnings, 0);
  assert_int_equal(json_int_or(self_check_alerts(s), "attached", -1), 5);
  end(s);
}

static void test_a_difference_is_told(void **state) {
  struct self_check *s = begin();
  world.accepted = 3, world.attached = 2;
  until(2);
  assert_int_equal(world.alarms[ALARM_ALERTS], 1); /* which is told once is the alarm's own affair */
  assert_int_equal(world.told[ALARM_ALERTS], 1);
  assert_int_equal(warnings, 1);
  world.attached = 3;
  until(3);
  assert_int_equal(world.told[ALARM_ALERTS], 0);
  world.open = 2, world.attended = 1; /* for a moment this may be so: only what stays is missing */
  until(4);
  assert_int_equal(entries[3].difference, 1);
  assert_int_equal(world.alarms[ALARM_INTENTS], 0);
  until(5);
  assert_int_equal(world.alarms[ALARM_INTENTS], 1);
  world.attended = 2;
  until(6);
  assert_int_equal(world.told[ALARM_INTENTS], 0);
  assert_int_equal(json_int_or(self_check_intents(s), "in_flight", -1), 2);
  end(s);
}

static void test_goes_on_when_redis_was_away(void **state) {
  struct self_check *s = begin();
  world.away = true;
  unsigned before = world.counted;
  for (int64_t deadline = test_now_ms() + PATIENCE_MS; world.counted < before + 5;) {
    assert_true(test_now_ms() < deadline);
    loop_turn(loop);
  }
  assert_int_equal(seen, 1);
  world.away = false;
  until(2);
  self_check_stop(s);
  unsigned counted = world.counted;
  static const volatile bool never;
  test_until(loop, &never, 20);
  assert_int_equal(world.counted, counted);
  end(s);
}

static int setup(void **state) {
  struct redis_config config = {.lanes = 1};
  struct err err;
  server_start(&server, NULL);
  config.socket = server.socket;
  loop = loop_new();
  if (redis_new(loop, &config, NULL, link_says, NULL, &redis_link, &err)) fail_msg("%s", err.text);
  link_wait_up(loop, redis_link);
  store = (struct journal_store){.loop = loop, .redis = redis_link, .clock = &world.clock, .node = "n1"};
  return 0;
}

static int teardown(void **state) {
  redis_free(redis_link);
  loop_free(loop);
  server_stop(&server);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_an_entry_each_minute),
      cmocka_unit_test(test_a_difference_is_told),
      cmocka_unit_test(test_goes_on_when_redis_was_away),
  };
  return cmocka_run_group_tests_name("self-check", tests, setup, teardown);
}
