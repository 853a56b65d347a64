/* clock_scaled.h: a clock at a speed of its own, for an exercise: its hours pass in minutes, beside live incidents on the system's clock.
 *
 * It is driven by another clock's boot time, so that setting the system's time does not move it. It can stand still and be put forward; it
 * never goes back, as a journal's times never do. Times are microseconds. */
#ifndef TOCSIN_BASE_CLOCK_SCALED_H
#define TOCSIN_BASE_CLOCK_SCALED_H

#include "base/clock.h"
#include "base/err.h"

enum { CLOCK_SPEED_MOST = 3600 }; /* an hour in a second */

struct clock_scaled {
  struct clock clock; /* what others read; wall and boot show the same */
  const struct clock *base;
  int64_t from; /* of base's boot time, at which it showed clock.offset */
  double speed;
  bool paused;
};

/* It shows wall now and goes on `speed` times as fast as base (borrowed). ERR_INVALID, nothing changed: a speed that is not from 1 to CLOCK_SPEED_MOST. */
int clock_scaled_init(struct clock_scaled *c, const struct clock *base, int64_t wall, double speed, struct err *err);
/* It stands still, however long, until it is resumed; either may be said twice. */
void clock_pause(struct clock_scaled *c);
void clock_resume(struct clock_scaled *c);
/* Puts it forward, paused or not. ERR_INVALID, nothing changed: wall is in its past. */
int clock_jump(struct clock_scaled *c, int64_t wall, struct err *err);
/* How long base's boot time has to pass until it shows wall: 0 when it does already, INT64_MAX while it is paused. */
int64_t clock_until(const struct clock_scaled *c, int64_t wall);

#endif
