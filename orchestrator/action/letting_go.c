/* Letting go of one containment: the last of all that hold the target sends its undo, in the version of the connector that contained it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "action/internal.h"
#include "base/id.h"
#include "base/json.h"

enum { LET_GO_AGAIN_MS = 250 };

struct release {
  struct actions *all;
  struct journal *journal;
  unsigned run;
  char step[ID_STEP], of[ID_PATH];
  char *actor, *playbook, *requester;
  bool simulated;
  struct question *question;
  json_t *history;
  action_cb *cb;
  void *arg;
  json_t *returns;
  bool sent;             /* its undo is under way */
  bool any_version;      /* a person agreed to the connector in force, where that of the do is not to be found */
  unsigned agreed;       /* "release", as people answered before the process ended */
  bool ok, asking, gone; /* Redis is being asked who else holds it; its journal went meanwhile */
  struct timer *again;   /* Redis was not there to answer */
  TAILQ_ENTRY(release) next;
};

static void release_begin(void *arg);
static void release_called_back(void *arg);

static void release_free(struct release *r) {
  loop_undefer(r->all->deps.loop, release_begin, r);
  loop_undefer(r->all->deps.loop, release_called_back, r);
  TAILQ_REMOVE(&r->all->releases, r, next);
  timer_free(r->again);
  question_drop(r->question);
  json_decref(r->history);
  json_decref(r->returns);
  free(r->actor);
  free(r->playbook);
  free(r->requester);
  free(r);
}

static void release_called_back(void *arg) {
  struct release *r = arg;
  struct outcome outcome = {.ok = r->ok, .returns = r->returns};
  r->gone = true;
  if (r->cb) r->cb(r->arg, &outcome);
  if (!r->asking) release_free(r);
}

void ledger_orphan(struct actions *a, const struct journal *journal) {
  struct release *r, *next;
  for (r = TAILQ_FIRST(&a->releases); r; r = next) {
    next = TAILQ_NEXT(r, next);
    if ((journal && r->journal != journal) || r->gone) continue;
    json_decref(r->returns);
    r->ok = false;
    r->returns = failure_new("unloaded", "the incident was let go of before it was lifted", true);
    release_called_back(r);
  }
}

static void release_end(struct release *r, bool ok, json_t *returns_take) {
  r->ok = ok;
  r->returns = returns_take;
  loop_defer(r->all->deps.loop, release_called_back, r);
}

bool ledger_rests(const struct actions *a) {
  const struct release *r;
  TAILQ_FOREACH(r, &a->releases, next) if (!r->question && !r->sent) return false;
  return true;
}

static const json_t *containment(const struct release *r) {
  return json_object_get(json_object_get(journal_state(r->journal), "containments"), r->of);
}

static void still(struct release *r, const char *why) {
  ledger_hold_again(r->all, journal_incident(r->journal), r->of); /* it had let go, to see whether it was the last */
  journal_add(r->journal, KIND_CONTAINMENT_STILL, r->actor, r->run, r->step, json_pack("{s:s, s:s}", "of", r->of, "why", why));
  release_end(r, false, failure_new("still_contained", why, true));
}

static void on_undone(void *arg, const struct outcome *outcome) {
  struct release *r = arg;
  r->sent = false;
  if (!outcome->ok) {
    still(r, json_str_or(outcome->returns, "message", "the undo failed"));
    return;
  }
  journal_add(r->journal, KIND_CONTAINMENT_RELEASED, r->actor, r->run, r->step,
              json_pack("{s:s, s:O}", "of", r->of, "returns", outcome->returns));
  ledger_forget(r->all, journal_incident(r->journal), r->of);
  release_end(r, true, json_pack("{s:b}", "released", 1));
}

/* The undo's parameters, purely from what was done: its own function, or the parameters that both share by name. */
int undo_params(const struct connector *c, const char *undo, const json_t *done, json_t **ret, struct err *err) {
  const char *action = json_str_or(done, "action", ""), *key;
  const json_t *declaration = json_object_get(json_object_get(c->declaration->json, "actions"), action);
  const json_t *schema = json_object_get(json_object_get(json_object_get(c->declaration->json, "actions"), undo), "params");
  json_t *returns = json_object_get(done, "returns"), *params = NULL, *value;
  if (json_object_get(declaration, "undo_params")) {
    char function[256];
    json_t *failure = NULL, *nothing = json_object();
    json_t *args = json_pack("[O, O]", json_object_get(done, "params"), returns ? returns : nothing);
    snprintf(function, sizeof function, "actions.%s.undo_params", action);
    int result = connector_call(c->state, function, args, SCRIPT_TRUSTED, &params, &failure, err);
    json_decref(args);
    json_decref(nothing);
    json_decref(failure);
    if (result < 0) return result;
  }
  if (!params) {
    params = json_object();
    json_object_foreach(json_object_get(done, "params"), key, value) if (json_object_get(schema, key)) json_object_set(params, key, value);
  }
  *ret = params;
  return 0;
}

/* The connector that contained it, in the version that did; NULL with err. */
static const struct connector *connector_of(const struct actions *a, const json_t *done, struct err *err) {
  return registry_find_version(a->deps.registry, json_str_or(done, "connector", ""), json_str(done, "version"), err);
}

static const struct connector *connector_in_force(const struct actions *a, const json_t *done, struct err *err) {
  return registry_find(a->deps.registry, json_str_or(done, "connector", ""), err);
}

static void undo_start(struct release *r, const char *connector, const char *version, const char *action, const json_t *params) {
  struct err err;
  struct action *started;
  struct action_spec spec = {.journal = r->journal,
                             .run = r->run,
                             .step = r->step,
                             .actor = r->actor,
                             .playbook = r->playbook,
                             .connector = connector,
                             .version = version,
                             .action = action,
                             .params = params,
                             .requester = r->requester,
                             .simulated = r->simulated || json_bool_or(containment(r), "simulated", false), /* nothing real was done */
                             .undo_of = r->of,
                             .history = r->history};
  r->sent = true;
  if (action_start(r->all, &spec, on_undone, r, &started, &err) < 0) r->sent = false, still(r, err.text);
}

static void undo(struct release *r) {
  struct err err;
  const json_t *done = containment(r);
  json_t *params = NULL;
  const struct connector *c = r->any_version ? connector_in_force(r->all, done, &err) : connector_of(r->all, done, &err);
  const json_t *declaration = c ? registry_action(c, json_str_or(done, "action", ""), &err) : NULL;
  const char *name = json_str(declaration, "undo");
  if (!declaration) {
    still(r, err.text);
  } else if (!name) {
    still(r, json_str_or(declaration, "recover", "this action has no undo; a person must"));
  } else if (undo_params(c, name, done, &params, &err) < 0) {
    still(r, err.text);
  } else {
    if (!json_object_get(params, "because")) json_object_set_new(params, "because", json_string("lifting a containment"));
    undo_start(r, c->instance, c->declaration->digest, name, params);
  }
  json_decref(params);
}

/* Its undo may have left before the process ended: that is found out by what was sent then, whoever holds the target by now. */
static bool undo_taken_up(struct release *r) {
  const json_t *intent = history_in_doubt(r->history);
  if (!intent) return false;
  undo_start(r, json_str_or(intent, "connector", ""), json_str(intent, "version"), json_str_or(intent, "action", ""),
             json_object_get(intent, "params"));
  return true;
}

/* A person has said so, before the process ended. */
static bool agreed_before(struct release *r) {
  if (!r->agreed) return false;
  r->agreed--;
  return true;
}

static unsigned agreements(const json_t *history) {
  unsigned count = 0;
  size_t i;
  json_t *e;
  json_array_foreach(history, i, e) count += strcmp(json_str_or(e, "type", ""), "question.answered") == 0 &&
                                             strcmp(json_str_or(json_object_get(e, "body"), "answer", ""), "release") == 0;
  return count;
}

static void on_found_answer(void *arg, const char *answer, const char *by) {
  struct release *r = arg;
  r->question = NULL;
  if (strcmp(answer, "release") == 0) undo(r);
  else release_end(r, false, failure_new("kept", "it was contained before we came, and stays so", false));
}

static void on_version_answer(void *arg, const char *answer, const char *by) {
  struct release *r = arg;
  r->question = NULL;
  if (strcmp(answer, "release") != 0) {
    release_end(r, false, failure_new("kept", "the connector that contained it is not to be found, and it stays so", false));
    return;
  }
  r->any_version = true;
  release_begin(r);
}

static void on_recovered(void *arg, const char *answer, const char *by) {
  struct release *r = arg;
  r->question = NULL;
  if (strcmp(answer, "recovered") != 0) {
    release_end(r, false, failure_new("kept", "a person has not recovered it yet", false));
    return;
  }
  journal_add(r->journal, KIND_CONTAINMENT_RELEASED, by ? by : r->actor, r->run, r->step,
              json_pack("{s:s, s:b}", "of", r->of, "recovered", 1));
  ledger_forget(r->all, journal_incident(r->journal), r->of);
  release_end(r, true, json_pack("{s:b}", "released", 1));
}

static void release_ask(struct release *r, const char *text, json_t *options_take, question_cb *cb) {
  struct question_spec spec = {.journal = r->journal,
                               .run = r->run,
                               .step = r->step,
                               .actor = r->actor,
                               .kind = "release",
                               .text = text,
                               .options = options_take,
                               .about = containment(r)};
  r->question = question_ask(r->all->deps.questions, &spec, cb, r);
  json_decref(options_take);
}

static void ask_found(struct release *r) {
  char text[512];
  char *target = json_text(json_object_get(containment(r), "target"));
  snprintf(text, sizeof text, "%.200s was contained when we came (or nobody knows whether we did it). Release it all the same?",
           target ? target : "This target");
  free(target);
  release_ask(r, text, json_pack("[s, s]", "release", "keep"), on_found_answer);
}

/* Never silently by another version of the connector than the one that contained it. */
static void ask_version(struct release *r, const struct connector *force) {
  char text[700];
  const json_t *c = containment(r);
  char *target = json_text(json_object_get(c, "target"));
  snprintf(text, sizeof text,
           "%.200s was contained by %.64s of digest %.12s, which is not to be found any more; in force is %.12s. Release it with that one?",
           target ? target : "This target", force->instance, json_str_or(c, "version", ""), force->declaration->digest);
  free(target);
  release_ask(r, text, json_pack("[s, s]", "release", "keep"), on_version_answer);
}

/* What the action says a person does in place of an undo; NULL when it has one. */
static const char *recover_text(const struct connector *c, const json_t *done) {
  const json_t *declaration = c ? registry_action(c, json_str_or(done, "action", ""), NULL) : NULL;
  return declaration && !json_str(declaration, "undo") ? json_str_or(declaration, "recover", "a person puts it right") : NULL;
}

static void ask_recovered(struct release *r, const char *recover) {
  char text[700];
  char *target = json_text(json_object_get(containment(r), "target"));
  snprintf(text, sizeof text, "What was done to %.200s cannot be undone. %.400s Has that been done?", target ? target : "this target",
           recover);
  free(target);
  release_ask(r, text, json_pack("[s, s]", "recovered", "not yet"), on_recovered);
}

static void keep_for(struct release *r, json_t *holders_take) {
  journal_add(r->journal, KIND_CONTAINMENT_KEPT, r->actor, r->run, r->step, json_pack("{s:s, s:O}", "of", r->of, "holders", holders_take));
  ledger_forget(r->all, journal_incident(r->journal), r->of);
  release_end(r, true, json_pack("{s:b, s:o}", "kept", 1, "holders", holders_take));
}

static void let_go_again(void *arg);

static void on_holders(void *arg, const struct redis_value *reply, const struct err *err) {
  struct release *r = arg;
  r->asking = false;
  if (r->gone) {
    release_free(r);
    return;
  }
  if (err && (err->code == ERR_UNAVAILABLE || err->code == ERR_TIMEOUT || err->code == ERR_LIMIT)) {
    r->again = timer_start(r->all->deps.loop, LET_GO_AGAIN_MS, let_go_again, r);
    return;
  }
  json_t *holders = json_array();
  for (size_t i = 0; !err && i < redis_count(reply); i++) {
    const char *name = redis_string(redis_item(reply, i), NULL);
    json_array_append_new(holders, json_stringn(name, strcspn(name, "|")));
  }
  if (!err && json_array_size(holders)) {
    keep_for(r, holders);
    return;
  }
  json_decref(holders);
  if (err) still(r, "Redis could not say whether another node's incident holds it too; release it again");
  else undo(r);
}

/* No incident of this node holds it; does one of another? The last that lets go lifts it. */
static void let_go(struct release *r) {
  struct err err;
  if (!r->all->deps.nodes) {
    undo(r);
    return;
  }
  r->asking = true;
  if (ledger_let_go(r->all, journal_incident(r->journal), r->of, containment(r), on_holders, r, &err) < 0) on_holders(r, NULL, &err);
}

/* To let go twice is to let go once, so it is asked until Redis answers. */
static void let_go_again(void *arg) {
  struct release *r = arg;
  timer_free(r->again);
  r->again = NULL;
  let_go(r);
}

static void release_begin(void *arg) {
  struct release *r = arg;
  const char *incident = journal_incident(r->journal);
  const json_t *c = containment(r);
  const struct connector *force = connector_in_force(r->all, c, NULL), *connector = connector_of(r->all, c, NULL);
  if (undo_taken_up(r)) return;
  if (!connector && force && !r->any_version && !agreed_before(r)) {
    ask_version(r, force);
    return;
  }
  if (!connector) connector = force, r->any_version = force != NULL;
  const char *recover = recover_text(connector, c);
  if (recover) ask_recovered(r, recover);
  else if (strcmp(json_str_or(c, "status", ""), "found") == 0 && agreed_before(r)) undo(r);
  else if (strcmp(json_str_or(c, "status", ""), "found") == 0) ask_found(r);
  else if (ledger_held_by_others(r->all, incident, r->of, c)) keep_for(r, ledger_holders(r->all, incident, c));
  else let_go(r);
}

int action_release(struct actions *a, const struct action_spec *spec, const char *of, action_cb *cb, void *arg, struct action **ret,
                   struct err *err) {
  const json_t *c = json_object_get(json_object_get(journal_state(spec->journal), "containments"), of);
  if (!c)
    return err_set(err, ERR_NOT_FOUND, "%s/%s contains nothing; `tocsin contained` lists what is contained",
                   journal_incident(spec->journal), of);
  if (!ledger_in_force(c))
    return err_set(err, ERR_CONFLICT, "%s/%s is not in force any more (%s)", journal_incident(spec->journal), of,
                   json_str_or(c, "status", ""));
  struct release *r = calloc(1, sizeof *r);
  if (!r) abort();
  *r = (struct release){.all = a, .journal = spec->journal, .run = spec->run, .simulated = spec->simulated, .cb = cb, .arg = arg};
  snprintf(r->step, sizeof r->step, "%s", spec->step);
  snprintf(r->of, sizeof r->of, "%s", of);
  r->actor = strdup(spec->actor);
  r->playbook = spec->playbook ? strdup(spec->playbook) : NULL;
  r->requester = spec->requester ? strdup(spec->requester) : NULL;
  r->history = spec->history ? json_deep_copy(spec->history) : NULL;
  r->agreed = agreements(r->history);
  TAILQ_INSERT_TAIL(&a->releases, r, next);
  if (ret) *ret = NULL; /* a release cannot be abandoned: it goes to its end */
  loop_defer(a->deps.loop, release_begin, r);
  return 0;
}

bool actions_release_asks(const struct actions *a, const json_t *containment) {
  const struct connector *c = connector_of(a, containment, NULL);
  return strcmp(json_str_or(containment, "status", ""), "found") == 0 || (!c && connector_in_force(a, containment, NULL)) ||
         recover_text(c, containment);
}
