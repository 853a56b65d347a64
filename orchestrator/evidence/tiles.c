#include "evidence/tiles.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tile_path(int level, uint64_t index, unsigned width, char out[TILE_PATH]) {
  char number[40], kind[12];
  uint64_t divisor = 1;
  size_t used = 0;
  while (index / divisor >= 1000) divisor *= 1000;
  for (; divisor >= 1; divisor /= 1000)
    used += (size_t)snprintf(number + used, sizeof number - used, divisor > 1 ? "x%03u/" : "%03u", (unsigned)(index / divisor % 1000));
  if (level == TILE_ENTRIES) snprintf(kind, sizeof kind, "entries");
  else snprintf(kind, sizeof kind, "%d", level);
  if (width == TILE_WIDTH) snprintf(out, TILE_PATH, "tile/%s/%s", kind, number);
  else snprintf(out, TILE_PATH, "tile/%s/%s.p/%u", kind, number, width);
}

uint64_t tile_nodes(int level, uint64_t size) { return level <= 0 ? size : level >= TILE_LEVELS ? 0 : size >> (8 * level); }

unsigned tile_width(int level, uint64_t index, uint64_t size) {
  uint64_t nodes = tile_nodes(level, size), from = index * TILE_WIDTH;
  if (index > UINT64_MAX / TILE_WIDTH || nodes <= from) return 0;
  return nodes - from >= TILE_WIDTH ? TILE_WIDTH : (unsigned)(nodes - from);
}

void tile_node(const struct hash *hashes, unsigned level, uint64_t index, struct hash *out) {
  struct hash row[TILE_WIDTH];
  size_t n = (size_t)1 << level;
  memcpy(row, hashes + (index << level), n * sizeof *row);
  for (; n > 1; n /= 2)
    for (size_t i = 0; i < n / 2; i++) merkle_node(&row[2 * i], &row[2 * i + 1], &row[i]);
  *out = row[0];
}

void tile_root(const struct hash hashes[TILE_WIDTH], struct hash *out) { tile_node(hashes, 8, 0, out); }

int bundle_add(struct buf *bundle, const void *bytes, size_t len, struct err *err) {
  if (len > TILE_ENTRY_MAX)
    return err_set(err, ERR_LIMIT, "an entry of %zu bytes is too long for the evidence log: at most %d", len, TILE_ENTRY_MAX);
  const uint8_t prefix[2] = {(uint8_t)(len >> 8), (uint8_t)len};
  buf_add(bundle, prefix, 2);
  buf_add(bundle, bytes, len);
  return buf_ok(bundle) ? 0 : err_set(err, ERR_LIMIT, "a bundle of entries grew over %zu bytes", bundle->cap);
}

unsigned bundle_count(const void *bytes, size_t len, unsigned most, struct tile_entry *out, size_t *ret_rest) {
  const uint8_t *p = bytes;
  unsigned count = 0;
  while (count < most && len >= 2) {
    size_t n = (size_t)p[0] << 8 | p[1];
    if (n > len - 2) break;
    out[count++] = (struct tile_entry){p + 2, n};
    p += n + 2;
    len -= n + 2;
  }
  *ret_rest = len;
  return count;
}

int bundle_read(const void *bytes, size_t len, unsigned width, struct tile_entry out[TILE_WIDTH], struct err *err) {
  size_t rest = 0;
  unsigned count = bundle_count(bytes, len, TILE_WIDTH, out, &rest);
  if (count == width && rest == 0) return 0;
  return err_set(err, ERR_INVALID, "a bundle holds %u whole entries and %zu bytes more, not %u entries", count, rest, width);
}

void checkpoint_write(const struct checkpoint *c, struct buf *out) {
  char *root = base64_encode(c->root.bytes, DIGEST_BYTES);
  if (!root) abort();
  buf_addf(out, "%s\n%" PRIu64 "\n%s\n", c->origin, c->size, root);
  free(root);
}

/* Takes one line off; its length, or -1 when there is none. */
static long line_take(const char **text, size_t *len, const char **ret_line) {
  const char *end = memchr(*text, '\n', *len);
  if (!end) return -1;
  long n = end - *text;
  *ret_line = *text;
  *len -= (size_t)n + 1;
  *text = end + 1;
  return n;
}

/* Digits without a leading zero, below 2^64. */
static bool decimal(const char *text, long len, uint64_t *ret) {
  uint64_t value = 0;
  if (len < 1 || (len > 1 && *text == '0')) return false;
  for (long i = 0; i < len; i++) {
    if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(value, UINT64_C(10), &value) ||
        __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
      return false;
  }
  *ret = value;
  return true;
}

int checkpoint_read(const char *text, size_t len, struct checkpoint *ret, struct err *err) {
  struct checkpoint c = {.size = 0};
  const char *origin = "", *size = "", *root = "", *more = "";
  long origin_len = line_take(&text, &len, &origin), size_len = line_take(&text, &len, &size), root_len = line_take(&text, &len, &root);
  bool ok = origin_len > 0 && origin_len < NOTE_NAME && decimal(size, size_len, &c.size) && root_len > 0 &&
            note_base64(root, (size_t)root_len, c.root.bytes, DIGEST_BYTES);
  while (ok && len) ok = line_take(&text, &len, &more) > 0;
  if (!ok) return err_set(err, ERR_INVALID, "this is no checkpoint: it should hold origin, size and root, each on a line");
  memcpy(c.origin, origin, (size_t)origin_len);
  *ret = c;
  return 0;
}
