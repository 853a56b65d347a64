/* Steps and branches: a burst, what it yields, and which ended step is resumed next. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/slab.h"
#include "base/text.h"
#include "run/internal.h"

static void step_begin(struct branch *b, const char *verb, json_t *args);

static const struct answer fresh_answer = {.ok = true, .trust = SCRIPT_TRUSTED};

/* --- steps ---------------------------------------------------------------------------------------------------- */

void step_free(struct step *s) {
  if (!s) return;
  TAILQ_REMOVE(&s->run->steps, s, next);
  if (s->queued) TAILQ_REMOVE(&s->run->ready, s, ready);
  if (s->action) action_abandon(s->action);
  question_drop(s->question);
  timer_free(s->timer);
  if (s->ticket) s->ticket->step = NULL;
  group_free(s->group);
  run_view_release(&s->view);
  json_decref(s->args);
  slab_free(s->action_name);
  json_decref(s->list);
  json_decref(s->body);
  json_decref(s->answer.value);
  if (s->branch && s->branch->step == s) s->branch->step = NULL;
  slab_free(s);
}

struct step *step_find(const struct run *run, const char *path) {
  struct step *s;
  TAILQ_FOREACH(s, &run->steps, next) if (strcmp(s->path, path) == 0) return s;
  return NULL;
}

uint64_t step_add(struct step *s, enum kind kind, json_t *body_take) {
  return journal_add(s->run->journal, kind, s->run->actor, s->run->number, s->path, body_take);
}

/* The body goes with its entry, while what it is made of (a server's whole response, mostly) is still in the caches. */
static void answer_now(struct step *s) {
  s->answer = fresh_answer;
  s->answered = true;
  s->verb->answer(s, &s->answer);
  json_decref(s->body);
  s->body = NULL;
}

void step_ended(struct step *s, enum kind kind, const json_t *body, int64_t time, struct standing *now) {
  if (s->ended) return;
  s->ended = true;
  s->kind = kind;
  s->seq = standing_seq(now);
  s->body = json_incref((json_t *)(uintptr_t)body);
  if (s->run->shadow) shadow_ended(s);
  if (body && verb_at_once(s->verb)) answer_now(s);
  view_take(&s->view, time, now);
  s->queued = true;
  TAILQ_INSERT_TAIL(&s->run->ready, s, ready);
}

void step_answer(struct step *s, bool ok, json_t *value) {
  if (s->answered || !verb_at_once(s->verb)) return;
  s->answer = (struct answer){.ok = ok, .value = json_incref(value), .trust = fresh_answer.trust};
  s->answered = true;
}

void step_called(struct step *s) {
  struct run *run = s->run;
  s->called = true;
  if (run_quiet(run) || run->pumping || run->replay) return;
  run->pumping = true;
  loop_soon(run->all->deps.loop, run_pump, run);
}

void step_refuse(struct step *s, const char *kind, const char *why) {
  json_t *body = json_pack("{s:s, s:s, s:s}", "verb", s->verb->name, "kind", kind, "why", why);
  static const char *const named[] = {"connector", "action", NULL};
  for (const char *const *n = named; *n; n++)
    if (json_object_get(s->args, *n)) json_object_set(body, *n, json_object_get(s->args, *n));
  step_add(s, KIND_ACTION_REFUSED, body);
  step_called(s);
}

/* Every entry of the journal passes here once it is folded. Only looks: what follows comes in a later turn. */
void run_watch(void *arg, struct journal *j, const struct entry *e) {
  struct run *run = arg;
  if (e->run != run->number || run->over) return;
  if (e->kind == KIND_RUN_STARTED) view_take(&run->view, e->time, journal_standing(j));
  struct step *s = e->step[0] ? step_find(run, e->step) : NULL;
  if (!s || !s->verb->ends(s, e->kind, e->body)) return;
  step_ended(s, e->kind, verb_at_once(s->verb) ? e->body : entry_body(e), e->time, journal_standing(j));
}

void run_observe(struct run *run) {
  if (run->watching) return;
  run->watching = true;
  journal_watch(run->journal, run_watch, run);
}

/* Resumes what has ended and was called back, in the order of the ending entries: one that is still to be called back holds up those after it. */
void run_pump(void *arg) {
  struct run *run = arg;
  struct step *s;
  if (!run_hurries(run)) {
    journal_when_durable(run->journal, run_pump_durable, run);
    return;
  }
  run->pumping = false;
  while (!run_quiet(run) && (s = TAILQ_FIRST(&run->ready)) && s->called) step_wake(s);
}

void run_pump_durable(void *arg, const struct err *err) {
  struct run *run = arg;
  if (!err) loop_soon(run->all->deps.loop, run_pump, run);
}

/* --- bursts --------------------------------------------------------------------------------------------------- */

static void branch_done(struct branch *b, json_t *result) {
  struct run *run = b->run;
  if (b->parent) {
    parallel_branch_ended(b, true, result ? json_incref(result) : NULL);
    return;
  }
  json_t *body = json_pack("{s:s}", "status", "done");
  char *text = result ? json_text(result) : NULL;
  if (text && strlen(text) <= RESULT_CAP) json_object_set(body, "result", result);
  free(text);
  run_end(run, KIND_RUN_FINISHED, run->actor, body, "done");
}

static void branch_failed(struct branch *b, const struct script_yield *out) {
  bool ends_all = out->err.code == ERR_MEMORY || out->err.code == ERR_LIMIT; /* the whole state has used up what it may */
  if (b->parent && !ends_all) parallel_branch_ended(b, false, failure_of(err_name(out->err.code), out->err.text, false));
  else run_failed(b->run, out->err.text, out->traceback, out->line);
}

/* What a burst ended with. b may be gone afterwards. */
static void branch_outcome(struct branch *b, struct script_yield *out) {
  b->run->cpu_us += out->spent_us;
  if (out->line) b->run->line = out->line;
  switch (out->status) {
  case SCRIPT_YIELDED: step_begin(b, out->verb, out->args); break;
  case SCRIPT_DONE: branch_done(b, out->args); break;
  case SCRIPT_FAILED: branch_failed(b, out); break;
  }
  script_yield_release(out);
}

struct branch *branch_new(struct run *run, struct step *parent, size_t index) {
  struct branch *b = slab_calloc(1, sizeof *b);
  if (!b) abort();
  b->run = run;
  b->parent = parent;
  b->index = index;
  if (!parent) return b;
  int n = snprintf(b->last, sizeof b->last, "%s.%zu", parent->path, index);
  int m = snprintf(b->prefix, sizeof b->prefix, "%s.%zu.", parent->path, index);
  if (n < 0 || m < 0 || (size_t)m + 8 >= sizeof b->prefix) b->prefix[0] = b->last[0] = 0; /* step_begin says so */
  return b;
}

void branch_free(struct branch *b) {
  if (!b) return;
  step_free(b->step);
  slab_free(b);
}

void branch_begin(struct branch *b) {
  struct run *run = b->run;
  struct script_yield out = {0};
  run->current = b;
  run->draws = 0;
  run_burst(run);
  if (!b->parent) b->lua = script_start(run->script, run->params, run->settings, &out);
  else b->lua = script_branch(b->parent->branch->lua, b->index, &out);
  branch_outcome(b, &out);
  suspect_end();
}

void step_wake(struct step *s) {
  struct run *run = s->run;
  struct branch *b = s->branch;
  struct script_yield out = {0};
  struct answer a = s->answered ? s->answer : fresh_answer;
  run_burst(run);
  if (!s->answered) s->verb->answer(s, &a);
  s->answer.value = NULL;
  story_add(run, s, &a);
  run_view_release(&run->view);
  run->view = s->view;
  s->view = (struct view){0};
  memcpy(b->last, s->path, sizeof b->last);
  step_free(s);
  run->current = b;
  run->draws = 0;
  script_resume(b->lua, b->last, a.ok, a.value, a.trust, &out);
  json_decref(a.value);
  branch_outcome(b, &out);
  suspect_end();
}

/* --- the next step -------------------------------------------------------------------------------------------- */

static struct step *step_new(struct branch *b, const struct verb *verb, json_t *args) {
  struct step *s = slab_calloc(1, sizeof *s);
  if (!s) abort();
  *s = (struct step){
      .run = b->run, .branch = b, .verb = verb, .args = args ? json_incref(args) : json_object(), .alerts_seen = b->run->view.alerts};
  char *end = s->path + sizeof s->path - 1;
  *text_add_number(text_add(s->path, end - 8, b->prefix), end, ++b->count % 10000) = 0;
  b->step = s;
  TAILQ_INSERT_TAIL(&b->run->steps, s, next);
  return s;
}

static void step_begin(struct branch *b, const char *name, json_t *args) {
  struct run *run = b->run;
  const struct verb *verb = run->shadow ? shadow_verb(name) : verb_find(name);
  char why[160];
  if (!verb) {
    snprintf(why, sizeof why, "the engine has no verb \"%.60s\"", name);
    run_failed(run, why, NULL, run->line);
    return;
  }
  if (b->parent && !b->prefix[0]) {
    run_failed(run, "parallel steps are nested too deep", NULL, run->line);
    return;
  }
  if (run->taken++ >= STEPS_MOST) {
    snprintf(why, sizeof why, "a run has at most %d steps; incident:continue_as(params) goes on in a fresh one", STEPS_MOST);
    run_failed(run, why, NULL, run->line);
    return;
  }
  struct step *s = step_new(b, verb, args);
  if (run->replay) replay_step(s);
  else verb->start(s);
}
