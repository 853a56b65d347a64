/* Kept files: they come back whole, only to their own incident; none lies there in clear; a changed, cut or lengthened one is found; what a crash left is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>

#include "evidence/blobs.h"
#include "evidence/passage.h"
#include "log_help.h"
#include "vectors.h"

enum { MOST = 300000 };
static char folder[64];
static uint8_t content[MOST];

static int setup(void **state) {
  folder_make(folder);
  for (size_t i = 0; i < MOST; i++) content[i] = (uint8_t)(i * 7 + i / 251);
  return 0;
}

static int teardown(void **state) {
  folder_remove(folder);
  return 0;
}

static struct blobs *open_blobs(void) {
  struct blobs *b = NULL;
  struct err err = {0};
  if (blobs_open(folder, &b, &err) < 0) fail_msg("%s", err.text);
  return b;
}

/* In writes of `step` bytes. */
static int keep(struct blobs *b, const char *incident, size_t len, size_t step, char sha256[DIGEST_HEX]) {
  struct blob_writer *w = NULL;
  uint64_t size = 0;
  assert_int_equal(blob_begin(b, incident, MOST, &w, NULL), 0);
  for (size_t at = 0; at < len; at += step) assert_int_equal(blob_write(w, content + at, len - at < step ? len - at : step, NULL), 0);
  int r = blob_finish(w, NULL, sha256, &size, NULL);
  if (r == 0) assert_int_equal(size, len);
  return r;
}

static int whole(struct blobs *b, const char *incident, const char *sha256, size_t len) {
  struct buf out;
  buf_init(&out, MOST + 1);
  int r = blob_read(b, incident, sha256, 0, MOST + 1, &out, NULL);
  if (r == 0) assert_int_equal(out.len, len);
  if (r == 0) assert_memory_equal(out.data, content, len);
  buf_release(&out);
  return r;
}

static void path_of(const char *incident, const char *sha256, char path[200]) {
  uint8_t digest[DIGEST_BYTES];
  char hex[DIGEST_HEX];
  assert_true(hex_decode(sha256, digest, DIGEST_BYTES));
  const struct digest_part parts[] = {{incident, strlen(incident) + 1}, {digest, DIGEST_BYTES}};
  digest_sha256_parts(parts, 2, digest);
  hex_encode(digest, DIGEST_BYTES, hex);
  snprintf(path, 200, "%s/blobs/%.2s/%s", folder, hex, hex + 2);
}

static void there_and_back(void **state) {
  static const size_t lengths[] = {0, 1, BLOB_PIECE - 1, BLOB_PIECE, BLOB_PIECE + 1, 2 * BLOB_PIECE, MOST};
  struct blobs *b = open_blobs();
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    char sha256[DIGEST_HEX], want[DIGEST_HEX];
    uint8_t digest[DIGEST_BYTES];
    digest_sha256(content, lengths[i], digest);
    hex_encode(digest, DIGEST_BYTES, want);
    assert_int_equal(keep(b, "INC-000001", lengths[i], 10007, sha256), 0);
    assert_string_equal(sha256, want);
    assert_int_equal(whole(b, "INC-000001", sha256, lengths[i]), 0);
    assert_int_equal(whole(b, "INC-000002", sha256, lengths[i]), ERR_NOT_FOUND);
    assert_int_equal(blob_mark(b, "INC-000001", sha256, BLOB_KEPT, NULL), 0);
    assert_int_equal(keep(b, "INC-000001", lengths[i], 65536, sha256), ERR_EXISTS);
  }
  blobs_close(b);
  b = open_blobs();
  char sha256[DIGEST_HEX];
  struct buf out;
  buf_init(&out, 100);
  uint8_t digest[DIGEST_BYTES];
  digest_sha256(content, MOST, digest);
  hex_encode(digest, DIGEST_BYTES, sha256);
  assert_int_equal(blob_read(b, "INC-000001", sha256, BLOB_PIECE - 50, 100, &out, NULL), 0);
  assert_int_equal(out.len, 100);
  assert_memory_equal(out.data, content + BLOB_PIECE - 50, 100);
  buf_reset(&out);
  assert_int_equal(blob_read(b, "INC-000001", sha256, MOST, 100, &out, NULL), 0);
  assert_int_equal(out.len, 0);
  assert_int_equal(blob_read(b, "INC-000001", "../../keys.db", 0, 100, &out, NULL), ERR_INVALID);
  buf_release(&out);
  blobs_close(b);
}

static void never_shared_nor_clear(void **state) {
  struct blobs *b = open_blobs();
  char sha256[DIGEST_HEX], path[200], other[200];
  struct stat st;
  struct buf bytes;
  assert_int_equal(keep(b, "INC-000003", 5000, 5000, sha256), 0);
  assert_int_equal(keep(b, "INC-000004", 5000, 5000, sha256), 0);
  path_of("INC-000003", sha256, path);
  path_of("INC-000004", sha256, other);
  assert_string_not_equal(path, other);
  buf_init(&bytes, MOST);
  vector_file(path, &bytes);
  assert_null(memmem(bytes.data, bytes.len, content, 16));
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  assert_int_equal(blob_remove(b, "INC-000003", sha256, NULL), 0);
  assert_int_equal(blob_remove(b, "INC-000003", sha256, NULL), ERR_NOT_FOUND);
  assert_int_equal(whole(b, "INC-000003", sha256, 5000), ERR_NOT_FOUND);
  assert_int_not_equal(stat(path, &st), 0);
  assert_int_equal(whole(b, "INC-000004", sha256, 5000), 0);
  buf_release(&bytes);
  blobs_close(b);
}

static void too_large(void **state) {
  struct blobs *b = open_blobs();
  struct blob_writer *w = NULL;
  assert_int_equal(blob_begin(b, "INC-000005", 1000, &w, NULL), 0);
  assert_int_equal(blob_write(w, content, 1000, NULL), 0);
  assert_int_equal(blob_write(w, content, 1, NULL), ERR_LIMIT);
  blob_cancel(w);
  blobs_close(b);
}

static void changed(void **state) {
  struct blobs *b = open_blobs();
  char sha256[DIGEST_HEX], path[200];
  struct buf bytes;
  const size_t len = 2 * BLOB_PIECE + 3, record = BLOB_PIECE + 16;
  assert_int_equal(keep(b, "INC-000006", len, 50000, sha256), 0);
  path_of("INC-000006", sha256, path);
  buf_init(&bytes, MOST);
  vector_file(path, &bytes);
  assert_int_equal(bytes.len, len + 3 * 16);
  for (size_t i = 0; i < 8 * bytes.len; i += i < 8 * (bytes.len - 40) ? 99991 : 1) {
    bytes.data[i / 8] = (char)(bytes.data[i / 8] ^ 1 << i % 8);
    file_put_bytes(path, bytes.data, bytes.len);
    assert_int_equal(whole(b, "INC-000006", sha256, len), ERR_INVALID);
    bytes.data[i / 8] = (char)(bytes.data[i / 8] ^ 1 << i % 8);
  }
  static const size_t cuts[] = {0, 15, 16, 1000, BLOB_PIECE + 16, 2 * (BLOB_PIECE + 16), 2 * (BLOB_PIECE + 16) + 16};
  for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
    file_put_bytes(path, bytes.data, cuts[i]);
    assert_int_equal(whole(b, "INC-000006", sha256, len), ERR_INVALID);
  }
  /* Two pieces swapped; another file's bytes; no file. */
  struct buf swapped;
  buf_init(&swapped, MOST);
  buf_add(&swapped, bytes.data + record, record);
  buf_add(&swapped, bytes.data, record);
  buf_add(&swapped, bytes.data + 2 * record, bytes.len - 2 * record);
  file_put_bytes(path, swapped.data, swapped.len);
  assert_int_equal(whole(b, "INC-000006", sha256, len), ERR_INVALID);
  unlink(path);
  assert_int_equal(whole(b, "INC-000006", sha256, len), ERR_INVALID);
  file_put_bytes(path, bytes.data, bytes.len);
  assert_int_equal(whole(b, "INC-000006", sha256, len), 0);
  buf_release(&swapped);
  buf_release(&bytes);
  blobs_close(b);
}

static void key_is_nowhere(void **state) {
  char path[128], sha256[DIGEST_HEX], key[32];
  struct buf bytes;
  sqlite3 *db = NULL;
  sqlite3_stmt *s = NULL;
  struct blobs *b = open_blobs();
  assert_int_equal(keep(b, "INC-000007", 700, 700, sha256), 0);
  snprintf(path, sizeof path, "%s/keys.db", folder);
  assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
  assert_int_equal(sqlite3_prepare_v2(db, "SELECT key FROM blob WHERE incident = 'INC-000007'", -1, &s, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_step(s), SQLITE_ROW);
  memcpy(key, sqlite3_column_blob(s, 0), sizeof key);
  sqlite3_finalize(s);
  sqlite3_close(db);
  assert_int_equal(blob_remove(b, "INC-000007", sha256, NULL), 0);
  buf_init(&bytes, 8 << 20);
  vector_file(path, &bytes);
  assert_null(memmem(bytes.data, bytes.len, key, sizeof key));
  buf_release(&bytes);
  blobs_close(b);
}

static size_t unsettled(struct blobs *b, const char *incident, enum blob_mark *ret) {
  struct blob_info *list = NULL;
  size_t count = 0, found = 0;
  assert_int_equal(blobs_unsettled(b, &list, &count, NULL), 0);
  for (size_t i = 0; i < count; i++)
    if (strcmp(list[i].incident, incident) == 0) *ret = list[i].mark, found++;
  free(list);
  return found;
}

static int begun_files(void) {
  char path[200];
  int count = 0;
  snprintf(path, sizeof path, "%s/blobs/new", folder);
  DIR *d = opendir(path);
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) count += e->d_name[0] != '.';
  closedir(d);
  return count;
}

/* Two that write into one folder, as the desk of earnest and that of an exercise do. */
static void beside(void **state) {
  struct blobs *b = open_blobs(), *c;
  struct blob_writer *w = NULL, *x = NULL;
  char one[DIGEST_HEX], two[DIGEST_HEX];
  uint64_t size;
  assert_int_equal(blob_begin(b, "INC-000011", MOST, &w, NULL), 0);
  assert_int_equal(blob_write(w, content, 70000, NULL), 0);
  c = open_blobs();
  assert_int_equal(blob_begin(c, "EX-000011", MOST, &x, NULL), 0);
  assert_int_equal(blob_write(x, content, 80000, NULL), 0);
  assert_int_equal(blob_finish(w, NULL, one, &size, NULL), 0);
  assert_int_equal(blob_finish(x, NULL, two, &size, NULL), 0);
  assert_int_equal(whole(c, "INC-000011", one, 70000), 0);
  assert_int_equal(whole(b, "EX-000011", two, 80000), 0);
  for (int i = 0; i < 2; i++) assert_int_equal(blob_remove(b, i ? "EX-000011" : "INC-000011", i ? two : one, NULL), 0);
  blobs_close(b), blobs_close(c);
}

/* A child that dies at a step; what it left is named, or gone. */
static void killed(void **state) {
  enum blob_mark mark = BLOB_KEPT;
  for (int step = 0; step < 4; step++) {
    char sha256[DIGEST_HEX];
    uint64_t size;
    pid_t child = fork();
    if (child == 0) {
      struct blobs *b = open_blobs();
      struct blob_writer *w = NULL;
      blob_begin(b, "INC-000008", MOST, &w, NULL);
      blob_write(w, content, 200000, NULL);
      if (step > 0) blob_finish(w, NULL, sha256, &size, NULL);
      if (step > 1) blob_mark(b, "INC-000008", sha256, BLOB_KEPT, NULL);
      if (step > 2) blob_mark(b, "INC-000008", sha256, BLOB_LEAVING, NULL);
      raise(SIGKILL);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    struct blobs *b = open_blobs();
    assert_int_equal(begun_files(), step == 0);
    assert_int_equal(blobs_clear(b, NULL), 0);
    assert_int_equal(begun_files(), 0);
    assert_int_equal(unsettled(b, "INC-000008", &mark), step == 1 || step == 3);
    if (step == 1) assert_int_equal(mark, BLOB_NEW);
    if (step == 3) assert_int_equal(mark, BLOB_LEAVING);
    assert_int_equal(keep(b, "INC-000008", 200000, 200000, sha256), step < 2 ? 0 : ERR_EXISTS);
    uint8_t digest[DIGEST_BYTES];
    digest_sha256(content, 200000, digest);
    hex_encode(digest, DIGEST_BYTES, sha256);
    assert_int_equal(whole(b, "INC-000008", sha256, 200000), 0);
    assert_int_equal(blob_remove(b, "INC-000008", sha256, NULL), 0);
    blobs_close(b);
  }
}

static void counted(void **state) {
  struct blobs *b;
  char kept[DIGEST_HEX], gone[DIGEST_HEX], path[200];
  struct blob_counts before, now;
  assert_int_equal(blobs_open(folder, &b, NULL), 0);
  assert_int_equal(blobs_count(b, &before, NULL), 0);
  assert_int_equal(before.missing, 0);
  assert_int_equal(keep(b, "INC-000009", 1000, 1000, kept), 0);
  assert_int_equal(keep(b, "INC-000009", 2000, 2000, gone), 0);
  assert_int_equal(blob_mark(b, "INC-000009", kept, BLOB_KEPT, NULL), 0);
  assert_int_equal(blobs_count(b, &now, NULL), 0);
  assert_int_equal(now.kept, before.kept + 1); /* one is not on record yet */
  assert_int_equal(blob_mark(b, "INC-000009", gone, BLOB_KEPT, NULL), 0);
  path_of("INC-000009", gone, path);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(blobs_count(b, &now, NULL), 0);
  assert_int_equal(now.kept, before.kept + 2);
  assert_int_equal(now.missing, 1);
  blobs_close(b);
}

/* Those to be looked at, the longest due first; what was found of one goes with it. */
static void looked_at(void **state) {
  struct blobs *b;
  struct blob_info *list = NULL;
  struct blob_counts counts;
  char one[DIGEST_HEX], two[DIGEST_HEX];
  size_t count, all;
  assert_int_equal(blobs_open(folder, &b, NULL), 0);
  assert_int_equal(keep(b, "INC-000010", 1000, 1000, one), 0);
  assert_int_equal(keep(b, "INC-000010", 2000, 2000, two), 0);
  assert_int_equal(blobs_to_look(b, 0, 1000, &list, &all, NULL), 0); /* those of the other tests, never looked at */
  for (size_t i = 0; i < all; i++) assert_int_equal(blob_looked(b, list[i].incident, list[i].sha256, BLOB_IN_TIME, INT64_MAX, NULL), 0);
  free(list);
  for (int i = 0; i < 2; i++) assert_int_equal(blob_mark(b, "INC-000010", i ? two : one, BLOB_KEPT, NULL), 0);
  assert_int_equal(blobs_to_look(b, 0, 1000, &list, &count, NULL), 0);
  assert_int_equal(count, 2);
  free(list);
  assert_int_equal(blob_looked(b, "INC-000010", one, BLOB_HELD, 200, NULL), 0);
  assert_int_equal(blob_looked(b, "INC-000010", two, BLOB_DUE, 100, NULL), 0);
  assert_int_equal(blobs_to_look(b, 99, 1000, &list, &count, NULL), 0);
  assert_int_equal(count, 0);
  free(list);
  assert_int_equal(blobs_to_look(b, 200, 1, &list, &count, NULL), 0);
  assert_int_equal(count, 1);
  assert_string_equal(list[0].sha256, two);
  assert_int_equal(list[0].time, BLOB_DUE);
  free(list);
  assert_int_equal(blobs_count(b, &counts, NULL), 0);
  assert_int_equal(counts.times[BLOB_DUE], 1);
  assert_int_equal(counts.times[BLOB_HELD], 1);
  assert_int_equal(blob_remove(b, "INC-000010", two, NULL), 0);
  assert_int_equal(keep(b, "INC-000010", 2000, 2000, two), 0);
  assert_int_equal(blob_mark(b, "INC-000010", two, BLOB_KEPT, NULL), 0);
  assert_int_equal(blobs_count(b, &counts, NULL), 0);
  assert_int_equal(counts.times[BLOB_DUE], 0); /* anew */
  blobs_close(b);
}

/* What is sealed opens for the one who asked, for nobody else, and not when a bit of it was changed. */
static void passage(void **state) {
  static const size_t lengths[] = {0, 1, 31, 70000};
  char public[PASSAGE_PUBLIC], other[PASSAGE_PUBLIC];
  uint8_t *bytes = calloc(1, 70000);
  struct passage *p = passage_new(public), *q = passage_new(other);
  assert_string_not_equal(public, other);
  random_bytes(bytes, 70000);
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    struct buf sealed, again, clear;
    buf_init(&sealed, 1 << 20), buf_init(&again, 1 << 20), buf_init(&clear, 1 << 20);
    assert_int_equal(passage_seal(public, bytes, lengths[i], &sealed, NULL), 0);
    assert_int_equal(passage_seal(public, bytes, lengths[i], &again, NULL), 0);
    assert_string_not_equal(sealed.data, again.data);
    assert_int_equal(passage_open(q, sealed.data, sealed.len, &clear, NULL), ERR_INVALID);
    assert_int_equal(passage_open(p, sealed.data, sealed.len - 4, &clear, NULL), ERR_INVALID);
    sealed.data[50] ^= 1; /* within the bytes, or the tag */
    assert_int_equal(passage_open(p, sealed.data, sealed.len, &clear, NULL), ERR_INVALID);
    sealed.data[50] ^= 1;
    assert_int_equal(clear.len, 0);
    assert_int_equal(passage_open(p, sealed.data, sealed.len, &clear, NULL), 0);
    assert_int_equal(clear.len, lengths[i]);
    assert_memory_equal(clear.data, bytes, lengths[i]);
    buf_release(&sealed), buf_release(&again), buf_release(&clear);
  }
  struct buf none;
  buf_init(&none, 1000);
  assert_int_equal(passage_seal("no key", bytes, 4, &none, NULL), ERR_INVALID);
  assert_int_equal(passage_seal("0000000000000000000000000000000000000000000000000000000000000000", bytes, 4, &none, NULL), ERR_INVALID);
  assert_int_equal(passage_open(p, "", 0, &none, NULL), ERR_INVALID);
  buf_release(&none);
  passage_free(p), passage_free(q);
  free(bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back), cmocka_unit_test(never_shared_nor_clear),
                                     cmocka_unit_test(too_large),      cmocka_unit_test(changed),
                                     cmocka_unit_test(key_is_nowhere), cmocka_unit_test(killed),
                                     cmocka_unit_test(beside),         cmocka_unit_test(counted),
                                     cmocka_unit_test(looked_at),      cmocka_unit_test(passage)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
