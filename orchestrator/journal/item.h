/* item.h: one item of a journal's stream in Redis, as XRANGE gives it out.
 *
 * An item bears one entry, as e (head), h (leaf hash) and b (envelope); or all of a wave, as E, H and B of the first, then of the next, and so on: other names, so that a version which
 * knows only the former does not take a part for the whole. Its id is the seq of the first. So the length of the stream is not the number of entries, and its last id does not name the
 * last one. A body that was removed has no b. What stays of a journal that has left Redis is an item without entries: h
 * of the last one and n, the node whose evidence log holds it all, at that one's seq. */
#ifndef TOCSIN_JOURNAL_ITEM_H
#define TOCSIN_JOURNAL_ITEM_H

#include <stdint.h>

#include "wire/redis.h"

struct item_entry {
  uint64_t seq;
  const char *head, *leaf, *envelope; /* borrowed; leaf "" and envelope NULL when they are not there */
  size_t head_len, envelope_len;
};

/* The entry at field *at, which goes on to the next one; begin with 0. False: there is none. */
bool item_next(const struct redis_value *item, size_t *at, struct item_entry *ret);
/* The seq of its last entry and that one's leaf hash (64 digits, or zeros); 0 for no item. */
uint64_t item_end(const struct redis_value *item, const char **ret_leaf);
/* The node whose evidence log holds all up to here; NULL when entries are here themselves. */
const char *item_holder(const struct redis_value *item);

#endif
