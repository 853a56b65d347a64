/* One test of a playbook, from an empty journal to the end of its run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "run/stage.h"

enum { REAL_MS_MOST = 30000 };

struct play {
  struct stage *st;
  const json_t *test;
  struct journal *journal;
  struct questions *questions;
  struct actions *actions;
  struct runs *runs;
  struct run *run;
  json_t *alerts, *seen, *problems, *intents, *entries;
  json_t *places;        /* {list of seen: the steps that its members are of} */
  json_t *later;         /* alerts to come: [{"time": µs, "alert"}…] */
  size_t answered, came; /* came: how many of the later alerts have */
  bool over, unattended; /* unattended: nobody answers (play_unattended) */
};

/* --- what happens ---------------------------------------------------------------------------------------------- */

/* In the order of the playbook's steps: branches that run side by side end in any order. */
static void note(struct play *p, const char *list, const struct entry *e, json_t *value_take) {
  char place[ID_PATH];
  snprintf(place, sizeof place, "%u/%s", e->run, e->step);
  json_t *places = json_object_get(p->places, list);
  if (!places) json_object_set_new(p->places, list, places = json_array());
  size_t at = json_array_size(places);
  while (at && id_step_compare(json_string_value(json_array_get(places, at - 1)), place) > 0) at--;
  json_array_insert_new(places, at, json_string(place));
  json_array_insert_new(json_object_get(p->seen, list), at, value_take);
}

static json_t *full_name(const json_t *of) {
  return json_sprintf("%s.%s", json_str_or(of, "connector", ""), json_str_or(of, "action", ""));
}

static void note_action(struct play *p, const struct entry *e) {
  if (!json_str(e->body, "action") || strstr(e->step, ".0.") || json_str(e->body, "undo_of")) return;
  json_t *params = json_object_get(e->body, "params");
  if (!params) params = json_object_get(p->intents, e->step);
  note(p, "actions", e, json_pack("{s:o, s:O*}", "action", full_name(e->body), "params", params));
}

static void note_hand_over(struct play *p, const struct entry *e) {
  char *why =
      json_is_string(json_object_get(e->body, "why")) ? strdup(json_str(e->body, "why")) : json_text(json_object_get(e->body, "why"));
  json_object_set_new(p->seen, "says", json_sprintf("%s: %s", json_str_or(e->body, "text", ""), why ? why : ""));
  free(why);
}

static void keep(struct play *p, const struct entry *e) {
  json_array_append_new(p->entries,
                        json_pack("{s:I, s:s, s:s, s:i, s:s, s:I, s:O*}", "seq", (json_int_t)e->seq, "type", kind_name(e->kind), "actor",
                                  e->actor, "run", (int)e->run, "step", e->step, "time", (json_int_t)e->time, "body", e->body));
}

static void on_entry(void *arg, struct journal *j, const struct entry *e) {
  struct play *p = arg;
  const json_t *body = entry_body(e);
  keep(p, e);
  switch (e->kind) {
  case KIND_ACTION_INTENDED: json_object_set(p->intents, e->step, json_object_get(body, "params")); break;
  case KIND_ACTION_OUTCOME:
    if (strcmp(json_str_or(body, "verb", ""), "collect") == 0) note(p, "files", e, json_string(json_str_or(body, "name", "")));
    note_action(p, e);
    break;
  case KIND_ACTION_REFUSED: note_action(p, e); break;
  case KIND_CONTAINMENT_RELEASED:
    note(p, "undone", e, full_name(json_object_get(json_object_get(journal_state(j), "containments"), json_str_or(body, "of", ""))));
    break;
  case KIND_QUESTION_ASKED: note(p, "asks", e, json_string(json_str_or(body, "text", ""))); break;
  case KIND_INCIDENT_NOTED: note(p, "notes", e, json_string(json_str_or(body, "text", ""))); break;
  case KIND_INCIDENT_TAGGED: note(p, "tags", e, json_string(json_str_or(body, "tag", ""))); break;
  case KIND_INCIDENT_CLOSED: json_object_set_new(p->seen, "closed", json_string(json_str_or(body, "verdict", ""))); break;
  case KIND_RUN_HANDED_OVER: note_hand_over(p, e); break;
  case KIND_RUN_FINISHED:
    if (json_object_get(body, "result")) json_object_set(p->seen, "result", json_object_get(body, "result"));
    if (json_object_get(body, "error")) json_object_set(p->seen, "error", json_object_get(body, "error"));
    break;
  default: break;
  }
}

static void on_done(void *arg, struct run *run, const char *status) {
  struct play *p = arg;
  p->over = true;
  json_object_set_new(p->seen, "status", json_string(status));
  json_object_set(p->seen, "severity", json_object_get(journal_state(p->journal), "severity"));
}

/* --- the world of a run ---------------------------------------------------------------------------------------- */

static const json_t *world_alerts(void *arg, struct journal *j) { return ((struct play *)arg)->alerts; }

static int world_list(void *arg, void *lists, int64_t now, const char *what, const json_t *args, json_t **ret, struct err *err) {
  const struct run_world *given = &((struct play *)arg)->st->spec->world;
  return given->list ? given->list(given->arg, NULL, now, what, args, ret, err) : err_set(err, ERR_NOT_FOUND, "there are no lists here");
}

static bool world_matches(void *arg, void *lists, int64_t now, const json_t *when, const json_t *alert) {
  const struct run_world *given = &((struct play *)arg)->st->spec->world;
  return given->matches && given->matches(given->arg, NULL, now, when, alert);
}

static int world_change(void *arg, struct journal *j, const char *verb, const json_t *args, const char *actor, unsigned run,
                        const char *step, struct err *err) {
  enum kind kind;
  return run_change(j, verb, args, actor, run, step, &kind, err);
}

/* --- before the run --------------------------------------------------------------------------------------------- */

static void attach(struct play *p, const json_t *alert) {
  json_t *copy = json_deep_copy(alert);
  if (!json_object_get(copy, "raw")) json_object_set_new(copy, "raw", json_object());
  json_array_append_new(p->alerts, copy);
  json_t *body = json_pack("{s:o, s:I}", "id", json_sprintf("test:%zu", json_array_size(p->alerts)), "severity_id",
                           (json_int_t)json_int_or(alert, "severity_id", 0));
  journal_add(p->journal, KIND_ALERT_ATTACHED, "engine", 0, NULL, body);
}

static void open_incident(struct play *p) {
  const json_t *alert = json_object_get(p->test, "alert"), *list = json_object_get(p->test, "alerts"),
               *first = alert ? alert : json_array_get(list, 0);
  const char *title = json_str(p->test, "title");
  if (!title && json_is_string(json_at(first, "finding_info.title"))) title = json_string_value(json_at(first, "finding_info.title"));
  json_t *body = json_pack("{s:s, s:s}", "title", title ? title : json_str_or(first, "message", "a test"), "mode", "test");
  journal_add(p->journal, KIND_INCIDENT_OPENED, "engine", 0, NULL, body);
  if (alert) attach(p, alert);
  for (size_t i = 0; i < json_array_size(list); i++) attach(p, json_array_get(list, i));
}

/* Parameters with `from` are read from the alerts; two different values are never guessed between: a person would be asked. Unattended, the first is taken. */
static void params_from_alerts(struct play *p, json_t *params) {
  const char *name;
  json_t *rule, *alert, *value;
  size_t i, n;
  json_object_foreach(json_object_get(p->st->playbook->json, "params"), name, rule) {
    const char *from = json_str(rule, "from");
    json_t *found = json_array();
    json_array_foreach(p->alerts, i, alert) {
      json_t *values = from && p->st->spec->values ? p->st->spec->values(alert, json_object_get(alert, "raw"), from) : NULL;
      json_array_foreach(values, n, value) if (!json_array_has(found, json_string_value(value))) json_array_append(found, value);
      json_decref(values);
    }
    if (p->unattended && json_array_size(found) > 1) json_array_append_new(json_object_get(p->seen, "parameters"), json_string(name));
    if (from && strcmp(json_str_or(rule, "type", ""), "list") == 0 && p->unattended) json_object_set(params, name, found);
    else if ((json_array_size(found) == 1 || (p->unattended && json_array_size(found))) && !json_object_get(params, name))
      json_object_set(params, name, json_array_get(found, 0));
    json_decref(found);
  }
}

static int begin(struct play *p, struct err *err) {
  const json_t *declaration = p->st->playbook->json, *given = json_object_get(p->test, "settings");
  json_t *params = json_object_get(p->test, "params"), *checked = NULL, *settings = NULL, *none = json_object();
  params = params ? json_deep_copy(params) : json_object();
  params_from_alerts(p, params);
  int r = schema_check(json_object_get(declaration, "params"), params, "params", &checked, err);
  if (r == 0) r = schema_check(json_object_get(declaration, "settings"), given ? given : none, "settings", &settings, err);
  if (r == 0) {
    json_t *trigger = json_pack("{s:s}", "alert", "test:1");
    struct run_spec spec = {.journal = p->journal,
                            .number = 1,
                            .playbook = p->st->playbook,
                            .params = checked,
                            .settings = settings,
                            .trigger = trigger,
                            .simulated = true,
                            .simulate = json_object_get(p->test, "simulate")};
    r = run_start(p->runs, &spec, on_done, p, &p->run, err);
    json_decref(trigger);
  }
  json_decref(params);
  json_decref(checked);
  json_decref(settings);
  json_decref(none);
  return r;
}

/* --- while it runs ------------------------------------------------------------------------------------------------ */

static void problem(struct play *p, json_t *text_take) {
  json_array_append_new(p->problems, text_take);
  if (p->run && !p->over) run_cancel(p->run, "engine", "the test cannot go on");
}

static void jump(struct play *p, int64_t to) {
  if (to > clock_wall(&p->st->clock)) clock_set(&p->st->clock, to);
  run_clock_moved(p->run);
  questions_clock_moved(p->questions);
  actions_clock_moved(p->actions);
}

static void answer(struct play *p, const json_t *question) {
  const json_t *given = json_array_get(json_object_get(p->test, "answers"), p->answered);
  const char *text = json_string_value(given);
  struct journal *journal;
  struct err err;
  if (!text) {
    problem(p, json_sprintf("it asks \"%s\", and the test has no answer left", json_str_or(question, "text", "")));
    return;
  }
  p->answered++;
  if (strcmp(text, "(silence)") != 0) {
    if (question_answer(p->questions, json_str_or(question, "id", ""), people_by_uid(p->st->people, getuid()), text, &journal, &err) < 0)
      problem(p, json_string(err.text));
  } else if (json_int_or(question, "deadline", 0)) {
    jump(p, json_int_or(question, "deadline", 0));
  } else {
    problem(p, json_sprintf("\"%s\" waits for ever: silence does not answer it", json_str_or(question, "text", "")));
  }
}

/* A playbook's own question runs out of time; a guardrail's gets its first answer, by as many people as it wants. */
static void nobody_answers(struct play *p, const json_t *question) {
  const char *first = json_string_value(json_array_get(json_object_get(question, "options"), 0));
  struct journal *journal;
  struct err err;
  if (strcmp(json_str_or(question, "kind", ""), "ask") == 0 && json_int_or(question, "deadline", 0)) {
    jump(p, json_int_or(question, "deadline", 0));
    return;
  }
  uid_t uid = getuid() + (uid_t)(p->answered++ % STAGE_PEOPLE);
  const char *id = json_str_or(question, "id", "");
  if (!first || question_answer(p->questions, id, people_by_uid(p->st->people, uid), first, &journal, &err) < 0)
    problem(p, json_string(first ? err.text : "it waits for an answer that only a person can give"));
}

static const json_t *alert_to_come(const struct play *p) { return json_array_get(p->later, p->came); }

static void arrive(struct play *p, const json_t *alert) {
  p->came++;
  jump(p, json_int_or(alert, "time", 0));
  attach(p, json_object_get(alert, "alert"));
  if (p->over) return;
  if (json_bool_or(p->test, "restart", false)) run_cancel(p->run, "engine", "a newer alert restarts it (mode = \"restart\")");
  else run_alert(p->run, json_array_get(p->alerts, json_array_size(p->alerts) - 1));
}

/* The run only waits: an alert joins, a person answers, or time goes on, whichever comes first. */
static void move_on(struct play *p) {
  json_t *open = questions_open(p->questions), *question = json_array_get(open, 0);
  int64_t due = run_due(p->run), deadline = json_int_or(question, "deadline", 0);
  const json_t *next = alert_to_come(p);
  int64_t until = question && (!due || (deadline && deadline < due)) ? deadline : due;
  if (next && (!until || json_int_or(next, "time", 0) < until)) arrive(p, next);
  else if (question && p->unattended) nobody_answers(p, question);
  else if (question) answer(p, question);
  else if (due) jump(p, due);
  else problem(p, json_string("it waits for something that never comes"));
  json_decref(open);
}

static void drive(struct play *p) {
  int64_t deadline = clock_boot(clock_system()) + (int64_t)REAL_MS_MOST * 1000;
  while (!p->over) {
    stage_nap(p->st);
    if (p->over) break;
    if (run_rests(p->run)) move_on(p);
    if (p->st->failure.code || clock_boot(clock_system()) > deadline) {
      json_array_append_new(p->problems, json_string(p->st->failure.code ? p->st->failure.text : "it did not end within 30 seconds"));
      return;
    }
  }
  if (p->answered < json_array_size(json_object_get(p->test, "answers")))
    json_array_append_new(p->problems, json_string("not every answer was asked for"));
}

/* --- and once more -------------------------------------------------------------------------------------------------- */

static void on_replayed(void *arg, struct run *run, const char *status) {
  struct play *p = arg;
  json_t *view = run_view(run);
  const char *error = json_str(view, "error");
  p->over = true;
  if (strcmp(status, json_str_or(p->seen, "status", "")) != 0)
    json_array_append_new(p->problems, json_sprintf("a replay of its journal ends \"%s\": %s", status, error ? error : "without an error"));
  json_decref(view);
}

/* What the engine does after a crash: the playbook, fed its own journal, must take the same steps. */
static void replay(struct play *p) {
  struct err err;
  size_t before = json_array_size(p->entries);
  json_t *entries = json_copy(p->entries);
  struct run_spec spec = {.journal = p->journal, .number = 1, .playbook = p->st->playbook, .simulated = true};
  int64_t deadline = clock_boot(clock_system()) + (int64_t)REAL_MS_MOST * 1000;
  run_free(p->run);
  p->run = NULL;
  p->over = false;
  if (run_take_up(p->runs, &spec, entries, on_replayed, p, &p->run, &err) < 0) {
    json_array_append_new(p->problems, json_sprintf("its journal cannot be replayed: %s", err.text));
    p->over = true;
  }
  json_decref(entries);
  while (!p->over && clock_boot(clock_system()) < deadline) stage_nap(p->st);
  if (!p->over || json_array_size(p->entries) != before)
    json_array_append_new(p->problems, json_string("a replay of its journal goes on where the run had ended"));
}

/* --- all of it ---------------------------------------------------------------------------------------------------------- */

/* A back-test gives µs; a test says when it begins, and how long after that an alert comes. */
static int set_time(struct play *p, struct err *err) {
  const char *text = json_str(p->test, "begins");
  int64_t begins = json_int_or(p->test, "begins", p->st->begins), ms;
  size_t i;
  json_t *alert;
  if (text && !time_parse(text, &begins)) return err_set(err, ERR_INVALID, "begins = \"%.60s\" is no time like 2026-01-01T10:00:00Z", text);
  clock_set(&p->st->clock, begins);
  json_array_foreach(json_object_get(p->test, "later"), i, alert) {
    const char *after = json_str(alert, "after");
    json_t *copy = json_copy(alert);
    json_array_append_new(p->later, copy);
    if (json_object_get(alert, "time")) continue;
    if (!after || !duration_parse(after, &ms) || !json_is_object(json_object_get(alert, "alert")))
      return err_set(err, ERR_INVALID, "later[%zu]: write { after = \"5m\", alert = { … } }", i + 1);
    json_object_set_new(copy, "time", json_integer(begins + ms * 1000));
  }
  return 0;
}

/* Chance follows from the incident's number alone: a back-test played again comes to the same. */
static void seed(void *arg, const char *incident, unsigned run, char out[33]) {
  uint8_t digest[DIGEST_BYTES];
  char place[ID_PATH];
  id_path(place, incident, run, NULL);
  digest_sha256(place, strlen(place), digest);
  hex_encode(digest, 16, out);
}

static int set_up(struct play *p, struct err *err) {
  struct stage *st = p->st;
  char id[ID_INCIDENT];
  if (set_time(p, err) < 0) return err->code;
  p->questions = questions_new(st->loop, st->people);
  struct actions_deps deps = {.loop = st->loop,
                              .redis = st->redis,
                              .secrets = st->secrets,
                              .transports = st->transports,
                              .registry = st->registry,
                              .questions = p->questions,
                              .people = st->people,
                              .guard = st->guard,
                              .data = st->folder,
                              .budgets = p->unattended ? "backtest" : NULL};
  p->actions = actions_new(&deps, err); /* a ledger of its own: tests hold nothing of each other */
  if (!p->actions) return err->code;
  struct runs_deps runs = {
      .loop = st->loop,
      .actions = p->actions,
      .questions = p->questions,
      .registry = st->registry,
      .coverage = st->coverage,
      .seed = p->unattended ? seed : NULL,
      .world = {.arg = p, .alerts = world_alerts, .list = world_list, .matches = world_matches, .change = world_change}};
  p->runs = runs_new(&runs);
  id_incident(id, MODE_EXERCISE, ++st->played);
  p->journal = journal_new(&st->store, id);
  journal_watch(p->journal, on_entry, p);
  open_incident(p);
  return begin(p, err);
}

static void tear_down(struct play *p) {
  run_free(p->run);
  runs_free(p->runs);
  if (p->actions && p->journal) actions_orphan(p->actions, p->journal);
  for (int i = 0; i < 3; i++) loop_turn(p->st->loop); /* what was put off to the next turn */
  actions_free(p->actions);
  questions_free(p->questions);
  journal_free(p->journal);
  json_decref(p->alerts);
  json_decref(p->places);
  json_decref(p->later);
  json_decref(p->intents);
  json_decref(p->entries);
  json_decref(p->seen);
}

static void prepare(struct play *p, struct stage *st, const json_t *test) {
  *p = (struct play){.st = st,
                     .test = test,
                     .alerts = json_array(),
                     .problems = json_array(),
                     .intents = json_object(),
                     .entries = json_array(),
                     .places = json_object(),
                     .later = json_array()};
  p->seen = json_pack("{s:[], s:[], s:[], s:[], s:[], s:[], s:[]}", "actions", "undone", "asks", "notes", "tags", "files", "parameters");
}

/* Thousands of plays share one Redis; what was played is in the caller's hands. */
static void forget_keys(struct play *p) {
  static const char *const kinds[] = {"journal", "state", "sealed"};
  char key[3][ID_INCIDENT + 32];
  const char *incident = journal_incident(p->journal);
  for (size_t i = 0; i < 3; i++) snprintf(key[i], sizeof key[i], "tocsin:{%s}:%s", incident, kinds[i]);
  redis_call(p->st->redis, redis_lane(p->st->redis, key[0]), NULL, NULL, NULL, "UNLINK", key[0], key[1], key[2], NULL);
}

json_t *play_unattended(struct stage *st, const json_t *test) {
  struct play p;
  struct err err = {0};
  prepare(&p, st, test);
  p.unattended = true;
  if (set_up(&p, &err) < 0) json_array_append_new(p.problems, json_string(err.text));
  else drive(&p);
  json_t *result = json_pack("{s:s, s:O, s:O, s:I, s:I, s:O*, s:o}", "status", json_str_or(p.seen, "status", "not run"), "entries",
                             p.entries, "parameters", json_object_get(p.seen, "parameters"), "came", (json_int_t)p.came, "ended",
                             (json_int_t)clock_wall(&st->clock), "error", json_object_get(p.seen, "error"), "problems", p.problems);
  if (p.journal) forget_keys(&p);
  tear_down(&p);
  return result;
}

json_t *play(struct stage *st, const char *name, const json_t *test) {
  struct play p;
  struct err err = {0};
  prepare(&p, st, test);
  if (set_up(&p, &err) < 0) json_array_append_new(p.problems, json_string(err.text));
  else drive(&p);
  bool ended = p.over;
  if (ended) expect(json_object_get(test, "expect"), p.seen, p.problems);
  if (ended) replay(&p);
  /* An error that no expectation speaks of says more than the status that it led to. */
  const char *error = json_str(p.seen, "error");
  if (error && json_array_size(p.problems)) json_array_append_new(p.problems, json_sprintf("the run failed: %s", error));
  json_t *result = json_pack("{s:s, s:b, s:s, s:o}", "name", name, "ok", json_array_size(p.problems) == 0, "status",
                             json_str_or(p.seen, "status", "not run"), "problems", p.problems);
  tear_down(&p);
  return result;
}
