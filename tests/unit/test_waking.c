/* Of an incident whose runs sleep only those are rebuilt that what comes concerns: an alert that one waits for, an answer, a time, another run beside them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/map.h"
#include "desk_stage.h"

enum { HOUR_MS = 3600000 };

static const struct {
  const char *name, *head, *run;
} books[] = {
    {"wait-a", "",
     "incident:wait_for { alert = { ['raw.more'] = 'a' }, within = '9h' } incident:note('a came') incident:wait '500ms' incident:note('a "
     "rested')"},
    {"wait-b", "", "incident:wait_for { alert = { ['raw.more'] = 'b' }, within = '3h' } incident:note 'b is over'"},
    {"asks", "", "incident:note('answered ' .. incident:ask { 'Go on?', options = { 'yes', 'no' }, within = '20h', otherwise = 'no' })"},
    {"asks-too", "", "incident:note('told ' .. incident:ask { 'And you?', options = { 'yes', 'no' }, within = '9h', otherwise = 'no' })"},
    {"times", "", "incident:wait '2h' incident:note 'two hours'"},
    {"listed", "", "incident:wait_for { alert = { ['raw.more'] = list 'vip' }, within = '9h' } incident:note 'listed'"},
    {"counts", "mode = 'restart',",
     "incident:note(#incident.alerts .. ' alerts') incident:wait_for { alert = { ['raw.more'] = 'never' }, within = '9h' }"},
};
enum { BOOKS = sizeof books / sizeof *books };

/* A machine that sleeps wakes up later by every clock. */
static int64_t ahead;
static int64_t later_wall(const struct clock *clock) { return clock_wall(clock_system()) + ahead; }
static int64_t later_boot(const struct clock *clock) { return clock_boot(clock_system()) + ahead; }
static const struct clock later = {.wall = later_wall, .boot = later_boot};

static bool matches(void *arg, void *lists, int64_t now, const json_t *when, const json_t *alert) {
  return strcmp(json_str_or(when, "raw.more", ""), json_str_or(json_object_get(alert, "raw"), "more", "-")) == 0;
}

static void playbooks_set(void) {
  struct map *all = calloc(1, sizeof *all);
  struct err err;
  map_init(all);
  for (size_t i = 0; i < BOOKS; i++) {
    char source[1024];
    struct declaration *p;
    snprintf(source, sizeof source, "return playbook { title = 'x', when = { ['raw.kind'] = 'x' }, %s run = function(incident) %s end }",
             books[i].head, books[i].run);
    if (playbook_load(books[i].name, source, strlen(source), &p, &err) < 0) fail_msg("%s", err.text);
    map_put(all, books[i].name, p);
  }
  desk_set_playbooks(t.desk, all, "");
}

static void on_done(void *arg, const struct err *err) { *(int *)arg = err ? err->code : 1; }

static int start_attaching(const char *more, const char *const *playbooks, size_t count, int *done) {
  static unsigned number;
  char id[32], text[64];
  struct err err;
  *done = 0;
  snprintf(id, sizeof id, "test:%u", ++number);
  snprintf(text, sizeof text, "{\"more\":\"%s\"}", more);
  json_t *bytes = json_string(text), *raw = json_pack("{s:s}", "more", more),
         *finding = json_pack("{s:{s:s}, s:s}", "metadata", "uid", id, "message", "an alert");
  const struct alert alert = {.id = id, .source = "test", .finding = finding, .raw = raw, .text = bytes};
  int r = desk_attach(t.desk, t.id, false, &alert, playbooks, count, NULL, on_done, done, &err);
  json_decref(bytes);
  json_decref(raw);
  json_decref(finding);
  return r;
}

static void attach(const char *more, const char *const *playbooks, size_t count) {
  int done;
  assert_int_equal(start_attaching(more, playbooks, count, &done), 0);
  UNTIL(done);
  assert_int_equal(done, 1);
}

static int64_t count_of(const char *what) {
  json_t *counts = desk_counts(t.desk);
  int64_t n = json_int_or(counts, what, -1);
  json_decref(counts);
  return n;
}

static bool noted(const char *text) {
  const json_t *entries =
      json_object_get(said("tester", json_pack("{s:s, s:s, s:I}", "command", "incident.entries", "id", t.id, "from", (json_int_t)1), 200),
                      "entries");
  for (size_t i = 0; i < json_array_size(entries); i++)
    if (strcmp(json_str_or(json_object_get(json_array_get(entries, i), "body"), "text", ""), text) == 0) return true;
  return false;
}

static size_t questions_shown(void) {
  const json_t *answer = said("tester", json_pack("{s:s}", "command", "questions"), 200);
  assert_int_equal(json_array_size(json_object_get(answer, "questions")), json_int_or(answer, "questions_total", -1));
  return json_array_size(json_object_get(answer, "questions"));
}

static const char *const first_five[] = {"wait-a", "wait-b", "asks", "asks-too", "times"};

static void desk_with_books(void) {
  desk_up();
  playbooks_set();
  int done = 0;
  struct err err;
  if (desk_load(t.desk, on_done, &done, &err) < 0) fail_msg("%s", err.text);
  UNTIL(done);
}

/* An incident with five runs that sleep. */
static int setup(void **state) {
  ahead = 0;
  stage_begin();
  t.clock = &later;
  t.lists = (struct run_world){.matches = matches};
  desk_with_books();
  const json_t *opened =
      said("tester", json_pack("{s:s, s:s, s:s, s:s}", "command", "incident.open", "title", "a case", "severity", "low", "because", "x"),
           200);
  snprintf(t.id, sizeof t.id, "%s", json_str_or(opened, "id", ""));
  attach("first", first_five, 5);
  UNTIL(count_of("runs_asleep") == 5);
  assert_int_equal(count_of("runs_started_total"), 5);
  return 0;
}

static int teardown(void **state) {
  desk_down();
  stage_end();
  return 0;
}

/* How many runs were rebuilt, or begun, since the last time it was asked. */
static int64_t rebuilt(void) {
  static int64_t before;
  int64_t now = count_of("runs_started_total"), since = now - before;
  before = now;
  return since;
}

static void alert_wakes_who_waits(void **state) {
  rebuilt();
  attach("nobody's", NULL, 0);
  UNTIL(count_of("asleep") == 1 && desk_live(t.desk) == 0);
  assert_int_equal(rebuilt(), 0);
  attach("a", NULL, 0);
  assert_int_equal(rebuilt(), 1);
  assert_int_equal(count_of("runs_asleep"), 4);
  assert_int_equal(questions_shown(), 2);
  assert_true(noted("a came"));
  UNTIL(count_of("runs_ended_total") == 1);
  UNTIL(count_of("asleep") == 1 && desk_live(t.desk) == 0);
  assert_int_equal(count_of("runs_asleep"), 4);
  assert_true(noted("a rested"));
}

/* A list is one thing to the run, which began with another version of it, and another to whoever looks now: the run is asked. */
static void list_wakes_who_waits(void **state) {
  static const char *const listed[] = {"listed"};
  attach("more", listed, 1);
  UNTIL(count_of("runs_asleep") == 6);
  rebuilt();
  attach("nobody's", NULL, 0);
  assert_int_equal(rebuilt(), 1);
  UNTIL(count_of("runs_asleep") == 6);
  assert_false(noted("listed"));
}

static void answer_wakes_who_asks(void **state) {
  char id[64];
  rebuilt();
  snprintf(id, sizeof id, "%s/3/1", t.id);
  said("tester", json_pack("{s:s, s:s, s:s}", "command", "answer", "id", id, "answer", "yes"), 200);
  assert_int_equal(rebuilt(), 1);
  assert_int_equal(questions_shown(), 1);
  UNTIL(count_of("runs_ended_total") == 1);
  refused("tester", json_pack("{s:s, s:s, s:s}", "command", "answer", "id", id, "answer", "yes"), 409, "answered");
  assert_int_equal(rebuilt(), 0);
  assert_true(noted("answered yes"));
}

static void on_pong(void *arg, const struct redis_value *pong, const struct err *err) { *(bool *)arg = true; }

/* What the desk has told Redis of this incident is there. */
static void redis_has_it(void) {
  bool there = false;
  assert_int_equal(redis_call(t.redis, redis_lane(t.redis, t.id), on_pong, &there, NULL, "PING", NULL), 0);
  UNTIL(there);
}

/* Each at its own time, and the rest of them as before; a restart in between changes nothing. */
static void time_wakes_who_is_due(void **state) {
  rebuilt();
  ahead = (int64_t)(2 * HOUR_MS + 60000) * 1000; /* nobody could have answered meanwhile: the questions stay */
  attach("nobody's", NULL, 0);                   /* somebody looks at the clock */
  UNTIL(count_of("runs_ended_total") == 1);
  assert_int_equal(rebuilt(), 1);
  UNTIL(count_of("asleep") == 1 && desk_live(t.desk) == 0);
  assert_int_equal(count_of("questions"), 2);
  redis_has_it();
  desk_down();
  desk_with_books();
  assert_int_equal(count_of("runs_asleep"), 4);
  assert_int_equal(rebuilt(), -6); /* a new desk: none */
  ahead += (int64_t)HOUR_MS * 1000;
  attach("nobody's", NULL, 0);
  UNTIL(count_of("runs_ended_total") == 1);
  assert_int_equal(rebuilt(), 1);
  assert_true(noted("two hours"));
  assert_true(noted("b is over"));
  assert_false(noted("answered no"));
}

/* A run that begins beside them finds every alert, and one that it replaces is the only one that is woken. */
static void another_beside_them(void **state) {
  static const char *const counts[] = {"counts"};
  rebuilt();
  attach("second", counts, 1);
  assert_int_equal(rebuilt(), 1);
  assert_int_equal(count_of("runs_asleep"), 5);
  UNTIL(noted("2 alerts"));
  UNTIL(count_of("runs_asleep") == 6 && desk_live(t.desk) == 0);
  attach("third", counts, 1);
  assert_int_equal(rebuilt(), 2); /* the one that is cancelled, and the new one */
  UNTIL(noted("3 alerts"));
  UNTIL(count_of("runs_asleep") == 6 && desk_live(t.desk) == 0);
  assert_int_equal(count_of("runs_ended_total"), 1);
}

static void cancelled_alone(void **state) {
  char id[64];
  rebuilt();
  snprintf(id, sizeof id, "%s/4", t.id);
  said("tester", json_pack("{s:s, s:s, s:s}", "command", "run.cancel", "id", id, "because", "enough"), 200);
  assert_int_equal(rebuilt(), 1);
  UNTIL(count_of("runs_ended_total") == 1);
  UNTIL(count_of("runs_asleep") == 4 && desk_live(t.desk) == 0);
  assert_int_equal(questions_shown(), 1);
}

/* While one is awake, whatever needs the whole incident wakes the others, and those alone. */
static void the_others_later(void **state) {
  char id[64];
  int done;
  rebuilt();
  attach("a", NULL, 0);
  assert_int_equal(rebuilt(), 1);
  assert_int_equal(start_attaching("b", NULL, 0, &done), 0); /* two at once: one more is rebuilt for each */
  snprintf(id, sizeof id, "%s/3/1", t.id);
  said("tester", json_pack("{s:s, s:s, s:s}", "command", "answer", "id", id, "answer", "no"), 200);
  UNTIL(done);
  assert_int_equal(done, 1);
  assert_int_equal(rebuilt(), 2);
  said("tester", json_pack("{s:s, s:s}", "command", "incident.show", "id", t.id), 200); /* who looks wakes nobody */
  assert_int_equal(rebuilt(), 0);
  said("tester", json_pack("{s:s, s:s, s:s}", "command", "incident.note", "id", t.id, "text", "looks"), 200);
  assert_int_equal(rebuilt(), 2);
  assert_int_equal(count_of("asleep"), 0);
  assert_int_equal(questions_shown(), 1);
  assert_true(noted("a came") && noted("b is over") && noted("answered no"));
  UNTIL(count_of("asleep") == 1 && desk_live(t.desk) == 0); /* and all that is left sleeps again */
  assert_int_equal(count_of("runs_asleep"), 2);
  assert_int_equal(count_of("runs_ended_total"), 3);
}

/* Another node takes it while one run is awake and another is being woken: nobody waits for ever, nothing of it stays. */
static void lost_meanwhile(void **state) {
  int done;
  attach("a", NULL, 0);
  assert_int_equal(start_attaching("b", NULL, 0, &done), 0);
  desk_lost(t.desk, t.id);
  UNTIL(done);
  assert_int_equal(done, ERR_UNAVAILABLE);
  UNTIL(desk_live(t.desk) == 0);
  assert_int_equal(count_of("runs"), 0);
  assert_int_equal(count_of("asleep"), 0);
  attach("b", NULL, 0); /* it comes back to us: all of it, from its journal */
  assert_int_equal(count_of("runs_asleep"), 0);
  UNTIL(noted("b is over"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(alert_wakes_who_waits, setup, teardown),
      cmocka_unit_test_setup_teardown(list_wakes_who_waits, setup, teardown),
      cmocka_unit_test_setup_teardown(answer_wakes_who_asks, setup, teardown),
      cmocka_unit_test_setup_teardown(time_wakes_who_is_due, setup, teardown),
      cmocka_unit_test_setup_teardown(another_beside_them, setup, teardown),
      cmocka_unit_test_setup_teardown(cancelled_alone, setup, teardown),
      cmocka_unit_test_setup_teardown(the_others_later, setup, teardown),
      cmocka_unit_test_setup_teardown(lost_meanwhile, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
