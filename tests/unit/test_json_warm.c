/* Asking for trees ahead changes nothing in them, whatever they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/json_warm.h"

static void check(const json_t *const *trees, size_t count) {
  char *before[8];
  for (size_t i = 0; i < count; i++) before[i] = trees[i] ? json_text(trees[i]) : NULL;
  json_warm(trees, count);
  for (size_t i = 0; i < count; i++) {
    if (!trees[i]) continue;
    char *after = json_text(trees[i]);
    assert_string_equal(before[i], after);
    assert_int_equal(trees[i]->refcount, 1);
    free(before[i]);
    free(after);
  }
}

static void test_any_tree(void **state) {
  const json_t *trees[] = {json_pack("{s:s, s:[i,f,b,n], s:{}, s:[]}", "a", "text", "b", 1, 2.5, 1, "c", "d"), NULL, json_array(),
                           json_string(""), json_integer(7)};
  enum { COUNT = sizeof trees / sizeof *trees };
  check(trees, COUNT);
  check(trees, 0);
  for (size_t i = 0; i < COUNT; i++) json_decref((json_t *)(uintptr_t)trees[i]);
}

/* More than are waited for at a time, and deeper than anybody recurses. */
static void test_large_and_deep(void **state) {
  enum { MANY = 5000, DEEP = 1500 };
  json_t *large = json_object(), *deep = json_array();
  for (int i = 0; i < MANY; i++) {
    char name[16];
    snprintf(name, sizeof name, "m%d", i);
    json_object_set_new(large, name, json_pack("[s, {s:i}]", "x", "n", i));
  }
  for (int i = 0; i < DEEP; i++) deep = json_pack("[o, s]", deep, "beside");
  const json_t *trees[] = {large, deep};
  check(trees, 2);
  json_decref(large);
  json_decref(deep);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_tree), cmocka_unit_test(test_large_and_deep)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
