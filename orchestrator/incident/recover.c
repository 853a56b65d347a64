/* Taking incidents up again: after a restart of the node, or when one is loaded while something of it is alive. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "incident/internal.h"

enum { LOADING_AT_ONCE = 64, LOAD_AGAIN_MS = 500 };

struct recovery {
  struct incident *inc;
  json_t *entries;
  size_t waiting; /* sources still to come, and the secrets */
  desk_cb *cb;
  void *arg;
};

static bool any_running(const json_t *state) {
  const char *key;
  json_t *run;
  json_object_foreach(json_object_get(state, "runs"), key, run) if (strcmp(json_str_or(run, "status", ""), "running") == 0) return true;
  return false;
}

static bool needs_entries(const json_t *state) {
  return any_running(state) || json_object_size(json_object_get(state, "questions")) ||
         json_object_size(json_object_get(state, "intents")) || json_object_size(json_object_get(state, "chosen"));
}

static void recovery_end(struct recovery *r, const struct err *err) {
  struct desk *d = r->inc->desk;
  char id[ID_INCIDENT];
  bool leaving = r->inc->leaving;
  snprintf(id, sizeof id, "%s", r->inc->id);
  r->inc->recovering = false;
  r->cb(r->arg, err); /* may free the incident */
  if (leaving) desk_lost(d, id);
  json_decref(r->entries);
  free(r);
}

static bool keep_entry(void *arg, const struct entry *e) {
  struct recovery *r = arg;
  char time[TIME_TEXT];
  time_format(e->time, time);
  json_array_append_new(r->entries,
                        json_pack("{s:I, s:s, s:s, s:i, s:s, s:I, s:O*}", "seq", (json_int_t)e->seq, "type", kind_name(e->kind), "actor",
                                  e->actor, "run", (int)e->run, "step", e->step, "time", (json_int_t)e->time, "body", e->body));
  return true;
}

/* In one go: when the rest of an incident is taken up, a run of it may live already and look at them. */
static void keep_alerts(struct recovery *r) {
  size_t i;
  json_t *e;
  json_array_clear(r->inc->alerts);
  json_array_foreach(r->entries, i, e) {
    const json_t *body = json_object_get(e, "body"), *text = json_object_get(body, "raw");
    json_t *raw = NULL;
    if (strcmp(json_str_or(e, "type", ""), "alert.attached") != 0) continue;
    if (json_is_string(text) && json_parse(json_string_value(text), json_string_length(text), &raw, NULL) < 0)
      raw = json_incref((json_t *)(uintptr_t)text);
    incident_alert_keep(r->inc, json_object_get(body, "finding"), raw);
    json_decref(raw);
  }
}

/* Entries of one step of one run, for action_start's history. New. */
static json_t *history_of(const json_t *entries, unsigned run, const char *step) {
  json_t *history = json_array(), *e;
  size_t i;
  json_array_foreach(entries, i, e) if ((unsigned)json_int_or(e, "run", 0) == run && strcmp(json_str_or(e, "step", ""), step) == 0)
      json_array_append(history, e);
  return history;
}

static const json_t *run_started(const json_t *entries, unsigned run) {
  size_t i;
  json_t *e;
  json_array_foreach(entries, i, e) if ((unsigned)json_int_or(e, "run", 0) == run &&
                                        strcmp(json_str_or(e, "type", ""), "run.started") == 0) return json_object_get(e, "body");
  return NULL;
}

/* The engine's own release was cut short: what it had not lifted is still listed as contained, and nobody waits for its questions. */
static void release_cut_short(struct incident *inc, unsigned number) {
  json_t *questions = json_deep_copy(json_object_get(incident_state(inc), "questions")), *q;
  const char *at;
  json_object_foreach(questions, at,
                      q) if ((unsigned)json_int_or(q, "run", 0) == number && strcmp(json_str_or(q, "kind", ""), "release") == 0)
      journal_add(inc->journal, KIND_QUESTION_EXPIRED, "engine", number, json_str_or(q, "step", ""),
                  json_pack("{s:s, s:s}", "answer", "keep", "why", "the engine stopped in the middle; release again"));
  json_decref(questions);
  journal_add(inc->journal, KIND_RUN_FINISHED, "engine", number, NULL,
              json_pack("{s:s, s:s}", "status", "failed", "error", "the engine stopped in the middle; release again"));
}

/* Every connector that the run began with is there in that version; else why names both. */
static bool connectors_there(const struct desk *d, const json_t *started, struct err *why) {
  const char *instance;
  json_t *digest;
  if (!d->deps.registry) return true;
  json_object_foreach(json_object_get(started, "connectors"), instance, digest) {
    if (!registry_find_version(d->deps.registry, instance, json_string_value(digest), why)) return false;
  }
  return true;
}

static void take_up(struct recovery *r, unsigned number, const json_t *view) {
  struct incident *inc = r->inc;
  struct desk *d = inc->desk;
  struct err err;
  const json_t *started = run_started(r->entries, number);
  const char *name = json_str_or(view, "playbook", "");
  const struct declaration *p = map_get(&d->pins, json_str_or(view, "digest", ""));
  struct run *run = NULL;
  if (!alone_allows(inc, number) || alone_set_aside(inc, number)) return;
  if (json_bool_or(started, "engine", false)) {
    release_cut_short(inc, number);
    return;
  }
  if (!p) {
    journal_add(inc->journal, KIND_RUN_HANDED_OVER, "engine", number, NULL,
                json_pack("{s:s, s:s}", "text", "the playbook's pinned version is not to be found, so the run cannot go on", "why", name));
    return;
  }
  if (!connectors_there(d, started, &err)) {
    journal_add(inc->journal, KIND_RUN_HANDED_OVER, "engine", number, NULL,
                json_pack("{s:s, s:s}", "text", "a connector's pinned version is not to be found, so the run cannot go on", "why",
                          err.text));
    return;
  }
  json_t *settings = playbook_settings(d, p);
  struct run_spec spec = {.journal = inc->journal,
                          .number = number,
                          .playbook = p,
                          .params = json_object_get(started, "params"),
                          .settings = settings,
                          .trigger = json_object_get(started, "trigger"),
                          .requester = json_str(json_object_get(started, "trigger"), "person"),
                          .simulated = json_bool_or(started, "simulated", false)};
  if (run_take_up(d->runs, &spec, r->entries, incident_run_done, d, &run, &err) < 0)
    journal_add(inc->journal, KIND_RUN_HANDED_OVER, "engine", number, NULL,
                json_pack("{s:s, s:s}", "text", "the run could not be taken up again", "why", err.text));
  else incident_run_keep(inc, run, name);
  json_decref(settings);
}

/* Intents that no running run waits for (a cancelled run's, a notification's): resolved all the same. */
static void resume_orphans(struct recovery *r) {
  struct incident *inc = r->inc;
  const json_t *state = incident_state(inc);
  json_t *intents = json_deep_copy(json_object_get(state, "intents")), *intent, *value;
  const char *at, *key;
  void *next;
  json_object_foreach(intents, at, intent) {
    char number[16] = "", *slash = strchr(at, '/');
    if (!slash || (size_t)(slash - at) >= sizeof number) continue;
    memcpy(number, at, (size_t)(slash - at));
    if (strcmp(json_str_or(json_object_get(json_object_get(state, "runs"), number), "status", ""), "running") == 0) continue;
    unsigned run = (unsigned)strtoul(number, NULL, 10);
    json_t *params = json_copy(json_object_get(intent, "params")), *history = history_of(r->entries, run, slash + 1);
    json_object_foreach_safe(params, next, key, value) if (json_object_get(value, "$secret")) json_object_del(params, key);
    struct action_spec spec = {.journal = inc->journal,
                               .run = run,
                               .step = slash + 1,
                               .actor = "engine",
                               .connector = json_str_or(intent, "connector", ""),
                               .action = json_str_or(intent, "action", ""),
                               .params = params,
                               .simulated = json_bool_or(intent, "simulated", false),
                               .history = history,
                               .undo_of = json_str(intent, "undo_of")};
    struct action *action;
    struct err err;
    if (action_start(inc->desk->deps.actions, &spec, NULL, NULL, &action, &err) < 0)
      log_error("%s/%s: in doubt, and cannot be resolved: %s", inc->id, at, err.text);
    else action_abandon(action); /* found out, and sent no more */
    json_decref(params);
    json_decref(history);
  }
  json_decref(intents);
}

static void ready(struct recovery *r) {
  json_t *runs = json_deep_copy(json_object_get(incident_state(r->inc), "runs")), *run;
  const char *number;
  json_object_foreach(runs, number, run) if (strcmp(json_str_or(run, "status", ""), "running") == 0)
      take_up(r, (unsigned)strtoul(number, NULL, 10), run);
  json_decref(runs);
  if (!r->inc->desk->alone.holding) {
    resume_orphans(r);
    incident_choose_again(r->inc, r->entries);
  }
  recovery_end(r, NULL);
}

static void one_done(struct recovery *r) {
  if (--r->waiting == 0) ready(r);
}

struct fetching {
  struct recovery *r;
  bool connector; /* else the playbook */
  char digest[65], name[128];
};

static void connector_known(struct desk *d, const struct fetching *f, const char *text, size_t len) {
  struct err why;
  if (registry_version_add(d->deps.registry, f->name, f->digest, text, len, &why) < 0)
    log_error("the pinned connector %s cannot be loaded: %s", f->name, why.text);
}

static void on_source(void *arg, const struct redis_value *reply, const struct err *err) {
  struct fetching *f = arg;
  struct declaration *p = NULL;
  struct err why;
  struct desk *d = f->r->inc->desk;
  size_t len;
  const char *text = err ? "" : redis_string(reply, &len);
  if (!err && redis_type(reply) == REDIS_STRING && f->connector) connector_known(d, f, text, len);
  else if (!err && redis_type(reply) == REDIS_STRING && !map_get(&d->pins, f->digest)) {
    if (playbook_load(f->name, text, len, &p, &why) < 0) log_error("the pinned playbook %s cannot be loaded: %s", f->name, why.text);
    else if (strcmp(p->digest, f->digest) != 0) declaration_free(p), log_error("the pinned playbook %s was changed in Redis", f->name);
    else map_put(&d->pins, f->digest, p);
  }
  one_done(f->r);
  free(f);
}

static void fetch(struct recovery *r, const char *digest, const char *name, bool connector) {
  struct desk *d = r->inc->desk;
  struct err err;
  char key[128];
  struct fetching *f = calloc(1, sizeof *f);
  if (!f) abort();
  f->r = r;
  f->connector = connector;
  snprintf(f->digest, sizeof f->digest, "%s", digest);
  snprintf(f->name, sizeof f->name, "%s", name);
  snprintf(key, sizeof key, "tocsin:source:%s", digest);
  r->waiting++;
  if (redis_call(d->deps.redis, redis_lane(d->deps.redis, key), on_source, f, &err, "GET", key, NULL) < 0) {
    one_done(r);
    free(f);
  }
}

static void fetch_connectors(struct recovery *r, unsigned number) {
  const char *instance;
  json_t *digest;
  json_object_foreach(json_object_get(run_started(r->entries, number), "connectors"), instance, digest) {
    if (json_is_string(digest) && !registry_find_version(r->inc->desk->deps.registry, instance, json_string_value(digest), NULL))
      fetch(r, json_string_value(digest), instance, true);
  }
}

static void on_unsealed(void *arg, const struct err *err) { one_done(arg); }

static void on_entries(void *arg, const struct err *err) {
  struct recovery *r = arg;
  struct desk *d = r->inc->desk;
  struct err local;
  if (err) {
    recovery_end(r, err);
    return;
  }
  r->waiting = 1;
  keep_alerts(r);
  const char *number;
  json_t *run;
  json_object_foreach(json_object_get(incident_state(r->inc), "runs"), number, run) {
    const char *digest = json_str(run, "digest");
    if (strcmp(json_str_or(run, "status", ""), "running") != 0) continue;
    if (digest && !map_get(&d->pins, digest)) fetch(r, digest, json_str_or(run, "playbook", ""), false);
    if (d->deps.registry) fetch_connectors(r, (unsigned)strtoul(number, NULL, 10));
  }
  r->waiting++;
  if (actions_unseal(d->deps.actions, r->inc->id, on_unsealed, r, &local) < 0) r->waiting--;
  one_done(r);
}

void incident_recover(struct incident *inc, desk_cb *cb, void *arg) {
  struct err err;
  if (!needs_entries(incident_state(inc)) || incident_at_rest(inc)) {
    cb(arg, NULL);
    return;
  }
  const struct alone *alone = &inc->desk->alone;
  inc->put_off = alone->holding;
  if (alone->holding && (!alone->run || strcmp(alone->id, inc->id) != 0)) {
    cb(arg, NULL);
    return;
  }
  struct recovery *r = calloc(1, sizeof *r);
  if (!r) abort();
  *r = (struct recovery){.inc = inc, .entries = json_array(), .cb = cb, .arg = arg};
  inc->recovering = true;
  if (journal_read(inc->desk->deps.store, inc->id, 1, 0, keep_entry, on_entries, r, &err) < 0) recovery_end(r, &err);
}

/* --- the whole desk, at start -------------------------------------------------------------------------------------------- */

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
