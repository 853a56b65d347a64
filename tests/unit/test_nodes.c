/* Nodes on one Redis: the lease, who is called dead and when, a name that is taken, brakes that all have seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/json.h"
#include "journal/nodes.h"
#include "redis_server.h"
#include "redis_link.h"

enum { LEASE_MS = 400, PATIENCE_MS = 20000 };

struct one {
  struct nodes *nodes;
  struct redis *link;
  volatile bool up, gone, lapsed, held, ousted, confirmed;
  int code;
  char who[NODE_NAME];
  int64_t epoch;
  size_t brakes;
};

static void on_brakes(void *arg, int64_t epoch, const struct redis_value *pairs) {
  struct one *o = arg;
  o->epoch = epoch;
  o->brakes = redis_count(pairs) / 2;
}

static void on_lapsed(void *arg, loop_cb *go_on, void *go_on_arg) {
  struct one *o = arg;
  o->lapsed = true;
  assert_false(nodes_held(o->nodes)); /* not before what is still ours was looked through */
  loop_defer(loop, go_on, go_on_arg);
}

static void on_held(void *arg) { ((struct one *)arg)->held = true; }

static void on_gone(void *arg, const char *node) {
  struct one *o = arg;
  o->gone = true;
  snprintf(o->who, sizeof o->who, "%s", node);
}

static void on_ousted(void *arg, const struct err *err) { ((struct one *)arg)->ousted = true; }
static void on_confirmed(void *arg) { ((struct one *)arg)->confirmed = true; }

static void on_up(void *arg, const struct err *err) {
  struct one *o = arg;
  o->code = err ? err->code : 0;
  o->up = true;
}

/* A link of its own for each, so that one can be cut off by taking it away. */
static void begin(struct one *o, const char *name, const char *folder, const char *key) {
  memset(o, 0, sizeof *o);
  o->link = link_up((struct redis_config){.timeout_ms = 2000});
  struct nodes_config config = {.node = name, .version = "1", .folder = folder, .key = key, .lease_ms = LEASE_MS};
  struct nodes_events events = {.arg = o, .brakes = on_brakes, .lapsed = on_lapsed, .held = on_held, .gone = on_gone, .ousted = on_ousted};
  o->nodes = nodes_new(loop, o->link, &config, &events);
  nodes_start(o->nodes, on_up, o);
}

static void begin_up(struct one *o, const char *name, const char *folder) {
  begin(o, name, folder, "k");
  assert_true(test_until(loop, &o->up, PATIENCE_MS));
  assert_int_equal(o->code, 0);
}

/* As kill -9 would: it just raises no more. */
static void vanish(struct one *o) {
  redis_free(o->link);
  nodes_free(o->nodes);
  o->nodes = NULL;
}

static void turn_for(int64_t ms) {
  volatile bool never = false;
  test_until(loop, &never, ms);
}

static int fresh(void **state) {
  struct redis *link = link_up((struct redis_config){0});
  assert_string_equal(ask(loop, link, "FLUSHALL"), "OK");
  redis_free(link);
  return 0;
}

static void test_lease_is_held_and_renewed(void **state) {
  struct one a;
  begin_up(&a, "n1", "f1");
  assert_true(nodes_held(a.nodes));
  turn_for(LEASE_MS * 3);
  assert_true(nodes_held(a.nodes));
  assert_false(a.lapsed);
  vanish(&a);
  /* What the first beat agreed on: here the wall's, for nobody has set a clock. */
  int64_t wall = clock_wall(clock_system());
  assert_in_range(clock_steady(clock_system()), wall - 5000000, wall + 5000000);
  struct redis *link = link_up((struct redis_config){0});
  char machine[CLOCK_BOOT_ID], stored[64];
  clock_boot_id(machine);
  snprintf(stored, sizeof stored, "%s", ask(loop, link, "HGET " NODES_CLOCK " %s", machine));
  int64_t boot = clock_boot(clock_system()), agreed = boot + strtoll(stored, NULL, 10) * 1000;
  assert_in_range(clock_steady(clock_system()), agreed, agreed + 5000000);
  redis_free(link);
}

static void test_dead_is_who_stands_still(void **state) {
  struct one a, b;
  begin_up(&a, "n1", "f1");
  begin_up(&b, "n2", "f2");
  turn_for(LEASE_MS * 2);
  assert_false(a.gone);
  assert_int_equal(nodes_state(a.nodes, "n2"), NODE_ALIVE);
  int64_t until = atomic_load(nodes_lease(b.nodes));
  vanish(&b);
  assert_true(test_until(loop, &a.gone, PATIENCE_MS));
  assert_string_equal(a.who, "n2");
  assert_true(clock_boot(clock_system()) > until); /* never while it still holds its lease */
  assert_int_equal(nodes_state(a.nodes, "n2"), NODE_DEAD);
  begin_up(&b, "n2", "f2"); /* the same folder, so the one before is gone for certain: at once */
  turn_for(LEASE_MS);
  assert_int_equal(nodes_state(a.nodes, "n2"), NODE_ALIVE);
  vanish(&a);
  vanish(&b);
}

static void test_leaving_needs_no_waiting(void **state) {
  struct one a, b;
  begin_up(&a, "n1", "f1");
  begin_up(&b, "n2", "f2");
  turn_for(LEASE_MS);
  nodes_leave(b.nodes, on_confirmed, &b);
  assert_true(test_until(loop, &b.confirmed, PATIENCE_MS));
  assert_true(test_until(loop, &a.gone, PATIENCE_MS));
  assert_int_equal(nodes_state(a.nodes, "n2"), NODE_ABSENT);
  vanish(&a);
  vanish(&b);
}

static void test_a_name_is_refused_while_it_moves(void **state) {
  struct one a, b;
  begin_up(&a, "n1", "f1");
  begin(&b, "n1", "f2", "k");
  assert_true(test_until(loop, &b.up, PATIENCE_MS));
  assert_int_equal(b.code, ERR_EXISTS);
  assert_false(nodes_held(b.nodes));
  assert_true(nodes_held(a.nodes));
  vanish(&b);
  vanish(&a);
  begin_up(&b, "n1", "f2"); /* and free again once it stands still */
  vanish(&b);
}

static void test_two_of_one_folder(void **state) {
  struct one a, b;
  begin_up(&a, "n1", "f1"); /* a copy of a machine: the one that came first finds out, and ends */
  begin_up(&b, "n1", "f1");
  assert_true(test_until(loop, &a.ousted, PATIENCE_MS));
  assert_false(nodes_held(a.nodes));
  assert_true(nodes_held(b.nodes));
  vanish(&a);
  vanish(&b);
}

static void test_another_key(void **state) {
  struct one a, b;
  begin_up(&a, "n1", "f1");
  begin(&b, "n2", "f2", "another");
  assert_true(test_until(loop, &b.up, PATIENCE_MS));
  assert_int_equal(b.code, ERR_DENIED);
  vanish(&a);
  vanish(&b);
}

static void test_stopped_process_finds_its_lease_lapsed(void **state) {
  struct one a;
  begin_up(&a, "n1", "f1");
  nanosleep(&(struct timespec){.tv_nsec = (LEASE_MS + 100) * 1000000L}, NULL); /* nothing turns the loop */
  assert_false(nodes_held(a.nodes));
  assert_true(test_until(loop, &a.held, PATIENCE_MS));
  assert_true(a.lapsed);
  assert_true(nodes_held(a.nodes));
  vanish(&a);
}

static void test_an_outage_kills_nobody(void **state) {
  struct one a, b;
  begin_up(&a, "n1", "f1");
  begin_up(&b, "n2", "f2");
  turn_for(LEASE_MS);
  kill(server.pid, SIGSTOP);
  turn_for(LEASE_MS * 2);
  kill(server.pid, SIGCONT);
  assert_true(test_until(loop, &a.held, PATIENCE_MS));
  assert_true(test_until(loop, &b.held, PATIENCE_MS));
  turn_for(LEASE_MS);
  assert_false(a.gone);
  assert_false(b.gone);
  vanish(&a);
  vanish(&b);
}

static void test_brakes_are_confirmed_by_all(void **state) {
  struct one a, b;
  struct redis *link = link_up((struct redis_config){0});
  begin_up(&a, "n1", "f1");
  begin_up(&b, "n2", "f2");
  turn_for(LEASE_MS / 2);
  assert_string_equal(ask(loop, link, "FCALL tocsin_brake 2 tocsin:nodes tocsin:brakes all why"), "1");
  nodes_when_confirmed(a.nodes, 1, on_confirmed, &a);
  assert_true(test_until(loop, &a.confirmed, PATIENCE_MS));
  assert_int_equal(b.epoch, 1); /* whoever is told that all have it finds it in force there */
  assert_int_equal(b.brakes, 1);
  a.confirmed = false;
  vanish(&b); /* one that cannot confirm holds it up until it holds no lease either */
  assert_string_equal(ask(loop, link, "FCALL tocsin_brake 2 tocsin:nodes tocsin:brakes all ''"), "2");
  nodes_when_confirmed(a.nodes, 2, on_confirmed, &a);
  assert_true(test_until(loop, &a.confirmed, PATIENCE_MS));
  assert_true(a.gone);
  vanish(&a);
  redis_free(link);
}

static void test_list(void **state) {
  struct one a, b;
  begin_up(&a, "n1", "f1");
  begin_up(&b, "n2", "f2");
  nodes_set_draining(b.nodes, true);
  turn_for(LEASE_MS);
  assert_true(nodes_draining(a.nodes, "n2"));
  json_t *list = nodes_list(a.nodes);
  assert_int_equal(json_array_size(list), 2);
  assert_string_equal(json_str_or(json_array_get(list, 0), "state", ""), "here");
  assert_string_equal(json_str_or(json_array_get(list, 1), "node", ""), "n2");
  assert_string_equal(json_str_or(json_array_get(list, 1), "state", ""), "alive");
  json_decref(list);
  vanish(&a);
  vanish(&b);
}

int main(void) {
  server_start(&server, NULL);
  loop = loop_new();
  secrets = secrets_new();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(test_lease_is_held_and_renewed, fresh),
      cmocka_unit_test_setup(test_dead_is_who_stands_still, fresh),
      cmocka_unit_test_setup(test_leaving_needs_no_waiting, fresh),
      cmocka_unit_test_setup(test_a_name_is_refused_while_it_moves, fresh),
      cmocka_unit_test_setup(test_two_of_one_folder, fresh),
      cmocka_unit_test_setup(test_another_key, fresh),
      cmocka_unit_test_setup(test_stopped_process_finds_its_lease_lapsed, fresh),
      cmocka_unit_test_setup(test_an_outage_kills_nobody, fresh),
      cmocka_unit_test_setup(test_brakes_are_confirmed_by_all, fresh),
      cmocka_unit_test_setup(test_list, fresh),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  secrets_free(secrets);
  loop_free(loop);
  server_stop(&server);
  return failed;
}
