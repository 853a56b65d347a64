/* When the parts of a storyline are due, what the world is like, and what its connectors say. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "exercise/internal.h"

/* ---- what is due */

/* By itself or by the condition's time; INT64_MAX: not by time alone. True: it is known. */
static bool due_of(const struct story *s, const json_t *item, int64_t now, int64_t *ret) {
  const json_t *at = json_object_get(item, "at"), *by = json_object_get(item, "by");
  int64_t delay = json_int_or(item, "delay", 0) * 1000;
  int64_t latest = json_is_integer(by) ? s->play->started + json_integer_value(by) * 1000 : INT64_MAX;
  if (at) {
    *ret = s->play->started + json_integer_value(at) * 1000;
    return true;
  }
  struct finding f = condition_eval(s, json_object_get(item, "after"), now, false);
  json_decref(f.shown);
  if (f.truth == TRUTH_MET) {
    *ret = f.time + delay < latest ? f.time + delay : latest;
    return true;
  }
  *ret = f.truth == TRUTH_OPEN && f.changes < latest ? f.changes : latest;
  return *ret <= now && *ret == latest;
}

static bool holds(const struct story *s, const json_t *condition, int64_t cut) {
  struct finding f = condition_eval(s, condition, cut, false);
  json_decref(f.shown);
  return f.truth == TRUTH_MET;
}

enum timing story_timing(const struct story *s, const json_t *item, int64_t now, int64_t *ret_due) {
  const json_t *only_if = json_object_get(item, "only_if"), *unless = json_object_get(item, "unless");
  if (!due_of(s, item, now, ret_due) || *ret_due > now) return TIMING_OPEN;
  if (only_if && !holds(s, only_if, *ret_due)) return TIMING_LEFT_OUT;
  return unless && holds(s, unless, *ret_due) ? TIMING_LEFT_OUT : TIMING_DUE;
}

static bool over(const struct story *s, enum kind kind, const char *member, const json_t *item) {
  const char *id = json_str_or(item, "id", "");
  return story_find(s, kind, member, id, INT64_MAX) ||
         (kind == KIND_EXERCISE_INJECTED && story_find(s, KIND_EXERCISE_SKIPPED, member, id, INT64_MAX));
}

/* Few at a time: in place, first the one that is due first. */
static void insert(json_t *list, int64_t due, const char *name, json_t *item) {
  size_t at = json_array_size(list);
  while (at && json_int_or(json_array_get(list, at - 1), "due", 0) > due) at--;
  json_array_insert_new(list, at, json_pack("{s:I, s:O}", "due", (json_int_t)due, name, item));
}

static json_t *due(const struct scenario *scenario, const struct scenario_play *p, int64_t now, int64_t *ret_next, bool script) {
  struct story s;
  json_t *found = json_array(), *item;
  size_t i;
  int64_t next = INT64_MAX, at;
  story_init(&s, scenario, p);
  json_array_foreach(json_object_get(scenario->json, script ? "script" : "injects"), i, item) {
    if (over(&s, script ? KIND_EXERCISE_PLAYED : KIND_EXERCISE_INJECTED, script ? "play" : "inject", item)) continue;
    enum timing t = story_timing(&s, item, now, &at);
    if (t == TIMING_DUE) insert(found, at, script ? "play" : "inject", item);
    else if (t == TIMING_OPEN && at > now && at < next) next = at;
  }
  story_release(&s);
  if (ret_next) *ret_next = next;
  return found;
}

json_t *scenario_due(const struct scenario *s, const struct scenario_play *p, int64_t now, int64_t *ret_next) {
  return due(s, p, now, ret_next, false);
}

json_t *scenario_script_due(const struct scenario *s, const struct scenario_play *p, int64_t now, int64_t *ret_next) {
  return due(s, p, now, ret_next, true);
}

/* ---- alerts */

/* "{time-90s}" at text: its length, 0: it is no place for a time. */
static size_t place_for_time(const char *text, const char *word, int64_t now, int64_t *ret) {
  size_t n = strlen(word);
  const char *close = strchr(text, '}');
  char span[32];
  int64_t ms = 0;
  if (text[0] != '{' || strncmp(text + 1, word, n) != 0 || !close) return 0;
  const char *rest = text + 1 + n;
  size_t len = (size_t)(close - rest);
  if (len > 1 && len < sizeof span && *rest == '-') {
    snprintf(span, sizeof span, "%.*s", (int)len - 1, rest + 1);
    if (!duration_parse(span, &ms)) return 0;
  } else if (len) {
    return 0;
  }
  *ret = now - ms * 1000;
  return (size_t)(close - text) + 1;
}

static json_t *text_with_times(const json_t *value, int64_t now) {
  const char *text = json_string_value(value);
  size_t len = json_string_length(value), n;
  int64_t at;
  struct buf out;
  if ((n = place_for_time(text, "epoch_ms", now, &at)) && n == len) return json_integer(at / 1000);
  if ((n = place_for_time(text, "epoch", now, &at)) && n == len) return json_integer(at / 1000000);
  buf_init(&out, len * 4 + 64);
  for (size_t i = 0; i < len; i += n ? n : 1) {
    char stamp[TIME_TEXT];
    n = text[i] == '{' ? place_for_time(text + i, "time", now, &at) : 0;
    if (n) time_format(at, stamp), buf_adds(&out, stamp);
    else buf_addc(&out, text[i]);
  }
  json_t *made = buf_ok(&out) ? json_stringn(out.data, out.len) : json_deep_copy(value);
  buf_release(&out);
  return made;
}

static json_t *with_times(const json_t *value, int64_t now) {
  const char *key;
  json_t *made, *member;
  size_t i;
  if (json_is_string(value)) return text_with_times(value, now);
  if (json_is_array(value)) {
    made = json_array();
    json_array_foreach((json_t *)(uintptr_t)value, i, member) json_array_append_new(made, with_times(member, now));
    return made;
  }
  if (!json_is_object(value)) return json_deep_copy(value);
  made = json_object();
  json_object_foreach((json_t *)(uintptr_t)value, key, member) json_object_set_new(made, key, with_times(member, now));
  return made;
}

json_t *scenario_alert(const json_t *inject, int64_t now) {
  return with_times(json_object_get(json_object_get(inject, "alert"), "body"), now);
}

/* ---- the world */

static void world_change(json_t *world, const json_t *changes) {
  const char *kind, *id;
  json_t *things, *thing;
  json_object_foreach((json_t *)(uintptr_t)changes, kind, things) {
    json_t *mine = json_object_get(world, kind);
    if (!mine) json_object_set_new(world, kind, mine = json_object());
    json_object_foreach(things, id, thing) {
      json_t *known = json_object_get(mine, id);
      if (known) json_object_update(known, thing);
      else json_object_set_new(mine, id, json_deep_copy(thing));
    }
  }
}

static json_t *world_of(const struct story *s, int64_t cut) {
  json_t *world = json_deep_copy(json_object_get(s->scenario->json, "world")), *inject;
  size_t k;
  for (size_t i = 0; i < s->count && s->moments[i].entry->time <= cut; i++) { /* in the order in which they came */
    const struct entry *e = s->moments[i].entry;
    if (e->kind != KIND_EXERCISE_INJECTED) continue;
    json_array_foreach(json_object_get(s->scenario->json, "injects"), k, inject) {
      if (strcmp(json_str_or(inject, "id", ""), json_str_or(e->body, "inject", "")) == 0)
        world_change(world, json_object_get(inject, "world"));
    }
  }
  return world;
}

json_t *scenario_world(const struct scenario *scenario, const struct scenario_play *p) {
  struct story s;
  story_init(&s, scenario, p);
  json_t *world = world_of(&s, INT64_MAX);
  story_release(&s);
  return world;
}

/* ---- answers */

/* "ldap.lock_account" or "rt.*". */
static bool action_fits(const char *pattern, const char *action) {
  size_t n = strlen(pattern);
  if (n > 2 && strcmp(pattern + n - 2, ".*") == 0) return strncmp(pattern, action, n - 1) == 0;
  return strcmp(pattern, action) == 0;
}

static bool params_fit(const json_t *wanted, const json_t *params) {
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)wanted, name, value) if (!json_equal(value, json_object_get(params, name))) return false;
  return true;
}

/* "hosts.db-1.state": ids may bear dots, kinds and members do not. */
static const json_t *world_at(const json_t *world, const char *path) {
  char kind[64], id[256];
  const char *first = strchr(path, '.'), *last = strrchr(path, '.');
  if (!first || last == first) return NULL;
  snprintf(kind, sizeof kind, "%.*s", (int)(first - path), path);
  snprintf(id, sizeof id, "%.*s", (int)(last - first - 1), first + 1);
  return json_object_get(json_object_get(json_object_get(world, kind), id), last + 1);
}

static bool world_fits(const struct story *s, const json_t *where, int64_t now) {
  const char *path;
  json_t *value;
  if (!where) return true;
  json_t *world = world_of(s, now);
  bool good = true;
  json_object_foreach((json_t *)(uintptr_t)where, path, value) {
    const json_t *is = world_at(world, path);
    good = good && is && json_equal(is, value);
  }
  json_decref(world);
  return good;
}

static bool in_force(const struct story *s, const json_t *answer, int64_t now) {
  const char *from = json_str(answer, "from"), *until = json_str(answer, "until");
  const json_t *lasts = json_object_get(answer, "lasts"), *only_if = json_object_get(answer, "only_if");
  int64_t since = s->play->started;
  const struct moment *m = from ? story_find(s, KIND_EXERCISE_INJECTED, "inject", from, now) : NULL;
  if (from && !m) return false;
  if (m) since = m->entry->time;
  if (lasts && now >= since + json_integer_value(lasts) * 1000) return false;
  if (until && story_find(s, KIND_EXERCISE_INJECTED, "inject", until, now)) return false;
  return !only_if || holds(s, only_if, now);
}

const json_t *scenario_answer(const struct scenario *scenario, const struct scenario_play *p, const char *action, const json_t *params,
                              int64_t now) {
  struct story s;
  const json_t *found = NULL;
  json_t *answer;
  size_t i;
  story_init(&s, scenario, p);
  json_array_foreach(json_object_get(scenario->json, "answers"), i, answer) {
    if (found || !action_fits(json_str_or(answer, "action", ""), action) || !params_fit(json_object_get(answer, "params"), params))
      continue;
    if (in_force(&s, answer, now) && world_fits(&s, json_object_get(answer, "where"), now)) found = answer;
  }
  story_release(&s);
  return found;
}
