/* A state's memory: small blocks come from chunks by size and go back to free lists, large ones are malloc's. Lua tells the old size of
 * every block, so that nothing is kept about each. Much cheaper than malloc for states that live for a millisecond. */
#include <stdlib.h>
#include <string.h>

#include "script/internal.h"

enum { GRAIN = 16, SMALL = ARENA_CLASSES * GRAIN, FIRST_CHUNK = 16 << 10, CHUNK = 64 << 10 };

struct arena_chunk {
  struct arena_chunk *next;
  size_t size; /* keeps what follows aligned to 16 bytes */
};

static void *take_new(struct arena *a, size_t size) {
  if ((size_t)(a->end - a->at) < size) {
    size_t chunk = a->chunks ? CHUNK : FIRST_CHUNK;
    struct arena_chunk *c = malloc(sizeof *c + chunk);
    if (!c) return NULL;
    c->next = a->chunks;
    c->size = chunk;
    a->chunks = c;
    a->at = (char *)(c + 1);
    a->end = a->at + chunk;
  }
  void *block = a->at;
  a->at += size;
  return block;
}

static void *take(struct arena *a, size_t size) {
  if (size > SMALL) return malloc(size);
  size_t class = (size - 1) / GRAIN;
  struct arena_free *block = a->free[class];
  if (!block) return take_new(a, (class + 1) * GRAIN);
  a->free[class] = block->next;
  return block;
}

static void give(struct arena *a, void *block, size_t size) {
  if (size > SMALL) {
    free(block);
    return;
  }
  struct arena_free *f = block;
  size_t class = (size - 1) / GRAIN;
  f->next = a->free[class];
  a->free[class] = f;
}

void *arena_resize(struct arena *a, void *old, size_t old_size, size_t size) {
  if (!old) return take(a, size);
  if (size == 0) {
    if (old_size) give(a, old, old_size);
    return NULL;
  }
  if (old_size > SMALL && size > SMALL) return realloc(old, size);
  if (old_size <= SMALL && size <= SMALL && (old_size - 1) / GRAIN == (size - 1) / GRAIN) return old;
  void *fresh = take(a, size);
  if (!fresh) return NULL;
  memcpy(fresh, old, old_size < size ? old_size : size);
  give(a, old, old_size);
  return fresh;
}

void arena_release(struct arena *a) {
  for (struct arena_chunk *c = a->chunks, *next; c; c = next) {
    next = c->next;
    free(c);
  }
  memset(a, 0, sizeof *a);
}
