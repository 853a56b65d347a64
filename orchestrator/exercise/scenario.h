/* scenario.h: the storyline of a tabletop exercise as data, and pure questions about it.
 *
 * A scenario is one Lua file (runbooks/tabletop/<name>.lua) that returns `scenario { … }`; loaded it is plain JSON, which an exercise keeps in its first entry, so that a changed file
 * changes no exercise that runs. Everything here is a pure function of that JSON and of journal entries: no clock, no I/O, and the same entries always give the same answer, so that
 * after a crash the same injects are due. Times are microseconds, of the exercise's clock, as the entries bear them. Nothing here acts: who calls puts the injects in and writes the entries.
 *
 * The JSON (durations in milliseconds once loaded; in the file "10m"):
 *   name (of the file), title, summary, duration, roles {role: what it does}, world {kind: {id: {…}}} (accounts, hosts, services, owners… with what is true of them)
 *   objectives [{id, text, judge: condition, only_if: condition, gap {owner: role, days, text}}]
 *   injects [{id, kind, at | after: condition [delay] [by], only_if: condition, unless: condition, and one of
 *     alert {source, body, noise: true (no playbook wants it)}, message {to [role…], text}, question {to: role, text, options […], otherwise, within}, call {to [role…], from, text}, fact: text, world {kind: {id: {…}}}}]
 *     kind is the name of that one. `at` counts from the start. `after` (in the file also an inject's id): when the condition was met, and `delay` later; `by`: then at the latest.
 *     only_if and unless are looked at once, at the moment at which the inject is due: it comes then or never.
 *   answers [{action "ldap.lock_account" | "rt.*", params {those that must be equal}, where {"hosts.db-1.state": value in the world}, from: inject, until: inject, lasts, only_if: condition,
 *     latency, and one of fails {kind, message}, returns {…}, already: true}]: what simulated connectors say instead; the first one that fits. lasts counts from `from`, else from the start.
 *   script [{id, by: role, at | after [delay], only_if, unless, and one of answer: inject's id or words of the question [with: option], note: text, run: playbook [params {…}],
 *     release: "host=db-1", tag, severity, assign: role, tick: number, close {verdict, …}}]: what scripted people do; an answer without at or after comes when its question was asked.
 *
 * A condition is a table with one of
 *   fired: inject · acknowledged: true (a person acted) · contained | released: true, "host" or "host=db-1" · done: "rt.create_ticket" or "rt" (an action that went well), target: "host=db-1"
 *   asked: inject's id or words of a question · answered: the same or true (by a person), with: option or list · silent: the same (nobody answered in time)
 *   decided_by: n (different people answered), question: inject's id or words · note: words or list of words, one of which a note bears (a person's unless `by` says another's)
 *   tagged: tag · severity: at least · assigned: true · ticked: true or number · started: playbook · closed: true
 *   all, any, none: list of conditions
 * and, unless it is one of the last three, optionally: within (of the start, or of `since`), since: inject (only what came after it), before: inject (only what came before it),
 * by: "person", "playbook" or a role. The first entry that fits decides. A condition that is reckoned from an inject that never came is not judged.
 *
 * What an exercise writes into its own journal (kinds.def), and these functions read:
 *   exercise.started {scenario, digest, story: the JSON, seed, speed, roles {role: "person:…"}}   exercise.injected {inject, kind, due, …what people saw of it}
 *   exercise.skipped {inject, because}   exercise.played {play: id of the script's item}   exercise.paused, .resumed, .jumped {to}   exercise.ended {status "finished"|"aborted", because}
 *   An incident that is opened in an exercise bears `exercise`: its id, in incident.opened's body.
 *   A question that an inject asks is a question.asked like any other, whose body bears `inject`: its id. */
#ifndef TOCSIN_EXERCISE_SCENARIO_H
#define TOCSIN_EXERCISE_SCENARIO_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "journal/entry.h"

enum { SCENARIO_INJECTS = 500, SCENARIO_CONDITIONS = 5000, SCENARIO_DEPTH = 8 /* of all, any, none */ };

struct scenario {
  char *name;
  char digest[65]; /* of json */
  json_t *json;
};

/* From a file's text; its name without path and ".lua" becomes the scenario's. The error names file, line, inject and member ("runbooks/tabletop/x.lua:42: inject pay: …"). */
int scenario_load(const char *file, const char *source, size_t len, struct scenario **ret, struct err *err);
/* From what exercise.started keeps (body.story); checked like a file. */
int scenario_from_json(const json_t *json, struct scenario **ret, struct err *err);
void scenario_free(struct scenario *s);
/* As scenario_load, but every mistake is appended to findings ("error: x.lua:42: …"); *ret is NULL when there is one. */
void scenario_read(const char *file, const char *source, size_t len, json_t *findings, struct scenario **ret);

/* What has happened so far: the exercise's own journal first, then those of the incidents that it opened. Borrowed. */
struct scenario_journal {
  const char *incident;
  struct entry *const *entries; /* in order, from seq 1 on */
  size_t count;
};
struct scenario_play {
  const struct scenario_journal *journals;
  size_t count;
  int64_t started;     /* of the exercise's clock */
  const json_t *roles; /* {role: "person:7f3a"}; NULL, or without the role: any person plays it */
  const json_t *names; /* {"person:7f3a": "alice"}, for what people read; may be NULL */
};

/* What exercise.started keeps: the scenario (new), started and roles of the play (borrowed from the entries). ERR_NOT_FOUND: the first journal is no exercise's. */
int scenario_recall(const struct scenario_journal *journals, size_t count, struct scenario **ret, struct scenario_play *ret_play,
                    struct err *err);

/* New [{due, inject: the inject}], in the order in which they are due; those that came, were skipped, or whose only_if or unless spoke against them are not in it. *ret_next (may be NULL): when
 * the next one can be due by time alone, INT64_MAX: none; a new entry may make one due sooner. */
json_t *scenario_due(const struct scenario *s, const struct scenario_play *p, int64_t now, int64_t *ret_next);
/* The same for the script: new [{due, play: the item}]. */
json_t *scenario_script_due(const struct scenario *s, const struct scenario_play *p, int64_t now, int64_t *ret_next);
/* The document that an alert's inject puts in, at that moment; new. In every text of its body {time} becomes RFC 3339 and {time-90s} that much earlier; a text that is nothing
 * but {epoch}, {epoch_ms} or {epoch-90s} becomes a number. */
json_t *scenario_alert(const json_t *inject, int64_t now);
/* What a simulated action answers in place of its connector; borrowed from s, NULL: the connector's own simulation. action: "ldap.lock_account". */
const json_t *scenario_answer(const struct scenario *s, const struct scenario_play *p, const char *action, const json_t *params,
                              int64_t now);
/* The world as the injects that came have changed it; new. */
json_t *scenario_world(const struct scenario *s, const struct scenario_play *p);

/* How it went, new. ended: nothing more will come, so what is still open is not met. Members (a "place" is {incident, seq}):
 *   id, scenario, title, summary, digest, started, duration, status "running"|"finished"|"aborted", ended, speed, seed, roles {role: name}, incidents [{id, title}]
 *   objectives [{id, text, verdict "met"|"not met"|"open"|"not judged", why, time, entries [place]}]
 *   times {detected, acknowledged, decided, contained, recovered}: null or {time, after (ms from the start), incident, seq}
 *   injects [{id, kind, text, to, status "came"|"skipped"|"left out"|"open", due, time, incident, seq}], decisions [{time, incident, seq, by, person, type, about, answer}]
 *   actions [{time, incident, seq, connector, action, effect, target, ok, by, hand}] above read; hand: a person began it, runs [{incident, run, playbook, by, status}]
 *   gaps [{key "<scenario>/<objective>", objective, text, owner: role, days}] of what was not met and says what to do then */
json_t *scenario_judge(const struct scenario *s, const struct scenario_play *p, int64_t now, bool ended);

#endif
