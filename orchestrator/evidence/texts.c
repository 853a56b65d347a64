#include "evidence/texts.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"

enum { LONG_NUMBER = 19 }; /* digits */

/* Behind the string whose opening quote is at i; len when it does not end. *ret_plain: it bears no escape. */
static size_t string_end(const char *json, size_t i, size_t len, bool *ret_plain) {
  *ret_plain = true;
  for (i++; i < len && json[i] != '"'; i++) {
    if (json[i] != '\\') continue;
    *ret_plain = false;
    i++;
  }
  return i < len ? i + 1 : len;
}

static size_t spaces_skip(const char *json, size_t i, size_t len) {
  while (i < len && (json[i] == ' ' || json[i] == '\t' || json[i] == '\n' || json[i] == '\r')) i++;
  return i;
}

/* Behind the value that begins at i. */
static size_t value_skip(const char *json, size_t i, size_t len) {
  size_t depth = 0;
  bool plain;
  for (i = spaces_skip(json, i, len); i < len;) {
    char c = json[i];
    if (!depth && (c == ',' || c == '}' || c == ']')) return i;
    i = c == '"' ? string_end(json, i, len, &plain) : i + 1;
    depth += c == '{' || c == '[';
    if (c == '}' || c == ']') depth--;
  }
  return len;
}

static void utf8_add(uint32_t c, struct buf *out) {
  char bytes[4];
  buf_add(out, bytes, (size_t)(utf8_put(bytes, c) - bytes));
}

/* p stands behind "\u"; returns what follows. Half a pair says nothing. */
static const char *unicode_add(const char *p, const char *end, struct buf *out) {
  int32_t high = utf8_hex4(p, end), low = -1;
  if (high < 0) return p;
  p += 4;
  if (high >= 0xd800 && high < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u') low = utf8_hex4(p + 2, end);
  if (low >= 0xdc00 && low < 0xe000) {
    utf8_add(0x10000 + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00), out);
    return p + 6;
  }
  if (high < 0xd800 || high >= 0xe000) utf8_add((uint32_t)high, out);
  return p;
}

/* What stands between the quotes. */
static void escapes_resolve(const char *p, const char *end, struct buf *out) {
  static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
  while (p < end) {
    const char *escape = memchr(p, '\\', (size_t)(end - p)), *stop = escape ? escape : end;
    buf_add(out, p, (size_t)(stop - p));
    if (!escape || escape + 1 >= end) return;
    p = escape + 2;
    const char *known = strchr(from, escape[1]);
    if (escape[1] == 'u') p = unicode_add(p, end, out);
    else buf_addc(out, known && *known ? to[known - from] : escape[1]);
  }
}

static void text_add(const char *text, size_t len, bool plain, size_t most, struct buf *out) {
  if (out->len + len >= most) return;
  if (plain) buf_add(out, text, len);
  else escapes_resolve(text, text + len, out);
  buf_addc(out, ' ');
}

/* A number from i on; one that is too long for int64 is text to whoever reads it. */
static size_t number_add(const char *json, size_t i, size_t len, size_t most, struct buf *out) {
  size_t from = i, digits = 0;
  for (; i < len && json[i] && strchr("0123456789+-.eE", json[i]); i++) digits += json[i] >= '0' && json[i] <= '9';
  if (digits >= LONG_NUMBER) text_add(json + from, i - from, true, most, out);
  return i;
}

void texts_add(const char *json, size_t len, size_t most, struct buf *out) {
  for (size_t i = 0; i < len;) {
    if (json[i] != '"') {
      bool number = json[i] == '-' || (json[i] >= '0' && json[i] <= '9');
      i = number ? number_add(json, i, len, most, out) : i + 1;
      continue;
    }
    bool plain;
    size_t end = string_end(json, i, len, &plain), next = spaces_skip(json, end, len);
    if (next < len && json[next] == ':') {
      bool raw = end - i == 5 && memcmp(json + i, "\"raw\"", 5) == 0;
      i = raw ? value_skip(json, next + 1, len) : next + 1;
    } else {
      if (end - i >= 2 && json[end - 1] == '"') text_add(json + i + 1, end - i - 2, plain, most, out);
      i = end;
    }
  }
}

void texts_add_member(const char *json, size_t len, const char *name, size_t most, struct buf *out) {
  size_t name_len = strlen(name);
  for (size_t i = 0; i < len;) {
    bool plain;
    if (json[i] != '"') {
      i++;
      continue;
    }
    size_t end = string_end(json, i, len, &plain);
    bool wanted = end - i == name_len + 2 && memcmp(json + i + 1, name, name_len) == 0 && end + 1 < len && json[end] == ':';
    if (wanted && json[end + 1] == '"') {
      i = end + 1;
      end = string_end(json, i, len, &plain);
      if (end - i >= 2 && json[end - 1] == '"') text_add(json + i + 1, end - i - 2, plain, most, out);
      return;
    }
    i = end;
  }
}
