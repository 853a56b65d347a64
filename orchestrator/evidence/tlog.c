#include "evidence/tlog.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHECKPOINT_CAP = 65536, LEFTOVER_TILES = 32 };

/* The right edge of the tree: the unfinished tile of every level, and the unfinished bundle. */
struct edge {
  uint64_t size;
  unsigned width[TILE_LEVELS];
  struct hash hashes[TILE_LEVELS][TILE_WIDTH];
  struct buf bundle;
};

struct tlog {
  struct disk disk;
  struct note_signer signer;
  struct hash root;
  struct edge edge; /* as published */
  bool stale;       /* a batch failed: the checkpoint must be read anew before the next */
};

static int edge_read(void *arg, unsigned level, uint64_t index, struct hash *out, struct err *err) {
  const struct edge *e = arg;
  unsigned tile = level / 8, sub = level % 8;
  uint64_t from = tile < TILE_LEVELS ? tile_nodes((int)tile, e->size) / TILE_WIDTH * TILE_WIDTH : 0, at = (index << sub) - from;
  if (tile >= TILE_LEVELS || at + (1U << sub) > e->width[tile])
    return err_set(err, ERR_INTERNAL, "node %u/%" PRIu64 " is not on the edge of the log", level, index);
  tile_node(e->hashes[tile], sub, at >> sub, out);
  return 0;
}

static int edge_root(const struct edge *e, struct hash *ret, struct err *err) {
  return merkle_root(e->size, edge_read, (void *)(uintptr_t)e, ret, err);
}

static struct edge *edge_copy(const struct edge *from) {
  struct edge *e = malloc(sizeof *e);
  if (!e) abort();
  *e = *from;
  buf_init(&e->bundle, BUNDLE_CAP);
  buf_add(&e->bundle, from->bundle.data, from->bundle.len);
  return e;
}

static void edge_free(struct edge *e) {
  if (!e) return;
  buf_release(&e->bundle);
  free(e);
}

/* ---- one pass over a batch: the first writes, the second reads back and compares */

struct pass {
  struct tlog *log;
  struct edge *edge;
  bool write, changed[TILE_LEVELS];
};

static int file_put(const struct pass *p, const char *path, const void *bytes, size_t len, struct err *err) {
  struct disk *d = &p->log->disk;
  return p->write ? disk_write(d, path, bytes, len, err) : disk_expect(d, path, bytes, len, err);
}

/* Tile `index` of the level as wide as the edge has it; at level 0 with its bundle. */
static int tile_put(const struct pass *p, int level, uint64_t index, unsigned width, struct err *err) {
  char path[TILE_PATH];
  tile_path(level, index, width, path);
  int r = file_put(p, path, p->edge->hashes[level], width * sizeof(struct hash), err);
  if (r < 0 || level > 0 || !p->write) return r;
  tile_path(TILE_ENTRIES, index, width, path);
  return file_put(p, path, p->edge->bundle.data, p->edge->bundle.len, err);
}

/* Adds a node to the level; a tile that it fills is put down and its root goes one level up. */
static int node_push(struct pass *p, const struct hash *leaf, struct err *err) {
  struct edge *e = p->edge;
  struct hash h = *leaf;
  e->size++;
  for (int level = 0; level < TILE_LEVELS; level++) {
    e->hashes[level][e->width[level]++] = h;
    p->changed[level] = true;
    if (e->width[level] < TILE_WIDTH) return 0;
    int r = tile_put(p, level, tile_nodes(level, e->size) / TILE_WIDTH - 1, TILE_WIDTH, err);
    if (r < 0) return r;
    tile_root(e->hashes[level], &h);
    e->width[level] = 0;
    p->changed[level] = false;
    if (level == 0) buf_reset(&e->bundle);
  }
  return 0;
}

static int pass_end(struct pass *p, struct err *err) {
  int r = 0;
  for (int level = 0; r == 0 && level < TILE_LEVELS; level++) {
    if (p->changed[level]) r = tile_put(p, level, tile_nodes(level, p->edge->size) / TILE_WIDTH, p->edge->width[level], err);
  }
  return r;
}

static int batch_write(struct pass *p, const struct tlog_entry *entries, size_t count, struct err *err) {
  int r = 0;
  for (size_t i = 0; r == 0 && i < count; i++) {
    struct hash leaf;
    if (entries[i].leaf) leaf = *entries[i].leaf; /* whether it is the entry's shows when that is read back */
    else merkle_leaf(entries[i].bytes, entries[i].len, &leaf);
    if ((r = bundle_add(&p->edge->bundle, entries[i].bytes, entries[i].len, err)) == 0) r = node_push(p, &leaf, err);
  }
  if (r == 0) r = pass_end(p, err);
  return r < 0 ? r : disk_sync(&p->log->disk, err);
}

/* One bundle as it lies on disk, hashed into the edge. Entries that were there before must hash to what was published. */
static int bundle_push(struct pass *p, uint64_t index, unsigned width, struct err *err) {
  struct tile_entry entries[TILE_WIDTH];
  struct buf bytes;
  char path[TILE_PATH];
  unsigned known = (unsigned)(p->edge->size - index * TILE_WIDTH);
  tile_path(TILE_ENTRIES, index, width, path);
  buf_init(&bytes, BUNDLE_CAP);
  int r = disk_read(&p->log->disk, path, &bytes, err);
  if (r == 0) r = bundle_read(bytes.data, bytes.len, width, entries, err);
  for (unsigned i = 0; r == 0 && i < width; i++) {
    struct hash leaf;
    merkle_leaf(entries[i].bytes, entries[i].len, &leaf);
    if (i >= known) r = node_push(p, &leaf, err);
    else if (!hash_equal(&leaf, &p->edge->hashes[0][i]))
      r = err_set(err, ERR_INVALID, "entry %" PRIu64 " of the evidence log was changed", index * TILE_WIDTH + i);
  }
  buf_release(&bytes);
  return r;
}

static int batch_check(struct pass *p, uint64_t size, struct err *err) {
  int r = 0;
  while (r == 0 && p->edge->size < size) {
    uint64_t index = p->edge->size / TILE_WIDTH;
    r = bundle_push(p, index, tile_width(TILE_ENTRIES, index, size), err);
  }
  return r < 0 ? r : pass_end(p, err);
}

/* ---- the checkpoint */

static int checkpoint_publish(struct tlog *t, uint64_t size, const struct hash *root, struct err *err) {
  struct checkpoint c = {.size = size, .root = *root};
  struct buf text, note;
  snprintf(c.origin, sizeof c.origin, "%s", t->signer.verifier.name);
  buf_init(&text, CHECKPOINT_CAP);
  buf_init(&note, CHECKPOINT_CAP);
  checkpoint_write(&c, &text);
  int r = note_sign(&t->signer, text.data, text.len, &note, err);
  if (r == 0) r = disk_replace(&t->disk, "checkpoint", note.data, note.len, err);
  buf_release(&text);
  buf_release(&note);
  return r;
}

static int checkpoint_load(struct tlog *t, struct checkpoint *ret, struct err *err) {
  struct note note;
  struct buf bytes;
  buf_init(&bytes, CHECKPOINT_CAP);
  int r = disk_settle(&t->disk, "checkpoint", err);
  if (r == 0) r = disk_read(&t->disk, "checkpoint", &bytes, err);
  if (r == 0 && (r = note_open(bytes.data, bytes.len, &t->signer.verifier, 1, &note, err)) < 0)
    err_wrap(err, "the evidence log's checkpoint");
  if (r == 0) r = checkpoint_read(bytes.data, note.text_len, ret, err);
  if (r == 0 && strcmp(ret->origin, t->signer.verifier.name) != 0)
    r = err_set(err, ERR_INVALID, "the checkpoint is of another log: %s", ret->origin);
  buf_release(&bytes);
  return r;
}

/* ---- opening */

static int tile_load(const struct disk *d, int level, uint64_t index, unsigned width, struct hash *out, struct err *err) {
  char path[TILE_PATH];
  struct buf bytes;
  buf_init(&bytes, TILE_WIDTH * sizeof(struct hash));
  tile_path(level, index, width, path);
  int r = disk_read(d, path, &bytes, err);
  if (r == 0 && bytes.len != width * sizeof(struct hash))
    r = err_set(err, ERR_INVALID, "%s has %zu bytes, not %zu", path, bytes.len, width * sizeof(struct hash));
  if (r == 0) memcpy(out, bytes.data, bytes.len);
  buf_release(&bytes);
  return r;
}

static int edge_load(const struct disk *d, struct edge *e, struct err *err) {
  struct tile_entry entries[TILE_WIDTH];
  char path[TILE_PATH];
  int r = 0;
  for (int level = 0; r == 0 && level < TILE_LEVELS; level++) {
    uint64_t nodes = tile_nodes(level, e->size);
    e->width[level] = (unsigned)(nodes % TILE_WIDTH);
    if (e->width[level]) r = tile_load(d, level, nodes / TILE_WIDTH, e->width[level], e->hashes[level], err);
  }
  if (r < 0 || e->width[0] == 0) return r;
  tile_path(TILE_ENTRIES, e->size / TILE_WIDTH, e->width[0], path);
  r = disk_read(d, path, &e->bundle, err);
  if (r == 0) r = bundle_read(e->bundle.data, e->bundle.len, e->width[0], entries, err);
  for (unsigned i = 0; r == 0 && i < e->width[0]; i++) {
    struct hash leaf;
    merkle_leaf(entries[i].bytes, entries[i].len, &leaf);
    if (!hash_equal(&leaf, &e->hashes[0][i]))
      r = err_set(err, ERR_INVALID, "entry %" PRIu64 " was changed", e->size / TILE_WIDTH * TILE_WIDTH + i);
  }
  return r;
}

/* Reads the checkpoint and the edge that it covers. Only what fits its root is taken over. */
static int reload(struct tlog *t, struct err *err) {
  struct checkpoint c = {.size = 0};
  struct hash root;
  int r = checkpoint_load(t, &c, err);
  if (r < 0) return r;
  struct edge *e = calloc(1, sizeof *e);
  if (!e) abort();
  e->size = c.size;
  buf_init(&e->bundle, BUNDLE_CAP);
  r = edge_load(&t->disk, e, err);
  if (r == 0) r = edge_root(e, &root, err);
  if (r == 0 && !hash_equal(&root, &c.root)) r = err_set(err, ERR_INVALID, "its tiles do not have the root that the checkpoint gives");
  if (r == 0) {
    buf_release(&t->edge.bundle);
    t->edge = *e;
    t->root = root;
    t->stale = false;
    free(e);
  } else {
    err_wrap(err, "the evidence log is damaged; check it with tocsin evidence verify");
    edge_free(e);
  }
  return r;
}

/* Widths that were passed on the way to a full tile are of no use any more. Failing to remove them harms nothing. */
static void leftovers_remove(struct tlog *t, uint64_t from_size) {
  char path[TILE_PATH];
  for (int level = TILE_ENTRIES; level < TILE_LEVELS; level++) {
    uint64_t full = tile_nodes(level, t->edge.size) / TILE_WIDTH;
    for (uint64_t i = tile_nodes(level, from_size) / TILE_WIDTH; i < full; i++) {
      tile_path(level, i, 1, path);
      path[strlen(path) - 2] = 0;
      disk_remove_folder(&t->disk, path, NULL);
    }
  }
}

/* A folder with tiles and no checkpoint is not new: somebody took the checkpoint away. */
static int begin(struct tlog *t, struct err *err) {
  struct hash root;
  struct buf probe;
  merkle_empty(&root);
  buf_init(&probe, 1);
  int r = disk_read(&t->disk, "tile", &probe, err);
  buf_release(&probe);
  if (r != ERR_NOT_FOUND)
    return err_set(err, ERR_INVALID, "the evidence log has tiles and no checkpoint: restore the newest one that you have");
  return checkpoint_publish(t, 0, &root, err);
}

int tlog_open(const char *folder, const struct note_signer *signer, disk_fault_cb *fault, void *arg, struct tlog **ret, struct err *err) {
  struct tlog *t = calloc(1, sizeof *t);
  if (!t) abort();
  struct buf probe;
  t->signer = *signer;
  buf_init(&t->edge.bundle, BUNDLE_CAP);
  buf_init(&probe, CHECKPOINT_CAP);
  int r = disk_open(&t->disk, folder, fault, arg, err);
  if (r < 0) goto out;
  r = disk_read(&t->disk, "checkpoint", &probe, err);
  if (r == ERR_NOT_FOUND) r = begin(t, err);
  if (r == 0) r = reload(t, err);
  if (r < 0) goto out;
  leftovers_remove(t, t->edge.size > LEFTOVER_TILES * TILE_WIDTH ? t->edge.size - LEFTOVER_TILES * TILE_WIDTH : 0);
  *ret = t;
  t = NULL;
out:
  buf_release(&probe);
  tlog_close(t);
  return r;
}

int tlog_look(const char *folder, const struct note_verifier *key, struct tlog **ret, struct err *err) {
  struct tlog *t = calloc(1, sizeof *t);
  if (!t) abort();
  t->signer.verifier = *key;
  buf_init(&t->edge.bundle, BUNDLE_CAP);
  int r = disk_look(&t->disk, folder, err);
  if (r == 0) r = reload(t, err);
  if (r == 0) *ret = t;
  else tlog_close(t);
  return r;
}

void tlog_close(struct tlog *t) {
  if (!t) return;
  disk_close(&t->disk);
  buf_release(&t->edge.bundle);
  note_signer_wipe(&t->signer);
  free(t);
}

/* ---- appending */

static int batch_publish(struct tlog *t, struct edge *written, const struct tlog_entry *entries, size_t count, struct err *err) {
  struct edge *again = edge_copy(&t->edge);
  struct pass first = {.log = t, .edge = written, .write = true}, second = {.log = t, .edge = again};
  struct hash root, root_again;
  int r = batch_write(&first, entries, count, err);
  if (r == 0) r = batch_check(&second, written->size, err);
  if (r == 0) r = edge_root(written, &root, err);
  if (r == 0) r = edge_root(again, &root_again, err);
  if (r == 0 && !hash_equal(&root, &root_again))
    r = err_set(err, ERR_IO, "the log hashes to another root when read back: check this disk and memory");
  if (r == 0) r = checkpoint_publish(t, written->size, &root, err);
  if (r == 0) t->root = root;
  edge_free(again);
  return r;
}

int tlog_append(struct tlog *t, const struct tlog_entry *entries, size_t count, struct err *err) {
  int r = t->stale ? reload(t, err) : 0;
  if (r < 0 || count == 0) return r;
  struct edge *written = edge_copy(&t->edge);
  uint64_t before = t->edge.size;
  disk_forget(&t->disk);
  r = batch_publish(t, written, entries, count, err);
  if (r == 0) {
    buf_release(&t->edge.bundle);
    t->edge = *written;
    free(written);
    leftovers_remove(t, before);
    return 0;
  }
  edge_free(written);
  /* The rename may have happened: what the disk says counts, now or before the next batch. */
  t->stale = true;
  reload(t, NULL);
  return r;
}

/* The lines that the note does not bear yet. */
static void lines_add(struct buf *note, const char *lines, size_t len) {
  for (const char *end = lines + len, *next; lines < end; lines = next) {
    const char *newline = memchr(lines, '\n', (size_t)(end - lines));
    next = newline ? newline + 1 : end;
    if (newline && !memmem(note->data, note->len, lines, (size_t)(next - lines))) buf_add(note, lines, (size_t)(next - lines));
  }
}

int tlog_cosign(struct tlog *t, uint64_t size, const char *lines, size_t len, struct err *err) {
  struct checkpoint c;
  struct note note;
  struct buf bytes;
  int r = t->stale ? reload(t, err) : 0;
  if (r < 0) return r;
  if (size != t->edge.size) return err_set(err, ERR_CONFLICT, "the log has gone on: its newest checkpoint is another");
  disk_forget(&t->disk);
  buf_init(&bytes, CHECKPOINT_CAP);
  r = disk_read(&t->disk, "checkpoint", &bytes, err);
  size_t before = bytes.len;
  if (r == 0) lines_add(&bytes, lines, len);
  /* What is put in place opens with our key, and says what this log is. */
  if (r == 0 && !buf_ok(&bytes)) r = err_set(err, ERR_LIMIT, "the checkpoint has too many cosignatures");
  if (r == 0) r = note_open(bytes.data, bytes.len, &t->signer.verifier, 1, &note, err);
  if (r == 0) r = checkpoint_read(bytes.data, note.text_len, &c, err);
  if (r == 0 && (c.size != size || !hash_equal(&c.root, &t->root)))
    r = err_set(err, ERR_INVALID, "the checkpoint on disk is not the one that was published");
  if (r == 0 && bytes.len != before) r = disk_replace(&t->disk, "checkpoint", bytes.data, bytes.len, err);
  buf_release(&bytes);
  return r;
}

uint64_t tlog_size(const struct tlog *t) { return t->edge.size; }
void tlog_root(const struct tlog *t, struct hash *out) { *out = t->root; }
const char *tlog_origin(const struct tlog *t) { return t->signer.verifier.name; }

/* ---- reading */

/* One bundle with its tile; the entries point into bytes. */
static int bundle_load(const struct tlog *t, uint64_t number, struct buf *bytes, struct tile_entry entries[TILE_WIDTH],
                       struct hash hashes[TILE_WIDTH], struct err *err) {
  char path[TILE_PATH];
  unsigned width = tile_width(TILE_ENTRIES, number, t->edge.size);
  tile_path(TILE_ENTRIES, number, width, path);
  int r = disk_read(&t->disk, path, bytes, err);
  if (r == 0) r = bundle_read(bytes->data, bytes->len, width, entries, err);
  return r < 0 ? r : tile_load(&t->disk, 0, number, width, hashes, err);
}

int tlog_each(const struct tlog *t, uint64_t from, uint64_t to, tlog_each_cb *cb, void *arg, struct err *err) {
  struct tile_entry entries[TILE_WIDTH];
  struct hash hashes[TILE_WIDTH], leaf;
  struct buf bytes;
  int r = 0;
  if (to > t->edge.size) return err_set(err, ERR_NOT_FOUND, "the evidence log has only %" PRIu64 " entries", t->edge.size);
  buf_init(&bytes, BUNDLE_CAP);
  while (r >= 0 && from < to) {
    uint64_t number = from / TILE_WIDTH;
    buf_reset(&bytes);
    r = bundle_load(t, number, &bytes, entries, hashes, err);
    for (; r >= 0 && from < to && from / TILE_WIDTH == number; from++) {
      const struct tile_entry *e = &entries[from % TILE_WIDTH];
      merkle_leaf(e->bytes, e->len, &leaf);
      r = hash_equal(&leaf, &hashes[from % TILE_WIDTH])
              ? cb(arg, from, e->bytes, e->len, &leaf, err)
              : err_set(err, ERR_INVALID, "entry %" PRIu64 " of the evidence log was changed", from);
    }
  }
  buf_release(&bytes);
  return r < 0 ? r : 0;
}

static int read_one(void *arg, uint64_t index, const void *bytes, size_t len, const struct hash *leaf, struct err *err) {
  buf_add(arg, bytes, len);
  return 0;
}

int tlog_read(const struct tlog *t, uint64_t index, struct buf *out, struct err *err) {
  if (index >= t->edge.size)
    return err_set(err, ERR_NOT_FOUND, "the evidence log has %" PRIu64 " entries; there is no entry %" PRIu64, t->edge.size, index);
  return tlog_each(t, index, index + 1, read_one, out, err);
}

/* The tree as it is now; a smaller one's nodes are all among its own. */
static int node_read(void *arg, unsigned level, uint64_t index, struct hash *out, struct err *err) {
  const struct tlog *t = arg;
  struct hash hashes[TILE_WIDTH];
  unsigned sub = level % 8;
  uint64_t tile = (index << sub) / TILE_WIDTH;
  int r = tile_load(&t->disk, (int)(level / 8), tile, tile_width((int)(level / 8), tile, t->edge.size), hashes, err);
  if (r == 0) tile_node(hashes, sub, index % (TILE_WIDTH >> sub), out);
  return r;
}

int tlog_inclusion(const struct tlog *t, uint64_t index, uint64_t size, struct merkle_proof *ret, struct err *err) {
  if (size > t->edge.size) return err_set(err, ERR_INVALID, "the evidence log has only %" PRIu64 " entries", t->edge.size);
  return merkle_inclusion(index, size, node_read, (void *)(uintptr_t)t, ret, err);
}

int tlog_consistency(const struct tlog *t, uint64_t first, uint64_t second, struct merkle_proof *ret, struct err *err) {
  if (second > t->edge.size) return err_set(err, ERR_INVALID, "the evidence log has only %" PRIu64 " entries", t->edge.size);
  return merkle_consistency(first, second, node_read, (void *)(uintptr_t)t, ret, err);
}
