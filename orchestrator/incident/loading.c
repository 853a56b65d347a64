/* The whole desk, at start: the sleepers' ledgers, the open incidents, and what closed ones still contain or remove. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "incident/internal.h"

enum { LOADING_AT_ONCE = 64, LOAD_AGAIN_MS = 500 };

struct loading {
  struct desk *desk;
  json_t *ids, *again; /* again: those that Redis could not give for the moment */
  json_t *known;       /* the ids as a set */
  json_t *listed;      /* those in the list of the open ones, as a set */
  json_t *unlisted;    /* ours that are not in it, as a set */
  size_t next, under_way;
  struct timer *timer;
  bool cancelled;
  desk_cb *cb;
  void *arg;
};

static void load_more(struct loading *l);
static void load_one(struct loading *l, const char *id);

static void place_again(struct desk *d, const char *id, bool open) {
  if (open) log_warning("%s stood in no list of incidents: its place had been lost with a connection", id);
  incident_place(d, id, open);
}

static void on_incident(struct incident *inc, void *arg, const struct err *err) {
  struct loading *l = arg;
  l->under_way--;
  if (err && err->code == ERR_CANCELLED) l->cancelled = true; /* the engine is going down before it was up */
  else if (err && (err->code == ERR_UNAVAILABLE || err->code == ERR_TIMEOUT)) json_array_append_new(l->again, json_string(inc->id));
  else if (!err && json_object_get(l->unlisted, inc->id) && journal_seq(inc->journal)) {
    place_again(inc->desk, inc->id, strcmp(json_str_or(incident_state(inc), "status", ""), "open") == 0);
  }
  load_more(l);
}

static void loading_free(struct loading *l) {
  timer_free(l->timer);
  json_decref(l->ids);
  json_decref(l->again);
  json_decref(l->known);
  json_decref(l->listed);
  json_decref(l->unlisted);
  free(l);
}

static void load_again(void *arg) {
  struct loading *l = arg;
  timer_free(l->timer);
  l->timer = NULL;
  json_decref(l->ids);
  l->ids = l->again;
  l->again = json_array();
  l->next = 0;
  load_more(l);
}

static void load_more(struct loading *l) {
  l->under_way++; /* this call itself: an incident that fails at once comes back here before the loop is through */
  while (l->under_way <= LOADING_AT_ONCE && l->next < json_array_size(l->ids) && !l->cancelled) {
    load_one(l, json_string_value(json_array_get(l->ids, l->next++)));
  }
  if (--l->under_way || (l->next < json_array_size(l->ids) && !l->cancelled)) return;
  if (l->cancelled) {
    loading_free(l);
    return;
  }
  if (json_array_size(l->again)) {
    l->timer = timer_start(l->desk->deps.loop, LOAD_AGAIN_MS, load_again, l);
    return;
  }
  l->cb(l->arg, NULL);
  loading_free(l);
}

/* A sleeper stays asleep; only what it contains is looked up. */
struct ledger_of {
  struct loading *l;
  char id[ID_INCIDENT];
};

static void on_ledger(void *arg, const struct redis_value *reply, const struct err *err) {
  struct ledger_of *of = arg;
  struct loading *l = of->l;
  struct desk *d = l->desk;
  json_t *state = NULL;
  size_t len;
  const char *text = err ? "" : redis_string(reply, &len);
  l->under_way--;
  if (!err && redis_type(reply) == REDIS_STRING && json_parse_stored(text, len, &state, NULL) == 0)
    actions_ledger_load(d->deps.actions, of->id, state, d->deps.store->clock);
  else if (err && err->code == ERR_CANCELLED) l->cancelled = true;
  else json_array_append_new(l->again, json_string(of->id));
  json_decref(state);
  free(of);
  load_more(l);
}

static void ledger_ask(struct loading *l, const char *id) {
  char key[KEY_TEXT];
  struct redis *redis = l->desk->deps.redis;
  struct ledger_of *of = calloc(1, sizeof *of);
  if (!of) abort();
  of->l = l;
  snprintf(of->id, sizeof of->id, "%s", id);
  snprintf(key, sizeof key, "tocsin:{%s}:state", id);
  if (redis_call(redis, redis_lane(redis, id), on_ledger, of, NULL, "GET", key, NULL) == 0) return;
  l->under_way--;
  json_array_append_new(l->again, json_string(id));
  free(of);
}

static void load_one(struct loading *l, const char *id) {
  l->under_way++;
  if (sleepers_have(l->desk->sleepers, id)) ledger_ask(l, id);
  else incident_with(l->desk, id, false, on_incident, l);
}

static void id_add(struct loading *l, const char *id) {
  struct id parsed;
  if (!id_parse(id, &parsed) || json_object_get(l->known, id)) return;
  json_object_set_new(l->known, id, json_true());
  json_array_append_new(l->ids, json_string(id));
}

static void load_failed(struct loading *l, const struct err *err) {
  l->cb(l->arg, err);
  loading_free(l);
}

/* "INC-000042/7": removals that were begun; closed incidents, too. */
static void on_removing(void *arg, const struct redis_value *reply, const struct err *err) {
  struct loading *l = arg;
  if (err) {
    load_failed(l, err);
    return;
  }
  for (size_t i = 0; i < redis_count(reply); i++) {
    char id[ID_PATH];
    snprintf(id, sizeof id, "%s", redis_string(redis_item(reply, i), NULL));
    id[strcspn(id, "/")] = 0;
    id_add(l, id);
  }
  load_more(l);
}

static void on_contained(void *arg, const struct redis_value *reply, const struct err *err) {
  struct loading *l = arg;
  struct err why;
  if (err) {
    load_failed(l, err);
    return;
  }
  for (size_t i = 0; i < redis_count(reply); i++) id_add(l, redis_string(redis_item(reply, i), NULL));
  if (redis_call(l->desk->deps.redis, 0, on_removing, l, &why, "SMEMBERS", "tocsin:removing", NULL) < 0) load_failed(l, &why);
}

/* [id, node, …]: ours that no list of open ones names. Its place in the list was lost with a connection, and this process with it. */
static void on_owned(void *arg, const struct redis_value *reply, const struct err *err) {
  struct loading *l = arg;
  struct err why;
  if (err) {
    load_failed(l, err);
    return;
  }
  for (size_t i = 0; i + 1 < redis_count(reply); i += 2) {
    const char *id = redis_string(redis_item(reply, i), NULL);
    if (strcmp(redis_string(redis_item(reply, i + 1), NULL), nodes_self(l->desk->deps.nodes)) != 0) continue;
    if (json_object_get(l->listed, id) || id_exercise(id)) continue;
    if (sleepers_have(l->desk->sleepers, id)) { /* none that is closed sleeps */
      place_again(l->desk, id, true);
      continue;
    }
    id_add(l, id);
    json_object_set_new(l->unlisted, id, json_true());
  }
  if (redis_call(l->desk->deps.redis, 0, on_contained, l, &why, "HVALS", "tocsin:contained", NULL) < 0) load_failed(l, &why);
}

static void on_open(void *arg, const struct redis_value *reply, const struct err *err) {
  struct loading *l = arg;
  struct err why;
  if (err) {
    load_failed(l, err);
    return;
  }
  for (size_t i = 0; i < redis_count(reply); i++) {
    const char *id = redis_string(redis_item(reply, i), NULL);
    json_object_set_new(l->listed, id, json_true());
    if (!sleepers_have(l->desk->sleepers, id)) id_add(l, id);
  }
  if (l->desk->deps.exercise) { /* no list names what others contain or remove */
    load_more(l);
  } else if (l->desk->deps.nodes) {
    if (redis_call(l->desk->deps.redis, 0, on_owned, l, &why, "HGETALL", NODES_OWNER, NULL) < 0) load_failed(l, &why);
  } else if (redis_call(l->desk->deps.redis, 0, on_contained, l, &why, "HVALS", "tocsin:contained", NULL) < 0) load_failed(l, &why);
}

static void on_sleepers(void *arg, const struct err *err) {
  struct loading *l = arg;
  struct err why;
  char open[DESK_KEY];
  desk_key(l->desk, "open", open);
  if (err) load_failed(l, err);
  else if (redis_call(l->desk->deps.redis, 0, on_open, l, &why, "ZRANGE", open, "0", "-1", NULL) < 0) load_failed(l, &why);
}

static void on_outages(void *arg, const struct err *err) {
  struct loading *l = arg;
  struct err why;
  if (err) load_failed(l, err);
  else if (sleepers_load(l->desk->sleepers, on_sleepers, l, &why) < 0) load_failed(l, &why);
}

int desk_load(struct desk *d, desk_cb *cb, void *arg, struct err *err) {
  struct loading *l = calloc(1, sizeof *l);
  if (!l) abort();
  *l = (struct loading){.desk = d,
                        .ids = json_array(),
                        .again = json_array(),
                        .known = json_object(),
                        .listed = json_object(),
                        .unlisted = json_object(),
                        .cb = cb,
                        .arg = arg};
  char open[DESK_KEY];
  desk_key(d, "open", open);
  if (!d->deps.exercise) corrective_begin(d);
  /* While nobody could answer, an exercise's clock stood still. */
  int r = d->deps.exercise ? redis_call(d->deps.redis, 0, on_open, l, err, "ZRANGE", open, "0", "-1", NULL)
                           : outages_begin(d, on_outages, l, err);
  if (r < 0) loading_free(l);
  return r;
}
