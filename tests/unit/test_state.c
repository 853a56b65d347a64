/* Folding: what each kind of entry makes of an incident's state, and that a stored state folds on as the live one would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "journal/state.h"

static json_t *json_of(const char *text) {
  char copy[2048];
  json_t *value = NULL;
  struct err err;
  snprintf(copy, sizeof copy, "%s", text);
  for (char *p = copy; *p; p++)
    if (*p == '\'') *p = '"';
  if (json_parse(copy, strlen(copy), &value, &err) < 0) fail_msg("%s in %s", err.text, copy);
  return value;
}

/* Through the very bytes, as every entry goes. */
static void fold(json_t *state, enum kind kind, const char *actor, unsigned run, const char *step, const json_t *body) {
  struct entry *e, *stored;
  struct err err;
  int64_t seq = json_int_or(state, "seq", 0) + 1;
  struct entry_spec spec = {.kind = kind, .actor = actor, .run = run, .step = step, .body = body};
  char prev[DIGEST_HEX];
  memset(prev, '0', sizeof prev - 1);
  prev[sizeof prev - 1] = 0;
  assert_int_equal(entry_make(&spec, "INC-000001", "n1", (uint64_t)seq, prev, 1000000 * seq, NULL, &e, &err), 0);
  if (entry_read(e->head, e->head_len, e->leaf, e->envelope, e->envelope_len, &stored, &err) < 0) fail_msg("%s", err.text);
  assert_int_equal(stored->kind, kind);
  state_fold(state, stored);
  entry_free(e);
  entry_free(stored);
}

struct line {
  enum kind kind;
  const char *actor;
  unsigned run;
  const char *step, *body;
};

struct row {
  const char *name;
  struct line lines[8];
  const char *at, *wanted; /* member of the state, and what it must be afterwards */
};

#define E "engine"
#define P "person:7f3a91c2"
#define INTENT                                                                                                                             \
  {                                                                                                                                        \
    KIND_ACTION_INTENDED, E, 1, "3",                                                                                                       \
        "{'connector': 'edr', 'action': 'isolate', 'effect': 'contain', 'target': {'host': 'h'}, 'params': {'host': 'h'}, 'because': "     \
        "'b', 'send_before': 5, 'attempt': 1, 'timeout': 9, 'settle': 0, 'digest': 'd', 'key': 'k'}"                                       \
  }
#define RUN                                                                                                                                \
  { KIND_RUN_STARTED, E, 1, NULL, "{'playbook': 'p', 'digest': 'x', 'trigger': {'alert': 'a'}}" }
#define HELD                                                                                                                               \
  "{'since': 2000000, 'status': 'active', 'connector': 'edr', 'action': 'isolate', 'target': {'host': 'h'}, 'params': {'host': 'h'}, "     \
  "'because': 'b', 'digest': 'd', 'returns': {'already': false}"
#define CONTAINED                                                                                                                          \
  INTENT, { KIND_ACTION_OUTCOME, E, 1, "3", "{'ok': true, 'contains': 'active', 'returns': {'already': false}}" }

static const struct row rows[] = {
    {"opened", {{KIND_INCIDENT_OPENED, E, 0, NULL, "{'title': 'T', 'severity_id': 4, 'groups': ['g', 'g']}"}}, "groups", "['g']"},
    {"severity named", {{KIND_INCIDENT_OPENED, E, 0, NULL, "{'title': 'T', 'severity_id': 4}"}}, "severity", "'high'"},
    {"severity set down",
     {{KIND_INCIDENT_SEVERITY, P, 0, NULL, "{'severity_id': 5}"}, {KIND_INCIDENT_SEVERITY, P, 0, NULL, "{'severity_id': 2}"}},
     "severity",
     "'low'"},
    {"no such severity",
     {{KIND_INCIDENT_SEVERITY, P, 0, NULL, "{'severity_id': 3}"}, {KIND_INCIDENT_SEVERITY, P, 0, NULL, "{'severity_id': 99}"}},
     "severity_id",
     "3"},
    {"owner", {{KIND_INCIDENT_ASSIGNED, P, 0, NULL, "{'owner': 'rita'}"}}, "owner", "'rita'"},
    {"tags once",
     {{KIND_INCIDENT_TAGGED, P, 0, NULL, "{'tag': 'a'}"}, {KIND_INCIDENT_TAGGED, P, 0, NULL, "{'tag': 'a'}"}},
     "tags",
     "['a']"},
    {"title", {{KIND_INCIDENT_TITLED, P, 0, NULL, "{'title': 'New'}"}}, "title", "'New'"},
    {"notes counted",
     {{KIND_INCIDENT_NOTED, P, 0, NULL, "{'text': 'x'}"}, {KIND_INCIDENT_NOTED, P, 0, NULL, "{'text': 'y'}"}},
     "notes",
     "2"},
    {"acknowledged by a person",
     {{KIND_INCIDENT_NOTED, E, 0, NULL, "{}"}, {KIND_INCIDENT_NOTED, P, 0, NULL, "{}"}, {KIND_INCIDENT_NOTED, P, 0, NULL, "{}"}},
     "acknowledged",
     "2000000"},
    {"merged away",
     {{KIND_INCIDENT_OPENED, E, 0, NULL, "{'groups': ['g']}"}, {KIND_INCIDENT_MERGED, P, 0, NULL, "{'into': 'INC-000002'}"}},
     "groups",
     "[]"},
    {"merged into", {{KIND_INCIDENT_MERGED, P, 0, NULL, "{'into': 'INC-000002'}"}}, "merged_into", "'INC-000002'"},
    {"merged with", {{KIND_INCIDENT_MERGED, P, 0, NULL, "{'from': 'INC-000002', 'groups': ['h']}"}}, "groups", "['h']"},
    {"closed",
     {{KIND_INCIDENT_CLOSED, P, 0, NULL, "{'verdict': 'true_positive'}"}},
     "closing",
     "{'verdict': 'true_positive', 'by': '" P "', 'time': 1000000}"},
    {"closed ends its groups",
     {{KIND_INCIDENT_OPENED, E, 0, NULL, "{'groups': ['g']}"}, {KIND_INCIDENT_CLOSED, P, 0, NULL, "{}"}},
     "groups",
     "[]"},
    {"reopened", {{KIND_INCIDENT_CLOSED, P, 0, NULL, "{}"}, {KIND_INCIDENT_REOPENED, P, 0, NULL, "{}"}}, "status", "'open'"},
    {"alerts counted", {{KIND_ALERT_ATTACHED, E, 0, NULL, "{'id': 'a'}"}, {KIND_ALERT_ATTACHED, E, 0, NULL, "{'id': 'b'}"}}, "alerts", "2"},
    {"alerts remembered",
     {{KIND_ALERT_ATTACHED, E, 0, NULL, "{'id': 'a'}"}, {KIND_ALERT_ATTACHED, E, 0, NULL, "{'id': 'b'}"}},
     "recent",
     "{'a': 1, 'b': 2}"},
    {"an alert raises only",
     {{KIND_ALERT_ATTACHED, E, 0, NULL, "{'id': 'a', 'severity_id': 4}"},
      {KIND_ALERT_ATTACHED, E, 0, NULL, "{'id': 'b', 'severity_id': 2}"}},
     "severity_id",
     "4"},
    {"observables once",
     {{KIND_ALERT_ATTACHED, E, 0, NULL, "{'id': 'a', 'observables': [{'value': 'v', 'path': 'p'}]}"},
      {KIND_ALERT_ATTACHED, E, 0, NULL, "{'id': 'b', 'observables': [{'value': 'v', 'path': 'p'}, {'value': 'v', 'path': 'q'}]}"}},
     "observables",
     "[{'value': 'v', 'path': 'p'}, {'value': 'v', 'path': 'q'}]"},
    {"run started",
     {RUN},
     "runs",
     "{'1': {'status': 'running', 'actor': 'engine', 'started': 1000000, 'playbook': 'p', 'digest': 'x', 'trigger': {'alert': 'a'}}}"},
    {"next run", {RUN}, "next_run", "2"},
    {"run failed",
     {{KIND_RUN_STARTED, E, 1, NULL, "{}"}, {KIND_RUN_FINISHED, E, 1, NULL, "{'status': 'failed', 'error': 'e'}"}},
     "runs",
     "{'1': {'status': 'failed', 'actor': 'engine', 'started': 1000000, 'ended': 2000000, 'error': 'e'}}"},
    {"a run's end drops what waited",
     {RUN,
      {KIND_QUESTION_ASKED, E, 1, "2", "{'kind': 'ask'}"},
      {KIND_WAIT_STARTED, E, 1, "3", "{'until': 9}"},
      {KIND_ACTION_HELD, E, 1, "4", "{}"},
      {KIND_RUN_CANCELLED, P, 1, NULL, "{}"}},
     "questions",
     "{}"},
    {"but not a doubt",
     {RUN, {KIND_QUESTION_ASKED, E, 1, "2", "{'kind': 'resolve'}"}, {KIND_RUN_CANCELLED, P, 1, NULL, "{}"}},
     "questions",
     "{'1/2': {'run': 1, 'step': '2', 'asked': 2000000, 'seq': 2, 'kind': 'resolve'}}"},
    {"nor another run's",
     {RUN, {KIND_QUESTION_ASKED, E, 11, "2", "{'kind': 'ask'}"}, {KIND_RUN_FINISHED, P, 1, NULL, "{}"}},
     "questions",
     "{'11/2': {'run': 11, 'step': '2', 'asked': 2000000, 'seq': 2, 'kind': 'ask'}}"},
    {"answered",
     {{KIND_QUESTION_ASKED, E, 1, "2", "{'kind': 'ask'}"}, {KIND_QUESTION_ANSWERED, P, 1, "2", "{'answer': 'x', 'more': false}"}},
     "questions",
     "{}"},
    {"expired",
     {{KIND_QUESTION_ASKED, E, 1, "2", "{'kind': 'ask'}"}, {KIND_QUESTION_EXPIRED, E, 1, "2", "{'answer': 'x'}"}},
     "questions",
     "{}"},
    {"one of two",
     {{KIND_QUESTION_ASKED, E, 1, "2", "{'kind': 'approve', 'approvals': 2}"},
      {KIND_QUESTION_ANSWERED, P, 1, "2", "{'answer': 'approve', 'more': true}"}},
     "questions",
     "{'1/2': {'run': 1, 'step': '2', 'asked': 1000000, 'seq': 1, 'kind': 'approve', 'approvals': 2, 'given': ['" P "']}}"},
    {"held, then sent", {{KIND_ACTION_HELD, E, 1, "3", "{'why': 'paused'}"}, INTENT}, "held", "{}"},
    {"intended",
     {INTENT},
     "intents",
     "{'1/3': {'since': 1000000, 'connector': 'edr', 'action': 'isolate', 'effect': 'contain', 'target': {'host': 'h'}, 'params': {'host': "
     "'h'}, 'because': 'b', 'send_before': 5, 'attempt': 1, 'timeout': 9, 'settle': 0, 'digest': 'd', 'key': 'k'}}"},
    {"in doubt",
     {{KIND_ACTION_INTENDED, E, 1, "3", "{}"}, {KIND_ACTION_IN_DOUBT, E, 1, "3", "{'why': 'silence'}"}},
     "intents",
     "{'1/3': {'since': 1000000, 'doubt': 'silence'}}"},
    {"not sent", {INTENT, {KIND_ACTION_RESOLVED, E, 1, "3", "{'verdict': 'not_sent'}"}}, "intents", "{}"},
    {"found: its outcome follows",
     {{KIND_ACTION_INTENDED, E, 1, "3", "{}"}, {KIND_ACTION_RESOLVED, E, 1, "3", "{'verdict': 'found'}"}},
     "intents",
     "{'1/3': {'since': 1000000}}"},
    {"outcome ends the intent", {CONTAINED}, "intents", "{}"},
    {"contained", {CONTAINED}, "containments", "{'1/3': " HELD "}}"},
    {"a failure contains nothing",
     {INTENT, {KIND_ACTION_OUTCOME, E, 1, "3", "{'ok': false, 'contains': 'active', 'failure': {}}"}},
     "containments",
     "{}"},
    {"released",
     {CONTAINED, {KIND_CONTAINMENT_RELEASED, P, 2, "1", "{'of': '1/3'}"}},
     "containments",
     "{'1/3': {'since': 2000000, 'status': 'released', 'connector': 'edr', 'action': 'isolate', 'target': {'host': 'h'}, 'params': "
     "{'host': 'h'}, 'because': 'b', 'digest': 'd', 'returns': {'already': false}, 'by': '" P "', 'ended': 3000000}}"},
    {"wait", {{KIND_WAIT_STARTED, E, 1, "5", "{'until': 9}"}}, "waits", "{'1/5': {'until': 9}}"},
    {"waited", {{KIND_WAIT_STARTED, E, 1, "5", "{'until': 9}"}, {KIND_WAIT_ENDED, E, 1, "5", "{}"}}, "waits", "{}"},
    {"ticked", {{KIND_RUNBOOK_TICKED, P, 0, NULL, "{'n': 2}"}}, "ticks", "{'2': {'by': '" P "', 'time': 1000000}}"},
};

static void test_table(void **state) {
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    json_t *folded = state_blank("INC-000001"), *wanted = json_of(rows[i].wanted);
    for (const struct line *l = rows[i].lines; l->body; l++) {
      json_t *body = json_of(l->body);
      fold(folded, l->kind, l->actor, l->run, l->step, body);
      json_decref(body);
    }
    const json_t *got = json_object_get(folded, rows[i].at);
    if (!json_equal(got, wanted)) {
      char *text = json_text(got);
      fail_msg("%s: %s is %s, not %s", rows[i].name, rows[i].at, text ? text : "absent", rows[i].wanted);
    }
    json_decref(folded);
    json_decref(wanted);
  }
}

/* Kinds of a newer version, and bodies that were removed, change nothing but the seq. */
static void test_unknown_and_removed(void **state) {
  json_t *folded = state_blank("INC-000001"), *before = json_deep_copy(folded);
  struct entry e = {.seq = 1, .time = 5, .kind = KIND_COUNT, .actor = "engine"},
               removed = {.seq = 2, .time = 6, .kind = KIND_INCIDENT_CLOSED, .actor = "engine"};
  state_fold(folded, &e);
  state_fold(folded, &removed);
  json_object_set_new(before, "seq", json_integer(2));
  json_object_set_new(before, "updated", json_integer(6));
  json_object_set_new(before, "status", json_string("closed"));
  json_object_set_new(before, "closing", json_pack("{s:s, s:i}", "by", "engine", "time", 6));
  assert_true(json_equal(folded, before));
  for (int kind = 0; kind < KIND_COUNT; kind++) { /* whatever is gone */
    removed.kind = (enum kind)kind;
    removed.seq++;
    state_fold(folded, &removed);
  }
  json_decref(folded);
  json_decref(before);
}

/* A storm: the newest alerts are remembered, and a state that was stored in between folds on to the very same. */
static void test_a_storm(void **state) {
  json_t *live = state_blank("INC-000001"), *stored = NULL;
  const int total = STATE_RECENT + 300;
  for (int i = 0; i < total; i++) {
    char id[32];
    snprintf(id, sizeof id, "wazuh:%u", (unsigned)i * 2654435761u); /* no order in the ids */
    json_t *body = json_pack("{s:s, s:i, s:[{s:s, s:s}]}", "id", id, "severity_id", i % 5, "observables", "value", id, "path", "p");
    fold(live, KIND_ALERT_ATTACHED, "engine", 0, NULL, body);
    if (stored) fold(stored, KIND_ALERT_ATTACHED, "engine", 0, NULL, body);
    if (i == STATE_RECENT + 20) {
      char *text = json_text(live);
      struct err err;
      assert_int_equal(json_parse(text, strlen(text), &stored, &err), 0);
      free(text);
    }
    json_decref(body);
    assert_true(state_has_alert(live, id));
  }
  assert_true(json_equal(live, stored));
  assert_int_equal(json_object_size(json_object_get(live, "recent")), STATE_RECENT);
  assert_int_equal(json_array_size(json_object_get(live, "observables")), STATE_OBSERVABLES);
  assert_int_equal(json_int_or(live, "alerts", 0), total);
  assert_false(state_has_alert(live, "wazuh:0"));
  json_decref(live);
  json_decref(stored);
}

static void test_corrective_actions(void **state) {
  json_t *s = state_blank("INC-000001"),
         *added = json_of("{'id':'INC-000001/a1','text':'T','owner':'alice','due':7,'key':'k','recurs':'INC-000009/a2'}");
  json_t *closed = json_of("{'id':'INC-000001/a1','evidence':'E','entry':3}"), *other = json_of("{'id':'INC-000001/a9','evidence':'E'}");
  fold(s, KIND_CORRECTIVE_ADDED, "person:1", 0, NULL, added);
  fold(s, KIND_CORRECTIVE_CLOSED, "person:2", 0, NULL, other); /* nobody has added that one */
  fold(s, KIND_CORRECTIVE_CLOSED, "person:2", 0, NULL, closed);
  json_t *expected = json_of("{'INC-000001/a1':{'incident':'INC-000001','text':'T','owner':'alice','due':7,'key':'k','recurs':'INC-000009/"
                             "a2','added':1000000,'by':'person:1',"
                             "'evidence':'E','entry':3,'closed':3000000,'closed_by':'person:2'}}");
  assert_true(json_equal(json_object_get(s, "corrective"), expected));
  json_decref(s);
  json_decref(added);
  json_decref(closed);
  json_decref(other);
  json_decref(expected);
}

/* What still has something to be written, entry by entry; NULL: nothing has. */
static void test_unfinished(void **state) {
  static const struct {
    enum kind kind;
    unsigned run;
    const char *step, *body, *why;
  } unfinished[] = {
      {KIND_INCIDENT_NOTED, 0, NULL, "{}", "it is open"},
      {KIND_RUN_STARTED, 1, NULL, "{}", "it is open"},
      {KIND_INCIDENT_CLOSED, 0, NULL, "{}", "a run is under way"},
      {KIND_ACTION_HELD, 1, "2", "{}", "a run is under way"},
      {KIND_QUESTION_ASKED, 1, "4", "{'kind': 'resolve'}", "a run is under way"},
      {KIND_ACTION_INTENDED, 1, "3", "{}", "a run is under way"},
      {KIND_RUN_FINISHED, 1, NULL, "{}", "a question is open"},
      {KIND_QUESTION_ANSWERED, 1, "4", "{}", "an action is held, in flight or in doubt"},
      {KIND_ACTION_OUTCOME, 1, "3", "{'ok': true, 'contains': 'found'}", "it contains something"},
      {KIND_CONTAINMENT_KEPT, 2, "1", "{'of': '1/3'}", NULL},
      {KIND_BODY_REMOVING, 0, "1", "{}", "an entry is being removed"},
      {KIND_BODY_REMOVED, 0, "1", "{}", NULL},
      {KIND_CORRECTIVE_ADDED, 0, NULL, "{'id': 'INC-000001/a1'}", "a corrective action is open"},
      {KIND_CORRECTIVE_CLOSED, 0, NULL, "{'id': 'INC-000001/a1'}", NULL},
      {KIND_EVIDENCE_COLLECTED, 0, NULL, "{'name': 'memory.lime'}", NULL}, /* entry 15 */
      {KIND_EVIDENCE_HELD, 0, NULL, "{'item': 15, 'because': 'a lawsuit'}", "a file is under a legal hold"},
      {KIND_EVIDENCE_HOLD_LIFTED, 0, NULL, "{'item': 15}", NULL},
      {KIND_EVIDENCE_TRANSFERRED, 0, NULL, "{'item': 15, 'to': 'police'}", "a receiver has not acknowledged a file"},
      {KIND_EVIDENCE_ACKNOWLEDGED, 0, NULL, "{'item': 15}", NULL},
      {KIND_EVIDENCE_TRANSFERRED, 0, NULL, "{'item': 15, 'to': 'court'}", "a receiver has not acknowledged a file"},
      {KIND_EVIDENCE_DELETED, 0, NULL, "{'item': 15}", NULL},
      {KIND_INCIDENT_REOPENED, 0, NULL, "{}", "it is open"},
  };
  json_t *s = state_blank("INC-000001");
  for (size_t i = 0; i < sizeof unfinished / sizeof *unfinished; i++) {
    json_t *body = json_of(unfinished[i].body);
    fold(s, unfinished[i].kind, E, unfinished[i].run, unfinished[i].step, body);
    const char *why = state_unfinished(s);
    if (why != unfinished[i].why && (!why || !unfinished[i].why || strcmp(why, unfinished[i].why) != 0))
      fail_msg("entry %zu (%s): %s, wanted %s", i + 1, kind_name(unfinished[i].kind), why ? why : "nothing",
               unfinished[i].why ? unfinished[i].why : "nothing");
    json_decref(body);
  }
  json_decref(s);
}

static void test_at_rest(void **state) {
  json_t *s = state_blank("INC-000001"), *nothing = json_object(), *of = json_of("{'of': '1/3'}");
  assert_false(state_at_rest(s));
  fold(s, KIND_INCIDENT_CLOSED, P, 0, NULL, nothing);
  assert_true(state_at_rest(s));
  json_t *intent = json_of("{'connector': 'edr'}"), *outcome = json_of("{'ok': true, 'contains': 'active'}");
  fold(s, KIND_ACTION_INTENDED, E, 1, "3", intent);
  assert_false(state_at_rest(s));
  fold(s, KIND_ACTION_OUTCOME, E, 1, "3", outcome);
  assert_false(state_at_rest(s)); /* contained */
  fold(s, KIND_CONTAINMENT_STILL, E, 2, "1", of);
  assert_false(state_at_rest(s));
  fold(s, KIND_CONTAINMENT_RELEASED, E, 2, "1", of);
  assert_true(state_at_rest(s));
  fold(s, KIND_RUN_STARTED, E, 3, NULL, nothing);
  assert_false(state_at_rest(s));
  fold(s, KIND_RUN_FINISHED, E, 3, NULL, nothing);
  assert_true(state_at_rest(s));
  json_decref(s);
  json_decref(nothing);
  json_decref(of);
  json_decref(intent);
  json_decref(outcome);
}

/* Bodies that are gone: with what the removals keep of them, what was over is over, and what they said is not there. */
static void test_removed_bodies(void **state) {
  static const struct line lines[] = {
      {KIND_INCIDENT_OPENED, E, 0, NULL, "{'title':'s3cret','severity_id':4}"},
      {KIND_RUN_STARTED, E, 1, NULL, "{'playbook':'p'}"},
      {KIND_ACTION_INTENDED, E, 1, "3", "{'action':'lock','params':{'user':'s3cret'}}"},
      {KIND_ACTION_OUTCOME, E, 1, "3", "{'ok':true,'contains':'active','text':'s3cret'}"},
      {KIND_ACTION_INTENDED, E, 1, "4", "{'action':'find','params':{'user':'s3cret'}}"},
      {KIND_ACTION_RESOLVED, P, 1, "4", "{'verdict':'did_not_happen','why':'s3cret'}"},
      {KIND_RUN_FINISHED, E, 1, NULL, "{'status':'failed','error':'s3cret'}"},
      {KIND_CONTAINMENT_RELEASED, P, 0, NULL, "{'of':'1/3','why':'s3cret'}"},
      {KIND_INCIDENT_MERGED, P, 0, NULL, "{'into':'INC-000002','because':'s3cret'}"},
  };
  enum { COUNT = sizeof lines / sizeof *lines };
  json_t *folded = state_blank("INC-000001"), *again = state_blank("INC-000001"), *removals = json_object();
  for (size_t i = 0; i < COUNT; i++) {
    json_t *body = json_of(lines[i].body);
    struct entry e = {.seq = i + 1, .time = 1000, .kind = lines[i].kind, .run = lines[i].run, .body = body};
    char seq[24];
    snprintf(seq, sizeof seq, "%zu", i + 1);
    snprintf(e.step, sizeof e.step, "%s", lines[i].step ? lines[i].step : "");
    snprintf(e.actor, sizeof e.actor, "%s", lines[i].actor);
    state_fold(folded, &e);
    json_object_set_new(removals, seq, json_pack("{s:o}", "kept", entry_residue(&e)));
    e.body = NULL;
    state_fold_rest(again, &e, removals);
    json_decref(body);
  }
  char *text = json_text(again), *kept = json_text(removals);
  assert_null(strstr(text, "s3cret"));
  assert_null(strstr(kept, "s3cret"));
  static const char *const same[] = {"status", "merged_into", "intents", "severity_id", "seq", NULL};
  for (const char *const *k = same; *k; k++)
    if (!json_equal(json_object_get(folded, *k), json_object_get(again, *k))) fail_msg("%s: %s", *k, text);
  const json_t *c = json_object_get(json_object_get(again, "containments"), "1/3"),
               *r = json_object_get(json_object_get(again, "runs"), "1");
  assert_string_equal(json_str_or(c, "status", ""), "released");
  assert_string_equal(json_str_or(r, "status", ""), "failed");
  assert_true(state_at_rest(again));
  free(text);
  free(kept);
  json_decref(folded);
  json_decref(again);
  json_decref(removals);
}

/* What was written about files, gone: a hold is still one, what was destroyed is still destroyed, and one whose own entry went is not kept any more. */
static void test_removed_files(void **state) {
  static const struct {
    enum kind kind;
    const char *step, *body;
  } lines[] = {{KIND_EVIDENCE_COLLECTED, NULL, "{'name':'s3cret','sha256':'aa'}"},
               {KIND_EVIDENCE_COLLECTED, NULL, "{'name':'s3cret','sha256':'bb'}"},
               {KIND_EVIDENCE_COLLECTED, NULL, "{'name':'s3cret','sha256':'cc'}"},
               {KIND_EVIDENCE_HELD, NULL, "{'item':1,'because':'s3cret'}"},
               {KIND_EVIDENCE_TRANSFERRED, NULL, "{'item':1,'to':'s3cret'}"},
               {KIND_EVIDENCE_DELETED, NULL, "{'item':2,'because':'s3cret'}"},
               {KIND_BODY_REMOVING, "3", NULL}};
  json_t *again = state_blank("INC-000001"), *removals = json_object();
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    struct entry e = {.kind = lines[i].kind, .seq = i + 1, .time = (int64_t)i + 1, .actor = P};
    char seq[8];
    json_t *body = lines[i].body ? json_of(lines[i].body) : NULL;
    snprintf(seq, sizeof seq, "%zu", i + 1);
    snprintf(e.step, sizeof e.step, "%s", lines[i].step ? lines[i].step : "");
    e.body = body;
    if (body) json_object_set_new(removals, seq, json_pack("{s:o}", "kept", entry_residue(&e)));
    e.body = lines[i].step ? json_object() : NULL;
    state_fold_rest(again, &e, removals);
    json_decref(e.body);
    json_decref(body);
  }
  char *text = json_text(again);
  assert_null(strstr(text, "s3cret"));
  const json_t *files = json_object_get(again, "files");
  assert_string_equal(json_str_or(json_object_get(files, "1"), "hold", ""), "(removed)");
  assert_int_equal(json_int_or(json_object_get(files, "1"), "transfer", 0), 5);
  assert_int_equal(json_int_or(json_object_get(files, "2"), "deleted", 0), 6);
  assert_false(json_bool_or(json_object_get(files, "2"), "removed", false));
  assert_int_equal(json_int_or(json_object_get(files, "3"), "deleted", 0), 7);
  assert_true(json_bool_or(json_object_get(files, "3"), "removed", false));
  free(text);
  json_decref(again);
  json_decref(removals);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_table),          cmocka_unit_test(test_unknown_and_removed), cmocka_unit_test(test_a_storm),
      cmocka_unit_test(test_at_rest),        cmocka_unit_test(test_unfinished),          cmocka_unit_test(test_corrective_actions),
      cmocka_unit_test(test_removed_bodies), cmocka_unit_test(test_removed_files),
  };
  return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
