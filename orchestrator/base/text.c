#include "base/text.h"

#include <string.h>

char *text_add(char *p, char *end, const char *text) {
  while (*text && p < end) *p++ = *text++;
  return p;
}

char *text_add_number(char *p, char *end, uint64_t value) {
  char digits[24], *first = digits + sizeof digits - 1;
  *first = 0;
  do *--first = (char)('0' + value % 10);
  while (value /= 10);
  return text_add(p, end, first);
}

void text_copy(char *room, size_t size, const char *text) {
  size_t n = text ? strnlen(text, size - 1) : 0;
  if (n) memcpy(room, text, n);
  room[n] = 0;
}
