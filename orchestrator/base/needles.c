/* Wu and Manber's search (1994), with the first NEEDLE_MIN bytes of each string as its window: the last four bytes of a window tell how far it may move on. */
#include "base/needles.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { GRAM = 4, GRAMS = NEEDLE_MIN - GRAM + 1, GRAM_BITS = 14, HEAD_BITS = 10 };

struct needle {
  const char *bytes;
  size_t len;
  const void *of;
  struct needle *next;
};

struct needles {
  uint8_t nearest[1 << GRAM_BITS];      /* by four bytes: 0 when no window has them, else one more than the last place where one has them */
  struct needle *heads[1 << HEAD_BITS]; /* by the last four bytes of a window; the newest first */
};

static uint32_t gram_at(const char *text) {
  uint32_t gram;
  memcpy(&gram, text, sizeof gram);
  return gram * UINT32_C(2654435761);
}

static size_t gram_slot(uint32_t hash) { return hash >> (32 - GRAM_BITS); }

static size_t head_slot(uint32_t hash) { return hash >> (32 - HEAD_BITS); }

struct needles *needles_new(void) {
  struct needles *n = calloc(1, sizeof *n);
  if (!n) abort();
  return n;
}

void needles_free(struct needles *n) {
  if (!n) return;
  for (size_t i = 0; i < sizeof n->heads / sizeof *n->heads; i++)
    for (struct needle *each = n->heads[i], *next; each; each = next) {
      next = each->next;
      free(each);
    }
  free(n);
}

void needles_add(struct needles *n, const char *bytes, size_t len, const void *of) {
  struct needle *added = malloc(sizeof *added);
  if (!added || len < NEEDLE_MIN) abort(); /* one that is not looked for would be let through */
  struct needle **head = &n->heads[head_slot(gram_at(bytes + NEEDLE_MIN - GRAM))];
  *added = (struct needle){bytes, len, of, *head};
  *head = added;
  for (size_t at = 0; at < GRAMS; at++) {
    uint8_t *nearest = &n->nearest[gram_slot(gram_at(bytes + at))];
    if (*nearest <= at) *nearest = (uint8_t)(at + 1);
  }
}

static const struct needle *longest_at(const struct needle *each, const char *text, size_t left) {
  const struct needle *best = NULL;
  for (; each; each = each->next)
    if (each->len <= left && (!best || each->len > best->len) && memcmp(each->bytes, text, each->len) == 0) best = each;
  return best;
}

size_t needles_find(const struct needles *n, const char *text, size_t from, size_t len, const void **ret_of, size_t *ret_len) {
  size_t at = from, end = len < NEEDLE_MIN ? 0 : len - NEEDLE_MIN + 1;
  while (at < end) {
    uint32_t hash = gram_at(text + at + NEEDLE_MIN - GRAM);
    size_t nearest = n->nearest[gram_slot(hash)];
    if (__builtin_expect(nearest == 0, 1)) { /* a way of its own: the next place then waits for no look into the table */
      at += GRAMS;
      continue;
    }
    size_t on = GRAMS - nearest;
    const struct needle *found = on ? NULL : longest_at(n->heads[head_slot(hash)], text + at, len - at);
    if (found) {
      *ret_of = found->of;
      *ret_len = found->len;
      return at;
    }
    at += on ? on : 1;
  }
  return len;
}
