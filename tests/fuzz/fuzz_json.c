/* fuzz_json.c: our reader of JSON against jansson itself.
 *
 * The same document gives the same value, or we refuse it as too deep; what we take beyond jansson are integers over 64 bits, whose digits
 * become a string, and nothing else. Bytes cut off at any place never do harm. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
  if (!holds) abort();
}

/* Jansson stops at the first thing that it dislikes, so a number too large may hide a mistake behind it: only our own grammar decides there. */
static void compare(const json_t *ours, int code, const json_t *theirs, const json_error_t *why) {
  if (theirs) must(code == 0 ? json_equal(ours, theirs) : code == ERR_LIMIT);
  else must(code < 0 || json_error_code(why) == json_error_numeric_overflow);
}

static void written_and_read_again(const json_t *value) {
  struct buf text;
  json_t *again = NULL;
  buf_init(&text, 64u << 20);
  json_write(value, &text);
  must(buf_ok(&text) && json_parse(text.data, text.len, &again, NULL) == 0 && json_equal(value, again));
  json_decref(again);
  buf_release(&text);
}

/* "[<digits>]": an integer of any length survives to the digit. */
static void digits_survive(const uint8_t *data, size_t size) {
  char text[80];
  size_t n = 0;
  json_t *value = NULL;
  text[n++] = '[';
  if (size && data[0] & 1) text[n++] = '-';
  text[n++] = (char)('1' + (size ? data[0] / 2 : 0) % 9);
  for (size_t i = 1; i < size && n < sizeof text - 2; i++) text[n++] = (char)('0' + data[i] % 10);
  text[n++] = ']';
  must(json_parse(text, n, &value, NULL) == 0);
  const json_t *number = json_array_get(value, 0);
  text[n - 1] = 0;
  if (json_is_string(number)) must(strcmp(json_string_value(number), text + 1) == 0 && n - 2 >= 19);
  else {
    char *again = json_text(number);
    must(json_is_integer(number) && again && strcmp(again, text + 1) == 0);
    free(again);
  }
  json_decref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  json_error_t why;
  struct err err = {0};
  json_t *ours = NULL, *theirs = json_loadb((const char *)data, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
  int code = json_parse((const char *)data, size, &ours, &err);
  must(code == 0 ? ours != NULL : !ours && err.code == code && err.text[0]);
  compare(ours, code, theirs, &why);
  if (ours) written_and_read_again(ours);
  digits_survive(data, size);
  json_decref(ours);
  json_decref(theirs);
  return 0;
}
