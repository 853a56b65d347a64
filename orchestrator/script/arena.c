/* A state's memory: small blocks come from chunks by size and go back to free lists, large ones are malloc's. Lua tells the old size of
 * every block, so that nothing is kept about each. Much cheaper than malloc for states that live for a millisecond.
 *
 * While a state is being made its large blocks come from the first chunk, too: all that it is then lies in one piece, which arena_keep
 * copies and arena_reset puts back at the same addresses. */
#include <stdlib.h>
#include <string.h>

#include "base/sanitized.h"
#include "script/internal.h"

enum { CHUNK = 64 << 10, KEPT_CHUNKS = 32 };

struct arena_chunk {
  struct arena_chunk *next;
  size_t unused; /* keeps what follows aligned to 16 bytes */
};

/* Before each block of malloc's. */
struct arena_large {
  struct arena_large *next, **at;
};

struct arena_image {
  struct arena then;
  size_t len;
  char bytes[];
};

/* What the last states left: still in the processor's cache, while malloc would join it with its neighbours and cut it anew. */
static _Thread_local struct {
  struct arena_chunk *first;
  size_t count;
} kept;

static struct arena_chunk *chunk_new(void) {
  struct arena_chunk *c = kept.first;
  if (!c) return malloc(sizeof *c + CHUNK);
  kept.first = c->next;
  kept.count--;
  return c;
}

static void chunk_free(struct arena_chunk *c) {
  if (TOCSIN_SANITIZED || kept.count == KEPT_CHUNKS) {
    free(c);
    return;
  }
  c->next = kept.first;
  kept.first = c;
  kept.count++;
}

static void *take_new(struct arena *a, size_t size) {
  if ((size_t)(a->end - a->at) < size) {
    struct arena_chunk *c = chunk_new();
    if (!c) return NULL;
    c->next = a->chunks;
    a->chunks = c;
    a->at = (char *)(c + 1);
    a->end = a->at + CHUNK;
    if (!c->next) a->making = (char *)c, a->made = a->end;
  }
  void *block = a->at;
  a->at += size;
  return block;
}

/* ---- large blocks */

static void link_large(struct arena *a, struct arena_large *l) {
  l->next = a->large;
  l->at = &a->large;
  if (l->next) l->next->at = &l->next;
  a->large = l;
}

static void unlink_large(const struct arena_large *l) {
  *l->at = l->next;
  if (l->next) l->next->at = l->at;
}

/* Made with the state, in its first chunk; what is given back of those stays unused. */
static bool made_with(const struct arena *a, const void *block) {
  return (const char *)block >= a->making && (const char *)block < a->made;
}

static void *take_large(struct arena *a, size_t size) {
  size_t rounded = (size + ARENA_GRAIN - 1) / ARENA_GRAIN * ARENA_GRAIN;
  size_t left = !a->chunks ? CHUNK : a->chunks->next ? 0 : (size_t)(a->end - a->at);
  if (!a->kept && rounded <= left) return take_new(a, rounded);
  struct arena_large *l = malloc(sizeof *l + size);
  if (!l) return NULL;
  link_large(a, l);
  return l + 1;
}

void arena_give_large(const struct arena *a, void *block) {
  struct arena_large *l = (struct arena_large *)block - 1;
  if (made_with(a, block)) return;
  unlink_large(l);
  free(l);
}

static void *resize_large(struct arena *a, void *block, size_t size) {
  struct arena_large *l = (struct arena_large *)block - 1;
  unlink_large(l);
  struct arena_large *moved = realloc(l, sizeof *l + size);
  link_large(a, moved ? moved : l);
  return moved ? moved + 1 : NULL;
}

/* ---- all blocks */

/* None of its class is free. */
void *arena_new(struct arena *a, size_t size) {
  return size > ARENA_SMALL ? take_large(a, size) : take_new(a, (arena_class(size) + 1) * ARENA_GRAIN);
}

void *arena_resize(struct arena *a, void *old, size_t old_size, size_t size) {
  if (old_size > ARENA_SMALL && size > ARENA_SMALL) {
    if (!made_with(a, old)) return resize_large(a, old, size);
  } else if (old_size <= ARENA_SMALL && size <= ARENA_SMALL && arena_class(old_size) == arena_class(size)) {
    return old;
  }
  void *fresh = arena_take(a, size);
  if (!fresh) return NULL;
  memcpy(fresh, old, old_size < size ? old_size : size);
  arena_give(a, old, old_size);
  return fresh;
}

/* ---- all of it */

static void free_large(struct arena *a) {
  for (struct arena_large *l = a->large, *next; l; l = next) {
    next = l->next;
    free(l);
  }
  a->large = NULL;
}

static void free_chunks(struct arena_chunk *c) {
  for (struct arena_chunk *next; c; c = next) {
    next = c->next;
    chunk_free(c);
  }
}

struct arena_image *arena_keep(struct arena *a) {
  a->kept = true; /* from here on large blocks are malloc's */
  if (!a->chunks || a->chunks->next || a->large) return NULL;
  a->made = a->at;
  size_t len = (size_t)(a->at - (char *)(a->chunks + 1));
  struct arena_image *image = malloc(sizeof *image + len);
  if (!image) return NULL;
  image->then = *a;
  image->len = len;
  memcpy(image->bytes, a->chunks + 1, len);
  return image;
}

void arena_reset(struct arena *a, const struct arena_image *image) {
  struct arena_chunk *c = a->chunks;
  free_large(a);
  while (c != image->then.chunks) {
    struct arena_chunk *next = c->next;
    chunk_free(c);
    c = next;
  }
  *a = image->then;
  memcpy(c + 1, image->bytes, image->len);
}

void arena_release(struct arena *a) {
  free_large(a);
  free_chunks(a->chunks);
  memset(a, 0, sizeof *a);
}
