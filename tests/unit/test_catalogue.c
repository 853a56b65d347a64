/* The catalogue: places and texts follow the log; what was removed is not in its file any more, nor in one made anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sqlite3.h>

#include "evidence/archive.h"
#include "evidence/bodies.h"
#include "evidence/catalogue.h"
#include "evidence/leaf.h"
#include "evidence/pace.h"
#include "evidence/store.h"
#include "log_help.h"

enum { COUNT = 600, REMOVED = 301 };
static struct note_signer signer;
static char folder[64];

static struct store_entry entries[COUNT];

static void seal_all(struct store *s) {
  static char heads[COUNT][512], bodies[COUNT][160];
  char prev[DIGEST_HEX], digest[DIGEST_HEX];
  struct err err = {0};
  memcpy(prev, leaf_none(), DIGEST_HEX);
  for (int i = 0; i < COUNT; i++) {
    struct store_entry *e = &entries[i];
    *e = (struct store_entry){.head = heads[i], .envelope = bodies[i]};
    e->envelope_len = (size_t)snprintf(bodies[i], sizeof bodies[i],
                                       "%032d{\"target\":{\"user\":\"%s\"},\"text\":\"number n%d\",\"raw\":\"unsearched\"}", i,
                                       i == REMOVED ? "xyzzyplugh"
                                       : i % 3      ? "alice"
                                                    : "bob",
                                       i);
    envelope_digest(bodies[i], e->envelope_len, digest);
    e->head_len = (size_t)snprintf(heads[i], sizeof heads[i],
                                   "{\"actor\":\"engine\",\"body\":\"%s\",\"incident\":\"INC-000001\",\"prev\":\"%s\",\"seq\":%d,\"time\":"
                                   "\"2026-01-%02dT00:00:00.000000Z\",\"type\":\"%s\"}",
                                   digest, prev, i + 1, i / 20 + 1, i % 2 ? "action.intended" : "incident.noted");
    merkle_leaf(heads[i], e->head_len, &e->leaf);
    hex_encode(e->leaf.bytes, DIGEST_BYTES, prev);
  }
  assert_int_equal(store_ready(s, &err), 0);
  assert_int_equal(store_judge(s, entries, 0, COUNT, &err), 0);
  if (store_seal(s, entries, COUNT, &err) < 0) fail_msg("%s", err.text);
  assert_int_equal(store_size(s), COUNT);
}

static bool count(void *arg, uint64_t index, const char *journal, uint64_t seq, int64_t time, const char *kind) {
  assert_int_equal(index + 1, seq);
  assert_string_equal(journal, "INC-000001");
  ++*(int *)arg;
  return true;
}

static int found(const char *match, int64_t from, int64_t to, const char *const *kinds) {
  struct catalogue *c = NULL;
  struct err err = {0};
  struct catalogue_query q = {match, from, to, "INC-000001", kinds, 10000};
  int n = 0;
  assert_int_equal(catalogue_look(folder, &c, &err), 0);
  int r = catalogue_search(c, &q, count, &n, &err);
  catalogue_close(c);
  return r < 0 ? r : n;
}

/* Whether the word stands anywhere in the catalogue's files. */
static bool holds(const char *word) {
  static const char *const ends[] = {"", "-wal"};
  bool there = false;
  for (int i = 0; i < 2; i++) {
    char path[128], piece[1 << 16];
    size_t n, kept = 0;
    snprintf(path, sizeof path, "%s/catalogue.db%s", folder, ends[i]);
    FILE *f = fopen(path, "rb");
    while (f && (n = fread(piece + kept, 1, sizeof piece - kept, f)) > 0) {
      there |= memmem(piece, kept + n, word, strlen(word)) != NULL;
      kept = kept + n < 32 ? kept + n : 32;
      memmove(piece, piece + sizeof piece - kept, kept);
    }
    if (f) fclose(f);
  }
  return there;
}

static void all(void **state) {
  static const char *const kinds[] = {"action.intended", NULL};
  struct store *s = NULL;
  struct bodies *b = NULL;
  struct catalogue *c = NULL;
  struct err err = {0};
  bool more = true;
  folder_make(folder);
  if (store_open(folder, &signer, NULL, NULL, &s, &err) < 0) fail_msg("%s", err.text);
  seal_all(s);
  assert_int_equal(found(NULL, 0, 0, NULL), 0); /* not read yet */
  assert_int_equal(store_lag(s), COUNT);
  while (more) assert_int_equal(store_read(s, &more, &err), 0);
  assert_int_equal(store_lag(s), 0);
  assert_int_equal(found(NULL, 0, 0, NULL), COUNT);
  assert_int_equal(found("bob", 0, 0, NULL), 200);
  assert_int_equal(found("alice OR bob", 0, 0, NULL), COUNT - 1);
  assert_int_equal(found("alice OR bob", 0, 0, kinds), COUNT / 2 - 1);
  assert_int_equal(found("n17", 0, 0, NULL), 1);
  assert_int_equal(found("unsearched", 0, 0, NULL), 0);
  assert_int_equal(found("noted", 1767225600000000, 1767312000000000, NULL), 10); /* the first of January */
  assert_int_equal(found("AND AND", 0, 0, NULL), ERR_INVALID);
  assert_int_equal(found("10.0.0.1", 0, 0, NULL), 0);
  assert_int_equal(found("xyzzyplugh", 0, 0, NULL), 1);
  store_close(s);
  assert_true(holds("xyzzyplugh"));
  assert_int_equal(bodies_open(folder, &b, &err), 0);
  assert_int_equal(bodies_remove(b, REMOVED, &err), 0);
  bodies_close(b);
  assert_int_equal(catalogue_open(folder, &c, &err), 0);
  assert_int_equal(catalogue_forget(c, REMOVED, &err), 0);
  catalogue_close(c);
  assert_false(holds("xyzzyplugh"));
  assert_int_equal(found("xyzzyplugh", 0, 0, NULL), 0);
  assert_int_equal(found("bob", 0, 0, NULL), 200);
  assert_int_equal(store_open(folder, &signer, NULL, NULL, &s, &err), 0);
  assert_int_equal(store_rebuild(s, &err), 0);
  store_close(s);
  assert_false(holds("xyzzyplugh"));
  assert_int_equal(found("alice OR bob", 0, 0, NULL), COUNT - 1);
  folder_remove(folder);
}

/* The catalogue lags: a batch is judged as if it did not, and so is what comes again; a removal finds its entry. */
static void lags(void **state) {
  static struct store_entry again[2];
  struct store *s = NULL;
  struct err err = {0};
  uint64_t size = 0, texts = 0;
  struct catalogue *c = NULL;
  struct bodies *b = NULL;
  struct buf out;
  folder_make(folder);
  assert_int_equal(store_open(folder, &signer, NULL, NULL, &s, &err), 0);
  seal_all(s);
  assert_int_equal(store_ready(s, &err), 0);
  assert_int_equal(catalogue_look(folder, &c, &err), 0);
  assert_int_equal(catalogue_extent(c, &size, &texts, &err), 0);
  assert_true(size == 0 && texts == 0);
  assert_int_equal(store_compare(s, "INC-000001", COUNT, &entries[COUNT - 1].leaf, &again[0], &err), 0);
  assert_int_equal(again[0].verdict, STORE_KNOWN);
  assert_int_equal(store_compare(s, "INC-000001", COUNT + 1, &entries[COUNT - 1].leaf, &again[0], &err), 0);
  assert_int_equal(again[0].verdict, STORE_AHEAD);
  assert_int_equal(catalogue_extent(c, &size, &texts, &err), 0);
  assert_int_equal(size, 0); /* and that costs nothing */
  again[0] = entries[COUNT - 1];
  again[1] = entries[REMOVED];
  again[1].leaf = entries[REMOVED + 1].leaf;
  assert_int_equal(store_judge(s, again, 0, 2, &err), 0);
  assert_int_equal(again[0].verdict, STORE_KNOWN);
  assert_int_equal(again[1].verdict, STORE_BROKEN);
  assert_int_equal(catalogue_extent(c, &size, &texts, &err), 0);
  assert_true(size == COUNT && texts == 0);
  catalogue_close(c);
  store_close(s);
  /* Gone in the middle of it: a new one begins with what the log holds. */
  assert_int_equal(store_open(folder, &signer, NULL, NULL, &s, &err), 0);
  assert_int_equal(store_ready(s, &err), 0);
  assert_int_equal(store_lag(s), COUNT);
  assert_int_equal(store_remove(s, "INC-000001", REMOVED + 1, &err), 0);
  for (bool more = true; more;) assert_int_equal(store_read(s, &more, &err), 0);
  store_close(s);
  assert_int_equal(found("xyzzyplugh", 0, 0, NULL), 0);
  assert_false(holds("xyzzyplugh"));
  assert_int_equal(found("alice OR bob", 0, 0, NULL), COUNT - 1);
  buf_init(&out, 4096);
  assert_int_equal(bodies_open(folder, &b, &err), 0);
  assert_int_equal(bodies_read(b, REMOVED, &entries[REMOVED].leaf, &out, &err), ERR_NOT_FOUND);
  bodies_close(b);
  buf_release(&out);
  folder_remove(folder);
}

/* Sealed and never read by a search, then a body is removed: the entry is found for it though the catalogue knew nothing of it. */
static void removed_while_it_lags(void **state) {
  struct store *s = NULL;
  struct bodies *b = NULL;
  struct err err = {0};
  struct buf out;
  folder_make(folder);
  assert_int_equal(store_open(folder, &signer, NULL, NULL, &s, &err), 0);
  seal_all(s);
  assert_int_equal(store_remove(s, "INC-000001", REMOVED + 1, &err), 0);
  store_close(s);
  buf_init(&out, 4096);
  assert_int_equal(bodies_open(folder, &b, &err), 0);
  assert_int_equal(bodies_read(b, REMOVED, &entries[REMOVED].leaf, &out, &err), ERR_NOT_FOUND);
  assert_int_equal(bodies_read(b, REMOVED + 1, &entries[REMOVED + 1].leaf, &out, &err), 0);
  bodies_close(b);
  buf_release(&out);
  folder_remove(folder);
}

/* The disk gives no bodies of some entries: their texts wait, but the places of all are found, and a removal still happens. */
static void bodies_out_of_reach(void **state) {
  struct store *s = NULL;
  struct archive *a = NULL;
  struct place place;
  struct err err = {0};
  uint64_t size = 0, texts = 0;
  char path[96], away[96];
  bool more = true;
  folder_make(folder);
  assert_int_equal(store_open(folder, &signer, NULL, NULL, &s, &err), 0);
  seal_all(s);
  snprintf(path, sizeof path, "%s/bodies/000", folder);
  snprintf(away, sizeof away, "%s/bodies/away", folder);
  assert_int_equal(rename(path, away), 0);
  assert_int_equal(store_read(s, &more, &err), ERR_IO);
  assert_int_equal(archive_open(folder, &signer.verifier, &a, &err), 0);
  assert_int_equal(catalogue_extent(archive_catalogue(a), &size, &texts, &err), 0);
  assert_true(size == COUNT && texts == 0);
  assert_int_equal(archive_last(a, "INC-000001", &place, &err), 0);
  assert_int_equal(place.seq, COUNT);
  archive_close(a);
  assert_int_equal(store_remove(s, "INC-000001", REMOVED + 1, &err), 0);
  assert_int_equal(rename(away, path), 0);
  for (more = true; more;) assert_int_equal(store_read(s, &more, &err), 0);
  assert_int_equal(store_lag(s), 0);
  store_close(s);
  assert_int_equal(found("alice OR bob", 0, 0, NULL), COUNT - 1);
  folder_remove(folder);
}

static void beside(const char *sql) {
  char path[96];
  sqlite3 *db = NULL;
  snprintf(path, sizeof path, "%s/catalogue.db", folder);
  assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(db);
}

/* The catalogue cannot be read in the middle of a batch: what was judged before is not taken for sealed when the batch comes again. */
static void judged_again(void **state) {
  struct store *s = NULL;
  struct store_entry look;
  struct hash none = {{0}};
  struct err err = {0};
  folder_make(folder);
  assert_int_equal(store_open(folder, &signer, NULL, NULL, &s, &err), 0);
  assert_int_equal(store_ready(s, &err), 0);
  assert_int_equal(store_judge(s, entries, 0, COUNT, &err), 0);
  beside("ALTER TABLE journal RENAME TO elsewhere");
  assert_int_equal(store_compare(s, "INC-000002", 1, &none, &look, &err), ERR_IO);
  beside("ALTER TABLE elsewhere RENAME TO journal");
  assert_int_equal(store_ready(s, &err), 0);
  assert_int_equal(store_judge(s, entries, 0, COUNT, &err), 0);
  for (size_t i = 0; i < COUNT; i++) assert_int_equal(entries[i].verdict, STORE_NEW);
  assert_int_equal(store_seal(s, entries, COUNT, &err), 0);
  assert_int_equal(store_size(s), COUNT);
  store_close(s);
  folder_remove(folder);
}

/* ---- when it is worked on */

static void pace(void **state) {
  struct pace p = {.lags = false};
  assert_true(pace_next(&p) == INT64_MAX);
  pace_batch(&p, 1000, 10, true);
  assert_true(pace_next(&p) <= 1000); /* a small batch: at once */
  pace_step(&p, 1000, 1100, true);
  assert_true(pace_next(&p) <= 1100); /* and without a pause */
  pace_step(&p, 1100, 1200, false);
  assert_true(pace_next(&p) == INT64_MAX);
  pace_batch(&p, 2000, PACE_BUSY, true);
  assert_int_equal(pace_next(&p), 2000 + PACE_CALM_MS);
  for (int64_t t = 2000; t < 2000 + PACE_LATE_MS; t += 1000) {
    pace_batch(&p, t, 5000, true);
    assert_true(pace_next(&p) > t && !pace_late(&p, t));
  }
  pace_batch(&p, 2000 + PACE_LATE_MS, 5000, true);
  assert_true(pace_next(&p) <= 2000 + PACE_LATE_MS); /* late: a share, however busy */
  assert_true(pace_late(&p, 2000 + PACE_LATE_MS));   /* and though the next batch waits already */
  pace_step(&p, 70000, 70100, true);
  pace_batch(&p, 70100, 5000, true);
  assert_false(pace_late(&p, 70100 + 100 * PACE_PAUSES - 1));
  assert_true(pace_late(&p, 70100 + 100 * PACE_PAUSES));
  assert_int_equal(pace_next(&p), 70100 + 100 * PACE_PAUSES);
  pace_step(&p, 71000, 71010, false);
  pace_batch(&p, 71010, 5000, true); /* it had caught up: late is counted from here on */
  assert_int_equal(pace_next(&p), 71010 + PACE_CALM_MS);
  assert_false(pace_late(&p, 71010 + PACE_CALM_MS));
  pace_batch(&p, 72000, 1, true);
  pace_fail(&p, 90000);
  assert_int_equal(pace_next(&p), 90000 + PACE_CALM_MS);
}

/* Its sealer is gone, and had not come to put what it sealed last into the catalogue; or the copy lacks the catalogue. */
static void adopted(void **state) {
  struct store *s = NULL;
  struct archive *a = NULL;
  struct place place;
  struct buf out;
  struct err err = {0};
  char path[96];
  folder_make(folder);
  assert_int_equal(store_open(folder, &signer, NULL, NULL, &s, &err), 0);
  seal_all(s);
  store_close(s);
  snprintf(path, sizeof path, "%s/catalogue.db", folder);
  assert_int_equal(remove(path), 0);
  assert_int_equal(archive_ready(folder, &signer.verifier, &err), 0);
  assert_int_equal(archive_open(folder, &signer.verifier, &a, &err), 0);
  assert_int_equal(archive_find(a, "INC-000001", REMOVED + 1, &place, &err), 0);
  buf_init(&out, 4096);
  assert_int_equal(archive_body(a, &place, &out, &err), 0);
  archive_close(a);
  assert_int_equal(remove(path), 0);
  if (archive_forget(folder, &signer.verifier, "INC-000001", REMOVED + 1, &err) < 0) fail_msg("%s", err.text);
  assert_int_equal(archive_open(folder, &signer.verifier, &a, &err), 0);
  assert_int_equal(archive_body(a, &place, &out, &err), ERR_NOT_FOUND);
  archive_close(a);
  buf_release(&out);
  snprintf(path, sizeof path, "%s/not-mounted", folder); /* nothing is begun in a folder that is not there */
  assert_true(archive_forget(path, &signer.verifier, "INC-000001", REMOVED + 1, &err) < 0);
  assert_int_equal(remove(path), -1);
  folder_remove(folder);
}

int main(void) {
  signer = test_signer("example.com/ir/evidence");
  const struct CMUnitTest tests[] = {cmocka_unit_test(all),
                                     cmocka_unit_test(lags),
                                     cmocka_unit_test(removed_while_it_lags),
                                     cmocka_unit_test(bodies_out_of_reach),
                                     cmocka_unit_test(judged_again),
                                     cmocka_unit_test(pace),
                                     cmocka_unit_test(adopted)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
