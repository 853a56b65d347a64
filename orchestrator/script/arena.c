/* A state's memory: small blocks come from chunks by size and go back to free lists, large ones are malloc's. Lua tells the old size of
 * every block, so that nothing is kept about each. Much cheaper than malloc for states that live for a millisecond. */
#include <stdlib.h>
#include <string.h>

#include "script/internal.h"

enum { GRAIN = 16, SMALL = ARENA_CLASSES * GRAIN, FIRST_CHUNK = 16 << 10, CHUNK = 64 << 10, KEPT_CHUNKS = 32 };

struct arena_chunk {
  struct arena_chunk *next;
  size_t size; /* keeps what follows aligned to 16 bytes */
};

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* What the last states left, of both sizes: still in the processor's cache, while malloc would join it with its neighbours and cut it anew. */
static _Thread_local struct {
  struct arena_chunk *first;
  size_t count;
} kept[2];

static struct arena_chunk *chunk_new(size_t size) {
  struct arena_chunk *c = kept[size == CHUNK].first;
  if (!c) return malloc(sizeof *c + size);
  kept[size == CHUNK].first = c->next;
  kept[size == CHUNK].count--;
  return c;
}

static void chunk_free(struct arena_chunk *c) {
  size_t which = c->size == CHUNK;
  if (SANITIZED || kept[which].count == KEPT_CHUNKS) {
    free(c);
    return;
  }
  c->next = kept[which].first;
  kept[which].first = c;
  kept[which].count++;
}

static void *take_new(struct arena *a, size_t size) {
  if ((size_t)(a->end - a->at) < size) {
    size_t chunk = a->chunks ? CHUNK : FIRST_CHUNK;
    struct arena_chunk *c = chunk_new(chunk);
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
    chunk_free(c);
  }
  memset(a, 0, sizeof *a);
}
