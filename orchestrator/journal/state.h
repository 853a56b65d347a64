/* state.h: an incident's journal folded to what is true now.
 *
 * The state is JSON, changed by state_fold alone, entry by entry; replaying a journal from its first entry always gives the same state.
 * It is stored beside the journal with the seq that it folds, so that loading reads only the entries after it. Members:
 *   v, seq, id, mode, title, severity ("informational"…"fatal"), severity_id (OCSF 0…6), status ("open"|"closed"|"merged"), owner, opened, updated (µs), groups […],
 *   alerts (how many), first_alert, last_alert (µs), recent {alert id: 1} (the newest, to make attaching twice a no-op), observables [{type,value,path}] (capped), tags […],
 *   attack […], next_run, acknowledged (µs of a person's first act),
 *   runs {"1": {playbook, digest, status, trigger, actor, started, ended, error}} status: running|done|failed|cancelled|handed_over
 *   questions {"1/4": {step, run, kind, text, options, role, deadline, otherwise, asked, exclude}} open ones; id = "<run>/<step>"
 *   intents {"1/3": {connector, version (its digest), action, effect, target, params, sent_before, doubt}} sent or about to be, without outcome
 *   held {"1/3": {connector, action, effect, why}} waiting before their intent
 *   waits {"1/5": {until, alert}}
 *   containments {"1/3": {connector, version, action, target, params, returns, digest, since, lift_at, status, because, simulated}} status: active|found|still|released|kept
 *   scenario (of an exercise: its name), exercise (of an incident that an exercise opened: the exercise's id)
 *   corrective {"INC-000042/a1": {incident, text, owner, due, key, recurs, added, by, closed, closed_by, evidence, entry, file}}
 *   removals {"7": {entry, by, time, because, copy, kept, done}} bodies removed: kept is what was kept of them
 *   for this fold, done that all is gone. Only once there is one.
 *   uncertain {since, entry, epoch, why, from, to, agreed {by, time, because}}: entries may be missing, since a change of Redis' master. Only once there was one.
 *   ticks {"2": {by, time}}, closing {verdict, root_cause, impact, affected, lessons, by, time}, merged_into, notes (how many).
 *   archived (not folded: journal_retire sets it): entries up to this one have left Redis
 * standing.h keeps the same state in less while nothing in it is unusual.
 * Pure: no I/O, no clock. */
#ifndef TOCSIN_JOURNAL_STATE_H
#define TOCSIN_JOURNAL_STATE_H

#include <jansson.h>

#include "journal/entry.h"

enum { STATE_OBSERVABLES = 200, STATE_RECENT = 1024 };

json_t *state_blank(const char *incident); /* before the first entry: seq 0. New reference. */
void state_fold(json_t *state, const struct entry *e);
/* The same for an entry whose body may be gone: what `removals` (of a state that has folded all of the journal; may be NULL) kept of it stands in its place. */
void state_fold_rest(json_t *state, const struct entry *e, const json_t *removals);
const char *state_mode(const char *incident); /* before an entry says otherwise */
/* Adds those to the state's observables that it does not have. */
void state_observables_add(json_t *known, const json_t *found);
/* A person chose a parameter for this playbook and trigger, and no run, further question or hand-over came of it yet. */
bool state_choice_open(const json_t *state, const char *playbook, const json_t *trigger);
bool state_has_alert(const json_t *state, const char *alert_id);
/* This verdict of action.resolved says that it did not happen: the intent is gone, a new one may follow. Of all others its outcome follows. */
bool state_intent_gone(const char *verdict);
/* Entries may be missing, and nobody has agreed to that yet. */
bool state_uncertain(const json_t *state);
/* True when nothing of it is alive: closed, no containment in force, no open question, run or intent. */
bool state_at_rest(const json_t *state);
/* Something is contained by it, or was found so: a person or the ledger still has to let go. */
bool state_holds_targets(const json_t *state);
/* Why something of it has still to be written, such as "a file is under a legal hold"; NULL: nothing has, so it may leave Redis. Static. */
const char *state_unfinished(const json_t *state);
const char *severity_name(int64_t severity_id); /* OCSF: "unknown", "informational", "low", "medium", "high", "critical", "fatal"; static */
int64_t severity_by_name(const char *name);     /* -1: no such name */

#endif
