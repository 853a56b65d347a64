/* pace.h: when the sealer works on its index (catalogue.h), which may lag behind the log, and when it leaves the machine to what seals and contains.
 *
 * While batches are large, not at all; once they are small or none come, at once and without a pause. An index that has lagged for PACE_LATE_MS all the same gets a quarter of the thread's
 * time until it has caught up: it is never starved. Pure: numbers in, numbers out; ms of a monotonic clock. */
#ifndef TOCSIN_EVIDENCE_PACE_H
#define TOCSIN_EVIDENCE_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum { PACE_BUSY = 256, PACE_CALM_MS = 2000, PACE_LATE_MS = 60000, PACE_PAUSES = 3 };

struct pace {
  bool lags;      /* there is something to do, as far as is known */
  int64_t since;  /* it has lagged since then */
  int64_t calm;   /* from then on nothing large has come for a while */
  int64_t paused; /* until then, when it works though it is not calm */
};

/* A batch of so many entries was sealed, and the index lags behind the log, or does not. */
void pace_batch(struct pace *p, int64_t now, uint64_t entries, bool lags);
/* A step was done, or tried; more: there is more to do. */
void pace_step(struct pace *p, int64_t began, int64_t ended, bool more);
/* A step failed: it is tried again later. */
void pace_fail(struct pace *p, int64_t now);
/* When the next step is due; INT64_MAX: there is nothing to do. */
int64_t pace_next(const struct pace *p);
/* It has lagged for so long that its share is due, also while batches wait. */
bool pace_late(const struct pace *p, int64_t now);

#endif
