/* What a shadow run would have done. Here alone it is decided that an action may not be sent because its playbook is in shadow: the action is
 * prepared as any other, its request with it, and ends with an entry instead of an intent. No budget, no approval, no containment knows of it. */
#include <stdio.h>
#include <string.h>

#include "action/internal.h"
#include "base/json.h"

bool guard_shadowed(const struct action *x) { return x->shadow && x->effect != EFFECT_READ; }

/* Who would have been asked first. */
static json_t *approval(const struct action *x) {
  const char *role = NULL, *why = NULL;
  unsigned needed = guard_approvals(x, &role, &why);
  return needed ? json_pack("{s:i, s:s, s:s}", "count", (int)needed, "role", role, "why", why) : NULL;
}

/* The playbook goes on with what simulate() says, or the exercise's scenario, or a test's override. */
void action_would(struct action *x) {
  int64_t latency_ms; /* it takes no time */
  json_t *answer = action_simulated(x, &latency_ms), *failure = json_object_get(answer, "error"), *body = action_about(x);
  bool ok = !failure;
  x->returns = json_incref(ok ? answer : failure);
  x->outcome = (struct outcome){.ok = ok, .returns = x->returns};
  json_object_set_new(body, "version", json_string(x->connector->declaration->digest));
  json_object_set_new(body, "verb", json_string(x->undoing ? "undo" : "action"));
  json_object_set_new(body, "ok", json_boolean(ok));
  json_object_set(body, ok ? "returns" : "failure", x->returns);
  if (x->undo_of) json_object_set_new(body, "undo_of", json_string(x->undo_of));
  if (x->lift_ms) json_object_set_new(body, "lift_after", json_integer(x->lift_ms));
  if (x->simulated) json_object_set_new(body, "simulated", json_true());
  json_t *asks = approval(x);
  if (asks) json_object_set_new(body, "approval", asks);
  json_decref(answer);
  x->intended = false;
  journal_add(x->journal, KIND_RUN_WOULD, x->actor, x->run, x->step, body);
  action_call_back(x);
}

int action_would_undo(struct actions *a, const struct action_spec *spec, const char *of, const json_t *done, action_cb *cb, void *arg,
                      struct action **ret, struct err *err) {
  struct err local;
  json_t *params = NULL;
  if (!err) err = &local;
  const struct connector *c = registry_find_version(a->deps.registry, json_str_or(done, "connector", ""), json_str(done, "version"), err);
  const json_t *declaration = c ? registry_action(c, json_str_or(done, "action", ""), err) : NULL;
  if (!declaration) return err->code;
  const char *name = json_str(declaration, "undo");
  if (!name)
    return err_set(err, ERR_DENIED, "it cannot be undone: a person would be asked. %s",
                   json_str_or(declaration, "recover", "a person puts it right"));
  int r = undo_params(c, name, done, &params, err);
  if (r < 0) return r;
  if (!json_object_get(params, "because")) json_object_set_new(params, "because", json_string("lifting a containment"));
  struct action_spec undo = *spec;
  undo.connector = c->instance;
  undo.version = c->declaration->digest;
  undo.action = name;
  undo.params = params;
  undo.undo_of = of;
  undo.shadow = true;
  r = action_start(a, &undo, cb, arg, ret, err);
  json_decref(params);
  return r;
}
