#include "evidence/archive.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "evidence/bodies.h"
#include "evidence/reader.h"

enum { PATH_MOST = 4096 };

struct archive {
  char folder[PATH_MOST - 8];
  struct note_verifier key;
  struct reader log;
  struct bodies *bodies;
  struct catalogue *catalogue;
};

int archive_renew(struct archive *a, struct err *err) {
  char path[PATH_MOST];
  struct reader log;
  snprintf(path, sizeof path, "%s/log", a->folder);
  int r = reader_open(path, &a->key, &log, err);
  if (r < 0) return r;
  reader_close(&a->log);
  a->log = log;
  return 0;
}

int archive_open(const char *folder, const struct note_verifier *key, struct archive **ret, struct err *err) {
  struct archive *a = calloc(1, sizeof *a);
  if (!a) abort();
  a->key = *key;
  int r = (size_t)snprintf(a->folder, sizeof a->folder, "%s", folder) < sizeof a->folder
              ? catalogue_look(folder, &a->catalogue, err)
              : err_set(err, ERR_INVALID, "the path of the evidence folder is too long");
  if (r == 0) r = bodies_look(folder, &a->bodies, err);
  if (r == 0) r = archive_renew(a, err);
  if (r == 0) *ret = a;
  else archive_close(a);
  return r;
}

void archive_close(struct archive *a) {
  if (!a) return;
  reader_close(&a->log);
  bodies_close(a->bodies);
  catalogue_close(a->catalogue);
  free(a);
}

const struct checkpoint *archive_checkpoint(const struct archive *a) { return &a->log.checkpoint; }
const char *archive_note(const struct archive *a, size_t *ret_len) { return *ret_len = a->log.note_len, a->log.note; }

struct catalogue *archive_catalogue(struct archive *a) {
  return a->catalogue;
}

static int within(struct archive *a, const struct place *place, struct err *err) {
  return place->index < a->log.checkpoint.size ? 0 : archive_renew(a, err);
}

int archive_find(struct archive *a, const char *journal, uint64_t seq, struct place *ret, struct err *err) {
  struct place p;
  int r = catalogue_find(a->catalogue, journal, seq, &p, err);
  if (r == 0) r = within(a, &p, err);
  if (r == 0) *ret = p;
  return r;
}

int archive_last(struct archive *a, const char *journal, struct place *ret, struct err *err) {
  struct place p;
  int r = catalogue_last(a->catalogue, journal, &p, err);
  if (r == 0) r = within(a, &p, err);
  if (r == 0) *ret = p;
  return r;
}

int archive_head(const struct archive *a, uint64_t index, struct buf *out, struct err *err) {
  struct tile_entry entries[TILE_WIDTH];
  struct buf bundle, tile;
  struct hash leaf;
  uint64_t number = index / TILE_WIDTH, at = index % TILE_WIDTH;
  buf_init(&bundle, BUNDLE_CAP);
  buf_init(&tile, TILE_WIDTH * sizeof leaf);
  int r = index < a->log.checkpoint.size ? reader_tile(&a->log, TILE_ENTRIES, number, &bundle, err)
                                         : err_set(err, ERR_NOT_FOUND, "the evidence log has no entry %" PRIu64, index);
  if (r == 0) r = reader_tile(&a->log, 0, number, &tile, err);
  if (r == 0) r = bundle_read(bundle.data, bundle.len, tile_width(TILE_ENTRIES, number, a->log.checkpoint.size), entries, err);
  if (r == 0) merkle_leaf(entries[at].bytes, entries[at].len, &leaf);
  if (r == 0 && memcmp(leaf.bytes, tile.data + at * sizeof leaf, sizeof leaf) != 0)
    r = err_set(err, ERR_INVALID, "entry %" PRIu64 " of the evidence log was changed", index);
  if (r == 0) buf_add(out, entries[at].bytes, entries[at].len);
  buf_release(&bundle);
  buf_release(&tile);
  return r;
}

int archive_body(struct archive *a, const struct place *place, struct buf *out, struct err *err) {
  return bodies_read(a->bodies, place->index, &place->leaf, out, err);
}

int archive_inclusion(const struct archive *a, uint64_t index, struct merkle_proof *ret, struct err *err) {
  return reader_inclusion(&a->log, index, ret, err);
}

int archive_consistency(const struct archive *a, uint64_t first, struct merkle_proof *ret, struct err *err) {
  return reader_consistency(&a->log, first, ret, err);
}

int archive_forget_entry(struct bodies *bodies, struct catalogue *catalogue, const char *journal, uint64_t seq, struct err *err) {
  struct place place;
  int r = catalogue_find(catalogue, journal, seq, &place, err);
  if (r < 0) return r == ERR_NOT_FOUND ? 0 : r;
  r = bodies_remove(bodies, place.index, err);
  return r < 0 && r != ERR_NOT_FOUND ? r : catalogue_forget(catalogue, place.index, err);
}

/* The log's own size decides: what the catalogue does not know may be there all the same. */
static int catalogue_ready(const char *folder, const struct note_verifier *key, struct catalogue **ret, struct err *err) {
  char path[PATH_MOST];
  struct tlog *log = NULL;
  int r = (size_t)snprintf(path, sizeof path, "%s/log", folder) < sizeof path
              ? tlog_look(path, key, &log, err)
              : err_set(err, ERR_INVALID, "the path of the evidence folder is too long");
  if (r == 0) r = catalogue_open(folder, ret, err);
  if (r == 0 && catalogue_size(*ret) != tlog_size(log)) r = catalogue_follow(*ret, log, err);
  tlog_close(log);
  return r;
}

int archive_ready(const char *folder, const struct note_verifier *key, struct err *err) {
  struct catalogue *catalogue = NULL;
  int r = catalogue_ready(folder, key, &catalogue, err);
  catalogue_close(catalogue);
  return r;
}

int archive_forget(const char *folder, const struct note_verifier *key, const char *journal, uint64_t seq, struct err *err) {
  struct bodies *bodies = NULL;
  struct catalogue *catalogue = NULL;
  int r = catalogue_ready(folder, key, &catalogue, err);
  if (r == 0) r = bodies_open(folder, &bodies, err);
  if (r == 0) r = archive_forget_entry(bodies, catalogue, journal, seq, err);
  bodies_close(bodies);
  catalogue_close(catalogue);
  return r;
}
