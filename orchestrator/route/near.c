#include "route/near.h"

#include <ctype.h>
#include <string.h>

enum { MAX_WORD = 64 };

static unsigned least(unsigned a, unsigned b, unsigned c) {
  unsigned m = a < b ? a : b;
  return m < c ? m : c;
}

/* Levenshtein distance without case, with two letters swapped counted once (optimal string alignment). */
static unsigned distance(const char *a, const char *b) {
  unsigned rows[3][MAX_WORD + 1], *before = rows[0], *last = rows[1], *now = rows[2];
  size_t na = strlen(a), nb = strlen(b);
  if (na > MAX_WORD || nb > MAX_WORD) return MAX_WORD;
  for (unsigned j = 0; j <= nb; j++) last[j] = j;
  for (unsigned i = 1; i <= na; i++) {
    now[0] = i;
    for (unsigned j = 1; j <= nb; j++) {
      int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);
      now[j] = least(last[j] + 1, now[j - 1] + 1, last[j - 1] + (x != y));
      if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) && y == tolower((unsigned char)a[i - 2]) && before[j - 2] + 1 < now[j])
        now[j] = before[j - 2] + 1;
    }
    unsigned *spare = before;
    before = last, last = now, now = spare;
  }
  return last[nb];
}

const char *route_near_miss(const char *text, const char *const *words) {
  const char *best = NULL;
  unsigned best_distance = 3;
  for (; *words; words++) {
    if (strcmp(*words, text) == 0) return *words;
    unsigned d = distance(text, *words);
    if (d < best_distance && (d == 1 || 3 * d <= strlen(*words))) best = *words, best_distance = d;
  }
  return best;
}
