/* The page about an exercise: one file to read, print and keep as the record that the plan was exercised. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/internal.h"

enum { LEFT = 120, PLOT = 820, RIGHT = 30, LANE = 40, TOP = 34, MARK = 6, ABOVE = 3 };

/* ---- pieces */

static void span(struct buf *out, int64_t ms) {
  char text[DURATION_TEXT];
  duration_format(ms >= 60000 ? ms - ms % 1000 : ms, text);
  buf_adds(out, text);
}

/* "T+1h 5m" */
static void since_start(const json_t *result, int64_t time, struct buf *out) {
  int64_t ms = (time - json_int_or(result, "started", 0)) / 1000;
  buf_adds(out, ms < 0 ? "T−" : "T+");
  if (ms) span(out, ms < 0 ? -ms : ms);
  else buf_addc(out, '0');
}

static void place(const json_t *item, struct buf *out) {
  buf_adds(out, "<span class=\"dim\">");
  html_text(out, json_str_or(item, "incident", ""));
  buf_addf(out, " #%" PRId64 "</span>", json_int_or(item, "seq", 0));
}

static void table_begin(struct buf *out, const char *title, const char *const *heads) {
  buf_addf(out, "<h2>%s</h2>\n<table><thead><tr>", title);
  for (; *heads; heads++) buf_addf(out, "<th>%s</th>", *heads);
  buf_adds(out, "</tr></thead><tbody>\n");
}

static void table_end(struct buf *out) { buf_adds(out, "</tbody></table>\n"); }

static size_t met(const json_t *result, const char *verdict) {
  size_t i, n = 0;
  json_t *o;
  json_array_foreach(json_object_get(result, "objectives"), i, o) n += strcmp(json_str_or(o, "verdict", ""), verdict) == 0;
  return n;
}

/* ---- the head */

static void head(const json_t *r, struct buf *out) {
  char stamp[STAMP_TEXT];
  stamp_text(json_int_or(r, "started", 0), stamp);
  buf_adds(out, "<p class=\"mark\">EXERCISE</p>\n<p class=\"kind\">Exercise report · ");
  html_text(out, json_str_or(r, "id", ""));
  buf_adds(out, "</p>\n<h1>");
  html_text(out, json_str_or(r, "title", ""));
  buf_adds(out, "</h1>\n<p>");
  html_tag(out, "exercise", "exercise: nothing of this happened outside");
  html_tag(out, "", json_str_or(r, "status", ""));
  buf_addf(out, "</p>\n<p>");
  html_text(out, json_str_or(r, "summary", ""));
  buf_addf(out, "</p>\n<p class=\"sum\"><b>%zu of %zu</b> objectives met", met(r, "met"),
           json_array_size(json_object_get(r, "objectives")));
  if (met(r, "not judged")) buf_addf(out, ", %zu not judged", met(r, "not judged"));
  if (met(r, "open")) buf_addf(out, ", %zu still open", met(r, "open"));
  buf_addf(out, " · began %s UTC of the exercise's clock · planned for ", stamp);
  span(out, json_int_or(r, "duration", 0));
  if (json_object_get(r, "ended")) {
    buf_adds(out, ", took ");
    span(out, (json_int_or(r, "ended", 0) - json_int_or(r, "started", 0)) / 1000);
  }
  buf_adds(out, "</p>\n");
}

static void card(const json_t *r, const char *name, const char *title, struct buf *out) {
  const json_t *m = json_object_get(json_object_get(r, "times"), name);
  buf_addf(out, "<li%s><b>%s</b>", json_is_object(m) ? "" : " class=\"none\"", title);
  if (json_is_object(m)) {
    buf_adds(out, "<time>");
    since_start(r, json_int_or(m, "time", 0), out);
    buf_adds(out, "</time><small>");
    place(m, out);
    buf_adds(out, "</small></li>\n");
  } else {
    buf_adds(out, "not recorded</li>\n");
  }
}

static void cards(const json_t *r, struct buf *out) {
  buf_adds(out, "<ol class=\"times\">\n");
  card(r, "detected", "Detected", out);
  card(r, "acknowledged", "Acknowledged", out);
  card(r, "decided", "First decision", out);
  card(r, "contained", "Contained", out);
  card(r, "recovered", "Recovered", out);
  buf_adds(out, "</ol>\n");
}

/* ---- the picture */

struct chart {
  const json_t *result;
  struct buf *out;
  int64_t first, last;
};

static double x_of(const struct chart *c, int64_t time) {
  int64_t whole = c->last - c->first, passed = time - c->first;
  if (passed < 0) passed = 0;
  if (passed > whole) passed = whole;
  return LEFT + (whole > 0 ? (double)passed / (double)whole * PLOT : 0);
}

static void lane_name(const struct chart *c, unsigned lane, const char *name) {
  unsigned y = TOP + lane * LANE;
  buf_addf(c->out, "<text class=\"l\" x=\"%d\" y=\"%u\">%s</text><line class=\"t\" x1=\"%d\" y1=\"%u\" x2=\"%d\" y2=\"%u\"/>\n", LEFT - 12,
           y + 20, name, LEFT, y + 16, LEFT + PLOT, y + 16);
}

static void hint(const struct chart *c, int64_t time, const char *text) {
  buf_adds(c->out, "<title>");
  since_start(c->result, time, c->out);
  buf_adds(c->out, " ");
  html_text(c->out, text);
  buf_adds(c->out, "</title>");
}

static void dot(const struct chart *c, unsigned lane, const char *class, int64_t time, const char *text) {
  buf_addf(c->out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%u\" r=\"%d\">", class, x_of(c, time), TOP + lane * LANE + 16, MARK);
  hint(c, time, text);
  buf_adds(c->out, "</circle>\n");
}

/* How many came before this one. */
static unsigned rank(const json_t *injects, size_t of) {
  int64_t time = json_int_or(json_array_get(injects, of), "time", 0);
  unsigned n = 0;
  size_t i;
  json_t *inject;
  json_array_foreach((json_t *)(uintptr_t)injects, i, inject) {
    int64_t other = json_int_or(inject, "time", 0);
    n += strcmp(json_str_or(inject, "status", ""), "came") == 0 && (other < time || (other == time && i < of));
  }
  return n;
}

/* Numbers stand alternately at three heights: injects come close to each other. */
static void storyline(const struct chart *c) {
  const json_t *injects = json_object_get(c->result, "injects");
  size_t i;
  json_t *inject;
  json_array_foreach((json_t *)(uintptr_t)injects, i, inject) {
    if (strcmp(json_str_or(inject, "status", ""), "came") != 0) continue;
    double x = x_of(c, json_int_or(inject, "time", 0));
    unsigned y = TOP + 16, up = 10 + rank(injects, i) % ABOVE * 9;
    const char *class = strcmp(json_str_or(inject, "kind", ""), "alert") == 0 ? "alert" : "run";
    buf_addf(c->out, "<line class=\"t\" x1=\"%.1f\" y1=\"%u\" x2=\"%.1f\" y2=\"%u\"/>", x, y, x, y - up + 2);
    buf_addf(c->out, "<rect class=\"%s\" x=\"%.1f\" y=\"%u\" width=\"8\" height=\"8\" rx=\"1\">", class, x - 4, y - 4);
    hint(c, json_int_or(inject, "time", 0), json_str_or(inject, "id", ""));
    buf_addf(c->out, "</rect><text class=\"m\" x=\"%.1f\" y=\"%u\">%zu</text>\n", x, y - up, i + 1);
  }
}

static void people_and_playbooks(const struct chart *c) {
  size_t i;
  json_t *item;
  char text[256];
  json_array_foreach(json_object_get(c->result, "decisions"), i, item) {
    if (json_bool_or(item, "person", false)) dot(c, 1, "ask", json_int_or(item, "time", 0), json_str_or(item, "by", ""));
  }
  json_array_foreach(json_object_get(c->result, "actions"), i, item) {
    snprintf(text, sizeof text, "%s: %s", json_str_or(item, "connector", ""), json_str_or(item, "action", ""));
    dot(c, 2,
        json_bool_or(item, "hand", false)                         ? "ask"
        : strcmp(json_str_or(item, "effect", ""), "contain") == 0 ? "con"
                                                                  : "run",
        json_int_or(item, "time", 0), text);
  }
  json_array_foreach(json_object_get(c->result, "objectives"), i, item) {
    const char *verdict = json_str_or(item, "verdict", "");
    if (json_object_get(item, "time"))
      dot(c, 3, strcmp(verdict, "met") == 0 ? "good" : "miss", json_int_or(item, "time", 0), json_str_or(item, "text", ""));
  }
}

static void scale(const struct chart *c, unsigned bottom) {
  static const int64_t steps[] = {1, 2, 5, 10, 15, 30, 60, 120, 240, 1440};
  int64_t minute = 60000000, whole = c->last - c->first, step = steps[0];
  for (size_t i = 0; i < sizeof steps / sizeof *steps && whole / (step * minute) > 10; i++) step = steps[i];
  for (int64_t t = 0; t <= whole && whole / (step * minute) < 1000; t += step * minute) {
    double x = x_of(c, c->first + t);
    buf_addf(c->out, "<line class=\"t\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%u\"/><text class=\"m\" x=\"%.1f\" y=\"%u\">", x, TOP, x,
             bottom - 14, x, bottom);
    since_start(c->result, c->first + t, c->out);
    buf_adds(c->out, "</text>\n");
  }
}

static void picture(const json_t *r, struct buf *out) {
  int64_t planned = json_int_or(r, "started", 0) + json_int_or(r, "duration", 0) * 1000, ended = json_int_or(r, "ended", 0);
  struct chart c = {r, out, json_int_or(r, "started", 0), ended > planned ? ended : planned};
  unsigned height = TOP + 4 * LANE + 24;
  buf_addf(out, "<h2>The exercise on one line of time</h2>\n<svg viewBox=\"0 0 %d %u\" role=\"img\">\n", LEFT + PLOT + RIGHT, height);
  scale(&c, height - 4);
  lane_name(&c, 0, "Storyline");
  lane_name(&c, 1, "People");
  lane_name(&c, 2, "Actions");
  lane_name(&c, 3, "Objectives");
  storyline(&c);
  people_and_playbooks(&c);
  buf_adds(out, "</svg>\n<p class=\"key\"><i class=\"alert\"></i>alert <i class=\"run\"></i>other inject, action of a playbook <i "
                "class=\"con\"></i>containment "
                "<i class=\"ask\"></i>a person <i class=\"good\"></i>objective met <i class=\"miss\"></i>not met. Numbers are those of the "
                "storyline below.</p>\n");
}

/* ---- tables */

static const char *class_of(const char *verdict) {
  return strcmp(verdict, "met") == 0 ? "good" : strcmp(verdict, "not met") == 0 ? "bad" : "dim";
}

static const json_t *with(const json_t *list, const char *member, const char *value) {
  size_t i;
  json_t *item;
  json_array_foreach((json_t *)(uintptr_t)list, i, item) if (strcmp(json_str_or(item, member, ""), value) == 0) return item;
  return NULL;
}

static void objectives(const json_t *r, const json_t *before, struct buf *out) {
  const char *heads[] = {"Objective", "Verdict", "Decided at", "Entries that show it", before ? "Last time" : NULL, NULL};
  size_t i, k;
  json_t *o, *at;
  table_begin(out, "Objectives", heads);
  json_array_foreach(json_object_get(r, "objectives"), i, o) {
    const char *verdict = json_str_or(o, "verdict", "");
    buf_adds(out, "<tr><td class=\"w\">");
    html_text(out, json_str_or(o, "text", ""));
    buf_addf(out, "</td><td class=\"%s\">%s", class_of(verdict), verdict);
    if (json_str(o, "why")) buf_adds(out, "<br><span class=\"dim\">"), html_text(out, json_str(o, "why")), buf_adds(out, "</span>");
    buf_adds(out, "</td><td class=\"n\">");
    if (json_object_get(o, "time")) since_start(r, json_int_or(o, "time", 0), out);
    buf_adds(out, "</td><td>");
    json_array_foreach(json_object_get(o, "entries"), k, at) {
      buf_adds(out, k ? ", " : "");
      place(at, out);
    }
    if (!k) buf_adds(out, "<span class=\"none\">none</span>");
    const json_t *then = with(json_object_get(before, "objectives"), "id", json_str_or(o, "id", ""));
    if (before)
      buf_addf(out, "</td><td class=\"%s\">%s", then ? class_of(json_str_or(then, "verdict", "")) : "dim",
               then ? json_str_or(then, "verdict", "") : "was none");
    buf_adds(out, "</td></tr>\n");
  }
  table_end(out);
}

static void gaps(const json_t *r, const json_t *before, struct buf *out) {
  static const char *const heads[] = {"What to do", "Owner", "Within", "Because of", NULL};
  size_t i;
  json_t *gap;
  if (!json_array_size(json_object_get(r, "gaps"))) {
    buf_adds(out, "<h2>Gaps</h2>\n<p class=\"none\">None was found.</p>\n");
    return;
  }
  table_begin(out, "Gaps, and what to do about them", heads);
  json_array_foreach(json_object_get(r, "gaps"), i, gap) {
    const char *role = json_str_or(gap, "owner", ""), *person = json_str(json_object_get(r, "roles"), role);
    buf_adds(out, "<tr><td class=\"w\">");
    html_text(out, json_str_or(gap, "text", ""));
    buf_adds(out, "</td><td>");
    html_text(out, role);
    if (person) buf_adds(out, " ("), html_text(out, person), buf_adds(out, ")");
    buf_addf(out, "</td><td class=\"n\">%" PRId64 " days</td><td>", json_int_or(gap, "days", 0));
    html_text(out, json_str_or(gap, "objective", ""));
    if (with(json_object_get(before, "gaps"), "key", json_str_or(gap, "key", "")))
      buf_adds(out, "<br><span class=\"bad\">as last time</span>");
    buf_adds(out, "</td></tr>\n");
  }
  table_end(out);
}

/* Of an answer the option, of a note its text, of the rest its kind. */
static void said(const json_t *d, struct buf *out) {
  const char *text = json_str(d, "answer") ? json_str(d, "answer") : json_str(d, "text") ? json_str(d, "text") : json_str(d, "tag");
  html_text(out, text ? text : json_str_or(d, "type", ""));
  if (json_str(d, "about")) buf_adds(out, "\n<span class=\"dim\">"), html_text(out, json_str(d, "about")), buf_adds(out, "</span>");
  if (json_object_get(d, "target")) buf_adds(out, " <b>"), html_target(out, json_object_get(d, "target")), buf_adds(out, "</b>");
}

static void decisions(const json_t *r, struct buf *out) {
  static const char *const heads[] = {"When", "Who", "What", "Entry", NULL};
  size_t i;
  json_t *d;
  table_begin(out, "Who decided what", heads);
  json_array_foreach(json_object_get(r, "decisions"), i, d) {
    buf_addf(out, "<tr%s><td class=\"n\">", json_bool_or(d, "person", false) ? " class=\"person\"" : "");
    since_start(r, json_int_or(d, "time", 0), out);
    buf_adds(out, "</td><td class=\"who\">");
    html_text(out, json_str_or(d, "by", "?"));
    buf_adds(out, "</td><td class=\"w\">");
    said(d, out);
    buf_adds(out, "</td><td class=\"n\">");
    place(d, out);
    buf_adds(out, "</td></tr>\n");
  }
  table_end(out);
}

static void actions(const json_t *r, struct buf *out) {
  static const char *const heads[] = {"When", "Begun by", "Action", "Result", "Entry", NULL};
  size_t i;
  json_t *a;
  table_begin(out, "What playbooks did, and what people did by hand", heads);
  json_array_foreach(json_object_get(r, "actions"), i, a) {
    const json_t *ok = json_object_get(a, "ok");
    buf_adds(out, "<tr><td class=\"n\">");
    since_start(r, json_int_or(a, "time", 0), out);
    buf_addf(out, "</td><td>%s</td><td><b>", json_bool_or(a, "hand", false) ? "<b>a person</b>" : "a playbook");
    html_text(out, json_str_or(a, "connector", ""));
    buf_adds(out, ": ");
    html_text(out, json_str_or(a, "action", ""));
    buf_adds(out, "</b> ");
    html_target(out, json_object_get(a, "target"));
    buf_addf(out, "</td><td class=\"%s\">%s</td><td class=\"n\">",
             !ok                ? "dim"
             : json_is_true(ok) ? "good"
                                : "bad",
             !ok                ? "no outcome"
             : json_is_true(ok) ? "ok"
                                : "failed");
    place(a, out);
    buf_adds(out, "</td></tr>\n");
  }
  table_end(out);
}

static void injects(const json_t *r, struct buf *out) {
  static const char *const heads[] = {"", "When", "Inject", "What, to whom", NULL};
  size_t i, k;
  json_t *inject, *role;
  table_begin(out, "Storyline", heads);
  json_array_foreach(json_object_get(r, "injects"), i, inject) {
    const char *status = json_str_or(inject, "status", ""), *kind = json_str_or(inject, "kind", "");
    bool came = strcmp(status, "came") == 0;
    const json_t *to = json_object_get(inject, "to");
    buf_addf(out, "<tr%s><td class=\"n\">%zu</td><td class=\"n\">", came ? "" : " class=\"dim\"", i + 1);
    if (came) since_start(r, json_int_or(inject, "time", 0), out);
    else html_text(out, status);
    buf_adds(out, "</td><td>");
    html_text(out, json_str_or(inject, "id", ""));
    buf_addf(out, "<br><span class=\"dim\">%s</span></td><td class=\"w\">", kind);
    html_text(out, json_str_or(inject, "text", json_str_or(inject, "source", "")));
    json_array_foreach((json_t *)(uintptr_t)to, k, role) {
      buf_adds(out, k ? ", " : "\n<span class=\"dim\">to ");
      html_text(out, json_string_value(role));
    }
    if (json_is_string(to)) buf_adds(out, "\n<span class=\"dim\">to "), html_text(out, json_string_value(to));
    buf_adds(out, to ? "</span></td></tr>\n" : "</td></tr>\n");
  }
  table_end(out);
}

/* ---- last time */

static void compared(const json_t *r, const json_t *before, const char *name, const char *title, struct buf *out) {
  const json_t *now = json_object_get(json_object_get(r, "times"), name), *then = json_object_get(json_object_get(before, "times"), name);
  int64_t a = json_int_or(now, "after", 0), b = json_int_or(then, "after", 0);
  buf_addf(out, "<tr><td>%s</td><td class=\"n\">", title);
  if (json_is_object(then)) span(out, b);
  else buf_adds(out, "<span class=\"none\">not recorded</span>");
  buf_adds(out, "</td><td class=\"n\">");
  if (json_is_object(now)) span(out, a);
  else buf_adds(out, "<span class=\"none\">not recorded</span>");
  buf_adds(out, "</td><td class=\"n\">");
  if (json_is_object(now) && json_is_object(then) && a != b) {
    buf_addf(out, "<span class=\"%s\">", a < b ? "good" : "bad");
    span(out, a < b ? b - a : a - b);
    buf_addf(out, " %s</span>", a < b ? "sooner" : "later");
  }
  buf_adds(out, "</td></tr>\n");
}

static void comparison(const json_t *r, const json_t *before, struct buf *out) {
  const char *heads[] = {"After the start", json_str_or(before, "id", "last time"), json_str_or(r, "id", "this time"), "", NULL};
  if (!before) {
    buf_adds(out, "<h2>Last time</h2>\n<p class=\"none\">This scenario was not played before, as far as is known here.</p>\n");
    return;
  }
  table_begin(out, "Compared with the last time", heads);
  compared(r, before, "detected", "Detected", out);
  compared(r, before, "acknowledged", "Acknowledged", out);
  compared(r, before, "decided", "First decision", out);
  compared(r, before, "contained", "Contained", out);
  compared(r, before, "recovered", "Recovered", out);
  buf_addf(out, "<tr><td>Objectives met</td><td class=\"n\">%zu of %zu</td><td class=\"n\">%zu of %zu</td><td></td></tr>\n",
           met(before, "met"), json_array_size(json_object_get(before, "objectives")), met(r, "met"),
           json_array_size(json_object_get(r, "objectives")));
  table_end(out);
  if (strcmp(json_str_or(before, "digest", ""), json_str_or(r, "digest", "")) != 0)
    buf_adds(out, "<p class=\"dim\">The scenario was changed in between.</p>\n");
}

static void foot(const json_t *r, struct buf *out) {
  const char *role;
  json_t *person;
  size_t i;
  buf_adds(out, "<h2>Who took part</h2>\n<dl>\n");
  json_object_foreach(json_object_get(r, "roles"), role, person) {
    buf_adds(out, "<dt>");
    html_text(out, role);
    buf_adds(out, "</dt><dd>");
    html_json(out, person);
    buf_adds(out, "</dd>\n");
  }
  buf_adds(out, "<dt>incidents</dt><dd>");
  json_array_foreach(json_object_get(r, "incidents"), i, person) {
    buf_adds(out, i ? "\n" : "");
    html_text(out, json_str_or(person, "id", ""));
    buf_addc(out, ' ');
    html_text(out, json_str_or(person, "title", ""));
  }
  if (!i) buf_adds(out, "<span class=\"none\">none</span>");
  buf_adds(out, "</dd>\n</dl>\n<footer>EXERCISE. A view of the journals, which are the record: each value names its entry (incident, "
                "#number). Scenario ");
  html_text(out, json_str_or(r, "scenario", ""));
  buf_adds(out, ", SHA-256 <code>");
  html_text(out, json_str_or(r, "digest", ""));
  buf_adds(out, "</code>");
  if (json_object_get(r, "seed")) buf_adds(out, ", seed "), html_json(out, json_object_get(r, "seed"));
  if (json_object_get(r, "speed")) buf_adds(out, ", speed "), html_json(out, json_object_get(r, "speed"));
  buf_adds(out, ".</footer>\n</body>\n</html>\n");
}

void report_exercise(const json_t *result, const json_t *before, struct buf *out) {
  char title[512];
  snprintf(title, sizeof title, "EXERCISE %s %s", json_str_or(result, "id", ""), json_str_or(result, "title", ""));
  page_begin(out, title);
  head(result, out);
  cards(result, out);
  picture(result, out);
  objectives(result, before, out);
  gaps(result, before, out);
  comparison(result, before, out);
  decisions(result, out);
  actions(result, out);
  injects(result, out);
  foot(result, out);
}
