/* Commands about the engine as a whole, and those that start something. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "incident/internal.h"
#include "incident/list.h"
#include "incident/params.h"

enum { LIST_DEFAULT = 100, LIST_MOST = 10000 };

const char *call_required(struct call *call, const char *name) {
  struct err err;
  const char *text = call_text(call, name);
  if (!text) {
    err_set(&err, ERR_INVALID, "`%s` is missing", name);
    call_fail(call, &err);
  }
  return text;
}

/* --- lists ------------------------------------------------------------------------------------------------------------ */

/* Another node that lists everything asks only for what is in memory here. */
static bool ours(const struct call *call, const json_t *state) {
  const char *id = json_str_or(state, "id", "");
  return map_get(&call->desk->incidents, id) || sleepers_have(call->desk->sleepers, id);
}

static bool shown(const struct call *call, const json_t *state) { return !call->here || ours(call, state); }

/* What others own is alive in their memory only; what Redis holds of it may be old. */
static bool certain(struct call *call, const json_t *state) { return ours(call, state) || !desk_has_others(call->desk); }

static json_t *rows_of(struct call *call, const json_t *states, const char *status) {
  struct desk *d = call->desk;
  json_t *rows = json_array(), *state;
  size_t i;
  json_array_foreach(states, i, state) if (shown(call, state)) if (!status || strcmp(json_str_or(state, "status", ""), status) == 0)
      json_array_append_new(rows, view_row(d, json_str_or(state, "id", ""), state));
  return rows;
}

static void on_now(void *arg, const json_t *states, const struct err *err) {
  struct call *call = arg;
  struct desk *d = call->desk;
  json_t *in_doubt = json_array(), *handed_over = json_array(), *state;
  size_t i;
  json_array_foreach(states, i, state) if (shown(call, state))
      view_add_doubts(d, state, certain(call, state) ? in_doubt : NULL, handed_over);
  if (err) {
    json_decref(in_doubt);
    json_decref(handed_over);
    call_fail(call, err);
    return;
  }
  json_t *answer = json_pack("{s:o, s:o, s:o, s:o, s:o}", "paused", view_paused(d), "in_doubt", in_doubt, "contained", view_contained(d),
                             "incidents", rows_of(call, states, "open"), "handed_over", handed_over);
  json_object_update(answer, call->answer);
  call_answer(call, 200, answer);
}

static void now_asks(void *arg, const json_t *states, const struct err *err) {
  struct call *call = arg;
  if (err) {
    call_fail(call, err);
    return;
  }
  asking_end(call, states);
  desk_list(call->desk, true, false, LIST_DEFAULT, on_now, call);
}

static void do_now(struct call *call, struct incident *inc) { asking_begin(call, now_asks); }

static void on_list(void *arg, const json_t *states, const struct err *err) {
  struct call *call = arg;
  const char *status = call_text(call, "status");
  if (err) call_fail(call, err);
  else
    call_answer(call, 200,
                json_pack("{s:o, s:o}", "incidents", rows_of(call, states, status && strcmp(status, "all") != 0 ? status : NULL), "paused",
                          view_paused(call->desk)));
}

static void do_list(struct call *call, struct incident *inc) {
  const char *status = call_text(call, "status");
  int64_t limit = json_int_or(call->command, "limit", LIST_DEFAULT);
  bool open = !status || strcmp(status, "closed") != 0, recent = !status || strcmp(status, "open") != 0;
  desk_list(call->desk, open, recent, limit > 0 && limit <= LIST_MOST ? (size_t)limit : LIST_DEFAULT, on_list, call);
}

static void on_runs(void *arg, const json_t *states, const struct err *err) {
  struct call *call = arg;
  bool all = json_bool_or(call->command, "all", false);
  json_t *runs = json_array(), *state, *run;
  int64_t more = (int64_t)call->desk->run_count + sleepers_runs(call->desk->sleepers);
  const char *number;
  size_t i;
  json_array_foreach(states, i, state) {
    const struct incident *inc = map_get(&call->desk->incidents, json_str_or(state, "id", ""));
    json_object_foreach(json_object_get(state, "runs"), number, run) {
      const struct held_run *h = NULL, *found = NULL;
      if (inc) LIST_FOREACH(h, &inc->runs, next) if (h->number == (unsigned)strtoul(number, NULL, 10)) found = h;
      bool running = strcmp(json_str_or(run, "status", ""), "running") == 0;
      if (!shown(call, state) || !(running ? certain(call, state) : all)) continue;
      more -= running;
      json_array_append_new(runs, view_run(call->desk, state, number, run, found ? found->run : NULL));
    }
  }
  if (!err) {
    call_answer(call, 200,
                json_pack("{s:o, s:o, s:I}", "runs", runs, "paused", view_paused(call->desk), "more", (json_int_t)(more > 0 ? more : 0)));
    return;
  }
  json_decref(runs);
  call_fail(call, err);
}

static void do_runs(struct call *call, struct incident *inc) {
  desk_list(call->desk, true, json_bool_or(call->command, "all", false), LIST_MOST, on_runs, call);
}

static void on_questions(void *arg, const json_t *states, const struct err *err) {
  struct call *call = arg;
  if (err) {
    call_fail(call, err);
    return;
  }
  asking_end(call, states);
  call_answer(call, 200, json_incref(call->answer));
}

static void do_questions(struct call *call, struct incident *inc) { asking_begin(call, on_questions); }
static void do_contained(struct call *call, struct incident *inc) {
  call_answer(call, 200, json_pack("{s:o, s:o}", "contained", view_contained(call->desk), "paused", view_paused(call->desk)));
}

static void do_counts(struct call *call, struct incident *inc) {
  call_answer(call, 200,
              json_pack("{s:o, s:o}", "incidents", desk_counts(call->desk), "actions", actions_counts(call->desk->deps.actions)));
}

/* --- answers and brakes --------------------------------------------------------------------------------------------------- */

static void do_answer(struct call *call, struct incident *inc) {
  struct err err;
  struct id id;
  char full[ID_PATH], incident[ID_INCIDENT];
  const char *text = call_required(call, "id"), *answer = text ? call_required(call, "answer") : NULL;
  if (!answer) return;
  if (!id_parse(text, &id) || !id.step[0]) {
    err_set(&err, ERR_INVALID, "\"%.60s\" is no question's id; write INC-000042/1/4 as `tocsin` shows it", text);
    call_fail(call, &err);
    return;
  }
  id_incident(incident, id.mode, id.number);
  id_path(full, incident, id.run, id.step);
  asking_answer(call, incident, full);
}

static void on_brake(void *arg, const struct err *err) {
  struct call *call = arg;
  if (err) {
    call_fail(call, err);
    return;
  }
  call_answer_durable(call, call->desk->deps.node, json_pack("{s:o}", "paused", view_paused(call->desk)));
}

static bool scope_known(struct desk *d, const char *scope) {
  return strcmp(scope, "all") == 0 || desk_playbook(d, scope, NULL) || registry_find(d->deps.registry, scope, NULL);
}

static void do_pause(struct call *call, struct incident *inc) {
  struct err err;
  const char *scope = call_text(call, "scope"), *because = call_required(call, "because");
  if (!because) return;
  if (!scope) scope = "all";
  if (!scope_known(call->desk, scope)) {
    err_set(&err, ERR_NOT_FOUND, "\"%.60s\" is neither a playbook nor a connector; `tocsin pause all` stops everything above read", scope);
    call_fail(call, &err);
    return;
  }
  /* The brake takes force in this process before it is on record: stopping comes first. */
  if (actions_pause(call->desk->deps.actions, scope, call->by->actor, because, on_brake, call, &err) < 0) {
    journal_add(call->desk->deps.node, KIND_ENGINE_PAUSED, call->by->actor, 0, NULL,
                json_pack("{s:s, s:s, s:b}", "scope", scope, "because", because, "stored", 0));
    err_wrap(&err, "paused in this process, but Redis could not be told");
    call_fail(call, &err);
    return;
  }
  journal_add(call->desk->deps.node, KIND_ENGINE_PAUSED, call->by->actor, 0, NULL,
              json_pack("{s:s, s:s}", "scope", scope, "because", because));
}

static void do_resume(struct call *call, struct incident *inc) {
  struct err err;
  const char *scope = call_text(call, "scope"), *because = call_text(call, "because");
  if (!scope) scope = "all";
  if (actions_resume(call->desk->deps.actions, scope, on_brake, call, &err) < 0) {
    call_fail(call, &err);
    return;
  }
  journal_add(call->desk->deps.node, KIND_ENGINE_RESUMED, call->by->actor, 0, NULL,
              json_pack("{s:s, s:s}", "scope", scope, "because", because ? because : ""));
}

/* --- opening and triggering --------------------------------------------------------------------------------------------------- */

struct opening {
  struct call *call;
  char id[ID_INCIDENT];
};

static void trigger_in(struct incident *inc, void *arg, const struct err *err);

static void opened(struct incident *inc, void *arg, const struct err *err) {
  struct call *call = arg;
  if (err) {
    call_fail(call, err);
    return;
  }
  const char *title = call_text(call, "title"), *because = call_text(call, "because"), *occurred = call_text(call, "occurred"),
             *playbook = call_text(call, "playbook"), *severity = call_text(call, "severity");
  json_t *body = json_pack("{s:s, s:I, s:s, s:s, s:s, s:[]}", "title",
                           title     ? title
                           : because ? because
                                     : "Opened by hand",
                           "severity_id", (json_int_t)(severity ? severity_by_name(severity) : 3), "mode", "live", "by", "person",
                           "because", because ? because : "", "groups");
  if (occurred) json_object_set_new(body, "occurred", json_string(occurred));
  journal_save_state(inc->journal);
  incident_open(inc, call->by->actor, body);
  if (playbook) trigger_in(inc, call, NULL);
  else if (call_text(call, "connector")) try_in(inc, call);
  else call_answer_durable(call, inc->journal, json_pack("{s:s}", "id", inc->id));
}

static void on_new_id(void *arg, const struct redis_value *reply, const struct err *err) {
  struct call *call = arg;
  if (err) call_fail(call, err);
  else incident_with(call->desk, redis_string(reply, NULL), true, opened, call);
}

void call_new_incident(struct call *call) {
  struct err err;
  struct redis *redis = call->desk->deps.redis;
  char prefix[64];
  snprintf(prefix, sizeof prefix, "INC|%s", call->desk->deps.store->node);
  if (redis_call(redis, 0, on_new_id, call, &err, "FCALL", "tocsin_open_id", "2", "{tocsin:alerts}:ids", NODES_OWNER, prefix, NULL) < 0)
    call_fail(call, &err);
}

static void do_open(struct call *call, struct incident *inc) {
  struct err err;
  const char *severity = call_text(call, "severity");
  if (!call_required(call, "title")) return;
  if (severity && severity_by_name(severity) < 0) {
    err_set(&err, ERR_INVALID, "\"%.40s\" is no severity; say informational, low, medium, high, critical or fatal", severity);
    call_fail(call, &err);
    return;
  }
  call_new_incident(call);
}

static json_t *trigger_params(struct call *call, struct incident *inc, const struct declaration *p) {
  json_t *params = params_read(json_object_get(p->json, "params"), json_object_get(call->command, "params"));
  const char *name;
  json_t *rule;
  json_object_foreach(json_object_get(p->json, "params"), name, rule) {
    const char *from = json_str(rule, "from");
    const json_t *alert = inc ? json_array_get(incident_alerts(inc), 0) : NULL;
    if (json_object_get(params, name) || !from || !alert) continue;
    json_t *values = call->desk->deps.values(alert, json_object_get(alert, "raw"), from);
    if (strcmp(json_str_or(rule, "type", ""), "list") == 0) json_object_set(params, name, values);
    else if (json_array_size(values) == 1) json_object_set(params, name, json_array_get(values, 0));
    json_decref(values);
  }
  return params;
}

static json_t *plan_of(struct call *call, const struct declaration *p, json_t *params) {
  struct desk *d = call->desk;
  json_t *effects = json_object(), *missing = json_array(), *uses = json_object_get(p->json, "uses"), *use, *rule;
  int most = EFFECT_READ;
  bool shadow = json_bool_or(p->json, "shadow", false);
  size_t i;
  const char *name;
  json_array_foreach(uses, i, use) {
    char connector[128] = "";
    const char *full = json_string_value(use) ? json_string_value(use) : "", *dot = strchr(full, '.');
    if (!dot || (size_t)(dot - full) >= sizeof connector) continue;
    memcpy(connector, full, (size_t)(dot - full));
    const struct connector *c = registry_find(d->deps.registry, connector, NULL);
    const json_t *action = c ? registry_action(c, dot + 1, NULL) : NULL;
    const char *effect = json_str_or(action, "effect", "unknown");
    if (!shadow && effect_by_name(effect) > most) most = effect_by_name(effect);
    if (!json_object_get(effects, effect)) json_object_set_new(effects, effect, json_array());
    json_array_append(json_object_get(effects, effect), use);
  }
  json_object_foreach(json_object_get(p->json, "params"), name,
                      rule) if (!json_object_get(params, name) && !json_bool_or(rule, "optional", false) &&
                                !json_object_get(rule, "default")) json_array_append_new(missing, json_string(name));
  json_t *plan = json_pack("{s:s, s:s, s:o, s:s, s:O, s:o, s:s, s:o}", "playbook", p->name, "title", json_str_or(p->json, "title", p->name),
                           "effects", effects, "most", effect_name((enum effect)most), "params", params, "missing", missing, "ceiling",
                           json_str_or(json_object_get(d->deps.settings, "guard"), "ceiling", "notify"), "paused", view_paused(d));
  if (shadow) json_object_set_new(plan, "shadow", json_true());
  if (json_str(p->json, "runbook")) json_object_set(plan, "runbook", json_object_get(p->json, "runbook"));
  return plan;
}

static void trigger_in(struct incident *inc, void *arg, const struct err *err) {
  struct call *call = arg;
  struct err why;
  unsigned run = 0;
  if (err) {
    call_fail(call, err);
    return;
  }
  if (!call->inc) call->inc = inc, incident_busy(inc, 1);
  const char *playbook = call_text(call, "playbook"), *because = call_text(call, "because");
  const struct declaration *p = desk_playbook(call->desk, playbook, &why);
  if (!p || journal_seq(inc->journal) == 0) {
    if (p) err_set(&why, ERR_NOT_FOUND, "there is no incident %s", inc->id);
    call_fail(call, &why);
    return;
  }
  json_t *params = trigger_params(call, inc, p),
         *trigger = json_pack("{s:s, s:s}", "person", call->by->actor, "because", because ? because : "");
  int r = incident_start(inc, playbook, params, trigger, call->by->actor, json_bool_or(call->command, "simulated", false), &run, &why);
  json_decref(params);
  json_decref(trigger);
  if (r < 0) call_fail(call, &why);
  else
    call_answer_durable(call, inc->journal,
                        json_pack("{s:s, s:i, s:b}", "id", inc->id, "run", (int)run, "shadow", json_bool_or(p->json, "shadow", false)));
}

static void plan_in(struct incident *inc, void *arg, const struct err *err) {
  struct call *call = arg;
  struct err why;
  const struct declaration *p = desk_playbook(call->desk, call_text(call, "playbook"), &why);
  if (err || !p) {
    call_fail(call, err ? err : &why);
    return;
  }
  json_t *params = trigger_params(call, inc, p);
  call_answer(call, 200, json_pack("{s:o}", "plan", plan_of(call, p, params)));
  json_decref(params);
}

static void do_trigger(struct call *call, struct incident *inc) {
  struct err err;
  struct id id;
  char name[ID_INCIDENT];
  const char *playbook = call_required(call, "playbook");
  if (!playbook) return; /* answered, and the call is gone */
  const char *incident = call_text(call, "incident");
  bool plan = json_bool_or(call->command, "plan", false);
  if (!plan && !call_required(call, "because")) return;
  const struct declaration *p = desk_playbook(call->desk, playbook, &err);
  if (p && incident && !id_parse(incident, &id))
    err_set(&err, ERR_INVALID, "\"%.60s\" is no incident's id; write 42 or INC-000042", incident), p = NULL;
  if (!p) {
    call_fail(call, &err);
    return;
  }
  if (incident) {
    id_incident(name, id.mode, id.number);
    incident_with(call->desk, name, false, plan ? plan_in : trigger_in, call);
  } else if (plan) {
    plan_in(NULL, call, NULL);
  } else {
    json_t *checked = NULL, *params = trigger_params(call, NULL, p); /* wrong parameters open no incident */
    int r = schema_check(json_object_get(p->json, "params"), params, playbook, &checked, &err);
    json_decref(params);
    json_decref(checked);
    if (r < 0) call_fail(call, &err);
    else call_new_incident(call);
  }
}

/* --- release --------------------------------------------------------------------------------------------------------------------- */

struct releasing {
  struct call *call;
  json_t *released, *still, *kept, *asked, *by_incident; /* {incident: [of…]} */
  size_t waiting;
};

static void releasing_end(struct releasing *r) {
  struct call *call = r->call;
  json_t *answer = json_pack("{s:o, s:o, s:o, s:o}", "released", r->released, "still", r->still, "kept", r->kept, "asked", r->asked);
  json_decref(r->by_incident);
  free(r);
  call_answer(call, 200, answer);
}

static void release_part(void *arg, json_t *released, json_t *still, json_t *kept) {
  struct releasing *r = arg;
  json_array_extend(r->released, released);
  json_array_extend(r->still, still);
  json_array_extend(r->kept, kept);
  if (--r->waiting == 0) releasing_end(r);
}

static void release_loaded(struct incident *inc, void *arg, const struct err *err) {
  struct releasing *r = arg;
  if (err) {
    json_array_append_new(r->still, json_pack("{s:s, s:s}", "id", inc->id, "why", err->text));
    if (--r->waiting == 0) releasing_end(r);
    return;
  }
  const char *actor = r->call->by->actor, *because = call_text(r->call, "because");
  json_t *found = json_array(), *ours = json_array(), *of;
  size_t i;
  json_array_foreach(json_object_get(r->by_incident, inc->id), i, of) {
    const json_t *c = json_object_get(json_object_get(incident_state(inc), "containments"), json_string_value(of));
    json_array_append(actions_release_asks(r->call->desk->deps.actions, c) ? found : ours, of);
  }
  /* What we only found so, or cannot undo, asks a person first; the command does not wait for that. */
  for (i = 0; i < json_array_size(found); i++) {
    char id[ID_PATH * 2];
    snprintf(id, sizeof id, "%s/%lld/%zu", inc->id, (long long)json_int_or(incident_state(inc), "next_run", 1), i + 1);
    json_array_append_new(r->asked, json_string(id));
  }
  if (json_array_size(found)) incident_release(inc, actor, actor, because, found, NULL, NULL);
  if (json_array_size(ours)) incident_release(inc, actor, actor, because, ours, release_part, r);
  else if (--r->waiting == 0) releasing_end(r);
  json_decref(found);
  json_decref(ours);
}

static bool target_fits(const json_t *containment, const json_t *wanted) {
  const char *type = json_str(wanted, "type"), *value = json_str(wanted, "value"), *key;
  json_t *target;
  json_object_foreach(json_object_get(containment, "target"), key, target) {
    const char *text = json_string_value(target);
    if (text && value && strcmp(text, value) == 0 && (!type || strcmp(type, key) == 0)) return true;
  }
  return false;
}

static void do_release(struct call *call, struct incident *inc) {
  struct err err;
  struct id id = {0};
  char incident[ID_INCIDENT] = "";
  const char *text = call_text(call, "id");
  const json_t *target = json_object_get(call->command, "target");
  if (!call_required(call, "because")) return;
  if (text ? !id_parse(text, &id) : !target) {
    err_set(&err, ERR_INVALID, "say what to release: an incident's id, or a target like user=alice");
    call_fail(call, &err);
    return;
  }
  if (text) id_incident(incident, id.mode, id.number);
  json_t *all = actions_contained(call->desk->deps.actions), *c, *by_incident = json_object();
  for (size_t i = json_array_size(all); i > 0; i--) { /* the last one made goes first */
    c = json_array_get(all, i - 1);
    const char *of = json_str_or(c, "step", ""), *holder = json_str_or(c, "incident", "");
    char wanted[ID_PATH];
    snprintf(wanted, sizeof wanted, "%u/%s", id.run, id.step);
    if (text ? strcmp(holder, incident) != 0 || (id.step[0] && strcmp(wanted, of) != 0) : !target_fits(c, target)) continue;
    if (!json_object_get(by_incident, holder)) json_object_set_new(by_incident, holder, json_array());
    json_array_append_new(json_object_get(by_incident, holder), json_string(of));
  }
  json_decref(all);
  if (json_object_size(by_incident) == 0) {
    json_decref(by_incident);
    err_set(&err, ERR_NOT_FOUND, "nothing of that is contained now; `tocsin contained` lists what is");
    call_fail(call, &err);
    return;
  }
  struct releasing *r = calloc(1, sizeof *r);
  if (!r) abort();
  *r = (struct releasing){.call = call,
                          .released = json_array(),
                          .still = json_array(),
                          .kept = json_array(),
                          .asked = json_array(),
                          .by_incident = by_incident,
                          .waiting = json_object_size(by_incident)};
  const char *holder;
  json_t *ofs, *walk = json_copy(by_incident);
  json_object_foreach(walk, holder, ofs) incident_with(call->desk, holder, false, release_loaded, r);
  json_decref(walk);
}

const struct command_row engine_commands[] = {
    {"now", "viewer", ABOUT_NONE, do_now},
    {"incident.list", "viewer", ABOUT_NONE, do_list},
    {"run.list", "viewer", ABOUT_NONE, do_runs},
    {"questions", "viewer", ABOUT_NONE, do_questions},
    {"contained", "viewer", ABOUT_NONE, do_contained},
    {"counts", "viewer", ABOUT_NONE, do_counts},
    {"answer", NULL, ABOUT_ID, do_answer},
    {"pause", "responder", ABOUT_NONE, do_pause},
    {"resume", "responder", ABOUT_NONE, do_resume},
    {"incident.open", "responder", ABOUT_NONE, do_open},
    {"trigger", "responder", ABOUT_INCIDENT, do_trigger},
    {"release", "responder", ABOUT_ID, do_release},
    {"connector.try", "responder", ABOUT_NONE, do_try},
    {"corrective.list", "viewer", ABOUT_NONE, do_corrective_list},
    {"node.list", "viewer", ABOUT_NONE, do_node_list},
    {"node.drain", "admin", ABOUT_NONE, do_node_drain},
    {"evidence.drilled", "responder", ABOUT_NONE, do_drilled},
    {NULL, NULL, ABOUT_NONE, NULL},
};
