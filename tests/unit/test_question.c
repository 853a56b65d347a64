/* Questions: exactly one answer, from somebody who may, or silence at its time by the incident's clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "action/question.h"
#include "base/clock.h"
#include "base/json.h"
#include "redis_server.h"

enum { PATIENCE_MS = 10000 };

static struct server server;
static struct loop *loop;
static struct redis *redis_link;
static struct secrets *secrets;
static struct people *people;
static struct questions *questions;
static struct clock clock_set_by_us;
static struct journal_store store;
static struct journal *journal;
static unsigned incidents;

static int stage_up(void **state) {
  struct err err;
  server_start(&server, NULL);
  loop = loop_new();
  secrets = secrets_new();
  struct redis_config config = {.socket = server.socket, .lanes = 1};
  if (redis_new(loop, &config, secrets, link_says, NULL, &redis_link, &err)) fail_msg("%s", err.text);
  link_wait_up(loop, redis_link);
  clock_init_settable(&clock_set_by_us, 1000000000000000);
  store = (struct journal_store){.loop = loop, .redis = redis_link, .secrets = secrets, .clock = &clock_set_by_us, .node = "n1"};
  json_t *all =
      json_pack("{s:{s:i,s:[s]}, s:{s:i,s:[s]}, s:{s:i,s:[s]}, s:{s:i,s:[s]}}", "rita", "uid", 90001, "roles", "responder", "ron", "uid",
                90002, "roles", "responder", "vic", "uid", 90003, "roles", "viewer", "ada", "uid", 90004, "roles", "admin");
  if (people_new(all, secrets, "0123456789abcdef", 16, &people, &err) < 0) fail_msg("%s", err.text);
  json_decref(all);
  return 0;
}

static int stage_down(void **state) {
  redis_free(redis_link);
  people_free(people);
  loop_free(loop);
  secrets_free(secrets);
  server_stop(&server);
  return 0;
}

static int test_up(void **state) {
  char id[32];
  questions = questions_new(loop, people);
  snprintf(id, sizeof id, "INC-%06u", ++incidents);
  journal = journal_new(&store, id);
  return 0;
}

static int test_down(void **state) {
  questions_free(questions);
  journal_free(journal);
  return 0;
}

static const struct person *person(const char *name) {
  return people_by_uid(people, strcmp(name, "rita") == 0  ? 90001
                               : strcmp(name, "ron") == 0 ? 90002
                               : strcmp(name, "vic") == 0 ? 90003
                                                          : 90004);
}

struct told {
  volatile bool done;
  unsigned calls;
  char answer[64], by[64];
};

static void on_answer(void *arg, const char *answer, const char *by) {
  struct told *t = arg;
  t->calls++;
  t->done = true;
  snprintf(t->answer, sizeof t->answer, "%s", answer ? answer : "(let go)");
  snprintf(t->by, sizeof t->by, "%s", by ? by : "");
}

static struct question *ask_one(struct told *t, struct question_spec more) {
  static json_t *options;
  json_decref(options);
  options = json_pack("[s, s, s]", "keep", "release", "reset");
  memset(t, 0, sizeof *t);
  more.journal = journal;
  more.run = 1;
  if (!more.step) more.step = "4";
  more.actor = "playbook:x";
  if (!more.kind) more.kind = "ask";
  more.text = "Keep it?";
  more.options = options;
  struct question *q = question_ask(questions, &more, on_answer, t);
  json_t *keep = options;
  options = NULL;
  json_decref(keep);
  assert_int_equal(t->calls, 0);
  return q;
}

static int say(const char *name, const char *text, struct err *err) {
  char id[ID_PATH];
  struct journal *j = NULL;
  id_path(id, journal_incident(journal), 1, "4");
  return question_answer(questions, id, person(name), text, &j, err);
}

static void wait_told(struct told *t, const char *answer) {
  assert_true(test_until(loop, &t->done, PATIENCE_MS));
  assert_int_equal(t->calls, 1);
  assert_string_equal(t->answer, answer);
}

static const json_t *open_in_state(void) { return json_object_get(json_object_get(journal_state(journal), "questions"), "1/4"); }

static void test_answered_once(void **state) {
  struct told t;
  struct err err;
  ask_one(&t, (struct question_spec){0});
  assert_non_null(open_in_state());
  assert_int_equal(say("vic", "keep", &err), ERR_DENIED);
  assert_int_equal(say("rita", "re", &err), ERR_INVALID); /* two options begin so */
  assert_non_null(strstr(err.text, "release"));
  assert_int_equal(say("rita", "", &err), ERR_INVALID);
  assert_int_equal(journal_seq(journal), 4); /* asked, and three refusals on record */
  assert_int_equal(say("rita", "rel", &err), 0);
  assert_int_equal(t.calls, 0);
  assert_int_equal(say("ron", "keep", &err), ERR_CONFLICT); /* too late, and told who was first */
  assert_non_null(strstr(err.text, "rita"));
  wait_told(&t, "release");
  assert_string_equal(t.by, person("rita")->actor);
  assert_null(open_in_state());
  assert_int_equal(questions_count(questions), 0);
  assert_int_equal(say("ron", "keep", &err), ERR_CONFLICT);
}

static void test_no_such_question(void **state) {
  struct err err;
  assert_int_equal(say("rita", "keep", &err), ERR_NOT_FOUND);
}

static void test_silence(void **state) {
  struct told t;
  struct err err;
  ask_one(&t, (struct question_spec){.within_ms = 30 * 60000, .otherwise = "keep"});
  int64_t now = clock_wall(&clock_set_by_us);
  clock_set(&clock_set_by_us, now + (int64_t)29 * 60000000);
  questions_clock_moved(questions);
  for (int i = 0; i < 50; i++) loop_turn(loop);
  assert_int_equal(t.calls, 0);
  clock_set(&clock_set_by_us, now + (int64_t)30 * 60000000);
  questions_clock_moved(questions);
  wait_told(&t, "keep");
  assert_string_equal(t.by, "");
  assert_int_equal(say("rita", "release", &err), ERR_CONFLICT);
  assert_non_null(strstr(err.text, "silence"));
}

static void test_silence_waits_for_a_channel(void **state) {
  struct told t;
  char id[ID_PATH];
  id_path(id, journal_incident(journal), 1, "4");
  ask_one(&t, (struct question_spec){.within_ms = 60000, .otherwise = "keep"});
  question_hold(questions, id, true);
  clock_set(&clock_set_by_us, clock_wall(&clock_set_by_us) + (int64_t)3600 * 1000000);
  questions_clock_moved(questions);
  for (int i = 0; i < 50; i++) loop_turn(loop);
  assert_int_equal(t.calls, 0);
  question_hold(questions, id, false); /* told at last: the time begins where it stood still */
  clock_set(&clock_set_by_us, clock_wall(&clock_set_by_us) + (int64_t)59 * 1000000);
  questions_clock_moved(questions);
  for (int i = 0; i < 50; i++) loop_turn(loop);
  assert_int_equal(t.calls, 0);
  clock_set(&clock_set_by_us, clock_wall(&clock_set_by_us) + (int64_t)2 * 1000000);
  questions_clock_moved(questions);
  wait_told(&t, "keep");
}

static void test_answer_and_silence_in_one_turn(void **state) {
  struct told t;
  struct err err;
  ask_one(&t, (struct question_spec){.within_ms = 60000, .otherwise = "keep"});
  clock_set(&clock_set_by_us, clock_wall(&clock_set_by_us) + (int64_t)61 * 1000000);
  questions_clock_moved(questions);
  assert_int_equal(say("rita", "release", &err), 0); /* the first appended wins */
  wait_told(&t, "release");
  for (int i = 0; i < 50; i++) loop_turn(loop);
  assert_int_equal(t.calls, 1);
  assert_int_equal(journal_seq(journal), 2);
}

static void test_several_must_agree(void **state) {
  struct told t;
  struct err err;
  ask_one(&t, (struct question_spec){.kind = "approve", .approvals = 2, .exclude = person("ada")->actor});
  assert_int_equal(say("ada", "keep", &err), ERR_DENIED); /* admin, but it is her own request */
  assert_int_equal(say("rita", "keep", &err), 0);
  assert_int_equal(say("rita", "keep", &err), ERR_DENIED);
  for (int i = 0; i < 50; i++) loop_turn(loop);
  assert_int_equal(t.calls, 0);
  assert_int_equal(say("ron", "keep", &err), 0);
  wait_told(&t, "keep");
}

static void test_one_refusal_is_enough(void **state) {
  struct told t;
  struct err err;
  ask_one(&t, (struct question_spec){.kind = "approve", .approvals = 2});
  assert_int_equal(say("rita", "keep", &err), 0);
  assert_int_equal(say("ron", "release", &err), 0);
  wait_told(&t, "release");
}

static unsigned notified;
static void on_asked(void *arg, struct journal *j, const char *id, const json_t *question) { notified++; }

/* After a restart: the same question, not a second one; approvals given count, and there is time to answer. */
static void test_taken_up(void **state) {
  struct told t;
  struct err err;
  questions_on_asked(questions, on_asked, NULL);
  notified = 0;
  ask_one(&t, (struct question_spec){.kind = "approve", .approvals = 2, .within_ms = 60000, .otherwise = "release"});
  assert_int_equal(notified, 1);
  assert_int_equal(say("rita", "keep", &err), 0);
  uint64_t seq = journal_seq(journal);
  questions_free(questions);
  questions = questions_new(loop, people);
  questions_on_asked(questions, on_asked, NULL);
  int64_t before = clock_wall(&clock_set_by_us);
  clock_set(&clock_set_by_us, before + (int64_t)3600 * 1000000); /* long past its deadline, and the engine was down */
  questions_lapse(questions, &(struct lapse){.from = before, .to = clock_wall(&clock_set_by_us)});
  ask_one(&t, (struct question_spec){.kind = "approve", .approvals = 2, .within_ms = 60000, .otherwise = "release"});
  assert_int_equal(journal_seq(journal), seq);
  assert_int_equal(notified, 1);
  for (int i = 0; i < 50; i++) loop_turn(loop);
  assert_int_equal(t.calls, 0);
  assert_int_equal(say("rita", "keep", &err), ERR_DENIED);
  assert_int_equal(say("ron", "keep", &err), 0);
  wait_told(&t, "keep");
}

static int64_t after(int64_t deadline, int64_t asked, int64_t from, int64_t to) {
  return lapse_deadline(&(struct lapse){.from = from, .to = to}, asked, deadline);
}

/* Time in which nobody could have answered does not count, and ten minutes are left after it at least. */
static void test_outages(void **state) {
  const int64_t minute = 60000000, at = 1000 * minute;
  assert_int_equal(after(0, at, at + minute, at + 2 * minute), 0); /* it never expires */
  assert_int_equal(after(at + 60 * minute, at, at + 10 * minute, at + 30 * minute), at + 80 * minute);
  assert_int_equal(after(at + 60 * minute, at, at - 10 * minute, at + 30 * minute), at + 90 * minute); /* asked in the middle */
  assert_int_equal(after(at + 60 * minute, at, at - 10 * minute, at), at + 60 * minute);               /* before it was asked */
  assert_int_equal(after(at + 60 * minute, at, at + 59 * minute, at + 61 * minute), at + 71 * minute);
  struct told t;
  ask_one(&t, (struct question_spec){.within_ms = 60000, .otherwise = "keep"});
  int64_t now = clock_wall(&clock_set_by_us);
  clock_set(&clock_set_by_us, now + 30 * minute); /* Redis was away: nobody was answered */
  questions_lapse(questions, &(struct lapse){.from = now, .to = now + 30 * minute});
  for (int i = 0; i < 50; i++) loop_turn(loop);
  assert_int_equal(t.calls, 0);
  clock_set(&clock_set_by_us, now + 39 * minute);
  questions_clock_moved(questions);
  for (int i = 0; i < 50; i++) loop_turn(loop);
  assert_int_equal(t.calls, 0);
  clock_set(&clock_set_by_us, now + 40 * minute);
  questions_clock_moved(questions);
  wait_told(&t, "keep");
}

/* A clock that is set while time goes on as ever. */
static int64_t shown, passed;
static int64_t wall_shown(const struct clock *clock) { return shown; }
static int64_t time_passed(const struct clock *clock) { return passed; }
static const struct clock set_clock = {.wall = wall_shown, .boot = time_passed};

static unsigned signs_wanted, steps;
static void on_due(void *arg) { signs_wanted++; }
static void on_stepped(void *arg, const struct lapse *one) {
  steps++;
  questions_lapse(questions, one);
}

static void time_goes_on(int64_t us) {
  shown += us;
  passed += us;
  questions_clock_moved(questions);
  for (int i = 0; i < 20; i++) loop_turn(loop);
}

static int watched_up(void **state) {
  const struct questions_watch watch = {.clock = &set_clock, .due = on_due, .stepped = on_stepped};
  test_up(state);
  shown = 2000000000000000;
  passed = 5000000;
  signs_wanted = steps = 0;
  store.clock = &set_clock;
  questions_watched(questions, &watch);
  return 0;
}

static int watched_down(void **state) {
  store.clock = &clock_set_by_us;
  return test_down(state);
}

enum { MINUTE = 60000000 };
static const int64_t HOUR = INT64_C(3600000000);

/* Until Redis was seen to be there at the deadline nobody knows whether somebody could have answered: it does not expire. */
static void test_expires_only_when_somebody_could_have_answered(void **state) {
  struct told t;
  ask_one(&t, (struct question_spec){.within_ms = 60000, .otherwise = "keep"});
  questions_alive(questions, shown);
  time_goes_on(30 * (int64_t)MINUTE); /* frozen, far beyond its deadline */
  assert_int_equal(t.calls, 0);
  assert_true(signs_wanted > 0);
  int64_t back = shown;
  questions_lapse(questions, &(struct lapse){.from = back - 30 * (int64_t)MINUTE, .to = back});
  questions_alive(questions, back);
  time_goes_on(9 * (int64_t)MINUTE); /* ten minutes at least, after it */
  questions_alive(questions, shown);
  time_goes_on(0);
  assert_int_equal(t.calls, 0);
  time_goes_on(2 * (int64_t)MINUTE);
  assert_int_equal(t.calls, 0); /* not yet heard of Redis since */
  questions_alive(questions, shown);
  wait_told(&t, "keep");
}

static void heard_after(int64_t us) {
  time_goes_on(us);
  questions_look(questions, &set_clock); /* as each beat does */
  questions_alive(questions, shown);
  time_goes_on(0);
}

/* A clock that is set an hour forward and back moves nobody's deadline by a minute, neither of what was asked before nor between. */
static void test_a_clock_that_is_set(void **state) {
  struct told before, between;
  ask_one(&before, (struct question_spec){.within_ms = 30 * 60000, .otherwise = "keep"});
  heard_after(MINUTE);
  shown += HOUR;
  heard_after(MINUTE);
  assert_int_equal(steps, 1);
  assert_int_equal(before.calls, 0);
  ask_one(&between, (struct question_spec){.step = "5", .within_ms = 40 * 60000, .otherwise = "release"});
  heard_after(MINUTE);
  shown -= HOUR;
  heard_after(MINUTE);
  assert_int_equal(steps, 2);
  heard_after(25 * (int64_t)MINUTE); /* 29 minutes */
  assert_int_equal(before.calls, 0);
  heard_after(2 * (int64_t)MINUTE); /* 31 */
  wait_told(&before, "keep");
  heard_after(10 * (int64_t)MINUTE); /* 41, 39 of the other */
  assert_int_equal(between.calls, 0);
  heard_after(2 * (int64_t)MINUTE);
  wait_told(&between, "release");
}

/* Taken up from its journal it is right by the steps that were told, and never further off than it was at first. */
static void test_taken_up_after_a_step(void **state) {
  struct told t;
  const struct questions_watch watch = {.clock = &set_clock, .due = on_due, .stepped = on_stepped};
  ask_one(&t, (struct question_spec){.within_ms = 30 * 60000, .otherwise = "keep"});
  heard_after(MINUTE);
  questions_free(questions);
  shown -= HOUR; /* while the engine is down: nothing tells how long that was */
  questions = questions_new(loop, people);
  questions_watched(questions, &watch);
  int64_t due;
  const struct question *q = ask_one(&t, (struct question_spec){.within_ms = 30 * 60000, .otherwise = "keep"});
  assert_false(question_sleeps(q, &due)); /* whoever asks again after a sleep would give it its whole time again */
  heard_after(29 * (int64_t)MINUTE);
  assert_int_equal(t.calls, 0);
  heard_after(2 * (int64_t)MINUTE);
  wait_told(&t, "keep");
}

static void test_lapses_in_order(void **state) {
  const int64_t at = 1000 * HOUR;
  struct lapses l = {0};
  lapses_tell(&l, &(struct lapse){.from = at + MINUTE, .to = at + MINUTE + HOUR, .step = true});
  assert_int_equal(lapses_until(&l, at, at + 2 * (int64_t)MINUTE, NULL), at + 2 * (int64_t)MINUTE + HOUR);
  assert_int_equal(lapses_until(&l, at, at + MINUTE / 2, NULL), at + MINUTE / 2); /* it was over before */
  assert_int_equal(lapses_until(&l, at + HOUR + MINUTE, at + 2 * HOUR, NULL), at + 2 * HOUR);
  lapses_tell(&l, &(struct lapse){.from = at + HOUR + 3 * (int64_t)MINUTE, .to = at + 3 * (int64_t)MINUTE, .step = true});
  assert_int_equal(lapses_until(&l, at, at + 2 * (int64_t)MINUTE, NULL), at + 2 * (int64_t)MINUTE);
  assert_int_equal(lapses_deadline(&l, at, at + 2 * (int64_t)MINUTE, NULL), at + 2 * (int64_t)MINUTE);
  assert_int_equal(lapses_until(&l, at, INT64_MAX, NULL), INT64_MAX);
  assert_int_equal(lapses_deadline(&l, at, 0, NULL), 0);
  for (int i = 0; i < 2 * LAPSES; i++) lapses_tell(&l, &(struct lapse){.from = at + i, .to = at + i + 1});
  assert_int_equal(l.count, LAPSES);
  assert_int_equal(l.all[LAPSES - 1].from, at + 2 * LAPSES - 1);
}

static void test_dropped_and_let_go(void **state) {
  struct told t, u;
  struct err err;
  struct question *q = ask_one(&t, (struct question_spec){0});
  question_drop(q);
  assert_int_equal(questions_count(questions), 0);
  q = ask_one(&t, (struct question_spec){0});
  assert_int_equal(say("rita", "keep", &err), 0);
  question_drop(q); /* decided, and its callback still to come: it never does */
  for (int i = 0; i < 50; i++) loop_turn(loop);
  assert_int_equal(t.calls, 0);
  ask_one(&t, (struct question_spec){.step = "5"});
  ask_one(&u, (struct question_spec){.step = "6"});
  questions_forget(questions, journal);
  assert_int_equal(t.calls, 1);
  assert_int_equal(u.calls, 1);
  assert_string_equal(t.answer, "(let go)");
  assert_int_equal(questions_count(questions), 0);
  json_t *open = questions_open(questions);
  assert_int_equal(json_array_size(open), 0);
  json_decref(open);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, test_up, test_down)
#define WATCHED(f) cmocka_unit_test_setup_teardown(f, watched_up, watched_down)
  const struct CMUnitTest tests[] = {
      TEST(test_answered_once),
      TEST(test_no_such_question),
      TEST(test_silence),
      TEST(test_silence_waits_for_a_channel),
      TEST(test_answer_and_silence_in_one_turn),
      TEST(test_several_must_agree),
      TEST(test_one_refusal_is_enough),
      TEST(test_taken_up),
      TEST(test_outages),
      WATCHED(test_expires_only_when_somebody_could_have_answered),
      WATCHED(test_a_clock_that_is_set),
      WATCHED(test_taken_up_after_a_step),
      TEST(test_lapses_in_order),
      TEST(test_dropped_and_let_go),
  };
  return cmocka_run_group_tests_name("questions", tests, stage_up, stage_down);
}
