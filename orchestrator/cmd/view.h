/* view.h: text for a terminal, in which nothing that a stranger wrote can do harm.
 *
 * Alerts, tickets and directory entries are written by attackers too: control characters, escape sequences, bytes that are not UTF-8 and
 * characters that turn the direction of writing are shown as \x1b or \u202e, never sent. Our own words and colours go in by view_put and
 * view_style; everything else goes in by view_text. Colour only when the terminal wants it. Collects; view_flush prints. */
#ifndef TOCSIN_CMD_VIEW_H
#define TOCSIN_CMD_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_RED, STYLE_GREEN, STYLE_YELLOW, STYLE_BLUE };

struct view {
  struct buf out;
  bool color;
  unsigned width; /* 0: no limit */
  int64_t now;    /* µs; "12 min ago" is reckoned from it */
  bool exact;     /* moments with their date and in UTC: for what is read elsewhere and later */
};

void view_init(struct view *v, bool color, unsigned width);
void view_release(struct view *v);
/* Writes everything to standard output and empties it. */
void view_flush(struct view *v);

/* Our own words. */
void view_put(struct view *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
void view_style(struct view *v, enum style style); /* until the next one */
/* Somebody else's words, on one line; NULL is nothing. */
void view_text(struct view *v, const char *text);
void view_id(struct view *v, const char *id); /* of an exercise: EXERCISE before it, wherever it is shown */
/* The same, of at most `columns` columns, ending in "…" when cut. Returns the columns used. */
unsigned view_cut(struct view *v, const char *text, unsigned columns);
/* The same over several lines: each line of the text begins with `indent` spaces, long lines are wrapped. The first line's indent is there already. */
void view_block(struct view *v, const char *text, unsigned indent);
/* JSON as people write it: alice · 3 · user=alice, host=web1 · a, b. Nested deeper: compact JSON. */
void view_value(struct view *v, const json_t *value);
/* Spaces up to a column, reckoned from a line's beginning at which `used` columns are filled; at least one. */
void view_pad(struct view *v, unsigned used, unsigned column);

/* Somebody else's words made harmless, appended to out; at most `columns` columns when not 0. Returns the columns used. */
unsigned text_clean(const char *text, unsigned columns, struct buf *out);
unsigned text_columns(const char *text); /* of text_clean's output */

/* Local time. */
void view_clock(struct view *v, int64_t us);  /* 18:42:01 */
void view_date(struct view *v, int64_t us);   /* Mon 23 Nov 2026 */
void view_moment(struct view *v, int64_t us); /* 18:42 today, else 23 Nov 18:42 (with the year when it is another) */
void view_age(struct view *v, int64_t us);    /* "12m" since then, or "in 12m" */
bool same_day(int64_t a, int64_t b);

/* A table: cells are added row by row; the last column takes what width is left. */
enum { TABLE_COLUMNS = 10 };
struct table {
  const char *head[TABLE_COLUMNS]; /* ended by NULL */
  unsigned count, widths[TABLE_COLUMNS];
  unsigned spare[TABLE_COLUMNS], spares; /* columns that go first when the terminal is narrow */
  bool hidden[TABLE_COLUMNS];
  json_t *rows; /* of arrays of strings, clean */
  json_t *styles;
};
void table_init(struct table *t, const char *const *head);
void table_spare(struct table *t, unsigned column);
void table_row(struct table *t, enum style style, const char *const *cells); /* one for each column; NULL: empty */
void table_print(struct table *t, struct view *v);                           /* and releases it */

#endif
