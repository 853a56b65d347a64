/* map.h: a hash table from strings to pointers, with keyed hashing.
 *
 * Keys are copied, values are the caller's. Hashing is keyed with a random seed per process, because
 * keys come from strangers (RFC 4949 "algorithmic complexity" attacks). Order of walking is unspecified. */
#ifndef TOCSIN_BASE_MAP_H
#define TOCSIN_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>

struct map_slot;
struct map {
  struct map_slot *slots;
  size_t count, size, used;
};

void map_init(struct map *m);
/* free_value may be NULL. */
void map_release(struct map *m, void (*free_value)(void *value));
void *map_get(const struct map *m, const char *key);
/* Returns the value that was there before (NULL if none). Aborts the process when out of memory. */
void *map_put(struct map *m, const char *key, void *value);
void *map_remove(struct map *m, const char *key);
size_t map_count(const struct map *m);
/* for (size_t i = 0; map_next(&m, &i, &key, &value);) …  Do not change the map while walking. */
bool map_next(const struct map *m, size_t *at, const char **ret_key, void **ret_value);

#endif
