#include "base/map.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"

struct map_slot {
  char *key; /* NULL: free; tombstone: removed */
  void *value;
  uint64_t hash;
};

static char tombstone[1];

static inline uint64_t rotate(uint64_t x, int b) { return x << b | x >> (64 - b); }

#define SIP_ROUND                                                                                                                          \
  do {                                                                                                                                     \
    v0 += v1, v1 = rotate(v1, 13), v1 ^= v0, v0 = rotate(v0, 32);                                                                          \
    v2 += v3, v3 = rotate(v3, 16), v3 ^= v2;                                                                                               \
    v0 += v3, v3 = rotate(v3, 21), v3 ^= v0;                                                                                               \
    v2 += v1, v1 = rotate(v1, 17), v1 ^= v2, v2 = rotate(v2, 32);                                                                          \
  } while (0)

/* SipHash-1-3 (Aumasson and Bernstein 2012, the reduced-round form), keyed once per process. */
static uint64_t hash_of(const char *key) {
  static uint64_t seed[2];
  if (!seed[0]) random_bytes(seed, sizeof seed);
  uint64_t v0 = seed[0] ^ 0x736f6d6570736575, v1 = seed[1] ^ 0x646f72616e646f6d;
  uint64_t v2 = seed[0] ^ 0x6c7967656e657261, v3 = seed[1] ^ 0x7465646279746573;
  size_t len = strlen(key), left = len;
  uint64_t m;
  for (; left >= 8; left -= 8, key += 8) {
    memcpy(&m, key, 8);
    v3 ^= m;
    SIP_ROUND;
    v0 ^= m;
  }
  m = (uint64_t)len << 56;
  for (size_t i = 0; i < left; i++) m |= (uint64_t)(unsigned char)key[i] << (8 * i);
  v3 ^= m;
  SIP_ROUND;
  v0 ^= m;
  v2 ^= 0xff;
  SIP_ROUND;
  SIP_ROUND;
  SIP_ROUND;
  return v0 ^ v1 ^ v2 ^ v3;
}

void map_init(struct map *m) { *m = (struct map){0}; }

void map_release(struct map *m, void (*free_value)(void *value)) {
  for (size_t i = 0; i < m->size; i++) {
    if (!m->slots[i].key || m->slots[i].key == tombstone) continue;
    if (free_value) free_value(m->slots[i].value);
    free(m->slots[i].key);
  }
  free(m->slots);
  map_init(m);
}

static struct map_slot *find(const struct map *m, const char *key, uint64_t hash) {
  if (!m->size) return NULL;
  for (size_t i = hash & (m->size - 1);; i = (i + 1) & (m->size - 1)) {
    struct map_slot *s = &m->slots[i];
    if (!s->key) return NULL;
    if (s->key != tombstone && s->hash == hash && strcmp(s->key, key) == 0) return s;
  }
}

static void insert(struct map *m, char *key, void *value, uint64_t hash) {
  size_t i = hash & (m->size - 1);
  while (m->slots[i].key && m->slots[i].key != tombstone) i = (i + 1) & (m->size - 1);
  if (!m->slots[i].key) m->used++;
  m->slots[i] = (struct map_slot){key, value, hash};
}

static void resize(struct map *m, size_t size) {
  struct map old = *m;
  m->slots = calloc(size, sizeof *m->slots);
  if (!m->slots) abort();
  m->size = size;
  m->used = 0;
  for (size_t i = 0; i < old.size; i++)
    if (old.slots[i].key && old.slots[i].key != tombstone) insert(m, old.slots[i].key, old.slots[i].value, old.slots[i].hash);
  free(old.slots);
}

void *map_get(const struct map *m, const char *key) {
  if (!m->count) return NULL;
  const struct map_slot *s = find(m, key, hash_of(key));
  return s ? s->value : NULL;
}

void *map_put(struct map *m, const char *key, void *value) {
  uint64_t hash = hash_of(key);
  struct map_slot *s = find(m, key, hash);
  if (s) {
    void *old = s->value;
    s->value = value;
    return old;
  }
  if ((m->used + 1) * 4 >= m->size * 3) resize(m, m->count * 4 < 16 ? 16 : (m->count * 2 >= m->size ? m->size * 2 : m->size));
  char *copy = strdup(key);
  if (!copy) abort();
  insert(m, copy, value, hash);
  m->count++;
  return NULL;
}

void *map_remove(struct map *m, const char *key) {
  struct map_slot *s = m->count ? find(m, key, hash_of(key)) : NULL;
  if (!s) return NULL;
  void *old = s->value;
  free(s->key);
  *s = (struct map_slot){.key = tombstone};
  m->count--;
  return old;
}

size_t map_count(const struct map *m) { return m->count; }

bool map_next(const struct map *m, size_t *at, const char **ret_key, void **ret_value) {
  for (; *at < m->size; (*at)++) {
    struct map_slot *s = &m->slots[*at];
    if (!s->key || s->key == tombstone) continue;
    if (ret_key) *ret_key = s->key;
    if (ret_value) *ret_value = s->value;
    (*at)++;
    return true;
  }
  return false;
}
