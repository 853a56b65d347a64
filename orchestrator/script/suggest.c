#include <stdio.h>
#include <string.h>

#include "script/internal.h"

enum { WORD_MAX = 48 };

/* Edits between two words, neighbours that changed places counting as one (Damerau-Levenshtein, optimal string alignment). */
static size_t distance(const char *a, const char *b) {
  size_t m = strlen(a), n = strlen(b), rows[3][WORD_MAX + 1];
  if (m > WORD_MAX || n > WORD_MAX) return WORD_MAX;
  size_t *before = rows[0], *last = rows[1], *row = rows[2];
  for (size_t j = 0; j <= n; j++) last[j] = j;
  for (size_t i = 1; i <= m; i++) {
    row[0] = i;
    for (size_t j = 1; j <= n; j++) {
      size_t cost = a[i - 1] == b[j - 1] ? 0 : 1, best = last[j - 1] + cost;
      if (last[j] + 1 < best) best = last[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best) best = before[j - 2] + 1;
      row[j] = best;
    }
    size_t *free_row = before;
    before = last, last = row, row = free_row;
  }
  return last[n];
}

void suggest_init(struct suggestion *s, const char *word) {
  s->word = word;
  s->best[0] = 0;
  size_t len = strlen(word);
  s->distance = len < 3 ? 1 : len < 7 ? 2 : 3; /* farther than this is not a slip of the finger */
}

void suggest_name(struct suggestion *s, const char *name) {
  size_t d = distance(s->word, name);
  bool first = !s->best[0];
  if (d == 0 || d > s->distance || strlen(name) >= sizeof s->best) return;
  if (!first && (d > s->distance || (d == s->distance && strcmp(name, s->best) >= 0))) return;
  s->distance = d;
  memcpy(s->best, name, strlen(name) + 1);
}

const char *suggest_best(const struct suggestion *s) { return s->best[0] ? s->best : NULL; }

const char *suggest_text(const struct suggestion *s, char *out, size_t size) {
  if (s->best[0]) snprintf(out, size, "; did you mean `%s`?", s->best);
  else out[0] = 0;
  return out;
}
