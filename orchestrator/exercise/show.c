/* An exercise as its facilitator and its participants see it. */
#include <string.h>

#include "base/json.h"
#include "exercise/exercise.h"

enum { LATEST = 200 };

bool exercise_facilitates(const struct exercise *x, const struct person *by) {
  return strcmp(json_str_or(x->started, "by", ""), by->actor) == 0 || person_has_role(by, "admin");
}

static bool for_role(const json_t *to, const char *role) {
  return json_is_string(to) ? strcmp(json_string_value(to), role) == 0 : json_array_has(to, role);
}

/* Is it for somebody whom this person plays? What names nobody is for all. */
static bool is_for(const struct exercise *x, const json_t *to, const struct person *by) {
  const char *role;
  json_t *player;
  if (!to) return true;
  json_object_foreach(json_object_get(x->started, "roles"), role,
                      player) if (strcmp(json_string_value(player), by->actor) == 0 && for_role(to, role)) return true;
  return false;
}

static bool plays_any(const struct exercise *x, const struct person *by) {
  const char *role;
  json_t *player;
  json_object_foreach(json_object_get(x->started, "roles"), role,
                      player) if (strcmp(json_string_value(player), by->actor) == 0) return true;
  return false;
}

static json_t *player_view(const struct exercise *x, const char *role) {
  const char *player = exercise_player(x, role);
  bool scripted = exercise_scripted(x, role);
  const char *name = !player || scripted ? NULL : people_name(x->hall->deps.people, player);
  return json_pack("{s:s, s:s*, s:b, s:O*}", "role", role, "player", name, "scripted", scripted, "what",
                   json_object_get(json_object_get(x->scenario->json, "roles"), role));
}

static json_t *roles_view(const struct exercise *x) {
  json_t *roles = json_array(), *what;
  const char *role;
  json_object_foreach(json_object_get(x->scenario->json, "roles"), role, what) json_array_append_new(roles, player_view(x, role));
  return roles;
}

/* What people have seen so far, oldest first: the alerts are in the incidents, so of them only that they came is told, and only to the facilitator. */
static json_t *happened_view(const struct exercise *x, const struct person *by, bool facilitator) {
  json_t *list = json_array();
  bool everything = facilitator || !plays_any(x, by);
  const struct record_of *own = &x->records[0];
  for (size_t i = 0; i < own->count; i++) {
    const struct entry *e = own->entries[i];
    const char *kind = json_str_or(e->body, "kind", "");
    if (e->kind != KIND_EXERCISE_INJECTED) continue;
    const json_t *to = json_object_get(e->body, "to");
    bool hidden = strcmp(kind, "alert") == 0 || strcmp(kind, "world") == 0;
    if (!facilitator && (hidden || !(everything || is_for(x, to, by)))) continue;
    json_t *item = json_copy(e->body);
    json_object_del(item, "alert");
    json_object_set_new(item, "time", json_integer(e->time));
    json_object_set_new(item, "after", json_integer((e->time - x->began) / 1000));
    json_object_set_new(item, "mine", json_boolean(to && is_for(x, to, by)));
    json_array_append_new(list, item);
  }
  while (json_array_size(list) > LATEST) json_array_remove(list, 0);
  return list;
}

/* When it comes at the latest known; what hangs on a condition has no time yet. */
static json_t *to_come_view(const struct exercise *x) {
  struct scenario_play p = exercise_play(x);
  json_t *result = scenario_judge(x->scenario, &p, exercise_now(x), false), *list = json_array(), *inject;
  size_t i;
  json_array_foreach(json_object_get(result, "injects"), i, inject) {
    if (strcmp(json_str_or(inject, "status", ""), "open") != 0) continue;
    json_t *spec = json_array_get(json_object_get(x->scenario->json, "injects"), i), *at = json_object_get(spec, "at");
    json_t *item = json_pack("{s:O, s:O, s:O*, s:O*}", "inject", json_object_get(inject, "id"), "kind", json_object_get(inject, "kind"),
                             "text", json_object_get(inject, "text"), "at", at);
    json_array_append_new(list, item);
  }
  json_decref(result);
  return list;
}

static json_t *objectives_view(const struct exercise *x) {
  struct scenario_play p = exercise_play(x);
  json_t *result = scenario_judge(x->scenario, &p, exercise_now(x), x->stage != STAGE_PLAYING),
         *objectives = json_incref(json_object_get(result, "objectives"));
  json_decref(result);
  return objectives;
}

static json_t *incidents_view(const struct exercise *x) {
  json_t *ids = json_array();
  for (size_t i = 1; i < x->count; i++) {
    const struct entry *first = x->records[i].count ? x->records[i].entries[0] : NULL;
    json_array_append_new(ids,
                          json_pack("{s:s, s:s}", "id", x->records[i].id, "title", json_str_or(first ? first->body : NULL, "title", "")));
  }
  return ids;
}

static json_t *questions_view(const struct exercise *x, const struct person *by) {
  json_t *open = questions_open(x->questions), *q;
  size_t i;
  json_array_foreach(open, i, q) {
    const json_t *to = json_object_get(json_object_get(q, "about"), "to");
    json_object_set_new(q, "mine", json_boolean(!to || is_for(x, to, by)));
    if (to) json_object_set(q, "to", (json_t *)(uintptr_t)to);
  }
  return open;
}

json_t *exercise_show(struct exercise *x, const struct person *by, bool facilitator) {
  int64_t now = exercise_now(x), duration = json_int_or(x->scenario->json, "duration", 0);
  json_t *view =
      json_pack("{s:s, s:O, s:O, s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:f, s:b, s:O, s:o, s:o, s:o, s:o}", "id", x->id, "title",
                json_object_get(x->scenario->json, "title"), "summary", json_object_get(x->scenario->json, "summary"), "scenario",
                x->scenario->name, "status", x->stage == STAGE_PLAYING ? "running" : "over", "exercise", 1, "facilitator", facilitator,
                "now", (json_int_t)now, "elapsed", (json_int_t)((now - x->began) / 1000), "duration", (json_int_t)duration, "speed",
                x->clock.speed, "paused", x->halted, "seed", json_object_get(x->started, "seed"), "roles", roles_view(x), "happened",
                happened_view(x, by, facilitator), "questions", questions_view(x, by), "incidents", incidents_view(x));
  if (!facilitator) return view;
  json_object_set_new(view, "to_come", to_come_view(x));
  json_object_set_new(view, "objectives", objectives_view(x));
  return view;
}
