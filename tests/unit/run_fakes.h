/* run_fakes.h: what test_run.c puts in place of Lua, Redis, actions and questions, so that the run room is tested by itself.
 *
 * A playbook is a list of verbs; a fake script yields them one after the other and keeps a transcript: for each burst the step that woke it, what it
 * was given, and what it saw. Actions and answers come in later turns, always the same for the same call. */
#ifndef RUN_FAKES_H
#define RUN_FAKES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "journal/internal.h"
#include "run/run.h"

struct line {
  const char *verb, *args; /* verb "raise": the script fails with args; NULL ends the list */
};

struct program {
  const struct line *main;
  const struct line *branches[4]; /* of every parallel step */
};

struct script {
  const struct program *program;
  const struct script_host *host;
  struct script_thread *threads;
};

struct script_thread {
  struct script *script;
  const struct line *at;
  char name[16];
  struct script_thread *next;
};

static struct {
  struct loop *loop;
  const struct program *program; /* for the next script */
  json_t *transcript;
  struct journal *journal;
  json_t *entries; /* all of the journal's, in the form of run_take_up */
  json_t *started; /* steps whose action was started, and how: "1/3" -> "new"|"history" */
  json_t *alerts;
  unsigned scripts; /* alive */
  unsigned kept;    /* files on record */
  bool hold_files;  /* the next is held */
  void *held;
  bool hold_actions; /* their callbacks do not come */
  const char *slow;  /* the step whose outcome is on record two turns before its callback */
  const char *tells; /* in place of "any", what a read finds */
  char versions[64]; /* of the connector, as actions asked for them: "-" for what is in force */
} fake;

/* --- the script ------------------------------------------------------------------------------------------------- */

static json_t *seen(struct script *s) {
  static const char *const members[] = {"severity", "status", "alert_count"};
  json_t *all = json_object(), *value = NULL;
  for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
    json_t *name = json_string(members[i]);
    assert_int_equal(s->host->look(s->host->arg, "incident", name, &value, NULL), 0);
    json_object_set_new(all, members[i], value);
    json_decref(name);
  }
  assert_int_equal(s->host->look(s->host->arg, "now", NULL, &value, NULL), 0);
  json_object_set_new(all, "now", value);
  assert_int_equal(s->host->look(s->host->arg, "random", NULL, &value, NULL), 0);
  json_object_set_new(all, "random", value);
  return all;
}

static void burst(struct script_thread *t, const char *step, bool ok, const json_t *given, struct script_yield *out) {
  json_t *line = seen(t->script);
  json_object_set_new(line, "thread", json_string(t->name));
  json_object_set_new(line, "step", json_string(step));
  json_object_set_new(line, "ok", json_boolean(ok));
  json_object_set_new(line, "given", given ? json_deep_copy(given) : json_null());
  json_array_append_new(fake.transcript, line);
  *out = (struct script_yield){.status = SCRIPT_DONE};
  if (!t->at || !t->at->verb) {
    out->args = json_string(t->name);
  } else if (strcmp(t->at->verb, "raise") == 0) {
    out->status = SCRIPT_FAILED;
    err_set(&out->err, ERR_INVALID, "%s", t->at->args);
    out->traceback = strdup("traceback");
    out->line = 7;
  } else {
    out->status = SCRIPT_YIELDED;
    out->verb = t->at->verb;
    assert_int_equal(json_parse(t->at->args, strlen(t->at->args), &out->args, NULL), 0);
    t->at++;
  }
}

static struct script_thread *thread_new(struct script *s, const struct line *at, const char *name) {
  struct script_thread *t = calloc(1, sizeof *t);
  assert_non_null(t);
  *t = (struct script_thread){.script = s, .at = at, .next = s->threads};
  snprintf(t->name, sizeof t->name, "%s", name);
  s->threads = t;
  return t;
}

int script_new(const struct declaration *playbook, const json_t *uses, const struct script_limits *limits, const struct script_host *host,
               struct script **ret, struct err *err) {
  struct script *s = calloc(1, sizeof *s);
  assert_non_null(s);
  *s = (struct script){.program = fake.program, .host = host};
  fake.scripts++;
  *ret = s;
  return 0;
}

void script_free(struct script *s) {
  if (!s) return;
  while (s->threads) {
    struct script_thread *t = s->threads;
    s->threads = t->next;
    free(t);
  }
  free(s);
  fake.scripts--;
}

void script_trim(void) {}
void script_cover(struct script *s, struct coverage *c) {}

size_t script_memory(const struct script *s, size_t *ret_peak) { return *ret_peak = 1; }

struct script_thread *script_start(struct script *s, const json_t *params, const json_t *settings, struct script_yield *out) {
  struct script_thread *t = thread_new(s, s->program->main, "main");
  burst(t, "", true, params, out);
  return t;
}

void script_resume(struct script_thread *t, const char *step, bool ok, const json_t *value, enum script_trust trust,
                   struct script_yield *out) {
  burst(t, step, ok, value, out);
}

struct script_thread *script_branch(struct script_thread *t, size_t i, struct script_yield *out) {
  char name[16];
  snprintf(name, sizeof name, "branch %zu", i);
  struct script_thread *b = thread_new(t->script, t->script->program->branches[i - 1], name);
  burst(b, "", true, NULL, out);
  return b;
}

void script_yield_release(struct script_yield *y) {
  json_decref(y->args);
  free(y->traceback);
}

int schema_check(const json_t *schema, const json_t *value, const char *where, json_t **ret, struct err *err) {
  *ret = json_deep_copy(value);
  return 0;
}

/* --- connectors ------------------------------------------------------------------------------------------------------ */

static struct declaration connector_declaration = {.name = (char *)"ldap", .digest = "cc"};
static const struct connector connector = {.instance = "corp", .name = "ldap", .declaration = &connector_declaration};

const struct connector *registry_find(const struct registry *r, const char *name, struct err *err) {
  if (strcmp(name, "ldap") == 0) return &connector;
  err_set(err, ERR_NOT_FOUND, "there is no connector `%s`", name);
  return NULL;
}

const struct connector *registry_find_version(const struct registry *r, const char *name, const char *digest, struct err *err) {
  return strcmp(name, connector.instance) == 0 ? &connector : registry_find(r, name, err);
}

const json_t *registry_action(const struct connector *c, const char *action, struct err *err) {
  static json_t *read, *contain;
  if (!read) read = json_pack("{s:s}", "effect", "read");
  if (!contain) contain = json_pack("{s:s}", "effect", "contain");
  return strcmp(action, "find") == 0 ? read : contain;
}

/* --- actions: an intent, a turn later an outcome, a turn later the callback ---------------------------------------------- */

struct action {
  char step[ID_STEP], of[ID_PATH], name[32];
  unsigned run;
  const char *actor;
  action_cb *cb;
  void *arg;
  int turns;
  bool ok, began, reads, shadow;
  json_t *returns;
};

static void action_turn(void *arg);

static void action_gone(struct action *a) {
  loop_undefer(fake.loop, action_turn, a);
  json_decref(a->returns);
  free(a);
}

static struct action *action_make(const struct action_spec *spec, action_cb *cb, void *arg) {
  struct action *a = calloc(1, sizeof *a);
  assert_non_null(a);
  *a = (struct action){.run = spec->run, .actor = spec->actor, .cb = cb, .arg = arg, .ok = true, .shadow = spec->shadow};
  snprintf(a->step, sizeof a->step, "%s", spec->step);
  snprintf(a->name, sizeof a->name, "%s", spec->action ? spec->action : "");
  for (size_t i = 0; i < json_array_size(spec->history); i++)
    if (strcmp(json_str_or(json_array_get(spec->history, i), "type", ""), "action.intended") == 0) a->began = true;
  char at[ID_PATH];
  snprintf(at, sizeof at, "%u/%s", spec->run, spec->step);
  json_object_set_new(fake.started, at, json_string(a->shadow ? "shadow" : a->began ? "history" : "new"));
  loop_defer(fake.loop, action_turn, a);
  return a;
}

/* As bytes, as the action room does. */
static void outcome_record(const struct action *a) {
  bool contains = strncmp(a->name, "lock", 4) == 0;
  json_t *body = json_pack("{s:b, s:O, s:s, s:s, s:s*}", "ok", a->ok, a->ok ? "returns" : "failure", a->returns, "connector", "corp",
                           "action", a->name, "contains", contains ? "active" : NULL);
  struct buf bytes;
  buf_init(&bytes, 4096);
  json_write(body, &bytes);
  struct entry_spec spec = {
      .kind = KIND_ACTION_OUTCOME, .actor = a->actor, .run = a->run, .step = a->step, .written = &bytes, .bare = !contains};
  assert_non_null(journal_append(fake.journal, &spec, NULL));
  buf_release(&bytes);
  json_decref(body);
}

static void action_record(struct action *a) {
  if (a->shadow && !a->reads) {
    journal_add(fake.journal, KIND_RUN_WOULD, a->actor, a->run, a->step,
                json_pack("{s:s, s:s, s:s, s:s, s:{s:s, s:i}, s:b, s:O, s:s?}", "verb", a->of[0] ? "undo" : "action", "connector", "corp",
                          "action", a->name, "effect", "contain", "params", "uid", "alice", "filled_in", 1, "ok", a->ok,
                          a->ok ? "returns" : "failure", a->returns, "undo_of", a->of[0] ? a->of : NULL));
    return;
  }
  if (a->of[0]) {
    journal_add(fake.journal, KIND_CONTAINMENT_RELEASED, a->actor, a->run, a->step, json_pack("{s:s}", "of", a->of));
    return;
  }
  outcome_record(a);
}

static void action_turn(void *arg) {
  struct action *a = arg;
  int slow = fake.slow && strcmp(fake.slow, a->step) == 0 ? 3 : 0;
  if (a->turns == 0) {
    if (!a->began && !a->reads && !a->of[0] && !a->shadow)
      journal_add(fake.journal, KIND_ACTION_INTENDED, a->actor, a->run, a->step,
                  json_pack("{s:s, s:s, s:s, s:{s:s, s:i}}", "connector", "corp", "action", a->name, "effect", "contain", "params", "uid",
                            "alice", "filled_in", 1));
  } else if (a->turns == 1) {
    action_record(a);
  } else if (a->turns == 2 + slow) {
    if (fake.hold_actions) return;
    struct outcome outcome = {.ok = a->ok, .returns = a->returns};
    a->cb(a->arg, &outcome);
    action_gone(a);
    return;
  }
  a->turns++;
  loop_defer(fake.loop, action_turn, a);
}

int action_start(struct actions *all, const struct action_spec *spec, action_cb *cb, void *arg, struct action **ret, struct err *err) {
  if (strcmp(spec->action, "broken") == 0) return err_set(err, ERR_INVALID, "corp.broken: uid is missing");
  struct action *a = action_make(spec, cb, arg);
  size_t asked = strlen(fake.versions);
  snprintf(fake.versions + asked, sizeof fake.versions - asked, "%s ", spec->version ? spec->version : "-");
  const char *dot = strrchr(spec->step, '.');
  int attempt = dot ? (int)strtol(dot + 1, NULL, 10) : 0;
  a->ok = strcmp(spec->action, "fail") != 0;
  a->reads = strcmp(spec->action, "find") == 0;
  a->returns = a->ok ? json_pack("{s:s, s:i}", "step",
                                 !a->reads    ? spec->step
                                 : fake.tells ? fake.tells
                                              : "any",
                                 "n", attempt < 2 ? attempt : 2)
                     : json_pack("{s:s, s:s}", "kind", "refused", "message", "no");
  *ret = a;
  return 0;
}

void action_abandon(struct action *a) { action_gone(a); }

int action_release(struct actions *all, const struct action_spec *spec, const char *of, action_cb *cb, void *arg, struct action **ret,
                   struct err *err) {
  const json_t *c = json_object_get(json_object_get(journal_state(fake.journal), "containments"), of);
  if (!c || strcmp(json_str_or(c, "status", ""), "active") != 0) return err_set(err, ERR_NOT_FOUND, "%s contains nothing", of);
  struct action *a = action_make(spec, cb, arg);
  snprintf(a->of, sizeof a->of, "%s", of);
  a->returns = json_pack("{s:b}", "released", 1);
  *ret = NULL;
  return 0;
}

int action_would_undo(struct actions *all, const struct action_spec *spec, const char *of, const json_t *done, action_cb *cb, void *arg,
                      struct action **ret, struct err *err) {
  if (strcmp(json_str_or(done, "action", ""), "lock_for_ever") == 0) return err_set(err, ERR_DENIED, "a person would be asked");
  struct action *a = action_make(spec, cb, arg);
  assert_true(spec->shadow);
  snprintf(a->of, sizeof a->of, "%s", of);
  snprintf(a->name, sizeof a->name, "un%s", json_str_or(done, "action", ""));
  a->returns = json_pack("{s:b}", "already", 0);
  *ret = a;
  return 0;
}

/* --- questions: answered "keep" two turns later ---------------------------------------------------------------------------- */

struct question {
  char step[ID_STEP];
  unsigned run;
  question_cb *cb;
  void *arg;
  int turns;
};

static void question_turn(void *arg) {
  struct question *q = arg;
  if (q->turns++ == 0) {
    loop_defer(fake.loop, question_turn, q);
    return;
  }
  if (q->turns == 2) {
    journal_add(fake.journal, KIND_QUESTION_ANSWERED, "person:7f3a", q->run, q->step, json_pack("{s:s}", "answer", "keep"));
    loop_defer(fake.loop, question_turn, q);
    return;
  }
  q->cb(q->arg, "keep", "person:7f3a");
  free(q);
}

struct question *question_ask(struct questions *qs, const struct question_spec *spec, question_cb *cb, void *arg) {
  struct question *q = calloc(1, sizeof *q);
  char at[ID_PATH];
  assert_non_null(q);
  *q = (struct question){.run = spec->run, .cb = cb, .arg = arg};
  snprintf(q->step, sizeof q->step, "%s", spec->step);
  snprintf(at, sizeof at, "%u/%s", spec->run, spec->step);
  if (!json_object_get(json_object_get(journal_state(spec->journal), "questions"), at))
    journal_add(spec->journal, KIND_QUESTION_ASKED, spec->actor, spec->run, spec->step,
                json_pack("{s:s, s:s, s:s, s:s}", "kind", "ask", "text", spec->text, "role", spec->role ? spec->role : "responder",
                          "otherwise", spec->otherwise));
  loop_defer(fake.loop, question_turn, q);
  return q;
}

size_t questions_count(const struct questions *qs) { return 1; } /* so that its state is looked at */
void questions_look(struct questions *qs, const struct clock *clock) {}

const struct lapses *questions_lapses(const struct questions *qs) {
  static const struct lapses none;
  return &none;
}

bool question_sleeps(const struct question *q, int64_t *ret_due) {
  *ret_due = 0;
  return true;
}

void question_drop(struct question *q) {
  if (!q) return;
  loop_undefer(fake.loop, question_turn, q);
  free(q);
}

/* --- Redis: every append is acknowledged in the next turn ---------------------------------------------------------------------- */

struct ack {
  redis_cb *cb;
  void *arg;
};

static void ack_turn(void *arg) {
  struct ack *a = arg;
  a->cb(a->arg, NULL, NULL);
  free(a);
}

int redis_append(struct redis *link, unsigned lane, const char *journal, const char *state_key, const char *prev, uint64_t first_seq,
                 const struct redis_entry *entries, size_t count, const char *state, size_t state_len, redis_cb *cb, void *arg,
                 struct err *err) {
  struct ack *a = calloc(1, sizeof *a);
  assert_non_null(a);
  *a = (struct ack){cb, arg};
  loop_defer(fake.loop, ack_turn, a);
  return 0;
}

uint64_t redis_bond(const struct redis *link, unsigned lane) { return 0; }
int redis_append_item(struct redis *link, unsigned lane, const char *journal, uint64_t first_seq, const struct redis_entry *entries,
                      size_t count, redis_cb *cb, void *arg, struct err *err) {
  return err_set(err, ERR_UNAVAILABLE, "never without a bond");
}
unsigned redis_lane(const struct redis *link, const char *key) { return 0; }
bool redis_lane_up(const struct redis *link, unsigned lane) { return true; }
int redis_call(struct redis *link, unsigned lane, redis_cb *cb, void *arg, struct err *err, ...) {
  return err_set(err, ERR_UNAVAILABLE, "no Redis here");
}
int redis_call_safe(struct redis *link, unsigned lane, redis_cb *cb, void *arg, struct err *err, ...) {
  return err_set(err, ERR_UNAVAILABLE, "no Redis here");
}
bool redis_replicated(const struct redis *link) { return false; }
int redis_barrier(struct redis *link, unsigned lane, redis_cb *cb, void *arg, struct err *err) {
  return err_set(err, ERR_UNAVAILABLE, "no Redis here");
}
enum redis_type redis_type(const struct redis_value *v) { return REDIS_NIL; }
const char *redis_string(const struct redis_value *v, size_t *ret_len) {
  if (ret_len) *ret_len = 0;
  return "";
}
size_t redis_count(const struct redis_value *v) { return 0; }
int64_t redis_integer(const struct redis_value *v) { return 0; }
const struct redis_value *redis_item(const struct redis_value *v, size_t i) { return NULL; }

#endif
