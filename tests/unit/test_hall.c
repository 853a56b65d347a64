/* Leading an exercise, what is refused, and what it cannot reach. Needs a redis-server. */
#include "tabletop_stage.h"

#include "script/madeup.h"

static const char SMALL[] =
    "return scenario { title = 'Small', summary = 'S', duration = '2h', roles = { lead = 'leads', press = 'speaks' },\n"
    "injects = {\n"
    "  { id = 'first', at = '1m', fact = 'it begins' },\n"
    "  { id = 'call', at = '10m', call = { to = 'press', from = 'A journalist', text = 'What is going on?' } },\n"
    "  { id = 'ask', at = '20m', question = { to = 'lead', text = 'Stop it?', options = { 'yes', 'no' }, otherwise = 'no', within = '10m' "
    "} },\n"
    "  { id = 'last', at = '90m', fact = 'it ends' },\n"
    "}, objectives = { { id = 'o', text = 'O', judge = { answered = 'ask' } } } }";

static json_t *small(void) { return json_pack("{s:s, s:s, s:s}", "command", "tabletop.run", "file", "small.lua", "source", SMALL); }

static struct exercise *begun(const char *who, json_t *command_take) {
  char id[ID_INCIDENT];
  begin(who, command_take, id);
  return hall_find(hall, id);
}

static json_t *to(const struct exercise *x, const char *name) { return json_pack("{s:s, s:s}", "command", name, "id", x->id); }

static json_t *with(json_t *command, const char *member, json_t *value_take) {
  json_object_set_new(command, member, value_take);
  return command;
}

static void pass(int64_t minutes) {
  clock_set(&hall_clock, clock_wall(&hall_clock) + minutes * 60000000);
  for (int i = 0; i < 120; i++) turn();
}

static json_t *shown(const struct exercise *x, const char *who) {
  int status;
  json_t *answer = command(who, to(x, "tabletop.show"), &status);
  assert_int_equal(status, 200);
  return answer;
}

static bool came(const struct exercise *x, const char *inject) {
  json_t *view = shown(x, "rita"), *item;
  size_t i;
  bool found = false;
  json_array_foreach(json_object_get(view, "happened"), i, item) found = found || strcmp(json_str_or(item, "inject", ""), inject) == 0;
  json_decref(view);
  return found;
}

static void ended(struct exercise *x) {
  char id[ID_INCIDENT];
  snprintf(id, sizeof id, "%s", x->id);
  say("rita", to(x, "tabletop.end"), 200);
  UNTIL(!hall_find(hall, id));
}

/* By its own clock, which the facilitator has stand still for a day, puts forward, and makes faster. */
static void test_leading(void **state) {
  struct exercise *x = begun("tester", small());
  pass(1);
  UNTIL(came(x, "first"));
  say("tester", to(x, "tabletop.pause"), 200);
  refused("tester", to(x, "tabletop.pause"), 409, "stands still already");
  pass(24 * 60);
  assert_false(came(x, "call"));
  json_t *view = shown(x, "tester");
  assert_true(json_bool_or(view, "paused", false));
  assert_in_range(json_int_or(view, "elapsed", 0), 60000, 61000);
  assert_int_equal(json_array_size(json_object_get(view, "to_come")), 3);
  json_decref(view);
  say("tester", with(to(x, "tabletop.skip"), "inject", json_string("call")), 200);
  refused("tester", with(to(x, "tabletop.skip"), "inject", json_string("call")), 409, "was skipped already");
  refused("tester", with(to(x, "tabletop.skip"), "inject", json_string("nothing")), 404, "no inject");
  say("tester", with(with(to(x, "tabletop.inject"), "text", json_string("The phone rings.")), "to", json_pack("[s]", "lead")), 200);
  refused("tester", with(with(to(x, "tabletop.inject"), "text", json_string("Hello?")), "to", json_pack("[s]", "king")), 400,
          "has no role \"king\"");
  refused("tester", with(with(to(x, "tabletop.inject"), "text", json_string("Hello?")), "to", json_string("lead")), 400, "a list of roles");
  say("tester", to(x, "tabletop.resume"), 200);
  refused("tester", to(x, "tabletop.resume"), 409, "goes on already");
  say("tester", with(to(x, "tabletop.jump"), "by", json_integer(20 * 60000)), 200);
  UNTIL(came(x, "ask"));
  assert_false(came(x, "call"));
  refused("tester", with(to(x, "tabletop.jump"), "by", json_integer(-1)), 400, "never goes back");
  refused("tester", with(to(x, "tabletop.jump"), "by", json_integer(8 * 86400000)), 400, "up to 7d");
  refused("tester", with(to(x, "tabletop.speed"), "speed", json_real(0)), 400, "not from 1");
  refused("tester", with(to(x, "tabletop.speed"), "speed", json_real(1e9)), 400, "not from 1");
  say("tester", with(to(x, "tabletop.speed"), "speed", json_real(60)), 200);
  pass(1); /* an hour of its own */
  view = shown(x, "tester");
  assert_in_range(json_int_or(view, "elapsed", 0), 80 * 60000, 83 * 60000);
  assert_int_equal(json_array_size(json_object_get(view, "questions")), 0); /* silence has answered */
  json_decref(view);
  char id[ID_INCIDENT];
  snprintf(id, sizeof id, "%s", x->id);
  pass(1);
  UNTIL(!hall_find(hall, id)); /* the time is up */
  refused("tester", json_pack("{s:s, s:s}", "command", "tabletop.pause", "id", id), 404, "is over");
  refused("tester", json_pack("{s:s, s:s, s:s}", "command", "incident.note", "id", id, "text", "late"), 409, "over");
}

static void test_who_may(void **state) {
  struct exercise *x = begun("tester", with(small(), "roles", json_pack("{s:s}", "press", "alice")));
  refused("guest", small(), 403, "needs the role");
  refused("alice", to(x, "tabletop.pause"), 403, "only who began");
  refused("alice", to(x, "tabletop.end"), 403, "only who began");
  say("rita", to(x, "tabletop.pause"), 200); /* an admin */
  say("rita", to(x, "tabletop.resume"), 200);
  say("tester", with(to(x, "tabletop.inject"), "inject", json_string("call")), 200);
  json_t *view = shown(x, "alice"), *item = json_array_get(json_object_get(view, "happened"), 0);
  assert_null(json_object_get(view, "to_come"));
  assert_null(json_object_get(view, "objectives"));
  assert_string_equal(json_str_or(item, "inject", ""), "call");
  assert_true(json_bool_or(item, "mine", false));
  json_decref(view);
  say("alice", with(to(x, "tabletop.abort"), "because", json_string("it burns")), 200); /* whoever sees that it is real */
}

/* Answers by the wrong one, twice, and late. */
static void test_answers(void **state) {
  struct exercise *x = begun("tester", small());
  say("tester", with(to(x, "tabletop.inject"), "inject", json_string("ask")), 200);
  json_t *view = shown(x, "tester");
  const json_t *q = json_array_get(json_object_get(view, "questions"), 0);
  char id[ID_PATH];
  snprintf(id, sizeof id, "%s", json_str_or(q, "id", ""));
  json_decref(view);
  refused("alice", json_pack("{s:s, s:s, s:s}", "command", "answer", "id", id, "answer", "perhaps"), 400, "is no answer");
  say("alice", json_pack("{s:s, s:s, s:s}", "command", "answer", "id", id, "answer", "yes"), 200);
  refused("alice", json_pack("{s:s, s:s, s:s}", "command", "answer", "id", id, "answer", "no"), 409, "is closed");
  ended(x);
  refused("alice", json_pack("{s:s, s:s, s:s}", "command", "answer", "id", id, "answer", "no"), 409, "over");
}

/* An odd number of bytes, of which all but the first are parts of letters: wherever an even number of them is cut off, one is cut in two. */
static json_t *letters(size_t len) {
  char text[1024] = "!";
  for (size_t i = 1; i < len; i += 2) memcpy(text + i, "\xc3\xa9", 3);
  return json_string(text);
}

/* Each has a world of its own: incidents, groups, containments, questions. */
static void test_two_at_a_time(void **state) {
  struct exercise *a = begun("tester", shipped("ransomware-file-server", false)),
                  *b = begun("alice", shipped("ransomware-file-server", false));
  char first[ID_INCIDENT];
  pass(40);
  UNTIL(a->count > 2 && b->count > 2);
  for (size_t i = 0; i < a->count; i++) assert_false(exercise_is(b, a->records[i].id));
  refused("alice", to(a, "tabletop.pause"), 403, "only who began");
  assert_int_equal(desk_live(desk), 0); /* and none of them is at the desk of earnest */
  snprintf(first, sizeof first, "%s", a->id);
  ended(a);
  assert_false(came(b, "nothing"));
  assert_int_equal(b->stage, STAGE_PLAYING);
  char incident[ID_INCIDENT];
  snprintf(incident, sizeof incident, "%s", b->records[1].id);
  say("rita", with(to(b, "tabletop.abort"), "because", letters(401)), 200);
  UNTIL(LIST_EMPTY(&hall->all));
  int status;
  json_t *answer = command("rita", json_pack("{s:s, s:s}", "command", "incident.show", "id", incident), &status);
  char *text = json_text(json_object_get(answer, "entries"));
  assert_non_null(strstr(text, "EXERCISE broken off: this is real now"));
  free(text);
  json_decref(answer);
}

/* At whatever moment: an alert that is just being attached begins no run that nobody ends. */
static void test_ended_amid(void **state) {
  for (int moment = 0; moment < 16; moment++) {
    struct exercise *x = begun("tester", shipped("ransomware-file-server", true));
    char id[ID_INCIDENT];
    snprintf(id, sizeof id, "%s", x->id);
    for (int i = 0; i < 20 + 7 * moment; i++) turn();
    assert_non_null(hall_find(hall, id));
    say("tester", to(x, moment % 2 ? "tabletop.end" : "tabletop.abort"), 200);
    UNTIL(!hall_find(hall, id));
  }
}

/* A command is about the incident that it acts on, whatever else it names; and an exercise's desk has its own incidents alone. */
static void test_two_ids(void **state) {
  struct exercise *x = begun("tester", small()), *y = begun("alice", small());
  size_t count = x->count, live = desk_live(desk);
  refused("tester", with(to(x, "trigger"), "playbook", json_string("triage-only")), 400, "because");
  refused("tester", with(with(to(x, "trigger"), "playbook", json_string("triage-only")), "because", json_string("test")), 404,
          "there is no playbook"); /* at the desk of earnest, which has none */
  say("tester", with(to(x, "incident.open"), "title", json_string("Phoned in")), 200);
  assert_int_equal(desk_live(desk), live + 1);
  assert_int_equal(x->count, count);
  refused("tester", json_pack("{s:s, s:s, s:s}", "command", "incident.merge", "id", x->id, "into", y->id), 409, "is not of the exercise");
  say("tester",
      json_pack("{s:s, s:s, s:s, s:s, s:s}", "command", "trigger", "id", "INC-000001", "incident", x->id, "playbook", "triage-only",
                "because", "rehearsed"),
      200);
  assert_int_equal(desk_live(desk), live + 1);
  for (int i = 0; i < 50; i++) turn();
  assert_int_equal(y->stage, STAGE_PLAYING);
  say("alice", with(to(y, "incident.note"), "text", json_string("still ours")), 200);
  ended(x);
  ended(y);
}

static void on_outcome(void *arg, const struct outcome *outcome) { ++*(size_t *)arg; }

/* Each action of each connector that is installed, with whatever its schema lets pass: simulated, all of them. */
static void test_every_action(void **state) {
  const struct connector *c;
  const char *name;
  json_t *action, *schema, *guard = json_object_get(as_daemon.settings, "guard");
  size_t at = 0, began = 0, done = 0;
  json_object_set_new(guard, "ceiling", json_string("destroy"));
  struct exercise *x = begun("tester", small());
  json_object_set_new(guard, "ceiling", json_string("notify"));
  while ((c = registry_next(x->content.registry, &at))) {
    json_object_foreach(json_object_get(c->declaration->json, "actions"), name, action) {
      const char *param;
      json_t *params = json_object();
      json_object_foreach(json_object_get(action, "params"), param, schema) json_object_set_new(params, param, madeup_value(schema));
      if (effect_by_name(json_str_or(action, "effect", "read")) >= EFFECT_CONTAIN)
        json_object_set_new(params, "because", json_string("test"));
      char step[24];
      snprintf(step, sizeof step, "%zu", began + 1);
      struct action_spec spec = {.journal = x->journal,
                                 .run = 900,
                                 .step = step,
                                 .actor = "playbook:x",
                                 .connector = c->instance,
                                 .action = name,
                                 .params = params};
      struct action *started;
      struct err err;
      began += action_start(x->actions, &spec, on_outcome, &done, &started, &err) == 0;
      json_decref(params);
    }
  }
  assert_true(began > 30);
  UNTIL((clock_jump(&x->clock, exercise_now(x) + 1000000, NULL), exercise_clock_moved(x), done == began));
  assert_int_equal(transports_sent(x->transports) + transports_sent(live_transports), 0);
  ended(x);
}

static void test_what_is_refused(void **state) {
  refused("tester", with(small(), "speed", json_integer(0)), 400, "a speed of 0 is not from 1");
  refused("tester", with(small(), "roles", json_pack("{s:s}", "king", "alice")), 400, "has no role \"king\"");
  refused("tester", with(small(), "roles", json_pack("{s:s}", "lead", "zoe")), 400, "nobody is called \"zoe\"");
  refused("tester", with(small(), "source", json_string("return scenario {")), 400, "small.lua:1");
  refused("tester", json_pack("{s:s}", "command", "tabletop.run"), 400, "missing");
  refused("tester", json_pack("{s:s, s:s}", "command", "tabletop.show", "id", "EX-999999"), 404, "is not played");
  refused("tester", json_pack("{s:s, s:s}", "command", "tabletop.show", "id", "seven"), 400, "say which");
  refused("tester", json_pack("{s:s, s:o}", "command", "incident.show", "id", letters(99)), 400, "is no incident's id");
  assert_true(LIST_EMPTY(&hall->all));
}

/* Other people than the scenario's own; and nobody at all, whom silence answers for. */
static void test_scripts(void **state) {
  char id[ID_INCIDENT];
  static const char script[] = "return script { steps = { { by = 'lead', answer = 'ask', with = 'yes', delay = '2m' }, { by = 'press', at "
                               "= '12m', note = 'Rung back.' } } }";
  const char *texts[] = {script, NULL};
  for (size_t i = 0; i < 2; i++) {
    json_t *command_ = with(small(), "auto", json_true());
    if (texts[i]) json_object_set_new(command_, "script", json_string(texts[i]));
    begin("tester", command_, id);
    UNTIL(!hall_find(hall, id));
    int status;
    json_t *answer = command("tester", json_pack("{s:s, s:s}", "command", "incident.show", "id", id), &status);
    char *text = json_text(json_object_get(answer, "entries"));
    assert_int_equal(strstr(text, "question.answered") != NULL, texts[i] != NULL);
    assert_int_equal(strstr(text, "question.expired") != NULL, texts[i] == NULL);
    assert_int_equal(strstr(text, "Rung back.") != NULL, texts[i] != NULL);
    free(text);
    json_decref(answer);
  }
  refused("tester", with(small(), "script", json_string("return script { { by = 'lead' } }")), 400, "needs named members");
  refused("tester", with(small(), "script", json_string("return script { x = 1 }")), 400, "has `steps`");
  refused("tester", with(small(), "script", json_string("return script { steps = { { by = 'king', note = 'x', at = '1m' } } }")), 400,
          "king");
  refused("tester",
          with(small(), "script",
               json_string("return script { steps = { { by = 'lead', at = '1m', close = { verdict = 'benign', command = 'pause' } } } }")),
          400, "close.command`: is not known here");
}

/* What the process crashed in is broken off; the other one goes on. */
static void test_suspected(void **state) {
  struct exercise *x = begun("tester", small()), *y = begun("tester", small());
  char bad[ID_INCIDENT], good[ID_INCIDENT], suspect[64];
  snprintf(bad, sizeof bad, "%s", x->id);
  snprintf(good, sizeof good, "%s", y->id);
  snprintf(suspect, sizeof suspect, "%s:7-0", bad);
  suspected = suspect;
  hall_again();
  suspected = NULL;
  UNTIL(!hall_find(hall, bad));
  y = hall_find(hall, good);
  assert_non_null(y);
  int status;
  json_t *answer = command("tester", json_pack("{s:s, s:s}", "command", "incident.show", "id", bad), &status);
  const json_t *entries = json_object_get(answer, "entries"), *last = json_array_get(entries, json_array_size(entries) - 1);
  assert_string_equal(json_str_or(last, "type", ""), "exercise.ended");
  assert_string_equal(json_str_or(json_object_get(last, "body"), "status", ""), "aborted");
  json_decref(answer);
  ended(y);
}

static void in_stage(const char *id, const char *stage) {
  int status;
  size_t i;
  json_t *answer = command("tester", json_pack("{s:s}", "command", "tabletop.list"), &status), *row;
  json_array_foreach(json_object_get(answer, "exercises"), i, row) if (strcmp(json_str_or(row, "id", ""), id) == 0)
      assert_string_equal(json_str_or(row, "stage", ""), stage);
  json_decref(answer);
}

/* A mistake in the files keeps it from going on: that is shown, and once they are mended it does. */
static void test_stuck(void **state) {
  struct exercise *x = begun("tester", small());
  char id[ID_INCIDENT];
  snprintf(id, sizeof id, "%s", x->id);
  in_stage(id, "running");
  json_t *folders = json_incref(json_object_get(as_daemon.settings, "folders"));
  json_object_set_new(as_daemon.settings, "folders", json_pack("{s:s}", "playbooks", "/nonexistent"));
  hall_again();
  UNTIL(!hall_find(hall, id));
  in_stage(id, "stuck");
  refused("tester", json_pack("{s:s, s:s}", "command", "tabletop.pause", "id", id), 404, "could not go on");
  refused("tester", json_pack("{s:s, s:s, s:s}", "command", "incident.note", "id", id, "text", "x"), 409, "could not go on");
  if (folders) json_object_set_new(as_daemon.settings, "folders", folders);
  else json_object_del(as_daemon.settings, "folders");
  hall_take_over(hall); /* as after a reload */
  UNTIL((x = hall_find(hall, id)) && x->stage == STAGE_PLAYING);
  in_stage(id, "running");
  ended(x);
  in_stage(id, "over");
}

/* The last: the server is gone. */
static void test_without_redis(void **state) {
  server_end(&server, SIGKILL);
  UNTIL(!redis_up(link_to));
  refused("tester", small(), 503, "no exercise was begun");
  assert_true(LIST_EMPTY(&hall->all));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_leading),       cmocka_unit_test(test_who_may),         cmocka_unit_test(test_answers),
      cmocka_unit_test(test_two_at_a_time), cmocka_unit_test(test_two_ids),         cmocka_unit_test(test_ended_amid),
      cmocka_unit_test(test_every_action),  cmocka_unit_test(test_what_is_refused), cmocka_unit_test(test_scripts),
      cmocka_unit_test(test_suspected),     cmocka_unit_test(test_stuck),           cmocka_unit_test(test_without_redis),
  };
  return cmocka_run_group_tests(tests, stage_up, stage_down);
}
