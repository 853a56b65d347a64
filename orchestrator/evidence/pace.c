#include "evidence/pace.h"

static void lag(struct pace *p, int64_t now, bool lags) {
  if (lags && !p->lags) p->since = now;
  p->lags = lags;
}

void pace_batch(struct pace *p, int64_t now, uint64_t entries, bool lags) {
  lag(p, now, lags);
  if (entries >= PACE_BUSY) p->calm = now + PACE_CALM_MS;
}

void pace_step(struct pace *p, int64_t began, int64_t ended, bool more) {
  lag(p, ended, more);
  p->paused = ended + PACE_PAUSES * (ended - began);
}

void pace_fail(struct pace *p, int64_t now) { p->calm = p->paused = now + PACE_CALM_MS; }

static int64_t share_at(const struct pace *p) {
  int64_t late = p->since + PACE_LATE_MS;
  return late < p->paused ? p->paused : late;
}

bool pace_late(const struct pace *p, int64_t now) { return p->lags && now >= share_at(p); }

int64_t pace_next(const struct pace *p) {
  if (!p->lags) return INT64_MAX;
  int64_t share = share_at(p);
  return p->calm < share ? p->calm : share;
}
