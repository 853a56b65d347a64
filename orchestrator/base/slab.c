#include "base/slab.h"

#include <dlfcn.h>
#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/sanitized.h"

/* malloc and its kin are defined below, and these are the system's. */
#if TOCSIN_SANITIZED
#define system_malloc malloc
#define system_calloc calloc
#define system_realloc realloc
#define system_free free
#else
#define system_malloc __libc_malloc
#define system_calloc __libc_calloc
#define system_realloc __libc_realloc
#define system_free __libc_free
void *system_malloc(size_t size);
void *system_calloc(size_t count, size_t size);
void *system_realloc(void *block, size_t size);
void system_free(void *block);
#endif

enum {
  STEP = 16,
  SMALL = 512, /* up to there a class for each step */
  SMALLS = SMALL / STEP,
  CLASSES = SMALLS + 5,
  PAGE_SHIFT = 16,
  PAGE = 1 << PAGE_SHIFT,
  PAGES = 1 << 18,
  GROW_PAGES = 32, /* a large page of the processor's, 2 MiB */
  HEAPS = 8
};

struct block {
  struct block *next;
};

static const size_t middle_sizes[CLASSES - SMALLS] = {768, 1024, 1536, 2048, SLAB_MOST};

/* Larger blocks are the system's; those of the sizes that are asked for most (libcurl's buffers and connections) are kept when they come back: the
 * system would join them with their neighbours, only to cut them out again. */
static const size_t large_sizes[] = {8192, 16400};
enum { LARGES = sizeof large_sizes / sizeof *large_sizes, KEPT = 128, SLACK = 24 /* bytes that the system may give more */ };

struct kept {
  void *blocks[KEPT];
  size_t count;
};

/* A thread's own. */
struct heap {
  alignas(64) struct block *free[CLASSES];
  char *fresh[CLASSES]; /* the rest of a page, of which no block was given out yet */
  uint32_t fresh_left[CLASSES];
  struct kept kept[LARGES];
  bool taken;                                   /* under the lock */
  alignas(64) _Atomic(struct block *) returned; /* freed by other threads */
};

/* One range of addresses for all pages, so that a block's address alone says whether it is ours, how large, and whose. */
static struct {
  uintptr_t base;
  _Atomic(size_t) used; /* pages handed to a class of a heap */
  pthread_mutex_t lock; /* over what follows, to change it */
  size_t ready;         /* pages that may be written */
  struct {
    uint8_t class, heap;
  } of[PAGES];
  uint8_t class_for[SLAB_MOST / STEP + 1]; /* a size, in steps */
  struct heap heaps[HEAPS];
} slab = {.lock = PTHREAD_MUTEX_INITIALIZER};
static _Thread_local struct heap *own;

static void lock(void) { pthread_mutex_lock(&slab.lock); }
static void unlock(void) { pthread_mutex_unlock(&slab.lock); }

static size_t (*system_size)(void *block); /* malloc_usable_size */

static size_t class_for(size_t size) { return slab.class_for[(size + STEP - 1) / STEP]; }

static size_t class_size(size_t class) { return class < SMALLS ? (class + 1) * STEP : middle_sizes[class - SMALLS]; }

static void note_classes(void) {
  for (size_t steps = 1, class = 0; steps <= SLAB_MOST / STEP; steps++) {
    if (class_size(class) < steps * STEP) class ++;
    slab.class_for[steps] = (uint8_t) class;
  }
}

/* Whoever has a block of ours from another thread knows its page too: what passed the block on passed that on with it. */
static size_t used(void) { return atomic_load_explicit(&slab.used, memory_order_relaxed); }

static bool ours(const void *block, size_t *ret_page) {
  *ret_page = ((uintptr_t)block - slab.base) >> PAGE_SHIFT;
  return *ret_page < used(); /* none before slab_install */
}

static void take_returned(void) {
  struct block *b = atomic_exchange(&own->returned, NULL), *next;
  for (size_t page; b; b = next) {
    next = b->next;
    if (!ours(b, &page)) abort(); /* somebody wrote into a freed block */
    struct block **list = &own->free[slab.of[page].class];
    b->next = *list;
    *list = b;
  }
}

/* Under the lock. */
static bool ready(size_t page) {
  if (page < slab.ready) return true;
  if (page == PAGES ||
      mprotect((void *)(slab.base + (slab.ready << PAGE_SHIFT)), (size_t)GROW_PAGES << PAGE_SHIFT, PROT_READ | PROT_WRITE) != 0)
    return false;
  slab.ready += GROW_PAGES;
  return true;
}

/* A fresh page for blocks of one class, which are cut off it one by one: of a class that is hardly used little is touched. */
static bool grow(size_t class) {
  lock();
  size_t page = used();
  bool good = ready(page);
  if (good) {
    own->fresh[class] = (char *)(slab.base + (page << PAGE_SHIFT));
    own->fresh_left[class] = (uint32_t)(PAGE / class_size(class));
    slab.of[page].class = (uint8_t) class;
    slab.of[page].heap = (uint8_t)(own - slab.heaps);
    atomic_store_explicit(&slab.used, page + 1, memory_order_release);
  }
  unlock();
  return good;
}

/* No block of the class is free. */
static __attribute__((noinline)) void *alloc_fresh(size_t class, size_t size) {
  take_returned();
  if (own->free[class]) return slab_alloc(size);
  if (!own->fresh_left[class] && !grow(class)) return system_malloc(size);
  void *block = own->fresh[class];
  own->fresh[class] += class_size(class);
  own->fresh_left[class]--;
  return block;
}

static void *large_alloc(size_t size) {
  size_t i = 0;
  while (i < LARGES && large_sizes[i] < size) i++;
  if (i == LARGES) return system_malloc(size);
  struct kept *k = &own->kept[i];
  return k->count ? k->blocks[--k->count] : system_malloc(large_sizes[i]);
}

static bool keep(size_t i, void *block) {
  struct kept *k = &own->kept[i];
  if (k->count == KEPT) return false;
  k->blocks[k->count++] = block;
  return true;
}

static void large_free(void *block) {
  size_t size = system_size(block), i = LARGES;
  while (i > 0 && large_sizes[i - 1] > size) i--;
  if (i == 0 || size > large_sizes[i - 1] + SLACK || !keep(i - 1, block)) system_free(block);
}

void *slab_alloc(size_t size) {
  if (!own) return system_malloc(size);
  if (size > SLAB_MOST) return large_alloc(size);
  size_t class = class_for(size), page;
  struct block *b = own->free[class];
  if (!b) return alloc_fresh(class, size);
  if (!ours(b, &page)) abort(); /* the same: better an end than an answer from a wrong place */
  own->free[class] = b->next;
  __builtin_prefetch(b->next, 1); /* freed long ago, it has left the caches; it is the next one given out */
  return b;
}

/* NULL, or the system's. */
static __attribute__((noinline)) void free_other(void *block) {
  if (block && own) large_free(block);
  else system_free(block);
}

static __attribute__((noinline)) void give_back(struct heap *of, struct block *b) {
  b->next = atomic_load(&of->returned);
  while (!atomic_compare_exchange_weak(&of->returned, &b->next, b)) continue;
}

void slab_free(void *block) {
  size_t page;
  struct block *b = block;
  struct heap *mine = own;
  if (!ours(b, &page)) {
    free_other(b);
    return;
  }
  if (&slab.heaps[slab.of[page].heap] != mine) {
    give_back(&slab.heaps[slab.of[page].heap], b);
    return;
  }
  struct block **list = &mine->free[slab.of[page].class];
  b->next = *list;
  *list = b;
}

void *slab_calloc(size_t count, size_t size) {
  size_t all;
  if (__builtin_mul_overflow(count, size, &all)) return errno = ENOMEM, NULL;
  if (!own || all > large_sizes[LARGES - 1]) return system_calloc(count, size); /* fresh pages are zero as they come */
  void *block = slab_alloc(all);
  return block ? memset(block, 0, all) : NULL;
}

void *slab_realloc(void *block, size_t size) {
  size_t page;
  if (!block) return slab_alloc(size);
  if (!ours(block, &page)) return system_realloc(block, size);
  size_t before = class_size(slab.of[page].class);
  if (size <= before) return block;
  void *larger = slab_alloc(size);
  if (!larger) return NULL;
  memcpy(larger, block, before);
  slab_free(block);
  return larger;
}

char *slab_strdup(const char *text) {
  size_t size = strlen(text) + 1;
  char *copy = slab_alloc(size);
  return copy ? memcpy(copy, text, size) : NULL;
}

#if !TOCSIN_SANITIZED
/* For every library of the process. What the system's other calls give (posix_memalign) comes back to it here. */
void *malloc(size_t size) { return slab_alloc(size); }
void *calloc(size_t count, size_t size) { return slab_calloc(count, size); }
void free(void *block) { slab_free(block); }

void *realloc(void *block, size_t size) {
  if (size || !block) return slab_realloc(block, size);
  slab_free(block);
  return NULL;
}

size_t malloc_usable_size(void *block) {
  size_t page;
  if (!system_size) *(void **)&system_size = dlsym(RTLD_NEXT, "malloc_usable_size");
  return ours(block, &page) ? class_size(slab.of[page].class) : system_size(block);
}
#endif

void slab_install(void) {
  if (TOCSIN_SANITIZED || slab.base) return;
  if (!(*(void **)&system_size = dlsym(RTLD_NEXT, "malloc_usable_size"))) return;
  const size_t size = (size_t)PAGES << PAGE_SHIFT, large = (size_t)GROW_PAGES << PAGE_SHIFT;
  void *range = mmap(NULL, size + large, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED) return; /* a limit on addresses: malloc will do */
  note_classes();
  slab.base = ((uintptr_t)range + large - 1) & ~(large - 1);
  /* Blocks lie scattered: with large pages the processor finds them sooner. The first 6 MiB are all that an idle engine needs. */
  madvise((void *)(slab.base + 3 * large), size - 3 * large, MADV_HUGEPAGE);
  pthread_atfork(lock, unlock, unlock);
  json_set_alloc_funcs(slab_alloc, slab_free);
  slab_join();
}

/* What the last thread left in a heap is taken over with it. */
void slab_join(void) {
  if (!slab.base || own) return;
  lock();
  for (size_t i = 0; !own && i < HEAPS; i++)
    if (!slab.heaps[i].taken) own = &slab.heaps[i];
  if (own) own->taken = true;
  unlock();
}

void slab_leave(void) {
  if (!own) return;
  lock();
  own->taken = false;
  unlock();
  own = NULL;
}
