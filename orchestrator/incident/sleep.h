/* sleep.h: incidents that only wait, kept as one small record each.
 *
 * An incident whose runs all wait for a person's answer, a time or an alert is unloaded: its Lua states, its journal and its state are freed, and what stays is where it
 * is, when it is due, and how much it asks (struct sleeper). Whatever concerns it (an answer, a command, an alert, its deadline) loads it again, and rebuilds by
 * replay those of its runs that it concerns (incident_with and incident_with_some do that by themselves); the record stays for those that sleep on. A failed
 * loading leaves it asleep, to be tried again.
 * The node's index `tocsin:asleep:<node>` (incident -> "seq due slept asked runs questions by_question") says after a restart who sleeps, so that nobody is replayed who is not woken. An entry
 * counts only when the journal still ends at that seq; it is removed, and the removal answered by Redis, before the journal is read to wake it.
 * At most a few of those that are due are woken at a time: live alerts go first.
 * Never puts to sleep what has a request under way, in doubt, held back, or a question about one of these. */
#ifndef TOCSIN_INCIDENT_SLEEP_H
#define TOCSIN_INCIDENT_SLEEP_H

#include "incident/incident.h"

struct sleepers;
struct incident;

struct sleepers *sleepers_new(struct desk *d);
void sleepers_free(struct sleepers *s);
uint64_t sleepers_seq(const struct sleepers *s, const char *id); /* its journal's last entry; 0: it does not sleep */
bool sleepers_have(const struct sleepers *s, const char *id);
/* It has runs: looked at again and again until it can be put to sleep, or has none. */
void sleepers_watch(struct sleepers *s, struct incident *inc);
void sleepers_unwatch(struct sleepers *s, struct incident *inc);
/* Removes it from the index; cb comes once Redis has answered, and then the journal may be read. */
typedef void sleepers_cb(void *arg, const struct err *err);
int sleepers_wake(struct sleepers *s, const char *id, sleepers_cb *cb, void *arg, struct err *err);
/* Some of its runs are awake now: the record is about the others. */
void sleepers_stay(struct sleepers *s, struct incident *inc);
/* All of it is awake again, or gone. */
void sleepers_drop(struct sleepers *s, const char *id);
/* Reads the index; cb comes when it is known who sleeps. */
int sleepers_load(struct sleepers *s, sleepers_cb *cb, void *arg, struct err *err);
/* Nobody could have answered, or the clock was set: deadlines move, as those of the questions and waits that are awake do. */
void sleepers_lapse(struct sleepers *s, const struct lapse *one);
/* The ids of the first `limit` that ask something, those that fell asleep first in front. New array. */
json_t *sleepers_asking(const struct sleepers *s, size_t limit);
size_t sleepers_count(const struct sleepers *s);
int64_t sleepers_runs(const struct sleepers *s);
int64_t sleepers_questions(const struct sleepers *s);

#endif
