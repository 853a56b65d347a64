/* What a playbook sees without waiting: the incident as folded up to the entry that woke it, and values that a replay gives again. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/digest.h"
#include "base/json.h"
#include "run/internal.h"

enum { SHOWN = 10 };

/* --- views -------------------------------------------------------------------------------------------------------- */

void view_take(struct view *out, int64_t time, struct standing *now) {
  run_view_release(out);
  *out = (struct view){.time = time, .alerts = standing_alerts(now), .shown = standing_look(now)};
}

void run_view_release(struct view *v) {
  standing_view_drop(v->shown);
  v->shown = NULL;
}

static const json_t *fields(const struct run *run) { return run->view.shown ? standing_view_fields(run->view.shown) : NULL; }

/* --- alerts and observables ----------------------------------------------------------------------------------------- */

static json_t *alerts_seen(const struct run *run) {
  const struct run_world *world = &run->all->deps.world;
  const json_t *all = world->alerts ? world->alerts(world->arg, run->journal) : NULL;
  json_t *seen = json_array();
  for (size_t i = 0; i < json_array_size(all) && i < run->view.alerts; i++) json_array_append(seen, json_array_get(all, i));
  return seen;
}

/* "IP Address" answers to its own name and to "ip"; "User Name" to "user". */
static bool type_fits(const char *wanted, const char *type) {
  if (!wanted || strcasecmp(wanted, type) == 0) return true;
  static const char *const names[][2] = {{"ip", "IP Address"},
                                         {"user", "User Name"},
                                         {"host", "Hostname"},
                                         {"email", "Email Address"},
                                         {"url", "URL String"},
                                         {"file", "File Name"},
                                         {"process", "Process Name"},
                                         {"resource", "Resource UID"},
                                         {"mac", "MAC Address"},
                                         {"command", "Command Line"},
                                         {"hash", "Hash"},
                                         {"hostname", "Hostname"}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcasecmp(names[i][0], wanted) == 0 && strcasecmp(names[i][1], type) == 0) return true;
  return false;
}

static json_t *observables(const struct run *run, const char *type) {
  json_t *found = json_array(), *seen = json_object(), *alerts = alerts_seen(run), *alert, *o;
  size_t i, n;
  json_array_foreach(alerts, i, alert) json_array_foreach(json_object_get(alert, "observables"), n, o) {
    const char *kind = json_str_or(o, "type", ""), *value = json_str(o, "value");
    char key[512];
    if (!value || !type_fits(type, kind)) continue;
    snprintf(key, sizeof key, "%.60s|%.440s", kind, value);
    if (json_object_get(seen, key)) continue;
    json_object_set_new(seen, key, json_true());
    json_array_append_new(found, json_pack("{s:s, s:s, s:s}", "type", kind, "value", value, "path", json_str_or(o, "name", "")));
  }
  json_decref(seen);
  json_decref(alerts);
  return found;
}

/* --- the summary ------------------------------------------------------------------------------------------------------ */

static void add_value(struct buf *out, const char *label, const json_t *value) {
  char *text = json_is_string(value) ? strdup(json_string_value(value)) : json_text(value);
  buf_addf(out, "%s%.300s", label, text ? text : "");
  free(text);
}

/* One line for each step that has ended, as people would tell it. */
void story_add(struct run *run, const struct step *s, const struct answer *a) {
  char storage[512];
  struct buf line;
  const char *verb = s->verb->name, *connector = json_str(s->args, "connector");
  buf_lend(&line, storage, sizeof storage, 2048);
  buf_adds(&line, "  ");
  buf_adds(&line, s->path);
  buf_adds(&line, "  ");
  if (s->action_name) {
    buf_adds(&line, s->action_name);
  } else if (connector) {
    if (strcmp(verb, "poll") == 0) buf_adds(&line, "poll ");
    buf_adds(&line, connector);
    buf_addc(&line, '.');
    buf_adds(&line, json_str_or(s->args, "action", ""));
  } else if (strcmp(verb, "ask") == 0) buf_addf(&line, "asked \"%.300s\"", json_str_or(s->args, "text", ""));
  else buf_adds(&line, verb);
  if (strcmp(verb, "undo") == 0) add_value(&line, " of step ", json_object_get(s->args, "step"));
  if (strcmp(verb, "note") == 0) buf_addf(&line, ": %.300s", json_str_or(s->args, "text", ""));
  else if (!a->ok) buf_addf(&line, ": failed: %.300s", json_str_or(a->value, "message", ""));
  else if (strcmp(verb, "ask") == 0 && a->value) add_value(&line, ": ", a->value);
  else if (strcmp(verb, "wait_for") == 0) buf_adds(&line, a->value ? ": an alert came" : ": no alert came in time");
  else buf_adds(&line, ": done");
  buf_addc(&line, '\n');
  if (run->story.len + line.len < STORY_CAP) buf_add(&run->story, line.data, line.len);
  buf_release(&line);
}

static json_t *summary(const struct run *run) {
  const json_t *f = fields(run);
  struct buf text;
  json_t *found = observables(run, NULL), *o;
  size_t i;
  buf_init(&text, STORY_CAP + 16384);
  buf_addf(&text, "%s %.300s\nseverity %s, %s", json_str_or(f, "id", ""), json_str_or(f, "title", ""),
           json_str_or(f, "severity", "unknown"), json_str_or(f, "status", "open"));
  if (json_str(f, "owner")) buf_addf(&text, ", owner %.80s", json_str(f, "owner"));
  buf_addf(&text, ", %zu alert%s\n", run->view.alerts, run->view.alerts == 1 ? "" : "s");
  json_array_foreach(found, i, o) {
    if (i == SHOWN) break;
    buf_addf(&text, "%s%s %.200s", i ? ", " : "seen: ", json_str_or(o, "type", ""), json_str_or(o, "value", ""));
  }
  if (i) buf_addf(&text, "%s\n", json_array_size(found) > SHOWN ? ", …" : "");
  buf_addf(&text, "done by %s:\n%s", run->playbook->name, run->story.len ? run->story.data : "  nothing yet\n");
  json_decref(found);
  json_t *result = json_string(text.data);
  buf_release(&text);
  return result;
}

/* --- values ------------------------------------------------------------------------------------------------------------- */

static json_t *draw(struct run *run) {
  char text[64 + ID_STEP];
  uint8_t digest[DIGEST_BYTES];
  int64_t value = 0;
  snprintf(text, sizeof text, "%s|%s|%u", run->seed, run->current ? run->current->last : "", run->draws++);
  digest_sha256(text, strlen(text), digest);
  memcpy(&value, digest, sizeof value);
  return json_integer(value);
}

static const char *text_of(const json_t *args) {
  if (json_is_array(args)) args = json_array_get(args, 0);
  return json_is_string(args) ? json_string_value(args) : NULL;
}

static json_t *incident_member(const struct run *run, const char *name) {
  if (!name) return json_incref((json_t *)(uintptr_t)fields(run));
  if (strcmp(name, "alert_count") == 0) return json_integer((json_int_t)run->view.alerts);
  if (strcmp(name, "run") == 0) return json_integer((json_int_t)run->number);
  json_t *value = json_object_get(fields(run), name);
  return value ? json_incref(value) : json_null();
}

bool run_matches(const struct run *run, const json_t *when, const json_t *alert) {
  const struct run_world *world = &run->all->deps.world;
  return world->matches && world->matches(world->arg, run->lists, run_now(run), when, alert);
}

int look(void *arg, const char *what, const json_t *args, json_t **ret, struct err *err) {
  struct run *run = arg;
  const struct run_world *world = &run->all->deps.world;
  json_t *value = NULL;
  if (strcmp(what, "incident") == 0) value = incident_member(run, text_of(args));
  else if (strcmp(what, "alerts") == 0) value = alerts_seen(run);
  else if (strcmp(what, "observables") == 0) value = observables(run, text_of(args));
  else if (strcmp(what, "summary") == 0) value = summary(run);
  else if (strcmp(what, "now") == 0) value = json_integer(run->view.time);
  else if (strcmp(what, "random") == 0) value = draw(run);
  else if (strncmp(what, "list.", 5) == 0 && world->list) return world->list(world->arg, run->lists, run->view.time, what, args, ret, err);
  else return err_set(err, ERR_NOT_FOUND, "there is no \"%s\" to look at", what);
  *ret = value;
  return 0;
}
