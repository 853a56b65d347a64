#include "evidence/proof.h"

#include <inttypes.h>
#include <string.h>

#include "base/map.h"

/* The leaves of one tile. A head that two adoptions brought in twice is proven where it stands first. */
static int tile_look(const struct reader *log, uint64_t tile, const struct map *wanted, size_t *left, struct err *err) {
  struct buf bytes;
  char hex[DIGEST_HEX];
  buf_init(&bytes, TILE_WIDTH * sizeof(struct hash));
  int r = reader_tile(log, 0, tile, &bytes, err);
  for (size_t at = 0; r == 0 && at < bytes.len; at += sizeof(struct hash)) {
    hex_encode(bytes.data + at, DIGEST_BYTES, hex);
    struct proof *p = map_get(wanted, hex);
    if (!p || p->found) continue;
    p->found = true;
    p->index = tile * TILE_WIDTH + at / sizeof(struct hash);
    --*left;
  }
  buf_release(&bytes);
  return r;
}

static int leaves_find(const struct reader *log, struct proof *list, size_t count, struct err *err) {
  struct map wanted;
  char hex[DIGEST_HEX];
  size_t left = count;
  int r = 0;
  map_init(&wanted);
  for (size_t i = 0; i < count; i++) {
    list[i].found = false;
    hex_encode(list[i].leaf.bytes, DIGEST_BYTES, hex);
    map_put(&wanted, hex, &list[i]);
  }
  for (uint64_t tile = 0; r == 0 && left && tile * TILE_WIDTH < log->checkpoint.size; tile++) r = tile_look(log, tile, &wanted, &left, err);
  map_release(&wanted, NULL);
  return r;
}

int proof_collect(const struct reader *log, struct proof *list, size_t count, struct err *err) {
  const struct checkpoint *c = &log->checkpoint;
  int r = leaves_find(log, list, count, err);
  for (size_t i = 0; r == 0 && i < count; i++) {
    struct proof *p = &list[i];
    if (!p->found) continue;
    r = reader_inclusion(log, p->index, &p->path, err);
    if (r == 0 && !merkle_verify_inclusion(p->index, c->size, &p->leaf, p->path.hashes, p->path.count, &c->root))
      r = err_set(err, ERR_INVALID,
                  "entry %" PRIu64 " of the evidence log does not lead to its signed root: check it with tocsin evidence verify", p->index);
  }
  return r;
}

int proof_consistency(const struct reader *log, const struct checkpoint *earlier, struct merkle_proof *ret, struct err *err) {
  struct merkle_proof proof;
  const struct checkpoint *c = &log->checkpoint;
  if (earlier->size == 0 || earlier->size > c->size)
    return err_set(err, ERR_INVALID, "the earlier checkpoint covers %" PRIu64 " entries, this log %" PRIu64, earlier->size, c->size);
  int r = reader_consistency(log, earlier->size, &proof, err);
  if (r == 0 && !merkle_verify_consistency(earlier->size, c->size, &earlier->root, &c->root, proof.hashes, proof.count))
    r = err_set(err, ERR_INVALID, "this log does not go on from the earlier checkpoint of %" PRIu64 " entries: one of them was forged",
                earlier->size);
  if (r == 0) *ret = proof;
  return r;
}
