/* Encrypted bodies: they come back, only at their own place; a removed one does not, and its key is nowhere; a batch can be written anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sqlite3.h>

#include "evidence/bodies.h"
#include "log_help.h"
#include "vectors.h"

enum { COUNT = 600 };
static char folder[64], texts[COUNT][64];
static struct body list[COUNT];

static int setup(void **state) {
  folder_make(folder);
  for (int i = 0; i < COUNT; i++) {
    int n = snprintf(texts[i], sizeof texts[i], "body of entry %d, alice", i);
    list[i] = (struct body){texts[i], i == 7 ? 0 : (size_t)n, {{0}}};
    merkle_leaf(texts[i], (size_t)n, &list[i].leaf);
  }
  return 0;
}

static int teardown(void **state) {
  folder_remove(folder);
  return 0;
}

static struct bodies *open_bodies(void) {
  struct bodies *b = NULL;
  struct err err = {0};
  if (bodies_open(folder, &b, &err) < 0) fail_msg("%s", err.text);
  return b;
}

static int get(struct bodies *b, uint64_t index, const struct hash *leaf, const char *want) {
  struct buf out;
  buf_init(&out, 1000);
  int r = bodies_read(b, index, leaf, &out, NULL);
  if (r == 0) assert_string_equal(out.data, want);
  buf_release(&out);
  return r;
}

static void append(struct bodies *b, uint64_t first, uint64_t to) {
  struct err err = {0};
  if (bodies_append(b, first, list + first, to - first, &err) < 0) fail_msg("%s", err.text);
}

static void there_and_back(void **state) {
  static const unsigned steps[] = {1, 10, 256, 257, 600};
  uint64_t done = 0;
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    struct bodies *b = open_bodies();
    append(b, done, steps[i]);
    done = steps[i];
    bodies_close(b);
  }
  struct bodies *b = open_bodies();
  for (unsigned i = 0; i < COUNT; i++) assert_int_equal(get(b, i, &list[i].leaf, texts[i]), i == 7 ? ERR_NOT_FOUND : 0);
  assert_int_equal(get(b, COUNT, &list[0].leaf, ""), ERR_NOT_FOUND);
  assert_int_equal(get(b, 5, &list[6].leaf, ""), ERR_INVALID);
  bodies_close(b);
}

/* Entry 7 has no body: the one behind it is found all the same, and so is one that lies before. */
static void read_in_a_row(void **state) {
  struct bodies *b = open_bodies();
  bodies_read_begin(b);
  for (unsigned i = 0; i < COUNT; i++) assert_int_equal(get(b, i, &list[i].leaf, texts[i]), i == 7 ? ERR_NOT_FOUND : 0);
  assert_int_equal(get(b, COUNT - 1, &list[COUNT - 1].leaf, texts[COUNT - 1]), 0);
  assert_int_equal(get(b, 5, &list[6].leaf, ""), ERR_INVALID);
  assert_int_equal(get(b, 5, &list[5].leaf, texts[5]), 0);
  bodies_read_end(b);
  assert_int_equal(get(b, 6, &list[6].leaf, texts[6]), 0);
  bodies_close(b);
}

static void nothing_in_clear(void **state) {
  struct stat st;
  char path[128];
  struct buf bytes;
  buf_init(&bytes, 1 << 20);
  snprintf(path, sizeof path, "%s/bodies/000", folder);
  vector_file(path, &bytes);
  assert_null(memmem(bytes.data, bytes.len, "alice", 5));
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  snprintf(path, sizeof path, "%s/keys.db", folder);
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  buf_release(&bytes);
}

/* A batch that was never published is written again, shorter, with other bytes. */
static void written_anew(void **state) {
  struct bodies *b = open_bodies();
  struct body other = {"another body", 12, list[250].leaf};
  assert_int_equal(bodies_append(b, 250, &other, 1, NULL), 0);
  assert_int_equal(get(b, 250, &list[250].leaf, "another body"), 0);
  assert_int_equal(get(b, 249, &list[249].leaf, texts[249]), 0);
  assert_int_equal(get(b, 251, &list[251].leaf, ""), ERR_INVALID);
  append(b, 250, COUNT);
  for (unsigned i = 240; i < COUNT; i++) assert_int_equal(get(b, i, &list[i].leaf, texts[i]), 0);
  assert_int_equal(bodies_append(b, 900, &other, 1, NULL), ERR_INVALID);
  bodies_close(b);
}

static void changed_record(void **state) {
  char path[128];
  struct buf bytes;
  struct bodies *b = open_bodies();
  buf_init(&bytes, 1 << 20);
  snprintf(path, sizeof path, "%s/bodies/000", folder);
  vector_file(path, &bytes);
  /* Every bit of the first record but its length; that one only must not crash or pass. */
  size_t len = 4 + 12 + list[0].len + 16;
  for (size_t i = 0; i < 8 * len; i++) {
    bytes.data[i / 8] = (char)(bytes.data[i / 8] ^ 1 << i % 8);
    file_put_bytes(path, bytes.data, bytes.len);
    assert_int_equal(get(b, 0, &list[0].leaf, ""), ERR_INVALID);
    bytes.data[i / 8] = (char)(bytes.data[i / 8] ^ 1 << i % 8);
  }
  file_put_bytes(path, bytes.data, bytes.len);
  assert_int_equal(get(b, 0, &list[0].leaf, texts[0]), 0);
  bodies_close(b);
  buf_release(&bytes);
}

static void removed(void **state) {
  char path[128], key[32];
  struct buf bytes;
  sqlite3 *db = NULL;
  sqlite3_stmt *s = NULL;
  snprintf(path, sizeof path, "%s/keys.db", folder);
  assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
  assert_int_equal(sqlite3_prepare_v2(db, "SELECT key FROM key WHERE entry = 42", -1, &s, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_step(s), SQLITE_ROW);
  memcpy(key, sqlite3_column_blob(s, 0), sizeof key);
  sqlite3_finalize(s);
  sqlite3_close(db);
  struct bodies *b = open_bodies();
  assert_int_equal(get(b, 42, &list[42].leaf, texts[42]), 0);
  assert_int_equal(bodies_remove(b, 42, NULL), 0);
  assert_int_equal(bodies_remove(b, 42, NULL), ERR_NOT_FOUND);
  assert_int_equal(get(b, 42, &list[42].leaf, ""), ERR_NOT_FOUND);
  assert_int_equal(get(b, 41, &list[41].leaf, texts[41]), 0);
  assert_int_equal(get(b, 43, &list[43].leaf, texts[43]), 0);
  bodies_close(b);
  buf_init(&bytes, 8 << 20);
  vector_file(path, &bytes);
  assert_null(memmem(bytes.data, bytes.len, key, sizeof key));
  buf_release(&bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back), cmocka_unit_test(read_in_a_row),  cmocka_unit_test(nothing_in_clear),
                                     cmocka_unit_test(written_anew),   cmocka_unit_test(changed_record), cmocka_unit_test(removed)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
