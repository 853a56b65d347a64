/* Exercises beside what is real: where they begin, and the one way in which a word of theirs may leave. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "cmd/daemon.h"
#include "cmd/installed.h"

/* --- telling participants --------------------------------------------------------------------------------------------- */

static void on_told(void *arg, const struct outcome *outcome) {
  if (!outcome->ok) log_warning("participants of an exercise could not be told: %s", json_str_or(outcome->returns, "message", "it failed"));
}

static void param(json_t *params, const json_t *schema, const char *name, json_t *value_take) {
  if (json_object_get(schema, name) && !json_object_get(params, name)) json_object_set(params, name, value_take);
  json_decref(value_take);
}

/* An action of earnest, on record in the node's own journal: of the exercise's journal it could only be simulated. */
static int send(struct daemon *d, const json_t *channel, const json_t *emails, const char *subject, const char *text, struct err *err) {
  char connector[128] = "", step[48];
  const char *full = json_str_or(channel, "action", ""), *dot = strchr(full, '.');
  if (dot && (size_t)(dot - full) < sizeof connector) memcpy(connector, full, (size_t)(dot - full));
  const struct connector *c = registry_find(d->registry, connector, err);
  const json_t *action = c && dot ? registry_action(c, dot + 1, err) : NULL;
  if (!action) return err->code ? err->code : ERR_NOT_FOUND;
  const json_t *schema = json_object_get(action, "params"), *given = json_object_get(channel, "params");
  json_t *params = given ? json_deep_copy(given) : json_object();
  param(params, schema, "to", json_incref((json_t *)(uintptr_t)emails));
  param(params, schema, "subject", json_string(subject));
  param(params, schema, "text", json_string(text));
  snprintf(step, sizeof step, "%llu.%llu", (unsigned long long)journal_seq(d->node) + 1, (unsigned long long)++d->told);
  struct action_spec spec = {
      .journal = d->node, .run = 0, .step = step, .actor = "engine", .connector = c->instance, .action = dot + 1, .params = params};
  struct action *started;
  int r = action_start(d->actions, &spec, on_told, d, &started, err);
  json_decref(params);
  return r;
}

/* Only who is listed, and of those only whom it is for. people: their actors; NULL: everybody. */
static void tell(void *arg, const json_t *people, const char *subject, const char *text) {
  struct daemon *d = arg;
  const json_t *channel = json_object_get(d->settings, "exercise_notify");
  json_t *emails = json_array(), *name;
  struct err err = {0};
  size_t i;
  json_array_foreach(json_object_get(channel, "participants"), i, name) {
    const struct person *p = people_named(d->people, json_string_value(name));
    if (p && p->email && (!people || json_array_has(people, p->actor))) json_array_append_new(emails, json_string(p->email));
  }
  if (json_array_size(emails) && send(d, channel, emails, subject, text, &err) < 0)
    log_warning("participants of an exercise could not be told: %s", err.text);
  json_decref(emails);
}

/* --- beginning ---------------------------------------------------------------------------------------------------------- */

static void on_hall(void *arg) {}

/* Exercises never keep the engine from starting: they go on beside it. */
void daemon_hall(struct daemon *d) {
  uint8_t bytes[16];
  char made_up[33];
  struct err err;
  random_bytes(bytes, sizeof bytes);
  hex_encode(bytes, sizeof bytes, made_up);
  if (secrets_put(d->secrets, "simulated", made_up, strlen(made_up), &err) < 0) log_error("%s", err.text);
  struct hall_deps deps = {.loop = d->loop,
                           .redis = d->redis,
                           .secrets = d->secrets,
                           .people = d->people,
                           .settings = d->settings,
                           .desk = d->desk,
                           .feed = d->feed,
                           .nodes = d->nodes,
                           .node = d->store.node,
                           .runbooks = installed_folder(d->settings, "runbooks"),
                           .data = json_str_or(d->settings, "data", "."),
                           .clock = clock_system(),
                           .content = daemon_exercise_content,
                           .tell = tell,
                           .arg = d};
  const struct suspect *s = &d->suspect;
  if (s->kind && strncmp(s->id, "EX-", 3) == 0 && (s->signal || s->ends > 1)) { /* a kill from outside may come once */
    deps.suspect = s->id;
    suspect_forget(s->kind, s->id, s->number);
  }
  d->hall = hall_new(&deps);
  hall_load(d->hall, on_hall, d);
}
