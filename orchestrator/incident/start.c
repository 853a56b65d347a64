/* Starting playbooks: for alerts by their mode, for people by name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/slab.h"
#include "base/text.h"
#include "incident/internal.h"

json_t *playbook_settings(struct desk *d, const struct declaration *p) {
  json_t *checked = NULL, *nothing;
  const json_t *given = json_object_get(json_object_get(d->deps.settings, "playbooks"), p->name),
               *schema = json_object_get(p->json, "settings");
  struct err err;
  char where[256];
  if (!schema) return NULL;
  nothing = json_object();
  snprintf(where, sizeof where, "playbooks[\"%s\"]", p->name);
  if (schema_check(schema, given ? given : nothing, where, &checked, &err) < 0) log_error("%s", err.text);
  json_decref(nothing);
  return checked;
}

void incident_run_keep(struct incident *inc, struct run *run, const char *playbook) {
  struct held_run *h = slab_calloc(1, sizeof *h);
  if (!h) abort();
  *h = (struct held_run){.inc = inc, .run = run, .number = run_number(run), .playbook = slab_strdup(playbook)};
  LIST_INSERT_HEAD(&inc->runs, h, next);
  inc->desk->run_count++;
  inc->desk->runs_started++;
  sleepers_watch(inc->desk->sleepers, inc);
}

struct ending {
  struct desk *desk;
  struct run *run;
  char id[ID_INCIDENT];
};

/* A later turn: the run's own code is off the stack. */
static void run_bury(void *arg) {
  struct ending *e = arg;
  struct incident *inc = map_get(&e->desk->incidents, e->id);
  struct held_run *h, *next;
  for (h = inc ? LIST_FIRST(&inc->runs) : NULL; h; h = next) {
    next = LIST_NEXT(h, next);
    if (h->run != e->run) continue;
    LIST_REMOVE(h, next);
    run_free(h->run);
    slab_free(h->playbook);
    slab_free(h);
    e->desk->run_count--;
    e->desk->runs_ended++;
    incident_touch(inc);
  }
  slab_free(e);
}

void incident_run_done(void *arg, struct run *run, const char *status) {
  struct desk *d = arg;
  struct ending *e = slab_calloc(1, sizeof *e);
  if (!e) abort();
  *e = (struct ending){.desk = d, .run = run};
  text_copy(e->id, sizeof e->id, journal_incident(run_journal(run)));
  loop_defer(d->deps.loop, run_bury, e);
}

static void declaration_keep(struct desk *d, const char *incident, const struct declaration *p) {
  actions_keep_source(d->deps.actions, incident, p->digest, p->source, p->source_len, 0);
}

static void connectors_keep(struct desk *d, const char *incident, const struct declaration *p) {
  size_t i;
  json_t *use;
  json_array_foreach(json_object_get(p->json, "uses"), i, use) {
    char name[128] = "";
    const char *full = json_string_value(use) ? json_string_value(use) : "", *dot = strchr(full, '.');
    if (!dot || (size_t)(dot - full) >= sizeof name) continue;
    memcpy(name, full, (size_t)(dot - full));
    const struct connector *c = d->deps.registry ? registry_find(d->deps.registry, name, NULL) : NULL;
    if (c) declaration_keep(d, incident, c->declaration);
  }
}

/* The versions that a run begins with are kept beside the journals, by digest, so that a replay finds them. */
static void pin(struct desk *d, const char *incident, const struct declaration *p) {
  declaration_keep(d, incident, p);
  connectors_keep(d, incident, p);
  desk_pin(d, p);
}

void desk_pin(struct desk *d, const struct declaration *p) {
  if (map_get(&d->pins, p->digest)) return;
  struct declaration *copy = NULL;
  if (playbook_load(p->name, p->source, p->source_len, &copy, NULL) < 0) return;
  map_put(&d->pins, p->digest, copy);
}

int incident_start(struct incident *inc, const char *playbook, const json_t *params, const json_t *trigger, const char *requester,
                   bool simulated, unsigned *ret_run, struct err *err) {
  struct desk *d = inc->desk;
  const struct declaration *p = desk_playbook(d, playbook, err);
  if (!p) return err->code;
  json_t *checked = NULL, *settings = NULL;
  char where[256];
  *text_add(text_add(where, where + sizeof where - 1, "playbook "), where + sizeof where - 1, playbook) = 0;
  int r = schema_check(json_object_get(p->json, "params"), params, where, &checked, err);
  if (r < 0) return r;
  pin(d, inc->id, p);
  const struct declaration *pinned = map_get(&d->pins, p->digest);
  settings = playbook_settings(d, p);
  struct run *run = NULL;
  struct run_spec spec = {.journal = inc->journal,
                          .number = standing_next_run(journal_standing(inc->journal)),
                          .playbook = pinned ? pinned : p,
                          .params = checked,
                          .settings = settings,
                          .trigger = trigger,
                          .requester = requester,
                          .simulated = simulated};
  r = run_start(d->runs, &spec, incident_run_done, d, &run, err);
  json_decref(checked);
  json_decref(settings);
  if (r < 0) return r;
  incident_run_keep(inc, run, playbook);
  if (ret_run) *ret_run = run_number(run);
  return 0;
}

/* --- for alerts --------------------------------------------------------------------------------------------------- */

/* What it did in shadow is as if it had not been; nor does a shadow count what it did in earnest. */
static bool ran_before(const struct incident *inc, const char *playbook, bool shadow, bool live_only) {
  return standing_ran(journal_standing(inc->journal), playbook, shadow, live_only);
}

static void restart_cancel(struct incident *inc, const char *playbook, bool shadow) {
  struct held_run *h, *next;
  for (h = LIST_FIRST(&inc->runs); h; h = next) {
    next = LIST_NEXT(h, next);
    if (strcmp(h->playbook, playbook) == 0 && run_shadow(h->run) == shadow)
      run_cancel(h->run, "engine", "a newer alert restarts it (mode = \"restart\")");
  }
}

/* A parameter that the alert leaves open: nobody guesses, a person is asked, then the run starts. */
struct choosing {
  struct desk *desk;
  char id[ID_INCIDENT];
  char *playbook, *param;
  json_t *params, *trigger, *finding, *raw;
};

static void choosing_free(struct choosing *c) {
  free(c->playbook);
  free(c->param);
  json_decref(c->params);
  json_decref(c->trigger);
  json_decref(c->finding);
  json_decref(c->raw);
  slab_free(c);
}

static void params_go_on(struct incident *inc, struct choosing *c);

static void chosen(struct incident *inc, void *arg, const struct err *err) {
  struct choosing *c = arg;
  /* When it was read anew since the answer, its recovery has gone on with the choice already. */
  if (err || !state_choice_open(incident_state(inc), c->playbook, c->trigger)) {
    choosing_free(c);
    return;
  }
  params_go_on(inc, c);
}

static void choice_take(struct choosing *c, const char *answer) {
  json_object_set_new(c->params, c->param, strcmp(answer, "none of them") == 0 ? json_null() : json_string(answer));
}

static void on_choice(void *arg, const char *answer, const char *by) {
  struct choosing *c = arg;
  if (!answer) { /* the incident is let go of; whoever loads it next takes the question up */
    choosing_free(c);
    return;
  }
  choice_take(c, answer);
  incident_with(c->desk, c->id, false, chosen, c);
}

static void choose(struct incident *inc, struct choosing *c, const char *param, json_t *values) {
  char text[512], step[24];
  json_t *options = json_deep_copy(values);
  json_array_append_new(options, json_string("none of them"));
  free(c->param);
  c->param = strdup(param);
  snprintf(text, sizeof text, "Playbook %s wants one `%s`, the alert names %zu. Which?", c->playbook, param, json_array_size(values));
  snprintf(step, sizeof step, "%llu", (unsigned long long)journal_seq(inc->journal) + 1);
  /* run 1000000 is nobody's: the question stands before the run that it is for */
  struct question_spec spec = {
      .journal = inc->journal, .run = 1000000, .step = step, .actor = "engine", .kind = "parameter", .text = text, .options = options};
  json_t *about = json_pack("{s:s, s:s, s:O, s:O}", "playbook", c->playbook, "param", param, "params", c->params, "trigger", c->trigger);
  spec.about = about;
  question_ask(inc->desk->deps.questions, &spec, on_choice, c);
  json_decref(options);
  json_decref(about);
}

static const json_t *alert_entry(const json_t *entries, const char *id) {
  size_t i;
  json_t *e;
  json_array_foreach(entries, i, e) if (strcmp(json_str_or(e, "type", ""), "alert.attached") == 0 &&
                                        strcmp(json_str_or(json_object_get(e, "body"), "id", ""), id) == 0) return json_object_get(e,
                                                                                                                                   "body");
  return NULL;
}

/* about: of the question, {playbook, param, params, trigger}. */
static struct choosing *choosing_of(struct incident *inc, const json_t *about, const json_t *entries) {
  const json_t *body = alert_entry(entries, json_str_or(json_object_get(about, "trigger"), "alert", ""));
  const char *raw = json_str(body, "raw");
  struct choosing *c = slab_calloc(1, sizeof *c);
  if (!c) abort();
  *c = (struct choosing){.desk = inc->desk,
                         .playbook = strdup(json_str_or(about, "playbook", "")),
                         .param = strdup(json_str_or(about, "param", "")),
                         .params = json_deep_copy(json_object_get(about, "params")),
                         .trigger = json_deep_copy(json_object_get(about, "trigger")),
                         .finding = json_deep_copy(json_object_get(body, "finding"))};
  text_copy(c->id, sizeof c->id, inc->id);
  if (raw && json_parse(raw, strlen(raw), &c->raw, NULL) < 0) c->raw = NULL;
  return c;
}

/* A person had chosen, and the process ended before the run began. */
static void go_on_with_choices(struct incident *inc, const json_t *entries) {
  json_t *choices = json_deep_copy(json_object_get(incident_state(inc), "chosen")), *choice;
  const char *key;
  json_object_foreach(choices, key, choice) {
    struct choosing *c = choosing_of(inc, choice, entries);
    if (!c->params) c->params = json_object();
    choice_take(c, json_str_or(choice, "answer", "none of them"));
    params_go_on(inc, c);
  }
  json_decref(choices);
}

/* After a restart: an open question about a parameter goes on waiting for its answer. */
void incident_choose_again(struct incident *inc, const json_t *entries) {
  json_t *questions = json_deep_copy(json_object_get(incident_state(inc), "questions")), *q;
  const char *at;
  json_object_foreach(questions, at, q) {
    const json_t *about = json_object_get(q, "about");
    if (strcmp(json_str_or(q, "kind", ""), "parameter") != 0) continue;
    struct choosing *c = choosing_of(inc, about, entries);
    struct question_spec spec = {.journal = inc->journal,
                                 .run = 1000000,
                                 .step = json_str_or(q, "step", ""),
                                 .actor = "engine",
                                 .kind = "parameter",
                                 .text = json_str_or(q, "text", ""),
                                 .options = json_object_get(q, "options")};
    question_ask(inc->desk->deps.questions, &spec, on_choice, c);
  }
  json_decref(questions);
  go_on_with_choices(inc, entries);
}

static bool in_shadow(const struct declaration *p) { return p && json_bool_or(p->json, "shadow", false); }

/* A playbook in shadow asks nobody, and calls nobody: it says that it would have. */
static void would(struct incident *inc, const struct choosing *c, const char *verb, json_t *body_take) {
  json_object_set_new(body_take, "verb", json_string(verb));
  json_object_set_new(body_take, "playbook", json_string(c->playbook));
  journal_add(inc->journal, KIND_RUN_WOULD, "engine", 0, NULL, body_take);
}

/* The first of several, in shadow. */
static json_t *would_choose(struct incident *inc, const struct choosing *c, const char *param, json_t *values) {
  json_t *first = json_array_get(values, 0);
  would(inc, c, "ask",
        json_pack("{s:o, s:O, s:O}", "text",
                  json_sprintf("Which %s? The alert names %zu; the first is taken.", param, json_array_size(values)), "options", values,
                  "answer", first));
  return first;
}

static void hand_over(struct incident *inc, const struct choosing *c, bool shadow, const char *why) {
  if (shadow) {
    would(inc, c, "hand_over", json_pack("{s:s, s:b}", "text", why, "handed_over", 1));
    return;
  }
  journal_add(inc->journal, KIND_INCIDENT_NOTED, "engine", 0, NULL,
              json_pack("{s:s, s:s, s:b}", "text", why, "playbook", c->playbook, "handed_over", 1));
}

/* Fills each parameter that says where it comes from; stops at the first that must be asked. */
static void params_go_on(struct incident *inc, struct choosing *c) {
  struct desk *d = inc->desk;
  struct err err;
  const struct declaration *p = desk_playbook(d, c->playbook, &err);
  const char *name;
  json_t *rule;
  json_object_foreach(p ? json_object_get(p->json, "params") : NULL, name, rule) {
    const char *from = json_str(rule, "from");
    if (!from || json_object_get(c->params, name)) continue;
    json_t *values = d->deps.values(c->finding, c->raw, from);
    bool is_list = strcmp(json_str_or(rule, "type", ""), "list") == 0;
    if (is_list) json_object_set(c->params, name, values);
    else if (json_array_size(values) == 1) json_object_set(c->params, name, json_array_get(values, 0));
    else if (json_array_size(values) > 1 && in_shadow(p)) json_object_set(c->params, name, would_choose(inc, c, name, values));
    else if (json_array_size(values) > 1) {
      choose(inc, c, name, values);
      json_decref(values);
      return;
    }
    json_decref(values);
  }
  const char *key;
  json_t *value;
  void *next;
  json_object_foreach_safe(c->params, next, key, value) if (json_is_null(value)) json_object_del(c->params, key);
  if (!p || incident_start(inc, c->playbook, c->params, c->trigger, NULL, false, NULL, &err) < 0) {
    log_warning("%s: playbook %s did not start: %s", inc->id, c->playbook, err.text);
    hand_over(inc, c, in_shadow(p), err.text);
  }
  choosing_free(c);
}

static const char *mode_of(const struct declaration *p) { return p ? json_str_or(p->json, "mode", "single") : "single"; }

bool incident_starts_for_alert(const struct incident *inc, const char *playbook) {
  const struct declaration *p = desk_playbook(inc->desk, playbook, NULL);
  const char *mode = mode_of(p);
  if (strcmp(mode, "single") == 0) return !ran_before(inc, playbook, in_shadow(p), false);
  return strcmp(mode, "queued") != 0 || !ran_before(inc, playbook, in_shadow(p), true); /* the live run sees it in incident.alerts */
}

void incident_restarts_for_alert(const struct incident *inc, const char *playbook, json_t *runs) {
  const char *number;
  json_t *run;
  if (strcmp(mode_of(desk_playbook(inc->desk, playbook, NULL)), "restart") != 0) return;
  json_object_foreach(json_object_get(journal_state(inc->journal), "runs"), number, run) {
    if (strcmp(json_str_or(run, "playbook", ""), playbook) == 0) incident_wake(inc, number, runs);
  }
}

void incident_start_for_alert(struct incident *inc, const char *playbook, const struct alert *alert) {
  const struct declaration *p = desk_playbook(inc->desk, playbook, NULL);
  if (!incident_starts_for_alert(inc, playbook)) return;
  if (strcmp(mode_of(p), "restart") == 0) restart_cancel(inc, playbook, in_shadow(p));
  struct choosing *c = slab_calloc(1, sizeof *c);
  if (!c) abort();
  *c = (struct choosing){.desk = inc->desk,
                         .playbook = strdup(playbook),
                         .params = json_object(),
                         .trigger = json_pack("{s:s}", "alert", alert->id)};
  text_copy(c->id, sizeof c->id, inc->id);
  c->finding = json_incref((json_t *)(uintptr_t)alert->finding);
  c->raw = json_incref((json_t *)(uintptr_t)alert->raw);
  params_go_on(inc, c);
}
