/* What becomes of an intent without an outcome: by what its action declares, for an action and for an undo, in the process that sent it and in the one after it. */
#include "action_stage.h"

#define HOST "{'host': 'h1', 'because': 'test'}"
#define SENT "intended in_doubt "
#define AGAIN SENT "resolved intended outcome"
#define ASKED SENT "asked answered resolved "

/* The product's answers: 'g' proves nothing, 'o' it is done, a probe is told 'y' it happened, 'n' it did not, '?' nothing, 'x' it fails. */
static const struct row {
  const char *declares; /* the ending of the names of such actions */
  const char *script;   /* of the first request on; after a restart the first one has been sent, and is not sent here */
  const char *answer;   /* a person's; NULL: nobody is asked */
  const char *why;      /* part of what the person is told */
  const char *sent;     /* W: what changes something, r: a probe */
  const char *entries;
  const char *verdict;
  bool ok;
  const char
      *status; /* of what is contained then, by the action: "" nothing; whether we made it so is known when it was sent and answered */
} rows[] = {
    {"_again", "go", NULL, NULL, "WW", AGAIN, "sent_again", true, "active"},
    {"_again", "ggg", "done", "does not prove", "WWW", SENT "resolved " SENT "resolved " ASKED "outcome", "done", true, "found"},
    {"_probe", "gy", NULL, NULL, "Wr", SENT "outcome resolved outcome", "found", true, "found"},
    {"_probe", "gno", NULL, NULL, "WrW", SENT "outcome resolved intended outcome", "did_not_happen", true, "active"},
    {"_probe", "g?", "done", "could not tell", "Wr", SENT "outcome asked answered resolved outcome", "done", true, "found"},
    {"_probe", "g?o", "not done, send it", "could not tell", "WrW", SENT "outcome asked answered resolved intended outcome", "not_done",
     true, "active"},
    {"_probe", "g?", "abandon", "could not tell", "Wr", SENT "outcome asked answered resolved outcome", "abandoned", false, ""},
    {"_probe", "gx", "done", "404", "Wr", SENT "outcome asked answered resolved outcome", "done", true, "found"},
    {"_probe", "gxo", "not done, send it", "404", "WrW", SENT "outcome asked answered resolved intended outcome", "not_done", true,
     "active"},
    {"_probe", "gx", "abandon", "404", "Wr", SENT "outcome asked answered resolved outcome", "abandoned", false, ""},
    {"_probe", "gngngn", "abandon", "several times", "WrWrWr",
     SENT "outcome resolved " SENT "outcome resolved " SENT "outcome asked answered resolved outcome", "abandoned", false, ""},
    {"", "g", "done", "does not prove", "W", ASKED "outcome", "done", true, "found"},
    {"", "go", "not done, send it", "does not prove", "WW", ASKED "intended outcome", "not_done", true, "active"},
    {"", "g", "abandon", "does not prove", "W", ASKED "outcome", "abandoned", false, ""},
};

static char written[1024];

/* "action.in_doubt" is "in_doubt". */
static void on_written(void *arg, struct journal *j, const struct entry *e) {
  const char *name = kind_name(e->kind), *word = strchr(name, '.') ? strchr(name, '.') + 1 : name;
  size_t len = strlen(written);
  if (strncmp(name, "containment.", 12) == 0) return; /* the undo's own end is looked at apart */
  snprintf(written + len, sizeof written - len, "%s%s", len ? " " : "", word);
}

static char *requests(unsigned from) {
  static char text[REQUESTS + 1];
  memset(text, 0, sizeof text);
  for (unsigned i = from; i < product.requests; i++) text[i - from] = product.write[i] ? 'W' : 'r';
  return text;
}

static json_int_t counted(const char *what) {
  json_t *counts = actions_counts(actions);
  json_int_t n = json_int_or(counts, what, -1);
  json_decref(counts);
  return n;
}

static const char *held(void) {
  const json_t *c = json_object_get(state_part("containments"), "1/1");
  return json_str_or(c, "status", "");
}

/* While a person is asked: it is seen in the incident's state (of which lists and the timeline are made), in the counts of doctor and metrics, and among the questions. */
static void look_while_asked(const struct row *row, const char *at) {
  const json_t *intent = json_object_get(state_part("intents"), at), *question = json_object_get(state_part("questions"), at);
  assert_non_null(json_str(intent, "doubt"));
  assert_string_equal(json_str_or(question, "kind", ""), "resolve");
  assert_int_equal(json_array_size(json_object_get(question, "options")), 3);
  if (!strstr(json_str_or(question, "text", ""), row->why)) fail_msg("%s is not in: %s", row->why, json_str_or(question, "text", ""));
  assert_int_equal(counted("in_doubt"), 1);
  assert_int_equal(actions_attended(actions), 1);
}

static void look_after(const struct row *row, const struct result *r, unsigned from, bool before) {
  const char *entries = before ? row->entries + strlen("intended ") : row->entries, *sent = before ? row->sent + 1 : row->sent;
  if (strcmp(requests(from), sent) != 0) fail_msg("sent %s, not %s", requests(from), sent);
  if (strcmp(written, entries) != 0) fail_msg("written: %s\n   wanted: %s", written, entries);
  for (unsigned i = from, first = REQUESTS; i < product.requests; i++) { /* however often it is sent, it is one thing */
    if (!product.write[i]) continue;
    if (first == REQUESTS) first = i;
    assert_int_equal(strlen(product.key[i]), 32);
    assert_string_equal(product.key[i], product.key[first]);
    assert_string_equal(product.key[i], json_str_or(bodies[KIND_ACTION_INTENDED], "key", ""));
  }
  assert_string_equal(verdict(), row->verdict);
  assert_int_equal(strncmp(kind_actor[KIND_ACTION_RESOLVED], "person:", 7) == 0, row->answer != NULL);
  assert_int_equal(r->ok, row->ok);
  if (!row->ok) assert_true(strcmp(r->kind, "abandoned") == 0 || strcmp(r->kind, "still_contained") == 0);
  assert_int_equal(json_object_size(state_part("intents")), 0); /* nothing is left in doubt, and the sums agree */
  assert_int_equal(counted("in_doubt"), 0);
  assert_int_equal(counted("intents") + before, counted("outcomes"));
  assert_int_equal(actions_attended(actions), 0);
}

/* What the process before this one left in the journal: an intent, and no more. */
static json_t *past(unsigned run, const char *action, const char *version, const char *undo_of) {
  json_t *body = json_of("{'attempt': 1, 'connector': 'edr', 'action': '%s', 'effect': 'contain', 'target': {'host': 'h1'}, "
                         "'params': {'host': 'h1', 'because': 'test'}}",
                         action);
  json_object_set_new(body, "version", json_string(version ? version : registry_find(registry, "edr", NULL)->declaration->digest));
  if (undo_of) json_object_set_new(body, "undo_of", json_string(undo_of));
  journal_add(journal, KIND_ACTION_INTENDED, "playbook:test", run, "1", json_incref(body));
  return json_pack("[{s:s, s:o}]", "type", "action.intended", "body", body);
}

static void begin_row(const struct row *row, bool before) {
  product.script = before ? row->script + 1 : row->script;
  written[0] = 0;
  journal_watch(journal, on_written, NULL);
}

static void finish_row(const struct row *row, struct result *r, const char *at) {
  if (row->answer) {
    UNTIL(questions_count(questions) == 1);
    look_while_asked(row, at);
    answer_with("rita", row->answer);
  }
  wait_for(r);
  journal_unwatch(journal, on_written, NULL);
}

static void action_row(const struct row *row, bool before) {
  struct result r;
  char name[32];
  snprintf(name, sizeof name, "isolate%s", row->declares);
  json_t *history = before ? past(1, name, NULL, NULL) : NULL;
  begin_row(row, before);
  start(&r, name, HOST, (struct how){.history = history});
  finish_row(row, &r, "1/1");
  json_decref(history);
  look_after(row, &r, 0, before);
  assert_string_equal(held(), row->status);
}

static void undo_row(const struct row *row, bool before) {
  struct result r;
  char contains[32], undoes[32];
  struct err err;
  snprintf(undoes, sizeof undoes, "free%s", row->declares);
  snprintf(contains, sizeof contains, "isolate%s%s", *row->declares ? "_free" : "", row->declares);
  start(&r, contains, HOST, (struct how){0});
  wait_for(&r);
  json_t *history = before ? past(2, undoes, NULL, "1/1") : NULL;
  struct action_spec spec = {.journal = journal, .run = 2, .step = "1", .actor = "person:x", .history = history};
  begin_row(row, before);
  memset(&r, 0, sizeof r);
  assert_int_equal(action_release(actions, &spec, "1/1", on_outcome, &r, NULL, &err), 0);
  finish_row(row, &r, "2/1");
  json_decref(history);
  look_after(row, &r, 1, before);
  assert_string_equal(held(), row->ok ? "released" : "still");
  assert_int_equal(kinds[row->ok ? KIND_CONTAINMENT_RELEASED : KIND_CONTAINMENT_STILL], 1);
  json_t *contained = actions_contained(actions);
  assert_int_equal(json_array_size(contained), !row->ok); /* what could not be lifted stays listed */
  json_decref(contained);
}

static const struct row *under_test;

static void each(void (*play)(const struct row *row, bool before), bool before) {
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    under_test = &rows[i];
    test_up(NULL);
    play(&rows[i], before);
    test_down(NULL);
  }
  under_test = NULL;
}

static int name_row(void **state) {
  const struct row *row = under_test;
  if (row) print_error("in the row {\"%s\", \"%s\", \"%s\"}\n", row->declares, row->script, row->answer ? row->answer : "-");
  under_test = NULL;
  return 0;
}

static void test_action(void **state) { each(action_row, false); }
static void test_undo(void **state) { each(undo_row, false); }
static void test_action_after_a_restart(void **state) { each(action_row, true); }
static void test_undo_after_a_restart(void **state) { each(undo_row, true); }

/* The connector that sent it is not to be had in that version: whatever the one in force declares, a person says, and nothing is sent by another one. */
static void test_version_not_to_be_found(void **state) {
  static const struct {
    const char *answer, *verdict, *kind;
    bool ok;
  } ways[] = {{"done", "done", "", true},
              {"not done, send it", "not_done", "not_found", false},
              {"abandon", "abandoned", "abandoned", false}};
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    struct result r;
    test_up(NULL);
    json_t *history = past(1, "isolate_again", "0badc0de", NULL), *params = json_of(HOST);
    struct action_spec spec = {.journal = journal,
                               .run = 1,
                               .step = "1",
                               .actor = "engine",
                               .connector = "edr",
                               .version = "0badc0de",
                               .action = "isolate_again",
                               .params = params,
                               .history = history};
    struct err err;
    memset(&r, 0, sizeof r);
    assert_int_equal(action_start(actions, &spec, on_outcome, &r, &r.action, &err), 0);
    UNTIL(questions_count(questions) == 1);
    assert_non_null(strstr(json_str_or(bodies[KIND_QUESTION_ASKED], "text", ""), "0badc0de is not to be found"));
    answer_with("rita", ways[i].answer);
    wait_for(&r);
    assert_int_equal(r.ok, ways[i].ok);
    assert_string_equal(r.kind, ways[i].kind);
    assert_string_equal(verdict(), ways[i].verdict);
    assert_int_equal(product.requests, 0);
    assert_int_equal(json_object_size(state_part("intents")), 0);
    json_decref(history);
    history = past(1, "isolate_again", "0badc0de", NULL); /* and without an intent nothing begins */
    json_array_append_new(history, json_pack("{s:s, s:{s:s}}", "type", "action.resolved", "body", "verdict", "not_sent"));
    spec.history = history;
    assert_int_equal(action_start(actions, &spec, on_outcome, &r, &r.action, &err), ERR_NOT_FOUND);
    json_decref(history);
    json_decref(params);
    test_down(NULL);
  }
}

/* Releasing what such a version contained: a person is asked first, may agree to the one in force, and is not asked twice. */
static void test_undo_of_a_version_not_to_be_found(void **state) {
  static const char *const answers[] = {"keep", "release", NULL}; /* NULL: agreed before a restart */
  for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
    struct result r;
    struct err err;
    test_up(NULL);
    start(&r, "isolate", HOST, (struct how){0});
    wait_for(&r);
    json_t *c = json_object_get(state_part("containments"), "1/1");
    assert_string_equal(json_str_or(c, "version", ""), registry_find(registry, "edr", NULL)->declaration->digest);
    json_object_set_new(c, "version", json_string("0badc0de"));
    assert_true(actions_release_asks(actions, c));
    json_t *history = answers[i]
                          ? NULL
                          : json_of("[{'type': 'question.asked', 'body': {'kind': 'release'}}, {'type': 'question.answered', 'body': "
                                    "{'answer': 'release'}}]");
    struct action_spec spec = {.journal = journal, .run = 2, .step = "1", .actor = "person:x", .history = history};
    memset(&r, 0, sizeof r);
    assert_int_equal(action_release(actions, &spec, "1/1", on_outcome, &r, NULL, &err), 0);
    if (answers[i]) {
      UNTIL(questions_count(questions) == 1);
      assert_non_null(strstr(json_str_or(bodies[KIND_QUESTION_ASKED], "text", ""), "0badc0de, which is not to be found"));
      assert_int_equal(product.requests, 1);
      answer_with("rita", answers[i]);
    }
    wait_for(&r);
    bool kept = answers[i] && strcmp(answers[i], "keep") == 0;
    assert_int_equal(r.ok, !kept);
    assert_int_equal(product.requests, kept ? 1 : 2);
    assert_string_equal(held(), kept ? "active" : "released");
    json_decref(history);
    test_down(NULL);
  }
}

/* Another node takes the incident while a person is asked: it is in doubt there, and counted here no more. */
static void test_another_node_takes_it(void **state) {
  struct result r;
  test_up(NULL);
  product.script = "b";
  start(&r, "isolate", HOST, (struct how){0});
  UNTIL(questions_count(questions) == 1);
  assert_int_equal(counted("in_doubt"), 1);
  actions_orphan(actions, journal);
  assert_int_equal(counted("in_doubt"), 0);
  assert_int_equal(counted("live"), 0);
  test_down(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(test_action, name_row),
      cmocka_unit_test_teardown(test_undo, name_row),
      cmocka_unit_test_teardown(test_action_after_a_restart, name_row),
      cmocka_unit_test_teardown(test_undo_after_a_restart, name_row),
      cmocka_unit_test(test_version_not_to_be_found),
      cmocka_unit_test(test_undo_of_a_version_not_to_be_found),
      cmocka_unit_test(test_another_node_takes_it),
  };
  return cmocka_run_group_tests_name("doubt", tests, stage_up, stage_down);
}
