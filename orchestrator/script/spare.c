#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/digest.h"
#include "script/internal.h"

/* Of all playbooks together, some 80 KiB each: as many as runs end in one wave, or the next wave's would all be made anew. script_trim lets go of
 * them when it is quiet. */
enum { SPARES_MOST = 512 };

struct spare {
  TAILQ_ENTRY(spare) next;
  struct state *state, then;
  struct arena_image *image;
  char chunk[160], digest[DIGEST_HEX]; /* of the playbook: it may be gone, and another be where it was */
  json_t *uses;
};

/* Each thread's own; given back last is taken first. */
static _Thread_local struct {
  TAILQ_HEAD(spare_list, spare) all;
  size_t count;
} spares;

static bool made_of(const struct spare *x, const struct declaration *d, const json_t *uses, const struct state *limits) {
  return strcmp(x->digest, d->digest) == 0 && strcmp(x->chunk, d->code->chunk) == 0 && x->then.cap == limits->cap &&
         x->then.burst_us == limits->burst_us && x->then.total_us == limits->total_us && json_equal(x->uses, uses);
}

static void forget(struct spare *x) {
  json_decref(x->uses);
  free(x->image);
  free(x);
}

static void drop(struct spare *x) {
  TAILQ_REMOVE(&spares.all, x, next);
  spares.count--;
  state_free(x->state);
  forget(x);
}

struct state *spare_take(const struct declaration *playbook, const json_t *uses, const struct script_limits *limits) {
  struct state wanted = {0};
  struct spare *x;
  if (!spares.count || !playbook->code) return NULL;
  state_limit(&wanted, STATE_RUN, limits);
  TAILQ_FOREACH(x, &spares.all, next) if (made_of(x, playbook, uses, &wanted)) break;
  if (!x) return NULL;
  TAILQ_REMOVE(&spares.all, x, next);
  spares.count--;
  return x->state;
}

void spare_remember(struct state *s, const struct declaration *playbook, const json_t *uses) {
  /* What the host said to it belongs to this run alone. */
  if (s->asked || s->views || !playbook->code || strlen(playbook->code->chunk) >= sizeof(((struct spare *)0)->chunk)) return;
  struct spare *x = calloc(1, sizeof *x);
  if (!x) return;
  x->image = arena_keep(&s->arena);
  if (!x->image) {
    free(x);
    return;
  }
  snprintf(x->chunk, sizeof x->chunk, "%s", playbook->code->chunk);
  memcpy(x->digest, playbook->digest, sizeof x->digest);
  x->uses = json_incref((json_t *)(uintptr_t)uses);
  x->state = s;
  s->owner = NULL;
  s->spare = x;
  x->then = *s;
}

void spare_give(struct state *s) {
  struct spare *x = s ? s->spare : NULL;
  if (!x) {
    state_free(s);
    return;
  }
  state_drop_views(s);
  arena_reset(&s->arena, x->image);
  x->then.arena = s->arena;
  *s = x->then;
  if (!spares.count) TAILQ_INIT(&spares.all);
  TAILQ_INSERT_HEAD(&spares.all, x, next);
  if (++spares.count <= SPARES_MOST) return;
  drop(TAILQ_LAST(&spares.all, spare_list));
}

void script_trim(void) {
  while (spares.count) drop(TAILQ_FIRST(&spares.all));
}
