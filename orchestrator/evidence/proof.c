#include "evidence/proof.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "evidence/disk.h"

enum { NOTE_FILE_CAP = 1 << 16 };

/* The last tile of each level that was read: neighbours in the tree ask for the same ones. */
struct source {
  struct disk disk;
  uint64_t size;
  struct {
    bool known;
    uint64_t index;
    struct hash hashes[TILE_WIDTH];
  } tiles[TILE_LEVELS];
};

/* A tile as wide as it is under the checkpoint; one that was partial then may be full now. */
static int tile_read(struct source *s, int level, uint64_t index, const struct hash **ret, struct err *err) {
  unsigned width = tile_width(level, index, s->size);
  char path[TILE_PATH];
  struct buf bytes;
  if (s->tiles[level].known && s->tiles[level].index == index) {
    *ret = s->tiles[level].hashes;
    return 0;
  }
  buf_init(&bytes, sizeof s->tiles[level].hashes);
  tile_path(level, index, width, path);
  int r = disk_read(&s->disk, path, &bytes, err);
  if (r == ERR_NOT_FOUND && width < TILE_WIDTH) {
    tile_path(level, index, TILE_WIDTH, path);
    r = disk_read(&s->disk, path, &bytes, err);
  }
  if (r == 0 && bytes.len < width * sizeof(struct hash)) r = err_set(err, ERR_INVALID, "%s is cut short", path);
  if (r == 0) {
    memcpy(s->tiles[level].hashes, bytes.data, width * sizeof(struct hash));
    s->tiles[level].known = true;
    s->tiles[level].index = index;
    *ret = s->tiles[level].hashes;
  }
  buf_release(&bytes);
  return r;
}

static int node_read(void *arg, unsigned level, uint64_t index, struct hash *out, struct err *err) {
  const struct hash *hashes = NULL;
  unsigned sub = level % 8;
  int r = tile_read(arg, (int)(level / 8), (index << sub) / TILE_WIDTH, &hashes, err);
  if (r == 0) tile_node(hashes, sub, index % (TILE_WIDTH >> sub), out);
  return r;
}

static int source_open(const char *folder, struct source **ret, struct err *err) {
  struct source *s = calloc(1, sizeof *s);
  if (!s) abort();
  int r = disk_look(&s->disk, folder, err);
  if (r < 0) free(s);
  else *ret = s;
  return r;
}

static void source_close(struct source *s) {
  disk_close(&s->disk);
  free(s);
}

static int checkpoint_get(struct source *s, const struct note_verifier *key, struct proof_log *ret, struct err *err) {
  struct note note;
  struct buf bytes;
  buf_init(&bytes, NOTE_FILE_CAP);
  int r = disk_read(&s->disk, "checkpoint", &bytes, err);
  if (r == 0 && (r = note_open(bytes.data, bytes.len, key, 1, &note, err)) < 0) err_wrap(err, "the evidence log's checkpoint");
  if (r == 0) r = checkpoint_read(bytes.data, note.text_len, &ret->checkpoint, err);
  if (r == 0 && strcmp(ret->checkpoint.origin, key->name) != 0)
    r = err_set(err, ERR_INVALID, "the checkpoint is of another log: %s", ret->checkpoint.origin);
  if (r == 0) {
    s->size = ret->checkpoint.size;
    ret->note = buf_take(&bytes, &ret->note_len);
  }
  buf_release(&bytes);
  return r;
}

/* One pass over the leaves. A head that two adoptions brought in twice is proven where it stands first. */
static int leaves_find(struct source *s, struct proof *list, size_t count, struct err *err) {
  struct map wanted;
  char hex[DIGEST_HEX];
  size_t left = count;
  int r = 0;
  map_init(&wanted);
  for (size_t i = 0; i < count; i++) {
    hex_encode(list[i].leaf.bytes, DIGEST_BYTES, hex);
    map_put(&wanted, hex, &list[i]);
  }
  for (uint64_t tile = 0; r == 0 && left && tile * TILE_WIDTH < s->size; tile++) {
    const struct hash *hashes = NULL;
    r = tile_read(s, 0, tile, &hashes, err);
    for (unsigned i = 0; r == 0 && i < tile_width(0, tile, s->size); i++) {
      hex_encode(hashes[i].bytes, DIGEST_BYTES, hex);
      struct proof *p = map_get(&wanted, hex);
      if (!p || p->found) continue;
      p->found = true;
      p->index = tile * TILE_WIDTH + i;
      left--;
    }
  }
  map_release(&wanted, NULL);
  return r;
}

/* What is handed out has been checked. */
static int paths_make(struct source *s, const struct checkpoint *c, struct proof *list, size_t count, struct err *err) {
  for (size_t i = 0; i < count; i++) {
    struct proof *p = &list[i];
    if (!p->found) continue;
    int r = merkle_inclusion(p->index, c->size, node_read, s, &p->path, err);
    if (r < 0) return r;
    if (!merkle_verify_inclusion(p->index, c->size, &p->leaf, p->path.hashes, p->path.count, &c->root))
      return err_set(err, ERR_INVALID,
                     "entry %" PRIu64 " of the evidence log does not lead to its signed root: check it with tocsin evidence verify",
                     p->index);
  }
  return 0;
}

int proof_collect(const char *folder, const struct note_verifier *key, struct proof *list, size_t count, struct proof_log *ret,
                  struct err *err) {
  struct source *s = NULL;
  struct proof_log log = {.note = NULL};
  int r = source_open(folder, &s, err);
  if (r < 0) return r;
  for (size_t i = 0; i < count; i++) list[i].found = false;
  r = checkpoint_get(s, key, &log, err);
  if (r == 0) r = leaves_find(s, list, count, err);
  if (r == 0) r = paths_make(s, &log.checkpoint, list, count, err);
  if (r == 0) *ret = log;
  else free(log.note);
  source_close(s);
  return r;
}

int proof_consistency(const char *folder, const struct proof_log *log, const struct checkpoint *earlier, struct merkle_proof *ret,
                      struct err *err) {
  struct source *s = NULL;
  struct merkle_proof proof;
  const struct checkpoint *c = &log->checkpoint;
  int r = source_open(folder, &s, err);
  if (r < 0) return r;
  s->size = c->size;
  if (earlier->size == 0 || earlier->size > c->size)
    r = err_set(err, ERR_INVALID, "the earlier checkpoint covers %" PRIu64 " entries, this log %" PRIu64, earlier->size, c->size);
  if (r == 0) r = merkle_consistency(earlier->size, c->size, node_read, s, &proof, err);
  if (r == 0 && !merkle_verify_consistency(earlier->size, c->size, &earlier->root, &c->root, proof.hashes, proof.count))
    r = err_set(err, ERR_INVALID, "this log does not go on from the earlier checkpoint: one of them was forged");
  if (r == 0) *ret = proof;
  source_close(s);
  return r;
}
