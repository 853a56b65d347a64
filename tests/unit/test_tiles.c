/* The forms of a tlog-tiles folder: paths and widths, bundles, checkpoints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "evidence/tiles.h"
#include "vectors.h"

static void path_is(int level, uint64_t index, unsigned width, const char *want) {
  char path[TILE_PATH];
  tile_path(level, index, width, path);
  assert_string_equal(path, want);
}

static void paths(void **state) {
  path_is(0, 0, 256, "tile/0/000");
  path_is(0, 999, 256, "tile/0/999");
  path_is(0, 1000, 256, "tile/0/x001/000");
  path_is(7, 1234067, 256, "tile/7/x001/x234/067");
  path_is(1, 1234067, 5, "tile/1/x001/x234/067.p/5");
  path_is(TILE_ENTRIES, 1000000, 255, "tile/entries/x001/x000/000.p/255");
  path_is(TILE_ENTRIES, UINT64_MAX / 256, 256, "tile/entries/x072/x057/x594/x037/x927/935");
}

static void public_paths(void **state) {
  if (!vectors_public()) skip();
  json_t *v = vector_json(PUBLIC_VECTORS "/tlog-tiles-examples.json"), *row;
  const json_t *tree = json_object_get(v, "tree_size_70000");
  char want[TILE_PATH];
  size_t i;
  json_array_foreach(json_object_get(v, "tile_index_path"), i, row) {
    snprintf(want, sizeof want, "tile/0/%s", json_string_value(json_array_get(row, 1)));
    path_is(0, vector_u64(json_array_get(row, 0)), 256, want);
  }
  assert_int_equal(i, 1);
  assert_int_equal(json_int_or(tree, "level0_full", -1), 273);
  for (uint64_t n = 0; n < 273; n++) assert_int_equal(tile_width(0, n, 70000), 256);
  assert_int_equal(tile_width(0, 273, 70000), json_int_or(tree, "level0_partial_w", -1));
  assert_int_equal(tile_width(0, 274, 70000), 0);
  assert_int_equal(tile_width(1, 0, 70000), 256);
  assert_int_equal(tile_width(1, 1, 70000), json_int_or(tree, "level1_partial_w", -1));
  assert_int_equal(tile_width(2, 0, 70000), json_int_or(tree, "level2_partial_w", -1));
  assert_int_equal(tile_width(3, 0, 70000), 0);
  assert_int_equal(tile_width(0, 0, 256), 256);
  assert_int_equal(tile_width(1, 0, 256), json_int_or(json_object_get(v, "tree_size_256"), "level1_partial_w", -1));
  json_decref(v);
}

static void bundles(void **state) {
  static const char big[TILE_ENTRY_MAX + 1];
  struct tile_entry entries[TILE_WIDTH];
  struct buf b;
  size_t rest;
  buf_init(&b, BUNDLE_CAP);
  assert_int_equal(bundle_add(&b, "one", 3, NULL), 0);
  assert_int_equal(bundle_add(&b, "", 0, NULL), 0);
  assert_int_equal(bundle_add(&b, big, TILE_ENTRY_MAX, NULL), 0);
  assert_int_equal(bundle_add(&b, big, TILE_ENTRY_MAX + 1, NULL), ERR_LIMIT);
  assert_int_equal(b.len, 2 + 3 + 2 + 2 + TILE_ENTRY_MAX);
  assert_memory_equal(b.data, "\0\3one\0\0\xff\xff", 9);
  assert_int_equal(bundle_read(b.data, b.len, 3, entries, NULL), 0);
  assert_int_equal(entries[0].len, 3);
  assert_memory_equal(entries[0].bytes, "one", 3);
  assert_int_equal(entries[1].len, 0);
  assert_int_equal(entries[2].len, TILE_ENTRY_MAX);
  assert_int_equal(bundle_read(b.data, b.len, 2, entries, NULL), ERR_INVALID);
  assert_int_equal(bundle_read(b.data, b.len, 4, entries, NULL), ERR_INVALID);
  for (size_t n = 0; n < b.len; n += n < 12 ? 1 : 5000) assert_int_equal(bundle_read(b.data, n, 3, entries, NULL), ERR_INVALID);
  assert_int_equal(bundle_count(b.data, b.len - 1, TILE_WIDTH, entries, &rest), 2);
  assert_int_equal(rest, TILE_ENTRY_MAX + 1);
  assert_int_equal(bundle_count("\0", 1, TILE_WIDTH, entries, &rest), 0);
  assert_int_equal(rest, 1);
  buf_release(&b);
}

static void checkpoints(void **state) {
  static const char good[] = "example.com/log\n15\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\n";
  static const char more[] = "example.com/log\n18446744073709551615\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\nextra\nmore\n";
  static const char *const bad[] = {"",
                                    "\n",
                                    "example.com/log\n15\n",
                                    "example.com/log\n15\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=",
                                    "example.com/log\n015\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\n",
                                    "example.com/log\n-1\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\n",
                                    "example.com/log\n\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\n",
                                    "example.com/log\n15 \nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\n",
                                    "example.com/log\n18446744073709551616\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\n",
                                    "example.com/log\n15\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383ct=\n",
                                    "example.com/log\n15\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v3\n",
                                    "\n15\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\n",
                                    "example.com/log\n15\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\n\n",
                                    "example.com/log\n15\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\nextra"};
  struct checkpoint c;
  struct buf out;
  buf_init(&out, 1000);
  assert_int_equal(checkpoint_read(good, strlen(good), &c, NULL), 0);
  assert_int_equal(c.size, 15);
  assert_string_equal(c.origin, "example.com/log");
  checkpoint_write(&c, &out);
  assert_string_equal(out.data, good);
  assert_int_equal(checkpoint_read(more, strlen(more), &c, NULL), 0);
  assert_true(c.size == UINT64_MAX);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (checkpoint_read(bad[i], strlen(bad[i]), &c, NULL) == 0) fail_msg("taken: %s", bad[i]);
  buf_release(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(paths), cmocka_unit_test(public_paths), cmocka_unit_test(bundles),
                                     cmocka_unit_test(checkpoints)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
