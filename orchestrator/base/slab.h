/* slab.h: small blocks, of which hundreds are made and dropped for every run.
 *
 * A freed block is the next one given out, so the blocks in use stay in the processor's caches, and no free ever looks at its neighbours:
 * the engine spends a quarter less time than with the system's malloc alone. On the threads that have joined malloc itself gives such blocks,
 * each thread its own, to every library too, and free, realloc and malloc_usable_size know them on any thread: the functions here are for those
 * who want to save the look-up (jansson, libcurl), and blocks of the one are freed by the other as well. Blocks over SLAB_MOST come from the
 * system, some being kept for whoever asks next; all that other threads ask for does, too. Memory is never given back to the system: it
 * stays at the most that was in use at one time. Under a sanitizer nothing is installed, so that it sees every mistake. */
#ifndef TOCSIN_BASE_SLAB_H
#define TOCSIN_BASE_SLAB_H

#include <stddef.h>

enum { SLAB_MOST = 4096 };

/* Once, before jansson is used and any other thread begins, by the thread that will run the loop. */
void slab_install(void);
/* A thread's first and last call, when it makes and drops many blocks; without slab_install, and for one of too many threads, of no consequence. */
void slab_join(void);
void slab_leave(void);
void *slab_alloc(size_t size);
void *slab_calloc(size_t count, size_t size);
void *slab_realloc(void *block, size_t size); /* of slab_alloc or malloc, or NULL */
char *slab_strdup(const char *text);
void slab_free(void *block);

#endif
