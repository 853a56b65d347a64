/* Short texts in arrays: what fits is all there, what does not is cut, and nothing is written behind the room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/text.h"

static void test_copy(void **state) {
  static const char *const texts[][2] = {{"", ""}, {"a", "a"}, {"1234567", "1234567"}, {"12345678", "1234567"}, {"much longer", "much lo"}};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    char room[] = "########|";
    text_copy(room, 8, texts[i][0]);
    assert_string_equal(room, texts[i][1]);
    assert_int_equal(room[8], '|');
  }
}

static void test_add(void **state) {
  char room[16], *end = room + 11;
  room[12] = '|';
  *text_add_number(text_add(room, end, "run "), end, 42) = 0;
  assert_string_equal(room, "run 42");
  *text_add_number(text_add(room, end, "a run "), end, UINT64_MAX) = 0;
  assert_string_equal(room, "a run 18446");
  assert_int_equal(room[12], '|');
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_copy), cmocka_unit_test(test_add)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
