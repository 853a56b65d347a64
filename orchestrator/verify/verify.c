/* tocsin-verify: is this evidence complete and unchanged?   tocsin-verify FOLDER|BUNDLE.zip --key NAME+HASH+BASE64 [--checkpoint FILE]…
 *
 * A bundle (ZIP) is told in bundle.c. A folder is a whole log:
 *
 * What it does, in this order:
 *  1. The checkpoint must bear a signature of the given key. It says how many entries there are and what the root of their Merkle tree is.
 *  2. Every bundle of entries is read and each entry hashed; the hashes must be those in the tiles. (walk_bundle)
 *  3. The tree is built anew twice, from the entries and from the lowest tiles, and every tile is compared with it. (tree_push)
 *  4. The root so found must be the signed one. (roots_judge)
 *  5. Entries are heads of journals: each must follow the one before it in its own journal, from the first on. (chain_check)
 *  6. Earlier checkpoints, kept elsewhere, must be a beginning of this log. (earlier_check)
 * Each fault is one line: kind, place, explanation. Nothing passes that is not signed. Exit status 0: sound; 1: not; 2: wrong use.
 * It does not prove that the holder of the key did not write another log: for that, compare with checkpoints kept elsewhere (--checkpoint). */
#include <inttypes.h>
#include <search.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "verify/read.h"

enum { SHOWN_FAULTS = 1000, EARLIER = 64 };

/* ---- faults: kept until it is known whether the entries or the lowest tiles are wrong */

struct fault {
  const char *kind;
  uint64_t from, to; /* entries, when there is no place */
  char place[96], text[240];
};
static struct fault *faults;
static size_t fault_count;
static bool entries_right; /* they have the signed root: what differs from them was done to the tiles */

static struct fault *fault_new(const char *kind) {
  if ((fault_count & (fault_count - 1)) == 0 && !(faults = realloc(faults, (2 * fault_count + 1) * sizeof *faults))) abort();
  faults[fault_count] = (struct fault){.kind = kind};
  return &faults[fault_count++];
}

void fault_at(const char *kind, const char *place, const char *format, ...) {
  struct fault *f = fault_new(kind);
  va_list args;
  va_start(args, format);
  vsnprintf(f->text, sizeof f->text, format, args);
  va_end(args);
  snprintf(f->place, sizeof f->place, "%s", place);
}

/* Neighbours of one kind become one range. */
static void fault_entry(const char *kind, uint64_t index, const char *text) {
  struct fault *last = fault_count ? &faults[fault_count - 1] : NULL;
  if (last && last->kind == kind && !last->place[0] && index % WIDTH && last->to + 1 == index && strcmp(last->text, text) == 0) {
    last->to = index;
    return;
  }
  struct fault *f = fault_new(kind);
  f->from = f->to = index;
  snprintf(f->text, sizeof f->text, "%s", text);
}

static void faults_print(void) {
  for (size_t i = 0; i < fault_count && i < SHOWN_FAULTS; i++) {
    const struct fault *f = &faults[i];
    if (f->place[0]) {
      printf("%s %s: %s\n", f->kind, f->place, f->text);
      continue;
    }
    printf("%s entr%s %" PRIu64, entries_right ? "changed tile of" : f->kind, f->from == f->to ? "y" : "ies", f->from);
    if (f->from != f->to) printf("-%" PRIu64, f->to);
    printf(": %s\n", entries_right ? "the tile does not hold this entry's hash; the entry is as it was signed" : f->text);
  }
  if (fault_count > SHOWN_FAULTS) printf("and %zu faults more\n", fault_count - SHOWN_FAULTS);
}

/* ---- what is being checked */

struct level {
  uint8_t entries[WIDTH][HASH], tiles[WIDTH][HASH]; /* the unfinished tile, built from the entries and from the lowest tiles */
  bool blind[WIDTH]; /* nothing below it could be read: its hash is unknown until the tile of this level gives it */
  unsigned n;
};

static struct {
  const char *folder;
  struct key key;
  bool plain; /* entries are no heads of journals */
  struct checkpoint checkpoint;
  bool is_signed, incomplete; /* incomplete: some entries could not be read, so their hashes come from the tiles */
  struct level levels[LEVELS];
  uint64_t done; /* leaves pushed */
  struct earlier earlier[EARLIER];
  size_t earlier_count;
} v;

/* "tile/0/x001/x234/067" or with ".p/112" behind; C2SP tlog-tiles. */
static void tile_name(const char *kind, uint64_t index, unsigned width, char out[96]) {
  int n = snprintf(out, 96, "tile/%s/", kind);
  uint64_t unit = 1;
  while (index / unit >= 1000) unit *= 1000;
  for (; unit > 1; unit /= 1000) n += snprintf(out + n, 96 - (size_t)n, "x%03u/", (unsigned)(index / unit % 1000));
  n += snprintf(out + n, 96 - (size_t)n, "%03u", (unsigned)(index % 1000));
  if (width < WIDTH) snprintf(out + n, 96 - (size_t)n, ".p/%u", width);
}

/* A partial file may have been replaced by the full one: its beginning serves as well. */
static bool tile_load(const char *kind, uint64_t index, unsigned width, char name[96], struct bytes *ret) {
  char full[96];
  tile_name(kind, index, width, name);
  tile_name(kind, index, WIDTH, full);
  return file_load(v.folder, name, FILE_CAP, ret) || (width < WIDTH && file_load(v.folder, full, FILE_CAP, ret));
}

/* ---- 3. the tree */

static void row_root(uint8_t hashes[WIDTH][HASH], unsigned n, uint8_t out[HASH]) {
  uint8_t row[WIDTH][HASH];
  memcpy(row, hashes, (size_t)n * HASH);
  for (; n > 1; n /= 2)
    for (unsigned i = 0; i < n / 2; i++) hash_node(row[2 * i], row[2 * i + 1], row[i]);
  memcpy(out, row[0], HASH);
}

/* A tile of level 1 or above, full or the last one, against what was built. */
static void tile_compare(int level, uint64_t index) {
  struct level *l = &v.levels[level];
  struct bytes file;
  char kind[4], name[96];
  snprintf(kind, sizeof kind, "%d", level);
  if (!tile_load(kind, index, l->n, name, &file)) {
    fault_at("missing", name, "this tile is not there");
    return;
  }
  if (file.len < (size_t)l->n * HASH || (file.len > (size_t)l->n * HASH && file.len != (size_t)WIDTH * HASH)) {
    fault_at("changed", name, "it has %zu bytes, not %u", file.len, l->n * HASH);
  } else {
    for (unsigned i = 0; i < l->n; i++) {
      const uint8_t *hash = file.at + (size_t)i * HASH;
      if (l->blind[i]) {
        memcpy(l->entries[i], hash, HASH);
        memcpy(l->tiles[i], hash, HASH);
        l->blind[i] = false;
        continue;
      }
      if (memcmp(hash, l->entries[i], HASH) != 0 && memcmp(hash, l->tiles[i], HASH) != 0)
        fault_at("changed", name, "hash %u of this tile is not that of what lies below it", i);
    }
  }
  free(file.at);
}

/* The root of what was pushed so far, for both trees. */
static void roots(uint8_t from_entries[HASH], uint8_t from_tiles[HASH]) {
  bool any = false;
  hash_bytes("", 0, from_entries);
  hash_bytes("", 0, from_tiles);
  for (int l = 0; l < LEVELS; l++) {
    unsigned n = v.levels[l].n;
    for (unsigned size = 1; size < WIDTH; size *= 2) {
      if (!(n & size)) continue;
      uint8_t a[HASH], b[HASH];
      unsigned at = n & ~(2 * size - 1); /* the whole subtrees lie from left to right, the largest first */
      row_root(v.levels[l].entries + at, size, a);
      row_root(v.levels[l].tiles + at, size, b);
      if (any) hash_node(a, from_entries, from_entries), hash_node(b, from_tiles, from_tiles);
      else memcpy(from_entries, a, HASH), memcpy(from_tiles, b, HASH);
      any = true;
    }
  }
}

static void earlier_check(void) {
  uint8_t from_entries[HASH], from_tiles[HASH];
  for (size_t i = 0; i < v.earlier_count; i++) {
    struct earlier *e = &v.earlier[i];
    if (e->checked || e->checkpoint.size != v.done) continue;
    roots(from_entries, from_tiles);
    e->checked = true;
    if (memcmp(from_entries, e->checkpoint.root, HASH) != 0)
      fault_at("changed", e->file, "the first %" PRIu64 " entries are not those that were signed then", e->checkpoint.size);
  }
}

static bool any_blind(const struct level *l) { return memchr(l->blind, 1, l->n) != NULL; }

static void tree_push(const uint8_t from_entries[HASH], const uint8_t from_tiles[HASH], bool blind) {
  uint8_t a[HASH], b[HASH];
  memcpy(a, from_entries, HASH);
  memcpy(b, from_tiles, HASH);
  v.done++;
  for (int i = 0; i < LEVELS; i++) {
    struct level *l = &v.levels[i];
    memcpy(l->entries[l->n], a, HASH);
    memcpy(l->tiles[l->n], b, HASH);
    l->blind[l->n] = blind;
    if (++l->n < WIDTH) break;
    if (i > 0) tile_compare(i, (v.done >> (8 * i)) / WIDTH - 1);
    row_root(l->entries, WIDTH, a);
    if (memcmp(l->tiles, l->entries, sizeof l->tiles) == 0) memcpy(b, a, HASH);
    else row_root(l->tiles, WIDTH, b);
    blind = any_blind(l);
    l->n = 0;
  }
  earlier_check();
}

/* ---- 5. the journals' own chains */

struct journal {
  char name[NAME];
  uint64_t seq, unsure; /* unsure: how often the log was broken when it was last seen */
  char leaf[2 * HASH + 1];
  bool gap;
};
static size_t journal_count;
static uint64_t breaks; /* entries that could not be read: a step across one is not judged */

static int journal_order(const void *a, const void *b) { return strcmp(a, b); } /* the name is its first member */

static struct journal *journal_of(const char *name) {
  static void *tree;
  struct journal **found = tfind(name, &tree, journal_order), *j;
  if (found) return *found;
  if (!(j = calloc(1, sizeof *j))) abort();
  snprintf(j->name, sizeof j->name, "%s", name);
  memset(j->leaf, '0', (size_t)2 * HASH); /* what the first entry names as the one before it */
  journal_count++;
  return tsearch(j, &tree, journal_order) ? j : (abort(), j);
}

static void chain_check(uint64_t index, const uint8_t *bytes, size_t len, const uint8_t hash[HASH]) {
  struct head h;
  char place[64];
  if (v.plain) return;
  snprintf(place, sizeof place, "entry %" PRIu64, index);
  if (!head_read((const char *)bytes, len, &h)) {
    fault_at("changed", place, "it is no head of a journal entry");
    return;
  }
  struct journal *j = journal_of(h.incident);
  bool sure = j->unsure == breaks;
  if (h.seq <= j->seq) {
    fault_at(j->gap ? "reordered" : "added", place, "%.100s/%" PRIu64 " comes after %.100s/%" PRIu64, h.incident, h.seq, h.incident,
             j->seq);
    return;
  }
  if (sure && h.seq > j->seq + 1) {
    fault_at("gap", place, "%.100s goes from entry %" PRIu64 " to %" PRIu64 ": what lies between is not in this log", h.incident, j->seq,
             h.seq);
    j->gap = true;
  } else if (h.seq == j->seq + 1 && strcmp(h.prev, j->leaf) != 0) {
    fault_at("changed", place, "%.100s/%" PRIu64 " names another entry as the one before it", h.incident, h.seq);
  }
  j->seq = h.seq;
  j->unsure = breaks;
  hash_hex(hash, j->leaf);
}

/* ---- 2. one bundle of entries and its tile */

struct bundle {
  uint64_t first; /* index of its first entry in the log */
  unsigned width, count;
  bool has_tile;
  const uint8_t *at[WIDTH + 1]; /* one more than there should be, to see it */
  size_t len[WIDTH + 1], rest;  /* rest: bytes at the end that make no entry */
  uint8_t found[WIDTH + 1][HASH], tile[WIDTH][HASH];
  int of_tile[WIDTH + 1], of_found[WIDTH + 1]; /* which found entry has this tile's hash, and the other way round; -1: none */
};

static void bundle_split(struct bundle *b, const struct bytes *file, bool whole) {
  const uint8_t *p = file->at;
  size_t left = file->len;
  while (left >= 2 && b->count < (whole ? b->width : WIDTH + 1)) {
    size_t n = (size_t)p[0] << 8 | p[1];
    if (n > left - 2) break;
    b->at[b->count] = p + 2;
    b->len[b->count] = n;
    hash_leaf(p + 2, n, b->found[b->count++]);
    p += 2 + n;
    left -= 2 + n;
  }
  b->rest = whole ? 0 : left;
}

static void bundle_match(struct bundle *b) {
  for (unsigned i = 0; i <= WIDTH; i++) b->of_tile[i] = b->of_found[i] = -1;
  for (unsigned i = 0; i < b->width && i < b->count; i++)
    if (memcmp(b->found[i], b->tile[i], HASH) == 0) b->of_tile[i] = b->of_found[i] = (int)i;
  for (unsigned i = 0; i < b->width; i++)
    for (unsigned j = 0; b->of_tile[i] < 0 && j < b->count; j++)
      if (b->of_found[j] < 0 && memcmp(b->found[j], b->tile[i], HASH) == 0) b->of_tile[i] = (int)j, b->of_found[j] = (int)i;
}

/* Names what differs between the entries and their hashes. Returns whether nothing does. */
static bool walk_bundle(struct bundle *b) {
  size_t before = fault_count;
  unsigned i = 0, j = 0;
  bundle_match(b);
  while (i < b->width || j < b->count) {
    bool lost = i < b->width && b->of_tile[i] < 0, strange = j < b->count && b->of_found[j] < 0;
    if (lost && strange) fault_entry("changed", b->first + i, "its hash is not the one in its tile"), i++, j++;
    else if (lost) fault_entry("missing", b->first + i, "the tile has its hash, the bundle does not hold it"), i++;
    else if (strange) fault_entry("added", b->first + i, "the tile does not know it"), j++;
    else if (i < b->width && j < b->count && b->of_tile[i] == (int)j) i++, j++;
    else {
      if (i < b->width) fault_entry("reordered", b->first + i, "another entry stands in its place, and it in another's");
      if (i < b->width) i++;
      if (j < b->count) j++;
    }
  }
  if (b->rest && fault_count == before) fault_entry("added", b->first + b->width, "bytes behind the last entry of its bundle");
  return fault_count == before;
}

static void tile_read(struct bundle *b) {
  struct bytes file;
  char name[96];
  if (!tile_load("0", b->first / WIDTH, b->width, name, &file)) {
    fault_at("missing", name, "this tile is not there");
    return;
  }
  size_t want = (size_t)b->width * HASH;
  b->has_tile = file.len == want || file.len == (size_t)WIDTH * HASH;
  if (b->has_tile) memcpy(b->tile, file.at, want);
  else fault_at("changed", name, "it has %zu bytes, not %zu", file.len, want);
  free(file.at);
}

/* False when there is neither entry nor tile. */
static bool tile_check(uint64_t index, unsigned width) {
  static struct bundle b;
  struct bytes file = {NULL, 0};
  char name[96], path[4096];
  struct stat st;
  memset(&b, 0, sizeof b);
  b.first = index * WIDTH;
  b.width = width;
  tile_read(&b);
  bool present = tile_load("entries", index, width, name, &file), sound = false;
  if (present) {
    snprintf(path, sizeof path, "%s/%s", v.folder, name);
    bundle_split(&b, &file, stat(path, &st) != 0);
    if (!b.has_tile) memcpy(b.tile, b.found, sizeof b.tile), sound = b.count == width && !b.rest;
    if (!b.has_tile && !sound) fault_at("changed", name, "it holds %u entries, not %u", b.count, width);
    if (b.has_tile) sound = walk_bundle(&b);
  } else {
    fault_at("missing", name, "entries %" PRIu64 " to %" PRIu64 " are not there", b.first, b.first + width - 1);
  }
  if (b.count != width || b.rest) v.incomplete = true;
  for (unsigned i = 0; i < width; i++) {
    int j = !present ? -1 : sound ? (int)i : b.of_tile[i];
    if (j >= 0 && (unsigned)j < b.count) chain_check(b.first + i, b.at[j], b.len[j], b.found[j]);
    else breaks++;
    tree_push(i < b.count ? b.found[i] : b.tile[i], b.tile[i], !present && !b.has_tile);
  }
  free(file.at);
  return present || b.has_tile;
}

/* ---- 1, 4 and the whole */

static void checkpoint_check(const struct bytes *file) {
  if (!file->at) {
    fault_at("missing", "checkpoint", "there is no checkpoint: nothing here is signed");
    return;
  }
  enum note_state state = checkpoint_open(file, &v.key, &v.checkpoint);
  v.is_signed = state == SIGNED;
  if (state == UNSIGNED) fault_at("unsigned", "checkpoint", "no signature of %.100s", v.key.name);
  if (state == WRONG_KEY) fault_at("wrong-key", "checkpoint", "signed in the name of %.100s, but with another key", v.key.name);
  if (state == CHANGED) fault_at("changed", "checkpoint", "the signature does not fit what it says");
  if (state == NO_NOTE) fault_at("changed", "checkpoint", "this is no signed checkpoint");
  if (v.checkpoint.readable && strcmp(v.checkpoint.origin, v.key.name) != 0) {
    fault_at("wrong-key", "checkpoint", "it is of another log: %.100s", v.checkpoint.origin);
    v.is_signed = false;
  }
}

static void roots_judge(void) {
  uint8_t from_entries[HASH], from_tiles[HASH];
  for (int i = 0; i < LEVELS; i++)
    if (any_blind(&v.levels[i])) return; /* what is missing was named; the rest has no root */
  roots(from_entries, from_tiles);
  entries_right = memcmp(from_entries, v.checkpoint.root, HASH) == 0 && !v.incomplete;
  if (!entries_right && (fault_count == 0 || memcmp(from_tiles, v.checkpoint.root, HASH) != 0))
    fault_at("changed", "log", "its entries do not have the root that the checkpoint gives");
}

static void log_check(void) {
  struct bytes file = {NULL, 0};
  file_load(v.folder, "checkpoint", FILE_CAP, &file);
  checkpoint_check(&file);
  free(file.at);
  uint64_t size = v.checkpoint.size;
  if (!v.checkpoint.readable) return;
  earlier_check();
  for (uint64_t from = 0; from < size; from += WIDTH) {
    bool present = tile_check(from / WIDTH, size - from < WIDTH ? (unsigned)(size - from) : WIDTH);
    if (!present && !v.is_signed) return; /* its size is anybody's word */
    if (fault_count > 100 * SHOWN_FAULTS) break;
  }
  for (int i = 1; i < LEVELS; i++)
    if (v.levels[i].n) tile_compare(i, (size >> (8 * i)) / WIDTH);
  if (v.done == size) roots_judge();
  for (size_t i = 0; i < v.earlier_count; i++)
    if (!v.earlier[i].checked)
      fault_at("stale", v.earlier[i].file, "it covers %" PRIu64 " entries; this log has only %" PRIu64, v.earlier[i].checkpoint.size, size);
}

static uint64_t bundle_judge(const struct bytes *zip, const char *key_text) {
  struct bytes checkpoint;
  if (!bundle_open(zip, &checkpoint)) return 0;
  checkpoint_check(&checkpoint);
  return bundle_check(&v.key, key_text, &v.checkpoint, v.is_signed, v.earlier, v.earlier_count);
}

static int misuse(const char *why) {
  fprintf(stderr, "tocsin-verify: %s\nusage: tocsin-verify FOLDER|BUNDLE.zip --key NAME+HASH+BASE64 [--checkpoint FILE]… [--plain]\n", why);
  fprintf(stderr, "  --checkpoint FILE   a checkpoint of this log kept from earlier: the log must go on from it\n  --plain             the "
                  "entries are not journal heads: check the log only\n");
  return 2;
}

static bool earlier_open(struct earlier *e) {
  struct bytes file;
  if (!file_load(NULL, e->file, FILE_CAP, &file)) return false;
  enum note_state state = checkpoint_open(&file, &v.key, &e->checkpoint);
  free(file.at);
  return state == SIGNED && strcmp(e->checkpoint.origin, v.key.name) == 0;
}

int main(int argc, char **argv) {
  const char *key = NULL;
  struct bytes zip;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--key") == 0 && i + 1 < argc) key = argv[++i];
    else if (strcmp(argv[i], "--checkpoint") == 0 && i + 1 < argc && v.earlier_count < EARLIER)
      v.earlier[v.earlier_count++].file = argv[++i];
    else if (strcmp(argv[i], "--plain") == 0) v.plain = true;
    else if (argv[i][0] == '-' || v.folder) return misuse("what is this for?");
    else v.folder = argv[i];
  }
  if (!v.folder || !key) return misuse("a folder or a bundle, and a key are needed");
  if (!key_read(key, &v.key)) return misuse("the key should read name+hash+base64, and its hash must fit");
  for (size_t i = 0; i < v.earlier_count; i++)
    if (!earlier_open(&v.earlier[i])) return misuse("what --checkpoint names is no checkpoint signed with this key");
  bool is_file = file_load(NULL, v.folder, BUNDLE_CAP, &zip);
  uint64_t proven = is_file ? bundle_judge(&zip, key) : 0;
  if (is_file) free(zip.at);
  else log_check();
  faults_print();
  if (fault_count) printf("NOT SOUND: %zu fault%s in %s\n", fault_count, fault_count == 1 ? "" : "s", v.folder);
  else if (is_file)
    printf("sound: %" PRIu64 " entries, all in the log of %" PRIu64 " that %s signed\n", proven, v.checkpoint.size, v.key.name);
  else printf("sound: %" PRIu64 " entries of %zu journals, as signed by %s\n", v.checkpoint.size, journal_count, v.key.name);
  return fault_count ? 1 : 0;
}
