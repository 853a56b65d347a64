/* The people who are not there: what the script says they do, by the ordinary commands, under a name that nobody takes for a person's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "exercise/exercise.h"

bool exercise_scripted(const struct exercise *x, const char *role) {
  return json_object_get(json_object_get(x->started, "scripted"), role) != NULL;
}

/* One command under way. */
struct saying {
  struct exercise *x;
  struct person by;
  json_t *roles;
  char *what;
};

static void saying_free(struct saying *s) {
  s->x->saying--;
  json_decref(s->roles);
  free(s->by.name);
  free(s->what);
  free(s);
}

static void said(void *arg, int status, const json_t *answer) {
  struct saying *s = arg;
  if (status != 200 && s->x->stage == STAGE_PLAYING)
    journal_add(s->x->journal, KIND_INCIDENT_NOTED, "engine", 0, NULL,
                json_pack("{s:o}", "text",
                          json_sprintf("The script's %s (%s) could not: %s", s->by.name, s->what,
                                       json_str_or(answer, "error", "refused"))));
  saying_free(s);
}

static void say(struct exercise *x, const json_t *item, json_t *command_take) {
  struct saying *s = calloc(1, sizeof *s);
  const char *role = json_str_or(item, "by", "");
  if (!s) abort();
  *s = (struct saying){.x = x, .roles = json_pack("[s]", "admin"), .what = strdup(json_str_or(command_take, "command", ""))};
  s->by = (struct person){.name = strdup(role), .roles = s->roles, .known = true};
  snprintf(s->by.actor, sizeof s->by.actor, "%s", json_str_or(json_object_get(x->started, "roles"), role, "person:scripted"));
  x->saying++;
  desk_command(x->desk, &s->by, command_take, said, s);
  json_decref(command_take);
}

/* --- answers ---------------------------------------------------------------------------------------------------------- */

static bool is_about(const json_t *question, const char *wanted) {
  const char *inject = json_str(question, "inject");
  return inject ? strcmp(inject, wanted) == 0 : strcasestr(json_str_or(question, "text", ""), wanted) != NULL;
}

static void answer(struct exercise *x, const json_t *item) {
  json_t *open = questions_open(x->questions), *question, *found = NULL;
  const char *wanted = json_str_or(item, "answer", "");
  size_t i;
  json_array_foreach(open, i, question) if (!found && is_about(question, wanted)) found = question;
  const char *first = json_string_value(json_array_get(json_object_get(found, "options"), 0));
  if (found)
    say(x, item,
        json_pack("{s:s, s:O, s:s}", "command", "answer", "id", json_object_get(found, "id"), "answer",
                  json_str_or(item, "with", first ? first : "yes")));
  json_decref(open);
}

/* --- the rest ----------------------------------------------------------------------------------------------------------- */

static json_t *on_incident(const struct exercise *x, const char *command) {
  return json_pack("{s:s, s:s}", "command", command, "id", exercise_incident(x));
}

static void with(json_t *command, const char *name, const json_t *value) { json_object_set(command, name, (json_t *)(uintptr_t)value); }

static void release(struct exercise *x, const json_t *item) {
  const char *text = json_str_or(item, "release", ""), *equals = strchr(text, '=');
  json_t *target =
      equals ? json_pack("{s:s%, s:s}", "type", text, (size_t)(equals - text), "value", equals + 1) : json_pack("{s:s}", "value", text);
  say(x, item, json_pack("{s:s, s:o, s:s}", "command", "release", "target", target, "because", "as the script says"));
}

static void run(struct exercise *x, const json_t *item) {
  json_t *params = json_object_get(item, "params");
  say(x, item,
      json_pack("{s:s, s:O, s:s, s:s, s:o}", "command", "trigger", "playbook", json_object_get(item, "run"), "incident",
                exercise_incident(x), "because", "as the script says", "params", params ? json_incref(params) : json_object()));
}

/* Nothing of it is asked or under way. */
static bool closable(const struct record_of *r) {
  int open = 0;
  for (size_t i = 0; i < r->count; i++) {
    switch (r->entries[i]->kind) {
    case KIND_QUESTION_ASKED:
    case KIND_RUN_STARTED: open++; break;
    case KIND_QUESTION_ANSWERED: open -= !json_bool_or(r->entries[i]->body, "more", false); break;
    case KIND_QUESTION_EXPIRED:
    case KIND_RUN_FINISHED:
    case KIND_RUN_HANDED_OVER:
    case KIND_RUN_CANCELLED: open--; break;
    case KIND_INCIDENT_CLOSED:
    case KIND_INCIDENT_MERGED: return false;
    default: break;
    }
  }
  return open == 0;
}

/* What a closing wants and the script has not is waived by name. */
static void close_incident(struct exercise *x, const json_t *item) {
  json_t *command = on_incident(x, "incident.close");
  size_t i = 1;
  while (i < x->count && !closable(&x->records[i])) i++;
  if (i < x->count) json_object_set_new(command, "id", json_string(x->records[i].id));
  json_object_update(command, json_object_get(item, "close"));
  if (!json_object_get(command, "waive")) json_object_set_new(command, "waive", json_string("played by the script"));
  say(x, item, command);
}

/* {member of the item, command, member of the command}. */
static const struct {
  const char *member, *command, *as;
} simple[] = {{"note", "incident.note", "text"},
              {"tag", "incident.tag", "tag"},
              {"severity", "incident.severity", "severity"},
              {"assign", "incident.assign", "to"},
              {"tick", "incident.tick", "n"}};

static void act(struct exercise *x, const json_t *item) {
  if (json_object_get(item, "answer")) answer(x, item);
  else if (json_object_get(item, "release")) release(x, item);
  else if (json_object_get(item, "run")) run(x, item);
  else if (json_object_get(item, "close")) close_incident(x, item);
  for (size_t i = 0; i < sizeof simple / sizeof *simple; i++) {
    const json_t *value = json_object_get(item, simple[i].member);
    if (!value) continue;
    json_t *command = on_incident(x, simple[i].command);
    with(command, simple[i].as, value);
    if (strcmp(simple[i].member, "severity") == 0) json_object_set_new(command, "because", json_string("as the script says"));
    say(x, item, command);
  }
}

void scripted_play(struct exercise *x, const json_t *item) {
  journal_add(x->journal, KIND_EXERCISE_PLAYED, "engine", 0, NULL,
              json_pack("{s:O, s:O*}", "play", json_object_get(item, "id"), "by", json_object_get(item, "by")));
  act(x, item);
}

/* --- after a restart ---------------------------------------------------------------------------------------------------- */

static const json_t *item_named(const struct exercise *x, const char *id) {
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(x->scenario->json, "script"), i, item) if (strcmp(json_str_or(item, "id", ""), id) == 0) return item;
  return NULL;
}

static bool acted_since(const struct exercise *x, const char *actor, int64_t since) {
  for (size_t i = 0; i < x->count; i++) {
    for (size_t k = x->records[i].count; k > 0 && x->records[i].entries[k - 1]->time >= since; k--)
      if (strcmp(x->records[i].entries[k - 1]->actor, actor) == 0) return true;
  }
  return false;
}

/* Only the last one can have been cut short: the next comes when it has been carried out. */
void scripted_again(struct exercise *x) {
  const struct record_of *own = &x->records[0];
  const struct entry *last = NULL;
  for (size_t i = 0; i < own->count; i++)
    if (own->entries[i]->kind == KIND_EXERCISE_PLAYED) last = own->entries[i];
  const json_t *item = last ? item_named(x, json_str_or(last->body, "play", "")) : NULL;
  const char *actor = item ? exercise_player(x, json_str_or(item, "by", "")) : NULL;
  if (actor && !acted_since(x, actor, last->time)) act(x, item);
}
