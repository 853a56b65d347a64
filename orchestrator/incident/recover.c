/* Taking an incident up again: after a restart of the node, or when it is loaded while something of it is alive. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "incident/internal.h"

struct recovery {
  struct incident *inc;
  json_t *some;            /* runs to be taken up; NULL: all that are alive */
  bool slept;              /* nothing else in it was alive when it fell asleep, and what has come to life since is in memory */
  json_t *entries, *asked; /* asked: {"name digest": true}, sources */
  json_t *lists;           /* {digest: text}: those that are not in force */
  size_t waiting;          /* sources still to come, and the secrets */
  struct err err;          /* what Redis could not say, in code */
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

static bool wanted(const struct recovery *r, const char *number, const json_t *run) {
  return strcmp(json_str_or(run, "status", ""), "running") == 0 && (!r->some || json_object_get(r->some, number));
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
  json_decref(r->asked);
  json_decref(r->lists);
  json_decref(r->some);
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
  json_t *alerts = json_array();
  json_array_foreach(r->entries, i, e) if (strcmp(json_str_or(e, "type", ""), "alert.attached") == 0)
      incident_alert_add(alerts, json_object_get(e, "body"));
  incident_alerts_set(r->inc, alerts);
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

static int lists_there(const struct recovery *r, const json_t *started, void **ret, struct err *err) {
  const struct run_world *given = &r->inc->desk->deps.lists;
  const json_t *pins = json_object_get(started, "lists");
  return given->lists_again ? given->lists_again(given->arg, pins, r->lists, ret, err) : 0;
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
  void *lists = NULL;
  if (lists_there(r, started, &lists, &err) < 0) {
    journal_add(inc->journal, KIND_RUN_HANDED_OVER, "engine", number, NULL,
                json_pack("{s:s, s:s}", "text", "a list's pinned version is not to be found, so the run cannot go on", "why", err.text));
    return;
  }
  json_t *settings = playbook_settings(d, p);
  struct run_spec spec = {.journal = inc->journal,
                          .lists = lists,
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

/* Who asked for it: what a person tried by hand is no message of the engine's, of which nobody is asked. */
static const char *asked_by(const json_t *history) {
  const char *actor = NULL;
  size_t i;
  json_t *e;
  json_array_foreach(history, i, e) if (strcmp(json_str_or(e, "type", ""), "action.intended") == 0) actor = json_str(e, "actor");
  return actor && strncmp(actor, "person:", 7) == 0 ? actor : NULL;
}

/* at: "1/3". It is found out what became of it, and sent no more. */
static void resume_orphan(struct desk *d, struct journal *journal, unsigned run, const char *at, const json_t *intent,
                          const json_t *history) {
  json_t *params = json_copy(json_object_get(intent, "params")), *value;
  const char *key;
  void *next;
  json_object_foreach_safe(params, next, key, value) if (json_object_get(value, "$secret")) json_object_del(params, key);
  struct action_spec spec = {.journal = journal,
                             .run = run,
                             .step = strchr(at, '/') + 1,
                             .actor = "engine",
                             .connector = json_str_or(intent, "connector", ""),
                             .version = json_str(intent, "version"),
                             .action = json_str_or(intent, "action", ""),
                             .params = params,
                             .requester = asked_by(history),
                             .simulated = json_bool_or(intent, "simulated", false),
                             .history = history,
                             .undo_of = json_str(intent, "undo_of")};
  struct action *action;
  struct err err;
  if (action_start(d->deps.actions, &spec, NULL, NULL, &action, &err) < 0)
    log_error("%s/%s: in doubt, and cannot be resolved: %s", journal_incident(journal), at, err.text);
  else action_abandon(action);
  json_decref(params);
}

/* Intents that no running run waits for (a cancelled run's, a notification's): resolved all the same. */
static void resume_orphans(struct recovery *r) {
  struct incident *inc = r->inc;
  const json_t *state = incident_state(inc);
  json_t *intents = json_deep_copy(json_object_get(state, "intents")), *intent;
  const char *at;
  json_object_foreach(intents, at, intent) {
    char number[16] = "", *slash = strchr(at, '/');
    if (!slash || (size_t)(slash - at) >= sizeof number) continue;
    memcpy(number, at, (size_t)(slash - at));
    if (strcmp(json_str_or(json_object_get(json_object_get(state, "runs"), number), "status", ""), "running") == 0) continue;
    unsigned run = (unsigned)strtoul(number, NULL, 10);
    json_t *history = history_of(r->entries, run, slash + 1);
    resume_orphan(inc->desk, inc->journal, run, at, intent, history);
    json_decref(history);
  }
  json_decref(intents);
}

/* Of the node's own journal, which no incident's recovery reads: the state says all that is needed. */
void desk_node_resume(struct desk *d) {
  json_t *intents = json_deep_copy(json_object_get(journal_state(d->deps.node), "intents")), *intent;
  const char *at;
  json_object_foreach(intents, at, intent) {
    json_t *history = json_pack("[{s:s, s:O}]", "type", "action.intended", "body", intent);
    if (strncmp(at, "0/", 2) == 0) resume_orphan(d, d->deps.node, 0, at, intent, history);
    json_decref(history);
  }
  json_decref(intents);
}

static void ready(struct recovery *r) {
  json_t *runs = json_deep_copy(json_object_get(incident_state(r->inc), "runs")), *run;
  const char *number;
  json_object_foreach(runs, number, run) if (wanted(r, number, run)) take_up(r, (unsigned)strtoul(number, NULL, 10), run);
  json_decref(runs);
  if (!r->inc->desk->alone.holding && !r->slept) {
    resume_orphans(r);
    incident_choose_again(r->inc, r->entries);
  }
  recovery_end(r, NULL);
}

static bool away(const struct err *err) {
  return err->code == ERR_UNAVAILABLE || err->code == ERR_TIMEOUT || err->code == ERR_LIMIT || err->code == ERR_CANCELLED;
}

static void one_done(struct recovery *r, const struct err *err) {
  if (err && away(err)) r->err = *err;
  if (--r->waiting) return;
  if (r->err.code) recovery_end(r, &r->err); /* what is kept is not gone because Redis is away */
  else ready(r);
}

enum source { SOURCE_PLAYBOOK, SOURCE_CONNECTOR, SOURCE_LIST };

struct fetching {
  struct recovery *r;
  enum source what;
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
  if (!err && redis_type(reply) == REDIS_STRING && f->what == SOURCE_CONNECTOR) connector_known(d, f, text, len);
  else if (!err && redis_type(reply) == REDIS_STRING && f->what == SOURCE_LIST)
    json_object_set_new(f->r->lists, f->digest, json_stringn_nocheck(text, len));
  else if (!err && redis_type(reply) == REDIS_STRING && !map_get(&d->pins, f->digest)) {
    if (playbook_load(f->name, text, len, &p, &why) < 0) log_error("the pinned playbook %s cannot be loaded: %s", f->name, why.text);
    else if (strcmp(p->digest, f->digest) != 0) declaration_free(p), log_error("the pinned playbook %s was changed in Redis", f->name);
    else map_put(&d->pins, f->digest, p);
  }
  one_done(f->r, err);
  free(f);
}

static void fetch(struct recovery *r, const char *digest, const char *name, enum source what) {
  struct desk *d = r->inc->desk;
  struct err err;
  char key[256];
  snprintf(key, sizeof key, "%.150s %.64s", name, digest);
  if (json_object_get(r->asked, key)) return;
  json_object_set_new(r->asked, key, json_true());
  struct fetching *f = calloc(1, sizeof *f);
  if (!f) abort();
  f->r = r;
  f->what = what;
  snprintf(f->digest, sizeof f->digest, "%s", digest);
  snprintf(f->name, sizeof f->name, "%s", name);
  snprintf(key, sizeof key, "tocsin:source:%.64s", digest);
  r->waiting++;
  if (redis_call(d->deps.redis, redis_lane(d->deps.redis, key), on_source, f, &err, "GET", key, NULL) < 0) {
    one_done(r, &err);
    free(f);
  }
}

static bool connector_known_as(const struct desk *d, const char *instance, const char *digest) {
  return !d->deps.registry || !digest || registry_find_version(d->deps.registry, instance, digest, NULL);
}

static void fetch_connector(struct recovery *r, const char *instance, const char *digest) {
  if (!connector_known_as(r->inc->desk, instance, digest)) fetch(r, digest, instance, SOURCE_CONNECTOR);
}

static void fetch_connectors(struct recovery *r, unsigned number) {
  const char *instance;
  json_t *digest;
  json_object_foreach(json_object_get(run_started(r->entries, number), "connectors"), instance, digest)
      fetch_connector(r, instance, json_string_value(digest));
}

static void fetch_lists(struct recovery *r, unsigned number) {
  const struct run_world *given = &r->inc->desk->deps.lists;
  const json_t *started = run_started(r->entries, number);
  void *lists;
  const char *name;
  json_t *digest;
  if (!given->lists_again) return;
  if (lists_there(r, started, &lists, NULL) == 0) { /* all in force */
    given->lists_drop(given->arg, lists);
    return;
  }
  json_object_foreach(json_object_get(started, "lists"), name, digest) if (json_is_string(digest))
      fetch(r, json_string_value(digest), name, SOURCE_LIST);
}

/* What lifts its containments and finds out about its intents: the versions that made them, whatever became of the files and of their runs since. */
typedef void bound_cb(void *arg, const char *instance, const char *digest);

static void each_bound(const json_t *state, bound_cb *cb, void *arg) {
  const char *at;
  json_t *item;
  json_object_foreach(json_object_get(state, "intents"), at, item) cb(arg, json_str_or(item, "connector", ""), json_str(item, "version"));
  json_object_foreach(json_object_get(state, "containments"), at, item) {
    const char *status = json_str_or(item, "status", "");
    if (strcmp(status, "released") != 0 && strcmp(status, "kept") != 0)
      cb(arg, json_str_or(item, "connector", ""), json_str(item, "version"));
  }
}

static void bound_fetch(void *arg, const char *instance, const char *digest) { fetch_connector(arg, instance, digest); }

struct bound {
  const struct desk *desk;
  bool missing;
};

static void bound_look(void *arg, const char *instance, const char *digest) {
  struct bound *b = arg;
  b->missing |= !connector_known_as(b->desk, instance, digest);
}

static bool all_bound(struct incident *inc) {
  struct bound b = {.desk = inc->desk};
  each_bound(incident_state(inc), bound_look, &b);
  return !b.missing;
}

static void on_unsealed(void *arg, const struct err *err) { one_done(arg, err); }

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
    const char *digest = json_str(run, "digest"), *name = json_str_or(run, "playbook", "");
    if (!wanted(r, number, run)) continue;
    const struct declaration *p = desk_playbook(d, name, NULL);
    if (p && digest && strcmp(p->digest, digest) == 0) desk_pin(d, p);
    if (digest && !map_get(&d->pins, digest)) fetch(r, digest, name, SOURCE_PLAYBOOK);
    fetch_lists(r, (unsigned)strtoul(number, NULL, 10));
    if (d->deps.registry) fetch_connectors(r, (unsigned)strtoul(number, NULL, 10));
  }
  each_bound(incident_state(r->inc), bound_fetch, r);
  r->waiting++;
  if (actions_unseal(d->deps.actions, r->inc->id, on_unsealed, r, &local) < 0) one_done(r, &local);
  one_done(r, NULL);
}

static struct recovery *recovery_new(struct incident *inc, desk_cb *cb, void *arg) {
  struct recovery *r = calloc(1, sizeof *r);
  if (!r) abort();
  *r = (struct recovery){.inc = inc, .entries = json_array(), .asked = json_object(), .lists = json_object(), .cb = cb, .arg = arg};
  inc->recovering = true;
  return r;
}

static void recover_versions(struct incident *inc, desk_cb *cb, void *arg) {
  struct recovery *r = recovery_new(inc, cb, arg);
  r->waiting = 1;
  each_bound(incident_state(inc), bound_fetch, r);
  one_done(r, NULL);
}

void incident_recover(struct incident *inc, const json_t *some, desk_cb *cb, void *arg) {
  struct err err;
  bool needs = needs_entries(incident_state(inc));
  if (incident_at_rest(inc) || (!needs && all_bound(inc))) {
    cb(arg, NULL);
    return;
  }
  if (!needs) {
    recover_versions(inc, cb, arg);
    return;
  }
  const struct alone *alone = &inc->desk->alone;
  inc->put_off = alone->holding;
  if (alone->holding && (!alone->run || strcmp(alone->id, inc->id) != 0)) {
    cb(arg, NULL);
    return;
  }
  struct recovery *r = recovery_new(inc, cb, arg);
  r->some = json_copy((json_t *)(uintptr_t)some);
  r->slept = inc->dozing;
  if (journal_read(inc->desk->deps.store, inc->id, 1, 0, keep_entry, on_entries, r, &err) < 0) recovery_end(r, &err);
}
