/* How many actions of one connector may be under way, and how many may leave in a minute. */
#include <inttypes.h>
#include <stdlib.h>

#include "action/internal.h"
#include "base/log.h"

enum { MINUTE_US = 60000000 };

static struct limit *limit_of(struct action *x) {
  struct limit *l = map_get(&x->all->limits, x->connector->instance);
  if (l) return l;
  l = calloc(1, sizeof *l);
  if (!l) abort();
  TAILQ_INIT(&l->waiting);
  map_put(&x->all->limits, x->connector->instance, l);
  return l;
}

static bool room(const struct action *x, struct limit *l) {
  const struct connector *c = x->connector;
  int64_t now = clock_boot(clock_system());
  if (x->all->stopping) return false;
  if (c->concurrent && l->flying >= c->concurrent) return false;
  if (!c->per_minute) return true;
  if (now - l->window_start >= MINUTE_US) {
    l->window_start = now;
    l->in_window = 0;
  }
  return l->in_window < c->per_minute;
}

static void enter(struct action *x, struct limit *l) {
  l->flying++;
  l->in_window++;
  x->started = true;
  action_intend(x);
}

/* Once for each minute: whoever asks why a run stands still finds it here. */
static void told(struct limit *l, const struct action *x, int64_t left_ms) {
  log_warning("%s: its limit of %u requests a minute is reached; what it still has to send, from %s on, goes on in %" PRId64
              " s (`limits.per_minute` of connectors.%s in the settings)",
              x->connector->instance, x->connector->per_minute, x->id, (left_ms + 999) / 1000, x->connector->instance);
}

static void wake(void *arg) {
  struct limit *l = arg;
  timer_free(l->timer);
  l->timer = NULL;
  struct action *x;
  while ((x = TAILQ_FIRST(&l->waiting)) && room(x, l)) {
    TAILQ_REMOVE(&l->waiting, x, next);
    x->queue = NULL;
    enter(x, l);
  }
  if (x && !l->timer && x->connector->per_minute && l->in_window >= x->connector->per_minute) {
    int64_t left_ms = (l->window_start + MINUTE_US - clock_boot(clock_system())) / 1000 + 1;
    if (l->told != l->window_start) told(l, x, left_ms);
    l->told = l->window_start;
    l->timer = timer_start(x->all->deps.loop, left_ms, wake, l);
  }
}

void limit_enter(struct action *x) {
  if (x->exercise) { /* no product is there to be spared, and its minutes are not the clock's */
    action_intend(x);
    return;
  }
  struct limit *l = limit_of(x);
  if (TAILQ_EMPTY(&l->waiting) && room(x, l)) {
    enter(x, l);
    return;
  }
  TAILQ_INSERT_TAIL(&l->waiting, x, next);
  x->queue = &l->waiting;
  wake(l);
}

void limit_leave(struct action *x) {
  if (!x->started) return;
  struct limit *l = limit_of(x);
  x->started = false;
  l->flying--;
  if (!TAILQ_EMPTY(&l->waiting) && !l->timer) l->timer = timer_start(x->all->deps.loop, 0, wake, l);
}

size_t limits_waiting(const struct actions *a) {
  const struct action *x;
  size_t at = 0, count = 0;
  void *value;
  while (map_next(&a->limits, &at, NULL, &value)) TAILQ_FOREACH(x, &((struct limit *)value)->waiting, next) count++;
  return count;
}

void actions_stop(struct actions *a) { a->stopping = true; }

bool actions_busy(const struct actions *a) {
  size_t at = 0;
  void *value;
  while (map_next(&a->limits, &at, NULL, &value))
    if (((struct limit *)value)->flying) return true;
  return false;
}

static void limit_free(void *value) {
  struct limit *l = value;
  timer_free(l->timer);
  free(l);
}

void limits_release(struct actions *a) { map_release(&a->limits, limit_free); }
