/* The verbs of a playbook in shadow. Reads, waits and branches are real; whatever would touch the world, the incident or a person is an entry
 * run.would, and the playbook goes on as if it had been done. A verb that is not in this table is unknown to a run in shadow. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "run/internal.h"

/* --- shared ----------------------------------------------------------------------------------------------------- */

static void would(struct step *s, json_t *body_take) {
  json_object_set_new(body_take, "verb", json_string(s->verb->name));
  step_add(s, KIND_RUN_WOULD, body_take);
  step_called(s);
}

static bool would_ends(const struct step *s, enum kind kind, const json_t *body) {
  return kind == KIND_RUN_WOULD || verb_refused(s, kind, body);
}

/* Its entry that says what it would have done, or NULL; *ret_other: there is one, of another verb. */
static const json_t *would_of(const struct step *s, const json_t *history, bool *ret_other) {
  const json_t *body = history_find(history, KIND_RUN_WOULD);
  *ret_other = body && strcmp(json_str_or(body, "verb", ""), s->verb->name) != 0;
  return *ret_other ? NULL : body;
}

static bool would_same(const struct step *s, const json_t *history, const char *const *keys) {
  bool other;
  const json_t *body = would_of(s, history, &other), *refused = history_find(history, KIND_ACTION_REFUSED);
  if (body) return args_agree(s, s->args, body, keys);
  return !other && refused && strcmp(json_str_or(refused, "verb", ""), s->verb->name) == 0;
}

static void would_answer(const struct step *s, struct answer *out) {
  out->ok = s->kind == KIND_RUN_WOULD && json_bool_or(s->body, "ok", true);
  if (out->ok) out->value = json_incref(json_object_get(s->body, "answer"));
  else if (json_object_get(s->body, "failure")) out->value = json_incref(json_object_get(s->body, "failure"));
  else out->value = failure_of(json_str_or(s->body, "kind", "refused"), json_str_or(s->body, "why", ""), false);
}

/* --- actions: the action room decides, and writes the entry ---------------------------------------------------------- */

static const struct verb *acts(void) { return verb_find("action"); }
static void action_begin(struct step *s) { acts()->start(s); }
static void action_again(struct step *s, const json_t *history) { acts()->again(s, history); }
static void action_answer(const struct step *s, struct answer *out) { acts()->answer(s, out); }

static bool action_ends(const struct step *s, enum kind kind, const json_t *body) {
  return kind == KIND_RUN_WOULD || acts()->ends(s, kind, body);
}

static bool action_same(const struct step *s, const json_t *history) {
  bool other;
  would_of(s, history, &other);
  return !other && acts()->same(s, history);
}

/* --- undo and release: of what this run would have contained --------------------------------------------------------- */

void shadow_ended(struct step *s) {
  const char *undone = json_str(s->body, "undo_of"), *slash = undone ? strchr(undone, '/') : NULL;
  json_t *of;
  size_t i;
  if (s->kind != KIND_RUN_WOULD || !json_bool_or(s->body, "ok", true)) return;
  if (!s->run->woulds) s->run->woulds = json_object();
  if (strcmp(json_str_or(s->body, "effect", ""), "contain") == 0 && !undone) json_object_set(s->run->woulds, s->path, s->body);
  if (slash) json_object_del(s->run->woulds, slash + 1);
  json_array_foreach(json_object_get(s->body, "own"), i, of) json_object_del(s->run->woulds, json_string_value(of));
}

static void on_undone(void *arg, const struct outcome *outcome) {
  struct step *s = arg;
  s->action = NULL;
  if (s->ended) {
    step_called(s);
    return;
  }
  step_refuse(s, json_str_or(outcome->returns, "kind", "refused"), json_str_or(outcome->returns, "message", "it could not be prepared"));
}

static void undo_go(struct step *s, const json_t *history) {
  struct action_spec spec;
  struct err err;
  char of[ID_PATH];
  undo_place(s, of);
  const json_t *done = json_object_get(s->run->woulds, strchr(of, '/') + 1);
  if (!done) {
    step_refuse(s, "not_found", "this run would have contained nothing in that step, or has undone it");
    return;
  }
  verb_spec(s, s->path, NULL, NULL, NULL, history, &spec);
  if (action_would_undo(s->run->all->deps.actions, &spec, of, done, on_undone, s, &s->action, &err) == 0) return;
  s->action = NULL;
  step_refuse(s, err_name(err.code), err.text);
}

static void undo_begin(struct step *s) { undo_go(s, NULL); }

static void undo_answer(const struct step *s, struct answer *out) {
  would_answer(s, out);
  if (out->ok) out->value = json_pack("{s:b}", "released", 1);
}

/* Without an entry of its own yet, the search before it may have failed. */
static bool undo_same(const struct step *s, const json_t *history) {
  bool other;
  char of[ID_PATH];
  const json_t *body = would_of(s, history, &other), *refused = history_find(history, KIND_ACTION_REFUSED);
  if (!body && !refused) body = history_find(history, KIND_ACTION_OUTCOME);
  undo_place(s, of);
  if (body) return strcmp(json_str_or(body, "undo_of", ""), of) == 0;
  return !other && refused && strcmp(json_str_or(refused, "verb", ""), s->verb->name) == 0;
}

static void release_begin(struct step *s) {
  json_t *of = contained_now(s), *own = json_array(), *woulds = s->run->woulds, *body;
  const char *path;
  json_object_foreach(woulds, path, body) {
    json_array_append_new(own, json_string(path));
    json_array_append_new(of, json_sprintf("%u/%s", s->run->number, path));
  }
  json_t *answer = json_pack("{s:O, s:[], s:[]}", "released", of, "kept", "still");
  would(s, json_pack("{s:o, s:o, s:o}", "of", of, "own", own, "answer", answer));
}

static void release_again(struct step *s, const json_t *history) { release_begin(s); }

static bool release_same(const struct step *s, const json_t *history) {
  static const char *const none[] = {NULL};
  return would_same(s, history, none);
}

/* --- ask: silence answers, at once ------------------------------------------------------------------------------------ */

static void ask_begin(struct step *s) {
  json_t *body = json_deep_copy(s->args), *otherwise = json_object_get(s->args, "otherwise");
  if (otherwise) json_object_set(body, "answer", otherwise);
  would(s, body);
}

static void ask_again(struct step *s, const json_t *history) { ask_begin(s); }

static void ask_answer(const struct step *s, struct answer *out) {
  would_answer(s, out);
  out->trust = SCRIPT_DATA;
}

static bool ask_same(const struct step *s, const json_t *history) {
  static const char *const keys[] = {"text", "options", "otherwise", "role", NULL};
  return would_same(s, history, keys);
}

/* --- changes of the incident ------------------------------------------------------------------------------------------- */

static void change_begin(struct step *s) {
  json_t *body = json_deep_copy(s->args);
  json_object_set_new(body, "answer", json_true());
  would(s, body);
}

static void change_again(struct step *s, const json_t *history) { change_begin(s); }

static bool change_same(const struct step *s, const json_t *history) {
  static const char *const keys[] = {"text", "severity", "to", "tag", "verdict", NULL};
  return would_same(s, history, keys);
}

/* --- collect: what would have been kept, told by its digest --------------------------------------------------------------- */

static void collect_begin(struct step *s) {
  json_t *body = json_copy(s->args);
  json_object_del(body, "content");
  json_object_set_new(body, "answer", collect_shown(s));
  would(s, body);
}

static void collect_again(struct step *s, const json_t *history) { collect_begin(s); }

static void collect_answer(const struct step *s, struct answer *out) {
  would_answer(s, out);
  if (!out->ok) return;
  json_t *answer = json_copy(out->value);
  json_decref(out->value);
  json_object_set_new(answer, "item", json_integer((json_int_t)s->seq));
  out->value = answer;
}

static bool collect_same(const struct step *s, const json_t *history) {
  static const char *const keys[] = {"name", "because", NULL};
  bool other;
  const json_t *body = would_of(s, history, &other);
  json_t *shown = collect_shown(s);
  bool same = would_same(s, history, keys) && (!body || json_equal(json_object_get(body, "answer"), shown));
  json_decref(shown);
  return same;
}

/* --- hand_over: the run ends, and nobody is called ----------------------------------------------------------------------- */

static void hand_over_begin(struct step *s) {
  struct run *run = s->run;
  json_t *would = json_pack("{s:s, s:s, s:s, s:O*}", "verb", "hand_over", "text", json_str_or(s->args, "text", "the playbook handed over"),
                            "at", s->path, "why", json_object_get(s->args, "why"));
  run_end(run, KIND_RUN_FINISHED, run->actor, json_pack("{s:s, s:o}", "status", "done", "would", would), "done");
}

static void hand_over_again(struct step *s, const json_t *history) { hand_over_begin(s); }
static bool never_ends(const struct step *s, enum kind kind, const json_t *body) { return false; }
static bool never_same(const struct step *s, const json_t *history) { return false; }

/* --- the table ------------------------------------------------------------------------------------------------------------ */

#define CHANGE(name)                                                                                                                       \
  { name, change_begin, would_ends, would_answer, change_same, change_again }
static const struct verb verbs[] = {{"action", action_begin, action_ends, action_answer, action_same, action_again},
                                    {"ask", ask_begin, would_ends, ask_answer, ask_same, ask_again},
                                    {"undo", undo_begin, would_ends, undo_answer, undo_same, undo_go},
                                    {"release", release_begin, would_ends, would_answer, release_same, release_again},
                                    {"collect", collect_begin, would_ends, collect_answer, collect_same, collect_again},
                                    {"hand_over", hand_over_begin, never_ends, would_answer, never_same, hand_over_again},
                                    CHANGE("note"),
                                    CHANGE("severity"),
                                    CHANGE("assign"),
                                    CHANGE("tag"),
                                    CHANGE("close")};
static const char *const real[] = {"wait", "wait_for", "poll", "parallel", "continue_as"};

const struct verb *shadow_verb(const char *name) {
  for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
    if (strcmp(verbs[i].name, name) == 0) return &verbs[i];
  for (size_t i = 0; i < sizeof real / sizeof *real; i++)
    if (strcmp(real[i], name) == 0) return verb_find(name);
  return NULL;
}
