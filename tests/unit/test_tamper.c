/* Tampering: every kind that we can think of is tried, caught, and named at the right place by both verifiers. The table goes to build/tamper.tsv. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "evidence/leaf.h"
#include "evidence/verify.h"
#include "journal/entry.h"
#include "log_help.h"
#include "tamper_help.h"
#include "vectors.h"

enum { ENTRIES = 1000, SMALL = 2 };

static struct {
  char big[64], small[64], work[64];
  struct note_signer signer;
  char *heads[ENTRIES];
  struct tlog_entry entries[ENTRIES];
  char incidents[ENTRIES][ID_INCIDENT];
} t;

/* Heads of a few incidents, their entries mixed as a busy night mixes them. */
static void heads_make(void) {
  static char prev[40][DIGEST_HEX];
  static uint64_t seq[40];
  for (int i = 0; i < ENTRIES; i++) {
    int n = (i * 7 + i / 5) % (i < 500 ? 11 : 37);
    struct entry *e = NULL;
    json_t *body = json_pack("{s:i}", "n", i);
    struct entry_spec spec = {
        .kind = KIND_INCIDENT_NOTED, .actor = "person:7f3a", .run = (unsigned)(i % 3), .step = i % 3 ? "4.1" : NULL, .body = body};
    seq[n]++;
    id_incident(t.incidents[i], MODE_LIVE, (uint64_t)n + 1);
    assert_int_equal(entry_make(&spec, t.incidents[i], "n1", seq[n], seq[n] == 1 ? leaf_none() : prev[n], 1763923321123456 + i, NULL, &e,
                                NULL),
                     0);
    memcpy(prev[n], e->leaf, DIGEST_HEX);
    t.heads[i] = strdup(e->head);
    t.entries[i] = (struct tlog_entry){t.heads[i], e->head_len, NULL};
    entry_free(e);
    json_decref(body);
  }
}

static void log_write(const char *folder, const struct tlog_entry *entries, size_t count, const struct note_signer *signer) {
  struct tlog *log = NULL;
  struct err err = {0};
  if (tlog_open(folder, signer, NULL, NULL, &log, &err) < 0 || tlog_append(log, entries, count, &err) < 0) fail_msg("%s", err.text);
  tlog_close(log);
}

static int setup(void **state) {
  t.signer = test_signer("example.com/ir/evidence");
  heads_make();
  folder_make(t.big);
  folder_make(t.small);
  folder_make(t.work);
  log_write(t.big, t.entries, ENTRIES, &t.signer);
  log_write(t.small, t.entries, SMALL, &t.signer);
  tamper_open("log", &t.signer);
  return 0;
}

static int teardown(void **state) {
  tamper_close();
  folder_remove(t.big);
  folder_remove(t.small);
  folder_remove(t.work);
  for (int i = 0; i < ENTRIES; i++) free(t.heads[i]);
  return 0;
}

/* ---- asking both */

static void ask_engine(const char *folder, const char *earlier, struct verdict *ret) {
  struct checkpoint c;
  struct verify_options o = {.key = &t.signer.verifier};
  struct verify_result r;
  struct err err = {0};
  if (earlier) {
    struct buf bytes;
    struct note note;
    buf_init(&bytes, NOTE_CAP);
    vector_file(earlier, &bytes);
    assert_int_equal(note_open(bytes.data, bytes.len, &t.signer.verifier, 1, &note, NULL), 0);
    assert_int_equal(checkpoint_read(bytes.data, note.text_len, &c, NULL), 0);
    buf_release(&bytes);
    o.earlier = &c;
    o.earlier_count = 1;
  }
  if (verify_log(folder, &o, &r, &err) < 0) fail_msg("%s", err.text);
  memset(ret, 0, sizeof *ret);
  ret->sound = r.count == 0;
  ret->index = -1;
  for (size_t i = 0; i < r.count && ret->index < 0; i++) {
    const struct fault *f = &r.faults[i];
    bool entry = strstr(f->place, "entry") != NULL;
    if (i > 0 && !entry) continue;
    snprintf(ret->kind, sizeof ret->kind, "%s", fault_name(f->kind));
    snprintf(ret->text, sizeof ret->text, "%s %s %u: %s", ret->kind, f->place, (unsigned)f->from, f->text);
    if (entry) ret->index = (int64_t)f->from;
  }
  verify_release(&r);
}

/* Both at the same time: the auditor's program is another process. */
static void ask(const char *folder, const char *earlier, struct verdict *engine, struct verdict *other) {
  door_ask(folder, earlier);
  ask_engine(folder, earlier, engine);
  door_answer(other);
}

static void try_it(const char *folder, const char *earlier, const char *kind, int64_t index) {
  struct verdict engine, other;
  ask(folder, earlier, &engine, &other);
  judged(&engine, &other, kind, index);
}

static void sound(const char *folder, const char *earlier) {
  struct verdict engine, other;
  ask(folder, earlier, &engine, &other);
  both_sound(&engine, &other);
}

/* ---- bytes of files */

struct file {
  char path[256];
  struct buf bytes;
};

static void file_open(struct file *f, const char *folder, const char *path) {
  snprintf(f->path, sizeof f->path, "%s/%s", folder, path);
  buf_init(&f->bytes, 64 << 20);
  vector_file(f->path, &f->bytes);
}

static void file_restore(struct file *f) { file_put_bytes(f->path, f->bytes.data, f->bytes.len); }

static void file_done(struct file *f) {
  file_restore(f);
  buf_release(&f->bytes);
}

static void bundle_path(unsigned index, char out[TILE_PATH]) {
  tile_path(TILE_ENTRIES, index / 256, tile_width(TILE_ENTRIES, index / 256, ENTRIES), out);
}

/* The bundle that holds entry `index` with other entries in it. */
static void bundle_put(struct file *f, const struct tile_entry *entries, size_t n) {
  struct buf b;
  buf_init(&b, BUNDLE_CAP);
  for (size_t i = 0; i < n; i++) assert_int_equal(bundle_add(&b, entries[i].bytes, entries[i].len, NULL), 0);
  file_put_bytes(f->path, b.data, b.len);
  buf_release(&b);
}

/* ---- the tests */

static void untouched(void **state) {
  sound(t.big, NULL);
  sound(t.small, NULL);
}

static void every_bit_of(const char *path) {
  struct file f;
  char name[100];
  file_open(&f, t.small, path);
  snprintf(name, sizeof name, "a bit flipped in %s", path);
  begin(name);
  struct tile_entry in[TILE_WIDTH];
  bool bundle = strstr(path, "entries") != NULL, tile = strstr(path, "tile/0") != NULL;
  if (bundle) assert_int_equal(bundle_read(f.bytes.data, f.bytes.len, SMALL, in, NULL), 0);
  for (size_t i = 0; i < 8 * f.bytes.len; i += STRIDE) {
    int64_t index = ANYWHERE;
    for (int e = 0; bundle && e < SMALL; e++)
      if ((const char *)in[e].bytes - 2 <= f.bytes.data + i / 8) index = e;
    if (tile) index = (int64_t)(i / 256);
    f.bytes.data[i / 8] = (char)(f.bytes.data[i / 8] ^ 1 << i % 8);
    file_restore(&f);
    try_it(t.small, NULL, NULL, index);
    f.bytes.data[i / 8] = (char)(f.bytes.data[i / 8] ^ 1 << i % 8);
  }
  file_done(&f);
  end();
}

static void every_bit(void **state) {
  every_bit_of("checkpoint");
  every_bit_of("tile/0/000.p/2");
  every_bit_of("tile/entries/000.p/2");
  sound(t.small, NULL);
}

/* One byte of each tile's every hash in the large log: the entry is named, and not blamed. */
static void tile_hashes(void **state) {
  begin("a hash changed in a tile of level 0");
  for (unsigned i = 0; i < ENTRIES; i += 7) {
    char path[TILE_PATH];
    struct file f;
    tile_path(0, i / 256, tile_width(0, i / 256, ENTRIES), path);
    file_open(&f, t.big, path);
    f.bytes.data[i % 256 * 32 + i % 32] ^= 0x10;
    file_restore(&f);
    try_it(t.big, NULL, "changed", i);
    f.bytes.data[i % 256 * 32 + i % 32] ^= 0x10;
    file_done(&f);
  }
  end();
  begin("a hash changed in a tile of level 1");
  for (unsigned i = 0; i < 3 * 32; i++) {
    struct file f;
    file_open(&f, t.big, "tile/1/000.p/3");
    f.bytes.data[i] ^= 0x40;
    file_restore(&f);
    try_it(t.big, NULL, "changed", ANYWHERE);
    f.bytes.data[i] ^= 0x40;
    file_done(&f);
  }
  end();
}

/* how: 0 dropped, 1 swapped with the next, 2 repeated, 3 replaced by its neighbour's bytes, 4 changed in one byte. */
static void every_entry_how(int how, const char *name, const char *kind, unsigned step) {
  begin(name);
  for (unsigned i = 0; i < ENTRIES; i += step * STRIDE) {
    struct file f;
    struct tile_entry in[TILE_WIDTH], out[TILE_WIDTH + 1];
    char path[TILE_PATH], changed[1024];
    unsigned width = tile_width(0, i / 256, ENTRIES), at = i % 256, n = 0;
    if (how == 1 && at + 1 == width) continue;
    bundle_path(i, path);
    file_open(&f, t.big, path);
    assert_int_equal(bundle_read(f.bytes.data, f.bytes.len, width, in, NULL), 0);
    for (unsigned j = 0; j < width; j++) {
      if (how == 0 && j == at) continue;
      out[n++] = in[how == 1 && j == at ? j + 1 : how == 1 && j == at + 1 ? j - 1 : how == 3 && j == at ? (j ? j - 1 : 1) : j];
      if (how == 2 && j == at) out[n++] = in[j];
      if (how != 4 || j != at) continue;
      memcpy(changed, in[j].bytes, in[j].len);
      changed[in[j].len / 2] ^= 1;
      out[n - 1].bytes = changed;
    }
    bundle_put(&f, out, n);
    try_it(t.big, NULL, kind, how == 2 ? (int64_t)i + 1 : (int64_t)i);
    file_done(&f);
  }
  end();
}

static void every_entry(void **state) {
  every_entry_how(0, "an entry dropped", "missing", 1);
  every_entry_how(1, "an entry swapped with the next", "reordered", 1);
  every_entry_how(2, "an entry repeated", "added", 1);
  every_entry_how(3, "an entry replaced by a copy of its neighbour", "changed", 1);
  every_entry_how(4, "an entry changed in one byte", "changed", 1);
  sound(t.big, NULL);
}

static void files_away(void **state) {
  static const struct {
    const char *path, *kind;
  } files[] = {{"checkpoint", "missing"},       {"tile/0/000", "missing"},
               {"tile/0/003.p/232", "missing"}, {"tile/1/000.p/3", "missing"},
               {"tile/entries/000", "missing"}, {"tile/entries/001", "missing"},
               {"tile/entries/002", "missing"}, {"tile/entries/003.p/232", "missing"}};
  begin("a file taken away");
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    struct file f;
    file_open(&f, t.big, files[i].path);
    assert_int_equal(unlink(f.path), 0);
    try_it(t.big, NULL, files[i].kind, ANYWHERE);
    file_done(&f);
  }
  end();
  begin("a bundle and its tile taken away");
  for (unsigned i = 0; i < 4; i++) {
    struct file f, g;
    char path[TILE_PATH];
    tile_path(0, i, tile_width(0, i, ENTRIES), path);
    file_open(&f, t.big, path);
    bundle_path(i * 256, path);
    file_open(&g, t.big, path);
    assert_int_equal(unlink(f.path) + unlink(g.path), 0);
    try_it(t.big, NULL, "missing", ANYWHERE);
    file_done(&f);
    file_done(&g);
  }
  end();
  begin("a file cut short");
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    struct file f;
    file_open(&f, t.big, files[i].path);
    for (size_t cut = 1; cut < f.bytes.len; cut += f.bytes.len / 9 + 1) {
      file_put_bytes(f.path, f.bytes.data, f.bytes.len - cut);
      try_it(t.big, NULL, NULL, ANYWHERE);
    }
    file_done(&f);
  }
  end();
  sound(t.big, NULL);
}

static void work_fresh(void) {
  folder_remove(t.work);
  folder_make(t.work);
}

static void checkpoint_copy(const char *from, const char *to) {
  struct file f;
  char path[256];
  file_open(&f, from, "checkpoint");
  snprintf(path, sizeof path, "%s/checkpoint", to);
  file_put_bytes(path, f.bytes.data, f.bytes.len);
  buf_release(&f.bytes);
}

/* A checkpoint kept elsewhere tells that the tail was cut with everything that belongs to it. */
static void old_state(void **state) {
  char kept[256];
  snprintf(kept, sizeof kept, "%s/checkpoint", t.big);
  begin("an old checkpoint put back, the newest kept elsewhere");
  for (unsigned n = 0; n < ENTRIES; n += 90) {
    work_fresh();
    log_write(t.work, t.entries, n, &t.signer);
    sound(t.work, NULL);
    try_it(t.work, kept, "stale", ANYWHERE);
  }
  end();
  for (unsigned n = 0; n <= ENTRIES; n += 125) {
    char early[256];
    work_fresh();
    log_write(t.work, t.entries, n, &t.signer);
    snprintf(early, sizeof early, "%s/checkpoint", t.work);
    sound(t.big, early);
  }
}

static void keys(void **state) {
  struct note_signer same_name = test_signer("example.com/ir/evidence"), other_name = test_signer("example.com/other");
  struct file f;
  begin("everything signed with another key of the same name");
  work_fresh();
  log_write(t.work, t.entries, 600, &same_name);
  try_it(t.work, NULL, "wrong-key", ANYWHERE);
  end();
  begin("a whole other log, with its own key and name");
  work_fresh();
  log_write(t.work, t.entries, 600, &other_name);
  try_it(t.work, NULL, NULL, ANYWHERE);
  end();
  begin("the signature taken away");
  file_open(&f, t.big, "checkpoint");
  const char *blank = strstr(f.bytes.data, "\n\n");
  file_put_bytes(f.path, f.bytes.data, (size_t)(blank + 2 - f.bytes.data));
  try_it(t.big, NULL, "unsigned", ANYWHERE);
  file_put_bytes(f.path, f.bytes.data, (size_t)(blank + 1 - f.bytes.data));
  try_it(t.big, NULL, "unsigned", ANYWHERE);
  file_done(&f);
  end();
}

/* A log of the same size with something else in it, under the checkpoint of the true one: all tiles fit, only the root does not. */
static void rehashed(void **state) {
  struct tlog_entry *changed = calloc(ENTRIES + 1, sizeof *changed);
  begin("an entry inserted and everything hashed anew without the key");
  for (unsigned i = 0; i < ENTRIES; i += 97) {
    memcpy(changed, t.entries, i * sizeof *changed);
    changed[i] = (struct tlog_entry){"{\"incident\":\"INC-000001\",\"prev\":\"0\",\"seq\":1}", 44, NULL};
    memcpy(changed + i + 1, t.entries + i, (ENTRIES - i) * sizeof *changed);
    work_fresh();
    log_write(t.work, changed, ENTRIES, &t.signer);
    checkpoint_copy(t.big, t.work);
    try_it(t.work, NULL, NULL, (int64_t)i);
  }
  end();
  begin("an entry dropped and everything hashed anew without the key");
  for (unsigned i = 0; i < ENTRIES - 200; i += 97) {
    memcpy(changed, t.entries, i * sizeof *changed);
    memcpy(changed + i, t.entries + i + 1, (ENTRIES - i - 1) * sizeof *changed);
    changed[ENTRIES - 1] = t.entries[0];
    unsigned next = i + 1;
    while (strcmp(t.incidents[next], t.incidents[i]) != 0) next++;
    work_fresh();
    log_write(t.work, changed, ENTRIES, &t.signer);
    checkpoint_copy(t.big, t.work);
    try_it(t.work, NULL, "gap", (int64_t)next - 1);
  }
  end();
  begin("two entries of an incident swapped, hashed anew and signed with the key");
  for (unsigned i = 0; i < ENTRIES - 200; i += 97) {
    unsigned next = i + 1;
    while (strcmp(t.incidents[next], t.incidents[i]) != 0) next++;
    memcpy(changed, t.entries, ENTRIES * sizeof *changed);
    changed[i] = t.entries[next];
    changed[next] = t.entries[i];
    work_fresh();
    log_write(t.work, changed, ENTRIES, &t.signer);
    try_it(t.work, NULL, "gap", (int64_t)i);
  }
  end();
  free(changed);
}

static void incident_removed(void **state) {
  struct tlog_entry *left = calloc(ENTRIES, sizeof *left);
  char kept[256];
  size_t n = 0;
  snprintf(kept, sizeof kept, "%s/checkpoint", t.big);
  for (unsigned i = 0; i < ENTRIES; i++)
    if (strcmp(t.incidents[i], "INC-000003") != 0) left[n++] = t.entries[i];
  work_fresh();
  log_write(t.work, left, n, &t.signer);
  begin("a whole incident removed and the log signed anew with the key, the newest checkpoint kept elsewhere");
  try_it(t.work, kept, "stale", ANYWHERE);
  end();
  /* Without anything kept elsewhere the holder of the key gets away with it: this is what anchors are for. */
  sound(t.work, NULL);
  begin("the same with the true checkpoint put back");
  checkpoint_copy(t.big, t.work);
  try_it(t.work, NULL, NULL, ANYWHERE);
  end();
  free(left);
}

static void other_tiles(void **state) {
  struct note_signer signer = test_signer("example.com/ir/evidence");
  static const char *const paths[] = {"tile/0/000",     "tile/0/001",       "tile/0/003.p/232",
                                      "tile/1/000.p/3", "tile/entries/000", "tile/entries/003.p/232"};
  struct tlog_entry *turned = calloc(ENTRIES, sizeof *turned);
  for (unsigned i = 0; i < ENTRIES; i++) turned[i] = t.entries[ENTRIES - 1 - i];
  work_fresh();
  log_write(t.work, turned, ENTRIES, &signer);
  begin("a file from another log");
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    struct file f, g;
    file_open(&f, t.big, paths[i]);
    file_open(&g, t.work, paths[i]);
    file_put_bytes(f.path, g.bytes.data, g.bytes.len);
    try_it(t.big, NULL, NULL, ANYWHERE);
    file_done(&f);
    buf_release(&g.bytes);
  }
  end();
  sound(t.big, NULL);
  free(turned);
}

/* A mirror may hold the full file where the checkpoint names a part of it: sound. */
static void grown_meanwhile(void **state) {
  char path[256];
  work_fresh();
  log_write(t.work, t.entries, 700, &t.signer);
  snprintf(path, sizeof path, "%s/checkpoint", t.work);
  struct file f;
  file_open(&f, t.work, "checkpoint");
  log_write(t.work, t.entries + 700, 200, &t.signer);
  sound(t.work, path);
  file_done(&f);
  sound(t.work, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(untouched),   cmocka_unit_test(every_bit),       cmocka_unit_test(tile_hashes),
      cmocka_unit_test(every_entry), cmocka_unit_test(files_away),      cmocka_unit_test(old_state),
      cmocka_unit_test(keys),        cmocka_unit_test(rehashed),        cmocka_unit_test(incident_removed),
      cmocka_unit_test(other_tiles), cmocka_unit_test(grown_meanwhile),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
