/* A run taken up from its journal: the playbook runs again from the beginning, and every step that the journal knows is fed its ending entry, in the order
 * of seq, with the incident folded up to that entry. What has begun and not ended is then taken up, what has not begun is begun.
 * A step that is not the journal's stops the run. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/slab.h"
#include "run/internal.h"

struct replay {
  json_t *entries; /* the whole journal's */
  size_t at;
  struct standing now; /* folded up to entries[at - 1] */
  json_t *history;     /* {step: [entries of it]} of this run */
  json_t *visited;     /* {step: true} */
  const char *ended;   /* the status that the journal's ending entry gives, or NULL */
  bool differs;
  /* the end that the playbook came to */
  bool over;
  enum kind kind;
  char actor[ENTRY_ACTOR];
  json_t *body;
  const char *status;
};

void replay_free(struct replay *r) {
  if (!r) return;
  json_decref(r->entries);
  standing_release(&r->now);
  json_decref(r->history);
  json_decref(r->visited);
  json_decref(r->body);
  free(r);
}

void replay_keep_end(struct replay *r, enum kind kind, const char *actor, json_t *body_take, const char *status) {
  json_decref(r->body);
  r->over = true;
  r->kind = kind;
  snprintf(r->actor, sizeof r->actor, "%s", actor);
  r->body = body_take;
  r->status = status;
}

static int64_t time_of(const json_t *e) {
  int64_t us = json_int_or(e, "time", 0);
  if (json_str(e, "time")) time_parse(json_str(e, "time"), &us);
  return us;
}

static struct entry entry_of(const json_t *e) {
  struct entry entry = {.seq = (uint64_t)json_int_or(e, "seq", 0),
                        .time = time_of(e),
                        .kind = kind_by_name(json_str_or(e, "type", "")),
                        .run = (unsigned)json_int_or(e, "run", 0)};
  snprintf(entry.step, sizeof entry.step, "%s", json_str_or(e, "step", ""));
  snprintf(entry.actor, sizeof entry.actor, "%s", json_str_or(e, "actor", ""));
  entry.body = json_object_get(e, "body");
  return entry;
}

static void fold_next(struct run *run, struct replay *r, struct entry *out) {
  *out = entry_of(json_array_get(r->entries, r->at++));
  if (out->kind != KIND_COUNT) standing_fold(&r->now, out);
}

static void index_entry(struct replay *r, json_t *e, const struct entry *entry) {
  if (entry->kind == KIND_RUN_FINISHED) r->ended = strcmp(json_str_or(entry->body, "status", ""), "failed") == 0 ? "failed" : "done";
  if (entry->kind == KIND_RUN_HANDED_OVER) r->ended = "handed_over";
  if (entry->kind == KIND_RUN_CANCELLED) r->ended = "cancelled";
  if (!entry->step[0]) return;
  json_t *steps = json_object_get(r->history, entry->step);
  if (!steps) json_object_set_new(r->history, entry->step, steps = json_array());
  json_array_append(steps, e);
}

/* What run.started pinned replaces what the caller gave. */
static void restore(struct run *run, const json_t *started) {
  json_t *params = json_object_get(started, "params"), *trigger = json_object_get(started, "trigger"),
         *settings = json_object_get(started, "settings");
  snprintf(run->seed, sizeof run->seed, "%s", json_str_or(started, "seed", ""));
  if (params) json_decref(run->params), run->params = json_deep_copy(params);
  if (trigger) json_decref(run->trigger), run->trigger = json_deep_copy(trigger);
  json_decref(run->pins);
  run->pins = json_incref(json_object_get(started, "connectors"));
  if (settings) json_decref(run->settings), run->settings = json_deep_copy(settings);
  if (!run->requester && json_str(started, "requester")) run->requester = slab_strdup(json_str(started, "requester"));
  if (json_bool_or(started, "simulated", false)) run->simulated = true; /* never the other way round */
  if (json_bool_or(started, "shadow", false)) run->shadow = true;
}

int replay_prepare(struct run *run, const json_t *entries, struct err *err) {
  struct replay *r = calloc(1, sizeof *r);
  const json_t *started = NULL;
  size_t i;
  json_t *e;
  if (!r) abort();
  run->replay = r;
  *r = (struct replay){.entries = json_incref((json_t *)(uintptr_t)entries), .history = json_object(), .visited = json_object()};
  standing_init(&r->now, journal_incident(run->journal));
  json_array_foreach(entries, i, e) {
    struct entry entry = entry_of(e);
    if (entry.run != run->number) continue;
    if (entry.kind == KIND_RUN_STARTED && !started) started = entry.body;
    else index_entry(r, e, &entry);
  }
  if (!started)
    return err_set(err, ERR_NOT_FOUND, "%s/%u: the journal has no run.started of this run, or its body was removed",
                   journal_incident(run->journal), run->number);
  const char *digest = json_str_or(started, "digest", "");
  if (strcmp(digest, run->playbook->digest) != 0)
    return err_set(err, ERR_CONFLICT, "%s/%u began with %s %.12s, not %.12s: it needs the version that it began with",
                   journal_incident(run->journal), run->number, run->playbook->name, digest, run->playbook->digest);
  restore(run, started);
  struct entry entry = {0};
  do fold_next(run, r, &entry);
  while (r->at < json_array_size(r->entries) && (entry.run != run->number || entry.kind != KIND_RUN_STARTED));
  view_take(&run->view, entry.time, &r->now);
  return 0;
}

/* --- a difference ------------------------------------------------------------------------------------------------- */

static void describe(const json_t *history, struct buf *out) {
  const json_t *first = json_array_get(history, 0), *body = json_object_get(first, "body");
  static const char *const shown[] = {"verb", "connector", "action", "text", "of", "params", "why", NULL};
  buf_addf(out, "%s", json_str_or(first, "type", "nothing"));
  for (const char *const *k = shown; *k; k++) {
    char *text = json_object_get(body, *k) ? json_text(json_object_get(body, *k)) : NULL;
    if (text) buf_addf(out, " %s=%.200s", *k, text);
    free(text);
  }
}

static void diverged(struct run *run, const char *step, const json_t *history, const struct step *s) {
  struct buf journal, playbook, text;
  buf_init(&journal, 4096);
  buf_init(&playbook, 4096);
  buf_init(&text, 12288);
  describe(history, &journal);
  if (s) {
    char *args = json_text(s->args);
    buf_addf(&playbook, "%s %.600s", s->verb->name, args ? args : "");
    free(args);
  } else {
    buf_adds(&playbook, "no such step");
  }
  buf_addf(&text, "the replay differs from the journal at step %s: the journal has %s; the playbook does %s", step, journal.data,
           playbook.data);
  free(run->error);
  run->error = strdup(text.data);
  json_t *why = json_pack("{s:s, s:s, s:s}", "step", step, "journal", journal.data, "playbook", playbook.data);
  run->replay->differs = true;
  replay_keep_end(run->replay, KIND_RUN_HANDED_OVER, "engine", json_pack("{s:s, s:o}", "text", text.data, "why", why), "handed_over");
  run_end(run, KIND_RUN_HANDED_OVER, "engine", json_incref(run->replay->body), "handed_over");
  buf_release(&journal);
  buf_release(&playbook);
  buf_release(&text);
}

/* --- feeding --------------------------------------------------------------------------------------------------------- */

/* Sub-steps "<path>.0.<k>" that the journal knows: the highest k. */
static unsigned sub_steps(const struct replay *r, const char *path) {
  char prefix[ID_STEP + 4];
  int n = snprintf(prefix, sizeof prefix, "%s.0.", path);
  unsigned most = 0;
  const char *step;
  json_t *entries;
  json_object_foreach(r->history, step, entries) {
    if (strncmp(step, prefix, (size_t)n) != 0) continue;
    unsigned long k = strtoul(step + n, NULL, 10);
    if (k > most && k < 1000000) most = (unsigned)k;
  }
  return most;
}

/* A step that the playbook takes while its journal is fed. */
void replay_step(struct step *s) {
  struct replay *r = s->run->replay;
  const json_t *history = json_object_get(r->history, s->path);
  if (!history) return; /* not begun: after the replay */
  json_object_set_new(r->visited, s->path, json_true());
  s->attempt = sub_steps(r, s->path);
  if (!s->verb->same(s, history)) diverged(s->run, s->path, history, s);
  else if (s->verb == &verb_parallel && history_find(history, KIND_PARALLEL_STARTED)) s->verb->again(s, history);
}

/* A step of the journal that the playbook did not take. Helpers' steps ("3.0.1") belong to the step above them. */
static const char *left_out(const struct replay *r) {
  const char *step;
  json_t *entries;
  json_object_foreach(r->history, step, entries) if (!strstr(step, ".0.") && !json_object_get(r->visited, step)) return step;
  return NULL;
}

static void feed(struct run *run, struct replay *r) {
  while (r->at < json_array_size(r->entries) && !run->over) {
    struct entry entry;
    fold_next(run, r, &entry);
    if (entry.run != run->number || !entry.step[0]) continue;
    struct step *s = step_find(run, entry.step);
    if (!s || s->ended || !s->verb->ends(s, entry.kind, entry.body)) continue;
    step_ended(s, entry.kind, entry.body, entry.time, &r->now);
    s->called = true;
    step_wake(s);
  }
}

/* From here on the run lives: what waits is taken up, or begun. Each may end the run. */
static void go_on(struct run *run, const struct replay *r) {
  json_t *paths = json_array(), *path;
  struct step *s;
  size_t i;
  TAILQ_FOREACH(s, &run->steps, next) json_array_append_new(paths, json_string(s->path));
  json_array_foreach(paths, i, path) {
    const json_t *history = json_object_get(r->history, json_string_value(path));
    s = run_quiet(run) ? NULL : step_find(run, json_string_value(path));
    if (!s) continue;
    if (history) s->verb->again(s, history);
    else s->verb->start(s);
  }
  json_decref(paths);
}

/* The journal is read to its end: does the run live, or how did it end? */
static void settle(struct run *run, struct replay *r) {
  if (r->ended) { /* hand_over, continue_as and cancel leave no step behind: whatever waits now was ended by them */
    run_end(run, KIND_RUN_FINISHED, run->actor, json_object(), r->ended);
    run_close(run, r->kind, r->actor, NULL, r->differs ? "handed_over" : r->ended);
  } else if (r->over) {
    run_close(run, r->kind, r->actor, json_incref(r->body), r->status);
  } else {
    run->replay = NULL;
    run_observe(run);
    run->past = r->history;
    go_on(run, r);
    run->past = NULL;
  }
}

void replay_feed(struct run *run) {
  struct replay *r = run->replay;
  feed(run, r);
  const char *missed = r->differs ? NULL : left_out(r);
  if (missed) diverged(run, missed, json_object_get(r->history, missed), NULL);
  settle(run, r);
  run->replay = NULL;
  replay_free(r);
}
