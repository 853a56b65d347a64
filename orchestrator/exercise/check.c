#include "exercise/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "exercise/internal.h"
#include "exercise/reach.h"
#include "script/datafile.h"

enum { PATH_ROOM = 128, NAMES_MOST = 256 };

struct checking {
  const struct scenario *scenario;
  const struct scenario_against *against;
  struct reach reach;
  json_t *findings;
  const char *what, *id; /* "inject", "db-alert" */
  char path[PATH_ROOM];  /* "injects[3]" */
};

/* Nobody wants to know more. */
static bool enough(const struct checking *c) { return c->against->only_first && json_array_size(c->findings); }

__attribute__((format(printf, 4, 5))) static void found(struct checking *c, const char *kind, const char *member, const char *format, ...) {
  char text[800], path[PATH_ROOM * 2];
  va_list args;
  if (enough(c) || (c->against->only_first && strcmp(kind, "error") != 0)) return;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  snprintf(path, sizeof path, "%s%s%s", c->path, *member ? "." : "", member);
  int line = datafile_line(c->against->source, c->against->len, path);
  json_array_append_new(c->findings, line ? json_sprintf("%s: %s:%d: %s %s: %s", kind, c->against->file, line, c->what, c->id, text)
                                          : json_sprintf("%s: %s: %s %s: %s", kind, c->against->file, c->what, c->id, text));
}

static void near_key(const json_t *object, const char *word, char *out, size_t size) {
  const char *names[NAMES_MOST + 1] = {NULL}, *key;
  size_t count = 0;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)object, key, value) if (count < NAMES_MOST) names[count++] = key;
  datafile_near(word, names, out, size);
}

/* ---- actions and playbooks */

/* The declaration of "ldap.lock_account"; NULL after saying what is wrong, or for "ldap.*". */
static const json_t *action_of(struct checking *c, const char *member, const char *name) {
  char connector[128], hint[96];
  const char *dot = strchr(name, '.');
  snprintf(connector, sizeof connector, "%.*s", (int)strcspn(name, "."), name);
  const json_t *d = json_object_get(c->against->connectors, connector), *actions = json_object_get(d, "actions");
  if (!d) {
    near_key(c->against->connectors, connector, hint, sizeof hint);
    found(c, "error", member, "there is no connector `%s`%s", connector, hint);
    return NULL;
  }
  if (!dot || strcmp(dot, ".*") == 0) return NULL;
  const json_t *action = json_object_get(actions, dot + 1);
  if (action) return action;
  near_key(actions, dot + 1, hint, sizeof hint);
  found(c, "error", member, "the connector `%s` has no action `%.100s`%s", connector, dot + 1, hint);
  return NULL;
}

static void names_known(struct checking *c, const char *member, const json_t *given, const json_t *known, const char *action) {
  const char *key;
  char hint[96];
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)given, key, value) {
    if (!known || json_object_get(known, key) || strcmp(key, "because") == 0) continue;
    near_key(known, key, hint, sizeof hint);
    found(c, "error", member, "%s has no `%.100s`%s", action, key, hint);
  }
}

static bool in_shadow(const struct checking *c, const char *name) {
  return json_bool_or(json_object_get(c->against->playbooks, name), "shadow", false);
}

static void playbook_known(struct checking *c, const char *member, const char *name) {
  char hint[96];
  if (json_object_get(c->against->playbooks, name)) return;
  near_key(c->against->playbooks, name, hint, sizeof hint);
  found(c, "error", member, "there is no playbook `%.100s`%s", name, hint);
}

/* ---- conditions */

static bool target_known(const struct checking *c, const char *text) {
  const char *name, *key;
  size_t len = strcspn(text, "=");
  json_t *connector, *action, *param;
  json_object_foreach((json_t *)(uintptr_t)c->against->connectors, name, connector) {
    json_object_foreach(json_object_get(connector, "actions"), key, action) {
      if (strcmp(json_str_or(action, "effect", ""), "contain") != 0) continue;
      const char *type;
      json_object_foreach(json_object_get(action, "target"), type,
                          param) if (strlen(type) == len && strncmp(type, text, len) == 0) return true;
    }
  }
  return false;
}

static void condition_names(struct checking *c, const char *member, const json_t *condition) {
  static const char *const targets[] = {"contained", "released"};
  size_t i;
  json_t *child;
  for (const char *const *g = condition_groups; *g; g++)
    json_array_foreach(json_object_get(condition, *g), i, child) condition_names(c, member, child);
  if (json_str(condition, "done")) action_of(c, member, json_str(condition, "done"));
  const char *started = json_str(condition, "started");
  if (started) playbook_known(c, member, started);
  if (started && in_shadow(c, started)) found(c, "error", member, "the playbook %s is in shadow: no run of it counts as started", started);
  for (i = 0; i < sizeof targets / sizeof *targets; i++) {
    const char *text = json_str(condition, targets[i]);
    if (text && !target_known(c, text)) found(c, "error", member, "nothing can contain `%.100s`: no connector has such a target", text);
  }
}

static void condition_check(struct checking *c, const json_t *item, const char *member) {
  const json_t *condition = json_object_get(item, member);
  if (condition) condition_names(c, member, condition);
}

/* ---- injects */

static void reachable(struct checking *c, size_t i, const json_t *inject) {
  char why[600], span[DURATION_TEXT];
  int64_t at = c->reach.earliest[i];
  if (at == REACH_NEVER) {
    reach_why(&c->reach, i, why, sizeof why);
    found(c, "error", json_object_get(inject, "after") ? "after" : "only_if", "it can never come: %s", why);
  } else if (at > json_int_or(c->scenario->json, "duration", 0)) {
    duration_format(at, span);
    found(c, "error", "after", "it comes %s after the start at the earliest, when the exercise is over", span);
  }
}

/* A playbook in shadow looks on, as in earnest: it opens no incident, and takes no action above `read`. */
static void routed(struct checking *c, const struct normalised *n, bool noise) {
  struct routing routing = {0};
  const char *wants = NULL, *looks_on = NULL;
  router_match(c->against->router, n->finding, n->document, 0, &routing);
  for (size_t i = 0; i < routing.count; i++) {
    const struct route_match *match = &routing.matches[i];
    if (match->shadow && !looks_on) looks_on = match->playbook;
    if (!match->shadow && !wants) wants = match->playbook;
  }
  if (!wants && !looks_on && !noise) found(c, "error", "alert", "no playbook wants it: say noise = true if it is there to distract");
  if (!wants && looks_on && !noise)
    found(c, "warning", "alert", "only the playbook %s wants it, which is in shadow: it takes no action above `read`, here as in earnest",
          looks_on);
  if (wants && noise) found(c, "error", "alert", "it is called noise, but the playbook %s wants it", wants);
  routing_release(&routing);
}

static void one_alert(struct checking *c, const char *text, const char *source, bool noise, unsigned depth) {
  struct normalised n = {0};
  struct err err = {0};
  if (normalise(c->against->normaliser, NULL, text, strlen(text), &n, &err) < 0)
    return found(c, "error", "alert", "%s could not have sent it: %s", source, err.text);
  if (strcmp(n.connector->name, source) != 0)
    found(c, "error", "alert", "%s could not have sent it: it looks like one of %s", source, n.connector->name);
  else if (n.parts && depth == 0) {
    size_t i;
    json_t *part;
    json_array_foreach(n.parts, i, part) {
      char *each = json_text(part);
      one_alert(c, each ? each : "", source, noise, depth + 1);
      free(each);
    }
  } else if (n.finding) {
    routed(c, &n, noise);
  }
  normalised_release(&n);
}

static void alert(struct checking *c, const json_t *inject) {
  const json_t *spec = json_object_get(inject, "alert");
  const char *source = json_str_or(spec, "source", "");
  json_t *document = scenario_alert(inject, 1763923321000000); /* any moment will do: the same one gives the same findings */
  char *text = json_is_string(document) ? strdup(json_string_value(document)) : json_text(document), hint[96];
  const json_t *connector = json_object_get(c->against->connectors, source);
  if (!connector) {
    near_key(c->against->connectors, source, hint, sizeof hint);
    found(c, "error", "alert", "there is no connector `%.100s`%s", source, hint);
  } else if (!json_object_get(connector, "alert")) {
    found(c, "error", "alert", "%s sends no alerts", source);
  } else if (text) {
    one_alert(c, text, source, json_bool_or(spec, "noise", false), 0);
  }
  free(text);
  json_decref(document);
}

static void inject_check(struct checking *c, size_t i, const json_t *inject) {
  static const char *const conditions[] = {"after", "only_if", "unless", NULL};
  reachable(c, i, inject);
  for (const char *const *m = conditions; *m; m++) condition_check(c, inject, *m);
  if (json_object_get(inject, "alert")) alert(c, inject);
}

/* ---- objectives, answers, script, roles */

static void objective_check(struct checking *c, size_t i, const json_t *objective) {
  const json_t *judge = json_object_get(objective, "judge"), *only_if = json_object_get(objective, "only_if");
  int64_t at = reach_condition(&c->reach, judge);
  condition_check(c, objective, "judge");
  condition_check(c, objective, "only_if");
  if (at == REACH_NEVER || at > json_int_or(c->scenario->json, "duration", 0))
    found(c, "error", "judge", "nobody can meet it: what it waits for never comes");
  if (only_if && reach_condition(&c->reach, only_if) == REACH_NEVER) found(c, "error", "only_if", "it is never judged: that cannot be");
}

static void answer_check(struct checking *c, size_t i, const json_t *answer) {
  const char *name = json_str_or(answer, "action", "");
  const json_t *action = action_of(c, "action", name);
  condition_check(c, answer, "only_if");
  if (!action) return;
  names_known(c, "params", json_object_get(answer, "params"), json_object_get(action, "params"), name);
  names_known(c, "returns", json_object_get(answer, "returns"), json_object_get(action, "returns"), name);
  if (json_object_get(answer, "already") && !json_object_get(json_object_get(action, "returns"), "already"))
    found(c, "error", "already", "%s does not say whether it was so already", name);
}

static void script_check(struct checking *c, size_t i, const json_t *item) {
  static const char *const conditions[] = {"after", "only_if", "unless", NULL};
  const char *run = json_str(item, "run"), *with = json_str(item, "with"), *question = json_str(item, "answer");
  size_t k;
  json_t *inject;
  for (const char *const *m = conditions; *m; m++) condition_check(c, item, *m);
  if (json_object_get(item, "after") && reach_condition(&c->reach, json_object_get(item, "after")) == REACH_NEVER)
    found(c, "error", "after", "it is never played: what it waits for never comes");
  if (run) playbook_known(c, "run", run);
  if (run && in_shadow(c, run)) found(c, "warning", "run", "the playbook %s is in shadow: it takes no action above `read`", run);
  if (run && json_object_get(c->against->playbooks, run))
    names_known(c, "params", json_object_get(item, "params"), json_object_get(json_object_get(c->against->playbooks, run), "params"), run);
  json_array_foreach((json_t *)(uintptr_t)c->reach.injects, k, inject) {
    const json_t *asks = json_object_get(inject, "question");
    if (!question || strcmp(json_str_or(inject, "id", ""), question) != 0) continue;
    if (!asks) found(c, "error", "answer", "inject %s asks nothing", question);
    else if (with && !json_array_has(json_object_get(asks, "options"), with))
      found(c, "error", "with", "`%.60s` is none of its options", with);
  }
}

static bool speaks_to(const json_t *inject, const char *role) {
  return json_array_has(json_at(inject, "message.to"), role) || json_array_has(json_at(inject, "call.to"), role) ||
         strcmp(json_str_or(json_object_get(inject, "question"), "to", ""), role) == 0;
}

static void role_check(struct checking *c, const char *role) {
  size_t i;
  json_t *inject;
  json_array_foreach((json_t *)(uintptr_t)c->reach.injects, i, inject) if (speaks_to(inject, role)) return;
  c->what = "role";
  c->id = role;
  snprintf(c->path, sizeof c->path, "roles");
  found(c, "error", role, "nobody plays it: nothing is ever said to it or asked of it");
}

static void each(struct checking *c, const char *list, const char *what, void (*check)(struct checking *c, size_t i, const json_t *item)) {
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(c->scenario->json, list), i, item) {
    if (enough(c)) return;
    c->what = what;
    c->id = json_str_or(item, "id", json_str_or(item, "action", ""));
    snprintf(c->path, sizeof c->path, "%s[%zu]", list, i + 1);
    check(c, i, item);
  }
}

void scenario_check(const struct scenario *s, const struct scenario_against *a, json_t *findings) {
  struct checking c = {.scenario = s, .against = a, .findings = findings};
  const char *role;
  json_t *text;
  reach_init(&c.reach, s);
  each(&c, "injects", "inject", inject_check);
  each(&c, "objectives", "objective", objective_check);
  each(&c, "answers", "answer", answer_check);
  each(&c, "script", "script item", script_check);
  json_object_foreach(json_object_get(s->json, "roles"), role, text) role_check(&c, role);
  reach_release(&c.reach);
}
