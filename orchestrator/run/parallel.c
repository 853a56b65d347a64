/* Branches: started up to so many at once, each resumed by itself; the parallel step ends with the last of them. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "run/internal.h"

void group_free(struct group *g) {
  struct branch *b;
  if (!g) return;
  while ((b = TAILQ_FIRST(&g->branches))) {
    TAILQ_REMOVE(&g->branches, b, next);
    branch_free(b);
  }
  json_decref(g->results);
  free(g);
}

static json_t *cancelled(void) {
  return json_pack("{s:b, s:o}", "ok", 0, "error", failure_of("cancelled", "another branch failed first", false));
}

/* stop_on_error: what the others wait for is called off; what they may have sent is resolved without them. */
static void stop_others(struct group *g) {
  struct branch *b;
  g->stopped = true;
  while ((b = TAILQ_FIRST(&g->branches))) {
    TAILQ_REMOVE(&g->branches, b, next);
    branch_free(b);
    g->running--;
  }
}

static void all_ended(struct step *s) {
  struct group *g = s->group;
  if (s->run->replay) return; /* its entry is in the journal, or replay_feed makes it at the end */
  step_add(s, KIND_PARALLEL_ENDED,
           json_pack("{s:I, s:I, s:I}", "ok", (json_int_t)g->done, "failed", (json_int_t)g->failed, "cancelled",
                     (json_int_t)(g->count - g->done - g->failed)));
  step_called(s);
}

static bool complete(const struct group *g) { return g->running == 0 && (g->stopped || g->begun == g->count); }

/* Begins branches while there is room. A branch may end in its first burst, so this is a loop and not a recursion. */
static void fill(struct step *s) {
  struct group *g = s->group;
  struct run *run = s->run;
  if (g->filling) return;
  g->filling = true;
  while (!run_quiet(run) && !g->stopped && g->running < g->most && g->begun < g->count) {
    struct branch *b = branch_new(run, s, ++g->begun);
    TAILQ_INSERT_TAIL(&g->branches, b, next);
    g->running++;
    branch_begin(b);
    if (run_quiet(run)) return;
  }
  g->filling = false;
  if (complete(g)) all_ended(s);
}

void parallel_branch_ended(struct branch *b, bool ok, json_t *value_take) {
  struct step *s = b->parent;
  struct group *g = s->group;
  json_t *result = json_pack("{s:b}", "ok", ok);
  if (value_take) json_object_set_new(result, ok ? "result" : "error", value_take);
  json_array_set_new(g->results, b->index - 1, result);
  TAILQ_REMOVE(&g->branches, b, next);
  branch_free(b);
  g->running--;
  if (ok) g->done++;
  else g->failed++;
  if (!ok && g->stop_on_error && !g->stopped) stop_others(g);
  fill(s);
}

/* --- the verb --------------------------------------------------------------------------------------------------- */

static void group_new(struct step *s) {
  struct group *g = calloc(1, sizeof *g);
  if (!g) abort();
  int64_t count = json_int_or(s->args, "count", 0), most = json_int_or(s->args, "max", AT_ONCE);
  g->count = count < 0 ? 0 : (size_t)count;
  g->most = most < 1 ? 1 : (size_t)most;
  g->stop_on_error = json_bool_or(s->args, "stop_on_error", false);
  g->results = json_array();
  TAILQ_INIT(&g->branches);
  for (size_t i = 0; i < g->count; i++) json_array_append_new(g->results, cancelled());
  s->group = g;
}

static void parallel_start(struct step *s) {
  int64_t count = json_int_or(s->args, "count", 0);
  if (count > BRANCHES_MOST) {
    step_refuse(s, "limit", "a parallel step has at most 10,000 branches");
    return;
  }
  step_add(s, KIND_PARALLEL_STARTED,
           json_pack("{s:s, s:I, s:I, s:b}", "verb", "parallel", "count", (json_int_t)count, "max",
                     (json_int_t)json_int_or(s->args, "max", AT_ONCE), "stop_on_error", json_bool_or(s->args, "stop_on_error", false)));
  group_new(s);
  fill(s);
}

/* A replay that has come to its end: nothing is added to what began, but an end that was not on record is made now. */
static void parallel_again(struct step *s, const json_t *history) {
  if (!s->group) {
    group_new(s);
    fill(s);
  } else if (complete(s->group)) {
    all_ended(s);
  }
}

static bool parallel_ends(const struct step *s, enum kind kind, const json_t *body) {
  return kind == KIND_PARALLEL_ENDED || verb_refused(s, kind, body);
}

static void parallel_answer(const struct step *s, struct answer *out) {
  if (s->kind == KIND_ACTION_REFUSED) {
    out->ok = false;
    out->value = failure_of(json_str_or(s->body, "kind", "refused"), json_str_or(s->body, "why", ""), false);
    return;
  }
  out->value = json_incref(s->group->results);
}

static bool parallel_same(const struct step *s, const json_t *history) {
  static const char *const keys[] = {"count", "max", "stop_on_error", NULL};
  const json_t *begun = history_find(history, KIND_PARALLEL_STARTED);
  if (!begun) return history_find(history, KIND_ACTION_REFUSED) != NULL;
  return args_agree(s, s->args, begun, keys) && json_str(begun, "verb") && json_str_or(begun, "verb", "")[0] == 'p';
}

const struct verb verb_parallel = {"parallel", parallel_start, parallel_ends, parallel_answer, parallel_same, parallel_again};
