/* The bundle: one form, sound as written, and whatever is done to it is named. The long list of tampering is in test_tamper. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bundle_help.h"

static void test_zip_has_one_form(void **state) {
  struct zip z = {.count = 0}, again = {.count = 0};
  struct buf a, b;
  buf_init(&a, 1 << 20), buf_init(&b, 1 << 20);
  assert_int_equal(zip_add(&z, "b/two", "22", 2, NULL), 0);
  assert_int_equal(zip_add(&z, "a", "", 0, NULL), 0);
  assert_int_equal(zip_write(&z, &a, NULL), 0);
  assert_int_equal(zip_read(a.data, a.len, &again, NULL), 0);
  assert_int_equal(again.count, 2);
  assert_string_equal(again.files[0].name, "a");
  assert_int_equal(zip_find(&again, "b/two")->len, 2);
  assert_null(zip_find(&again, "b"));
  assert_int_equal(zip_write(&again, &b, NULL), 0);
  assert_int_equal(a.len, b.len);
  assert_memory_equal(a.data, b.data, a.len);
  zip_release(&again);
  for (size_t bit = 0; bit < 8 * a.len; bit++) {
    a.data[bit / 8] = (char)(a.data[bit / 8] ^ 1 << bit % 8);
    if (zip_read(a.data, a.len, &again, NULL) == 0) fail_msg("bit %zu may be changed", bit);
    a.data[bit / 8] = (char)(a.data[bit / 8] ^ 1 << bit % 8);
  }
  for (size_t n = 0; n < a.len; n++) assert_int_equal(zip_read(a.data, n, &again, NULL), ERR_INVALID);
  zip_release(&z);
  buf_release(&a), buf_release(&b);
}

static void test_zip_names(void **state) {
  static const char *const bad[] = {"", "/a", "a/", "../a", "a//b", "a/../b", ".a", "a b", "a\\b", "a:b"};
  struct zip z = {.count = 0};
  struct buf out;
  buf_init(&out, 1 << 20);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(zip_add(&z, bad[i], "", 0, NULL), ERR_INVALID);
  assert_int_equal(zip_add(&z, "a/b.c", "", 0, NULL), 0);
  assert_int_equal(zip_add(&z, "a/b.c", "", 0, NULL), 0);
  assert_int_equal(zip_write(&z, &out, NULL), ERR_EXISTS);
  zip_release(&z);
  buf_release(&out);
}

static void test_sound(void **state) {
  struct made_bundle b;
  struct bundle_result r;
  bundle_make(&b, 14, 400);
  bundle_ask(&b, NULL, &r);
  if (r.count) fail_msg("%s: %s", r.faults[0].place, r.faults[0].text);
  assert_int_equal(r.entries, 14);
  assert_int_equal(r.proven, 14);
  assert_int_equal(r.incidents, 1);
  assert_int_equal(r.checkpoint.size, 400);
  bundle_release(&r);
  bundle_free(&b);
}

/* A body that is not there, and an entry that says why: told, and no fault. */
static void test_removed(void **state) {
  struct made_bundle b;
  struct bundle_result r;
  bundle_make_redacted(&b, NULL, 400, 0);
  bundle_ask(&b, NULL, &r);
  if (r.count) fail_msg("%s: %s", r.faults[0].place, r.faults[0].text);
  assert_int_equal(r.removed, 1);
  assert_string_equal(r.removals[0].incident, "INC-000042");
  assert_int_equal(r.removals[0].seq, 11);
  assert_int_equal(r.removals[0].by, 15);
  assert_int_equal(r.removals[0].index, 149);
  bundle_release(&r);
  bundle_free(&b);
}

/* What was not sealed when the bundle was made is said to be unsigned; it never passes. */
static void test_not_sealed(void **state) {
  struct made_bundle b;
  struct bundle_result r;
  bundle_make(&b, 12, 400);
  bundle_ask(&b, NULL, &r);
  assert_int_equal(r.count, 2);
  assert_int_equal(r.faults[0].kind, FAULT_UNSIGNED);
  assert_int_equal(r.faults[0].seq, 13);
  assert_int_equal(r.faults[1].seq, 14);
  assert_int_equal(r.proven, 12);
  bundle_release(&r);
  bundle_free(&b);
}

static void test_earlier(void **state) {
  struct made_bundle b;
  struct bundle_result r;
  struct checkpoint earlier;
  bundle_make_since(&b, 14, 400, 130);
  earlier = b.earlier;
  bundle_ask(&b, &earlier, &r);
  assert_int_equal(r.count, 0);
  bundle_release(&r);
  earlier.root.bytes[3] ^= 1;
  bundle_ask(&b, &earlier, &r);
  assert_int_equal(r.faults[0].kind, FAULT_MISSING); /* no proof from that one */
  bundle_release(&r);
  earlier.size = 401;
  bundle_ask(&b, &earlier, &r);
  assert_int_equal(r.faults[0].kind, FAULT_STALE);
  bundle_release(&r);
  bundle_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_zip_has_one_form), cmocka_unit_test(test_zip_names), cmocka_unit_test(test_sound),
      cmocka_unit_test(test_not_sealed),       cmocka_unit_test(test_earlier),   cmocka_unit_test(test_removed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
