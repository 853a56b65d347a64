/* The lists of incidents, tocsin:open and tocsin:recent (and tocsin:archived, of those that have left Redis: retire.c). What stands in no list is seen by nobody, and is not taken up after a restart: so a place that a broken connection
 * swallowed is asked for again until Redis has it. After a crash in between, recovery finds the incident by its owner (recover.c). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/slab.h"
#include "base/text.h"
#include "incident/internal.h"

enum { AGAIN_MS = 250, AT_ONCE = 64 };

struct place {
  struct desk *desk;
  char id[ID_INCIDENT], score[24];
  bool open, fresh, failed, stale; /* fresh: it stands in no other list; stale: a later one says where it belongs */
  unsigned lane, under_way;
  struct timer *timer;
  LIST_ENTRY(place) next;
  STAILQ_ENTRY(place) beside; /* of those that are fresh and leave together */
};

struct places_sent {
  size_t count;
  struct place *all[AT_ONCE];
};

static void place_free(struct place *p) {
  timer_free(p->timer);
  LIST_REMOVE(p, next);
  slab_free(p);
}

static void place_send(void *arg);

static void on_placed(void *arg, const struct redis_value *reply, const struct err *err) {
  struct place *p = arg;
  if (err && err->code == ERR_CANCELLED) p->stale = true;
  if (err) p->failed = true;
  if (--p->under_way) return;
  if (p->failed && !p->stale) p->timer = timer_start(p->desk->deps.loop, AGAIN_MS, place_send, p);
  else place_free(p);
}

/* On the incident's own lane, so that Redis has it before the entry it points to. */
static void place_send(void *arg) {
  struct place *p = arg;
  struct redis *redis = p->desk->deps.redis;
  unsigned lane = p->lane;
  char in[DESK_KEY], out[DESK_KEY], gone[DESK_KEY];
  desk_key(p->desk, p->open ? "open" : "recent", in);
  desk_key(p->desk, p->open ? "recent" : "open", out);
  desk_key(p->desk, "archived", gone);
  timer_free(p->timer);
  p->timer = NULL;
  p->failed = false;
  p->under_way = 1;
  if (redis_call(redis, lane, on_placed, p, NULL, "ZADD", in, "NX", p->score, p->id, NULL) == 0) p->under_way++;
  else p->failed = true;
  if (!p->fresh) {
    if (redis_call(redis, lane, on_placed, p, NULL, "ZREM", out, p->id, NULL) == 0) p->under_way++;
    else p->failed = true;
  }
  if (p->open && !p->fresh) { /* it had left Redis, and is back */
    if (redis_call(redis, lane, on_placed, p, NULL, "ZREM", gone, p->id, NULL) == 0) p->under_way++;
    else p->failed = true;
  }
  if (--p->under_way == 0) p->timer = timer_start(p->desk->deps.loop, AGAIN_MS, place_send, p);
}

static void on_all_placed(void *arg, const struct redis_value *reply, const struct err *err) {
  struct places_sent *sent = arg;
  for (size_t i = 0; i < sent->count; i++) on_placed(sent->all[i], reply, err);
  slab_free(sent);
}

/* The fresh ones of the first one's lane. */
static void lane_send_fresh(struct desk *d) {
  STAILQ_HEAD(, place) others = STAILQ_HEAD_INITIALIZER(others);
  struct places_sent *sent = slab_alloc(sizeof *sent);
  char in[DESK_KEY];
  const char *argv[3 + 2 * AT_ONCE] = {"ZADD", in, "NX"};
  unsigned lane = STAILQ_FIRST(&d->fresh_places)->lane;
  struct err err;
  if (!sent) abort();
  desk_key(d, "open", in);
  sent->count = 0;
  for (struct place *p; (p = STAILQ_FIRST(&d->fresh_places));) {
    STAILQ_REMOVE_HEAD(&d->fresh_places, beside);
    if (p->lane != lane || sent->count == AT_ONCE) {
      STAILQ_INSERT_TAIL(&others, p, beside);
      continue;
    }
    argv[3 + 2 * sent->count] = p->score;
    argv[4 + 2 * sent->count] = p->id;
    sent->all[sent->count++] = p;
  }
  STAILQ_CONCAT(&d->fresh_places, &others);
  if (redis_command(d->deps.redis, lane, on_all_placed, sent, 3 + 2 * sent->count, argv, NULL, &err) < 0) on_all_placed(sent, NULL, &err);
}

static void fresh_send(void *arg) {
  struct desk *d = arg;
  loop_undefer(d->deps.loop, fresh_send, d);
  while (!STAILQ_EMPTY(&d->fresh_places)) lane_send_fresh(d);
}

static struct place *place_new(struct desk *d, const char *id, bool open) {
  struct place *p = slab_calloc(1, sizeof *p);
  if (!p) abort();
  *p = (struct place){.desk = d, .open = open, .lane = redis_lane(d->deps.redis, id)};
  text_copy(p->id, sizeof p->id, id);
  *text_add_number(p->score, p->score + sizeof p->score - 1, (uint64_t)(clock_wall(d->deps.store->clock) / 1000)) = 0;
  LIST_INSERT_HEAD(&d->places, p, next);
  return p;
}

void incident_place(struct desk *d, const char *id, bool open) {
  struct place *next;
  fresh_send(d); /* it may be among them */
  for (struct place *p = LIST_FIRST(&d->places); p; p = next) {
    next = LIST_NEXT(p, next);
    if (strcmp(p->id, id) != 0) continue;
    if (p->under_way) p->stale = true;
    else place_free(p);
  }
  place_send(place_new(d, id, open));
}

/* Those of a turn leave in one command for each lane. It was deferred before the first entry of each was, so it is still ahead of that. */
void incident_place_new(struct desk *d, const char *id) {
  struct place *p = place_new(d, id, true);
  p->fresh = true;
  p->under_way = 1;
  if (STAILQ_EMPTY(&d->fresh_places)) loop_defer(d->deps.loop, fresh_send, d);
  STAILQ_INSERT_TAIL(&d->fresh_places, p, beside);
}

void places_begin(struct desk *d) {
  LIST_INIT(&d->places);
  STAILQ_INIT(&d->fresh_places);
}

void places_free(struct desk *d) {
  loop_undefer(d->deps.loop, fresh_send, d);
  while (!LIST_EMPTY(&d->places)) place_free(LIST_FIRST(&d->places));
}
