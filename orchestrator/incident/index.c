/* The lists of incidents, tocsin:open and tocsin:recent (and tocsin:archived, of those that have left Redis: retire.c). What stands in no list is seen by nobody, and is not taken up after a restart: so a place that a broken connection
 * swallowed is asked for again until Redis has it. After a crash in between, recovery finds the incident by its owner (recover.c). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/slab.h"
#include "base/text.h"
#include "incident/internal.h"

enum { AGAIN_MS = 250 };

struct place {
  struct desk *desk;
  char id[ID_INCIDENT], score[24];
  bool open, fresh, failed, stale; /* fresh: it stands in no other list; stale: a later one says where it belongs */
  unsigned under_way;
  struct timer *timer;
  LIST_ENTRY(place) next;
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
  unsigned lane = redis_lane(redis, p->id);
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

static void place(struct desk *d, const char *id, bool open, bool fresh) {
  struct place *p, *next;
  for (p = fresh ? NULL : LIST_FIRST(&d->places); p; p = next) { /* what is new has had no place before */
    next = LIST_NEXT(p, next);
    if (strcmp(p->id, id) != 0) continue;
    if (p->under_way) p->stale = true;
    else place_free(p);
  }
  if (!(p = slab_calloc(1, sizeof *p))) abort();
  *p = (struct place){.desk = d, .open = open, .fresh = fresh};
  text_copy(p->id, sizeof p->id, id);
  *text_add_number(p->score, p->score + sizeof p->score - 1, (uint64_t)(clock_wall(d->deps.store->clock) / 1000)) = 0;
  LIST_INSERT_HEAD(&d->places, p, next);
  place_send(p);
}

void incident_place(struct desk *d, const char *id, bool open) { place(d, id, open, false); }
void incident_place_new(struct desk *d, const char *id) { place(d, id, true, true); }

void places_free(struct desk *d) {
  while (!LIST_EMPTY(&d->places)) place_free(LIST_FIRST(&d->places));
}
