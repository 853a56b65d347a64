/* The ledger of containments: who holds which target, and letting go of it. The journals are the truth; this is their index. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "action/internal.h"
#include "base/id.h"
#include "base/json.h"

static const char INDEX_KEY[] = "tocsin:contained";
enum { LET_GO_AGAIN_MS = 250, LOOK_AGAIN_MS = 60000 /* the longest time between two looks at the clock, which may be set */ };

char *ledger_key(const struct actions *a, const char *incident, const char *connector, const char *action, const json_t *target,
                 bool simulated) {
  const char *world = !id_exercise(incident) ? "" : a->deps.budgets ? a->deps.budgets : incident;
  json_t *key = json_pack("[s, s, O, b, s]", connector, action, target, simulated, world);
  char *text = json_text(key);
  json_decref(key);
  if (!text) abort();
  return text;
}

static char *key_of(const struct actions *a, const char *incident, const json_t *containment) {
  return ledger_key(a, incident, json_str_or(containment, "connector", ""), json_str_or(containment, "action", ""),
                    json_object_get(containment, "target"), json_bool_or(containment, "simulated", false));
}

static void hold_name(char out[ID_PATH * 2], const char *incident, const char *of) { snprintf(out, ID_PATH * 2, "%s|%s", incident, of); }

static void hold_free(void *value) {
  struct hold *h = value;
  if (!h) return;
  timer_free(h->timer);
  json_decref(h->containment);
  free(h->key);
  free(h);
}

void ledger_release(struct actions *a) { map_release(&a->holds, hold_free); }

static void lift(void *arg);

static void lift_set(struct hold *h, int64_t ms) {
  timer_free(h->timer);
  h->timer = h->lift_at ? timer_start(h->all->deps.loop, ms, lift, h) : NULL;
}

static void lift(void *arg) {
  struct hold *h = arg;
  timer_free(h->timer);
  h->timer = NULL;
  questions_look(h->all->deps.questions, h->clock);
  timer_free(h->timer); /* another, when the clock was set */
  h->timer = NULL;
  int64_t left = (h->lift_at - clock_wall(h->clock)) / 1000;
  if (left > 0) lift_set(h, left < LOOK_AGAIN_MS ? left + 1 : LOOK_AGAIN_MS);
  else if (h->all->lift_cb) h->all->lift_cb(h->all->lift_arg, h->incident, h->of);
}

/* Who holds a target, over all nodes: what another node's incident only found so counts too, for to keep it is the safe side. */
static void holders_key(const char *key, char out[96]) {
  uint8_t digest[DIGEST_BYTES];
  char hex[DIGEST_HEX];
  digest_sha256(key, strlen(key), digest);
  hex_encode(digest, sizeof digest, hex);
  snprintf(out, 96, "tocsin:holders:%s", hex);
}

static void holders_change(struct actions *a, const struct hold *h, const char *verb) {
  char name[ID_PATH * 2], set[96];
  if (!a->deps.nodes) return;
  hold_name(name, h->incident, h->of);
  holders_key(h->key, set);
  redis_call(a->deps.redis, redis_lane(a->deps.redis, set), NULL, NULL, NULL, verb, set, name, NULL);
}

static void hold_add(struct actions *a, const char *incident, const char *of, const json_t *containment, const struct clock *clock) {
  char name[ID_PATH * 2];
  struct hold *h = calloc(1, sizeof *h);
  if (!h) abort();
  h->all = a;
  h->clock = clock;
  snprintf(h->incident, sizeof h->incident, "%s", incident);
  snprintf(h->of, sizeof h->of, "%s", of);
  h->containment = json_deep_copy(containment);
  h->key = key_of(a, incident, containment);
  questions_look(a->deps.questions, clock);
  const struct lapses *lapses = questions_lapses(a->deps.questions);
  h->lift_at = json_int_or(containment, "lift_at", 0);
  if (clock == lapses->clock) h->lift_at = lapses_until(lapses, json_int_or(containment, "since", 0), h->lift_at, NULL);
  hold_name(name, incident, of);
  hold_free(map_put(&a->holds, name, h));
  holders_change(a, h, "SADD");
  lift_set(h, 0);
}

static bool in_force(const json_t *containment) {
  const char *status = json_str_or(containment, "status", "");
  return strcmp(status, "active") == 0 || strcmp(status, "still") == 0 || strcmp(status, "found") == 0;
}

void actions_ledger_load(struct actions *a, const char *incident, const json_t *state, const struct clock *clock) {
  const char *of;
  json_t *c;
  json_object_foreach(json_object_get(state, "containments"), of, c) if (in_force(c)) hold_add(a, incident, of, c, clock);
}

void actions_clock_moved(struct actions *a) {
  size_t at = 0;
  void *value;
  while (map_next(&a->holds, &at, NULL, &value)) {
    struct hold *h = value;
    if (h->timer) lift_set(h, 0); /* whose time has come already is being lifted */
  }
}

int64_t actions_due(const struct actions *a) {
  size_t at = 0;
  void *value;
  int64_t due = INT64_MAX;
  while (map_next(&a->holds, &at, NULL, &value)) {
    const struct hold *h = value;
    int64_t lift_at = h->timer ? h->lift_at : 0;
    if (lift_at && lift_at < due) due = lift_at;
  }
  return due;
}

void actions_clock_stepped(struct actions *a, const struct clock *clock, int64_t by) {
  size_t at = 0;
  void *value;
  while (map_next(&a->holds, &at, NULL, &value)) {
    struct hold *h = value;
    if (h->clock != clock || !h->lift_at) continue;
    h->lift_at += by;
    if (h->timer) lift_set(h, 0);
  }
}

void actions_ledger_drop(struct actions *a, const char *incident) {
  size_t at = 0;
  const char *name;
  void *value;
  while (map_next(&a->holds, &at, &name, &value)) {
    struct hold *h = value;
    if (strcmp(h->incident, incident) != 0) continue;
    hold_free(map_remove(&a->holds, name));
    at = 0; /* a map is not changed while it is walked */
  }
}

void actions_on_lift(struct actions *a, actions_lift_cb *cb, void *arg) {
  a->lift_cb = cb;
  a->lift_arg = arg;
}

static bool contains(const struct action *x) {
  return x->effect == EFFECT_CONTAIN && !x->undoing &&
         (json_is_string(json_object_get(x->declaration, "undo")) || json_is_false(json_object_get(x->declaration, "undo")));
}

/* A lifting action that was called by itself: what this incident contained by the action that it lifts is released. */
void ledger_lifted(struct action *x) {
  const char *lifts = json_str(x->declaration, "lifts"), *of;
  json_t *held = lifts && !x->undoing ? json_deep_copy(json_object_get(journal_state(x->journal), "containments")) : NULL, *c;
  json_object_foreach(held, of, c) {
    bool same = strcmp(json_str_or(c, "connector", ""), x->connector->instance) == 0 && strcmp(json_str_or(c, "action", ""), lifts) == 0 &&
                json_equal(json_object_get(c, "target"), x->target);
    if (!same || !in_force(c)) continue;
    journal_add(x->journal, KIND_CONTAINMENT_RELEASED, x->actor, x->run, x->step, json_pack("{s:s, s:s}", "of", of, "by_action", x->name));
    ledger_forget(x->all, journal_incident(x->journal), of);
  }
  json_decref(held);
}

/* Does somebody hold this target by the same action, and made it so? */
static bool held_by_others(const struct actions *a, const char *key, const char *incident, const char *of) {
  size_t at = 0;
  void *value;
  while (map_next(&a->holds, &at, NULL, &value)) {
    const struct hold *h = value;
    if (strcmp(h->key, key) == 0 && (strcmp(h->incident, incident) != 0 || strcmp(h->of, of) != 0) &&
        strcmp(json_str_or(h->containment, "status", ""), "found") != 0)
      return true;
  }
  return false;
}

static void place_of(const struct action *x, char out[ID_PATH]) { snprintf(out, ID_PATH, "%u/%s", x->run, x->step); }

const char *ledger_status(const struct action *x, const json_t *returns, bool proven_ours) {
  char of[ID_PATH];
  if (!contains(x)) return NULL;
  if (!proven_ours) return "found";
  if (!json_bool_or(returns, "already", false)) return "active";
  place_of(x, of);
  char *key = ledger_key(x->all, journal_incident(x->journal), x->connector->instance, x->name, x->target, x->simulated);
  bool shared = held_by_others(x->all, key, journal_incident(x->journal), of);
  free(key);
  return shared ? "active" : "found";
}

/* The index names the incident before its intent does; one that points at nothing is harmless. */
void ledger_announce(struct action *x) {
  if (!contains(x) || x->exercise) return; /* an exercise's incidents are all taken up with it */
  redis_call(x->all->deps.redis, redis_lane(x->all->deps.redis, journal_incident(x->journal)), NULL, NULL, NULL, "HSET", INDEX_KEY, x->id,
             journal_incident(x->journal), NULL);
}

void ledger_hold(struct action *x, const char *status) {
  char of[ID_PATH];
  place_of(x, of);
  const json_t *c = json_object_get(json_object_get(journal_state(x->journal), "containments"), of);
  if (c) hold_add(x->all, journal_incident(x->journal), of, c, journal_store_of(x->journal)->clock);
}

void ledger_forget(struct actions *a, const char *incident, const char *of) {
  char name[ID_PATH * 2], id[ID_PATH * 2];
  hold_name(name, incident, of);
  struct hold *h = map_remove(&a->holds, name);
  if (h) holders_change(a, h, "SREM");
  hold_free(h);
  snprintf(id, sizeof id, "%s/%s", incident, of);
  redis_call(a->deps.redis, redis_lane(a->deps.redis, incident), NULL, NULL, NULL, "HDEL", INDEX_KEY, id, NULL);
}

void ledger_undone(struct action *x) {
  journal_add(x->journal, KIND_CONTAINMENT_RELEASED, x->actor, x->run, x->step,
              json_pack("{s:s, s:O}", "of", x->undo_of, "returns", x->returns));
  ledger_forget(x->all, journal_incident(x->journal), x->undo_of);
}

static json_t *holders_of(const struct actions *a, const char *key) {
  json_t *holders = json_array();
  size_t at = 0;
  void *value;
  while (map_next(&a->holds, &at, NULL, &value)) {
    const struct hold *h = value;
    if (strcmp(h->key, key) == 0 && !json_array_has(holders, h->incident)) json_array_append_new(holders, json_string(h->incident));
  }
  return holders;
}

static int by_since(const void *a, const void *b) {
  const json_t *const *x = a, *const *y = b;
  int64_t p = json_int_or(*x, "since", 0), q = json_int_or(*y, "since", 0);
  return p < q ? -1 : p > q;
}

json_t *actions_contained(const struct actions *a) {
  size_t at = 0, count = 0;
  void *value;
  json_t **list = calloc(map_count(&a->holds) + 1, sizeof *list), *result = json_array();
  if (!list) abort();
  while (map_next(&a->holds, &at, NULL, &value)) {
    const struct hold *h = value;
    json_t *item = json_copy(h->containment);
    json_object_set_new(item, "incident", json_string(h->incident));
    json_object_set_new(item, "step", json_string(h->of));
    json_object_set_new(item, "holders", holders_of(a, h->key));
    list[count++] = item;
  }
  qsort(list, count, sizeof *list, by_since);
  for (size_t i = 0; i < count; i++) json_array_append_new(result, list[i]);
  free(list);
  return result;
}

/* --- letting go -------------------------------------------------------------------------------------------------- */

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
  char name[ID_PATH * 2];
  hold_name(name, journal_incident(r->journal), r->of);
  const struct hold *h = map_get(&r->all->holds, name);
  if (h) holders_change(r->all, h, "SADD"); /* it had let go, to see whether it was the last */
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

static void undo(struct release *r) {
  struct err err;
  const json_t *done = containment(r);
  json_t *params = NULL;
  struct action *action;
  const struct connector *c = registry_find(r->all->deps.registry, json_str_or(done, "connector", ""), &err);
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
    struct action_spec spec = {.journal = r->journal,
                               .run = r->run,
                               .step = r->step,
                               .actor = r->actor,
                               .playbook = r->playbook,
                               .connector = c->instance,
                               .action = name,
                               .params = params,
                               .requester = r->requester,
                               .simulated = r->simulated || json_bool_or(done, "simulated", false), /* nothing real was done */
                               .undo_of = r->of,
                               .history = r->history};
    r->sent = true;
    if (action_start(r->all, &spec, on_undone, r, &action, &err) < 0) r->sent = false, still(r, err.text);
  }
  json_decref(params);
}

static void on_found_answer(void *arg, const char *answer, const char *by) {
  struct release *r = arg;
  r->question = NULL;
  if (strcmp(answer, "release") == 0) undo(r);
  else release_end(r, false, failure_new("kept", "it was contained before we came, and stays so", false));
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

/* What the action says a person does in place of an undo; NULL when it has one. */
static const char *recover_text(const struct release *r) {
  const json_t *c = containment(r);
  const struct connector *connector = registry_find(r->all->deps.registry, json_str_or(c, "connector", ""), NULL);
  const json_t *declaration = connector ? registry_action(connector, json_str_or(c, "action", ""), NULL) : NULL;
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
static void let_go(struct release *r, const char *key) {
  char name[ID_PATH * 2], set[96];
  struct err err;
  if (!r->all->deps.nodes) {
    undo(r);
    return;
  }
  hold_name(name, journal_incident(r->journal), r->of);
  holders_key(key, set);
  r->asking = true;
  if (redis_call(r->all->deps.redis, redis_lane(r->all->deps.redis, set), on_holders, r, &err, "FCALL", "tocsin_let_go", "1", set, name,
                 NULL) < 0)
    on_holders(r, NULL, &err);
}

/* To let go twice is to let go once, so it is asked until Redis answers. */
static void let_go_again(void *arg) {
  struct release *r = arg;
  timer_free(r->again);
  r->again = NULL;
  char *key = key_of(r->all, journal_incident(r->journal), containment(r));
  let_go(r, key);
  free(key);
}

static void release_begin(void *arg) {
  struct release *r = arg;
  const json_t *c = containment(r);
  const char *status = json_str_or(c, "status", "");
  char *key = key_of(r->all, journal_incident(r->journal), c);
  const char *recover = recover_text(r);
  if (recover) {
    ask_recovered(r, recover);
  } else if (strcmp(status, "found") == 0) {
    ask_found(r);
  } else if (held_by_others(r->all, key, journal_incident(r->journal), r->of)) {
    keep_for(r, holders_of(r->all, key));
  } else {
    let_go(r, key);
  }
  free(key);
}

int action_release(struct actions *a, const struct action_spec *spec, const char *of, action_cb *cb, void *arg, struct action **ret,
                   struct err *err) {
  const json_t *c = json_object_get(json_object_get(journal_state(spec->journal), "containments"), of);
  if (!c)
    return err_set(err, ERR_NOT_FOUND, "%s/%s contains nothing; `tocsin contained` lists what is contained",
                   journal_incident(spec->journal), of);
  if (!in_force(c))
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
  TAILQ_INSERT_TAIL(&a->releases, r, next);
  if (ret) *ret = NULL; /* a release cannot be abandoned: it goes to its end */
  loop_defer(a->deps.loop, release_begin, r);
  return 0;
}

/* Does releasing this containment begin with a question (we only found it so, or it has no undo)? */
bool actions_release_asks(const struct actions *a, const json_t *containment) {
  const struct connector *c = registry_find(a->deps.registry, json_str_or(containment, "connector", ""), NULL);
  const json_t *declaration = c ? registry_action(c, json_str_or(containment, "action", ""), NULL) : NULL;
  return strcmp(json_str_or(containment, "status", ""), "found") == 0 || (declaration && !json_str(declaration, "undo"));
}
