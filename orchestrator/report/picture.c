/* The picture of durations: what ran, what waited for people, what was contained, on one line of time. Long stretches in which nothing was written are cut out, and say so. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/internal.h"

enum { LEFT = 236, PLOT = 704, RIGHT = 30, ROW = 22, TOP = 38, CUTS = 12, CUT = 34, ROWS_MOST = 60, LABEL = 38, TICK_ROOM = 74 };

struct axis {
  int64_t *moments; /* of everything that is shown, in order */
  size_t count;
  struct {
    int64_t from, to;
  } cuts[CUTS];
  unsigned cut_count;
  int64_t shown; /* µs that are drawn */
};

static int by_time(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* The longest stretch without anything, when it takes more than a quarter of what is drawn. */
static bool cut_next(struct axis *a) {
  int64_t most = 0;
  size_t at = 0;
  for (size_t i = 1; i < a->count; i++) {
    int64_t gap = a->moments[i] - a->moments[i - 1];
    bool taken = false;
    for (unsigned c = 0; c < a->cut_count; c++) taken = taken || a->cuts[c].to == a->moments[i];
    if (!taken && gap > most) most = gap, at = i;
  }
  if (a->cut_count == CUTS || most < 5000000 || most * 4 < a->shown) return false;
  a->cuts[a->cut_count].from = a->moments[at - 1];
  a->cuts[a->cut_count++].to = a->moments[at];
  a->shown -= most;
  return true;
}

static void axis_init(struct axis *a, const struct report_source *s, const json_t *facts) {
  const char *key;
  json_t *moment;
  a->moments = calloc(s->count + 8, sizeof *a->moments);
  if (!a->moments) abort();
  for (size_t i = 0; i < s->count; i++) a->moments[a->count++] = s->entries[i]->time;
  json_object_foreach(json_object_get(facts, "times"), key, moment) {
    if (json_is_object(moment)) a->moments[a->count++] = json_int_or(moment, "time", 0);
  }
  qsort(a->moments, a->count, sizeof *a->moments, by_time);
  a->shown = a->moments[a->count - 1] - a->moments[0];
  while (cut_next(a)) {}
  qsort(a->cuts, a->cut_count, sizeof *a->cuts, by_time); /* by their first member */
}

static double x_of(const struct axis *a, int64_t t) {
  int64_t passed = t - a->moments[0], cuts = 0;
  if (passed < 0) passed = 0;
  for (unsigned c = 0; c < a->cut_count && a->cuts[c].from < t; c++) {
    int64_t gone = a->cuts[c].to - a->cuts[c].from;
    if (t >= a->cuts[c].to) passed -= gone, cuts += 1000;
    else { /* inside: in proportion */ passed -= t - a->cuts[c].from;
      cuts += (t - a->cuts[c].from) / (gone / 1000 + 1);
    }
  }
  double room = PLOT - (double)a->cut_count * CUT, x = a->shown > 0 ? (double)passed / (double)a->shown * room : 0;
  x += (double)cuts / 1000 * CUT;
  return LEFT + (x > PLOT ? PLOT : x);
}

/* ---- rows */

struct picture {
  struct axis axis;
  struct buf body;
  unsigned rows, left_out;
  int64_t last;
};

static void label_add(struct buf *out, const char *text) {
  size_t n = strlen(text), keep = n;
  char cut[LABEL + 1];
  if (n > LABEL) {
    keep = LABEL - 1;
    while (keep > 0 && ((unsigned char)text[keep] & 0xc0) == 0x80) keep--;
  }
  memcpy(cut, text, keep);
  cut[keep] = 0;
  html_text(out, cut);
  if (keep < n) buf_adds(out, "…");
}

static void duration_add(struct buf *out, int64_t us) {
  char text[DURATION_TEXT];
  int64_t ms = us / 1000;
  duration_format(ms >= 60000 ? ms - ms % 1000 : ms, text);
  buf_adds(out, text);
}

static void bar(struct picture *p, const char *style, const char *label, const json_t *item) {
  int64_t from = json_int_or(item, "time", 0), to = json_int_or(item, "ended", 0);
  bool open = !to;
  if (open) to = p->last;
  double x = x_of(&p->axis, from), w = x_of(&p->axis, to) - x;
  unsigned y = TOP + p->rows * ROW;
  if (p->rows >= ROWS_MOST) {
    p->left_out++;
    return;
  }
  p->rows++;
  struct buf *b = &p->body;
  buf_addf(b, "<text class=\"l\" x=\"%d\" y=\"%u\">", LEFT - 10, y + 14);
  label_add(b, label);
  buf_addf(b, "</text><rect class=\"%s%s\" x=\"%.1f\" y=\"%u\" width=\"%.1f\" height=\"12\" rx=\"2\"><title>", style, open ? " open" : "",
           x, y + 4, w < 3 ? 3 : w);
  html_text(b, label);
  buf_adds(b, ": ");
  if (open) buf_adds(b, "not ended after ");
  duration_add(b, to - from);
  buf_adds(b, "</title></rect>");
  bool left = x + w > LEFT + PLOT - 70;
  buf_addf(b, "<text class=\"d\"%s x=\"%.1f\" y=\"%u\">", left ? " text-anchor=\"end\"" : "", left ? x - 5 : x + (w < 3 ? 3 : w) + 5,
           y + 14);
  duration_add(b, to - from);
  buf_adds(b, open ? " …</text>" : "</text>");
}

static void target_add(struct buf *out, const json_t *target) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)target, key, value) {
    buf_addf(out, " %s ", key);
    if (json_is_string(value)) buf_adds(out, json_string_value(value));
    else {
      char *text = json_text(value);
      buf_adds(out, text ? text : "");
      free(text);
    }
  }
}

static void rows_of(struct picture *p, const json_t *list, const char *style, void (*name)(struct buf *out, const json_t *item)) {
  size_t i;
  json_t *item;
  json_array_foreach((json_t *)(uintptr_t)list, i, item) {
    struct buf label;
    buf_init(&label, 1 << 20);
    name(&label, item);
    bar(p, style, label.data, item);
    buf_release(&label);
  }
}

static void name_run(struct buf *out, const json_t *run) {
  buf_addf(out, "run %d: %s", (int)json_int_or(run, "run", 0), json_str_or(run, "playbook", "?"));
}

static void name_question(struct buf *out, const json_t *q) { buf_addf(out, "asked: %s", json_str_or(q, "text", "?")); }

static void name_containment(struct buf *out, const json_t *c) {
  buf_adds(out, "contained:");
  target_add(out, json_object_get(c, "target"));
}

/* ---- the frame */

static void cuts_draw(const struct picture *p, struct buf *out, unsigned bottom) {
  for (unsigned i = 0; i < p->axis.cut_count; i++) {
    double x = x_of(&p->axis, p->axis.cuts[i].from);
    buf_addf(out, "<rect class=\"cut\" x=\"%.1f\" y=\"%d\" width=\"%d\" height=\"%u\"/><text class=\"c\" x=\"%.1f\" y=\"%u\">", x, TOP - 6,
             CUT, bottom - TOP + 6, x + CUT / 2.0, bottom + 12);
    duration_add(out, p->axis.cuts[i].to - p->axis.cuts[i].from);
    buf_adds(out, "</text>");
  }
}

struct tick {
  double x;
  char day[11];
};

/* With its date when that is another than the one before. */
static void tick(const struct picture *p, struct buf *out, int64_t t, struct tick *last, unsigned bottom) {
  char text[STAMP_TEXT];
  double x = x_of(&p->axis, t);
  if (x - last->x < TICK_ROOM) return;
  stamp_text(t, text);
  bool new_day = strncmp(text, last->day, 10) != 0;
  buf_addf(out, "<line class=\"t\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%u\"/>", x, TOP - 14, x, bottom);
  if (new_day) buf_addf(out, "<text class=\"m k\" x=\"%.1f\" y=\"9\">%.10s</text>", x, text);
  buf_addf(out, "<text class=\"m\" x=\"%.1f\" y=\"21\">%s</text>", x, text + 11);
  last->x = x;
  snprintf(last->day, sizeof last->day, "%.10s", text);
}

static void ticks_draw(const struct picture *p, struct buf *out, unsigned bottom) {
  struct tick last = {-1000, ""};
  for (size_t i = 0; i < p->axis.count; i++) tick(p, out, p->axis.moments[i], &last, bottom);
}

static void key_times(struct picture *p, const json_t *times) {
  static const char *const names[] = {"occurred", "detected", "received", "acknowledged", "contained", "recovered"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const json_t *moment = json_object_get(times, names[i]);
    unsigned y = TOP + p->rows * ROW;
    if (!json_is_object(moment)) continue;
    double x = x_of(&p->axis, json_int_or(moment, "time", 0));
    buf_addf(&p->body, "<text class=\"l k\" x=\"%d\" y=\"%u\">%s</text><line class=\"t\" x1=\"%d\" y1=\"%u\" x2=\"%.1f\" y2=\"%u\"/>",
             LEFT - 10, y + 14, names[i], LEFT, y + 10, x, y + 10);
    buf_addf(&p->body, "<path class=\"key\" d=\"M%.1f %ul5 6l-5 6l-5 -6z\"/>", x, y + 4);
    p->rows++;
  }
}

void picture_draw(const struct report_source *s, const json_t *facts, struct buf *out) {
  struct picture p = {.last = json_int_or(facts, "last", 0)};
  if (!s->count) return;
  axis_init(&p.axis, s, facts);
  buf_init(&p.body, 16 << 20);
  key_times(&p, json_object_get(facts, "times"));
  rows_of(&p, json_object_get(facts, "runs"), "run", name_run);
  rows_of(&p, json_object_get(facts, "questions"), "ask", name_question);
  rows_of(&p, json_object_get(facts, "containments"), "con", name_containment);
  unsigned bottom = TOP + p.rows * ROW + 4;
  buf_addf(out, "<svg viewBox=\"0 0 %d %u\" role=\"img\" aria-label=\"Durations\">", LEFT + PLOT + RIGHT, bottom + 22);
  ticks_draw(&p, out, bottom);
  buf_add(out, p.body.data, p.body.len);
  cuts_draw(&p, out, bottom);
  buf_adds(out, "</svg>\n<p class=\"key\"><i class=\"run\"></i>a playbook ran <i class=\"ask\"></i>a person was asked <i "
                "class=\"con\"></i>contained");
  if (p.axis.cut_count) buf_adds(out, " <i class=\"cut\"></i>nothing was written for that long; left out of the picture");
  if (p.left_out) buf_addf(out, " · %u rows more are left out; all are in the tables", p.left_out);
  buf_adds(out, "</p>\n");
  buf_release(&p.body);
  free(p.axis.moments);
}
