#include "journal/item.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "evidence/leaf.h"

static const struct redis_value *fields_of(const struct redis_value *item) { return redis_item(item, 1); }

/* Its name's only letter, a small one; 0 for another name. */
static int letter_at(const struct redis_value *fields, size_t at) {
  size_t len;
  const char *name = redis_string(redis_item(fields, at), &len);
  return len == 1 ? tolower((unsigned char)*name) : 0;
}

static uint64_t first_seq(const struct redis_value *item) { return strtoull(redis_string(redis_item(item, 0), NULL), NULL, 10); }

bool item_next(const struct redis_value *item, size_t *at, struct item_entry *ret) {
  const struct redis_value *fields = fields_of(item);
  size_t i = *at, count = redis_count(fields);
  uint64_t before = i ? ret->seq : first_seq(item) - 1;
  while (i + 1 < count && letter_at(fields, i) != 'e') i += 2;
  if (i + 1 >= count) return false;
  *ret = (struct item_entry){.seq = before + 1, .leaf = ""};
  ret->head = redis_string(redis_item(fields, i + 1), &ret->head_len);
  for (i += 2; i + 1 < count; i += 2) {
    int letter = letter_at(fields, i);
    const struct redis_value *value = redis_item(fields, i + 1);
    if (letter == 'e') break;
    if (letter == 'h') ret->leaf = redis_string(value, NULL);
    if (letter == 'b') ret->envelope = redis_string(value, &ret->envelope_len);
  }
  *at = i;
  return true;
}

uint64_t item_end(const struct redis_value *item, const char **ret_leaf) {
  const struct redis_value *fields = fields_of(item);
  uint64_t entries = 0;
  *ret_leaf = leaf_none();
  for (size_t i = 0; i + 1 < redis_count(fields); i += 2) {
    int letter = letter_at(fields, i);
    entries += letter == 'e';
    if (letter == 'h') *ret_leaf = redis_string(redis_item(fields, i + 1), NULL);
  }
  return item ? first_seq(item) + (entries ? entries - 1 : 0) : 0;
}

const char *item_holder(const struct redis_value *item) {
  const struct redis_value *fields = fields_of(item);
  for (size_t i = 0; i + 1 < redis_count(fields); i += 2)
    if (letter_at(fields, i) == 'n') return redis_string(redis_item(fields, i + 1), NULL);
  return NULL;
}
