/* undo lifts one containment of this run; release lifts all of the incident, the newest first, one after the other. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "run/internal.h"

static void on_release(void *arg, const struct outcome *outcome);

static int release_go(struct step *s, const char *path, const char *of, const json_t *history, struct err *err) {
  struct action_spec spec;
  struct action *action = NULL; /* a release cannot be called off, so the ticket stands between it and the step */
  verb_spec(s, path, NULL, NULL, NULL, history, &spec);
  s->ticket = calloc(1, sizeof *s->ticket);
  if (!s->ticket) abort();
  s->ticket->step = s;
  int r = action_release(s->run->all->deps.actions, &spec, of, on_release, s->ticket, &action, err);
  if (r == 0) return 0;
  free(s->ticket);
  s->ticket = NULL;
  return r;
}

/* --- undo ----------------------------------------------------------------------------------------------------------- */

void undo_place(const struct step *s, char out[ID_PATH]) {
  const json_t *step = json_object_get(s->args, "step");
  if (json_is_integer(step)) snprintf(out, ID_PATH, "%u/%" JSON_INTEGER_FORMAT, s->run->number, json_integer_value(step));
  else snprintf(out, ID_PATH, "%u/%s", s->run->number, json_is_string(step) ? json_string_value(step) : "?");
}

static void undo_go(struct step *s, const json_t *history) {
  struct err err;
  char of[ID_PATH];
  undo_place(s, of);
  if (release_go(s, s->path, of, history, &err) < 0) step_refuse(s, err_name(err.code), err.text);
}

static void undo_start(struct step *s) { undo_go(s, NULL); }

/* "keep": a person said that what we only found stays as it is. */
static bool release_ends(enum kind kind, const json_t *body) {
  return kind == KIND_CONTAINMENT_RELEASED || kind == KIND_CONTAINMENT_KEPT || kind == KIND_CONTAINMENT_STILL ||
         (kind == KIND_QUESTION_ANSWERED && strcmp(json_str_or(body, "answer", ""), "keep") == 0);
}

static bool undo_ends(const struct step *s, enum kind kind, const json_t *body) {
  return release_ends(kind, body) || verb_refused(s, kind, body);
}

static void undo_answer(const struct step *s, struct answer *out) {
  const char *why = json_str_or(s->body, "why", "it is still contained");
  switch (s->kind) {
  case KIND_CONTAINMENT_RELEASED: out->value = json_pack("{s:b}", "released", 1); return;
  case KIND_CONTAINMENT_KEPT:
    out->value = json_pack("{s:b}", "kept", 1);
    if (json_object_get(s->body, "holders")) json_object_set(out->value, "holders", json_object_get(s->body, "holders"));
    return;
  case KIND_CONTAINMENT_STILL: out->value = failure_of("still_contained", why, true); break;
  case KIND_QUESTION_ANSWERED: out->value = failure_of("kept", "it was contained before we came, and stays so", false); break;
  default: out->value = failure_of(json_str_or(s->body, "kind", "refused"), why, false);
  }
  out->ok = false;
}

static bool undo_same(const struct step *s, const json_t *history) {
  char of[ID_PATH];
  size_t i;
  json_t *e;
  undo_place(s, of);
  json_array_foreach(history, i, e) {
    const json_t *body = json_object_get(e, "body");
    const char *named = json_str(body, "of") ? json_str(body, "of") : json_str(body, "undo_of");
    enum kind kind = kind_by_name(json_str_or(e, "type", ""));
    if (kind == KIND_WAIT_STARTED || kind == KIND_PARALLEL_STARTED || kind <= KIND_INCIDENT_REOPENED) return false;
    if (named && strcmp(named, of) != 0) return false;
    if ((kind == KIND_ACTION_INTENDED || kind == KIND_ACTION_OUTCOME) && !named) return false; /* an action that undoes nothing */
    if (kind == KIND_QUESTION_ASKED && strcmp(json_str_or(body, "kind", ""), "ask") == 0) return false;
  }
  return true;
}

const struct verb verb_undo = {"undo", undo_start, undo_ends, undo_answer, undo_same, undo_go};

/* --- release ----------------------------------------------------------------------------------------------------------- */

static const char *status_of(const struct step *s, const char *of) {
  return json_str_or(json_object_get(json_object_get(journal_state(s->run->journal), "containments"), of), "status", "");
}

static bool in_force(const char *status) {
  return strcmp(status, "active") == 0 || strcmp(status, "found") == 0 || strcmp(status, "still") == 0;
}

struct held {
  const char *of;
  int64_t since;
};

static int newest_first(const void *a, const void *b) {
  const struct held *x = a, *y = b;
  return x->since > y->since ? -1 : x->since < y->since;
}

json_t *contained_now(const struct step *s) {
  json_t *all = json_object_get(journal_state(s->run->journal), "containments"), *c, *list = json_array();
  struct held *held = calloc(json_object_size(all) + 1, sizeof *held);
  size_t count = 0;
  const char *of;
  if (!held) abort();
  json_object_foreach(all, of, c) if (in_force(json_str_or(c, "status", ""))) held[count++] = (struct held){of, json_int_or(c, "since", 0)};
  qsort(held, count, sizeof *held, newest_first);
  for (size_t i = 0; i < count; i++) json_array_append_new(list, json_string(held[i].of));
  free(held);
  return list;
}

static void release_all_ended(struct step *s) {
  json_t *released = json_array(), *kept = json_array(), *still = json_array(), *of;
  size_t i;
  json_array_foreach(s->list, i, of) {
    const char *status = status_of(s, json_string_value(of));
    json_array_append(strcmp(status, "released") == 0 ? released : strcmp(status, "kept") == 0 ? kept : still, of);
  }
  step_add(s, KIND_PARALLEL_ENDED,
           json_pack("{s:s, s:o, s:o, s:o}", "verb", "release", "released", released, "kept", kept, "still", still));
  step_called(s);
}

static void release_next(struct step *s) {
  struct err err;
  char path[ID_STEP];
  while (s->attempt < json_array_size(s->list)) {
    const char *of = json_string_value(json_array_get(s->list, s->attempt));
    int n = snprintf(path, sizeof path, "%s.0.%u", s->path, ++s->attempt);
    if (n < 0 || (size_t)n >= sizeof path) continue; /* it stays among `still` */
    if (in_force(status_of(s, of)) && release_go(s, path, of, NULL, &err) == 0) return;
  }
  release_all_ended(s);
}

static void on_release(void *arg, const struct outcome *outcome) {
  struct ticket *t = arg;
  struct step *s = t->step;
  free(t);
  if (!s) return;
  s->ticket = NULL;
  if (s->verb == &verb_release) {
    release_next(s);
    return;
  }
  if (!s->ended) { /* an end without an entry of its own */
    json_t *body = json_pack("{s:s}", "why", json_str_or(outcome->returns, "message", "it is still contained"));
    step_ended(s, outcome->ok ? KIND_CONTAINMENT_RELEASED : KIND_CONTAINMENT_STILL, body, run_now(s->run),
               journal_standing(s->run->journal));
    json_decref(body);
  }
  step_called(s);
}

static void release_start(struct step *s) {
  s->list = contained_now(s);
  step_add(s, KIND_PARALLEL_STARTED, json_pack("{s:s, s:O}", "verb", "release", "of", s->list));
  release_next(s);
}

/* Only the last one that was begun can be unfinished: it is taken up under its own step, so that an undo in doubt is resolved and not sent anew. */
static void release_again(struct step *s, const json_t *history) {
  struct err err;
  char path[ID_STEP];
  json_t *list = json_object_get(history_find(history, KIND_PARALLEL_STARTED), "of");
  s->list = list ? json_deep_copy(list) : json_array();
  const char *of = s->attempt ? json_string_value(json_array_get(s->list, s->attempt - 1)) : NULL;
  snprintf(path, sizeof path, "%.*s.0.%u", (int)sizeof path - 16, s->path, s->attempt);
  const json_t *begun = json_object_get(s->run->past, path);
  bool unfinished = of && in_force(status_of(s, of)) && !history_find(begun, KIND_CONTAINMENT_STILL);
  if (!unfinished || release_go(s, path, of, begun, &err) < 0) release_next(s);
}

static bool release_all_ends(const struct step *s, enum kind kind, const json_t *body) { return kind == KIND_PARALLEL_ENDED; }

static void release_answer(const struct step *s, struct answer *out) {
  size_t still = json_array_size(json_object_get(s->body, "still"));
  char text[96];
  out->ok = still == 0;
  if (out->ok) {
    out->value = json_copy(s->body);
    json_object_del(out->value, "verb");
    return;
  }
  snprintf(text, sizeof text, "%zu of %zu are still contained", still,
           still + json_array_size(json_object_get(s->body, "released")) + json_array_size(json_object_get(s->body, "kept")));
  out->value = failure_of("still_contained", text, true);
}

static bool release_same(const struct step *s, const json_t *history) {
  const json_t *begun = history_find(history, KIND_PARALLEL_STARTED);
  return begun && strcmp(json_str_or(begun, "verb", ""), "release") == 0;
}

const struct verb verb_release = {"release", release_start, release_all_ends, release_answer, release_same, release_again};
