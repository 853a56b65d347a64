/* Getting hold of an incident: loading it, and waking of its sleeping runs those that whoever wants it needs, a few incidents at a time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/slab.h"
#include "base/text.h"
#include "incident/internal.h"

enum { REPLAYS_MOST = 32 };

static void settle(void *arg);
static void turns_take(void *arg);

/* --- what is wanted, and what is there ------------------------------------------------------------------------------ */

static bool in_memory(const struct incident *inc, unsigned number) {
  const struct held_run *h;
  LIST_FOREACH(h, &inc->runs, next) if (run_number(h->run) == number) return true;
  return false;
}

bool incident_run_sleeps(const struct incident *inc, const char *at, char ret_number[16]) {
  size_t n = strcspn(at, "/");
  if (!inc->dozing || !n || n >= 16) return false;
  memcpy(ret_number, at, n);
  ret_number[n] = 0;
  const json_t *run = json_object_get(json_object_get(journal_state(inc->journal), "runs"), ret_number);
  return strcmp(json_str_or(run, "status", ""), "running") == 0 && !in_memory(inc, (unsigned)strtoul(ret_number, NULL, 10));
}

void incident_wake(const struct incident *inc, const char *at, json_t *runs) {
  char number[16];
  if (incident_run_sleeps(inc, at, number)) json_object_set_new(runs, number, json_true());
}

static bool any_sleeps(const struct incident *inc) {
  const char *number;
  char same[16];
  json_t *run;
  json_object_foreach(json_object_get(journal_state(inc->journal), "runs"), number, run) {
    if (incident_run_sleeps(inc, number, same)) return true;
  }
  return false;
}

static enum wakes wakes_of(const struct incident *inc, incident_wakes_cb *wakes, const void *arg, json_t *runs) {
  enum wakes one = wakes ? wakes(inc, arg, runs) : WAKES_ALL;
  return one == WAKES_SOME && inc->desk->alone.holding ? WAKES_ALL : one;
}

/* What all that wait for it want together. */
static enum wakes wanted(const struct incident *inc, json_t *runs) {
  const struct op *op;
  enum wakes most = WAKES_NONE;
  STAILQ_FOREACH(op, &inc->ops, next) {
    enum wakes one = wakes_of(inc, op->wakes, op->arg, runs);
    if (one > most) most = one;
  }
  return most;
}

static bool enough(const struct incident *inc, enum wakes wakes, const json_t *runs) {
  if (wakes == WAKES_ALL) return inc->put_off || !any_sleeps(inc);
  return wakes == WAKES_NONE || (!inc->bare && json_object_size(runs) == 0);
}

static bool is_there(const struct incident *inc, incident_wakes_cb *wakes, const void *arg) {
  if (!inc->dozing) return true;
  json_t *runs = json_object();
  bool there = enough(inc, wakes_of(inc, wakes, arg, runs), runs);
  json_decref(runs);
  return there;
}

static bool all_is_there(const struct incident *inc) {
  if (!inc->dozing) return true;
  json_t *runs = json_object();
  bool there = enough(inc, wanted(inc, runs), runs);
  json_decref(runs);
  return there;
}

/* --- whoever waits for it --------------------------------------------------------------------------------------------- */

static void ops_run(struct incident *inc, const struct err *err) {
  struct op *op;
  while ((op = STAILQ_FIRST(&inc->ops)) && (err || !inc->loading)) {
    STAILQ_REMOVE_HEAD(&inc->ops, next);
    op->cb(inc, op->arg, err);
    free(op);
  }
}

/* Rebuilt, or gone: it is the next one's turn. */
static void turn_over(struct incident *inc) {
  struct desk *d = inc->desk;
  if (inc->queues) TAILQ_REMOVE(&d->turns, inc, turn);
  if (inc->replays) d->replays--;
  inc->queues = inc->replays = false;
  if (!TAILQ_EMPTY(&d->turns)) loop_defer(d->deps.loop, turns_take, d);
}

void loading_forget(struct incident *inc, const struct err *why) {
  ops_run(inc, why);
  loop_undefer(inc->desk->deps.loop, settle, inc);
  turn_over(inc);
}

void loading_end(struct desk *d) { loop_undefer(d->deps.loop, turns_take, d); }

void incident_load_failed(struct incident *inc, const struct err *err) {
  if (!inc->owner[0]) log_error("%s cannot be loaded: %s", inc->id, err->text);
  else sleepers_drop(inc->desk->sleepers, inc->id);
  ops_run(inc, err);
  map_remove(&inc->desk->incidents, inc->id);
  inc->loading = false;
  incident_free(inc);
}

/* --- its runs --------------------------------------------------------------------------------------------------------- */

/* Half taken up is worse than not at all: whoever wants it next tries again. Runs that were awake before stay awake. */
static void rebuild_failed(struct incident *inc, const struct err *err) {
  if (LIST_EMPTY(&inc->runs)) {
    incident_load_failed(inc, err);
    return;
  }
  turn_over(inc);
  ops_run(inc, err);
  inc->loading = false;
}

static void on_recovered(void *arg, const struct err *err) {
  struct incident *inc = arg;
  if (inc->lost) return;
  if (err) {
    rebuild_failed(inc, err);
    return;
  }
  inc->bare = false;
  settle(inc);
}

static void turns_take(void *arg) {
  struct desk *d = arg;
  struct incident *inc;
  while (d->replays < REPLAYS_MOST && (inc = TAILQ_FIRST(&d->turns))) {
    json_t *some = json_object();
    bool all = !inc->dozing || wanted(inc, some) == WAKES_ALL;
    TAILQ_REMOVE(&d->turns, inc, turn);
    inc->queues = false;
    inc->replays = true;
    d->replays++;
    incident_recover(inc, all ? NULL : some, on_recovered, inc);
    json_decref(some);
  }
}

/* A few at a time: what comes new goes first. */
static void runs_rebuild(struct incident *inc) {
  inc->queues = true;
  TAILQ_INSERT_TAIL(&inc->desk->turns, inc, turn);
  loop_defer(inc->desk->deps.loop, turns_take, inc->desk);
}

static void on_roused(void *arg, const struct err *err) {
  struct incident *inc = arg;
  if (inc->lost) return;
  if (!err) runs_rebuild(inc);
  else if (err->code != ERR_CANCELLED) rebuild_failed(inc, err);
}

/* What was written while it dozed is in Redis then, where the recovery reads. */
static void rouse(struct incident *inc) { journal_when_durable(inc->journal, on_roused, inc); }

static void there(struct incident *inc) {
  inc->loading = false;
  inc->dozing = inc->dozing && !inc->put_off && any_sleeps(inc);
  if (!inc->dozing) sleepers_drop(inc->desk->sleepers, inc->id);
  else sleepers_stay(inc->desk->sleepers, inc);
  redactions_resume(inc);
  ops_run(inc, NULL);
  incident_touch(inc);
}

/* Whoever waits for the incident finds the runs that it needs where their journal ends, not in the middle of a replay. */
static void settle(void *arg) {
  struct incident *inc = arg;
  const struct held_run *h;
  LIST_FOREACH(h, &inc->runs, next) if (run_replaying(h->run)) {
    loop_defer(inc->desk->deps.loop, settle, inc);
    return;
  }
  turn_over(inc);
  if (all_is_there(inc)) there(inc);
  else rouse(inc); /* more has been asked for meanwhile */
}

/* --- its journal ------------------------------------------------------------------------------------------------------ */

/* Its containments first: they were dropped if it had been lost, and what is taken up again may lift them. */
void incident_loaded(struct incident *inc) {
  uncertain_note(inc);
  if (!incident_at_rest(inc)) actions_ledger_load(inc->desk->deps.actions, inc->id, incident_state(inc), inc->desk->deps.store->clock);
  inc->dozing = inc->bare = sleepers_have(inc->desk->sleepers, inc->id);
  if (inc->dozing && all_is_there(inc)) there(inc);
  else runs_rebuild(inc);
}

static void on_loaded(void *arg, struct journal *j, const struct err *err) {
  struct incident *inc = arg;
  struct desk *d = inc->desk;
  struct err why;
  if (!err) inc->journal = j;
  if (!err && d->given_up) err_set(&why, ERR_CONFLICT, "%s is played at another node now", d->deps.exercise), err = &why;
  if (!err && !incident_belongs(inc)) err_set(&why, ERR_CONFLICT, "%s is not of the exercise %s", inc->id, d->deps.exercise), err = &why;
  if (err) {
    owner_unclaim(inc);
    incident_load_failed(inc, err);
    return;
  }
  incident_journal(inc);
  if (journal_archived(j)) retire_restored(inc);
  owner_adopted(inc);
}

void incident_load(struct incident *inc) {
  struct err err;
  if (journal_load(inc->desk->deps.store, inc->id, on_loaded, inc, &err) < 0) incident_load_failed(inc, &err);
}

static void on_woken(void *arg, const struct err *err) {
  if (err) incident_load_failed(arg, err);
  else owner_claim(arg);
}

static void claim_or_wake(struct incident *inc) {
  struct err err;
  struct sleepers *s = inc->desk->sleepers;
  if (!sleepers_have(s, inc->id)) {
    owner_claim(inc);
    return;
  }
  inc->expected = sleepers_seq(s, inc->id);
  if (sleepers_wake(s, inc->id, on_woken, inc, &err) < 0) incident_load_failed(inc, &err);
}

static struct incident *incident_new(struct desk *d, const char *id) {
  struct incident *inc = slab_calloc(1, sizeof *inc);
  if (!inc) abort();
  inc->desk = d;
  struct id parsed;
  text_copy(inc->id, sizeof inc->id, id);
  if (id_parse(id, &parsed) && parsed.number > d->highest) d->highest = parsed.number;
  inc->alerts = json_array();
  STAILQ_INIT(&inc->unread);
  LIST_INIT(&inc->runs);
  STAILQ_INIT(&inc->ops);
  LIST_INIT(&inc->tellings);
  map_put(&d->incidents, id, inc);
  return inc;
}

void incident_with_some(struct desk *d, const char *id, bool fresh, incident_wakes_cb *wakes, incident_op_cb *cb, void *arg) {
  struct incident *inc = map_get(&d->incidents, id);
  bool known = inc != NULL;
  if (known && !inc->loading && is_there(inc, wakes, arg)) {
    incident_touch(inc);
    cb(inc, arg, NULL);
    return;
  }
  if (!known) inc = incident_new(d, id);
  if (!known && fresh) {
    inc->journal = journal_new(d->deps.store, id);
    incident_journal(inc);
    incident_touch(inc);
    cb(inc, arg, NULL);
    return;
  }
  struct op *op = calloc(1, sizeof *op);
  if (!op) abort();
  *op = (struct op){.cb = cb, .wakes = wakes, .arg = arg};
  STAILQ_INSERT_TAIL(&inc->ops, op, next);
  bool dozes = known && !inc->loading;
  inc->loading = true;
  if (!known) claim_or_wake(inc);
  else if (dozes) rouse(inc);
}

void incident_with(struct desk *d, const char *id, bool fresh, incident_op_cb *cb, void *arg) {
  incident_with_some(d, id, fresh, NULL, cb, arg);
}
