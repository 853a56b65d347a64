/* tocsin-verify: is this evidence complete and unchanged?   tocsin-verify FOLDER|BUNDLE.zip --key NAME+HASH+BASE64 [--checkpoint FILE]…
 *
 * How a bundle (ZIP) is checked is told in bundle.c. A folder is a whole log; what is done with it, in this order:
 *  1. The checkpoint must bear a signature of the given key. It says how many entries there are and what the root of their Merkle tree is.
 *  2. From that root down, each tile must lead to the hash above it. (rows_check)
 *  3. Every bundle of entries is read and each entry hashed; the hashes must be those in the lowest tiles. (entries_check)
 *  4. Entries are heads of journals: each must follow the one before it in its own journal, from the first on. (chain_check)
 *  5. Earlier checkpoints, kept elsewhere, must be a beginning of this log. (kept_check)
 * Each fault is one line: kind, place, explanation. Nothing passes that is not signed. Exit status 0: sound; 1: not; 2: wrong use.
 * It does not prove that the holder of the key did not write another log: for that, compare with checkpoints kept elsewhere (--checkpoint). */
#include <inttypes.h>
#include <search.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify/read.h"

enum { SHOWN_FAULTS = 1000, MOST_FAULTS = 100000, ENTRIES = -1 }; /* ENTRIES: the level below the tiles of hashes */
struct question v;

/* ---- faults */

static size_t fault_count;

void fault_at(const char *kind, const char *place, const char *format, ...) {
  va_list args;
  if (++fault_count > SHOWN_FAULTS) return;
  printf("%s %s: ", kind, place);
  va_start(args, format);
  vprintf(format, args);
  va_end(args);
  putchar('\n');
}

static void fault_entry(const char *kind, uint64_t index, const char *text) {
  char place[64];
  snprintf(place, sizeof place, "entry %" PRIu64, index);
  fault_at(kind, place, "%s", text);
}

/* ---- files of the log: tiles of hashes by level, and below them the entries */

static unsigned width_of(int level, uint64_t index) {
  uint64_t left = (v.checkpoint.size >> (level > 0 ? 8 * level : 0)) - index * WIDTH;
  return left < WIDTH ? (unsigned)left : WIDTH;
}

/* "tile/0/x001/x234/067" or with ".p/112" behind; C2SP tlog-tiles. */
static void tile_name(int level, uint64_t index, unsigned width, char out[96]) {
  int n = level == ENTRIES ? snprintf(out, 96, "tile/entries/") : snprintf(out, 96, "tile/%d/", level);
  uint64_t unit = 1;
  while (index / unit >= 1000) unit *= 1000;
  for (; unit > 1; unit /= 1000) n += snprintf(out + n, 96 - (size_t)n, "x%03u/", (unsigned)(index / unit % 1000));
  n += snprintf(out + n, 96 - (size_t)n, "%03u", (unsigned)(index % 1000));
  if (width < WIDTH) snprintf(out + n, 96 - (size_t)n, ".p/%u", width);
}

/* A partial file may have been replaced by the full one: its beginning serves as well. Returns how many hashes or entries the file should hold, 0: it is not there. */
static unsigned tile_load(int level, uint64_t index, char name[96], struct bytes *ret) {
  char full[96];
  unsigned width = width_of(level, index);
  tile_name(level, index, width, name);
  tile_name(level, index, WIDTH, full);
  if (file_load(v.folder, name, FILE_CAP, ret)) return width;
  return width < WIDTH && file_load(v.folder, full, FILE_CAP, ret) ? WIDTH : 0;
}

struct entries {
  struct bytes file;
  unsigned count, rest;         /* rest: bytes at the end that make no entry */
  const uint8_t *at[WIDTH + 1]; /* one more than there should be, to see it */
  size_t len[WIDTH + 1];
  uint8_t hash[WIDTH + 1][HASH];
};

static bool entries_load(uint64_t index, char name[96], struct entries *e) {
  unsigned holds = tile_load(ENTRIES, index, name, &e->file), width = width_of(ENTRIES, index);
  e->count = e->rest = 0;
  if (!holds) return false;
  const uint8_t *p = e->file.at;
  size_t left = e->file.len, most = holds > width ? width : WIDTH + 1;
  while (left >= 2 && e->count < most) {
    size_t n = (size_t)p[0] << 8 | p[1];
    if (n > left - 2) break;
    e->at[e->count] = p + 2;
    e->len[e->count] = n;
    hash_leaf(p + 2, n, e->hash[e->count++]);
    p += 2 + n;
    left -= 2 + n;
  }
  e->rest = holds > width && e->count == width ? 0 : (unsigned)left;
  return true;
}

/* ---- 2. tiles */

/* The beginning of a tile, or all of it. Those of several levels that end a tree of some size stand in order, the highest first, and have one root. */
struct row {
  int level;
  uint64_t index;
  unsigned width;
  bool there, proven; /* proven: it leads to the signed root */
  char name[96];
  uint8_t hash[WIDTH][HASH];
};

static int rows_of(uint64_t size, struct row rows[LEVELS]) {
  int count = 0;
  for (int level = LEVELS - 1; level >= 0; level--) {
    uint64_t n = size >> (8 * level);
    if (n % WIDTH) rows[count++] = (struct row){.level = level, .index = n / WIDTH, .width = (unsigned)(n % WIDTH)};
  }
  return count;
}

/* Returns NULL, else what is wrong. */
static const char *row_read(struct row *r) {
  struct bytes file;
  unsigned holds = tile_load(r->level, r->index, r->name, &file);
  if (!holds) return "missing";
  r->there = file.len == (size_t)holds * HASH;
  if (r->there) memcpy(r->hash, file.at, (size_t)r->width * HASH);
  free(file.at);
  return r->there ? NULL : "changed";
}

/* The root of 2^k hashes. */
static void tree_root(uint8_t hashes[][HASH], unsigned n, uint8_t out[HASH]) {
  uint8_t row[WIDTH][HASH];
  memcpy(row, hashes, (size_t)n * HASH);
  for (; n > 1; n /= 2)
    for (unsigned i = 0; i < n / 2; i++) hash_node(row[2 * i], row[2 * i + 1], row[i]);
  memcpy(out, row[0], HASH);
}

/* Whole trees lie from left to right, the largest first: their roots are joined from the right. */
static bool rows_lead_to(struct row *rows, int count, const uint8_t root[HASH]) {
  uint8_t sum[HASH], tree[HASH];
  bool any = false;
  hash_bytes("", 0, sum);
  for (int i = count - 1; i >= 0; i--)
    for (unsigned n = 1; n <= WIDTH; n *= 2) {
      if (!(rows[i].width & n)) continue;
      tree_root(rows[i].hash + (rows[i].width & ~(2 * n - 1)), n, tree);
      if (any) hash_node(tree, sum, sum);
      else memcpy(sum, tree, HASH);
      any = true;
    }
  return memcmp(sum, root, HASH) == 0;
}

/* `root` NULL: what stands above them is itself not proven, and named. */
static void rows_check(struct row *rows, int count, const uint8_t *root, const char *place) {
  bool whole = true;
  for (int i = 0; i < count; i++) {
    const char *kind = row_read(&rows[i]);
    if (kind) fault_at(kind, rows[i].name, "this tile is not there, or not whole");
    whole &= rows[i].there;
  }
  bool proven = whole && root && rows_lead_to(rows, count, root);
  if (whole && root && !proven) fault_at("changed", place ? place : rows->name, "it does not lead to the root that the checkpoint gives");
  for (int i = 0; i < count; i++) rows[i].proven = proven;
}

/* ---- 4. the journals' own chains */

struct journal {
  char name[NAME];
  uint64_t seq, unsure; /* unsure: how often the log was broken when it was last seen */
  char leaf[2 * HASH + 1];
};
static size_t journal_count;
static void *journals;  /* a tree, tsearch(3) */
static uint64_t breaks; /* entries that could not be read: a step across one is not judged */

static int journal_order(const void *a, const void *b) { return strcmp(a, b); } /* the name is its first member */

static struct journal *journal_of(const char *name) {
  struct journal **found = tfind(name, &journals, journal_order), *j;
  if (found) return *found;
  if (!(j = calloc(1, sizeof *j))) abort();
  snprintf(j->name, sizeof j->name, "%s", name);
  memset(j->leaf, '0', (size_t)2 * HASH); /* what the first entry names as the one before it */
  journal_count++;
  return tsearch(j, &journals, journal_order) ? j : (abort(), j);
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
  if (h.removes && h.removes < h.seq)
    printf("removed body %" PRIu64 " of %.100s: entry %" PRIu64 " says so\n", h.removes, h.incident, index);
  struct journal *j = journal_of(h.incident);
  if (h.seq <= j->seq) {
    fault_at("reordered", place, "%.100s/%" PRIu64 " comes after entry %" PRIu64, h.incident, h.seq, j->seq);
    return;
  }
  if (j->unsure == breaks && h.seq > j->seq + 1) {
    fault_at("gap", place, "%.100s goes from entry %" PRIu64 " to %" PRIu64 ": what lies between is not in this log", h.incident, j->seq,
             h.seq);
  } else if (h.seq == j->seq + 1 && strcmp(h.prev, j->leaf) != 0) {
    fault_at("changed", place, "%.100s/%" PRIu64 " names another entry as the one before it", h.incident, h.seq);
  }
  j->seq = h.seq;
  j->unsure = breaks;
  hash_hex(hash, j->leaf);
}

/* ---- 3. entries against the lowest tile */

/* Pairs each hash of the tile with an entry: that in its place, else another that has it; -1: none does. The other way round as well. */
static void entries_match(const struct entries *e, const struct row *tile, int of_tile[WIDTH + 1], int of_entry[WIDTH + 1]) {
  for (unsigned i = 0; i <= WIDTH; i++) of_tile[i] = of_entry[i] = -1;
  for (unsigned i = 0; i < tile->width && i < e->count; i++)
    if (memcmp(e->hash[i], tile->hash[i], HASH) == 0) of_tile[i] = of_entry[i] = (int)i;
  for (unsigned i = 0; i < tile->width; i++)
    for (unsigned j = 0; of_tile[i] < 0 && j < e->count; j++)
      if (of_entry[j] < 0 && memcmp(e->hash[j], tile->hash[i], HASH) == 0) of_tile[i] = (int)j, of_entry[j] = (int)i;
}

static void entries_compare(const struct entries *e, const struct row *tile, const int *of_tile, const int *of_entry) {
  uint64_t first = tile->index * WIDTH;
  bool same = true;
  for (unsigned i = 0, j = 0; i < tile->width || j < e->count;) {
    bool more = i < tile->width, lost = more && of_tile[i] < 0, strange = j < e->count && of_entry[j] < 0;
    same &= more && of_tile[i] == (int)i;
    if (lost && strange)
      fault_entry("changed", first + i, tile->proven ? "its hash is not the one in its tile" : "its tile, not proven, has another hash");
    else if (lost) fault_entry("missing", first + i, "the tile has its hash, the bundle does not hold it");
    else if (strange) fault_entry("added", first + i, "the tile does not know it");
    else if (more && of_tile[i] != (int)j) fault_entry("reordered", first + i, "another entry stands in its place, and it in another's");
    unsigned step_i = more && (lost || !strange), step_j = j < e->count && (strange || !lost);
    i += step_i, j += step_j;
  }
  if (same && e->rest) fault_entry("added", first + tile->width, "bytes behind the last entry of its bundle");
}

static void entries_check(const struct row *tile) {
  static struct entries e;
  char name[96];
  int of_tile[WIDTH + 1], of_entry[WIDTH + 1];
  uint64_t first = tile->index * WIDTH;
  if (!entries_load(tile->index, name, &e)) {
    fault_at("missing", name, "entries %" PRIu64 " to %" PRIu64 " are not there", first, first + tile->width - 1);
    breaks += tile->width;
    return;
  }
  struct row known = *tile;
  if (!tile->there) memcpy(known.hash, e.hash, sizeof known.hash);
  if (!tile->there && e.count != tile->width) fault_at("changed", name, "it holds %u entries, not %u", e.count, tile->width);
  entries_match(&e, &known, of_tile, of_entry);
  entries_compare(&e, &known, of_tile, of_entry);
  for (unsigned i = 0; i < tile->width; i++) {
    int j = of_tile[i];
    if (j >= 0) chain_check(first + i, e.at[j], e.len[j], e.hash[j]);
    else breaks++;
  }
  free(e.file.at);
}

static void row_walk(const struct row *r) {
  for (unsigned i = 0; r->level > 0 && i < r->width && fault_count < MOST_FAULTS; i++) {
    struct row below = {.level = r->level - 1, .index = r->index * WIDTH + i, .width = WIDTH};
    rows_check(&below, 1, r->proven ? r->hash[i] : NULL, NULL);
    row_walk(&below);
  }
  if (r->level == 0) entries_check(r);
}

/* ---- 1, 5 and the whole */

void checkpoint_check(const void *note, size_t len) {
  static const char *const wrong[][2] = {[UNSIGNED] = {"unsigned", "it bears no signature in the name of this key"},
                                         [WRONG_KEY] = {"wrong-key", "signed in the name of this key, but with another"},
                                         [CHANGED] = {"changed", "the signature does not fit what it says"},
                                         [OTHER_LOG] = {"wrong-key", "it is of another log"},
                                         [NO_NOTE] = {"changed", "this is no signed checkpoint"}};
  enum note_state state = checkpoint_open(note, len, &v.key, &v.checkpoint);
  v.is_signed = state == SIGNED;
  if (!note) fault_at("missing", "checkpoint", "there is no checkpoint: nothing here is signed");
  else if (!v.is_signed) fault_at(wrong[state][0], "checkpoint", "%s", wrong[state][1]);
}

static void kept_check(const struct checkpoint *c, const char *file) {
  struct row rows[LEVELS];
  if (c->size > v.checkpoint.size) {
    fault_at("stale", file, "it covers %" PRIu64 " entries; this log has only %" PRIu64, c->size, v.checkpoint.size);
    return;
  }
  int count = rows_of(c->size, rows);
  for (int i = 0; i < count; i++) row_read(&rows[i]);
  if (!rows_lead_to(rows, count, c->root))
    fault_at("changed", file, "the first %" PRIu64 " entries are not those that were signed then", c->size);
}

static void log_check(void) {
  struct bytes file = {NULL, 0};
  struct row rows[LEVELS];
  file_load(v.folder, "checkpoint", FILE_CAP, &file);
  checkpoint_check(file.at, file.len);
  free(file.at);
  if (!v.checkpoint.readable) return;
  int count = rows_of(v.checkpoint.size, rows);
  rows_check(rows, count, v.checkpoint.root, "log");
  for (int i = 0; i < count; i++) row_walk(&rows[i]);
  for (size_t i = 0; i < v.kept_count; i++) kept_check(&v.kept[i].checkpoint, v.kept[i].file);
}

static int misuse(const char *why) {
  fprintf(stderr, "tocsin-verify: %s\nusage: tocsin-verify FOLDER|BUNDLE.zip --key NAME+HASH+BASE64 [--checkpoint FILE]… [--plain]\n", why);
  fprintf(stderr, "  --checkpoint FILE   a checkpoint of this log kept from earlier: the log must go on from it\n  --plain             the "
                  "entries are not journal heads: check the log only\n");
  return 2;
}

int main(int argc, char **argv) {
  const char *key = NULL;
  struct bytes zip;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--key") == 0 && i + 1 < argc) key = argv[++i];
    else if (strcmp(argv[i], "--checkpoint") == 0 && i + 1 < argc && v.kept_count < KEPT) v.kept[v.kept_count++].file = argv[++i];
    else if (strcmp(argv[i], "--plain") == 0) v.plain = true;
    else if (argv[i][0] == '-' || v.folder) return misuse("what is this for?");
    else v.folder = argv[i];
  }
  if (!v.folder || !key) return misuse("a folder or a bundle, and a key are needed");
  if (!key_read(key, &v.key)) return misuse("the key should read name+hash+base64, and its hash must fit");
  for (size_t i = 0; i < v.kept_count; i++) {
    struct bytes file = {NULL, 0};
    bool ok =
        file_load(NULL, v.kept[i].file, FILE_CAP, &file) && checkpoint_open(file.at, file.len, &v.key, &v.kept[i].checkpoint) == SIGNED;
    free(file.at);
    if (!ok) return misuse("what --checkpoint names is no checkpoint signed with this key");
  }
  bool is_file = file_load(NULL, v.folder, BUNDLE_CAP, &zip);
  uint64_t proven = is_file ? bundle_check(&zip, key) : 0;
  if (is_file) free(zip.at);
  else log_check();
  if (fault_count > SHOWN_FAULTS) printf("and %zu faults more\n", fault_count - SHOWN_FAULTS);
  if (fault_count) printf("NOT SOUND: %zu fault%s in %s\n", fault_count, fault_count == 1 ? "" : "s", v.folder);
  else if (is_file)
    printf("sound: %" PRIu64 " entries, all in the log of %" PRIu64 " that %s signed\n", proven, v.checkpoint.size, v.key.name);
  else printf("sound: %" PRIu64 " entries of %zu journals, as signed by %s\n", v.checkpoint.size, journal_count, v.key.name);
  return fault_count ? 1 : 0;
}
