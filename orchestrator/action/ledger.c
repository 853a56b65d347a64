/* The ledger of containments: who holds which target. The journals are the truth; this is their index. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "action/internal.h"
#include "base/id.h"
#include "base/json.h"

static const char INDEX_KEY[] = "tocsin:contained";
enum { LOOK_AGAIN_MS = 60000 /* the longest time between two looks at the clock, which may be set */ };

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

bool ledger_in_force(const json_t *containment) {
  const char *status = json_str_or(containment, "status", "");
  return strcmp(status, "active") == 0 || strcmp(status, "still") == 0 || strcmp(status, "found") == 0;
}

void actions_ledger_load(struct actions *a, const char *incident, const json_t *state, const struct clock *clock) {
  const char *of;
  json_t *c;
  json_object_foreach(json_object_get(state, "containments"), of, c) if (ledger_in_force(c)) hold_add(a, incident, of, c, clock);
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

static bool contains(const struct action *x) { return x->form->contains && !x->undoing; }

/* A lifting action that was called by itself: what this incident contained by the action that it lifts is released. */
void ledger_lifted(struct action *x) {
  const char *lifts = x->form->lifts, *of;
  json_t *held = lifts && !x->undoing ? json_deep_copy(json_object_get(journal_state(x->journal), "containments")) : NULL, *c;
  json_object_foreach(held, of, c) {
    bool same = strcmp(json_str_or(c, "connector", ""), x->connector->instance) == 0 && strcmp(json_str_or(c, "action", ""), lifts) == 0 &&
                json_equal(json_object_get(c, "target"), x->target);
    if (!same || !ledger_in_force(c)) continue;
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

static void place_of(const struct action *x, char out[ID_PATH]) { id_place(out, x->run, x->step); }

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

/* --- for letting go ------------------------------------------------------------------------------------------------ */

bool ledger_held_by_others(const struct actions *a, const char *incident, const char *of, const json_t *containment) {
  char *key = key_of(a, incident, containment);
  bool held = held_by_others(a, key, incident, of);
  free(key);
  return held;
}

json_t *ledger_holders(const struct actions *a, const char *incident, const json_t *containment) {
  char *key = key_of(a, incident, containment);
  json_t *holders = holders_of(a, key);
  free(key);
  return holders;
}

int ledger_let_go(struct actions *a, const char *incident, const char *of, const json_t *containment, redis_cb *cb, void *arg,
                  struct err *err) {
  char name[ID_PATH * 2], set[96], *key = key_of(a, incident, containment);
  hold_name(name, incident, of);
  holders_key(key, set);
  free(key);
  return redis_call(a->deps.redis, redis_lane(a->deps.redis, set), cb, arg, err, "FCALL", "tocsin_let_go", "1", set, name, NULL);
}

void ledger_hold_again(struct actions *a, const char *incident, const char *of) {
  char name[ID_PATH * 2];
  hold_name(name, incident, of);
  const struct hold *h = map_get(&a->holds, name);
  if (h) holders_change(a, h, "SADD");
}
