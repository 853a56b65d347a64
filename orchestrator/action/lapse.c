#include "action/lapse.h"

#include <string.h>

enum { STEP_US = 1000000, STALL_US = 100000 };

void lapses_watch(struct lapses *l, const struct clock *clock) {
  l->clock = clock;
  l->wall = clock_wall(clock);
  l->boot = clock_boot(clock);
}

bool lapses_look(struct lapses *l, struct lapse *ret) {
  if (!l->clock) return false;
  int64_t before = clock_boot(l->clock), wall = clock_wall(l->clock), boot = clock_boot(l->clock);
  if (boot - before > STALL_US) return false; /* stopped just here: the two do not belong together */
  *ret = (struct lapse){.from = l->wall + (boot - l->boot), .to = wall, .step = true};
  l->wall = wall;
  l->boot = boot;
  return ret->to - ret->from >= STEP_US || ret->from - ret->to >= STEP_US;
}

void lapses_tell(struct lapses *l, const struct lapse *one) {
  if (l->count == LAPSES) memmove(l->all, l->all + 1, --l->count * sizeof *l->all);
  l->all[l->count++] = *one;
}

static bool fixed(int64_t deadline) { return deadline == 0 || deadline == INT64_MAX; }

static int64_t outage_deadline(const struct lapse *o, int64_t since, int64_t deadline) {
  int64_t from = o->from < since ? since : o->from;
  if (o->to <= since) return deadline;
  if (from < deadline) deadline += o->to - from;
  return deadline < o->to + LAPSE_GRACE_US ? o->to + LAPSE_GRACE_US : deadline;
}

/* A step back shows some moments twice: what stands since one of these may be younger than the step, and stays. */
int64_t lapse_until(const struct lapse *one, int64_t since, int64_t until) {
  if (fixed(until) || !one->step) return until;
  bool there = since <= one->from && since <= one->to, waiting = one->to < one->from || one->from < until;
  return there && waiting ? until + (one->to - one->from) : until;
}

int64_t lapse_deadline(const struct lapse *one, int64_t since, int64_t deadline) {
  if (fixed(deadline)) return deadline;
  return one->step ? lapse_until(one, since, deadline) : outage_deadline(one, since, deadline);
}

void lapse_open(const struct lapse *one, int64_t *since, int64_t *deadline) {
  bool younger = one->step && one->to<one->from && * since> one->to; /* it is open, so it was there before the step */
  if (!younger) {
    *deadline = lapse_deadline(one, *since, *deadline);
    return;
  }
  *since += one->to - one->from;
  if (!fixed(*deadline)) *deadline += one->to - one->from;
}

static int64_t at_most(const struct lapses *l, int64_t deadline, int64_t left, bool *ret_cut) {
  int64_t now = l->clock ? clock_wall(l->clock) : deadline;
  bool cut = deadline - now > left;
  if (ret_cut) *ret_cut = cut;
  return cut ? now + left : deadline;
}

int64_t lapses_deadline(const struct lapses *l, int64_t since, int64_t deadline, bool *ret_cut) {
  int64_t became = deadline, whole = deadline - since;
  bool graced = false;
  if (ret_cut) *ret_cut = false;
  if (fixed(deadline)) return deadline;
  for (size_t i = 0; i < l->count; i++) {
    int64_t before = became;
    became = lapse_deadline(&l->all[i], since, became);
    graced = graced || (became != before && !l->all[i].step);
  }
  return at_most(l, became, graced && whole < LAPSE_GRACE_US ? LAPSE_GRACE_US : whole, ret_cut);
}

int64_t lapses_until(const struct lapses *l, int64_t since, int64_t until, bool *ret_cut) {
  int64_t became = until;
  if (ret_cut) *ret_cut = false;
  if (fixed(until)) return until;
  for (size_t i = 0; i < l->count; i++) became = lapse_until(&l->all[i], since, became);
  return at_most(l, became, until - since, ret_cut);
}
