/* The fast reader of JSON beside jansson's: the same trees, and never one where jansson finds a mistake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

static const char *const plain[] = {
    "{}",
    "[]",
    "\"\"",
    "0",
    "-0",
    "-17",
    "999999999999999999",
    "true",
    " false ",
    "\t\r\nnull\n",
    "[1,[2,[3,{}]],{\"a\":[]}]",
    "{\"a\":1,\"b\":{\"c\":\"d\"},\"a\":2,\"\":3}",
    "{ \"a\" : [ 1 , 2 ] , \"b\" : \"c\" }",
    "[1.5,-0.25e-3,1E5,0.0,12345678901.25]",
    "\"quote \\\" back \\\\ slash \\/ \\b\\f\\n\\r\\t end\"",
    "\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\\u0000x\"",
    "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
    "\"\xc3\xa9\\n\xe2\x82\xac\\\"\xf0\x9f\x98\x80\"",
    "{\"k\\u00e9y\\n\":\"\\\\\"}",
    "{\"class_uid\":2004,\"time\":1795458121,\"metadata\":{\"product\":{\"name\":\"B\"}},\"observables\":[{\"type_id\":4,\"value\":null}]}",
};

static const char *const odd[] = {
    "",
    " ",
    "{",
    "[",
    "\"",
    "[1,]",
    "{\"a\":1,}",
    "{\"a\"}",
    "{\"a\":}",
    "{a:1}",
    "[1 2]",
    "1 2",
    "01",
    "-",
    "+1",
    ".5",
    "1.",
    "1e",
    "1.5.5",
    "1e999",
    "1234567890123456789",
    "12345678901234567890",
    "truex",
    "tru",
    "True",
    "\"\x01\"",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\ud83d\"",
    "\"\\ud83d\\u0041\"",
    "\"\\ude00\"",
    "\"\\",
    "\"\\\"",
    "\"\xff\"",
    "\"\xc3\"",
    "\"\xed\xa0\x80\"",
    "\"\\n\xc0\x80\"",
    "{\"a\\u0000b\":1}",
    "\xef\xbb\xbf{}",
};

static char *dump(const json_t *value) { return json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT); }

/* In memory of their very length, for the sanitizer to watch. True when the fast reader took them. */
static bool compare(const char *text, size_t len) {
  json_error_t e;
  char *bytes = malloc(len ? len : 1);
  assert_non_null(bytes);
  memcpy(bytes, text, len);
  json_t *fast = json_read(bytes, len, JSON_MAX_DEPTH), *careful = json_loadb(bytes, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
  bool taken = fast != NULL;
  if (fast && !careful) fail_msg("taken, although it is not JSON: %.*s", (int)len, text);
  if (fast) {
    char *a = dump(fast), *b = dump(careful);
    assert_string_equal(a, b);
    assert_true(json_equal(fast, careful));
    free(a);
    free(b);
  }
  json_decref(fast);
  json_decref(careful);
  free(bytes);
  return taken;
}

static void same_trees(void **state) {
  for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
    if (!compare(plain[i], strlen(plain[i]))) fail_msg("left to the careful way: %s", plain[i]);
}

static void left_alone(void **state) {
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
    if (compare(odd[i], strlen(odd[i]))) fail_msg("taken: %s", odd[i]);
  assert_false(compare("[\0]", 3));
  assert_false(compare("\"a\0b\"", 5));
}

static void cut_and_changed(void **state) {
  static const char changes[] = "\"\\{}[],:.-0eutr \x01\x80\xc3";
  for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
    size_t len = strlen(plain[i]);
    char text[512];
    assert_true(len < sizeof text);
    for (size_t n = 0; n < len; n++) compare(plain[i], n);
    for (size_t at = 0; at < len; at++) {
      for (size_t c = 0; c < sizeof changes; c++) {
        memcpy(text, plain[i], len);
        text[at] = changes[c];
        compare(text, len);
      }
    }
  }
}

static void depth(void **state) {
  char text[2 * JSON_MAX_DEPTH + 2];
  memset(text, '[', JSON_MAX_DEPTH);
  memset(text + JSON_MAX_DEPTH, ']', JSON_MAX_DEPTH);
  assert_true(compare(text, 2 * JSON_MAX_DEPTH));
  memset(text, '[', JSON_MAX_DEPTH + 1);
  memset(text + JSON_MAX_DEPTH + 1, ']', JSON_MAX_DEPTH + 1);
  assert_false(compare(text, 2 * JSON_MAX_DEPTH + 2));
}

/* utf8_valid says what jansson says, wherever in its steps of eight the odd byte stands. */
static void valid_utf8(void **state) {
  static const char *const pieces[] = {
      "plain", "12345678", "",         "\xc3\xa9",     "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\x7f",
      "\x80",  "\xc3",     "\xc0\xaf", "\xed\xa0\x80", "\xe0\x80\x80", "\xf4\x90\x80\x80", "\xf0\x80\x80\x80",
      "\xff"};
  enum { PIECES = sizeof pieces / sizeof *pieces };
  unsigned seed = 1;
  size_t valid = 0;
  for (int round = 0; round < 20000; round++) {
    char text[128] = "";
    size_t len = 0;
    for (int i = 0; i < 8; i++) {
      seed = seed * 1103515245 + 12345;
      const char *piece = pieces[(seed >> 16) % (i % 2 ? 7 : PIECES)];
      memcpy(text + len, piece, strlen(piece) + 1);
      len += strlen(piece);
    }
    json_t *theirs = (json_string)(text), *ours = json_string(text), *object = json_object(); /* (…): jansson's own */
    assert_int_equal(utf8_valid(text, len), theirs != NULL);
    assert_true(ours ? json_equal(ours, theirs) : !theirs);
    assert_int_equal(json_object_set(object, text, json_true()), theirs ? 0 : -1);
    assert_int_equal(json_object_get(object, text) == json_true(), theirs != NULL);
    json_decref(ours);
    json_decref(object);
    valid += theirs != NULL;
    json_decref(theirs);
  }
  assert_in_range(valid, 500, 10000);
}

/* What jansson does with nothing, or with the wrong thing, the quick ones do too. */
static void quick_nothing(void **state) {
  json_t *object = json_object(), *number = json_integer(7), *text = json_stringn("a\0b", 3);
  assert_null(json_string(NULL));
  assert_null(json_stringn(NULL, 3));
  assert_null(json_object_get(NULL, "a"));
  assert_null(json_object_get(object, NULL));
  assert_null(json_object_get(number, "a"));
  assert_int_equal(json_object_set(object, NULL, number), -1);
  assert_int_equal(json_object_set(NULL, "a", number), -1);
  assert_int_equal(json_object_set(object, "a", NULL), -1);
  assert_int_equal(json_object_set(object, "a", object), -1);
  assert_int_equal(json_object_set_new(object, &"\xff\xff"[number->refcount == 9], json_incref(number)), -1);
  assert_int_equal(number->refcount, 1);
  assert_int_equal(object->refcount, 1);
  assert_int_equal(json_string_length(text), 3);
  assert_int_equal(json_object_size(object), 0);
  json_decref(object);
  json_decref(number);
  json_decref(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(same_trees), cmocka_unit_test(left_alone), cmocka_unit_test(cut_and_changed),
                                     cmocka_unit_test(depth),      cmocka_unit_test(valid_utf8), cmocka_unit_test(quick_nothing)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
