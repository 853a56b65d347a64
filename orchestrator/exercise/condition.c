/* Conditions over journal entries: the first entry that fits decides, or the time that has run out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "exercise/internal.h"
#include "journal/state.h"

const char *const condition_groups[] = {"all", "any", "none", NULL};

const struct leaf_name condition_leaves[] = {
    {"fired", LEAF_INJECT},     {"acknowledged", LEAF_TRUE}, {"contained", LEAF_TARGET},  {"released", LEAF_TARGET},
    {"done", LEAF_ACTION},      {"asked", LEAF_QUESTION},    {"answered", LEAF_QUESTION}, {"silent", LEAF_QUESTION},
    {"decided_by", LEAF_COUNT}, {"note", LEAF_WORDS},        {"tagged", LEAF_TEXT},       {"severity", LEAF_SEVERITY},
    {"assigned", LEAF_TRUE},    {"ticked", LEAF_TICK},       {"started", LEAF_TEXT},      {"closed", LEAF_TRUE},
    {NULL, LEAF_TRUE}};

/* ---- the row of entries */

static int by_time(const void *a, const void *b) {
  const struct moment *x = a, *y = b;
  if (x->entry->time != y->entry->time) return x->entry->time < y->entry->time ? -1 : 1;
  return x->order < y->order ? -1 : x->order > y->order;
}

void story_init(struct story *s, const struct scenario *scenario, const struct scenario_play *play) {
  size_t all = 0;
  *s = (struct story){.scenario = scenario, .play = play};
  for (size_t i = 0; i < play->count; i++) all += play->journals[i].count;
  s->moments = calloc(all + 1, sizeof *s->moments);
  if (!s->moments) abort();
  for (size_t i = 0; i < play->count; i++) {
    for (size_t k = 0; k < play->journals[i].count; k++, s->count++)
      s->moments[s->count] = (struct moment){play->journals[i].incident, play->journals[i].entries[k], s->count};
  }
  qsort(s->moments, s->count, sizeof *s->moments, by_time);
}

void story_release(struct story *s) { free(s->moments); }

const struct moment *story_find(const struct story *s, enum kind kind, const char *member, const char *text, int64_t cut) {
  for (size_t i = 0; i < s->count && s->moments[i].entry->time <= cut; i++) {
    const struct entry *e = s->moments[i].entry;
    if (e->kind == kind && strcmp(json_str_or(e->body, member, ""), text) == 0) return &s->moments[i];
  }
  return NULL;
}

/* ---- one entry and one leaf */

static bool is_person(const struct entry *e) { return strncmp(e->actor, "person:", 7) == 0; }

static bool by_fits(const struct story *s, const json_t *c, const struct entry *e, bool person_by_default) {
  const char *by = json_str(c, "by");
  if (!by) return !person_by_default || is_person(e);
  if (strcmp(by, "person") == 0) return is_person(e);
  if (strcmp(by, "playbook") == 0) return strncmp(e->actor, "playbook:", 9) == 0;
  const char *player = json_str(s->play->roles, by);
  return player ? strcmp(player, e->actor) == 0 : is_person(e);
}

/* {"host": "db-1"} and "host=db-1", "host" or true. */
static bool target_fits(const json_t *target, const json_t *wanted) {
  const char *text = json_string_value(wanted), *equals = text ? strchr(text, '=') : NULL, *type;
  json_t *value;
  if (!text) return json_is_true(wanted);
  size_t len = equals ? (size_t)(equals - text) : strlen(text);
  json_object_foreach((json_t *)(uintptr_t)target, type, value) {
    if (strlen(type) != len || strncmp(type, text, len) != 0) continue;
    if (!equals || (json_is_string(value) && strcasecmp(json_string_value(value), equals + 1) == 0)) return true;
    if (json_is_integer(value) && json_integer_value(value) == strtoll(equals + 1, NULL, 10)) return true;
  }
  return false;
}

/* The newest entry before `at` of one kind at one place of the same journal. */
static const struct entry *earlier(const struct story *s, size_t at, enum kind kind, const char *place) {
  char here[ID_PATH];
  for (size_t i = at; i > 0; i--) {
    const struct moment *m = &s->moments[i - 1];
    if (m->entry->kind != kind || strcmp(m->incident, s->moments[at].incident) != 0) continue;
    snprintf(here, sizeof here, "%u/%s", m->entry->run, m->entry->step);
    if (strcmp(here, place) == 0) return m->entry;
  }
  return NULL;
}

static bool question_fits(const json_t *body, const json_t *wanted) {
  const char *text = json_string_value(wanted), *inject = json_str(body, "inject");
  if (!text) return true; /* any */
  return inject ? strcmp(inject, text) == 0 : strcasestr(json_str_or(body, "text", ""), text) != NULL;
}

/* The question that an answer or an expiry is about. */
static bool about_fits(const struct story *s, size_t at, const json_t *wanted) {
  char place[ID_PATH];
  const struct entry *e = s->moments[at].entry;
  snprintf(place, sizeof place, "%u/%s", e->run, e->step);
  const struct entry *asked = earlier(s, at, KIND_QUESTION_ASKED, place);
  return asked && question_fits(asked->body, wanted);
}

static bool fired(const struct story *s, const json_t *c, const json_t *value, size_t at) {
  const struct entry *e = s->moments[at].entry;
  return e->kind == KIND_EXERCISE_INJECTED && strcmp(json_str_or(e->body, "inject", ""), json_string_value(value)) == 0;
}

/* What the facilitator does is no sign that anybody has woken up. */
static bool acknowledged(const struct story *s, const json_t *c, const json_t *value, size_t at) {
  const struct entry *e = s->moments[at].entry;
  bool facilitator = strncmp(kind_name(e->kind), "exercise.", 9) == 0 || e->kind == KIND_INCIDENT_OPENED;
  return !facilitator && by_fits(s, c, e, true);
}

static bool contained(const struct story *s, const json_t *c, const json_t *value, size_t at) {
  const struct entry *e = s->moments[at].entry;
  return e->kind == KIND_ACTION_OUTCOME && json_bool_or(e->body, "ok", false) && json_str(e->body, "contains") &&
         target_fits(json_object_get(e->body, "target"), value) && by_fits(s, c, e, false);
}

static bool released(const struct story *s, const json_t *c, const json_t *value, size_t at) {
  const struct entry *e = s->moments[at].entry;
  if (e->kind != KIND_CONTAINMENT_RELEASED || !by_fits(s, c, e, false)) return false;
  const struct entry *made = earlier(s, at, KIND_ACTION_OUTCOME, json_str_or(e->body, "of", ""));
  return json_is_true(value) || (made && target_fits(json_object_get(made->body, "target"), value));
}

static bool done(const struct story *s, const json_t *c, const json_t *value, size_t at) {
  const struct entry *e = s->moments[at].entry;
  const char *wanted = json_string_value(value), *dot = strchr(wanted, '.'), *connector = json_str_or(e->body, "connector", "");
  if (e->kind != KIND_ACTION_OUTCOME || !json_bool_or(e->body, "ok", false) || !by_fits(s, c, e, false)) return false;
  size_t len = dot ? (size_t)(dot - wanted) : strlen(wanted);
  if (strlen(connector) != len || strncmp(connector, wanted, len) != 0) return false;
  if (dot && strcmp(json_str_or(e->body, "action", ""), dot + 1) != 0) return false;
  return !json_object_get(c, "target") || target_fits(json_object_get(e->body, "target"), json_object_get(c, "target"));
}

static bool asked(const struct story *s, const json_t *c, const json_t *value, size_t at) {
  const struct entry *e = s->moments[at].entry;
  return e->kind == KIND_QUESTION_ASKED && question_fits(e->body, value) && by_fits(s, c, e, false);
}

static bool answered(const struct story *s, const json_t *c, const json_t *value, size_t at) {
  const struct entry *e = s->moments[at].entry;
  const json_t *with = json_object_get(c, "with");
  if (e->kind != KIND_QUESTION_ANSWERED || json_bool_or(e->body, "more", false) || !by_fits(s, c, e, true)) return false;
  return (!with || json_array_has(with, json_str_or(e->body, "answer", ""))) && about_fits(s, at, value);
}

static bool silent(const struct story *s, const json_t *c, const json_t *value, size_t at) {
  return s->moments[at].entry->kind == KIND_QUESTION_EXPIRED && about_fits(s, at, value);
}

static bool decided(const struct story *s, const json_t *c, const json_t *value, size_t at) {
  const struct entry *e = s->moments[at].entry;
  const json_t *question = json_object_get(c, "question");
  return e->kind == KIND_QUESTION_ANSWERED && by_fits(s, c, e, true) && about_fits(s, at, question);
}

static bool noted(const struct story *s, const json_t *c, const json_t *value, size_t at) {
  const struct entry *e = s->moments[at].entry;
  size_t i;
  json_t *words;
  if (e->kind != KIND_INCIDENT_NOTED || !by_fits(s, c, e, true)) return false;
  json_array_foreach((json_t *)(uintptr_t)value, i, words) {
    if (strcasestr(json_str_or(e->body, "text", ""), json_string_value(words))) return true;
  }
  return false;
}

static bool tagged(const struct story *s, const json_t *c, const json_t *value, size_t at) {
  const struct entry *e = s->moments[at].entry;
  return e->kind == KIND_INCIDENT_TAGGED && strcasecmp(json_str_or(e->body, "tag", ""), json_string_value(value)) == 0 &&
         by_fits(s, c, e, false);
}

static bool severe(const struct story *s, const json_t *c, const json_t *value, size_t at) {
  const struct entry *e = s->moments[at].entry;
  return e->kind == KIND_INCIDENT_SEVERITY && json_int_or(e->body, "severity_id", 0) >= severity_by_name(json_string_value(value)) &&
         by_fits(s, c, e, false);
}

static bool assigned(const struct story *s, const json_t *c, const json_t *value, size_t at) {
  const struct entry *e = s->moments[at].entry;
  return e->kind == KIND_INCIDENT_ASSIGNED && by_fits(s, c, e, false);
}

static bool ticked(const struct story *s, const json_t *c, const json_t *value, size_t at) {
  const struct entry *e = s->moments[at].entry;
  return e->kind == KIND_RUNBOOK_TICKED && (json_is_true(value) || json_int_or(e->body, "n", 0) == json_integer_value(value)) &&
         by_fits(s, c, e, false);
}

static bool started(const struct story *s, const json_t *c, const json_t *value, size_t at) {
  const struct entry *e = s->moments[at].entry;
  return e->kind == KIND_RUN_STARTED && !json_bool_or(e->body, "shadow", false) &&
         strcmp(json_str_or(e->body, "playbook", ""), json_string_value(value)) == 0 && by_fits(s, c, e, false);
}

static bool closed(const struct story *s, const json_t *c, const json_t *value, size_t at) {
  const struct entry *e = s->moments[at].entry;
  return e->kind == KIND_INCIDENT_CLOSED && by_fits(s, c, e, false);
}

typedef bool fits_fn(const struct story *s, const json_t *c, const json_t *value, size_t at);
static fits_fn *const fits[] = {fired,   acknowledged, contained, released, done,     asked,  answered, silent,
                                decided, noted,        tagged,    severe,   assigned, ticked, started,  closed};
_Static_assert(sizeof condition_leaves / sizeof *condition_leaves == sizeof fits / sizeof *fits + 1, "one function for each leaf");

/* ---- a leaf over the row */

struct span {
  size_t from, to; /* of the row */
  int64_t limit;   /* the last moment that counts */
  bool ended;      /* what it must come before has come */
};

static void show(struct finding *f, const struct moment *m) {
  if (!f->shown) f->shown = json_array();
  json_array_append_new(f->shown, json_pack("{s:s, s:I}", "incident", m->incident, "seq", (json_int_t)m->entry->seq));
}

/* False: it is reckoned from an inject that has not come (f says so). */
static bool span_of(const struct story *s, const json_t *c, int64_t cut, struct span *out, struct finding *f) {
  const char *since = json_str(c, "since"), *before = json_str(c, "before");
  int64_t from = s->play->started;
  *out = (struct span){0, s->count, INT64_MAX, false};
  if (since) {
    const struct moment *m = story_find(s, KIND_EXERCISE_INJECTED, "inject", since, cut);
    if (!m) return f->moot = since, false;
    out->from = (size_t)(m - s->moments) + 1;
    from = m->entry->time;
  }
  if (json_is_integer(json_object_get(c, "within"))) out->limit = from + json_int_or(c, "within", 0) * 1000;
  const struct moment *end = before ? story_find(s, KIND_EXERCISE_INJECTED, "inject", before, cut) : NULL;
  if (!end) return true;
  out->to = (size_t)(end - s->moments);
  out->ended = true;
  if (end->entry->time < out->limit) out->limit = end->entry->time;
  return true;
}

static bool seen_before(const char *const *actors, size_t count, const char *actor) {
  for (size_t i = 0; i < count; i++)
    if (strcmp(actors[i], actor) == 0) return true;
  return false;
}

/* Enough entries that fit, of as many different people as are wanted. */
static bool search(const struct story *s, const json_t *c, size_t leaf, int64_t cut, const struct span *span, struct finding *f) {
  enum { PEOPLE = 16 };
  const char *actors[PEOPLE];
  const json_t *value = json_object_get(c, condition_leaves[leaf].name);
  size_t want = condition_leaves[leaf].value == LEAF_COUNT ? (size_t)json_integer_value(value) : 1, have = 0;
  for (size_t i = span->from; i < span->to && s->moments[i].entry->time <= cut && s->moments[i].entry->time <= span->limit; i++) {
    const struct moment *m = &s->moments[i];
    if (!fits[leaf](s, c, value, i) || seen_before(actors, have, m->entry->actor)) continue;
    show(f, m);
    if (have < PEOPLE) actors[have++] = m->entry->actor;
    f->time = m->entry->time;
    if (have >= want) return true;
  }
  json_decref(f->shown);
  f->shown = NULL;
  return false;
}

static struct finding leaf_eval(const struct story *s, const json_t *c, size_t leaf, int64_t cut, bool final) {
  struct finding f = {.truth = TRUTH_OPEN, .time = cut, .changes = INT64_MAX};
  struct span span;
  if (!span_of(s, c, cut, &span, &f)) {
    if (final) f.truth = TRUTH_MOOT;
    return f;
  }
  if (search(s, c, leaf, cut, &span, &f)) {
    f.truth = TRUTH_MET;
    return f;
  }
  f.moot = json_str(c, "before") && !span.ended ? json_str(c, "before") : NULL;
  if (span.ended || cut > span.limit) {
    f.truth = TRUTH_NOT;
    f.time = span.limit;
    f.moot = NULL;
  } else if (final) {
    f.truth = f.moot ? TRUTH_MOOT : TRUTH_NOT;
  } else if (span.limit < INT64_MAX) {
    f.changes = span.limit + 1;
  }
  return f;
}

/* ---- groups */

/* Of children that agree, the group takes the last one's time; where one decides, the earliest that does. */
static struct finding group_eval(const struct story *s, const json_t *list, enum truth decides, int64_t cut, bool final) {
  enum truth otherwise = decides == TRUTH_MET ? TRUTH_NOT : TRUTH_MET;
  struct finding sum = {.truth = otherwise, .time = s->play->started, .changes = INT64_MAX};
  json_t *all = json_array(), *child;
  size_t i;
  bool open = false, moot = false;
  json_array_foreach((json_t *)(uintptr_t)list, i, child) {
    struct finding f = condition_eval(s, child, cut, final);
    if (f.truth == decides && (sum.truth != decides || f.time < sum.time)) {
      json_decref(sum.shown);
      sum.truth = decides;
      sum.time = f.time;
      sum.shown = json_incref(f.shown);
    }
    if (sum.truth == otherwise && f.truth == otherwise && f.time > sum.time) sum.time = f.time;
    open = open || f.truth == TRUTH_OPEN;
    moot = moot || f.truth == TRUTH_MOOT;
    if (f.moot) sum.moot = f.moot;
    if (f.truth == TRUTH_OPEN && f.changes < sum.changes) sum.changes = f.changes;
    if (f.shown) json_array_extend(all, f.shown);
    json_decref(f.shown);
  }
  if (sum.truth == otherwise) {
    sum.truth = open ? TRUTH_OPEN : moot ? TRUTH_MOOT : otherwise;
    sum.shown = json_array_size(all) ? json_incref(all) : NULL;
  }
  json_decref(all);
  return sum;
}

struct finding condition_eval(const struct story *s, const json_t *c, int64_t cut, bool final) {
  if (json_object_get(c, "all")) return group_eval(s, json_object_get(c, "all"), TRUTH_NOT, cut, final);
  if (json_object_get(c, "any")) return group_eval(s, json_object_get(c, "any"), TRUTH_MET, cut, final);
  if (json_object_get(c, "none")) {
    struct finding f = group_eval(s, json_object_get(c, "none"), TRUTH_MET, cut, final);
    if (f.truth == TRUTH_MET) f.truth = TRUTH_NOT;
    else if (f.truth == TRUTH_NOT) f.truth = TRUTH_MET;
    return f;
  }
  for (size_t i = 0; condition_leaves[i].name; i++)
    if (json_object_get(c, condition_leaves[i].name)) return leaf_eval(s, c, i, cut, final);
  return (struct finding){.truth = TRUTH_OPEN, .changes = INT64_MAX};
}
