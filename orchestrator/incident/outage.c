/* Time in which nobody could have answered: the engine was down, Redis was, the machine stood still, or its clock was set forward.
 * One beat finds them all: every few seconds `tocsin:alive` is set to now, and Redis answers with what it was. Nodes that share a Redis share it too, for people may answer on any. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "incident/internal.h"

enum { BEAT_MS = 5000, GAP_US = 15000000, KEPT = 256 };

static const char ALIVE_KEY[] = "tocsin:alive", OUTAGES_KEY[] = "tocsin:outages";

struct outages {
  struct desk *desk;
  struct timer *timer;
  desk_cb *cb; /* until the past is known */
  void *arg;
  int64_t sent; /* the beat under way, µs; 0: none */
};

static void beat(void *arg);

static int64_t now_of(const struct outages *o) { return clock_wall(o->desk->deps.store->clock); }

static void tell(struct outages *o, int64_t from, int64_t to) {
  questions_outage(o->desk->deps.questions, from, to);
  sleepers_outage(o->desk->sleepers, from, to);
}

/* On record where the next start, and other nodes' questions, find it. */
static void found(struct outages *o, int64_t from, int64_t to) {
  struct redis *redis = o->desk->deps.redis;
  char text[64], first[16];
  snprintf(text, sizeof text, "%" PRId64 " %" PRId64, from, to);
  snprintf(first, sizeof first, "-%d", KEPT);
  redis_call(redis, 0, NULL, NULL, NULL, "RPUSH", OUTAGES_KEY, text, NULL);
  redis_call(redis, 0, NULL, NULL, NULL, "LTRIM", OUTAGES_KEY, first, "-1", NULL);
  if (to - from >= GAP_US)
    log_notice("nobody could have answered for %" PRId64 " s: open questions have that much more time, and ten minutes at least",
               (to - from) / 1000000);
  tell(o, from, to);
}

static void on_beat(void *arg, const struct redis_value *reply, const struct err *err) {
  struct outages *o = arg;
  int64_t before = err ? 0 : redis_integer(reply), sent = o->sent;
  desk_cb *cb = o->cb;
  o->sent = 0;
  o->cb = NULL;
  if (before && sent > before && (cb || sent - before > GAP_US)) found(o, before, sent);
  if (!err || err->code != ERR_CANCELLED) o->timer = timer_start(o->desk->deps.loop, BEAT_MS, beat, o);
  if (cb) cb(o->arg, err);
}

static int beat_send(struct outages *o, struct err *err) {
  char text[24];
  o->sent = now_of(o);
  snprintf(text, sizeof text, "%" PRId64, o->sent);
  int r = redis_call(o->desk->deps.redis, 0, on_beat, o, err, "SET", ALIVE_KEY, text, "GET", NULL);
  if (r < 0) o->sent = 0;
  return r;
}

static void beat(void *arg) {
  struct outages *o = arg;
  timer_free(o->timer);
  o->timer = NULL;
  if (beat_send(o, NULL) < 0) o->timer = timer_start(o->desk->deps.loop, BEAT_MS, beat, o);
}

static void begun(struct outages *o, const struct err *err) {
  desk_cb *cb = o->cb;
  o->cb = NULL;
  cb(o->arg, err);
}

static void on_past(void *arg, const struct redis_value *reply, const struct err *err) {
  struct outages *o = arg;
  struct err why;
  for (size_t i = 0; !err && i < redis_count(reply); i++) {
    int64_t from, to;
    if (sscanf(redis_string(redis_item(reply, i), NULL), "%" SCNd64 " %" SCNd64, &from, &to) == 2) tell(o, from, to);
  }
  if (err) begun(o, err);
  else if (beat_send(o, &why) < 0) begun(o, &why);
}

int outages_begin(struct desk *d, desk_cb *cb, void *arg, struct err *err) {
  outages_free(d->outages);
  d->outages = NULL;
  struct outages *o = calloc(1, sizeof *o);
  if (!o) abort();
  *o = (struct outages){.desk = d, .cb = cb, .arg = arg};
  int r = redis_call(d->deps.redis, 0, on_past, o, err, "LRANGE", OUTAGES_KEY, "0", "-1", NULL);
  if (r < 0) free(o);
  else d->outages = o;
  return r;
}

void outages_free(struct outages *o) {
  if (!o) return;
  timer_free(o->timer);
  free(o);
}
