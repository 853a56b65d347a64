#include "exercise/reach.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static size_t index_of(const struct reach *r, const char *id) {
  const json_t *place = json_object_get(r->places, id);
  return place ? (size_t)json_integer_value(place) : SIZE_MAX;
}

static int64_t inject_at(const struct reach *r, const char *id) {
  size_t i = index_of(r, id);
  return i == SIZE_MAX ? REACH_NEVER : r->earliest[i];
}

static int64_t later(int64_t a, int64_t b) { return a == REACH_NEVER || b == REACH_NEVER ? REACH_NEVER : a > b ? a : b; }

static int64_t sooner(int64_t a, int64_t b) { return a == REACH_NEVER ? b : b == REACH_NEVER ? a : a < b ? a : b; }

/* Words that are an inject's id mean that inject, which must ask. */
static int64_t question_at(const struct reach *r, const json_t *c, const char *member) {
  const char *text = json_str(c, member);
  size_t i = text ? index_of(r, text) : SIZE_MAX;
  if (i == SIZE_MAX) return 0;
  const json_t *question = json_object_get(json_array_get(r->injects, i), "question"), *with = json_object_get(c, "with");
  bool offered = !with;
  size_t k;
  json_t *option;
  json_array_foreach((json_t *)(uintptr_t)with, k, option) {
    if (json_array_has(json_object_get(question, "options"), json_string_value(option))) offered = true;
  }
  return question && offered ? r->earliest[i] : REACH_NEVER;
}

static int64_t leaf_at(const struct reach *r, const json_t *c) {
  static const char *const questions[] = {"asked", "answered", "silent", "question"};
  const char *inject = json_str(c, "fired"), *since = json_str(c, "since");
  int64_t at = inject ? inject_at(r, inject) : 0;
  for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) at = later(at, question_at(r, c, questions[i]));
  if (since) return later(at, inject_at(r, since));
  if (at != REACH_NEVER && json_is_integer(json_object_get(c, "within")) && at > json_int_or(c, "within", 0)) return REACH_NEVER;
  return at;
}

/* `none` of one thing with a time limit is true when that has passed; without one, never before the end. */
static int64_t none_at(const json_t *list) {
  int64_t at = 0;
  size_t i;
  json_t *c;
  json_array_foreach((json_t *)(uintptr_t)list, i, c) {
    int64_t within = json_int_or(c, "within", 0);
    if (within > at) at = within;
  }
  return at;
}

int64_t reach_condition(const struct reach *r, const json_t *condition) {
  const json_t *all = json_object_get(condition, "all"), *any = json_object_get(condition, "any"),
               *none = json_object_get(condition, "none");
  int64_t at = all ? 0 : REACH_NEVER;
  size_t i;
  json_t *c;
  if (none) return none_at(none);
  if (!all && !any) return leaf_at(r, condition);
  json_array_foreach((json_t *)(uintptr_t)all, i, c) at = later(at, reach_condition(r, c));
  json_array_foreach((json_t *)(uintptr_t)any, i, c) at = sooner(at, reach_condition(r, c));
  return at;
}

static int64_t reach_inject(const struct reach *r, const json_t *inject) {
  const json_t *at = json_object_get(inject, "at"), *only_if = json_object_get(inject, "only_if"), *by = json_object_get(inject, "by");
  int64_t when = json_integer_value(at);
  if (!at) {
    when = reach_condition(r, json_object_get(inject, "after"));
    if (when != REACH_NEVER) when += json_int_or(inject, "delay", 0);
    if (by) when = sooner(when, json_integer_value(by));
  }
  if (only_if && reach_condition(r, only_if) == REACH_NEVER) return REACH_NEVER;
  return when;
}

void reach_init(struct reach *r, const struct scenario *s) {
  r->injects = json_object_get(s->json, "injects");
  size_t count = json_array_size(r->injects);
  r->earliest = calloc(count + 1, sizeof *r->earliest);
  if (!r->earliest) abort();
  r->places = json_object();
  for (size_t i = 0; i < count; i++) {
    json_object_set_new(r->places, json_str_or(json_array_get(r->injects, i), "id", ""), json_integer((json_int_t)i));
    r->earliest[i] = REACH_NEVER;
  }
  for (bool changed = true; changed;) { /* from nothing upwards: what only a loop holds up never comes. Each round settles at least one. */
    changed = false;
    for (size_t i = 0; i < count; i++) {
      int64_t at = reach_inject(r, json_array_get(r->injects, i));
      if (r->earliest[i] == REACH_NEVER && at != REACH_NEVER) r->earliest[i] = at, changed = true;
    }
  }
}

void reach_release(struct reach *r) {
  free(r->earliest);
  json_decref(r->places);
}

/* The inject that a condition cannot do without and that never comes; SIZE_MAX: none. */
static size_t blocker(const struct reach *r, const json_t *condition) {
  static const char *const members[] = {"fired", "since", "asked", "answered", "silent", "question"};
  const json_t *list = json_object_get(condition, "all") ? json_object_get(condition, "all") : json_object_get(condition, "any");
  size_t i, found;
  json_t *c;
  json_array_foreach((json_t *)(uintptr_t)list, i, c) {
    if (reach_condition(r, c) == REACH_NEVER && (found = blocker(r, c)) != SIZE_MAX) return found;
  }
  for (i = 0; i < sizeof members / sizeof *members; i++) {
    const char *id = json_str(condition, members[i]);
    found = id ? index_of(r, id) : SIZE_MAX;
    if (found != SIZE_MAX && r->earliest[found] == REACH_NEVER) return found;
  }
  return SIZE_MAX;
}

static size_t blocked_by(const struct reach *r, size_t inject) {
  const json_t *i = json_array_get(r->injects, inject);
  size_t found = blocker(r, json_object_get(i, "after"));
  return found != SIZE_MAX ? found : blocker(r, json_object_get(i, "only_if"));
}

static const char *id_of(const struct reach *r, size_t inject) { return json_str_or(json_array_get(r->injects, inject), "id", ""); }

void reach_why(const struct reach *r, size_t inject, char *out, size_t size) {
  size_t at = blocked_by(r, inject), steps = 0, count = json_array_size(r->injects);
  if (at == SIZE_MAX) {
    snprintf(out, size, "what it waits for cannot be");
    return;
  }
  int used = snprintf(out, size, "it waits for %s", at == inject ? "itself" : id_of(r, at));
  while (at != inject && steps++ < count && (at = blocked_by(r, at)) != SIZE_MAX) {
    if (used < 0 || (size_t)used >= size) return;
    used += snprintf(out + used, size - (size_t)used, ", which waits for %s", at == inject ? "it: a loop" : id_of(r, at));
  }
  if (at == SIZE_MAX && used > 0 && (size_t)used < size) snprintf(out + used, size - (size_t)used, ", which never comes");
}
