/* One action by hand (`tocsin connector try`): a read in the node's own journal, all else in an incident made for it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "incident/internal.h"

/* The incident was there for the one action: it is over with it, unless somebody still has to let go of what it contains, or people have done more in it while it waited. */
static void tried_over(struct call *call) {
  const json_t *state = incident_state(call->inc);
  if (state_holds_targets(state) || json_object_size(json_object_get(state, "runs")) ||
      json_object_size(json_object_get(state, "questions")) || json_object_size(json_object_get(state, "intents")) ||
      strcmp(json_str_or(state, "status", ""), "open") != 0)
    return;
  incident_index(call->inc, false);
  journal_add(call->inc->journal, KIND_INCIDENT_CLOSED, call->by->actor, 0, NULL,
              json_pack("{s:s, s:s}", "verdict", "benign", "root_cause", "an action was tried by hand"));
}

static void on_tried(void *arg, const struct outcome *outcome) {
  struct call *call = arg;
  if (call->inc) tried_over(call);
  json_t *answer = json_pack("{s:{s:b, s:O}}", "outcome", "ok", outcome->ok, outcome->ok ? "returns" : "failure", outcome->returns);
  if (call->inc) json_object_set_new(answer, "id", json_string(call->inc->id));
  call_answer_durable(call, call->inc ? call->inc->journal : call->desk->deps.node, answer);
}

static struct action_spec try_spec(struct call *call, const json_t *params) {
  return (struct action_spec){.run = 0,
                              .step = "1",
                              .actor = call->by->actor,
                              .connector = call_text(call, "connector"),
                              .action = call_text(call, "action"),
                              .params = params,
                              .requester = call->by->actor,
                              .simulated = json_bool_or(call->command, "simulated", false)};
}

static json_t *try_params(struct call *call) {
  json_t *params = json_object_get(call->command, "params") ? json_deep_copy(json_object_get(call->command, "params")) : json_object();
  if (call_text(call, "because")) json_object_set(params, "because", json_object_get(call->command, "because"));
  return params;
}

static void try_on(struct call *call, struct journal *journal) {
  struct err err;
  char step[24];
  struct action *action;
  const char *because = call_text(call, "because");
  json_t *params = try_params(call);
  struct action_spec spec = try_spec(call, params);
  uint64_t seq =
      journal_add(journal, KIND_ACTION_TRIED, call->by->actor, 0, NULL,
                  json_pack("{s:s, s:s, s:s}", "connector", spec.connector, "action", spec.action, "because", because ? because : ""));
  snprintf(step, sizeof step, "%llu", (unsigned long long)seq);
  spec.step = step;
  spec.journal = journal;
  if (action_start(call->desk->deps.actions, &spec, on_tried, call, &action, &err) < 0) call_fail(call, &err);
  json_decref(params);
}

/* What may be in doubt needs an incident: there it is listed, asked about, resolved after a crash, and released. */
static bool try_changes(struct desk *d, const char *connector, const char *name) {
  const struct connector *c = registry_find(d->deps.registry, connector, NULL);
  const json_t *action = c ? registry_action(c, name, NULL) : NULL;
  return action && effect_by_name(json_str_or(action, "effect", "destroy")) > EFFECT_READ;
}

void try_in(struct incident *inc, struct call *call) {
  call->inc = inc;
  incident_busy(inc, 1);
  try_on(call, inc->journal);
}

/* Parameters go to the connector as trusted: a person who could name a secret's slot there could send it anywhere. */
static bool names_secret(const json_t *value) {
  const char *key;
  json_t *item;
  size_t i;
  json_array_foreach(value, i, item) if (names_secret(item)) return true;
  if (!json_is_object(value)) return false;
  json_object_foreach((json_t *)(uintptr_t)value, key, item) if (strcmp(key, "$secret") == 0 || names_secret(item)) return true;
  return false;
}

void do_try(struct call *call, struct incident *inc) {
  struct err err;
  const char *connector = call_required(call, "connector"), *name = connector ? call_required(call, "action") : NULL;
  if (!name) return;
  if (names_secret(json_object_get(call->command, "params"))) {
    err_set(&err, ERR_DENIED, "params: a secret is placed by its connector, never named by hand (\"$secret\")");
    call_fail(call, &err);
    return;
  }
  if (json_bool_or(call->command, "simulated", false) || !try_changes(call->desk, connector, name)) {
    try_on(call, call->desk->deps.node);
    return;
  }
  json_t *params = try_params(call), *plan = NULL; /* a mistake opens no incident */
  struct action_spec spec = try_spec(call, params);
  spec.journal = call->desk->deps.node;
  int r = action_plan(call->desk->deps.actions, &spec, &plan, &err);
  json_decref(plan);
  json_decref(params);
  if (r < 0) call_fail(call, &err);
  else call_new_incident(call);
}
