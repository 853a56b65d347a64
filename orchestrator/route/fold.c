#include "route/fold.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t *bytes_of(const char *p) { return (const uint8_t *)p; }

size_t utf8_next(const char *p, const char *end, uint32_t *ret) {
  const uint8_t *s = bytes_of(p);
  size_t left = (size_t)(end - p), len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
  if (len == 1) return *ret = s[0], 1;
  uint32_t cp = len ? s[0] & (0xffu >> (len + 1)) : 0;
  if (!len || len > left) return *ret = 0x110000u + s[0], 1;
  for (size_t i = 1; i < len; i++) {
    if ((s[i] & 0xc0) != 0x80) return *ret = 0x110000u + s[0], 1;
    cp = cp << 6 | (s[i] & 0x3f);
  }
  if ((len == 3 && cp < 0x800) || (len == 4 && (cp < 0x10000 || cp > 0x10ffff)) || (cp >= 0xd800 && cp < 0xe000))
    return *ret = 0x110000u + s[0], 1;
  return *ret = cp, len;
}

size_t utf8_put(uint32_t cp, char *out) {
  if (cp >= 0x110000) return out[0] = (char)(uint8_t)(cp - 0x110000), 1;
  if (cp < 0x80) return out[0] = (char)cp, 1;
  if (cp < 0x800) return out[0] = (char)(0xc0 | cp >> 6), out[1] = (char)(0x80 | (cp & 0x3f)), 2;
  if (cp < 0x10000) {
    out[0] = (char)(0xe0 | cp >> 12), out[1] = (char)(0x80 | (cp >> 6 & 0x3f)), out[2] = (char)(0x80 | (cp & 0x3f));
    return 3;
  }
  out[0] = (char)(0xf0 | cp >> 18), out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
  out[2] = (char)(0x80 | (cp >> 6 & 0x3f)), out[3] = (char)(0x80 | (cp & 0x3f));
  return 4;
}

/* Runs of capitals: either a fixed distance to the small letters, or (step 2) pairs of capital and small side by side. */
static const struct run {
  uint16_t first, last;
  int16_t distance;
  uint8_t step;
} runs[] = {
    {0xc0, 0xd6, 32, 1},   {0xd8, 0xde, 32, 1},     {0x100, 0x12e, 1, 2},   {0x132, 0x136, 1, 2},    {0x139, 0x147, 1, 2},
    {0x14a, 0x176, 1, 2},  {0x178, 0x178, -121, 1}, {0x179, 0x17d, 1, 2},   {0x1cd, 0x1db, 1, 2},    {0x1de, 0x1ee, 1, 2},
    {0x1f8, 0x21e, 1, 2},  {0x222, 0x232, 1, 2},    {0x386, 0x386, 38, 1},  {0x388, 0x38a, 37, 1},   {0x38c, 0x38c, 64, 1},
    {0x38e, 0x38f, 63, 1}, {0x391, 0x3a1, 32, 1},   {0x3a3, 0x3ab, 32, 1},  {0x3c2, 0x3c2, 1, 1},    {0x400, 0x40f, 80, 1},
    {0x410, 0x42f, 32, 1}, {0x460, 0x480, 1, 2},    {0x48a, 0x4be, 1, 2},   {0x4c1, 0x4cd, 1, 2},    {0x4d0, 0x52e, 1, 2},
    {0x531, 0x556, 48, 1}, {0x1e00, 0x1e94, 1, 2},  {0x1ea0, 0x1efe, 1, 2}, {0xff21, 0xff3a, 32, 1},
};

uint32_t fold_point(uint32_t cp) {
  if (cp < 0x80) return cp - 'A' < 26u ? cp + 32 : cp;
  switch (cp) {
  case 0xb5: return 0x3bc;   /* micro sign */
  case 0x17f: return 's';    /* long s */
  case 0x212a: return 'k';   /* Kelvin sign */
  case 0x212b: return 0xe5;  /* Angstrom sign */
  case 0x2126: return 0x3c9; /* Ohm sign */
  default: break;
  }
  for (size_t i = 0; i < sizeof runs / sizeof *runs && runs[i].first <= cp; i++)
    if (cp <= runs[i].last) return (cp - runs[i].first) % runs[i].step ? cp : (uint32_t)((int32_t)cp + runs[i].distance);
  return cp;
}

size_t fold_text(const char *bytes, size_t len, char *out) {
  const char *p = bytes, *end = bytes + len;
  char *o = out;
  while (p < end) {
    uint8_t c = (uint8_t)*p;
    if (c < 0x80) {
      *o++ = (char)fold_point(c);
      p++;
      continue;
    }
    uint32_t cp;
    p += utf8_next(p, end, &cp);
    o += utf8_put(fold_point(cp), o);
  }
  return (size_t)(o - out);
}

void fold_init(struct folded *f, const char *bytes, size_t len) {
  char *to = f->room;
  f->heap = NULL;
  if (len > sizeof f->room && !(to = f->heap = malloc(len))) abort();
  f->len = fold_text(bytes, len, to);
  f->data = to;
}

void fold_release(struct folded *f) {
  free(f->heap);
  f->heap = NULL;
}
