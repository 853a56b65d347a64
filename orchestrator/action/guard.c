/* Brakes and guardrails: what no playbook can step over. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "action/internal.h"
#include "base/json.h"

/* --- brakes ------------------------------------------------------------------------------------------------- */

bool guard_paused(const struct actions *a, const struct action *x, const char **ret_scope) {
  const char *const scopes[] = {"all", x->playbook, x->connector->instance, x->connector->name};
  if (x->effect == EFFECT_READ || x->simulated || !json_object_size(a->paused)) return false;
  for (size_t i = 0; i < sizeof scopes / sizeof *scopes; i++)
    if (scopes[i] && json_object_get(a->paused, scopes[i])) {
      if (ret_scope) *ret_scope = scopes[i];
      return true;
    }
  return false;
}

static bool guard_uncertain(const struct action *x) {
  return x->effect != EFFECT_READ && !x->simulated && !action_is_message(x) && journal_uncertain(x->journal);
}

bool guard_held(const struct action *x, char why[256]) {
  const char *scope = "all";
  bool uncertain = guard_uncertain(x);
  if (!uncertain && !guard_paused(x->all, x, &scope)) return false;
  if (why && uncertain)
    snprintf(why, 256, "entries may be missing since Redis' master changed; `tocsin incident agree %s` lets it go on",
             journal_incident(x->journal));
  else if (why) snprintf(why, 256, "%.100s is paused; `tocsin resume %.100s` lets it go on", scope, scope);
  return true;
}

bool guard_lapsed(const struct action *x) {
  const struct nodes *nodes = x->all->deps.nodes;
  return nodes && x->effect != EFFECT_READ && !nodes_held(nodes);
}

struct brake_call {
  struct actions *a; /* NULL: they are gone, and the answer is nobody's */
  char *scope;
  actions_brake_cb *cb;
  void *arg;
  LIST_ENTRY(brake_call) next;
};

static void brake_end(struct brake_call *call, const struct err *err) {
  if (call->cb) call->cb(call->arg, err);
  free(call->scope);
  free(call);
}

static void on_confirmed(void *arg) { brake_end(arg, NULL); }

static void on_brake(void *arg, const struct redis_value *reply, const struct err *err) {
  struct brake_call *call = arg;
  struct actions *a = call->a;
  int64_t epoch = err ? 0 : redis_integer(reply);
  if (!a) {
    brake_end(call, NULL);
    return;
  }
  LIST_REMOVE(call, next);
  if (epoch > a->brakes_epoch) a->brakes_epoch = epoch;
  if (!err) json_object_del(a->untold, call->scope);
  if (err || !a->deps.nodes) brake_end(call, err);
  else nodes_when_confirmed(a->deps.nodes, epoch, on_confirmed, call);
}

static int brake_store(struct actions *a, const char *scope, const char *value, actions_brake_cb *cb, void *arg, struct err *err) {
  struct brake_call *call = calloc(1, sizeof *call);
  if (!call) abort();
  *call = (struct brake_call){.a = a, .scope = strdup(scope), .cb = cb, .arg = arg};
  int r = redis_call_safe(a->deps.redis, redis_lane(a->deps.redis, NODES_KEY), on_brake, call, err, "FCALL", "tocsin_brake", "2", NODES_KEY,
                          NODES_BRAKES, scope, value ? value : "", NULL);
  if (r == 0) {
    LIST_INSERT_HEAD(&a->storing, call, next);
    return 0;
  }
  free(call->scope);
  free(call);
  return r;
}

void brakes_release(struct actions *a) {
  struct err gone = {.code = ERR_CANCELLED, .text = "the engine is stopping"};
  struct brake_call *call;
  while ((call = LIST_FIRST(&a->storing))) {
    LIST_REMOVE(call, next);
    call->a = NULL;
    if (call->cb) call->cb(call->arg, &gone);
    call->cb = NULL;
  }
}

int actions_pause(struct actions *a, const char *scope, const char *by, const char *because, actions_brake_cb *cb, void *arg,
                  struct err *err) {
  json_t *value = json_pack("{s:s, s:s, s:I}", "by", by, "because", because, "since", (json_int_t)clock_wall(clock_system()));
  json_object_set(a->paused, scope, value);
  json_object_set_new(a->untold, scope, json_true());
  atomic_fetch_add(&a->epoch, 1); /* closes the gate of everything that is about to leave */
  char *text = json_text(value);
  int r = brake_store(a, scope, text, cb, arg, err);
  free(text);
  json_decref(value);
  return r;
}

/* Through the brakes again: those that are still held back join the queue anew. */
static void braked_again(struct actions *a) {
  struct action_queue again = TAILQ_HEAD_INITIALIZER(again);
  TAILQ_CONCAT(&again, &a->braked, next);
  struct action *x;
  TAILQ_FOREACH(x, &again, next) x->queue = &again;
  while ((x = TAILQ_FIRST(&again))) {
    TAILQ_REMOVE(&again, x, next);
    x->queue = NULL;
    action_brake_stage(x);
  }
}

void actions_lease_held(struct actions *a) { braked_again(a); }
void actions_agreed(struct actions *a) { braked_again(a); }

void actions_master_changed(struct actions *a) {
  const char *scope;
  json_t *brake;
  a->brakes_epoch = 0;
  json_object_clear(a->kept); /* put there anew when they are next used */
  json_object_foreach(a->paused, scope, brake) json_object_set_new(a->untold, scope, json_true());
}

int actions_resume(struct actions *a, const char *scope, actions_brake_cb *cb, void *arg, struct err *err) {
  if (!json_object_get(a->paused, scope)) return err_set(err, ERR_NOT_FOUND, "\"%s\" is not paused; `tocsin` shows what is", scope);
  json_object_del(a->paused, scope);
  json_object_del(a->untold, scope);
  braked_again(a);
  return brake_store(a, scope, NULL, cb, arg, err);
}

static json_t *brakes_read(const struct redis_value *pairs) {
  json_t *paused = json_object();
  for (size_t i = 0; i + 1 < redis_count(pairs); i += 2) {
    json_t *value = NULL;
    size_t len;
    const char *text = redis_string(redis_item(pairs, i + 1), &len);
    if (json_parse(text, len, &value, NULL) == 0) json_object_set_new(paused, redis_string(redis_item(pairs, i), NULL), value);
  }
  return paused;
}

static bool has_all(const json_t *these, const json_t *of) {
  const char *scope;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)of, scope, value) if (!json_object_get(these, scope)) return false;
  return true;
}

/* What was pulled here and could not be told to Redis stays in force, and is told now. */
static void untold_tell(struct actions *a, json_t *paused) {
  const char *scope;
  json_t *value, *scopes = json_copy(a->untold);
  json_object_foreach(scopes, scope, value) {
    const json_t *brake = json_object_get(a->paused, scope);
    char *text = json_text(brake);
    json_object_set(paused, scope, (json_t *)(uintptr_t)brake);
    if (text && LIST_EMPTY(&a->storing)) brake_store(a, scope, text, NULL, NULL, NULL);
    free(text);
  }
  json_decref(scopes);
}

void actions_brakes(struct actions *a, int64_t epoch, const struct redis_value *pairs) {
  if (epoch < a->brakes_epoch || !LIST_EMPTY(&a->storing)) return; /* older than what this node has done itself: its answer is on the way */
  a->brakes_epoch = epoch;
  json_t *paused = brakes_read(pairs), *before = a->paused;
  untold_tell(a, paused);
  a->paused = paused;
  if (!has_all(before, paused)) atomic_fetch_add(&a->epoch, 1);
  if (!has_all(paused, before)) braked_again(a);
  json_decref(before);
}

size_t actions_resting(const struct actions *a) {
  const struct action *x;
  size_t count = 0;
  TAILQ_FOREACH(x, &a->all, among) count += x->question || x->queue == &a->braked;
  return count;
}

bool actions_rest(const struct actions *a) {
  const struct action *x;
  TAILQ_FOREACH(x, &a->all, among) {
    if (!x->question && x->queue != &a->braked && !x->helper && !(x->flight && flight_waits(x->flight))) return false;
  }
  return ledger_rests(a);
}

json_t *actions_paused(const struct actions *a) { return json_deep_copy(a->paused); }

struct load_call {
  struct actions *a;
  actions_brake_cb *cb;
  void *arg;
};

static void on_load(void *arg, const struct redis_value *reply, const struct err *err) {
  struct load_call *call = arg;
  json_t *paused = err ? NULL : brakes_read(reply);
  if (paused) json_object_update(call->a->paused, paused);
  json_decref(paused);
  call->cb(call->arg, err);
  free(call);
}

int actions_load(struct actions *a, actions_brake_cb *cb, void *arg, struct err *err) {
  struct load_call *call = calloc(1, sizeof *call);
  if (!call) abort();
  *call = (struct load_call){a, cb, arg};
  int r = redis_call(a->deps.redis, redis_lane(a->deps.redis, NODES_BRAKES), on_load, call, err, "HGETALL", NODES_BRAKES, NULL);
  if (r < 0) free(call);
  return r;
}

/* --- protected entities ----------------------------------------------------------------------------------------- */

bool guard_protected(const struct action *x, struct err *err) {
  size_t i;
  json_t *rule;
  if (x->effect < EFFECT_CONTAIN || x->undo_of) return false;
  json_array_foreach(json_object_get(x->all->deps.guard, "protected"), i, rule) {
    const char *type = json_str(rule, "type"), *value = json_str(rule, "value"), *key;
    json_t *target;
    json_object_foreach(x->target, key, target) {
      const char *text = json_string_value(target);
      if (!text || !value || strcasecmp(text, value) != 0 || (type && strcmp(type, key) != 0)) continue;
      err_set(err, ERR_DENIED,
              "%s %s is protected (%s): no playbook may contain it; a person can, outside Tocsin or after changing the settings' "
              "guard.protected",
              key, text, json_str_or(rule, "reason", "no reason given"));
      return true;
    }
  }
  return false;
}

/* --- approvals and the ceiling ---------------------------------------------------------------------------------------- */

static bool rule_applies(const json_t *rule, const struct action *x) {
  const char *effect = json_str(rule, "effect"), *connector = json_str(rule, "connector"), *action = json_str(rule, "action");
  char full[256];
  snprintf(full, sizeof full, "%s.%s", x->connector->instance, x->name);
  if (effect && effect_by_name(effect) != (int)x->effect) return false;
  if (connector && strcmp(connector, x->connector->instance) != 0 && strcmp(connector, x->connector->name) != 0) return false;
  if (action && strcmp(action, x->name) != 0 && strcmp(action, full) != 0) return false;
  return effect || connector || action;
}

/* A run that an alert began may take back what it did itself; what a person or another run contained stays until somebody agrees. */
static bool lifts_of_others(const struct action *x) {
  return x->undo_of && x->playbook && !x->requester && strtoul(x->undo_of, NULL, 10) != x->run;
}

unsigned guard_approvals(const struct action *x, const char **ret_role, const char **ret_why) {
  unsigned needed = 0;
  size_t i;
  json_t *rule;
  if (x->effect == EFFECT_READ || (x->simulated && !x->exercise) || (x->undoing && !lifts_of_others(x))) return 0;
  if (action_is_message(x)) return 0; /* the engine's own message to people (settings' notify): a question about it would need another */
  int ceiling = effect_by_name(json_str_or(x->all->deps.guard, "ceiling", "notify"));
  if (!x->requester && (int)x->effect > ceiling) {
    needed = 1;
    *ret_role = "responder";
    *ret_why = "an alert alone may not cause this (guard.ceiling)";
  }
  if (x->undoing) return needed; /* rules of approval are about containing */
  json_array_foreach(json_object_get(x->all->deps.guard, "approvals"), i, rule) {
    unsigned count = (unsigned)json_int_or(rule, "count", 1);
    if (!rule_applies(rule, x) || count < needed) continue;
    needed = count;
    *ret_role = json_str_or(rule, "role", "responder");
    *ret_why = "the settings ask for approval (guard.approvals)";
  }
  return needed;
}

/* --- budgets -------------------------------------------------------------------------------------------------------------- */

struct budget_walk {
  struct action *x;
  size_t next;
  char rule[256];
  guard_budget_cb *cb;
};

static void budget_next(struct budget_walk *walk);

static void budget_done(struct budget_walk *walk, const char *rule) {
  struct action *x = walk->x;
  walk->cb(x, rule);
  free(walk);
}

static void on_budget(void *arg, const struct redis_value *reply, const struct err *err) {
  struct budget_walk *walk = arg;
  if (walk->x->abandoned) budget_done(walk, NULL);
  else if (err) budget_done(walk, err->code == ERR_CANCELLED ? "" : "Redis could not be asked");
  else if (redis_integer(reply) == 0) budget_done(walk, walk->rule);
  else budget_next(walk);
}

static int budget_ask(struct budget_walk *walk, const json_t *rule, struct err *err) {
  struct action *x = walk->x;
  char key[300], now[24], window[24], most[24];
  char within[DURATION_TEXT];
  int64_t window_ms = json_int_or(rule, "within", 600000);
  const char *per = json_str_or(rule, "per", "all");
  const char *shared = x->all->deps.budgets ? x->all->deps.budgets : x->exercise ? journal_incident(x->journal) : "all";
  duration_format(window_ms, within);
  snprintf(walk->rule, sizeof walk->rule, "at most %lld %s in %s", (long long)json_int_or(rule, "most", 0),
           json_str_or(rule, "effect", json_str_or(rule, "action", json_str_or(rule, "connector", "actions"))), within);
  snprintf(key, sizeof key, "tocsin:budget:%s:%zu:%s",
           x->exercise    ? "exercise"
           : x->simulated ? "simulated"
                          : "live",
           walk->next - 1, strcmp(per, "incident") == 0 ? journal_incident(x->journal) : shared);
  snprintf(now, sizeof now, "%lld", (long long)(clock_steady(journal_store_of(x->journal)->clock) / 1000));
  snprintf(window, sizeof window, "%lld", (long long)window_ms);
  snprintf(most, sizeof most, "%lld", (long long)json_int_or(rule, "most", 0));
  return redis_call(x->all->deps.redis, redis_lane(x->all->deps.redis, key), on_budget, walk, err, "FCALL", "tocsin_budget", "1", key, now,
                    window, most, x->id, NULL);
}

static void budget_next(struct budget_walk *walk) {
  const json_t *rules = json_object_get(walk->x->all->deps.guard, "budgets");
  struct err err;
  while (walk->next < json_array_size(rules)) {
    const json_t *rule = json_array_get(rules, walk->next++);
    if (!rule_applies(rule, walk->x)) continue;
    if (budget_ask(walk, rule, &err) < 0) budget_done(walk, "Redis could not be asked");
    return;
  }
  budget_done(walk, NULL);
}

void guard_budget(struct action *x, guard_budget_cb *cb) {
  const json_t *rules = json_object_get(x->all->deps.guard, "budgets");
  if (x->budgeted || x->undoing || x->effect == EFFECT_READ || json_array_size(rules) == 0) {
    cb(x, NULL);
    return;
  }
  struct budget_walk *walk = calloc(1, sizeof *walk);
  if (!walk) abort();
  *walk = (struct budget_walk){.x = x, .cb = cb};
  budget_next(walk);
}
