/* json_write: the same bytes as jansson's own compact dump with sorted keys, for everything that jansson can hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"

static void same(const json_t *value) {
  char *theirs = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY), *ours = json_text(value);
  assert_non_null(theirs);
  assert_non_null(ours);
  assert_string_equal(ours, theirs);
  free(theirs);
  free(ours);
}

static void same_text(const char *text) {
  json_t *value;
  struct err err;
  if (json_parse(text, strlen(text), &value, &err) < 0) fail_msg("%s: %s", text, err.text);
  same(value);
  json_decref(value);
}

static void test_kinds(void **state) {
  same_text("null");
  same_text("[true,false,null,0,-1,9223372036854775807,-9223372036854775808]");
  same_text("[0.0,-0.0,1.5,1e300,-2.5e-7,123456789012345680000.0,0.1]");
  same_text("{}");
  same_text("[]");
  same_text("[[],{},[[]],{\"a\":{}}]");
  same_text("{\"b\":1,\"a\":2,\"ab\":3,\"\":4,\"B\":5,\"\\u00e9\":6,\"a\\nb\":7}");
}

static void test_strings(void **state) {
  same_text("\"plain\"");
  same_text("\"\\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u0001 \\u001f \\u007f\"");
  same_text("\"\\u00e9 \\u20ac \\ud83d\\ude00 \\uffff \\u0800\"");
  json_t *nul = json_stringn("a\0b", 3);
  char *text = json_text(nul);
  assert_string_equal(text, "\"a\\u0000b\"");
  free(text);
  json_decref(nul);
}

static void test_not_utf8_fails(void **state) {
  json_t *bad = json_stringn_nocheck("a\xff", 2);
  struct buf out;
  buf_init(&out, 100);
  json_write(bad, &out);
  assert_false(buf_ok(&out));
  assert_null(json_text(bad));
  buf_release(&out);
  json_decref(bad);
}

static void test_cap(void **state) {
  json_t *long_text = json_string("0123456789");
  struct buf out;
  buf_init(&out, 8);
  json_write(long_text, &out);
  assert_false(buf_ok(&out));
  buf_release(&out);
  json_decref(long_text);
}

/* Wherever in its steps of eight the byte stands that is not plain. */
static void test_places(void **state) {
  static const char *const odd[] = {"\"", "\\", "\n", "\x01", "\x1f", "\x7f", " ", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
  char text[64];
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
    for (int before = 0; before < 20; before++)
      for (int after = 0; after < 20; after++) {
        snprintf(text, sizeof text, "%.*s%s%.*s", before, "!#~[]abcdefghijklmnopq", odd[i], after, "0123456789^_`{|}!#~az");
        json_t *value = json_pack("{s:s}", text, text);
        same(value);
        json_decref(value);
      }
}

static json_t *random_value(int depth);

/* All that fits is written, and nothing behind it. */
static void test_cap_to_the_byte(void **state) {
  srand(2);
  for (int i = 0; i < 500; i++) {
    json_t *value = random_value(2);
    char *text = json_text(value);
    size_t len = strlen(text);
    struct buf out;
    buf_init(&out, len + 3);
    buf_adds(&out, "abc");
    json_write(value, &out);
    assert_true(buf_ok(&out));
    assert_int_equal(out.len, len + 3);
    assert_string_equal(out.data + 3, text);
    buf_release(&out);
    buf_init(&out, len + 2);
    buf_adds(&out, "abc");
    json_write(value, &out);
    assert_false(buf_ok(&out));
    assert_true(out.len <= len + 2);
    buf_release(&out);
    free(text);
    json_decref(value);
  }
}

static void test_endless_depth_fails(void **state) {
  json_t *top = json_array(), *at = top;
  for (int i = 0; i < 5000; i++) {
    json_t *next = json_array();
    json_array_append_new(at, next);
    at = next;
  }
  assert_null(json_text(top));
  json_decref(top);
}

static json_t *random_string(void) {
  char text[40];
  size_t n = (size_t)rand() % 30;
  for (size_t i = 0; i < n; i++) text[i] = (char)(rand() % 128);
  return json_stringn(text, n);
}

static json_t *random_value(int depth) {
  switch (rand() % (depth > 4 ? 5 : 7)) {
  case 0: return json_null();
  case 1: return json_boolean(rand() % 2);
  case 2: return json_integer((json_int_t)(((uint64_t)(unsigned)rand() << 33) ^ (uint64_t)(unsigned)rand()) - rand());
  case 3: return json_real((double)rand() / (1 + rand() % 1000) - 1000);
  case 4: return random_string();
  case 5: {
    json_t *array = json_array();
    for (int n = rand() % 6; n > 0; n--) json_array_append_new(array, random_value(depth + 1));
    return array;
  }
  default: {
    json_t *object = json_object();
    for (int n = rand() % (depth ? 8 : 60); n > 0; n--) {
      char key[16];
      snprintf(key, sizeof key, "%x%c", (unsigned)rand() % 5000, 'a' + rand() % 26);
      json_object_set_new(object, key, random_value(depth + 1));
    }
    return object;
  }
  }
}

/* Names that begin alike, end in one another, and have bytes of every size: any eight of them must not decide for the rest. */
static void test_order_of_keys(void **state) {
  static const char *const parts[] = {"a", "b", "ab", "aaaaaaa", "\xc3\xa9", "\x7f", " ", "A", "aaaaaaaa"};
  srand(3);
  for (int i = 0; i < 2000; i++) {
    json_t *object = json_object();
    for (int n = 0; n < 12; n++) {
      char key[64] = "";
      size_t len = 0;
      for (int k = rand() % 5; k > 0; k--) len += (size_t)snprintf(key + len, sizeof key - len, "%s", parts[(size_t)rand() % 9]);
      if (rand() % 3 == 0) len++; /* a NUL at its end */
      json_object_setn_new_nocheck(object, key, len, json_integer(n));
    }
    same(object);
    json_decref(object);
  }
}

static void test_many(void **state) {
  srand(1);
  for (int i = 0; i < 3000; i++) {
    json_t *value = random_value(0);
    same(value);
    json_decref(value);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_kinds),
      cmocka_unit_test(test_strings),
      cmocka_unit_test(test_not_utf8_fails),
      cmocka_unit_test(test_cap),
      cmocka_unit_test(test_places),
      cmocka_unit_test(test_cap_to_the_byte),
      cmocka_unit_test(test_endless_depth_fails),
      cmocka_unit_test(test_order_of_keys),
      cmocka_unit_test(test_many),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
