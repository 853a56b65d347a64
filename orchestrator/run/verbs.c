/* The verbs that do one thing and end: action, ask, the changes of the incident, hand_over, continue_as; and what all verbs share. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/slab.h"
#include "base/text.h"
#include "run/internal.h"

/* --- shared ----------------------------------------------------------------------------------------------------- */

json_t *failure_of(const char *kind, const char *message, bool retry) {
  return json_pack("{s:s, s:s, s:b}", "kind", kind, "message", message, "retry", retry);
}

const json_t *history_find(const json_t *history, enum kind kind) {
  size_t i;
  json_t *e;
  json_array_foreach(history, i, e) if (strcmp(json_str_or(e, "type", ""), kind_name(kind)) == 0) return json_object_get(e, "body");
  return NULL;
}

/* A refusal that this room wrote, as step_refuse does. */
bool verb_refused(const struct step *s, enum kind kind, const json_t *body) {
  return kind == KIND_ACTION_REFUSED && strcmp(json_str_or(body, "verb", ""), s->verb->name) == 0;
}

void refused_answer(const struct step *s, struct answer *out) {
  out->ok = false;
  out->value = failure_of(json_str_or(s->body, "kind", "refused"), json_str_or(s->body, "why", ""), false);
}

/* The entry's value went through the action's schema: a "30m" may stand there as milliseconds, a table may have got members. */
static bool value_agrees(const json_t *mine, const json_t *theirs) {
  const char *key;
  json_t *value;
  int64_t ms;
  if (json_is_string(mine) && json_is_integer(theirs))
    return duration_parse(json_string_value(mine), &ms) && ms == json_integer_value(theirs);
  if (json_is_number(mine) && json_is_number(theirs))
    return !(json_number_value(mine) < json_number_value(theirs)) && !(json_number_value(mine) > json_number_value(theirs));
  if (!json_is_object(mine) || !json_is_object(theirs)) return json_equal(mine, theirs);
  json_object_foreach((json_t *)(uintptr_t)mine, key,
                      value) if (!json_object_get(theirs, key) || !value_agrees(value, json_object_get(theirs, key))) return false;
  return true;
}

bool args_agree(const struct step *s, const json_t *args, const json_t *body, const char *const *keys) {
  const struct secrets *secrets = journal_store_of(s->run->journal)->secrets;
  json_t *shown = secrets ? secrets_redact_json(secrets, args) : json_incref((json_t *)(uintptr_t)args);
  bool same = true;
  for (; *keys && same; keys++) {
    const json_t *mine = json_object_get(shown, *keys), *theirs = json_object_get(body, *keys);
    if (mine && theirs) same = value_agrees(mine, theirs);
  }
  json_decref(shown);
  return same;
}

/* --- action ------------------------------------------------------------------------------------------------------- */

static bool same_call(const json_t *recorded, const json_t *params) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)recorded, key, value) {
    const json_t *given = json_object_get(params, key);
    if (given && !value_agrees(given, value)) return false;
  }
  return true;
}

/* What really came of this very call, once for each time that it was made; NULL: it never was. */
static const json_t *recorded(const struct run *run, json_t *calls, const json_t *params) {
  size_t i;
  json_t *call;
  json_array_foreach(calls, i, call) {
    if (!same_call(json_object_get(call, "params"), params)) continue;
    json_object_set(run->simulate, "", json_object_get(call, "answer")); /* kept alive until the next one */
    json_array_remove(calls, i);
    return json_object_get(run->simulate, "");
  }
  return NULL;
}

/* A list of simulated answers is used up call by call; the last one stays. */
static const json_t *simulated(const struct run *run, const char *connector, const char *action, const json_t *params) {
  char name[256];
  if (!json_object_size(run->simulate)) return NULL;
  snprintf(name, sizeof name, "%s.%s", connector ? connector : "", action ? action : "");
  json_t *given = json_object_get(run->simulate, name);
  if (json_object_get(given, "$recorded")) return recorded(run, json_object_get(given, "$recorded"), params);
  if (!json_is_array(given)) return given;
  json_t *first = json_array_get(given, 0);
  if (json_array_size(given) < 2) return first;
  json_object_set(run->simulate, "", first); /* kept alive until the next one */
  json_array_remove(given, 0);
  return json_object_get(run->simulate, "");
}

/* The digest that run.started names for it; NULL: what is in force. */
static const char *bound_to(const struct run *run, const char *connector) {
  if (run->pinned_by == run->all->registries) return NULL; /* what is in force */
  const struct connector *c = run->all->deps.registry ? registry_find(run->all->deps.registry, connector, NULL) : NULL;
  return c ? json_str(run->pins, c->instance) : NULL;
}

void verb_spec(const struct step *s, const char *path, const char *connector, const char *action, const json_t *params,
               const json_t *history, struct action_spec *out) {
  const struct run *run = s->run;
  *out = (struct action_spec){.journal = run->journal,
                              .run = run->number,
                              .step = path,
                              .actor = run->actor,
                              .playbook = run->playbook->name,
                              .connector = connector,
                              .version = connector ? bound_to(run, connector) : NULL,
                              .action = action,
                              .params = params,
                              .requester = run->requester,
                              .simulated = run->simulated,
                              .shadow = run->shadow,
                              .simulate = simulated(run, connector, action, params),
                              .history = history};
}

static void on_action(void *arg, const struct outcome *outcome) {
  struct step *s = arg;
  s->action = NULL;
  if (!s->ended) { /* an end without an entry of its own; a replay does it again, and comes to the same */
    json_t *body = json_pack("{s:b, s:O}", "ok", outcome->ok, outcome->ok ? "returns" : "failure", outcome->returns);
    step_ended(s, KIND_ACTION_OUTCOME, body, run_now(s->run), journal_standing(s->run->journal));
    json_decref(body);
  }
  step_answer(s, outcome->ok, (json_t *)(uintptr_t)outcome->returns); /* when its entry was appended as bytes: this is what was written */
  step_called(s);
}

/* The action has its own; what they are made of is still in the caches. */
static void args_let_go(struct step *s) {
  const char *connector = json_str_or(s->args, "connector", ""), *action = json_str_or(s->args, "action", "");
  size_t size = strlen(connector) + strlen(action) + 2;
  s->action_name = slab_alloc(size);
  if (!s->action_name) abort();
  char *end = s->action_name + size - 1;
  *text_add(text_add(text_add(s->action_name, end, connector), end, "."), end, action) = 0;
  json_decref(s->args);
  s->args = NULL;
}

static void action_go(struct step *s, const json_t *history) {
  struct action_spec spec;
  struct err err;
  verb_spec(s, s->path, json_str_or(s->args, "connector", ""), json_str_or(s->args, "action", ""), json_object_get(s->args, "params"),
            history, &spec);
  if (action_start(s->run->all->deps.actions, &spec, on_action, s, &s->action, &err) < 0) {
    s->action = NULL;
    step_refuse(s, err_name(err.code), err.text);
  }
  args_let_go(s);
}

static void action_begin(struct step *s) { action_go(s, NULL); }

static bool action_ends(const struct step *s, enum kind kind, const json_t *body) {
  return kind == KIND_ACTION_OUTCOME || kind == KIND_ACTION_REFUSED;
}

static void action_answer(const struct step *s, struct answer *out) {
  if (s->kind == KIND_ACTION_REFUSED) {
    refused_answer(s, out);
    return;
  }
  out->ok = json_bool_or(s->body, "ok", false);
  out->value = json_incref(json_object_get(s->body, out->ok ? "returns" : "failure"));
  if (!out->ok && !out->value) out->value = failure_of("unreadable", json_str_or(s->body, "error", "the outcome could not be kept"), false);
}

static bool same_connector(const struct step *s, const char *recorded) {
  const char *called = json_str_or(s->args, "connector", "");
  if (strcmp(called, recorded) == 0) return true;
  const struct connector *c = run_connector(s->run, called, NULL);
  return c && strcmp(c->instance, recorded) == 0;
}

/* The entries hold the parameters with defaults filled in; what the playbook gave must be among them as it was. */
static bool same_params(const struct step *s, const json_t *recorded) {
  static const char *const core[] = {"because", "lift_after"};
  const char *name;
  json_t *value;
  json_object_foreach(json_object_get(s->args, "params"), name, value) {
    const char *one[] = {name, NULL};
    if (strcmp(name, core[0]) == 0 || strcmp(name, core[1]) == 0) continue;
    if (!args_agree(s, json_object_get(s->args, "params"), recorded, one)) return false;
  }
  return true;
}

static bool action_same(const struct step *s, const json_t *history) {
  size_t i;
  json_t *e;
  json_array_foreach(history, i, e) {
    const json_t *body = json_object_get(e, "body"), *params = json_object_get(body, "params");
    const char *connector = json_str(body, "connector"), *action = json_str(body, "action");
    enum kind kind = kind_by_name(json_str_or(e, "type", ""));
    if (kind == KIND_WAIT_STARTED || kind == KIND_PARALLEL_STARTED || kind <= KIND_INCIDENT_REOPENED || json_str(body, "undo_of"))
      return false;
    if (connector && !same_connector(s, connector)) return false;
    if (action && strcmp(action, json_str_or(s->args, "action", "")) != 0) return false;
    if (params && !same_params(s, params)) return false;
    if (kind == KIND_QUESTION_ASKED && strcmp(json_str_or(body, "kind", ""), "ask") == 0) return false;
  }
  return true;
}

static const struct verb verb_action = {"action", action_begin, action_ends, action_answer, action_same, action_go};

/* --- ask ------------------------------------------------------------------------------------------------------------ */

static void on_answer(void *arg, const char *answer, const char *by) {
  struct step *s = arg;
  s->question = NULL;
  step_called(s);
}

static void ask_begin(struct step *s) {
  struct question_spec spec = {.journal = s->run->journal,
                               .run = s->run->number,
                               .step = s->path,
                               .actor = s->run->actor,
                               .kind = "ask",
                               .text = json_str_or(s->args, "text", "?"),
                               .options = json_object_get(s->args, "options"),
                               .role = json_str(s->args, "role"),
                               .within_ms = json_int_or(s->args, "within", 0),
                               .otherwise = json_str(s->args, "otherwise"),
                               .approvals = (unsigned)json_int_or(s->args, "approvals", 0)};
  s->question = question_ask(s->run->all->deps.questions, &spec, on_answer, s);
}

static void ask_again(struct step *s, const json_t *history) { ask_begin(s); }

static bool ask_ends(const struct step *s, enum kind kind, const json_t *body) {
  return kind == KIND_QUESTION_EXPIRED || (kind == KIND_QUESTION_ANSWERED && !json_bool_or(body, "more", false));
}

static void ask_answer(const struct step *s, struct answer *out) {
  out->value = json_string(json_str_or(s->body, "answer", ""));
  out->trust = SCRIPT_DATA;
}

static bool ask_same(const struct step *s, const json_t *history) {
  static const char *const keys[] = {"text", "options", "otherwise", "role", NULL};
  const json_t *asked = history_find(history, KIND_QUESTION_ASKED);
  return asked && strcmp(json_str_or(asked, "kind", ""), "ask") == 0 && args_agree(s, s->args, asked, keys);
}

static const struct verb verb_ask = {"ask", ask_begin, ask_ends, ask_answer, ask_same, ask_again};

/* --- changes of the incident ------------------------------------------------------------------------------------------ */

int run_change(struct journal *journal, const char *verb, const json_t *args, const char *actor, unsigned run, const char *step,
               enum kind *ret_kind, struct err *err) {
  static const struct {
    const char *verb;
    enum kind kind;
  } kinds[] = {{"severity", KIND_INCIDENT_SEVERITY},
               {"assign", KIND_INCIDENT_ASSIGNED},
               {"tag", KIND_INCIDENT_TAGGED},
               {"close", KIND_INCIDENT_CLOSED}};
  enum kind kind = KIND_INCIDENT_NOTED;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strcmp(verb, kinds[i].verb) == 0) kind = kinds[i].kind;
  const char *severity = json_str_or(args, "severity", "");
  int64_t id = kind == KIND_INCIDENT_SEVERITY ? severity_by_name(severity) : 0;
  if (id < 0) return err_set(err, ERR_INVALID, "\"%s\" is no severity; say informational, low, medium, high, critical or fatal", severity);
  json_t *body = json_deep_copy(args);
  if (kind == KIND_INCIDENT_SEVERITY) json_object_set_new(body, "severity_id", json_integer(id));
  if (kind == KIND_INCIDENT_ASSIGNED) json_object_set(body, "owner", json_object_get(args, "to"));
  journal_add(journal, kind, actor, run, step, body);
  *ret_kind = kind;
  return 0;
}

static void change_begin(struct step *s) {
  const struct run_world *world = &s->run->all->deps.world;
  struct err err;
  if (world->change(world->arg, s->run->journal, s->verb->name, s->args, s->run->actor, s->run->number, s->path, &err) < 0) {
    step_refuse(s, err_name(err.code), err.text);
    return;
  }
  if (!s->ended) step_ended(s, KIND_COUNT, NULL, run_now(s->run), journal_standing(s->run->journal)); /* it was so already */
  step_called(s);
}

static void change_again(struct step *s, const json_t *history) { change_begin(s); }

static bool change_ends(const struct step *s, enum kind kind, const json_t *body) {
  return kind <= KIND_INCIDENT_REOPENED || verb_refused(s, kind, body);
}

static void change_answer(const struct step *s, struct answer *out) {
  if (s->kind == KIND_ACTION_REFUSED) refused_answer(s, out);
  else out->value = json_true();
}

static bool change_same(const struct step *s, const json_t *history) {
  static const struct {
    const char *verb;
    enum kind kind;
  } kinds[] = {{"note", KIND_INCIDENT_NOTED},
               {"severity", KIND_INCIDENT_SEVERITY},
               {"assign", KIND_INCIDENT_ASSIGNED},
               {"tag", KIND_INCIDENT_TAGGED},
               {"close", KIND_INCIDENT_CLOSED}};
  static const char *const keys[] = {"text", "severity", "tag", "verdict", NULL};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strcmp(kinds[i].verb, s->verb->name) != 0) continue;
    const json_t *done = history_find(history, kinds[i].kind), *refused = history_find(history, KIND_ACTION_REFUSED);
    return done ? args_agree(s, s->args, done, keys) : refused && strcmp(json_str_or(refused, "verb", ""), s->verb->name) == 0;
  }
  return false;
}

#define CHANGE(name)                                                                                                                       \
  { name, change_begin, change_ends, change_answer, change_same, change_again }
static const struct verb changes[] = {CHANGE("note"), CHANGE("severity"), CHANGE("assign"), CHANGE("tag"), CHANGE("close")};

/* --- verbs that end the run -------------------------------------------------------------------------------------------- */

static void hand_over_begin(struct step *s) {
  struct run *run = s->run;
  json_t *body = json_pack("{s:s, s:s}", "text", json_str_or(s->args, "text", "the playbook handed over"), "at", s->path);
  json_t *why = json_object_get(s->args, "why");
  if (why) json_object_set(body, "why", why);
  if (run->line) json_object_set_new(body, "line", json_integer(run->line));
  run_end(run, KIND_RUN_HANDED_OVER, run->actor, body, "handed_over");
}

static void continue_begin(struct step *s) {
  struct run *run = s->run;
  struct err err;
  json_t *params = NULL, *nothing = json_object(), *given = json_object_get(s->args, "params");
  int r = schema_check(json_object_get(run->playbook->json, "params"), given ? given : nothing, "continue_as", &params, &err);
  json_decref(nothing);
  if (r < 0) run_failed(run, err.text, NULL, run->line); /* nothing of the script comes after it that could be told */
  else run_restart(run, params);
}

/* They leave no step behind in the journal. */
static bool never_ends(const struct step *s, enum kind kind, const json_t *body) { return false; }
static bool never_same(const struct step *s, const json_t *history) { return false; }
static void hand_over_again(struct step *s, const json_t *history) { hand_over_begin(s); }
static void continue_again(struct step *s, const json_t *history) { continue_begin(s); }

static const struct verb verb_hand_over = {"hand_over", hand_over_begin, never_ends, refused_answer, never_same, hand_over_again};
static const struct verb verb_continue = {"continue_as", continue_begin, never_ends, refused_answer, never_same, continue_again};

/* --- the table --------------------------------------------------------------------------------------------------------- */

bool verb_at_once(const struct verb *verb) { return verb == &verb_action; }

const struct verb *verb_find(const char *name) {
  static const struct verb *const verbs[] = {&verb_action,  &verb_ask,      &verb_wait,      &verb_wait_for, &verb_poll,   &verb_undo,
                                             &verb_release, &verb_parallel, &verb_hand_over, &verb_continue, &verb_collect};
  for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
    if (strcmp(verbs[i]->name, name) == 0) return verbs[i];
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
    if (strcmp(changes[i].name, name) == 0) return &changes[i];
  return NULL;
}
