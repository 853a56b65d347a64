/* A storyline over journals made by hand: what is due, what connectors say, how it is judged. */
#include "script_help.h"

#include "exercise/scenario.h"

static const int64_t T0 = 1763923321000000, MINUTE = 60000000;

struct played {
  struct scenario *scenario;
  struct entry own[40], other[40];
  struct entry *own_list[40], *other_list[40];
  struct scenario_journal journals[2];
  struct scenario_play play;
};

static void begin(struct played *p, const char *members) {
  char source[6000];
  struct err err = {0};
  memset(p, 0, sizeof *p);
  snprintf(source, sizeof source,
           "return scenario { title = 'T', summary = 'S', duration = '2h', roles = { lead = 'leads', press = 'speaks' },\n%s\n%s }",
           members, strstr(members, "objectives") ? "" : ", objectives = { { id = 'o', text = 'O', judge = { closed = true } } }");
  if (scenario_load("small.lua", source, strlen(source), &p->scenario, &err) < 0) fail_msg("%s", err.text);
  for (size_t i = 0; i < 40; i++) p->own_list[i] = &p->own[i], p->other_list[i] = &p->other[i];
  p->journals[0] = (struct scenario_journal){"EX-000007", p->own_list, 0};
  p->journals[1] = (struct scenario_journal){"EX-000008", p->other_list, 0};
  p->play = (struct scenario_play){.journals = p->journals, .count = 2, .started = T0};
}

static void end(struct played *p) {
  for (size_t i = 0; i < 40; i++) json_decref(p->own[i].body), json_decref(p->other[i].body);
  json_decref((json_t *)(uintptr_t)p->play.roles);
  scenario_free(p->scenario);
}

/* which 0: the exercise's own journal, 1: of an incident in it. */
static void add(struct played *p, int which, int64_t minutes, enum kind kind, const char *actor, const char *step, json_t *body) {
  struct scenario_journal *j = &p->journals[which];
  struct entry *e = j->entries[j->count];
  *e = (struct entry){.seq = ++j->count, .time = T0 + minutes * MINUTE, .kind = kind, .run = step ? 1 : 0, .body = body};
  snprintf(e->actor, sizeof e->actor, "%s", actor);
  snprintf(e->step, sizeof e->step, "%s", step ? step : "");
}

static void fire(struct played *p, int64_t minutes, const char *inject) {
  add(p, 0, minutes, KIND_EXERCISE_INJECTED, "engine", NULL, json_pack("{s:s}", "inject", inject));
}

static void contain(struct played *p, int64_t minutes, const char *actor, const char *step, const char *host) {
  add(p, 1, minutes, KIND_ACTION_OUTCOME, actor, step,
      json_pack("{s:b, s:s, s:s, s:s, s:s, s:{s:s}}", "ok", 1, "connector", "edr", "action", "isolate_host", "effect", "contain",
                "contains", "active", "target", "host", host));
}

/* "a b": the ids that are due, in order; next in minutes from the start, -1: none. */
static void due(const struct played *p, int64_t minutes, const char *ids, int64_t next_minutes) {
  char text[200] = "";
  int64_t next = 0;
  size_t i;
  json_t *list = scenario_due(p->scenario, &p->play, T0 + minutes * MINUTE, &next), *item;
  json_array_foreach(list, i, item) {
    snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "", json_str(json_object_get(item, "inject"), "id"));
    assert_true(json_int_or(item, "due", 0) <= T0 + minutes * MINUTE);
  }
  json_decref(list);
  assert_string_equal(text, ids);
  assert_int_equal(next == INT64_MAX ? -1 : (next - T0) / MINUTE, next_minutes);
}

static void test_at_a_time(void **state) {
  struct played p;
  begin(&p,
        "injects = { { id = 'b', at = '20m', fact = 'x' }, { id = 'a', at = '10m', fact = 'x' }, { id = 'c', at = '30m', fact = 'x' } }");
  due(&p, 0, "", 10);
  due(&p, 10, "a", 20);
  due(&p, 25, "a b", 30);
  fire(&p, 10, "a");
  due(&p, 25, "b", 30);
  add(&p, 0, 25, KIND_EXERCISE_SKIPPED, "person:1", NULL, json_pack("{s:s}", "inject", "b"));
  due(&p, 25, "", 30);
  fire(&p, 26, "c"); /* the facilitator was impatient */
  due(&p, 60, "", -1);
  end(&p);
}

static void test_after_containment(void **state) {
  struct played p;
  begin(&p, "injects = { { id = 'a', after = { contained = 'host=db-1' }, delay = '10m', fact = 'x' },\n"
            "  { id = 'b', after = 'a', fact = 'x' }, { id = 'late', after = { contained = 'host=db-2' }, by = '40m', fact = 'x' } }");
  contain(&p, 4, "playbook:isolate", "1", "web-1");
  due(&p, 5, "", 40);
  contain(&p, 6, "playbook:isolate", "2", "db-1");
  due(&p, 7, "", 16);
  due(&p, 16, "a", 40);
  fire(&p, 16, "a");
  due(&p, 16, "b", 40);
  due(&p, 41, "b late", -1);
  contain(&p, 42, "playbook:isolate", "3", "db-2"); /* too late to matter */
  due(&p, 42, "b late", -1);
  end(&p);
}

/* unless is looked at when the inject is due, so that it comes then or never. */
static void test_branches(void **state) {
  struct played p;
  begin(&p, "injects = { { id = 'spread', at = '20m', unless = { contained = 'host=db-1' }, fact = 'x' },\n"
            "  { id = 'calm', at = '20m', only_if = { contained = 'host' }, fact = 'x' } }");
  due(&p, 20, "spread", -1);
  contain(&p, 21, "playbook:isolate", "1", "db-1");
  due(&p, 30, "spread", -1);
  end(&p);
  begin(&p, "injects = { { id = 'spread', at = '20m', unless = { contained = 'host=db-1' }, fact = 'x' },\n"
            "  { id = 'calm', at = '20m', only_if = { contained = 'host' }, fact = 'x' } }");
  contain(&p, 19, "person:1", "1", "DB-1");
  due(&p, 30, "calm", -1);
  end(&p);
}

static void test_nobody_did(void **state) {
  struct played p;
  begin(&p, "injects = { { id = 'boss', after = { none = { acknowledged = true, within = '15m' } }, fact = 'x' } }");
  due(&p, 10, "", 15);
  due(&p, 16, "boss", -1);
  add(&p, 1, 12, KIND_INCIDENT_NOTED, "person:1", NULL, json_pack("{s:s}", "text", "I am here"));
  due(&p, 16, "", -1);
  end(&p);
}

static void test_answers_to_questions(void **state) {
  struct played p;
  begin(&p, "injects = { { id = 'pay', at = '5m', question = { to = 'lead', text = 'Pay?', options = { 'pay', 'no' }, otherwise = 'no', "
            "within = '5m' } },\n"
            "  { id = 'paid', after = { answered = 'pay', with = 'pay' }, fact = 'x' }, { id = 'mute', after = { silent = 'pay' }, fact = "
            "'x' },\n"
            "  { id = 'kept', after = { answered = 'keep alice', by = 'person' }, fact = 'x' } }");
  fire(&p, 5, "pay");
  add(&p, 0, 5, KIND_QUESTION_ASKED, "engine", "1", json_pack("{s:s, s:s}", "inject", "pay", "text", "Keep Alice informed: pay?"));
  add(&p, 1, 5, KIND_QUESTION_ASKED, "playbook:x", "1", json_pack("{s:s}", "text", "Keep alice locked?"));
  add(&p, 0, 7, KIND_QUESTION_ANSWERED, "person:1", "1", json_pack("{s:s}", "answer", "pay"));
  due(&p, 8, "paid", -1);
  add(&p, 1, 8, KIND_QUESTION_EXPIRED, "engine", "1", json_pack("{s:s}", "answer", "keep"));
  due(&p, 9, "paid", -1); /* nobody answered, and it was another question */
  end(&p);
}

static void test_script(void **state) {
  struct played p;
  int64_t next = 0;
  begin(&p, "injects = { { id = 'pay', at = '5m', question = { to = 'lead', text = 'Pay?', options = { 'pay', 'no' }, otherwise = 'no', "
            "within = '5m' } } },\n"
            "script = { { by = 'lead', answer = 'pay', with = 'no', delay = '2m' }, { by = 'press', at = '9m', note = 'call back' } }");
  json_t *list = scenario_script_due(p.scenario, &p.play, T0 + 8 * MINUTE, &next);
  assert_int_equal(json_array_size(list), 0);
  assert_int_equal(next, T0 + 9 * MINUTE);
  json_decref(list);
  add(&p, 0, 5, KIND_QUESTION_ASKED, "engine", "1", json_pack("{s:s}", "inject", "pay"));
  list = scenario_script_due(p.scenario, &p.play, T0 + 9 * MINUTE, &next);
  assert_int_equal(json_array_size(list), 2);
  assert_string_equal(json_str(json_object_get(json_array_get(list, 0), "play"), "id"), "s1");
  json_decref(list);
  add(&p, 0, 7, KIND_EXERCISE_PLAYED, "engine", NULL, json_pack("{s:s}", "play", "s1"));
  list = scenario_script_due(p.scenario, &p.play, T0 + 9 * MINUTE, NULL);
  assert_int_equal(json_array_size(list), 1);
  json_decref(list);
  end(&p);
}

/* ---- what connectors say */

static const char *says(const struct played *p, int64_t minutes, const char *action, const char *key, const char *value) {
  json_t *params = json_pack("{s:s, s:s}", key, value, "because", "x");
  const json_t *answer = scenario_answer(p->scenario, &p->play, action, params, T0 + minutes * MINUTE);
  json_decref(params);
  return !answer                                            ? "its own"
         : json_is_true(json_object_get(answer, "already")) ? "already"
                                                            : json_str_or(json_object_get(answer, "fails"), "kind", "?");
}

static void test_connectors(void **state) {
  struct played p;
  begin(&p, "injects = { { id = 'down', at = '10m', fact = 'x' }, { id = 'off', at = '30m', world = { hosts = { ['db-1.example'] = { state "
            "= 'offline' } } } } },\n"
            "world = { hosts = { ['db-1.example'] = { state = 'up', owner = 'dba' } } },\n"
            "answers = { { action = 'rt.*', from = 'down', lasts = '10m', fails = { kind = 'unavailable', message = '503' } },\n"
            "  { action = 'edr.isolate_host', params = { host_id = 'db-1' }, where = { ['hosts.db-1.example.state'] = 'offline' }, already "
            "= true },\n"
            "  { action = 'ldap.lock_account', params = { uid = 'root' }, fails = { kind = 'denied', message = 'no' }, latency = '2s' } }");
  assert_string_equal(says(&p, 12, "rt.comment", "id", "1"), "its own");
  fire(&p, 11, "down");
  assert_string_equal(says(&p, 12, "rt.comment", "id", "1"), "unavailable");
  assert_string_equal(says(&p, 22, "rt.comment", "id", "1"), "its own");
  assert_string_equal(says(&p, 12, "rtx.comment", "id", "1"), "its own");
  assert_string_equal(says(&p, 12, "ldap.lock_account", "uid", "alice"), "its own");
  assert_string_equal(says(&p, 12, "ldap.lock_account", "uid", "root"), "denied");
  assert_string_equal(says(&p, 12, "edr.isolate_host", "host_id", "db-1"), "its own");
  fire(&p, 30, "off");
  assert_string_equal(says(&p, 31, "edr.isolate_host", "host_id", "db-1"), "already");
  json_t *world = scenario_world(p.scenario, &p.play);
  assert_json(world, "{\"hosts\": {\"db-1.example\": {\"state\": \"offline\", \"owner\": \"dba\"}}}");
  json_decref(world);
  end(&p);
}

static void test_alerts_bear_the_exercises_time(void **state) {
  json_t *inject = test_json("{\"alert\": {\"source\": \"x\", \"body\": {\"at\": \"{time}\", \"list\": [\"since {time-90s}.\"], \"ms\": "
                             "\"{epoch_ms}\", \"s\": \"{epoch-1m}\", "
                             "\"no\": \"{timer} {time-x} {epoch} {\", \"n\": 3}}}");
  json_t *made = scenario_alert(inject, T0);
  assert_json(made, "{\"at\": \"2025-11-23T18:42:01.000000Z\", \"list\": [\"since 2025-11-23T18:40:31.000000Z.\"], \"ms\": 1763923321000, "
                    "\"s\": 1763923261, "
                    "\"no\": \"{timer} {time-x} {epoch} {\", \"n\": 3}");
  json_decref(made);
  json_decref(inject);
}

/* ---- judging */

static json_t *objective(const json_t *result, size_t i) { return json_array_get(json_object_get(result, "objectives"), i); }

static void verdict_of(const struct played *p, bool ended, const char *verdict, const char *entries) {
  json_t *result = scenario_judge(p->scenario, &p->play, T0 + 120 * MINUTE, ended);
  assert_string_equal(json_str(objective(result, 0), "verdict"), verdict);
  if (entries) assert_json(json_object_get(objective(result, 0), "entries"), entries);
  json_decref(result);
}

#define JUDGE(condition)                                                                                                                   \
  "injects = { { id = 'a', at = '1m', fact = 'x' }, { id = 'z', at = '60m', fact = 'x' } }, objectives = { { id = 'o', text = 'O', judge " \
  "= " condition "} }"

static void test_verdicts(void **state) {
  struct played p;
  begin(&p, JUDGE("{ contained = 'host=db-1', before = 'z' }"));
  verdict_of(&p, false, "open", "[]");
  verdict_of(&p, true, "not judged", NULL); /* z never came */
  contain(&p, 30, "playbook:x", "1", "db-1");
  verdict_of(&p, false, "met", "[{\"incident\": \"EX-000008\", \"seq\": 1}]");
  end(&p);

  begin(&p, JUDGE("{ contained = 'host=db-1', before = 'z' }"));
  fire(&p, 60, "z");
  contain(&p, 61, "playbook:x", "1", "db-1");
  verdict_of(&p, false, "not met", "[]");
  end(&p);

  begin(&p, JUDGE("{ acknowledged = true, since = 'a', within = '5m' }"));
  add(&p, 0, 2, KIND_EXERCISE_PAUSED, "person:9", NULL, json_object());
  fire(&p, 3, "a");
  add(&p, 1, 4, KIND_ACTION_OUTCOME, "playbook:x", "1", json_object());
  add(&p, 1, 9, KIND_INCIDENT_ASSIGNED, "person:1", NULL, json_object());
  verdict_of(&p, false, "not met", "[]"); /* six minutes; the facilitator and the playbook do not count */
  end(&p);
}

static void test_two_people(void **state) {
  struct played p;
  begin(&p, JUDGE("{ decided_by = 2, question = 'wipe' }"));
  add(&p, 1, 1, KIND_QUESTION_ASKED, "playbook:x", "1", json_pack("{s:s}", "text", "Wipe the server?"));
  add(&p, 1, 2, KIND_QUESTION_ANSWERED, "person:1", "1", json_pack("{s:s, s:b}", "answer", "yes", "more", 1));
  add(&p, 1, 3, KIND_QUESTION_ANSWERED, "person:1", "1", json_pack("{s:s}", "answer", "yes"));
  verdict_of(&p, true, "not met", "[]");
  add(&p, 1, 4, KIND_QUESTION_ANSWERED, "person:2", "1", json_pack("{s:s}", "answer", "yes"));
  verdict_of(&p, true, "met", "[{\"incident\": \"EX-000008\", \"seq\": 2}, {\"incident\": \"EX-000008\", \"seq\": 4}]");
  end(&p);
}

static void test_roles_and_groups(void **state) {
  struct played p;
  begin(&p, JUDGE("{ all = { { note = { 'regulator', '72 h' }, by = 'press' }, { any = { { closed = true }, { tagged = 'contained' } } }, "
                  "{ none = { released = true } } } }"));
  p.play.roles = json_pack("{s:s}", "press", "person:2");
  add(&p, 1, 1, KIND_INCIDENT_NOTED, "person:1", NULL, json_pack("{s:s}", "text", "The Regulator must hear of it"));
  add(&p, 1, 2, KIND_INCIDENT_TAGGED, "person:1", NULL, json_pack("{s:s}", "tag", "Contained"));
  verdict_of(&p, true, "not met", NULL);
  add(&p, 1, 3, KIND_INCIDENT_NOTED, "person:2", NULL, json_pack("{s:s}", "text", "told the regulator"));
  verdict_of(&p, false, "open", NULL); /* something may still be released */
  verdict_of(&p, true, "met", NULL);
  contain(&p, 4, "playbook:x", "1", "db-1");
  add(&p, 1, 5, KIND_CONTAINMENT_RELEASED, "person:1", NULL, json_pack("{s:s}", "of", "1/1"));
  verdict_of(&p, true, "not met", "[{\"incident\": \"EX-000008\", \"seq\": 5}]");
  end(&p);
}

static void test_whole(void **state) {
  struct played p;
  begin(&p,
        "injects = { { id = 'a', at = '1m', fact = 'x' }, { id = 'b', at = '2m', unless = { fired = 'a' }, fact = 'x' }, { id = 'c', at = "
        "'115m', fact = 'x' } },\n"
        "objectives = { { id = 'done', text = 'D', judge = { done = 'edr.isolate_host', target = 'host=db-1' } },\n"
        "  { id = 'closed', text = 'C', judge = { closed = true }, gap = { owner = 'lead', days = 14, text = 'Write down who closes' } },\n"
        "  { id = 'branch', text = 'B', judge = { closed = true }, only_if = { fired = 'b' } } }");
  add(&p, 0, 0, KIND_EXERCISE_STARTED, "person:9", NULL, json_object());
  fire(&p, 1, "a");
  add(&p, 1, 1, KIND_INCIDENT_OPENED, "engine", NULL, json_pack("{s:s}", "title", "x"));
  add(&p, 1, 2, KIND_ALERT_ATTACHED, "engine", NULL, json_pack("{s:s}", "id", "1"));
  add(&p, 1, 3, KIND_RUN_STARTED, "person:1", "", json_pack("{s:s}", "playbook", "isolate"));
  add(&p, 1, 4, KIND_ACTION_INTENDED, "playbook:isolate", "1",
      json_pack("{s:s, s:s, s:s, s:{s:s}}", "connector", "edr", "action", "isolate_host", "effect", "contain", "target", "host", "db-1"));
  contain(&p, 5, "playbook:isolate", "1", "db-1");
  add(&p, 0, 119, KIND_EXERCISE_ENDED, "engine", NULL, json_object());
  json_t *r = scenario_judge(p.scenario, &p.play, T0 + 120 * MINUTE, true);
  assert_string_equal(json_str(objective(r, 0), "verdict"), "met");
  assert_string_equal(json_str(objective(r, 1), "verdict"), "not met");
  assert_string_equal(json_str(objective(r, 2), "verdict"), "not judged");
  assert_json(
      json_object_get(r, "gaps"),
      "[{\"objective\": \"closed\", \"key\": \"small/closed\", \"text\": \"Write down who closes\", \"owner\": \"lead\", \"days\": 14}]");
  assert_int_equal(json_int_or(json_at(r, "times.detected"), "after", 0), 120000);
  assert_int_equal(json_int_or(json_at(r, "times.acknowledged"), "after", 0), 180000);
  assert_int_equal(json_int_or(json_at(r, "times.contained"), "after", 0), 300000);
  assert_true(json_is_null(json_at(r, "times.recovered")));
  const json_t *injects = json_object_get(r, "injects");
  assert_string_equal(json_str(json_array_get(injects, 0), "status"), "came");
  assert_string_equal(json_str(json_array_get(injects, 1), "status"), "left out");
  const json_t *action = json_array_get(json_object_get(r, "actions"), 0);
  assert_true(json_is_true(json_object_get(action, "hand")));
  assert_string_equal(json_str(action, "incident"), "EX-000008");
  json_decref(r);
  end(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_at_a_time),
                                     cmocka_unit_test(test_after_containment),
                                     cmocka_unit_test(test_branches),
                                     cmocka_unit_test(test_nobody_did),
                                     cmocka_unit_test(test_answers_to_questions),
                                     cmocka_unit_test(test_script),
                                     cmocka_unit_test(test_connectors),
                                     cmocka_unit_test(test_alerts_bear_the_exercises_time),
                                     cmocka_unit_test(test_verdicts),
                                     cmocka_unit_test(test_two_people),
                                     cmocka_unit_test(test_roles_and_groups),
                                     cmocka_unit_test(test_whole)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
