/* The desk's own life: its incidents in memory, what runs may ask of it, unloading. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/slab.h"
#include "incident/files.h"
#include "incident/internal.h"

enum { COUNT_SOON_US = 100000, COUNT_LATE_US = 400000 };

static const json_t *world_alerts(void *arg, struct journal *journal);
static void *world_lists(void *arg, struct journal *journal, const char *const *texts, json_t **ret_pins);
static void world_lists_drop(void *arg, void *lists);
static int world_list(void *arg, void *lists, int64_t now, const char *what, const json_t *args, json_t **ret, struct err *err);
static bool world_matches(void *arg, void *lists, int64_t now, const json_t *when, const json_t *alert);
static int world_change(void *arg, struct journal *journal, const char *verb, const json_t *args, const char *actor, unsigned run,
                        const char *step, struct err *err);
static int world_collect(void *arg, struct journal *journal, const json_t *facts, char *bytes_take, size_t len, run_kept_cb *cb,
                         void *cb_arg, struct err *err);

/* --- the desk --------------------------------------------------------------------------------------------------- */

static struct script_limits limits_of(const json_t *settings) {
  const json_t *run = json_object_get(settings, "run");
  return (struct script_limits){.memory = (size_t)json_int_or(run, "memory_mib", 16) << 20,
                                .burst_ms = json_int_or(run, "burst", 250),
                                .total_ms = json_int_or(run, "total", 10000)};
}

struct desk *desk_new(const struct desk_deps *deps, struct err *err) {
  struct desk *d = calloc(1, sizeof *d);
  if (!d) abort();
  d->deps = *deps;
  map_init(&d->incidents);
  LIST_INIT(&d->redactions);
  places_begin(d);
  map_init(&d->pins);
  d->unsure = json_object();
  d->torn = json_object();
  d->corrective = json_object();
  map_init(&d->extras);
  TAILQ_INIT(&d->idle);
  TAILQ_INIT(&d->turns);
  d->resting_pause = COUNT_SOON_US;
  d->run_most = (size_t)json_int_or(json_object_get(deps->settings, "run"), "most", RUNS_MOST);
  struct runs_deps runs = {.loop = deps->loop,
                           .actions = deps->actions,
                           .questions = deps->questions,
                           .registry = deps->registry,
                           .limits = limits_of(deps->settings),
                           .seed = deps->seed,
                           .seed_arg = deps->journal_arg,
                           .world = {.arg = d,
                                     .alerts = world_alerts,
                                     .lists = world_lists,
                                     .lists_drop = world_lists_drop,
                                     .list = world_list,
                                     .matches = world_matches,
                                     .change = world_change,
                                     .collect = world_collect}};
  d->runs = runs_new(&runs);
  if (deps->nodes && deps->key) d->post = post_new(deps->loop, deps->redis, deps->nodes, deps->key, elsewhere_letter, d);
  d->sleepers = sleepers_new(d);
  questions_on_asked(deps->questions, desk_notify, d);
  actions_on_lift(deps->actions, desk_lift, d);
  return d;
}

static void declaration_free_value(void *value) { declaration_free(value); }

static void idle_remove(struct incident *inc) {
  if (!inc->is_idle) return;
  TAILQ_REMOVE(&inc->desk->idle, inc, idle);
  inc->desk->idle_count--;
  inc->is_idle = false;
}

static void runs_free_all(struct incident *inc) {
  struct held_run *h;
  while ((h = LIST_FIRST(&inc->runs))) {
    LIST_REMOVE(h, next);
    run_free(h->run);
    slab_free(h->playbook);
    slab_free(h);
    inc->desk->run_count--;
  }
}

void incident_free(struct incident *inc) {
  struct err gone = {.code = ERR_CANCELLED, .text = "the engine is stopping"};
  inc->lost = true;
  inc->busy++; /* whoever lets go of it meanwhile is not the last */
  if (inc->desk->own == inc) inc->desk->own = NULL;
  redactions_forget(inc);
  runs_free_all(inc);
  if (inc->journal) actions_orphan(inc->desk->deps.actions, inc->journal);
  notify_forget(inc);
  if (inc->journal) questions_forget(inc->desk->deps.questions, inc->journal);
  loading_forget(inc, &gone);
  journal_free(inc->journal);
  sleepers_unwatch(inc->desk->sleepers, inc);
  idle_remove(inc); /* last: whoever was called back may have touched it */
  incident_alerts_set(inc, NULL);
  slab_free(inc);
}

static void incident_free_value(void *value) { incident_free(value); }

/* Those that are just being loaded or taken up stay: Redis still owes them an answer, and that answer ends them. */
void desk_unload(struct desk *d) {
  size_t at = 0, count = 0;
  void *value;
  struct incident **all = calloc(map_count(&d->incidents) + 1, sizeof *all);
  if (!all) abort();
  while (map_next(&d->incidents, &at, NULL, &value)) all[count++] = value;
  for (size_t i = 0; i < count; i++) {
    if (all[i]->loading || all[i]->recovering) continue;
    map_remove(&d->incidents, all[i]->id);
    incident_free(all[i]);
  }
  free(all);
  owners_give_up(d);
}

void desk_free(struct desk *d) {
  if (!d) return;
  owners_end(d);
  desk_unload(d);
  if (d->own && d->own->lost) incident_free(d->own); /* it has left the map */
  map_release(&d->incidents, incident_free_value);
  loading_end(d);
  redactions_free(d);
  files_free(d);
  timer_free(d->sweep);
  places_free(d);
  corrective_end(d);
  timer_free(d->draining);
  adopting_free(d);
  retire_free(d);
  post_free(d->post);
  outages_free(d->outages);
  sleepers_free(d->sleepers);
  desk_alone_end(d);
  runs_free(d->runs);
  if (d->playbooks) map_release(d->playbooks, declaration_free_value), free(d->playbooks);
  map_release(&d->pins, declaration_free_value);
  uncertain_free(d);
  map_release(&d->extras, free);
  free(d->runbooks);
  free(d);
}

/* Old versions stay while runs may use them: they move to the pins. */
void desk_set_playbooks(struct desk *d, struct map *playbooks_take, const char *runbooks) {
  struct map *old = d->playbooks;
  size_t at = 0;
  void *value;
  d->playbooks = playbooks_take;
  while (old && map_next(old, &at, NULL, &value)) {
    struct declaration *p = value;
    if (map_get(&d->pins, p->digest)) declaration_free(p);
    else map_put(&d->pins, p->digest, p);
  }
  if (old) map_release(old, NULL), free(old);
  free(d->runbooks);
  d->runbooks = strdup(runbooks);
}

void desk_set_registry(struct desk *d, struct registry *registry) {
  if (d->deps.registry && d->deps.registry != registry) registry_inherit(registry, d->deps.registry);
  d->deps.registry = registry;
  runs_set_registry(d->runs, registry);
  actions_set_registry(d->deps.actions, registry);
}

const struct declaration *desk_playbook(struct desk *d, const char *name, struct err *err) {
  const struct declaration *p = d->playbooks ? map_get(d->playbooks, name) : NULL;
  if (!p) err_set(err, ERR_NOT_FOUND, "there is no playbook `%s`; `tocsin playbook list` shows them", name);
  return p;
}

void desk_extend(struct desk *d, const char *command, desk_extra_cb *cb, void *arg) {
  struct extra *e = calloc(1, sizeof *e);
  if (!e) abort();
  *e = (struct extra){cb, arg};
  free(map_put(&d->extras, command, e));
}

size_t desk_live(const struct desk *d) { return map_count(&d->incidents); }

static size_t runs_resting(const struct desk *d) {
  size_t at = 0, count = 0;
  void *value;
  while (map_next(&d->incidents, &at, NULL, &value)) {
    const struct incident *inc = value;
    const struct held_run *h;
    LIST_FOREACH(h, &inc->runs, next) count += run_rests(h->run);
  }
  return count;
}

static void resting_count(struct desk *d) {
  int64_t now = clock_boot(clock_system());
  if (now - d->resting_at < d->resting_pause) return;
  size_t before = d->resting;
  d->resting = runs_resting(d) + actions_resting(d->deps.actions);
  d->resting_at = now;
  d->resting_pause = d->resting != before ? COUNT_SOON_US : d->resting_pause * 2;
  if (d->resting_pause > COUNT_LATE_US) d->resting_pause = COUNT_LATE_US;
}

/* Runs that wait cost memory only; those that do something are what `run.most` bounds. Counted at most ten times a second, and less often while it comes to the same. */
bool desk_full(struct desk *d) {
  if (d->run_count < d->run_most) return false;
  resting_count(d);
  return d->run_count >= d->run_most + d->resting || d->run_count >= d->run_most * 1000;
}

json_t *desk_counts(const struct desk *d) {
  return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "corrective", corrective_counts(d),
                   "uncertain", (json_int_t)desk_uncertain(d), "asleep", (json_int_t)sleepers_count(d->sleepers), "runs_asleep",
                   (json_int_t)sleepers_runs(d->sleepers), "questions",
                   (json_int_t)questions_count(d->deps.questions) + sleepers_questions(d->sleepers), "in_memory",
                   (json_int_t)map_count(&d->incidents), "runs", (json_int_t)d->run_count, "opened_total", (json_int_t)d->opened,
                   "attached_total", (json_int_t)d->attached, "closed_total", (json_int_t)d->closed, "runs_started_total",
                   (json_int_t)d->runs_started, "runs_ended_total", (json_int_t)d->runs_ended, "hot", (json_int_t)d->hot, "archived",
                   (json_int_t)d->archived);
}

/* --- what runs may ask of us ----------------------------------------------------------------------------------------- */

static const json_t *world_alerts(void *arg, struct journal *journal) {
  struct desk *d = arg;
  struct incident *inc = map_get(&d->incidents, journal_incident(journal));
  return inc ? incident_alerts(inc) : NULL;
}

static void *world_lists(void *arg, struct journal *journal, const char *const *texts, json_t **ret_pins) {
  const struct run_world *given = &((struct desk *)arg)->deps.lists;
  return given->lists ? given->lists(given->arg, journal, texts, ret_pins) : NULL;
}

static void world_lists_drop(void *arg, void *lists) {
  const struct run_world *given = &((struct desk *)arg)->deps.lists;
  given->lists_drop(given->arg, lists);
}

static int world_list(void *arg, void *lists, int64_t now, const char *what, const json_t *args, json_t **ret, struct err *err) {
  struct desk *d = arg;
  if (!d->deps.lists.list) return err_set(err, ERR_NOT_FOUND, "there are no lists");
  return d->deps.lists.list(d->deps.lists.arg, lists, now, what, args, ret, err);
}

static bool world_matches(void *arg, void *lists, int64_t now, const json_t *when, const json_t *alert) {
  struct desk *d = arg;
  return d->deps.lists.matches && d->deps.lists.matches(d->deps.lists.arg, lists, now, when, alert);
}

static int world_change(void *arg, struct journal *journal, const char *verb, const json_t *args, const char *actor, unsigned run,
                        const char *step, struct err *err) {
  enum kind kind;
  int r = run_change(journal, verb, args, actor, run, step, &kind, err);
  if (r < 0) return r;
  struct desk *d = arg;
  struct incident *inc = map_get(&d->incidents, journal_incident(journal));
  if (kind == KIND_INCIDENT_CLOSED && inc) incident_index(inc, false);
  return 0;
}

static int world_collect(void *arg, struct journal *journal, const json_t *facts, char *bytes_take, size_t len, run_kept_cb *cb,
                         void *cb_arg, struct err *err) {
  return desk_collect(arg, journal, facts, bytes_take, len, cb, cb_arg, err);
}

/* --- incidents in memory ----------------------------------------------------------------------------------------------- */

json_t *incident_state(struct incident *inc) { return journal_state(inc->journal); }

bool incident_alive(struct incident *inc) {
  if (incident_at_rest(inc) && !inc->busy && !inc->loading && STAILQ_EMPTY(&inc->ops) && journal_idle(inc->journal)) return false;
  return inc->loading || inc->recovering || inc->busy || inc->put_off || inc->dozing || !LIST_EMPTY(&inc->runs) ||
         !STAILQ_EMPTY(&inc->ops) || !journal_idle(inc->journal) || journal_uncertain(inc->journal) ||
         standing_busy(journal_standing(inc->journal));
}

void incident_unload(struct incident *inc) {
  struct desk *d = inc->desk;
  map_remove(&d->incidents, inc->id);
  owner_release(inc);
  journal_rest(inc->journal);
  incident_free(inc);
}

void incident_let_sleep(struct incident *inc) {
  journal_rest(inc->journal);
  map_remove(&inc->desk->incidents, inc->id);
  incident_free(inc);
}

/* Out of sight at once; the memory goes when the commands that still hold it have been answered. */
void incident_unload_lost(struct incident *inc) {
  struct desk *d = inc->desk;
  struct err taken = {.code = ERR_UNAVAILABLE, .text = "another node has just taken the incident; try again"};
  if (inc->lost) return;
  inc->busy++;
  inc->lost = true;
  map_remove(&d->incidents, inc->id);
  idle_remove(inc);
  redactions_forget(inc);
  runs_free_all(inc);
  actions_orphan(d->deps.actions, inc->journal);
  notify_forget(inc);
  questions_forget(d->deps.questions, inc->journal);
  actions_ledger_drop(d->deps.actions, inc->id);
  sleepers_drop(d->sleepers, inc->id);
  loading_forget(inc, &taken);
  incident_busy(inc, -1);
}

static void lost_free(void *arg) { incident_free(arg); }

static void sweep(void *arg) {
  struct desk *d = arg;
  struct incident *inc, *next;
  timer_free(d->sweep);
  d->sweep = NULL;
  for (inc = TAILQ_FIRST(&d->idle); inc && d->idle_count > IDLE_KEPT; inc = next) {
    next = TAILQ_NEXT(inc, idle);
    if (inc->journal && !incident_alive(inc)) incident_unload(inc);
  }
  if (d->idle_count > IDLE_KEPT) d->sweep = timer_start(d->deps.loop, 50, sweep, d);
}

struct losing {
  struct desk *desk;
  char id[ID_INCIDENT];
};

static void lost_turn(void *arg) {
  struct losing *l = arg;
  struct incident *inc = map_get(&l->desk->incidents, l->id);
  if (inc && inc->recovering) inc->leaving = true;
  else if (inc && (!inc->loading || inc->dozing || !LIST_EMPTY(&inc->runs))) incident_unload_lost(inc);
  /* else: while its journal is loaded, whoever loads it hears of it */
  free(l);
}

/* In a later turn: the journal that says so is on the stack. */
void desk_lost(struct desk *d, const char *incident) {
  struct losing *l = calloc(1, sizeof *l);
  if (!l) abort();
  l->desk = d;
  snprintf(l->id, sizeof l->id, "%.*s", ID_INCIDENT - 1, incident);
  loop_defer(d->deps.loop, lost_turn, l);
}

void desk_redis_up(struct desk *d) {
  size_t at = 0;
  void *value;
  while (map_next(&d->incidents, &at, NULL, &value)) {
    struct incident *inc = value;
    if (inc->journal) journal_redis_up(inc->journal);
  }
}

/* The least recently used go first, once nothing of theirs is alive. */
void incident_touch(struct incident *inc) {
  struct desk *d = inc->desk;
  if (inc->lost) return;
  idle_remove(inc);
  TAILQ_INSERT_TAIL(&d->idle, inc, idle);
  inc->is_idle = true;
  d->idle_count++;
  if (d->idle_count > IDLE_KEPT && !d->sweep) d->sweep = timer_start(d->deps.loop, 20, sweep, d);
}

void incident_busy(struct incident *inc, int change) {
  inc->busy = (unsigned)((int)inc->busy + change);
  uint64_t archived = inc->journal && !inc->lost && !inc->busy ? journal_archived(inc->journal) : 0;
  if (archived && archived < journal_seq(inc->journal)) retire_restored(inc); /* what was appended behind its last place leaves, too */
  if (inc->lost && !inc->busy) loop_defer(inc->desk->deps.loop, lost_free, inc);
  incident_touch(inc);
}

void incident_index(struct incident *inc, bool open) {
  incident_place(inc->desk, inc->id, open);
  if (!open) inc->desk->closed++;
}

void incident_open(struct incident *inc, const char *actor, json_t *body_take) {
  if (journal_seq(inc->journal) == 0) incident_place_new(inc->desk, inc->id);
  else incident_place(inc->desk, inc->id, true);
  journal_add(inc->journal, KIND_INCIDENT_OPENED, actor, 0, NULL, body_take);
  inc->desk->opened++;
}
