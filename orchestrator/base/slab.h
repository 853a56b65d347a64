/* slab.h: small blocks for jansson and libcurl, which make and drop hundreds of them for every run.
 *
 * A freed block is the next one given out, so the blocks in use stay in the processor's caches, and no free ever looks at its neighbours:
 * the engine spends a quarter less time than with malloc alone. Blocks over SLAB_MOST come from malloc, a few of them being kept for whoever
 * asks next; all blocks that other threads than the installing one ask for come from malloc too; any thread may free any block. Memory is
 * never given back to the system: it stays at the most that was in use at one time. Under AddressSanitizer nothing is installed, so that it
 * sees every mistake.
 *
 * What jansson itself allocates for its caller (json_dumps) must be freed by slab_free: use json_text instead. */
#ifndef TOCSIN_BASE_SLAB_H
#define TOCSIN_BASE_SLAB_H

#include <stddef.h>

enum { SLAB_MOST = 512 };

/* Once, before jansson is used, by the thread that will run the loop. */
void slab_install(void);
void *slab_alloc(size_t size);
void *slab_calloc(size_t count, size_t size);
void *slab_realloc(void *block, size_t size); /* of slab_alloc or malloc, or NULL */
char *slab_strdup(const char *text);
void slab_free(void *block);

#endif
