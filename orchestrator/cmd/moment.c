/* Times as people read them, and tables. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cmd/view.h"

enum { LAST_LEAST = 30, LAST_TINY = 8 };

static struct tm local(int64_t us) {
  time_t t = (time_t)(us / 1000000);
  struct tm tm = {0};
  localtime_r(&t, &tm);
  return tm;
}

static void put_time(struct view *v, const char *format, const struct tm *tm) {
  char text[64];
  if (strftime(text, sizeof text, format, tm)) view_put(v, "%s", text);
}

bool same_day(int64_t a, int64_t b) {
  struct tm x = local(a), y = local(b);
  return x.tm_yday == y.tm_yday && x.tm_year == y.tm_year;
}

void view_clock(struct view *v, int64_t us) {
  struct tm tm = local(us);
  put_time(v, "%H:%M:%S", &tm);
}

void view_date(struct view *v, int64_t us) {
  struct tm tm = local(us);
  put_time(v, "%a %e %b %Y (%Z)", &tm);
}

void view_moment(struct view *v, int64_t us) {
  if (v->exact) {
    char text[TIME_TEXT];
    time_format(us, text);
    view_put(v, "%.10s %.8s UTC", text, text + 11);
    return;
  }
  struct tm tm = local(us), now = local(v->now);
  if (same_day(us, v->now)) put_time(v, "%H:%M", &tm);
  else put_time(v, tm.tm_year == now.tm_year ? "%e %b %H:%M" : "%e %b %Y %H:%M", &tm);
}

void view_age(struct view *v, int64_t us) {
  char text[DURATION_TEXT];
  int64_t ms = (v->now - us) / 1000;
  bool ahead = ms < 0;
  if (ahead) ms = -ms;
  if (ms >= 60000) ms -= ms % 60000; /* nobody counts seconds then */
  duration_format(ms < 1000 ? 0 : ms, text);
  view_put(v, ahead ? "in %s" : "%s", ms < 1000 ? "0s" : text);
}

/* ---- tables ---- */

void table_init(struct table *t, const char *const *head) {
  *t = (struct table){.rows = json_array(), .styles = json_array()};
  for (; head[t->count] && t->count < TABLE_COLUMNS; t->count++) {
    t->head[t->count] = head[t->count];
    t->widths[t->count] = text_columns(head[t->count]);
  }
}

void table_spare(struct table *t, unsigned column) { t->spare[t->spares++] = column; }

void table_row(struct table *t, enum style style, const char *const *cells) {
  json_t *row = json_array();
  for (unsigned i = 0; i < t->count; i++) {
    struct buf cell;
    buf_init(&cell, 1 << 20);
    unsigned n = text_clean(cells[i] ? cells[i] : "", 0, &cell);
    if (n > t->widths[i]) t->widths[i] = n;
    json_array_append_new(row, json_string(cell.data));
    buf_release(&cell);
  }
  json_array_append_new(t->rows, row);
  json_array_append_new(t->styles, json_integer(style));
}

/* What is left for the last column. */
static unsigned last_room(const struct table *t, const struct view *v) {
  unsigned used = 0;
  for (unsigned i = 0; i + 1 < t->count; i++)
    if (!t->hidden[i]) used += t->widths[i] + 2;
  return v->width > used ? v->width - used : 0;
}

static void columns_hide(struct table *t, const struct view *v) {
  unsigned wanted = t->widths[t->count - 1] < LAST_LEAST ? t->widths[t->count - 1] : LAST_LEAST;
  for (unsigned i = 0; v->width && i < t->spares && last_room(t, v) < wanted; i++) t->hidden[t->spare[i]] = true;
}

static void line_print(const struct table *t, struct view *v, const char *(*cell)(const void *from, unsigned i), const void *from) {
  unsigned room = v->width ? last_room(t, v) : 0;
  if (v->width && room < LAST_TINY) room = LAST_TINY;
  for (unsigned i = 0; i < t->count; i++) {
    bool is_last = i + 1 == t->count;
    if (t->hidden[i]) continue;
    unsigned used = text_clean(cell(from, i), is_last ? room : 0, &v->out);
    if (!is_last) view_pad(v, used, t->widths[i] + 2);
  }
}

static const char *head_cell(const void *from, unsigned i) { return ((const struct table *)from)->head[i]; }
static const char *row_cell(const void *from, unsigned i) { return json_string_value(json_array_get(from, i)); }

void table_print(struct table *t, struct view *v) {
  size_t n;
  json_t *row;
  columns_hide(t, v);
  view_style(v, STYLE_DIM);
  line_print(t, v, head_cell, t);
  view_style(v, STYLE_PLAIN);
  view_put(v, "\n");
  json_array_foreach(t->rows, n, row) {
    view_style(v, (enum style)json_integer_value(json_array_get(t->styles, n)));
    line_print(t, v, row_cell, row);
    view_style(v, STYLE_PLAIN);
    view_put(v, "\n");
  }
  json_decref(t->rows);
  json_decref(t->styles);
  *t = (struct table){0};
}
