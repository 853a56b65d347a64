/* utf8.h: what a well-formed UTF-8 sequence is (RFC 3629): no overlong forms, no surrogates, nothing beyond U+10FFFF. */
#ifndef TOCSIN_BASE_UTF8_H
#define TOCSIN_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Length of the well-formed sequence at p, of which `left` bytes are there (at least 1); 0 when there is none. */
static inline size_t utf8_length(const unsigned char *p, size_t left) {
  if (p[0] < 0x80) return 1;
  if (p[0] >= 0xc2 && p[0] <= 0xdf) return left >= 2 && (p[1] & 0xc0) == 0x80 ? 2 : 0;
  if ((p[0] & 0xf0) == 0xe0) {
    if (left < 3 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80) return 0;
    if (p[0] == 0xe0 && p[1] < 0xa0) return 0;
    if (p[0] == 0xed && p[1] > 0x9f) return 0;
    return 3;
  }
  if (p[0] >= 0xf0 && p[0] <= 0xf4) {
    if (left < 4 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 || (p[3] & 0xc0) != 0x80) return 0;
    if (p[0] == 0xf0 && p[1] < 0x90) return 0;
    if (p[0] == 0xf4 && p[1] > 0x8f) return 0;
    return 4;
  }
  return 0;
}

static inline bool utf8_valid(const char *text, size_t len) {
  uint64_t eight;
  for (size_t i = 0, n;; i += n) {
    for (; len - i >= sizeof eight; i += sizeof eight) { /* most texts are mostly ASCII */
      memcpy(&eight, text + i, sizeof eight);
      if (eight & UINT64_C(0x8080808080808080)) break;
    }
    while (i < len && (unsigned char)text[i] < 0x80) i++;
    if (i == len) return true;
    if ((n = utf8_length((const unsigned char *)text + i, len - i)) == 0) return false;
  }
  return true;
}

/* A text that was cut, or that a stranger sent, is well-formed afterwards: each byte that is not becomes '?'. */
static inline void utf8_mend(char *text, size_t len) {
  for (size_t i = 0, n; i < len; i += n ? n : 1)
    if ((n = utf8_length((const unsigned char *)text + i, len - i)) == 0) text[i] = '?';
}

/* Writes c, at most U+10FFFF, as one to four bytes; returns what follows them. */
static inline char *utf8_put(char *out, uint32_t c) {
  if (c < 0x80) {
    *out++ = (char)c;
  } else if (c < 0x800) {
    *out++ = (char)(0xc0 | c >> 6);
    *out++ = (char)(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    *out++ = (char)(0xe0 | c >> 12);
    *out++ = (char)(0x80 | (c >> 6 & 0x3f));
    *out++ = (char)(0x80 | (c & 0x3f));
  } else {
    *out++ = (char)(0xf0 | c >> 18);
    *out++ = (char)(0x80 | (c >> 12 & 0x3f));
    *out++ = (char)(0x80 | (c >> 6 & 0x3f));
    *out++ = (char)(0x80 | (c & 0x3f));
  }
  return out;
}

/* The four hexadecimal digits of a \u escape (RFC 8259); -1 when they are not there. */
static inline int32_t utf8_hex4(const char *p, const char *end) {
  int32_t n = 0;
  if (end - p < 4) return -1;
  for (int i = 0; i < 4; i++) {
    char c = p[i];
    int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return -1;
    n = n << 4 | digit;
  }
  return n;
}

#endif
