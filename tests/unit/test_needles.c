/* Finding known strings in a text: the same as looking at every place for each of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"
#include "base/json.h"
#include "base/needles.h"
#include "base/secret.h"

enum { MANY = 60, TEXT = 400 };

struct known {
  char bytes[40];
  size_t len;
};

static uint32_t seed = 1;

static uint32_t chance(uint32_t of) {
  seed = seed * 1103515245 + 12345;
  return (seed >> 16) % of;
}

/* As slow as can be. */
static size_t slowly(const struct known *all, size_t count, const char *text, size_t from, size_t len, size_t *ret_len) {
  for (size_t at = from; at < len; at++) {
    *ret_len = 0;
    for (size_t i = 0; i < count; i++)
      if (all[i].len <= len - at && all[i].len > *ret_len && memcmp(all[i].bytes, text + at, all[i].len) == 0) *ret_len = all[i].len;
    if (*ret_len) return at;
  }
  return len;
}

static void some_text(char *out, size_t len, uint32_t letters) {
  for (size_t i = 0; i < len; i++) out[i] = (char)('a' + chance(letters));
}

/* Few letters, so that much is nearly found, overlaps, and begins alike. */
static void compare(uint32_t letters, size_t count) {
  struct known all[MANY];
  struct needles *n = needles_new();
  for (size_t i = 0; i < count; i++) {
    all[i].len = NEEDLE_MIN + chance(sizeof all[i].bytes - NEEDLE_MIN);
    some_text(all[i].bytes, all[i].len, letters);
    if (i && chance(3) == 0) memcpy(all[i].bytes, all[i - 1].bytes, NEEDLE_MIN);
    needles_add(n, all[i].bytes, all[i].len, &all[i]);
  }
  for (int round = 0; round < 200; round++) {
    char text[TEXT];
    size_t len = chance(TEXT), wanted, got = 0;
    some_text(text, len, letters);
    for (size_t k = chance(4); k && count; k--) {
      const struct known *in = &all[chance((uint32_t)count)];
      if (in->len <= len) memcpy(text + chance((uint32_t)(len - in->len + 1)), in->bytes, in->len);
    }
    char *exact = malloc(len + 1); /* so that a reader who looks past the end is caught by the sanitizers */
    memcpy(exact, text, len);
    for (size_t from = 0; from <= len;) {
      const void *of = NULL;
      size_t at = needles_find(n, exact, from, len, &of, &got);
      assert_int_equal(at, slowly(all, count, text, from, len, &wanted));
      if (at == len) break;
      assert_int_equal(got, wanted);
      assert_memory_equal(((const struct known *)of)->bytes, text + at, got);
      from = at + got;
    }
    free(exact);
  }
  needles_free(n);
}

static void test_as_slowly(void **state) {
  for (uint32_t letters = 1; letters < 6; letters++) {
    compare(letters, 0);
    compare(letters, 1);
    compare(letters, 7);
    compare(letters, MANY);
  }
  compare(26, MANY);
}

static void test_newest_of_equals(void **state) {
  struct needles *n = needles_new();
  const void *of;
  size_t len;
  int older, newer;
  needles_add(n, "abcdefgh", 8, &older);
  needles_add(n, "abcdefgh", 8, &newer);
  assert_int_equal(needles_find(n, "-abcdefgh", 0, 9, &of, &len), 1);
  assert_ptr_equal(of, &newer);
  assert_int_equal(len, 8);
  needles_free(n);
}

/* base64 of a value that begins at any place of a longer text, for the shortest values and some longer ones. */
static void test_every_form(void **state) {
  struct secrets *s = secrets_new();
  for (size_t len = SECRET_MIN_BYTES; len < 40; len++) {
    char value[41] = "", slot[16], text[128];
    random_bytes(value, len);
    snprintf(slot, sizeof slot, "s%zu", len);
    assert_int_equal(secrets_put(s, slot, value, len, NULL), 0);
    assert_true(secrets_shown(s, value, len));
    for (size_t before = 0; before < 7; before++)
      for (size_t after = 0; after < 4; after++) {
        memset(text, '~', sizeof text);
        memcpy(text + before, value, len);
        char *coded = base64_encode(text, before + len + after);
        assert_true(secrets_shown(s, coded, strlen(coded)));
        free(coded);
      }
  }
  secrets_free(s);
}

static bool shown_as(const struct secrets *s, void (*write)(const char *, size_t, struct buf *), const char *bytes, size_t len) {
  struct buf once, twice;
  buf_init(&once, 4096);
  buf_init(&twice, 4096);
  write(bytes, len, &once);
  write(once.data, once.len, &twice);
  assert_true(buf_ok(&once) && buf_ok(&twice));
  bool shown = secrets_shown(s, once.data, once.len) && secrets_shown(s, twice.data, twice.len);
  buf_release(&once);
  buf_release(&twice);
  return shown;
}

static void write_ours(const char *bytes, size_t len, struct buf *out) {
  json_t *text = json_stringn(bytes, len);
  json_write(text, out);
  json_decref(text);
}

static void write_usual(const char *bytes, size_t len, struct buf *out) { buf_add_json_string(out, bytes, len); }

/* A value with a byte that JSON writes as an escape, in every way in which it may be written, once and in a text that is JSON itself. */
static void test_json_forms(void **state) {
  for (unsigned c = 0; c < 128; c++) {
    struct secrets *s = secrets_new();
    char value[] = "before-?-behind\xc3\xa9", longer[64];
    value[7] = (char)c;
    assert_int_equal(secrets_put(s, "one", value, sizeof value - 1, NULL), 0);
    int n = snprintf(longer, sizeof longer, "\"x\" ");
    memcpy(longer + n, value, sizeof value);
    if (!shown_as(s, write_ours, longer, (size_t)n + sizeof value) || !shown_as(s, write_usual, longer, (size_t)n + sizeof value))
      fail_msg("a value with the byte %02x is let through", c);
    secrets_free(s);
  }
}

/* A text that was cut within a secret, in whatever form, keeps nothing of it; one that was not stays whole. */
static void test_cut(void **state) {
  char value[1501], text[3000];
  struct secrets *s = secrets_new();
  for (size_t i = 0; i < sizeof value - 1; i++) value[i] = (char)(i % 50 == 7 ? '"' : 'a' + random() % 26);
  assert_int_equal(secrets_put(s, "long", value, sizeof value - 1, NULL), 0);
  assert_int_equal(secrets_put(s, "short", "hunter2hunter2", 14, NULL), 0);
  char *coded = base64_encode(value, sizeof value - 1);
  for (size_t len = 4; len < 1500; len += len < 40 ? 1 : 97) {
    int n = snprintf(text, sizeof text, "refused: %.*s", (int)len, value);
    assert_int_equal(secrets_cut(s, text, (size_t)n), 9);
    n = snprintf(text, sizeof text, "refused: %.*s", (int)len, coded);
    assert_int_equal(secrets_cut(s, text, (size_t)n), 9);
  }
  assert_int_equal(secrets_cut(s, "x hunter2hunter", 15), 2);
  assert_int_equal(secrets_cut(s, "x hunter2hunter2", 16), 16); /* all of it: redaction finds it */
  assert_int_equal(secrets_cut(s, "hunter2", 7), 0);
  assert_int_equal(secrets_cut(s, "hunter2 was refused", 19), 19);
  assert_int_equal(secrets_cut(s, "", 0), 0);
  assert_int_equal(secrets_cut(s, "hun", 3), 3);
  free(coded);
  secrets_free(s);
}

/* What bears no secret is handed back as it is. */
static void test_no_copies(void **state) {
  struct secrets *s = secrets_new();
  assert_int_equal(secrets_put(s, "one", "hunter2hunter2", 14, NULL), 0);
  json_t *value = json_pack("{s:{s:[s, i]}, s:[s]}", "plain", "list", "nothing here", 5, "shown", "x hunter2hunter2"),
         *clean = secrets_redact_json(s, value), *plain = json_object_get(value, "plain"), *same = secrets_redact_json(s, plain);
  assert_ptr_not_equal(clean, value);
  assert_ptr_equal(json_object_get(clean, "plain"), plain);
  assert_ptr_equal(same, plain);
  assert_string_equal(json_string_value(json_array_get(json_object_get(clean, "shown"), 0)), "x [secret:one]");
  json_decref(same);
  json_decref(clean);
  json_decref(value);
  secrets_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_as_slowly),  cmocka_unit_test(test_newest_of_equals),
                                     cmocka_unit_test(test_every_form), cmocka_unit_test(test_json_forms),
                                     cmocka_unit_test(test_cut),        cmocka_unit_test(test_no_copies)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
