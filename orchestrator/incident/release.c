/* Lifting containments: a run of the engine's own, one step a containment, the last one made goes first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "incident/internal.h"

struct lifting {
  struct desk *desk;
  struct incident *inc;
  char id[ID_INCIDENT];
  char *actor, *requester;
  unsigned run;
  size_t next;
  json_t *ofs, *released, *still, *kept;
  release_done_cb *cb;
  void *arg;
};

static void lift_next(struct lifting *l);

static void lift_end(struct lifting *l) {
  const char *status = json_array_size(l->still) ? "failed" : "done";
  json_t *body = json_pack("{s:s, s:i, s:i, s:i}", "status", status, "released", (int)json_array_size(l->released), "kept",
                           (int)json_array_size(l->kept), "still", (int)json_array_size(l->still));
  journal_save_state(l->inc->journal);
  if (l->inc->lost) json_decref(body); /* whoever has the incident next says how it ended */
  else journal_add(l->inc->journal, KIND_RUN_FINISHED, l->actor, l->run, NULL, body);
  if (l->cb) l->cb(l->arg, l->released, l->still, l->kept);
  incident_busy(l->inc, -1);
  json_decref(l->ofs);
  json_decref(l->released);
  json_decref(l->still);
  json_decref(l->kept);
  free(l->actor);
  free(l->requester);
  free(l);
}

static json_t *element(const struct lifting *l, const char *of, const struct outcome *outcome) {
  char id[ID_PATH * 2];
  const json_t *c = json_object_get(json_object_get(incident_state(l->inc), "containments"), of);
  snprintf(id, sizeof id, "%s/%s", l->id, of);
  json_t *item = json_pack("{s:s, s:O*, s:O*, s:O*}", "id", id, "connector", json_object_get(c, "connector"), "action",
                           json_object_get(c, "action"), "target", json_object_get(c, "target"));
  if (json_object_get(outcome->returns, "message")) json_object_set(item, "why", json_object_get(outcome->returns, "message"));
  if (json_object_get(outcome->returns, "holders")) json_object_set(item, "holders", json_object_get(outcome->returns, "holders"));
  return item;
}

static void on_lifted(void *arg, const struct outcome *outcome) {
  struct lifting *l = arg;
  const char *of = json_string_value(json_array_get(l->ofs, l->next - 1));
  json_t *to = !outcome->ok ? l->still : json_bool_or(outcome->returns, "kept", false) ? l->kept : l->released;
  json_array_append_new(to, element(l, of, outcome));
  lift_next(l);
}

static void lift_next(struct lifting *l) {
  struct err err;
  while (l->next < json_array_size(l->ofs) && !l->inc->lost) {
    const char *of = json_string_value(json_array_get(l->ofs, l->next++));
    char step[16];
    snprintf(step, sizeof step, "%zu", l->next);
    struct action_spec spec = {.journal = l->inc->journal, .run = l->run, .step = step, .actor = l->actor, .requester = l->requester};
    if (action_release(l->desk->deps.actions, &spec, of, on_lifted, l, NULL, &err) == 0) return;
    json_t *why = failure_text(err.text);
    struct outcome failed = {.returns = why};
    json_array_append_new(l->still, element(l, of, &failed));
    json_decref(why);
  }
  lift_end(l);
}

json_t *failure_text(const char *message) { return json_pack("{s:s}", "message", message); }

void incident_release(struct incident *inc, const char *actor, const char *requester, const char *because, const json_t *ofs,
                      release_done_cb *cb, void *arg) {
  struct lifting *l = calloc(1, sizeof *l);
  if (!l) abort();
  *l = (struct lifting){
      .desk = inc->desk, .inc = inc, .actor = strdup(actor), .requester = requester ? strdup(requester) : NULL, .cb = cb, .arg = arg};
  snprintf(l->id, sizeof l->id, "%s", inc->id);
  l->run = (unsigned)json_int_or(incident_state(inc), "next_run", 1);
  l->ofs = json_deep_copy(ofs);
  l->released = json_array();
  l->still = json_array();
  l->kept = json_array();
  incident_busy(inc, 1);
  journal_add(inc->journal, KIND_RUN_STARTED, actor, l->run, NULL,
              json_pack("{s:s, s:b, s:{s:s, s:s}, s:O}", "playbook", "release", "engine", 1, "trigger", requester ? "person" : "engine",
                        actor, "because", because, "of", ofs));
  lift_next(l);
}

/* --- lift_after -------------------------------------------------------------------------------------------------------- */

static void lift_loaded(struct incident *inc, void *arg, const struct err *err) {
  char *of = arg;
  const json_t *c = err ? NULL : json_object_get(json_object_get(incident_state(inc), "containments"), of);
  const char *status = json_str_or(c, "status", "");
  if (strcmp(status, "active") == 0) {
    json_t *ofs = json_pack("[s]", of);
    incident_release(inc, "engine", NULL, "its time (lift_after) has come", ofs, NULL, NULL);
    json_decref(ofs);
  }
  free(of);
}

void desk_lift(void *arg, const char *incident, const char *of) { incident_with(arg, incident, false, lift_loaded, strdup(of)); }
