#include "evidence/verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "evidence/disk.h"
#include "evidence/head.h"

static const char ENTRY[] = "entry";

const char *fault_name(enum fault_kind kind) {
  static const char *const names[] = {"changed", "missing", "reordered", "added", "gap", "stale", "unsigned", "wrong-key"};
  return kind < FAULT_KINDS ? names[kind] : "unknown";
}

/* Hashes of one level of the tree, and which of them are known. */
struct row {
  struct hash *hashes;
  bool *known;
  uint64_t count;
};

struct verify {
  struct disk disk;
  const struct verify_options *options;
  struct verify_result *result;
  struct checkpoint checkpoint;
  bool is_signed;
  struct row stored[TILE_LEVELS];       /* tiles of level 1 and above, as they lie there */
  struct row from_entries, from_tiles;  /* of level 8 of the tree: one for each full bundle, hashed here */
  struct hash last_entries[TILE_WIDTH]; /* leaves of the unfinished bundle */
  struct hash last_tile[TILE_WIDTH];
  bool last_entries_known, last_tile_known;
  size_t unsure, unsure_end; /* these faults may be the entry's or the tile's */
  struct map journals;
  uint64_t breaks;
  struct buf bytes; /* the file that is read: its memory serves the next one */
};

__attribute__((format(printf, 6, 7))) static void fault_add(struct verify *v, enum fault_kind kind, const char *place, uint64_t from,
                                                            uint64_t to, const char *format, ...) {
  struct verify_result *r = v->result;
  if (r->count == FAULTS_KEPT) {
    r->more++;
    return;
  }
  if ((r->count & (r->count + 1)) == 0 || r->count == 0) {
    struct fault *grown = realloc(r->faults, (2 * r->count + 2) * sizeof *grown);
    if (!grown) abort();
    r->faults = grown;
  }
  struct fault *f = &r->faults[r->count++];
  va_list args;
  *f = (struct fault){.kind = kind, .from = from, .to = to};
  snprintf(f->place, sizeof f->place, "%s", place);
  va_start(args, format);
  vsnprintf(f->text, sizeof f->text, format, args);
  va_end(args);
}

/* Neighbours of one kind in one bundle become one range. */
static void entry_fault(struct verify *v, enum fault_kind kind, uint64_t index, const char *text) {
  struct verify_result *r = v->result;
  struct fault *last = r->count ? &r->faults[r->count - 1] : NULL;
  if (last && last->kind == kind && index % TILE_WIDTH && last->to + 1 == index && strcmp(last->place, ENTRY) == 0 &&
      strcmp(last->text, text) == 0)
    last->to = index;
  else fault_add(v, kind, ENTRY, index, index, "%s", text);
}

static void row_init(struct row *r, uint64_t count) {
  r->hashes = calloc(count + 1, sizeof *r->hashes);
  r->known = calloc(count + 1, sizeof *r->known);
  if (!r->hashes || !r->known) abort();
  r->count = count;
}

static void row_release(struct row *r) {
  free(r->hashes);
  free(r->known);
}

/* ---- reading */

/* Into v->bytes: the file as wide as it should be, or the full one that came in its place. */
static int file_load(struct verify *v, int level, uint64_t index, unsigned width, char path[TILE_PATH], bool *ret_full) {
  char full[TILE_PATH];
  tile_path(level, index, width, path);
  buf_reset(&v->bytes);
  int r = disk_read(&v->disk, path, &v->bytes, NULL);
  *ret_full = width == TILE_WIDTH;
  if (r != ERR_NOT_FOUND || width == TILE_WIDTH) return r;
  tile_path(level, index, TILE_WIDTH, full);
  *ret_full = true;
  return disk_read(&v->disk, full, &v->bytes, NULL);
}

/* False, and a fault, when it cannot serve. */
static bool tile_get(struct verify *v, int level, uint64_t index, unsigned width, struct hash *out) {
  char path[TILE_PATH];
  bool full = false;
  int r = file_load(v, level, index, width, path, &full);
  size_t want = (full ? TILE_WIDTH : width) * sizeof(struct hash);
  bool ok = r == 0 && v->bytes.len == want;
  if (ok) memcpy(out, v->bytes.data, width * sizeof *out);
  else if (r == ERR_NOT_FOUND) fault_add(v, FAULT_MISSING, path, 0, 0, "this tile is not there");
  else fault_add(v, FAULT_CHANGED, path, 0, 0, "it is not %zu bytes long, or cannot be read", want);
  return ok;
}

static void stored_load(struct verify *v) {
  for (int level = 1; level < TILE_LEVELS; level++) {
    struct row *row = &v->stored[level];
    row_init(row, tile_nodes(level, v->checkpoint.size));
    for (uint64_t i = 0; i * TILE_WIDTH < row->count; i++) {
      unsigned width = tile_width(level, i, v->checkpoint.size);
      if (tile_get(v, level, i, width, row->hashes + i * TILE_WIDTH)) memset(row->known + i * TILE_WIDTH, 1, width);
      else if (!v->is_signed) return; /* the size is anybody's word: do not go looking for more */
    }
  }
}

/* ---- roots */

/* A tree made of what was hashed here: whole bundles, and the leaves of the last. */
struct tree {
  const struct row *bundles;
  const struct hash *last;
  uint64_t last_from; /* index of last[0] */
};

static int tree_read(void *arg, unsigned level, uint64_t index, struct hash *out, struct err *err) {
  const struct tree *t = arg;
  if (level < 8) {
    tile_node(t->last, level, index - (t->last_from >> level), out);
    return 0;
  }
  if (level == 8) {
    if (!t->bundles->known[index]) return err_set(err, ERR_NOT_FOUND, "bundle %" PRIu64 " is unknown", index);
    *out = t->bundles->hashes[index];
    return 0;
  }
  struct hash left, right;
  int r = tree_read(arg, level - 1, 2 * index, &left, err);
  if (r == 0) r = tree_read(arg, level - 1, 2 * index + 1, &right, err);
  if (r == 0) merkle_node(&left, &right, out);
  return r;
}

static bool tree_root(const struct row *bundles, const struct hash *last, uint64_t size, struct hash *ret) {
  struct tree t = {bundles, last, size / TILE_WIDTH * TILE_WIDTH};
  return merkle_root(size, tree_read, &t, ret, NULL) == 0;
}

static void earlier_check(struct verify *v, uint64_t bundle, const struct hash *leaves) {
  for (size_t i = 0; i < v->options->earlier_count; i++) {
    const struct checkpoint *c = &v->options->earlier[i];
    struct hash root;
    if (c->size > v->checkpoint.size || c->size / TILE_WIDTH != bundle) continue;
    if (!tree_root(&v->from_entries, leaves, c->size, &root) || !hash_equal(&root, &c->root))
      fault_add(v, FAULT_CHANGED, "earlier checkpoint", 0, 0, "the first %" PRIu64 " entries are not those that were signed then", c->size);
  }
}

/* ---- the journals' own chains */

struct chain {
  uint64_t seq, breaks;
  char leaf[DIGEST_HEX];
  bool gap;
};

static void chain_step(struct verify *v, uint64_t index, const char *incident, uint64_t seq, const char *prev, const struct hash *leaf) {
  struct chain *c = map_get(&v->journals, incident);
  if (!c) {
    if (!(c = calloc(1, sizeof *c))) abort();
    memset(c->leaf, '0', DIGEST_HEX - 1);
    map_put(&v->journals, incident, c);
  }
  if (seq <= c->seq) {
    fault_add(v, c->gap ? FAULT_REORDERED : FAULT_ADDED, ENTRY, index, index, "%.80s/%" PRIu64 " comes after %.80s/%" PRIu64, incident, seq,
              incident, c->seq);
    return;
  }
  if (seq > c->seq + 1 && c->breaks == v->breaks) {
    fault_add(v, FAULT_GAP, ENTRY, index, index, "%.80s goes from entry %" PRIu64 " to %" PRIu64 ": what lies between is not in this log",
              incident, c->seq, seq);
    c->gap = true;
  } else if (seq == c->seq + 1 && strcmp(prev, c->leaf) != 0) {
    fault_add(v, FAULT_CHANGED, ENTRY, index, index, "%.80s/%" PRIu64 " names another entry as the one before it", incident, seq);
  }
  c->seq = seq;
  c->breaks = v->breaks;
  hex_encode(leaf->bytes, DIGEST_BYTES, c->leaf);
}

static void removal_add(struct verify *v, uint64_t index, const struct head *head) {
  struct verify_result *r = v->result;
  if (r->removal_count == FAULTS_KEPT) return;
  struct removal *grown = realloc(r->removals, (r->removal_count + 1) * sizeof *grown);
  if (!grown) abort();
  r->removals = grown;
  struct removal *one = &grown[r->removal_count++];
  *one = (struct removal){.index = index, .seq = head->removes, .by = head->seq};
  snprintf(one->incident, sizeof one->incident, "%s", head->incident);
}

static void chain_check(struct verify *v, uint64_t index, const struct tile_entry *e, const struct hash *leaf) {
  struct head head;
  if (v->options->plain) return;
  bool is_head = head_scan(e->bytes, e->len, &head);
  if (is_head) chain_step(v, index, head.incident, head.seq, head.prev, leaf);
  if (is_head && head.removes) removal_add(v, index, &head);
  if (!is_head) fault_add(v, FAULT_CHANGED, ENTRY, index, index, "it is no head of a journal entry");
}

/* ---- bundles */

enum { FOUND_MAX = TILE_WIDTH + 1 }; /* one more than there should be, to see it */

struct bundle {
  uint64_t first;
  unsigned width, count; /* as it should be; as found */
  size_t rest;
  bool present, has_tile;
  struct tile_entry entries[FOUND_MAX]; /* in v->bytes */
  struct hash leaves[FOUND_MAX], tile[TILE_WIDTH];
  int16_t place[TILE_WIDTH]; /* by hash of the tile: which entry found has it, -1 none */
};

static void bundle_get(struct verify *v, struct bundle *b) {
  char path[TILE_PATH];
  bool full = false;
  int r = file_load(v, TILE_ENTRIES, b->first / TILE_WIDTH, b->width, path, &full);
  b->present = r == 0;
  if (r < 0) {
    fault_add(v, FAULT_MISSING, path, 0, 0, "entries %" PRIu64 " to %" PRIu64 " are not there", b->first, b->first + b->width - 1);
    return;
  }
  b->count = bundle_count(v->bytes.data, v->bytes.len, FOUND_MAX, b->entries, &b->rest);
  if (full && b->width < TILE_WIDTH) {
    b->rest = 0;
    if (b->count > b->width) b->count = b->width;
  }
  for (unsigned i = 0; i < b->count; i++) merkle_leaf(b->entries[i].bytes, b->entries[i].len, &b->leaves[i]);
}

/* Gives every hash of the tile an entry that has it, its own first. ret_taken: entries that were given away. */
static void bundle_pair(struct bundle *b, bool taken[FOUND_MAX]) {
  memset(taken, 0, FOUND_MAX * sizeof *taken);
  for (unsigned i = 0; i < b->width; i++) {
    b->place[i] = i < b->count && hash_equal(&b->leaves[i], &b->tile[i]) ? (int16_t)i : -1;
    if (b->place[i] >= 0) taken[i] = true;
  }
  for (unsigned i = 0; i < b->width; i++) {
    for (unsigned j = 0; b->place[i] < 0 && j < b->count; j++) {
      if (taken[j] || !hash_equal(&b->leaves[j], &b->tile[i])) continue;
      b->place[i] = (int16_t)j;
      taken[j] = true;
    }
  }
}

/* Names what differs between entries and tile. */
static void bundle_compare(struct verify *v, struct bundle *b) {
  bool taken[FOUND_MAX];
  if (b->count == b->width && !b->rest && memcmp(b->tile, b->leaves, b->width * sizeof *b->tile) == 0) return;
  size_t before = v->result->count;
  unsigned j = 0;
  bundle_pair(b, taken);
  for (unsigned i = 0; i < b->width; i++) {
    uint64_t index = b->first + i;
    /* Entries that nothing claims stand before this place, or in it. */
    while (b->place[i] >= 0 && j < b->count && !taken[j]) entry_fault(v, FAULT_ADDED, index, "the tile does not know it"), j++;
    if (b->place[i] >= 0) {
      if ((unsigned)b->place[i] != j) entry_fault(v, FAULT_REORDERED, index, "another entry stands in its place");
      j++;
    } else if (j < b->count && !taken[j]) {
      entry_fault(v, FAULT_CHANGED, index, "its hash is not the one in its tile");
      j++;
    } else {
      entry_fault(v, FAULT_MISSING, index, "the tile has its hash, the bundle does not hold it");
    }
  }
  for (; j < b->count; j++)
    if (!taken[j]) entry_fault(v, FAULT_ADDED, b->first + b->width, "the tile does not know it");
  if (b->rest && v->result->count == before) entry_fault(v, FAULT_ADDED, b->first + b->width, "bytes behind the last entry of its bundle");
}

/* The level above knows whether the entries or the tile are as signed; otherwise the root will tell later. */
static void bundle_blame(struct verify *v, const struct bundle *b, size_t from) {
  uint64_t at = b->first / TILE_WIDTH;
  bool tile = false;
  if (b->width == TILE_WIDTH && v->stored[1].known && v->stored[1].known[at])
    tile = v->from_entries.known[at] && hash_equal(&v->from_entries.hashes[at], &v->stored[1].hashes[at]);
  else if (b->width < TILE_WIDTH) v->unsure = from, v->unsure_end = v->result->count;
  for (size_t i = from; tile && i < v->result->count; i++) {
    struct fault *f = &v->result->faults[i];
    f->kind = FAULT_CHANGED;
    snprintf(f->place, sizeof f->place, "tile of entry");
    snprintf(f->text, sizeof f->text, "the tile does not hold this entry's hash; the entry is as it was signed");
  }
}

static void bundle_roots(struct verify *v, struct bundle *b) {
  uint64_t at = b->first / TILE_WIDTH;
  bool entries = b->present && b->count == b->width && !b->rest;
  /* What one of the two lacks is taken from the other, so that the rest can still be judged. */
  if (!b->has_tile && entries) memcpy(b->tile, b->leaves, sizeof b->tile);
  if (b->width == TILE_WIDTH) {
    v->from_entries.known[at] = entries;
    v->from_tiles.known[at] = b->has_tile || entries;
    if (entries) tile_root(b->leaves, &v->from_entries.hashes[at]);
    if (entries && memcmp(b->tile, b->leaves, sizeof b->tile) == 0) v->from_tiles.hashes[at] = v->from_entries.hashes[at];
    else if (v->from_tiles.known[at]) tile_root(b->tile, &v->from_tiles.hashes[at]);
  } else {
    v->last_entries_known = entries;
    v->last_tile_known = b->has_tile || entries;
    memcpy(v->last_entries, b->leaves, sizeof v->last_entries);
    memcpy(v->last_tile, b->tile, sizeof b->tile);
  }
  earlier_check(v, at, b->leaves);
}

/* False when neither the bundle nor its tile is there. */
static bool bundle_check(struct verify *v, struct bundle *b, uint64_t first, unsigned width) {
  memset(b, 0, sizeof *b);
  b->first = first;
  b->width = width;
  b->has_tile = tile_get(v, 0, first / TILE_WIDTH, width, b->tile);
  bundle_get(v, b);
  bundle_roots(v, b);
  size_t before = v->result->count;
  if (b->present && b->has_tile) bundle_compare(v, b);
  else if (b->present && (b->count != width || b->rest))
    fault_add(v, FAULT_CHANGED, ENTRY, first + b->count, first + width - 1, "this bundle does not hold %u whole entries", width);
  bool sound = b->present && v->result->count == before;
  if (!sound && b->present) bundle_blame(v, b, before);
  bool tile_blamed = !sound && v->result->count > before && strcmp(v->result->faults[before].place, ENTRY) != 0;
  for (unsigned i = 0; i < width; i++) {
    int j = !b->present ? -1 : sound || tile_blamed ? (int)i : b->has_tile ? b->place[i] : -1;
    if (j >= 0 && (unsigned)j < b->count) chain_check(v, first + i, &b->entries[j], &b->leaves[j]);
    else v->breaks++;
  }
  return b->present || b->has_tile;
}

/* ---- the tree as a whole */

/* Each stored hash of level 1 and above must be that of what lies below: as stored, or as hashed here. */
static void stored_check(struct verify *v) {
  for (int level = 1; level < TILE_LEVELS; level++) {
    struct row *row = &v->stored[level];
    for (uint64_t i = 0; i < row->count; i++) {
      const struct hash *h = &row->hashes[i];
      struct hash below;
      struct tree entries = {&v->from_entries, NULL, 0}, tiles = {&v->from_tiles, NULL, 0};
      bool known = false, fits = false;
      if (!row->known[i]) continue;
      if (tree_read(&entries, 8 * (unsigned)level, i, &below, NULL) == 0) known = true, fits = hash_equal(h, &below);
      if (!fits && tree_read(&tiles, 8 * (unsigned)level, i, &below, NULL) == 0) known = true, fits = hash_equal(h, &below);
      if (!known || fits) continue;
      char path[TILE_PATH];
      tile_path(level, i / TILE_WIDTH, tile_width(level, i / TILE_WIDTH, v->checkpoint.size), path);
      fault_add(v, FAULT_CHANGED, path, 0, 0, "hash %u of this tile is not that of what lies below it", (unsigned)(i % TILE_WIDTH));
    }
  }
}

static void root_check(struct verify *v) {
  struct hash root;
  uint64_t size = v->checkpoint.size;
  bool partial = size % TILE_WIDTH != 0;
  bool e_known = (!partial || v->last_entries_known) && tree_root(&v->from_entries, v->last_entries, size, &root);
  bool entries = e_known && hash_equal(&root, &v->checkpoint.root);
  bool t_known = (!partial || v->last_tile_known) && tree_root(&v->from_tiles, v->last_tile, size, &root);
  bool tiles = t_known && hash_equal(&root, &v->checkpoint.root);
  for (size_t i = v->unsure; entries && i < v->unsure_end; i++) {
    struct fault *f = &v->result->faults[i];
    if (strcmp(f->place, ENTRY) != 0) continue;
    f->kind = FAULT_CHANGED;
    snprintf(f->place, sizeof f->place, "tile of entry");
    snprintf(f->text, sizeof f->text, "the tile does not hold this entry's hash; the entry is as it was signed");
  }
  if (entries || !t_known) return; /* unknown: what is missing has been named */
  if (v->result->count == 0 || !tiles)
    fault_add(v, FAULT_CHANGED, "log", 0, 0, "its entries do not have the root that the checkpoint gives");
}

static void checkpoint_check(struct verify *v) {
  struct buf bytes;
  struct note note;
  const char *place = "checkpoint";
  const struct note_verifier *key = v->options->key;
  buf_init(&bytes, NOTE_CAP);
  if (disk_read(&v->disk, place, &bytes, NULL) < 0) {
    fault_add(v, FAULT_MISSING, place, 0, 0, "there is no checkpoint: nothing says how long this log is");
    goto out;
  }
  v->is_signed = note_open(bytes.data, bytes.len, key, 1, &note, NULL) == 0;
  size_t text_len = note.text_len;
  if (note.state == NOTE_MALFORMED)
    text_len = bytes.len - (bytes.len > 1 && memcmp(bytes.data + bytes.len - 2, "\n\n", 2) == 0); /* the signatures were cut off */
  bool readable = checkpoint_read(bytes.data, text_len, &v->checkpoint, NULL) == 0;
  if (note.state == NOTE_FORGED) fault_add(v, FAULT_CHANGED, place, 0, 0, "the signature does not fit what it says");
  else if (note.state == NOTE_UNSIGNED && note.name_known)
    fault_add(v, FAULT_WRONG_KEY, place, 0, 0, "signed in the name of %.100s, but with another key", key->name);
  else if (note.state == NOTE_UNSIGNED || (note.state == NOTE_MALFORMED && readable))
    fault_add(v, FAULT_UNSIGNED, place, 0, 0, "no signature of %.100s", key->name);
  else if (!readable) fault_add(v, FAULT_CHANGED, place, 0, 0, "this is no signed checkpoint");
  if (readable && strcmp(v->checkpoint.origin, key->name) != 0)
    fault_add(v, FAULT_WRONG_KEY, place, 0, 0, "it is of another log: %.100s", v->checkpoint.origin);
out:
  buf_release(&bytes);
}

static void entries_check(struct verify *v) {
  struct bundle *b = malloc(sizeof *b);
  uint64_t size = v->checkpoint.size;
  bool whole = true;
  if (!b) abort();
  if (size == 0) earlier_check(v, 0, NULL);
  for (uint64_t i = 0; whole && i * TILE_WIDTH < size; i++)
    whole = bundle_check(v, b, i * TILE_WIDTH, tile_width(TILE_ENTRIES, i, size)) || v->is_signed;
  if (size && size % TILE_WIDTH == 0) earlier_check(v, size / TILE_WIDTH, NULL);
  free(b);
  if (!whole) return;
  stored_check(v);
  root_check(v);
  for (size_t i = 0; i < v->options->earlier_count; i++)
    if (v->options->earlier[i].size > size)
      fault_add(v, FAULT_STALE, "earlier checkpoint", 0, 0, "it covers %" PRIu64 " entries; this log has only %" PRIu64,
                v->options->earlier[i].size, size);
}

/* A size that nobody signed decides nothing about memory. */
static bool size_plausible(struct verify *v) {
  char path[TILE_PATH];
  if (v->is_signed || v->checkpoint.size == 0) return true;
  uint64_t last = (v->checkpoint.size - 1) / TILE_WIDTH;
  bool full;
  return file_load(v, TILE_ENTRIES, last, tile_width(TILE_ENTRIES, last, v->checkpoint.size), path, &full) == 0;
}

static int in_order(const void *a, const void *b) {
  const struct fault *x = a, *y = b;
  bool x_entry = strcmp(x->place, ENTRY) == 0, y_entry = strcmp(y->place, ENTRY) == 0;
  if (x_entry != y_entry) return x_entry ? 1 : -1;
  return (x->from > y->from) - (x->from < y->from);
}

int verify_log(const char *folder, const struct verify_options *options, struct verify_result *ret, struct err *err) {
  struct verify *v = calloc(1, sizeof *v);
  if (!v) abort();
  memset(ret, 0, sizeof *ret);
  v->options = options;
  v->result = ret;
  v->unsure = SIZE_MAX;
  int r = disk_look(&v->disk, folder, err);
  if (r < 0) {
    free(v);
    return r;
  }
  map_init(&v->journals);
  buf_init(&v->bytes, BUNDLE_CAP);
  checkpoint_check(v);
  if (!size_plausible(v)) v->checkpoint.size = 0;
  else if (v->checkpoint.origin[0]) {
    row_init(&v->from_entries, v->checkpoint.size / TILE_WIDTH);
    row_init(&v->from_tiles, v->checkpoint.size / TILE_WIDTH);
    stored_load(v);
    entries_check(v);
  }
  ret->size = v->checkpoint.size;
  ret->root = v->checkpoint.root;
  ret->journals = map_count(&v->journals);
  if (ret->count) qsort(ret->faults, ret->count, sizeof *ret->faults, in_order);
  for (int level = 1; level < TILE_LEVELS; level++) row_release(&v->stored[level]);
  row_release(&v->from_entries);
  row_release(&v->from_tiles);
  map_release(&v->journals, free);
  buf_release(&v->bytes);
  disk_close(&v->disk);
  free(v);
  return 0;
}

void verify_release(struct verify_result *r) {
  free(r->faults);
  free(r->removals);
  memset(r, 0, sizeof *r);
}
