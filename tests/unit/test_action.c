/* One action from call to outcome: what is sent, when, how often, and taken up again; what becomes of it when nobody knows whether it happened is test_doubt.c's. */
#include "action_stage.h"

#define HOST "{'host': 'h1', 'because': 'test'}"

static void test_the_plain_way(void **state) {
  struct result r;
  start(&r, "isolate", HOST, (struct how){0});
  wait_for(&r);
  assert_true(r.ok);
  assert_string_equal(r.status, "active");
  assert_int_equal(product.requests, 1);
  assert_true(product.durable[0]);
  assert_int_equal(strlen(product.key[0]), 32);
  assert_int_equal(kinds[KIND_ACTION_INTENDED], 1);
  assert_int_equal(kinds[KIND_ACTION_OUTCOME], 1);
  assert_int_equal(json_object_size(state_part("intents")), 0);
  assert_int_equal(json_object_size(state_part("containments")), 1);
  json_t *contained = actions_contained(actions);
  assert_int_equal(json_array_size(contained), 1);
  json_decref(contained);
}

static void test_nothing_leaves_before_its_intent_is_durable(void **state) {
  struct result r;
  kill(server.pid, SIGSTOP);
  start(&r, "isolate", HOST, (struct how){0});
  UNTIL(kinds[KIND_ACTION_INTENDED] == 1);
  NEVER(product.requests, 300);
  kill(server.pid, SIGCONT);
  wait_for(&r);
  assert_true(r.ok);
  assert_int_equal(product.requests, 1);
}

static void test_reads_need_no_intent(void **state) {
  struct result r;
  product.script = "y";
  start(&r, "is_isolated", "{'host': 'h1'}", (struct how){0});
  wait_for(&r);
  assert_true(r.ok);
  assert_int_equal(kinds[KIND_ACTION_INTENDED], 0);
}

/* result() hands on a part of the response; its secret becomes a slot there, while the response stays what was answered. */
static void test_a_returned_secret(void **state) {
  struct result r;
  size_t len;
  product.script = "t";
  start(&r, "issue", "{'role': 'r1'}", (struct how){0});
  wait_for(&r);
  assert_true(r.ok);
  const json_t *body = bodies[KIND_ACTION_OUTCOME], *returns = json_object_get(body, "returns");
  const json_t *answered = json_object_get(json_object_get(body, "response"), "body");
  assert_string_equal(json_str_or(returns, "lives", ""), "1h");
  assert_string_equal(secrets_get(secrets, json_str_or(json_object_get(returns, "token"), "$secret", ""), &len), "kq7-Tz93-hmXw");
  assert_true(json_is_string(json_object_get(answered, "token")));
  assert_string_equal(json_str_or(answered, "lives", ""), "1h");
}

/* Of a response that is too large its digest is on record, whether it is believed or not. */
static void test_a_large_response(void **state) {
  static const char *const actions_of[] = {"isolate", "is_isolated"};
  struct result r;
  for (size_t i = 0; i < 2; i++) {
    product.script = "l";
    start(&r, actions_of[i], i ? "{'host': 'h1'}" : HOST, (struct how){0});
    wait_for(&r);
    const json_t *body = bodies[KIND_ACTION_OUTCOME], *response = json_object_get(body, "response");
    assert_int_equal(json_bool_or(body, "ok", !r.ok), r.ok);
    assert_int_equal(json_object_size(response), 3);
    assert_int_equal(json_int_or(response, "status", 0), 200);
    assert_true(json_int_or(response, "bytes", 0) > 20000);
    assert_int_equal(strlen(json_str_or(response, "sha256", "")), 64);
  }
}

static void test_paused_before(void **state) {
  struct result r;
  struct err err;
  assert_int_equal(actions_pause(actions, "edr", "person:x", "drill", NULL, NULL, &err), 0);
  start(&r, "isolate", HOST, (struct how){0});
  UNTIL(kinds[KIND_ACTION_HELD] == 1);
  NEVER(product.requests || kinds[KIND_ACTION_INTENDED], 100);
  assert_int_equal(json_object_size(state_part("held")), 1);
  assert_int_equal(actions_resume(actions, "edr", NULL, NULL, &err), 0);
  wait_for(&r);
  assert_true(r.ok);
  assert_int_equal(product.requests, 1);
  assert_int_equal(json_object_size(state_part("held")), 0);
}

/* The brake is pulled when the intent is written and its bytes have not left. */
static void test_paused_between_intent_and_sending(void **state) {
  struct result r;
  struct err err;
  kill(server.pid, SIGSTOP);
  start(&r, "isolate", HOST, (struct how){0});
  UNTIL(kinds[KIND_ACTION_INTENDED] == 1);
  assert_int_equal(actions_pause(actions, "all", "person:x", "stop", NULL, NULL, &err), 0);
  kill(server.pid, SIGCONT);
  UNTIL(kinds[KIND_ACTION_RESOLVED] == 1);
  assert_string_equal(verdict(), "not_sent");
  NEVER(product.requests, 100);
  assert_int_equal(actions_resume(actions, "all", NULL, NULL, &err), 0);
  wait_for(&r);
  assert_true(r.ok);
  assert_int_equal(product.requests, 1);
  assert_int_equal(kinds[KIND_ACTION_INTENDED], 2);
}

static void test_two_brakes(void **state) {
  struct result r;
  struct err err;
  actions_pause(actions, "all", "person:x", "stop", NULL, NULL, &err);
  actions_pause(actions, "test", "person:x", "stop", NULL, NULL, &err);
  start(&r, "isolate", HOST, (struct how){0});
  UNTIL(kinds[KIND_ACTION_HELD] == 1);
  actions_resume(actions, "all", NULL, NULL, &err);
  NEVER(product.requests, 100);
  actions_resume(actions, "test", NULL, NULL, &err);
  wait_for(&r);
  assert_int_equal(actions_resume(actions, "test", NULL, NULL, &err), ERR_NOT_FOUND);
}

static void test_what_never_left_is_tried_again(void **state) {
  struct result r;
  registry_make(1, NULL); /* nobody listens there */
  actions_set_registry(actions, registry);
  start(&r, "isolate", HOST, (struct how){0});
  wait_for(&r);
  assert_false(r.ok);
  assert_int_equal(kinds[KIND_ACTION_INTENDED], 3);
  assert_int_equal(kinds[KIND_ACTION_RESOLVED], 2);
  assert_int_equal(kinds[KIND_ACTION_IN_DOUBT], 0);
  assert_int_equal(kinds[KIND_ACTION_OUTCOME], 1);
  assert_int_equal(json_object_size(state_part("containments")), 0);
  actions_orphan(actions, NULL);
  registry_make(product.port, NULL);
  actions_set_registry(actions, registry);
}

static void test_doubt_sent_again_under_the_same_key(void **state) {
  static const char *const ways[] = {"so", "co", "go", "bo"};
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    struct result r;
    unsigned before = product.requests;
    product.script = ways[i];
    forget_entries();
    start(&r, "isolate_again", HOST, (struct how){0});
    wait_for(&r);
    assert_true(r.ok);
    assert_int_equal(product.requests, before + 2);
    assert_string_equal(product.key[before], product.key[before + 1]);
    assert_int_equal(kinds[KIND_ACTION_IN_DOUBT], 1);
    assert_string_equal(verdict(), "sent_again");
    assert_int_equal(kinds[KIND_ACTION_INTENDED], 2);
  }
  assert_string_not_equal(product.key[0], product.key[2]); /* another step, another key */
}

static void test_asked_to_wait(void **state) {
  struct result r;
  int64_t began = test_now_ms();
  product.script = "ro";
  start(&r, "isolate", HOST, (struct how){0});
  wait_for(&r);
  assert_true(r.ok);
  assert_true(test_now_ms() - began >= 900);
  assert_int_equal(product.requests, 2);
  assert_string_equal(verdict(), "not_sent");
  const json_t *intent = bodies[KIND_ACTION_INTENDED], *request = json_object_get(intent, "request");
  char digest[65];
  assert_int_equal(json_int_or(intent, "attempt", 0), 2);
  assert_true(json_object_size(request) == 1);
  json_digest(request, digest); /* the second intent has the request that the digest is of */
  assert_string_equal(json_str_or(intent, "digest", ""), digest);
}

static void test_found_and_shared(void **state) {
  struct result a, b, c;
  struct err err;
  char first[ID_INCIDENT + 16], other[32];
  product.script = "a";
  start(&a, "isolate", HOST, (struct how){0});
  wait_for(&a);
  assert_string_equal(a.status, "found");
  product.script = "oa";
  start(&b, "isolate", "{'host': 'h2', 'because': 'test'}", (struct how){0});
  wait_for(&b);
  assert_string_equal(b.status, "active");
  snprintf(first, sizeof first, "%s", journal_incident(journal));
  struct journal *before = journal;
  snprintf(other, sizeof other, "INC-%06u", ++incidents);
  journal = journal_new(&store, other);
  journal_watch(journal, on_entry, NULL);
  start(&c, "isolate", "{'host': 'h2', 'because': 'test'}", (struct how){0}); /* was already: we know by whom */
  wait_for(&c);
  assert_string_equal(c.status, "active");
  /* The first to let go only lets go; the last one lifts. */
  unsigned sent = product.requests;
  struct action *none;
  struct action_spec spec = {.journal = before, .run = 2, .step = "1", .actor = "person:x"};
  struct result r = {0};
  assert_int_equal(action_release(actions, &spec, "1/2", on_outcome, &r, &none, &err), 0);
  wait_for(&r);
  assert_true(r.ok);
  assert_int_equal(product.requests, sent);
  product.script = "o";
  spec.journal = journal;
  r = (struct result){0};
  assert_int_equal(action_release(actions, &spec, "1/3", on_outcome, &r, &none, &err), 0);
  wait_for(&r);
  assert_true(r.ok);
  assert_int_equal(product.requests, sent + 1);
  assert_int_equal(kinds[KIND_CONTAINMENT_RELEASED], 1);
  assert_int_equal(action_release(actions, &spec, "1/3", on_outcome, &r, &none, &err), ERR_CONFLICT);
  assert_int_equal(action_release(actions, &spec, "1/9", on_outcome, &r, &none, &err), ERR_NOT_FOUND);
  /* What was only found so asks a person. */
  spec.journal = before;
  spec.step = "2";
  r = (struct result){0};
  assert_int_equal(action_release(actions, &spec, "1/1", on_outcome, &r, &none, &err), 0);
  answer_with("rita", "keep");
  wait_for(&r);
  assert_false(r.ok);
  assert_int_equal(product.requests, sent + 1);
  spec.step = "3";
  r = (struct result){0};
  assert_int_equal(action_release(actions, &spec, "1/1", on_outcome, &r, &none, &err), 0);
  answer_with("rita", "release");
  wait_for(&r);
  assert_true(r.ok);
  assert_int_equal(product.requests, sent + 2);
  actions_orphan(actions, before);
  journal_free(before);
}

static void test_a_failed_undo_stays_listed(void **state) {
  struct result r;
  struct err err;
  struct action *none;
  start(&r, "isolate", HOST, (struct how){0});
  wait_for(&r);
  product.script = "b"; /* an answer that cannot be read: in doubt, and a person gives it up */
  struct action_spec spec = {.journal = journal, .run = 2, .step = "1", .actor = "person:x"};
  memset(&r, 0, sizeof r);
  assert_int_equal(action_release(actions, &spec, "1/1", on_outcome, &r, &none, &err), 0);
  answer_with("rita", "abandon");
  wait_for(&r);
  assert_false(r.ok);
  assert_int_equal(kinds[KIND_CONTAINMENT_STILL], 1);
  json_t *contained = actions_contained(actions);
  assert_int_equal(json_array_size(contained), 1);
  json_decref(contained);
}

static void test_no_undo(void **state) {
  struct result r;
  struct err err;
  struct action *none;
  start(&r, "revoke", HOST, (struct how){0});
  wait_for(&r);
  assert_string_equal(r.status, "active");
  struct action_spec spec = {.journal = journal, .run = 2, .step = "1", .actor = "person:x"};
  memset(&r, 0, sizeof r);
  assert_int_equal(action_release(actions, &spec, "1/1", on_outcome, &r, &none, &err), 0);
  answer_with("rita", "recovered");
  wait_for(&r);
  assert_true(r.ok);
  assert_int_equal(product.requests, 1); /* nothing was sent */
  assert_int_equal(kinds[KIND_CONTAINMENT_RELEASED], 1);
}

/* --- abandoned, orphaned, taken up ---------------------------------------------------------------------------------------------- */

static void test_abandoned_in_flight(void **state) {
  struct result r;
  product.script = "s";
  start(&r, "isolate_again", HOST, (struct how){0}); /* idempotent, but nobody wants it any more: it is not sent again */
  UNTIL(product.requests == 1);
  action_abandon(r.action);
  answer_with("rita", "done");
  UNTIL(kinds[KIND_ACTION_OUTCOME] == 1);
  assert_int_equal(r.calls, 0);
  assert_int_equal(product.requests, 1);
  json_t *contained = actions_contained(actions);
  assert_int_equal(json_array_size(contained), 1);
  json_decref(contained);
}

static json_int_t live(void) {
  json_t *counts = actions_counts(actions);
  json_int_t n = json_int_or(counts, "live", -1);
  json_decref(counts);
  return n;
}

static void test_abandoned_at_every_stage(void **state) {
  struct err err;
  guard_is("{'ceiling': 'destroy', 'budgets': [{'effect': 'contain', 'most': 1000, 'within': 600000}]}");
  for (int turns = 0; turns < 40; turns++) {
    struct result r;
    unsigned before = product.requests, resolved = kinds[KIND_ACTION_RESOLVED], outcomes = kinds[KIND_ACTION_OUTCOME],
             intended = kinds[KIND_ACTION_INTENDED];
    start(&r, "rotate", "{'role': 'r', 'because': 'x'}", (struct how){0});
    for (int i = 0; i < turns && !r.done; i++) loop_turn(loop);
    if (r.done) break;
    action_abandon(r.action);
    UNTIL(live() == 0);
    assert_int_equal(r.calls, 0);
    assert_true(product.requests <= before + 1);
    /* Every intent has its end. */
    assert_int_equal(kinds[KIND_ACTION_INTENDED] - intended,
                     kinds[KIND_ACTION_RESOLVED] - resolved + kinds[KIND_ACTION_OUTCOME] - outcomes);
    assert_int_equal(json_object_size(state_part("intents")), 0);
    product.requests = 0;
  }
  for (int turns = 0; turns < 40; turns++) { /* and the journal goes with it */
    struct result r;
    start(&r, "isolate_probe", HOST, (struct how){0});
    for (int i = 0; i < turns && !r.done; i++) loop_turn(loop);
    actions_orphan(actions, journal);
    UNTIL(live() == 0);
    product.requests = 0;
  }
  assert_int_equal(actions_pause(actions, "all", "person:x", "x", NULL, NULL, &err), 0);
  struct result r;
  start(&r, "isolate", HOST, (struct how){0});
  UNTIL(kinds[KIND_ACTION_HELD] == 1);
  action_abandon(r.action);
  assert_int_equal(live(), 0);
}

/* As at the end of a process: its incident goes, then all that is left is let go, and only then the flight comes back. */
static void test_an_orphan_outlives_its_journal(void **state) {
  struct result r;
  char id[32];
  product.script = "s";
  start(&r, "isolate", HOST, (struct how){0});
  UNTIL(product.requests == 1);
  actions_orphan(actions, journal);
  journal_free(journal);
  snprintf(id, sizeof id, "INC-%06u", ++incidents);
  journal = journal_new(&store, id);
  actions_orphan(actions, NULL);
  UNTIL(live() == 0);
  assert_int_equal(r.calls, 0);
}

static json_t *history(const char *text) { return json_of("%s", text); }

/* What the journal of a process that died holds of a step, and what the next one makes of it. */
/* Approved with this digest, NULL: with that of the request as it is. */
static json_t *approved_before(const char *digest) {
  struct err err;
  json_t *plan = NULL, *params = history(HOST), *past;
  struct action_spec spec = {.journal = journal,
                             .run = 1,
                             .step = "1",
                             .actor = "playbook:test",
                             .playbook = "test",
                             .connector = "edr",
                             .action = "isolate",
                             .params = params};
  assert_int_equal(action_plan(actions, &spec, &plan, &err), 0);
  past = json_pack("[{s:s, s:{s:s, s:{s:s}}}, {s:s, s:{s:s, s:b}}]", "type", "question.asked", "body", "kind", "approve", "about", "digest",
                   digest ? digest : json_string_value(json_object_get(plan, "digest")), "type", "question.answered", "body", "answer",
                   "approve", "more", 0);
  json_decref(plan);
  json_decref(params);
  return past;
}

static void test_taken_up(void **state) {
  struct result r;
  json_t *past = history("[{'type': 'action.intended', 'body': {'attempt': 1}}]");
  start(&r, "isolate", HOST, (struct how){.history = past});
  json_decref(past);
  UNTIL(kinds[KIND_ACTION_IN_DOUBT] == 1);
  answer_with("rita", "done");
  wait_for(&r);
  assert_int_equal(product.requests, 0); /* never blindly again */

  past = history("[{'type': 'action.intended', 'body': {'attempt': 1}}, {'type': 'action.resolved', 'body': {'verdict': 'done'}}]");
  start(&r, "isolate", HOST, (struct how){.history = past});
  json_decref(past);
  wait_for(&r);
  assert_true(r.ok);
  assert_int_equal(product.requests, 0);

  past = history("[{'type': 'action.intended', 'body': {'attempt': 1}}, {'type': 'action.resolved', 'body': {'verdict': 'abandoned'}}]");
  start(&r, "isolate", HOST, (struct how){.history = past});
  json_decref(past);
  wait_for(&r);
  assert_false(r.ok);
  assert_int_equal(product.requests, 0);

  past = history("[{'type': 'action.intended', 'body': {'attempt': 1}}, {'type': 'action.resolved', 'body': {'verdict': 'not_sent'}}]");
  start(&r, "isolate", HOST, (struct how){.history = past});
  json_decref(past);
  wait_for(&r);
  assert_true(r.ok);
  assert_int_equal(product.requests, 1);

  guard_is("{}"); /* approved before: not asked again */
  past = approved_before(NULL);
  start(&r, "isolate", HOST, (struct how){.history = past});
  json_decref(past);
  wait_for(&r);
  assert_true(r.ok);
  assert_int_equal(kinds[KIND_QUESTION_ASKED], 1); /* the one about the doubt */

  past = approved_before("0000"); /* another request was approved: this one is asked for */
  start(&r, "isolate", HOST, (struct how){.history = past});
  json_decref(past);
  UNTIL(kinds[KIND_QUESTION_ASKED] == 2);
  assert_int_equal(product.requests, 2);
  answer_with("rita", "refuse");
  wait_for(&r);
  assert_false(r.ok);
}

static volatile bool lifted;
static char lifted_of[ID_PATH];

static void on_lift(void *arg, const char *incident, const char *of) {
  snprintf(lifted_of, sizeof lifted_of, "%s/%s", incident, of);
  lifted = true;
}

static void test_lift_after(void **state) {
  struct result r;
  char wanted[ID_PATH];
  actions_on_lift(actions, on_lift, NULL);
  lifted = false;
  int64_t began = test_now_ms();
  start(&r, "isolate", "{'host': 'h1', 'because': 'x', 'lift_after': '1500ms'}", (struct how){0});
  wait_for(&r);
  assert_false(lifted);
  assert_true(test_until(loop, &lifted, PATIENCE_MS));
  assert_true(test_now_ms() - began >= 400);
  snprintf(wanted, sizeof wanted, "%s/1/1", journal_incident(journal));
  assert_string_equal(lifted_of, wanted);
}

static void turns(void) {
  static const volatile bool never;
  test_until(loop, &never, 30);
}

/* What began by its incident's clock ends by it: neither at once because the system's is ahead, nor hours later. */
static void test_lift_after_by_its_incidents_clock(void **state) {
  enum { HOUR_S = 3600 };
  const int64_t began = 1767261600000000;
  struct clock clock;
  struct result r;
  clock_init_settable(&clock, began);
  store.clock = &clock;
  actions_on_lift(actions, on_lift, NULL);
  lifted = false;
  start(&r, "isolate", "{'host': 'h1', 'because': 'x', 'lift_after': '2h'}", (struct how){.simulated = true});
  wait_for(&r);
  assert_true(r.ok);
  turns();
  assert_false(lifted);
  clock_set(&clock, began + HOUR_S * 1000000LL);
  actions_clock_moved(actions);
  turns();
  assert_false(lifted);
  clock_set(&clock, began + 2 * HOUR_S * 1000000LL);
  actions_clock_moved(actions);
  assert_true(test_until(loop, &lifted, PATIENCE_MS));
  lifted = false; /* once: it is being lifted now */
  actions_clock_moved(actions);
  turns();
  assert_false(lifted);
  store.clock = clock_system();
}

static void test_simulated_sends_nothing(void **state) {
  struct result r;
  uint64_t before = transports_sent(transports);
  start(&r, "isolate", HOST, (struct how){.simulated = true});
  wait_for(&r);
  assert_true(r.ok);
  assert_int_equal(product.requests, 0);
  assert_int_equal(transports_sent(transports), before);
}

static void test_limits(void **state) {
  struct result r[6];
  product.script = "s";
  for (int i = 0; i < 6; i++) start(&r[i], "is_isolated", "{'host': 'h1'}", (struct how){0});
  UNTIL(product.requests >= 2);
  NEVER(product.requests > 2, 100); /* two at once */
  product.script = "y";
  for (int i = 0; i < 6; i++) wait_for(&r[i]);
}

/* The end of the process waits for what is under way; what has not begun is not begun, and leaves no intent behind. */
static void test_stopping(void **state) {
  struct result r[3];
  assert_false(actions_busy(actions));
  start(&r[0], "isolate", HOST, (struct how){0});
  UNTIL(kinds[KIND_ACTION_INTENDED]);
  assert_true(actions_busy(actions)); /* before it leaves, too */
  actions_stop(actions);
  start(&r[1], "isolate", "{'host': 'h2', 'because': 'x'}", (struct how){0});
  start(&r[2], "is_isolated", "{'host': 'h3'}", (struct how){0});
  wait_for(&r[0]);
  assert_true(r[0].ok);
  assert_false(actions_busy(actions));
  NEVER(product.requests > 1 || r[1].done || r[2].done, 100);
  assert_int_equal(kinds[KIND_ACTION_INTENDED], 1);
  actions_orphan(actions, NULL);
}

static void limits_are(const char *limits) {
  struct err err;
  actions_free(actions);
  actions = NULL;
  if (registry_try(product.port, limits, &err) < 0) fail_msg("%s", err.text);
  guard_is("{'ceiling': 'destroy'}");
}

static void test_limits_of_the_settings(void **state) {
  struct result r[3];
  struct err err;
  limits_are(", 'limits': {'concurrent': 1, 'per_minute': 2, 'timeout': '7s', 'response_kib': 3}");
  const struct connector *edr = registry_find(registry, "edr", &err);
  assert_int_equal(edr->timeout_ms, 7000);
  assert_int_equal(edr->response_cap, 3 << 10);
  for (int i = 0; i < 3; i++) start(&r[i], "is_isolated", "{'host': 'h1'}", (struct how){0});
  for (int i = 0; i < 2; i++) wait_for(&r[i]);
  NEVER(r[2].done || product.requests > 2, 100); /* the third has to wait for the next minute, and is counted as waiting */
  json_t *counts = actions_counts(actions);
  assert_int_equal(json_int_or(counts, "limited", -1), 1);
  json_decref(counts);
  action_abandon(r[2].action);
  limits_are(", 'limits': {'per_minute': 0}"); /* none; the file's for all the rest */
  edr = registry_find(registry, "edr", &err);
  assert_int_equal(edr->concurrent, 2);
  assert_int_equal(edr->timeout_ms, 300);
  actions_free(actions);
  actions = NULL;
  assert_int_equal(registry_try(product.port, ", 'limits': {'per_minut': 5}", &err), ERR_INVALID);
  assert_non_null(strstr(err.text, "connectors.edr.limits"));
  assert_non_null(strstr(err.text, "per_minute"));
  assert_int_equal(registry_try(product.port, ", 'limits': {'concurrent': 0}", &err), ERR_INVALID);
  assert_int_equal(registry_try(product.port, ", 'limits': 'none'", &err), ERR_INVALID);
  assert_int_equal(registry_try(product.port, ", 'network': {'alow': []}", &err), ERR_INVALID);
  assert_non_null(strstr(err.text, "connectors.edr: network has no member alow"));
  registry_make(product.port, NULL);
  guard_is("{'ceiling': 'destroy'}");
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, test_up, test_down)
  const struct CMUnitTest tests[] = {
      TEST(test_the_plain_way),
      TEST(test_nothing_leaves_before_its_intent_is_durable),
      TEST(test_reads_need_no_intent),
      TEST(test_a_returned_secret),
      TEST(test_a_large_response),
      TEST(test_paused_before),
      TEST(test_paused_between_intent_and_sending),
      TEST(test_two_brakes),
      TEST(test_what_never_left_is_tried_again),
      TEST(test_doubt_sent_again_under_the_same_key),
      TEST(test_asked_to_wait),
      TEST(test_found_and_shared),
      TEST(test_a_failed_undo_stays_listed),
      TEST(test_no_undo),
      TEST(test_abandoned_in_flight),
      TEST(test_abandoned_at_every_stage),
      TEST(test_an_orphan_outlives_its_journal),
      TEST(test_taken_up),
      TEST(test_lift_after),
      TEST(test_lift_after_by_its_incidents_clock),
      TEST(test_simulated_sends_nothing),
      TEST(test_limits),
      TEST(test_stopping),
      TEST(test_limits_of_the_settings),
  };
  return cmocka_run_group_tests_name("action", tests, stage_up, stage_down);
}
