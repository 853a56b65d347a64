/* A buffer in lent memory is the same as one of its own, whether its bytes fit there or not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

enum { LENT = 16 };

static void test_what_fits_stays(void **state) {
  char storage[LENT];
  struct buf b;
  size_t len;
  buf_lend(&b, storage, sizeof storage, 1000);
  assert_string_equal(b.data, "");
  buf_adds(&b, "0123456789abcde");
  assert_ptr_equal(b.data, storage);
  char *taken = buf_take(&b, &len);
  assert_ptr_not_equal(taken, storage);
  assert_int_equal(len, 15);
  assert_string_equal(taken, "0123456789abcde");
  free(taken);
  assert_string_equal(b.data, "");
  buf_release(&b);
}

static void test_what_does_not_moves(void **state) {
  char storage[LENT];
  struct buf b;
  buf_lend(&b, storage, sizeof storage, 1000);
  buf_adds(&b, "0123456789abcde");
  buf_addc(&b, 'f');
  buf_adds(&b, "ghi");
  assert_ptr_not_equal(b.data, storage);
  assert_string_equal(b.data, "0123456789abcdefghi");
  buf_reset(&b);
  buf_adds(&b, "again");
  assert_string_equal(b.data, "again");
  char *taken = buf_take(&b, NULL);
  assert_string_equal(taken, "again");
  free(taken);
  buf_release(&b);
}

static void test_the_cap_holds(void **state) {
  char storage[LENT];
  struct buf b;
  buf_lend(&b, storage, sizeof storage, 20);
  for (int i = 0; i < 20; i++) buf_addc(&b, 'x');
  assert_true(buf_ok(&b));
  buf_addc(&b, 'x');
  assert_false(buf_ok(&b));
  assert_null(buf_take(&b, NULL));
  buf_release(&b);
  buf_lend(&b, storage, sizeof storage, 5);
  buf_adds(&b, "123456");
  assert_false(buf_ok(&b));
  buf_release(&b);
}

static void test_nothing_in_it(void **state) {
  char storage[LENT];
  struct buf b;
  size_t len = 1;
  buf_lend(&b, storage, sizeof storage, 5);
  char *taken = buf_take(&b, &len);
  assert_string_equal(taken, "");
  assert_int_equal(len, 0);
  free(taken);
  buf_release(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_fits_stays), cmocka_unit_test(test_what_does_not_moves),
                                     cmocka_unit_test(test_the_cap_holds), cmocka_unit_test(test_nothing_in_it)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
