#include "base/clock_scaled.h"

static int64_t shows(const struct clock_scaled *c, int64_t base) {
  return c->clock.offset + (int64_t)((double)(base - c->from) * c->speed);
}

static int64_t scaled_now(const struct clock *clock) {
  const struct clock_scaled *c = (const struct clock_scaled *)clock;
  return c->paused ? clock->offset : shows(c, clock_boot(c->base));
}

int clock_scaled_init(struct clock_scaled *c, const struct clock *base, int64_t wall, double speed, struct err *err) {
  if (!(speed >= 1 && speed <= CLOCK_SPEED_MOST))
    return err_set(err, ERR_INVALID, "a speed of %g is not from 1 to %d", speed, CLOCK_SPEED_MOST);
  *c = (struct clock_scaled){.clock = {.wall = scaled_now, .boot = scaled_now, .offset = wall},
                             .base = base,
                             .from = clock_boot(base),
                             .speed = speed};
  return 0;
}

void clock_pause(struct clock_scaled *c) {
  c->clock.offset = scaled_now(&c->clock);
  c->paused = true;
}

void clock_resume(struct clock_scaled *c) {
  if (!c->paused) return;
  c->from = clock_boot(c->base);
  c->paused = false;
}

int clock_jump(struct clock_scaled *c, int64_t wall, struct err *err) {
  int64_t now = scaled_now(&c->clock);
  if (wall < now) {
    char to[TIME_TEXT], at[TIME_TEXT];
    time_format(wall, to);
    time_format(now, at);
    return err_set(err, ERR_INVALID, "%s is in the past: the clock shows %s, and never goes back", to, at);
  }
  c->clock.offset = wall;
  c->from = clock_boot(c->base);
  return 0;
}

int64_t clock_until(const struct clock_scaled *c, int64_t wall) {
  if (wall <= scaled_now(&c->clock)) return 0;
  if (c->paused) return INT64_MAX;
  int64_t at = c->from + (int64_t)((double)(wall - c->clock.offset) / c->speed);
  while (shows(c, at) < wall) at++; /* what a rounding cut off */
  return at - clock_boot(c->base);
}
