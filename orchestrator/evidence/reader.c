#include "evidence/reader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NOTE_FILE_CAP = 1 << 16 };

int reader_open(const char *folder, const struct note_verifier *key, struct reader *ret, struct err *err) {
  struct reader r = {.note = NULL};
  struct note note;
  struct buf bytes;
  int e = disk_look(&r.disk, folder, err);
  if (e < 0) return e;
  buf_init(&bytes, NOTE_FILE_CAP);
  e = disk_read(&r.disk, "checkpoint", &bytes, err);
  if (e == 0 && (e = note_open(bytes.data, bytes.len, key, 1, &note, err)) < 0) err_wrap(err, "the checkpoint of %s", folder);
  if (e == 0) e = checkpoint_read(bytes.data, note.text_len, &r.checkpoint, err);
  if (e == 0 && strcmp(r.checkpoint.origin, key->name) != 0)
    e = err_set(err, ERR_INVALID, "the checkpoint is of another log: %s", r.checkpoint.origin);
  if (e == 0) {
    r.text_len = note.text_len;
    r.note = buf_take(&bytes, &r.note_len);
    *ret = r;
  } else {
    disk_close(&r.disk);
  }
  buf_release(&bytes);
  return e;
}

void reader_close(struct reader *r) {
  if (!r->note) return;
  disk_close(&r->disk);
  free(r->note);
  memset(r, 0, sizeof *r);
}

/* The first `width` entries of a bundle that may hold more. */
static int bundle_cut(const struct buf *bytes, unsigned width, const char *path, struct buf *out, struct err *err) {
  struct tile_entry entries[TILE_WIDTH];
  size_t rest;
  if (bundle_count(bytes->data, bytes->len, width, entries, &rest) != width)
    return err_set(err, ERR_INVALID, "%s does not hold %u entries", path, width);
  buf_add(out, bytes->data, (size_t)((const char *)entries[width - 1].bytes - bytes->data) + entries[width - 1].len);
  return 0;
}

int reader_tile(const struct reader *r, int level, uint64_t index, struct buf *out, struct err *err) {
  char path[TILE_PATH];
  struct buf bytes;
  unsigned width = tile_width(level, index, r->checkpoint.size);
  if (!width) return err_set(err, ERR_NOT_FOUND, "the log has no such tile");
  buf_init(&bytes, BUNDLE_CAP);
  tile_path(level, index, width, path);
  int e = disk_read(&r->disk, path, &bytes, err);
  if (e == ERR_NOT_FOUND && width < TILE_WIDTH) {
    buf_reset(&bytes);
    tile_path(level, index, TILE_WIDTH, path);
    e = disk_read(&r->disk, path, &bytes, err);
  }
  if (e == 0 && level == TILE_ENTRIES) e = bundle_cut(&bytes, width, path, out, err);
  else if (e == 0 && bytes.len < width * sizeof(struct hash)) e = err_set(err, ERR_INVALID, "%s is cut short", path);
  else if (e == 0) buf_add(out, bytes.data, width * sizeof(struct hash));
  buf_release(&bytes);
  return e;
}

static int node_read(void *arg, unsigned level, uint64_t index, struct hash *out, struct err *err) {
  const struct reader *r = arg;
  unsigned sub = level % 8;
  struct buf bytes;
  struct hash hashes[TILE_WIDTH];
  buf_init(&bytes, sizeof hashes);
  int e = reader_tile(r, (int)(level / 8), (index << sub) / TILE_WIDTH, &bytes, err);
  if (e == 0) {
    memcpy(hashes, bytes.data, bytes.len);
    tile_node(hashes, sub, index % (TILE_WIDTH >> sub), out);
  }
  buf_release(&bytes);
  return e;
}

int reader_root(const struct reader *r, uint64_t size, struct hash *ret, struct err *err) {
  if (size > r->checkpoint.size) return err_set(err, ERR_INVALID, "the log has only %" PRIu64 " entries", r->checkpoint.size);
  return merkle_root(size, node_read, (void *)(uintptr_t)r, ret, err);
}

int reader_inclusion(const struct reader *r, uint64_t index, struct merkle_proof *ret, struct err *err) {
  return merkle_inclusion(index, r->checkpoint.size, node_read, (void *)(uintptr_t)r, ret, err);
}

int reader_consistency(const struct reader *r, uint64_t first, struct merkle_proof *ret, struct err *err) {
  return merkle_consistency(first, r->checkpoint.size, node_read, (void *)(uintptr_t)r, ret, err);
}
