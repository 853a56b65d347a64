/* fold.h: comparing text without case: simple folding, one code point to one code point (Unicode CaseFolding.txt, statuses C and S), for Latin, Greek, Cyrillic,
 * Armenian and full-width letters.
 *
 * Promises: folded text is never longer than the text; bytes that are not UTF-8 stay as they are. Never depends on the locale, never normalises: "é" as one
 * code point and as "e" with a combining accent differ, "ß" is not "ss", and look-alike letters of different scripts stay different. */
#ifndef TOCSIN_ROUTE_FOLD_H
#define TOCSIN_ROUTE_FOLD_H

#include <stddef.h>
#include <stdint.h>

/* The next code point at p (p < end) and its length; a byte that is not UTF-8 is 0x110000 + byte, of length 1. */
size_t utf8_next(const char *p, const char *end, uint32_t *ret);
/* out has room for 4 bytes. */
size_t utf8_put(uint32_t cp, char *out);

uint32_t fold_point(uint32_t cp);
/* out has room for len bytes; returns how many were written. */
size_t fold_text(const char *bytes, size_t len, char *out);

/* Folded (or, when cased, plain) text in room when it fits, else on the heap: release with fold_release. Aborts when out of memory, as a filter that silently
 * stops matching would be worse. */
struct folded {
  const char *data;
  size_t len;
  char *heap;
  char room[512];
};
void fold_init(struct folded *f, const char *bytes, size_t len);
void fold_release(struct folded *f);

#endif
