/* The life of a run: started, begun in the next turn, ended with one entry, unloaded. */
#include "run/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/id.h"
#include "base/json.h"
#include "base/slab.h"
#include "base/text.h"
#include "run/internal.h"

static void begin(void *arg);
static void begin_now(void *arg);
static void finished(void *arg);

struct runs *runs_new(const struct runs_deps *deps) {
  struct runs *rs = calloc(1, sizeof *rs);
  if (!rs) abort();
  rs->deps = *deps;
  rs->registries = 1;
  return rs;
}

void runs_free(struct runs *rs) {
  if (!rs) return;
  timer_free(rs->trim);
  free(rs);
}

void runs_set_registry(struct runs *rs, const struct registry *registry) {
  rs->deps.registry = registry;
  rs->registries++;
}

unsigned run_number(const struct run *run) { return run->number; }
const char *run_playbook(const struct run *run) { return run->playbook->name; }
bool run_shadow(const struct run *run) { return run->shadow; }
struct journal *run_journal(const struct run *run) {
  return run->journal;
}
int64_t run_now(const struct run *run) { return clock_wall(journal_store_of(run->journal)->clock); }

/* --- starting ----------------------------------------------------------------------------------------------- */

static json_t *shared(const json_t *value) { return json_incref((json_t *)(uintptr_t)value); }

static struct run *run_new(struct runs *rs, const struct run_spec *spec, run_done_cb *cb, void *arg) {
  struct run *run = slab_calloc(1, sizeof *run);
  if (!run) abort();
  *run = (struct run){.all = rs,
                      .journal = spec->journal,
                      .number = spec->number,
                      .playbook = spec->playbook,
                      .simulated = spec->simulated || id_exercise(journal_incident(spec->journal)),
                      .shadow = json_bool_or(spec->playbook->json, "shadow", false),
                      .status = "running",
                      .cb = cb,
                      .arg = arg};
  char *end = run->actor + sizeof run->actor - 1;
  *text_add(text_add(run->actor, end, "playbook:"), end, spec->playbook->name) = 0;
  run->params = spec->params ? shared(spec->params) : json_object();
  run->settings = shared(spec->settings);
  run->trigger = shared(spec->trigger);
  run->simulate = spec->simulate ? json_deep_copy(spec->simulate) : NULL; /* it is used up */
  run->requester = spec->requester ? slab_strdup(spec->requester) : NULL;
  run->host = (struct script_host){.arg = run, .look = look};
  TAILQ_INIT(&run->steps);
  TAILQ_INIT(&run->ready);
  buf_init(&run->story, STORY_CAP);
  return run;
}

/* The connector that a call of this run means, in the version it is bound to; NULL with err. */
const struct connector *run_connector(const struct run *run, const char *name, struct err *err) {
  const struct registry *registry = run->all->deps.registry;
  if (!registry) {
    err_set(err, ERR_NOT_FOUND, "there are no connectors");
    return NULL;
  }
  const struct connector *c = registry_find(registry, name, err);
  return c ? registry_find_version(registry, c->instance, json_str(run->pins, c->instance), err) : NULL;
}

/* The versions that this run is bound to. */
static json_t *pins(const struct run *run) {
  json_t *pinned = json_object(), *actions;
  const char *name;
  json_object_foreach(run->playbook->uses, name, actions) {
    const struct connector *c = run->all->deps.registry ? registry_find(run->all->deps.registry, name, NULL) : NULL;
    if (c) json_object_set_new(pinned, c->instance, json_string(c->declaration->digest));
  }
  return pinned;
}

static void lists_drop(struct run *run) {
  const struct run_world *world = &run->all->deps.world;
  if (run->lists) world->lists_drop(world->arg, run->lists);
  run->lists = NULL;
}

/* Those that it can name: in its source, its parameters or its settings. New pins, or NULL. */
static json_t *lists_take(struct run *run) {
  const struct run_world *world = &run->all->deps.world;
  json_t *pins = NULL;
  lists_drop(run);
  const char *source = run->playbook->source;
  if (!world->lists || !source || !strstr(source, "list")) return NULL; /* without the word it can ask for none */
  char *params = json_text(run->params), *settings = run->settings ? json_text(run->settings) : NULL;
  const char *texts[] = {source, params ? params : "", settings ? settings : "", NULL};
  run->lists = world->lists(world->arg, run->journal, texts, &pins);
  free(params);
  free(settings);
  return pins;
}

static void run_announce(struct run *run) {
  uint8_t seed[16];
  random_bytes(seed, sizeof seed);
  hex_encode(seed, sizeof seed, run->seed);
  if (run->all->deps.seed) run->all->deps.seed(run->all->deps.seed_arg, journal_incident(run->journal), run->number, run->seed);
  json_decref(run->pins); /* of the run that this one continues */
  run->pins = pins(run);
  run->pinned_by = run->all->registries;
  json_t *body = json_object();
  json_object_set(body, "connectors", run->pins);
  json_object_set_new(body, "digest", json_string(run->playbook->digest));
  json_object_set(body, "params", run->params);
  json_object_set_new(body, "playbook", json_string(run->playbook->name));
  json_object_set_new(body, "seed", json_string(run->seed));
  if (run->trigger) json_object_set(body, "trigger", run->trigger);
  if (run->settings) json_object_set(body, "settings", run->settings);
  if (run->requester) json_object_set_new(body, "requester", json_string(run->requester));
  if (run->simulated) json_object_set_new(body, "simulated", json_true());
  if (run->shadow) json_object_set_new(body, "shadow", json_true());
  json_t *lists = lists_take(run);
  if (json_object_size(lists)) json_object_set(body, "lists", lists);
  json_decref(lists);
  run_observe(run);
  journal_add(run->journal, KIND_RUN_STARTED, run->actor, run->number, NULL, body);
}

int run_start(struct runs *rs, const struct run_spec *spec, run_done_cb *cb, void *arg, struct run **ret, struct err *err) {
  if (!spec->number) return err_set(err, ERR_INVALID, "a run needs a number");
  struct run *run = run_new(rs, spec, cb, arg);
  run_announce(run);
  loop_soon(rs->deps.loop, begin, run);
  *ret = run;
  return 0;
}

int run_take_up(struct runs *rs, const struct run_spec *spec, const json_t *entries, run_done_cb *cb, void *arg, struct run **ret,
                struct err *err) {
  struct run *run = run_new(rs, spec, cb, arg);
  run->lists = spec->lists;
  int r = replay_prepare(run, entries, err);
  if (r < 0) {
    run_free(run);
    return r;
  }
  loop_soon(rs->deps.loop, begin, run);
  *ret = run;
  return 0;
}

static void begin_durable(void *arg, const struct err *err) {
  struct run *run = arg;
  if (!err) loop_soon(run->all->deps.loop, begin_now, run);
}

static void begin(void *arg) {
  struct run *run = arg;
  if (run->replay || run_hurries(run)) begin_now(run);
  else journal_when_durable(run->journal, begin_durable, run);
}

static void begin_now(void *arg) {
  struct run *run = arg;
  struct err err;
  run->fresh = false;
  run_burst(run);
  run_clear(run);
  int r = script_new(run->playbook, run->playbook->uses, &run->all->deps.limits, &run->host, &run->script, &err);
  if (r < 0) {
    run_failed(run, err.text, NULL, 0);
    suspect_end();
    return;
  }
  if (run->all->deps.coverage) script_cover(run->script, run->all->deps.coverage);
  run->main = branch_new(run, NULL, 0);
  branch_begin(run->main);
  if (run->replay) replay_feed(run);
  suspect_end();
}

/* Nothing begins it any more. */
static void begin_not(struct run *run) {
  loop_undefer(run->all->deps.loop, begin, run);
  loop_undefer(run->all->deps.loop, begin_now, run);
  journal_forget(run->journal, begin_durable, run);
}

/* --- ending --------------------------------------------------------------------------------------------------- */

/* Nothing that this run waits for may still happen in its name. */
void run_clear(struct run *run) {
  if (run->main) branch_free(run->main); /* with all steps and branches below it */
  run->main = run->current = NULL;
  loop_undefer(run->all->deps.loop, run_pump, run);
  journal_forget(run->journal, run_pump_durable, run);
  run->pumping = false;
  script_free(run->script);
  run->script = NULL;
}

/* The script may have yielded just now and its branch be in use below us on the stack: only what could call back is ended at once. */
static void let_go(struct run *run) {
  struct step *s;
  TAILQ_FOREACH(s, &run->steps, next) {
    if (s->action) action_abandon(s->action);
    question_drop(s->question);
    timer_free(s->timer);
    if (s->ticket) s->ticket->step = NULL;
    s->action = NULL;
    s->question = NULL;
    s->timer = NULL;
    s->ticket = NULL;
  }
  while ((s = TAILQ_FIRST(&run->ready))) {
    TAILQ_REMOVE(&run->ready, s, ready);
    s->queued = false;
  }
}

/* What ended runs leave for those to come is given back when none came for a while. */
static void trim(void *arg) {
  struct runs *rs = arg;
  timer_free(rs->trim);
  rs->trim = rs->ended ? timer_start(rs->deps.loop, TRIM_MS, trim, rs) : NULL;
  if (!rs->ended) script_trim();
  rs->ended = false;
}

static void finished(void *arg) {
  struct run *run = arg;
  struct runs *rs = run->all;
  run_clear(run);
  if (!rs->trim) rs->trim = timer_start(rs->deps.loop, TRIM_MS, trim, rs);
  rs->ended = true;
  if (run->cb) run->cb(run->arg, run, run->status); /* may free the run */
}

void run_end(struct run *run, enum kind kind, const char *actor, json_t *body_take, const char *status) {
  if (run->over) {
    json_decref(body_take);
    return;
  }
  run->over = true;
  let_go(run);
  begin_not(run);
  if (run->replay) replay_keep_end(run->replay, kind, actor, body_take, status);
  else run_close(run, kind, actor, body_take, status);
}

void run_close(struct run *run, enum kind kind, const char *actor, json_t *body_take, const char *status) {
  run->over = true;
  run->status = status;
  if (body_take) {
    journal_add(run->journal, kind, actor, run->number, NULL, body_take);
    journal_save_state(run->journal);
  }
  loop_soon(run->all->deps.loop, finished, run);
}

void run_failed(struct run *run, const char *error, const char *traceback, int line) {
  free(run->error);
  run->error = strdup(error);
  json_t *body = json_pack("{s:s, s:s}", "status", "failed", "error", error);
  if (traceback) json_object_set_new(body, "traceback", json_string(traceback));
  if (line) json_object_set_new(body, "line", json_integer(line));
  run_end(run, KIND_RUN_FINISHED, run->actor, body, "failed");
}

void run_cancel(struct run *run, const char *by, const char *because) {
  if (run->over) return;
  replay_free(run->replay); /* a run that a person ends need not be replayed to its end first */
  run->replay = NULL;
  json_t *body = json_pack("{s:s, s:s}", "by", by, "because", because ? because : "");
  run_end(run, KIND_RUN_CANCELLED, by, body, "cancelled");
}

/* continue_as: the same handle goes on as the next run, with a fresh script and no steps behind it. */
void run_restart(struct run *run, json_t *params_take) {
  unsigned before = run->number;
  run->number = standing_next_run(journal_standing(run->journal));
  journal_add(run->journal, KIND_RUN_FINISHED, run->actor, before, NULL,
              json_pack("{s:s, s:i}", "status", "done", "continued", (int)run->number));
  let_go(run);
  json_decref(run->params);
  run->params = params_take;
  json_decref(run->trigger);
  run->trigger = json_pack("{s:i}", "continues", (int)before);
  run->taken = run->draws = 0;
  run->line = 0;
  buf_reset(&run->story);
  json_decref(run->woulds);
  run->woulds = NULL;
  run_announce(run);
  run->fresh = true;
  loop_defer(run->all->deps.loop, begin, run);
}

void run_free(struct run *run) {
  if (!run) return;
  begin_not(run);
  loop_undefer(run->all->deps.loop, finished, run);
  let_go(run);
  if (run->watching) journal_unwatch(run->journal, run_watch, run);
  run_clear(run);
  replay_free(run->replay);
  lists_drop(run);
  run_view_release(&run->view);
  json_decref(run->params);
  json_decref(run->settings);
  json_decref(run->trigger);
  json_decref(run->simulate);
  buf_release(&run->story);
  slab_free(run->requester);
  json_decref(run->pins);
  json_decref(run->woulds);
  free(run->error);
  slab_free(run);
}

/* --- a clock that is set ------------------------------------------------------------------------------------------ */

/* Does a question of this step, or of a helper below it, wait for a person? */
static bool asks(const struct step *s) {
  char at[ID_PATH];
  const char *id;
  if (!questions_count(s->run->all->deps.questions)) return false; /* nobody is asked anything */
  json_t *question, *questions = json_object_get(journal_state(s->run->journal), "questions");
  if (!json_object_size(questions)) return false;
  int n = snprintf(at, sizeof at, "%u/%s", s->run->number, s->path);
  json_object_foreach(questions, id,
                      question) if (strncmp(id, at, (size_t)n) == 0 && (!id[n] || strncmp(id + n, ".0.", 3) == 0)) return true;
  return false;
}

bool run_rests(const struct run *run) {
  const struct step *s;
  if (run_quiet(run) || run->replay || run->pumping || TAILQ_EMPTY(&run->steps)) return false;
  TAILQ_FOREACH(s, &run->steps, next)
  if (s->ended || (!s->group && !s->timer && s->verb != &verb_wait_for && !asks(s))) return false;
  return true;
}

bool run_waits(const struct run *run) {
  const struct step *s;
  if (run_quiet(run) || run->replay || run->pumping || TAILQ_EMPTY(&run->steps)) return false;
  TAILQ_FOREACH(s, &run->steps, next)
  if (s->ended || (!s->group && !s->timer && s->verb != &verb_wait_for && !s->action && !s->ticket && !asks(s))) return false;
  return true;
}

bool run_replaying(const struct run *run) { return run->replay != NULL && !run->over; }

bool run_sleeps(const struct run *run, int64_t *ret_due, bool *ret_by_question) {
  const struct step *s;
  if (run_quiet(run) || run->replay || run->pumping || !TAILQ_EMPTY(&run->ready) || TAILQ_EMPTY(&run->steps)) return false;
  *ret_due = 0;
  TAILQ_FOREACH(s, &run->steps, next) {
    int64_t due = s->timer ? s->due : 0;
    bool waits = s->group || s->verb == &verb_wait || s->verb == &verb_wait_for || (s->question && question_sleeps(s->question, &due));
    if (s->ended || s->action || s->ticket || s->awake || !waits) return false;
    if (!due || (*ret_due && due >= *ret_due)) continue;
    *ret_due = due;
    *ret_by_question = s->question != NULL;
  }
  return true;
}

int64_t run_due(const struct run *run) {
  const struct step *s;
  int64_t due = 0;
  TAILQ_FOREACH(s, &run->steps, next)
  if (s->timer && s->due && (!due || s->due < due)) due = s->due;
  return due;
}

void run_clock_moved(struct run *run) {
  struct step *s, *next;
  for (s = TAILQ_FIRST(&run->steps); s && !run_quiet(run); s = next) {
    next = TAILQ_NEXT(s, next);
    if (s->timer && s->wake) wake_after(s, s->due - run_now(run), s->wake);
  }
}

void run_clock_stepped(struct run *run, int64_t by) {
  struct step *s, *next;
  for (s = TAILQ_FIRST(&run->steps); s && !run_quiet(run); s = next) {
    next = TAILQ_NEXT(s, next);
    if (s->until) s->until += by;
    if (s->timer && s->wake) wake_after(s, s->due + by - run_now(run), s->wake);
  }
}

/* --- looking at it ---------------------------------------------------------------------------------------------- */

static json_t *waiting_for(const struct run *run) {
  const struct step *s;
  struct buf text;
  buf_init(&text, 1024);
  TAILQ_FOREACH(s, &run->steps, next) {
    const char *connector = json_str(s->args, "connector");
    buf_addf(&text, "%s%s %s", text.len ? ", " : "", s->path, s->verb->name);
    if (s->action_name) buf_addf(&text, " %s", s->action_name);
    else if (connector) buf_addf(&text, " %s.%s", connector, json_str_or(s->args, "action", ""));
  }
  json_t *result = text.len ? json_string(text.data) : json_null();
  buf_release(&text);
  return result;
}

json_t *run_view(const struct run *run) {
  const struct step *first = TAILQ_FIRST(&run->steps);
  size_t peak = 0, memory = run->script ? script_memory(run->script, &peak) : 0;
  json_t *view =
      json_pack("{s:i, s:s, s:s, s:s, s:i, s:o, s:I, s:I, s:I, s:i}", "run", (int)run->number, "playbook", run->playbook->name, "status",
                run->status, "step", first ? first->path : "", "line", run->line, "waiting_for", waiting_for(run), "memory",
                (json_int_t)memory, "peak", (json_int_t)peak, "cpu_ms", (json_int_t)(run->cpu_us / 1000), "steps", (int)run->taken);
  if (run->shadow) json_object_set_new(view, "shadow", json_true());
  if (run->error) json_object_set_new(view, "error", json_string(run->error));
  return view;
}
