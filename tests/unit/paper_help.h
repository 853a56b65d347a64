/* paper_help.h: a scenario played on paper. Injects come when they are due, people do what the script says, playbooks ask what it answers, and an approved action works. */
#ifndef TOCSIN_TESTS_PAPER_HELP_H
#define TOCSIN_TESTS_PAPER_HELP_H

#include "script_help.h"

#include "exercise/scenario.h"

enum { PAPER_MOST = 400 };
static const int64_t PAPER_START = 1763923321000000, PAPER_STEP = 30000000;

struct paper {
  struct scenario *scenario;
  struct entry own[PAPER_MOST], other[PAPER_MOST];
  struct entry *own_list[PAPER_MOST], *other_list[PAPER_MOST];
  struct scenario_journal journals[2];
  struct scenario_play play;
  json_t *names, *questions;
  bool asked;
  unsigned step;
};

static inline struct entry *paper_add(struct paper *p, int which, int64_t time, enum kind kind, const char *actor, unsigned step,
                                      json_t *body_take) {
  struct scenario_journal *j = &p->journals[which];
  struct entry *e = j->entries[j->count];
  assert_true(j->count < PAPER_MOST);
  *e = (struct entry){.seq = ++j->count, .time = time, .kind = kind, .run = step ? 1 : 0, .body = body_take};
  snprintf(e->actor, sizeof e->actor, "%s", actor);
  if (step) snprintf(e->step, sizeof e->step, "%u", step);
  return e;
}

static inline const json_t *paper_inject(const struct paper *p, const char *id) {
  size_t i;
  json_t *inject;
  json_array_foreach(json_object_get(p->scenario->json, "injects"), i,
                     inject) if (id && strcmp(json_str(inject, "id"), id) == 0) return inject;
  return NULL;
}

static inline void paper_ask(struct paper *p, int which, int64_t time, const char *inject, const char *text) {
  paper_add(p, which, time, KIND_QUESTION_ASKED, which ? "playbook:paper" : "engine", ++p->step,
            json_pack("{s:s*, s:s}", "inject", inject, "text", text));
}

/* Does this alert begin what asks that? An action on a user or a host belongs to the first alert that names it, all else to the very first one. */
static inline bool paper_concerns(const char *question, const char *alert, bool first) {
  static const char *const kinds[] = {" on {\"user\":\"", " on {\"host\":\""};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    const char *at = strstr(question, kinds[i]);
    char value[128];
    if (at && sscanf(at + strlen(kinds[i]), "%127[^\"]", value) == 1) return strstr(alert, value) != NULL;
  }
  return first;
}

/* What playbooks ask because of an alert: the questions that the script answers and no inject asks. */
static inline void paper_playbooks(struct paper *p, int64_t time, const json_t *inject) {
  size_t i;
  json_t *item, *body = scenario_alert(inject, time);
  char *alert = json_text(body);
  json_array_foreach(json_object_get(p->scenario->json, "script"), i, item) {
    const char *question = json_str(item, "answer");
    if (!question || paper_inject(p, question) || json_object_get(p->questions, question)) continue;
    if (!paper_concerns(question, alert, !p->asked)) continue;
    json_object_set_new(p->questions, question, json_true());
    paper_ask(p, 1, time, NULL, question);
  }
  p->asked = true;
  free(alert);
  json_decref(body);
}

static inline void paper_injects(struct paper *p, int64_t now) {
  json_t *due = scenario_due(p->scenario, &p->play, now, NULL), *item;
  size_t i;
  json_array_foreach(due, i, item) {
    const json_t *inject = json_object_get(item, "inject");
    const char *id = json_str(inject, "id"), *kind = json_str(inject, "kind");
    paper_add(p, 0, now, KIND_EXERCISE_INJECTED, "engine", 0, json_pack("{s:s, s:s}", "inject", id, "kind", kind));
    if (strcmp(kind, "question") == 0) paper_ask(p, 0, now, id, json_str(json_object_get(inject, "question"), "text"));
    if (strcmp(kind, "alert") == 0)
      paper_add(p, 1, now, KIND_ALERT_ATTACHED, "engine", 0, json_pack("{s:s}", "id", id)), paper_playbooks(p, now, inject);
  }
  json_decref(due);
}

/* "ldap.lock_account on {"user":"alice"}" was approved: it is intended, and it works. */
static inline void paper_action(struct paper *p, int64_t now, unsigned step, const char *words) {
  char connector[64], action[64];
  const char *on = strstr(words, " on ");
  json_t *target = on ? test_json(on + 4) : NULL;
  if (!target || sscanf(words, "%63[^.].%63s", connector, action) != 2) fail_msg("which action is \"%s\"?", words);
  json_t *body = json_pack("{s:s, s:s, s:s, s:o}", "connector", connector, "action", action, "effect", "contain", "target", target);
  paper_add(p, 1, now, KIND_ACTION_INTENDED, "playbook:paper", step, json_incref(body));
  json_t *outcome = json_deep_copy(body);
  json_object_update_new(outcome, json_pack("{s:b, s:s}", "ok", 1, "contains", "active"));
  paper_add(p, 1, now, KIND_ACTION_OUTCOME, "playbook:paper", step, outcome);
  json_decref(body);
}

static inline void paper_answer(struct paper *p, int64_t now, const char *actor, const char *question, const char *with) {
  for (int which = 0; which < 2; which++) {
    for (size_t i = 0; i < p->journals[which].count; i++) {
      const struct entry *e = p->journals[which].entries[i];
      const char *id = e->kind == KIND_QUESTION_ASKED ? json_str(e->body, "inject") : NULL;
      if (e->kind != KIND_QUESTION_ASKED || strcmp(id ? id : json_str(e->body, "text"), question) != 0) continue;
      unsigned step = (unsigned)strtoul(e->step, NULL, 10);
      paper_add(p, which, now, KIND_QUESTION_ANSWERED, actor, step, json_pack("{s:s}", "answer", with));
      if (!id && strcmp(with, "approve") == 0) paper_action(p, now, step, question);
      return;
    }
  }
  fail_msg("nobody asked \"%s\"", question);
}

static inline void paper_person(struct paper *p, int64_t now, const json_t *item) {
  const char *actor = json_str(p->play.roles, json_str(item, "by")), *note = json_str(item, "note"), *tag = json_str(item, "tag"),
             *run = json_str(item, "run");
  paper_add(p, 0, now, KIND_EXERCISE_PLAYED, "engine", 0, json_pack("{s:s}", "play", json_str(item, "id")));
  if (json_str(item, "answer")) paper_answer(p, now, actor, json_str(item, "answer"), json_str(item, "with"));
  else if (note) paper_add(p, 1, now, KIND_INCIDENT_NOTED, actor, 0, json_pack("{s:s}", "text", note));
  else if (tag) paper_add(p, 1, now, KIND_INCIDENT_TAGGED, actor, 0, json_pack("{s:s}", "tag", tag));
  else if (json_str(item, "assign"))
    paper_add(p, 1, now, KIND_INCIDENT_ASSIGNED, actor, 0, json_pack("{s:s}", "owner", json_str(item, "assign")));
  else if (json_str(item, "severity"))
    paper_add(p, 1, now, KIND_INCIDENT_SEVERITY, actor, 0,
              json_pack("{s:i}", "severity_id", (int)severity_by_name(json_str(item, "severity"))));
  else if (json_object_get(item, "tick"))
    paper_add(p, 1, now, KIND_RUNBOOK_TICKED, actor, 0, json_pack("{s:O}", "n", json_object_get(item, "tick")));
  else if (json_object_get(item, "close"))
    paper_add(p, 1, now, KIND_INCIDENT_CLOSED, actor, 0, json_deep_copy(json_object_get(item, "close")));
  else if (run) paper_add(p, 1, now, KIND_RUN_STARTED, actor, 0, json_pack("{s:s}", "playbook", run))->run = 50 + ++p->step;
}

static inline void paper_people(struct paper *p, int64_t now) {
  json_t *due = scenario_script_due(p->scenario, &p->play, now, NULL), *item;
  size_t i;
  json_array_foreach(due, i, item) paper_person(p, now, json_object_get(item, "play"));
  json_decref(due);
}

static inline void paper_begin(struct paper *p, struct scenario *scenario_take) {
  const char *role;
  json_t *text, *roles = json_object();
  unsigned n = 0;
  memset(p, 0, sizeof *p);
  p->scenario = scenario_take;
  p->names = json_object();
  p->questions = json_object();
  for (size_t i = 0; i < PAPER_MOST; i++) p->own_list[i] = &p->own[i], p->other_list[i] = &p->other[i];
  p->journals[0] = (struct scenario_journal){"EX-000007", p->own_list, 0};
  p->journals[1] = (struct scenario_journal){"EX-000008", p->other_list, 0};
  json_object_foreach(json_object_get(scenario_take->json, "roles"), role, text) {
    char person[32];
    snprintf(person, sizeof person, "person:%u", ++n);
    json_object_set_new(roles, role, json_string(person));
    json_object_set_new(p->names, person, json_sprintf("%s <b>", role));
  }
  p->play = (struct scenario_play){.journals = p->journals, .count = 2, .started = PAPER_START, .roles = roles, .names = p->names};
  paper_add(p, 0, PAPER_START, KIND_EXERCISE_STARTED, "person:9", 0,
            json_pack("{s:s, s:O, s:O, s:i, s:i}", "scenario", p->scenario->name, "story", p->scenario->json, "roles", roles, "seed", 7,
                      "speed", 60));
  paper_add(p, 1, PAPER_START, KIND_INCIDENT_OPENED, "engine", 0, json_pack("{s:s, s:s}", "title", "On paper", "exercise", "EX-000007"));
}

/* To the end of its time; New: how it went. */
static inline json_t *paper_play(struct paper *p, bool people) {
  int64_t end = PAPER_START + json_int_or(p->scenario->json, "duration", 0) * 1000;
  for (int64_t now = PAPER_START; now <= end; now += PAPER_STEP) {
    paper_injects(p, now);
    if (people) paper_people(p, now);
  }
  paper_add(p, 0, end, KIND_EXERCISE_ENDED, "engine", 0, json_pack("{s:s}", "status", "finished"));
  return scenario_judge(p->scenario, &p->play, end, true);
}

static inline void paper_end(struct paper *p) {
  for (size_t i = 0; i < PAPER_MOST; i++) json_decref(p->own[i].body), json_decref(p->other[i].body);
  json_decref((json_t *)(uintptr_t)p->play.roles);
  json_decref(p->names);
  json_decref(p->questions);
  scenario_free(p->scenario);
  free(p);
}

#endif
