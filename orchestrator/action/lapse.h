/* lapse.h: what becomes of deadlines when time was no time: outages, and steps of the wall clock.
 *
 * Deadlines stand in entries as moments of the wall clock. While nobody could have answered, a question's time stands still (an outage). When the clock is
 * set, forward or back, whoever waits for a moment still waits as long as before: the clock that counts what has really passed (CLOCK_BOOTTIME) tells.
 * Keeps the newest few hundred of both, in the order in which they were told. Times are microseconds. Never calls anybody, never writes. */
#ifndef TOCSIN_ACTION_LAPSE_H
#define TOCSIN_ACTION_LAPSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"

enum { LAPSES = 256, LAPSE_GRACE_US = 10 * 60 * 1000000 };

struct lapse {
  int64_t from, to; /* a step: what the clock would have shown, and what it showed */
  bool step;
};

struct lapses {
  const struct clock *clock; /* the one that is watched for steps; NULL: none */
  int64_t wall, boot;        /* at the last look */
  struct lapse all[LAPSES];
  size_t count;
};

void lapses_watch(struct lapses *l, const struct clock *clock);
/* Was the clock set by a second or more since the last look? Then true, and the step, which is still to be told. */
bool lapses_look(struct lapses *l, struct lapse *ret);
void lapses_tell(struct lapses *l, const struct lapse *one);

/* What one lapse makes of a deadline that has stood since `since`; 0 (none) and INT64_MAX (never) stay. */
int64_t lapse_deadline(const struct lapse *one, int64_t since, int64_t deadline); /* of a question */
int64_t lapse_until(const struct lapse *one, int64_t since, int64_t until);       /* of what waits for time alone: outages count */
/* What one has done, just now, to a question that is open. */
void lapse_open(const struct lapse *one, int64_t *since, int64_t *deadline);
/* What all of them have made of one that stands in a journal: by the watched clock it is never further off than it was at first. *ret_cut (may be NULL):
 * it would have been, and what it became stands nowhere but here: whoever sleeps until then and asks again gets as much time again. */
int64_t lapses_deadline(const struct lapses *l, int64_t since, int64_t deadline, bool *ret_cut);
int64_t lapses_until(const struct lapses *l, int64_t since, int64_t until, bool *ret_cut);

#endif
