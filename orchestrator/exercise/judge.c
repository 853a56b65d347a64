/* How an exercise went: from the journals alone, each verdict with the entries that show it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "exercise/internal.h"
#include "people/people.h"
#include "report/report.h"

struct judging {
  struct story story;
  json_t *out, *facts; /* facts: of each journal, in order */
  int64_t now;
  bool ended;
};

static json_t *part(const struct judging *j, const char *name) { return json_object_get(j->out, name); }

static void copy(json_t *to, const json_t *from, const char *const *keys) {
  for (; *keys; keys++)
    if (json_object_get(from, *keys)) json_object_set(to, *keys, json_object_get(from, *keys));
}

/* ---- objectives */

static void verdict(json_t *item, const char *text, const char *why) {
  json_object_set_new(item, "verdict", json_string(text));
  if (why) json_object_set_new(item, "why", json_string(why));
}

static void gap(const struct judging *j, const json_t *objective) {
  static const char *const keys[] = {"text", "owner", "days", NULL};
  const json_t *says = json_object_get(objective, "gap");
  const char *id = json_str_or(objective, "id", "");
  if (!says) return;
  json_t *item = json_pack("{s:s, s:o}", "objective", id, "key", json_sprintf("%s/%s", j->story.scenario->name, id));
  copy(item, says, keys);
  json_array_append_new(part(j, "gaps"), item);
}

static bool applies(const struct judging *j, const json_t *objective) {
  const json_t *only_if = json_object_get(objective, "only_if");
  if (!only_if) return true;
  struct finding f = condition_eval(&j->story, only_if, j->now, j->ended);
  json_decref(f.shown);
  return f.truth == TRUTH_MET;
}

static void judge_one(const struct judging *j, const json_t *objective) {
  static const char *const keys[] = {"id", "text", NULL};
  json_t *item = json_object();
  char why[160];
  struct finding f = condition_eval(&j->story, json_object_get(objective, "judge"), j->now, j->ended);
  copy(item, objective, keys);
  if (!applies(j, objective)) {
    verdict(item, j->ended ? "not judged" : "open", "the storyline did not come to it");
  } else if (f.truth == TRUTH_MOOT) {
    snprintf(why, sizeof why, "inject %.100s did not come", f.moot ? f.moot : "");
    verdict(item, "not judged", why);
  } else if (f.truth == TRUTH_OPEN) {
    verdict(item, "open", NULL);
  } else {
    verdict(item, f.truth == TRUTH_MET ? "met" : "not met", NULL);
    json_object_set_new(item, "time", json_integer(f.time));
    if (f.truth == TRUTH_NOT) gap(j, objective);
  }
  json_object_set_new(item, "entries", f.shown ? f.shown : json_array());
  json_array_append_new(part(j, "objectives"), item);
}

/* ---- the storyline */

static void came(json_t *item, const char *status, const struct moment *m) {
  json_object_set_new(item, "status", json_string(status));
  json_object_set_new(item, "time", json_integer(m->entry->time));
  json_object_set_new(item, "incident", json_string(m->incident));
  json_object_set_new(item, "seq", json_integer((json_int_t)m->entry->seq));
}

/* What was said, in its own words; of an alert, who sent it. */
static void inject_text(json_t *item, const json_t *spec) {
  static const char *const keys[] = {"text", "to", "from", "source", NULL};
  copy(item, json_object_get(spec, json_str_or(spec, "kind", "")), keys);
  if (json_str(spec, "fact")) json_object_set(item, "text", json_object_get(spec, "fact"));
}

static void inject(const struct judging *j, const json_t *spec) {
  static const char *const keys[] = {"id", "kind", NULL};
  const char *id = json_str_or(spec, "id", "");
  int64_t due = 0;
  json_t *item = json_object();
  const struct moment *injected = story_find(&j->story, KIND_EXERCISE_INJECTED, "inject", id, j->now);
  const struct moment *skipped = story_find(&j->story, KIND_EXERCISE_SKIPPED, "inject", id, j->now);
  enum timing t = story_timing(&j->story, spec, j->now, &due);
  copy(item, spec, keys);
  inject_text(item, spec);
  if (injected) came(item, "came", injected);
  else if (skipped) came(item, "skipped", skipped);
  else json_object_set_new(item, "status", json_string(t == TIMING_LEFT_OUT || j->ended ? "left out" : "open"));
  if (t != TIMING_OPEN) json_object_set_new(item, "due", json_integer(due));
  json_array_append_new(part(j, "injects"), item);
}

/* ---- times */

static json_t *moment(const struct judging *j, const char *incident, int64_t time, int64_t seq) {
  return json_pack("{s:I, s:I, s:s, s:I}", "time", (json_int_t)time, "after", (json_int_t)((time - j->story.play->started) / 1000),
                   "incident", incident, "seq", (json_int_t)seq);
}

static json_t *first(const struct judging *j, const char *condition) {
  json_t *c = json_pack("{s:b}", condition, 1), *made = json_null();
  struct finding f = condition_eval(&j->story, c, j->now, j->ended);
  const json_t *place = json_array_get(f.shown, 0);
  if (f.truth == TRUTH_MET) made = moment(j, json_str_or(place, "incident", ""), f.time, json_int_or(place, "seq", 0));
  json_decref(f.shown);
  json_decref(c);
  return made;
}

static json_t *detected(const struct judging *j) {
  for (size_t i = 0; i < j->story.count; i++) {
    const struct moment *m = &j->story.moments[i];
    if (m->entry->kind == KIND_ALERT_ATTACHED) return moment(j, m->incident, m->entry->time, (int64_t)m->entry->seq);
  }
  return json_null();
}

/* The latest of the incidents' own times; all: null when one of those that have alerts has none yet. */
static json_t *latest(const struct judging *j, const char *name, bool all) {
  int64_t time = 0, seq = 0;
  const char *incident = "";
  json_t *facts;
  size_t i;
  json_array_foreach(j->facts, i, facts) {
    const json_t *t = json_object_get(json_object_get(facts, "times"), name);
    bool concerned = json_array_size(json_object_get(facts, "alerts")) || json_array_size(json_object_get(facts, "containments"));
    if (all && concerned && !json_is_object(t)) return json_null();
    if (json_int_or(t, "time", 0) > time)
      time = json_int_or(t, "time", 0), seq = json_int_or(t, "seq", 0), incident = json_str_or(facts, "id", "");
  }
  return time ? moment(j, incident, time, seq) : json_null();
}

/* ---- what was done */

static json_t *of_incident(const json_t *facts, const json_t *from, const char *const *keys) {
  json_t *item = json_pack("{s:s}", "incident", json_str_or(facts, "id", ""));
  copy(item, from, keys);
  return item;
}

static void insert(json_t *list, json_t *item_take) {
  size_t at = json_array_size(list);
  while (at && json_int_or(json_array_get(list, at - 1), "time", 0) > json_int_or(item_take, "time", 0)) at--;
  json_array_insert_new(list, at, item_take);
}

static const struct entry *entry_at(const struct judging *j, const char *incident, int64_t seq) {
  for (size_t i = 0; i < j->story.count; i++) {
    const struct moment *m = &j->story.moments[i];
    if ((int64_t)m->entry->seq == seq && strcmp(m->incident, incident) == 0) return m->entry;
  }
  return NULL;
}

static void decisions(const struct judging *j, const json_t *facts) {
  static const char *const keys[] = {"time", "seq", "by", "person", "type", "about", "target", NULL}, *const said[] = {"answer", "text",
                                                                                                                       "tag", NULL};
  size_t i;
  json_t *d;
  json_array_foreach(json_object_get(facts, "decisions"), i, d) {
    if (strncmp(json_str_or(d, "type", ""), "exercise.", 9) == 0) continue;
    json_t *item = of_incident(facts, d, keys);
    const struct entry *e = entry_at(j, json_str_or(facts, "id", ""), json_int_or(d, "seq", 0));
    if (e && e->body) copy(item, e->body, said);
    insert(part(j, "decisions"), item);
  }
}

/* A run that a person began is that person's doing; a playbook that an alert began is the playbook's. */
static bool by_hand(const json_t *facts, const json_t *action, const struct entry *e) {
  size_t i;
  json_t *run;
  if (e && strncmp(e->actor, "person:", 7) == 0) return true;
  json_array_foreach(json_object_get(facts, "runs"), i, run) {
    if (e && json_int_or(run, "run", 0) == (int64_t)e->run) return json_bool_or(run, "hand", false);
  }
  return false;
}

static void runs(const struct judging *j, json_t *facts) {
  static const char *const keys[] = {"run", "time", "seq", "playbook", "by", "status", "hand", NULL};
  size_t i;
  json_t *run;
  json_array_foreach(json_object_get(facts, "runs"), i, run) {
    const struct entry *e = entry_at(j, json_str_or(facts, "id", ""), json_int_or(run, "seq", 0));
    json_object_set_new(run, "hand", json_boolean(e && strncmp(e->actor, "person:", 7) == 0));
    insert(part(j, "runs"), of_incident(facts, run, keys));
  }
}

static void actions(const struct judging *j, const json_t *facts) {
  static const char *const keys[] = {"time", "seq", "connector", "action", "effect", "target", "ok", "by", NULL};
  size_t i;
  json_t *action;
  json_array_foreach(json_object_get(facts, "actions"), i, action) {
    if (strcmp(json_str_or(action, "effect", "read"), "read") == 0) continue;
    json_t *item = of_incident(facts, action, keys);
    const struct entry *e = entry_at(j, json_str_or(facts, "id", ""), json_int_or(action, "seq", 0));
    json_object_set_new(item, "hand", json_boolean(by_hand(facts, action, e)));
    insert(part(j, "actions"), item);
  }
}

static json_t *facts_of(const struct scenario_play *p) {
  json_t *all = json_array();
  for (size_t i = 0; i < p->count; i++) {
    const struct scenario_journal *g = &p->journals[i];
    struct report_source source = {.incident = g->incident, .entries = g->entries, .count = g->count, .names = p->names};
    json_array_append_new(all, report_facts(&source));
  }
  return all;
}

/* ---- the exercise itself */

static void who_played(const struct judging *j, const json_t *roles) {
  const char *role;
  json_t *person, *named = json_object();
  json_object_foreach((json_t *)(uintptr_t)roles, role, person) {
    const char *actor = json_string_value(person) ? json_string_value(person) : "";
    if (strncmp(actor, "person:", 7) == 0 && strncmp(actor + 7, role, PERSON_ACTOR - 8) == 0) continue; /* the script's */
    json_object_set_new(named, role, json_string(json_str_or(j->story.play->names, actor, actor)));
  }
  json_object_set_new(j->out, "roles", named);
}

static void exercise(const struct judging *j) {
  static const char *const kept[] = {"speed", "seed", NULL};
  const struct scenario_play *p = j->story.play;
  const char *status = "running";
  for (size_t i = 0; p->count && i < p->journals[0].count; i++) {
    const struct entry *e = p->journals[0].entries[i];
    if (e->kind == KIND_EXERCISE_STARTED) copy(j->out, e->body, kept);
    if (e->kind != KIND_EXERCISE_ENDED) continue;
    status = strcmp(json_str_or(e->body, "status", ""), "aborted") == 0 ? "aborted" : "finished";
    json_object_set_new(j->out, "ended", json_integer(e->time));
  }
  json_object_set_new(j->out, "id", json_string(p->count ? p->journals[0].incident : ""));
  json_object_set_new(j->out, "status", json_string(status));
  who_played(j, p->roles);
}

static void incidents(const struct judging *j) {
  json_t *facts, *list = json_array();
  size_t i;
  json_array_foreach(j->facts, i, facts) {
    if (i == 0 && !json_array_size(json_object_get(facts, "alerts"))) continue;
    json_array_append_new(list, json_pack("{s:s, s:s}", "id", json_str_or(facts, "id", ""), "title", json_str_or(facts, "title", "")));
  }
  json_object_set_new(j->out, "incidents", list);
}

int scenario_recall(const struct scenario_journal *journals, size_t count, struct scenario **ret, struct scenario_play *ret_play,
                    struct err *err) {
  struct scenario *s = NULL;
  for (size_t i = 0; count && i < journals[0].count; i++) {
    const struct entry *e = journals[0].entries[i];
    if (e->kind != KIND_EXERCISE_STARTED) continue;
    int r = scenario_from_json(json_object_get(e->body, "story"), &s, err);
    if (r < 0) return r;
    *ret = s;
    *ret_play =
        (struct scenario_play){.journals = journals, .count = count, .started = e->time, .roles = json_object_get(e->body, "roles")};
    return 0;
  }
  return err_set(err, ERR_NOT_FOUND, "%s is no exercise: no scenario was started in it", count ? journals[0].incident : "this");
}

json_t *scenario_judge(const struct scenario *s, const struct scenario_play *p, int64_t now, bool ended) {
  struct judging j = {.now = now, .ended = ended, .facts = facts_of(p)};
  json_t *item;
  size_t i;
  j.out = json_pack("{s:s, s:O, s:O, s:s, s:I, s:I, s:[], s:[], s:[], s:[], s:[], s:[]}", "scenario", s->name, "title",
                    json_object_get(s->json, "title"), "summary", json_object_get(s->json, "summary"), "digest", s->digest, "started",
                    (json_int_t)p->started, "duration", (json_int_t)json_int_or(s->json, "duration", 0), "objectives", "injects",
                    "decisions", "actions", "runs", "gaps");
  story_init(&j.story, s, p);
  exercise(&j);
  incidents(&j);
  json_array_foreach(json_object_get(s->json, "objectives"), i, item) judge_one(&j, item);
  json_array_foreach(json_object_get(s->json, "injects"), i, item) inject(&j, item);
  json_object_set_new(j.out, "times",
                      json_pack("{s:o, s:o, s:o, s:o, s:o}", "detected", detected(&j), "acknowledged", first(&j, "acknowledged"), "decided",
                                first(&j, "answered"), "contained", latest(&j, "contained", false), "recovered",
                                latest(&j, "recovered", true)));
  json_array_foreach(j.facts, i, item) {
    decisions(&j, item);
    runs(&j, item);
    actions(&j, item);
  }
  story_release(&j.story);
  json_decref(j.facts);
  return j.out;
}
