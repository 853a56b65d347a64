/* The life of one action up to its intent, and its end. */
#include "action/action.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "action/internal.h"
#include "base/json.h"
#include "base/log.h"
#include "base/slab.h"
#include "base/text.h"

static void begin(void *arg);
static void called_back(void *arg);
static void on_durable(void *arg, const struct err *err);

/* --- the room's own life --------------------------------------------------------------------------------------- */

struct actions *actions_new(const struct actions_deps *deps, struct err *err) {
  struct actions *a = calloc(1, sizeof *a);
  if (!a) abort();
  a->deps = *deps;
  map_init(&a->limits);
  map_init(&a->holds);
  a->paused = json_object();
  a->untold = json_object();
  a->kept = json_object();
  a->send_within_ms = deps->nodes && deps->lease_ms * 4 / 5 < SEND_WITHIN_MS ? deps->lease_ms * 4 / 5 : SEND_WITHIN_MS;
  LIST_INIT(&a->storing);
  LIST_INIT(&a->keeping);
  TAILQ_INIT(&a->braked);
  TAILQ_INIT(&a->all);
  for (size_t i = 0; i < LIVING_SLOTS; i++) TAILQ_INIT(&a->living[i]);
  TAILQ_INIT(&a->releases);
  if (sealed_init(a, err) < 0) {
    actions_free(a);
    return NULL;
  }
  return a;
}

void actions_free(struct actions *a) {
  if (!a) return;
  brakes_release(a);
  ledger_release(a);
  limits_release(a);
  sources_release(a);
  json_decref(a->paused);
  json_decref(a->untold);
  explicit_bzero(a->seal_key, sizeof a->seal_key);
  explicit_bzero(&a->step_key, sizeof a->step_key);
  free(a);
}

void actions_set_registry(struct actions *a, struct registry *registry) { a->deps.registry = registry; }

json_t *actions_counts(const struct actions *a) {
  return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "intents", (json_int_t)a->intents, "outcomes", (json_int_t)a->outcomes,
                   "in_doubt", (json_int_t)a->in_doubt, "in_flight", (json_int_t)a->in_flight, "refused", (json_int_t)a->refused, "live",
                   (json_int_t)a->live, "limited", (json_int_t)limits_waiting(a));
}

size_t actions_attended(const struct actions *a) {
  const struct action *x;
  size_t count = 0;
  TAILQ_FOREACH(x, &a->all, among) count += x->intended && !x->orphan;
  return count;
}

size_t actions_under_way(const struct actions *a, const struct journal *journal) {
  const struct action *x;
  size_t count = 0;
  TAILQ_FOREACH(x, &a->all, among) count += x->journal == journal && (x->flight || x->awaiting || (x->intended && !x->question));
  return count;
}

json_t *failure_new(const char *kind, const char *message, bool retry) {
  return json_pack("{s:s, s:s, s:b}", "kind", kind, "message", message, "retry", retry);
}

int64_t action_now(const struct action *x) { return clock_wall(journal_store_of(x->journal)->clock); }

/* Those whose journal shares its slot: a journal that goes has few or none, and need not be looked for among all. */
static struct action_queue *living_of(struct actions *a, const struct journal *journal) {
  uintptr_t at = (uintptr_t)journal;
  return &a->living[(at >> 4 ^ at >> 14) % LIVING_SLOTS];
}

/* --- making one ---------------------------------------------------------------------------------------------------- */

static void helper_drop(struct action *x) {
  if (x->helper) action_abandon(x->helper);
  x->helper = NULL;
}

void action_free(struct action *x) {
  if (!x) return;
  loop_undefer(x->all->deps.loop, begin, x);
  loop_undefer(x->all->deps.loop, called_back, x);
  if (x->queue) TAILQ_REMOVE(x->queue, x, next);
  limit_leave(x);
  timer_free(x->timer);
  question_drop(x->question);
  helper_drop(x);
  action_not_in_doubt(x); /* another node has it now */
  TAILQ_REMOVE(&x->all->all, x, among);
  TAILQ_REMOVE(living_of(x->all, x->journal), x, beside);
  x->all->live--;
  json_decref(x->params);
  json_decref(x->target);
  json_decref(x->request);
  slab_free(x->rendered);
  json_decref(x->simulate);
  json_decref(x->returns);
  slab_free(x->actor);
  slab_free(x->playbook);
  slab_free(x->requester);
  slab_free(x->undo_of);
  slab_free(x->because);
  stand_in_free(x->stand_in);
  slab_free(x);
}

static char *copy_or_null(const char *text) { return text ? slab_strdup(text) : NULL; }

static struct action *action_new(struct actions *a, const struct action_spec *spec, action_cb *cb, void *arg) {
  struct action *x = slab_calloc(1, sizeof *x);
  if (!x) abort();
  *x = (struct action){.all = a, .journal = spec->journal, .run = spec->run, .cb = cb, .arg = arg};
  x->exercise = id_exercise(journal_incident(spec->journal));
  x->simulated = spec->simulated || x->exercise;
  x->shadow = spec->shadow;
  *text_add(x->step, x->step + sizeof x->step - 1, spec->step) = 0;
  id_path(x->id, journal_incident(spec->journal), spec->run, spec->step);
  x->actor = slab_strdup(spec->actor);
  x->playbook = copy_or_null(spec->playbook);
  x->requester = copy_or_null(spec->requester);
  x->undo_of = copy_or_null(spec->undo_of);
  x->undoing = spec->undo_of != NULL;
  x->simulate = spec->simulate ? json_deep_copy(spec->simulate) : NULL;
  TAILQ_INSERT_TAIL(&a->all, x, among);
  TAILQ_INSERT_TAIL(living_of(a, x->journal), x, beside);
  a->live++;
  return x;
}

/* "INC-000042/1/3" → 32 hex digits that depend on the place alone, never on the attempt. */
static void key_derive(struct action *x) {
  uint8_t mac[DIGEST_BYTES];
  digest_key_hmac(&x->all->step_key, x->id, strlen(x->id), mac);
  hex_encode(mac, 16, x->key);
}

static void target_read(struct action *x) {
  const char *type;
  json_t *param;
  x->target = json_object();
  json_object_foreach((json_t *)(uintptr_t)x->form->target, type, param) {
    json_t *value = json_object_get(x->params, json_string_value(param) ? json_string_value(param) : "");
    if (value) json_object_set(x->target, type, value);
  }
}

/* lift_after belongs to the core; because is read by it and stays a parameter where the connector declares it. */
static int own_params(struct action *x, const json_t *params, struct err *err) {
  const char *lift = json_str(params, "lift_after"), *because = json_str(params, "because");
  if (lift && !duration_parse(lift, &x->lift_ms))
    return err_set(err, ERR_INVALID, "lift_after: \"%s\" is no duration; write \"4h\" or \"30m\"", lift);
  if (!lift) x->lift_ms = json_int_or(params, "lift_after", 0);
  if (x->effect >= EFFECT_CONTAIN && (!because || !*because))
    return err_set(err, ERR_INVALID, "`because` is missing: every action that contains or destroys says why");
  x->because = copy_or_null(because);
  return 0;
}

/* The others; a copy where it will not be as it was given. New. */
static json_t *connectors_own(const struct action *x, const json_t *given) {
  bool because = json_object_get(given, "because") && !json_object_get(x->form->params, "because");
  if (given && !because && !x->form->generates && !json_object_get(given, "lift_after")) return json_incref((json_t *)(uintptr_t)given);
  json_t *params = given ? json_copy((json_t *)(uintptr_t)given) : json_object();
  json_object_del(params, "lift_after");
  if (because) json_object_del(params, "because");
  return params;
}

static int params_check(struct action *x, const json_t *given, struct err *err) {
  const json_t *schema = x->form->params;
  json_t *params = connectors_own(x, given), *checked = NULL;
  int r = own_params(x, given, err);
  if (r == 0 && x->form->generates) r = sealed_generate(x, schema, params, err);
  if (r == 0) r = schema_check(schema, params, "", &checked, err);
  if (r < 0) err_wrap(err, "%s.%s", x->connector->instance, x->name);
  if (r == 0) x->params = checked;
  json_decref(params);
  return r;
}

static int action_resolve_names(struct action *x, const struct action_spec *spec, struct err *err) {
  x->connector = registry_find_version(x->all->deps.registry, spec->connector, spec->version, err);
  if (!x->connector) return err->code;
  x->form = registry_form(x->connector, spec->action, err);
  if (!x->form) return err->code;
  x->name = x->form->name;
  x->effect = x->form->effect;
  return 0;
}

static bool needs_search(const struct action *x) { return x->form->resolve != NULL; }

static int prepare(struct action *x, const struct action_spec *spec, struct err *err) {
  struct err local;
  if (!err) err = &local;
  int r = action_resolve_names(x, spec, err);
  if (r < 0) return r;
  key_derive(x);
  if ((r = params_check(x, spec->params, err)) < 0) return r;
  target_read(x);
  if (!needs_search(x) && (!x->simulated || x->exercise || x->shadow) && (r = action_render(x, NULL, err)) < 0)
    return err_wrap(err, "%s.%s", x->connector->instance, x->name), r;
  return 0;
}

int action_start(struct actions *a, const struct action_spec *spec, action_cb *cb, void *arg, struct action **ret, struct err *err) {
  struct action *x = action_new(a, spec, cb, arg);
  struct err local;
  if (!err) err = &local;
  int r = prepare(x, spec, err);
  history_read(x, spec->history);
  if (r < 0 && x->intended) r = stand_in(x, spec, err->text); /* it may have happened: that has to be found out in any case */
  else if (r == 0 && !x->intended && guard_protected(x, err)) r = ERR_DENIED;
  if (r < 0) {
    a->refused += r == ERR_DENIED;
    action_free(x);
    return r;
  }
  x->began = action_now(x);
  loop_soon(a->deps.loop, begin, x);
  *ret = x;
  return 0;
}

int action_plan(struct actions *a, const struct action_spec *spec, json_t **ret, struct err *err) {
  struct action *x = action_new(a, spec, NULL, NULL);
  int r = prepare(x, spec, err);
  if (r == 0 && x->request) json_digest(x->request, x->digest);
  if (r == 0) *ret = action_about(x);
  action_free(x);
  return r;
}

void action_abandon(struct action *x) {
  if (!x) return;
  x->abandoned = true;
  x->cb = NULL;
  atomic_store(&x->stop, true);
  if (!x->flight && !x->intended && !x->awaiting) action_free(x); /* else its answer, or its doubt, still has to be put on record */
}

static void orphan(struct action *x) {
  x->orphan = x->abandoned = true;
  x->cb = NULL;
  x->helper = NULL; /* an orphan of its own */
  atomic_store(&x->stop, true);
  journal_forget(x->journal, on_durable, x);
  if (x->flight) transport_cancel(x->flight);
  else if (!x->awaiting) action_free(x);
}

void actions_orphan(struct actions *a, const struct journal *journal) {
  struct action *x, *next;
  ledger_orphan(a, journal);
  for (x = TAILQ_FIRST(journal ? living_of(a, journal) : &a->all); x; x = next) {
    next = journal ? TAILQ_NEXT(x, beside) : TAILQ_NEXT(x, among);
    if (!x->orphan && (!journal || x->journal == journal)) orphan(x); /* an orphan waits for its flight alone; its journal may be gone */
  }
}

/* --- stages ------------------------------------------------------------------------------------------------------------- */

static void refuse(struct action *x, const char *kind, const char *why) {
  x->all->refused++;
  json_t *body = action_named(x);
  json_object_set_new(body, "why", json_string(why));
  journal_add(x->journal, KIND_ACTION_REFUSED, x->actor, x->run, x->step, body);
  x->returns = failure_new(kind, why, false);
  x->outcome = (struct outcome){.ok = false, .returns = x->returns};
  loop_soon(x->all->deps.loop, called_back, x);
}

static void on_approval(void *arg, const char *answer, const char *by) {
  struct action *x = arg;
  x->question = NULL;
  if (strcmp(answer, "approve") == 0) {
    x->approved = true;
    action_brake_stage(x);
  } else {
    refuse(x, "refused", by ? "a person refused it" : "nobody approved it in time");
  }
}

static void approval_stage(struct action *x) {
  const char *role = NULL, *why = NULL;
  if (guard_shadowed(x)) {
    action_would(x);
    return;
  }
  /* Approved before a restart, and since then the connector or its settings changed: nobody has seen this request. */
  if (x->approved_for[0] && strcmp(x->approved_for, x->digest) != 0) x->approved = false;
  unsigned needed = x->approved ? 0 : guard_approvals(x, &role, &why);
  if (!needed) {
    action_brake_stage(x);
    return;
  }
  char text[512];
  char *target = json_text(x->target);
  snprintf(text, sizeof text, "May %s run %s.%s on %s? It is of effect %s: %s.", x->playbook ? x->playbook : "this", x->connector->instance,
           x->name, target ? target : "", effect_name(x->effect), why);
  free(target);
  json_t *options = json_pack("[s, s]", "approve", "refuse"), *about = action_about(x);
  struct question_spec spec = {.journal = x->journal,
                               .run = x->run,
                               .step = x->step,
                               .actor = x->actor,
                               .kind = "approve",
                               .text = text,
                               .options = options,
                               .role = role,
                               .within_ms = 4 * 3600 * 1000,
                               .otherwise = "refuse",
                               .exclude = x->requester,
                               .approvals = needed,
                               .about = about};
  x->question = question_ask(x->all->deps.questions, &spec, on_approval, x);
  json_decref(options);
  json_decref(about);
}

static void on_search(void *arg, const struct outcome *outcome) {
  struct action *x = arg;
  struct err err;
  x->helper = NULL;
  if (!outcome->ok) {
    json_t *why = json_deep_copy(outcome->returns);
    action_end(x, false, why, NULL, NULL);
  } else if (action_render(x, outcome->returns, &err) < 0) {
    action_end(x, false, failure_new("refused", err.text, false), NULL, NULL);
  } else {
    approval_stage(x);
  }
}

static void search_stage(struct action *x) {
  struct err err;
  if (!needs_search(x) || (x->simulated && !x->exercise) || action_request(x)) {
    approval_stage(x);
    return;
  }
  if (action_helper_start(x, x->form->resolve, x->params, on_search, &err) < 0)
    action_end(x, false, failure_new("invalid", err.text, false), NULL, NULL);
}

static void begin(void *arg) {
  struct action *x = arg;
  if (guard_shadowed(x)) search_stage(x); /* whatever its journal says: it has sent nothing that could be in doubt */
  else if (x->happened) action_happened(x);
  else if (x->given_up) action_given_up(x);
  else if (x->intended) action_doubt(x, "the process ended before its answer was on record", NULL);
  else search_stage(x);
}

static void hold(struct action *x, const char *why) {
  json_t *body = action_about(x);
  json_object_set_new(body, "why", json_string(why));
  journal_add(x->journal, KIND_ACTION_HELD, x->actor, x->run, x->step, body);
}

static void on_sealed(struct action *x, const struct err *err) {
  x->awaiting = false;
  if (x->abandoned) action_free(x);
  else if (err) action_end(x, false, failure_new(err_name(err->code), err->text, true), NULL, NULL);
  else limit_enter(x);
}

static void on_over_budget(void *arg, const char *answer, const char *by) {
  struct action *x = arg;
  x->question = NULL;
  if (strcmp(answer, "proceed") != 0) {
    refuse(x, "refused", by ? "a person refused to go beyond the budget" : "the budget is used up and nobody agreed to go beyond it");
    return;
  }
  x->budgeted = true;
  action_brake_stage(x);
}

static void ask_over_budget(struct action *x, const char *rule) {
  char text[512];
  json_t *options = json_pack("[s, s]", "proceed", "refuse"), *about = action_about(x);
  snprintf(text, sizeof text, "The budget \"%s\" is used up. Run %s.%s all the same?", rule, x->connector->instance, x->name);
  struct question_spec spec = {.journal = x->journal,
                               .run = x->run,
                               .step = x->step,
                               .actor = x->actor,
                               .kind = "budget",
                               .text = text,
                               .options = options,
                               .within_ms = 4 * 3600 * 1000,
                               .otherwise = "refuse",
                               .about = about};
  x->question = question_ask(x->all->deps.questions, &spec, on_over_budget, x);
  json_decref(options);
  json_decref(about);
}

static void on_budget(struct action *x, const char *rule) {
  x->awaiting = false;
  if (x->abandoned) {
    action_free(x);
    return;
  }
  if (rule) {
    ask_over_budget(x, rule);
    return;
  }
  x->budgeted = true;
  x->awaiting = true;
  sealed_keep(x, on_sealed);
}

void action_brake_stage(struct action *x) {
  if (guard_lapsed(x)) { /* actions_lease_held, or the loss of its journal, ends this */
    TAILQ_INSERT_TAIL(&x->all->braked, x, next);
    x->queue = &x->all->braked;
    return;
  }
  char why[256];
  if (guard_held(x, why)) {
    if (!x->waiting_brake) hold(x, why);
    x->waiting_brake = true;
    TAILQ_INSERT_TAIL(&x->all->braked, x, next);
    x->queue = &x->all->braked;
    return;
  }
  x->waiting_brake = false;
  x->awaiting = true;
  guard_budget(x, on_budget);
}

/* --- intent ---------------------------------------------------------------------------------------------------------------- */

static void on_durable(void *arg, const struct err *err) {
  struct action *x = arg;
  if (err) { /* ownership is lost: nothing is sent, the new owner resolves it; whoever unloads the journal orphans us */
    atomic_store(&x->stop, true);
    return;
  }
  action_send(x);
}

void action_intend(struct action *x) {
  if (guard_shadowed(x)) { /* no way leads here; should one be made some day, it ends here */
    action_would(x);
    return;
  }
  if (guard_lapsed(x) || guard_held(x, NULL)) { /* a brake was pulled while it waited for room */
    limit_leave(x);
    action_brake_stage(x);
    return;
  }
  x->attempt++;
  atomic_store(&x->epoch, atomic_load(&x->all->epoch));
  atomic_store(&x->send_before_boot, clock_boot(clock_system()) + x->all->send_within_ms * 1000);
  if (x->effect == EFFECT_READ) {
    action_send(x);
    return;
  }
  ledger_announce(x);
  const struct declaration *d = x->connector->declaration; /* its probe and its undo are this version's */
  actions_keep_source(x->all, journal_incident(x->journal), d->digest, d->source, d->source_len, 0);
  struct err err;
  struct buf body;
  char near[4096];
  buf_lend(&body, near, sizeof near, SIZE_MAX / 2);
  action_intent_write(x, action_now(x) + x->all->send_within_ms * 1000, &body);
  struct entry_spec spec = {.kind = KIND_ACTION_INTENDED, .actor = x->actor, .run = x->run, .step = x->step, .written = &body};
  bool kept = journal_append(x->journal, &spec, &err) != NULL;
  buf_release(&body);
  if (!kept) { /* what cannot be put on record is not sent */
    action_end(x, false, failure_new("too_large", err.text, false), NULL, NULL);
    return;
  }
  x->intended = true;
  x->all->intents++;
  journal_when_durable(x->journal, on_durable, x);
}

/* --- the end ------------------------------------------------------------------------------------------------------------------- */

static void called_back(void *arg) {
  struct action *x = arg;
  action_cb *cb = x->cb;
  if (cb && !x->abandoned) cb(x->arg, &x->outcome);
  action_free(x);
}

void action_call_back(struct action *x) { loop_soon(x->all->deps.loop, called_back, x); }

/* An outcome that cannot be put on record leaves at least that it was there. */
static void outcome_append(struct action *x, const struct buf *body, bool ok, bool contains) {
  struct entry_spec spec = {.kind = KIND_ACTION_OUTCOME, .actor = x->actor, .run = x->run, .step = x->step, .written = body};
  struct err err;
  spec.bare = !contains;
  if (!journal_append(x->journal, &spec, &err))
    journal_add(x->journal, KIND_ACTION_OUTCOME, x->actor, x->run, x->step, json_pack("{s:s, s:b}", "error", err.text, "ok", ok));
}

void action_end(struct action *x, bool ok, json_t *returns_take, const char *status, const json_t *response) {
  struct buf body;
  char near[8192];
  x->returns = returns_take ? returns_take : json_object();
  x->outcome = (struct outcome){.ok = ok, .returns = x->returns, .status = status};
  buf_lend(&body, near, sizeof near, SIZE_MAX / 2);
  action_outcome_write(x, ok, status, response, &body);
  sealed_settle(x, ok);
  if (x->intended) x->all->outcomes++;
  x->intended = false;
  outcome_append(x, &body, ok, status != NULL);
  buf_release(&body);
  if (status) ledger_hold(x, status);
  if (ok) ledger_lifted(x);
  if (ok && x->undo_of && !x->cb) ledger_undone(x);
  limit_leave(x);
  loop_soon(x->all->deps.loop, called_back, x);
}

int action_helper_start(struct action *x, const char *name, const json_t *params, action_cb *cb, struct err *err) {
  char step[ID_STEP + 16];
  snprintf(step, sizeof step, "%s.0.%u", x->step, ++x->reads);
  if (!id_step_valid(step)) return err_set(err, ERR_LIMIT, "step %s has too many helpers", x->step);
  json_t *fitting = json_object(), *value;
  const json_t *schema = json_object_get(json_object_get(json_object_get(x->connector->declaration->json, "actions"), name), "params");
  const char *key;
  json_object_foreach((json_t *)(uintptr_t)params, key, value) if (json_object_get(schema, key)) json_object_set(fitting, key, value);
  struct action_spec spec = {.journal = x->journal,
                             .run = x->run,
                             .step = step,
                             .actor = x->actor,
                             .playbook = x->playbook,
                             .connector = x->connector->instance,
                             .version = x->connector->declaration->digest,
                             .action = name,
                             .params = fitting,
                             .requester = x->requester,
                             .simulated = x->simulated,
                             .shadow = x->shadow};
  int r = action_start(x->all, &spec, cb, x, &x->helper, err);
  json_decref(fitting);
  return r;
}
