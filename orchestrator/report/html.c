/* The page: one file, without a script and without anything from elsewhere. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "report/internal.h"

static const char style[] = {
#include "report/style.css.inc"
    0};

/* ---- pieces */

void html_text(struct buf *out, const char *text) {
  for (const unsigned char *p = (const unsigned char *)(text ? text : ""); *p; p++) {
    if (*p == '&') buf_adds(out, "&amp;");
    else if (*p == '<') buf_adds(out, "&lt;");
    else if (*p == '>') buf_adds(out, "&gt;");
    else if (*p == '"') buf_adds(out, "&quot;");
    else if (*p == '\'') buf_adds(out, "&#39;");
    else if (*p >= 0x20 || *p == '\n' || *p == '\t') buf_addc(out, (char)*p);
    else buf_adds(out, "\xef\xbf\xbd");
  }
}

void html_json(struct buf *out, const json_t *value) {
  if (json_is_string(value)) {
    html_text(out, json_string_value(value));
    return;
  }
  char *text = value ? json_text(value) : NULL;
  html_text(out, text);
  free(text);
}

void stamp_text_ms(int64_t us, char out[STAMP_TEXT]) {
  char text[TIME_TEXT];
  time_format(us, text); /* 2025-11-23T18:42:01.123456Z */
  snprintf(out, STAMP_TEXT, "%.10s %.12s", text, text + 11);
}

void stamp_text(int64_t us, char out[STAMP_TEXT]) {
  stamp_text_ms(us, out);
  out[19] = 0;
}

static void entry_link(struct buf *out, int64_t seq) { buf_addf(out, "<a class=\"e\" href=\"#e%" PRId64 "\">#%" PRId64 "</a>", seq, seq); }

static void moment(struct buf *out, int64_t us) {
  char text[STAMP_TEXT];
  stamp_text(us, text);
  buf_addf(out, "<time>%s</time>", text);
}

static void duration(struct buf *out, int64_t us) {
  char text[DURATION_TEXT];
  int64_t ms = us < 0 ? -us / 1000 : us / 1000;
  duration_format(ms >= 60000 ? ms - ms % 1000 : ms, text);
  buf_addf(out, "%s", text);
}

static void heading(struct buf *out, const char *text) { buf_addf(out, "<h2>%s</h2>\n", text); }

void html_tag(struct buf *out, const char *class, const char *text) {
  buf_addf(out, "<span class=\"tag %s\">", class);
  html_text(out, text);
  buf_adds(out, "</span>");
}

/* Our own words only: severities and states. */
static const char *class_of(const char *word) {
  static const char *const known[] = {"high", "critical", "fatal", "medium", "closed", "open", NULL};
  for (const char *const *k = known; *k; k++)
    if (strcmp(*k, word) == 0) return *k;
  return "";
}

/* "user alice, host web01" */
void html_target(struct buf *out, const json_t *t) {
  const char *key, *between = "";
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)t, key, value) {
    buf_adds(out, between);
    html_text(out, key);
    buf_addc(out, ' ');
    html_json(out, value);
    between = ", ";
  }
}

static void not_recorded(struct buf *out) { buf_adds(out, "<span class=\"none\">not recorded</span>"); }

/* ---- the head of the page */

void page_begin(struct buf *out, const char *title) {
  buf_adds(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
  html_text(out, title);
  buf_addf(out, "</title>\n<style>\n%s</style>\n</head>\n<body>\n", style);
}

static void title_part(const json_t *f, struct buf *out) {
  const char *id = json_str_or(f, "id", ""), *severity = json_str_or(f, "severity", "unknown"), *status = json_str_or(f, "status", "open");
  bool exercise = strcmp(json_str_or(f, "mode", "live"), "exercise") == 0;
  buf_adds(out, "<p class=\"kind\">Incident report · ");
  html_text(out, id);
  buf_adds(out, "</p>\n<h1>");
  html_text(out, json_str_or(f, "title", "Without a title"));
  buf_adds(out, "</h1>\n<p>");
  if (exercise) html_tag(out, "exercise", "exercise: nothing of this happened outside");
  html_tag(out, class_of(severity), severity);
  html_tag(out, class_of(status), status);
  if (json_str(json_object_get(f, "closing"), "verdict")) html_tag(out, "", json_str(json_object_get(f, "closing"), "verdict"));
  buf_adds(out, "</p>\n");
}

static void time_card(const json_t *times, const char *name, const char *title, const char *from_name, struct buf *out) {
  const json_t *m = json_object_get(times, name), *from = from_name ? json_object_get(times, from_name) : NULL;
  char text[STAMP_TEXT];
  buf_addf(out, "<li%s><b>%s</b>", json_is_object(m) ? "" : " class=\"none\"", title);
  if (!json_is_object(m)) {
    buf_adds(out, "not recorded</li>\n");
    return;
  }
  stamp_text(json_int_or(m, "time", 0), text);
  buf_addf(out, "<span class=\"day\">%.10s</span><time>%s</time>", text, text + 11);
  int64_t after = json_is_object(from) ? json_int_or(m, "time", 0) - json_int_or(from, "time", 0) : 0;
  if (json_is_object(from)) {
    buf_adds(out, "<small class=\"after\">");
    duration(out, after);
    buf_addf(out, " %s %s</small>", after < 0 ? "before it was" : "after it was", from_name);
  }
  buf_adds(out, "<small>");
  html_text(out, json_str_or(m, "how", ""));
  buf_adds(out, " ");
  entry_link(out, json_int_or(m, "seq", 0));
  buf_adds(out, "</small></li>\n");
}

static void times_part(const json_t *f, struct buf *out) {
  const json_t *times = json_object_get(f, "times");
  buf_adds(out, "<ol class=\"times\">\n");
  time_card(times, "occurred", "Occurred", NULL, out);
  time_card(times, "detected", "Detected", "occurred", out);
  time_card(times, "received", "Received", "detected", out);
  time_card(times, "acknowledged", "Acknowledged", "received", out);
  time_card(times, "contained", "Contained", "received", out);
  time_card(times, "recovered", "Recovered", "received", out);
  buf_adds(out, "</ol>\n");
}

/* ---- summary */

static void row_text(struct buf *out, const char *name, const char *text) {
  buf_addf(out, "<dt>%s</dt><dd>", name);
  if (text && *text) html_text(out, text);
  else not_recorded(out);
  buf_adds(out, "</dd>\n");
}

static void row_list(struct buf *out, const char *name, const json_t *list) {
  size_t i;
  json_t *item;
  buf_addf(out, "<dt>%s</dt><dd>", name);
  json_array_foreach((json_t *)(uintptr_t)list, i, item) {
    buf_adds(out, i ? ", " : "");
    html_json(out, item);
  }
  if (!json_array_size(list)) not_recorded(out);
  buf_adds(out, "</dd>\n");
}

/* The same value may stand at several paths of an alert. */
static bool shown_before(const json_t *list, size_t until, const json_t *o) {
  for (size_t i = 0; i < until; i++) {
    const json_t *k = json_array_get(list, i);
    if (json_equal(json_object_get(k, "value"), json_object_get(o, "value")) &&
        json_equal(json_object_get(k, "type"), json_object_get(o, "type")))
      return true;
  }
  return false;
}

static void row_observables(struct buf *out, const json_t *list) {
  size_t i;
  json_t *o;
  buf_adds(out, "<dt>Observables</dt><dd>");
  json_array_foreach((json_t *)(uintptr_t)list, i, o) {
    if (shown_before(list, i, o)) continue;
    buf_adds(out, "<span class=\"tag\"><span class=\"dim\">");
    html_text(out, json_str_or(o, "type", "?"));
    buf_adds(out, "</span> ");
    html_json(out, json_object_get(o, "value"));
    buf_adds(out, "</span>");
  }
  if (!json_array_size(list)) not_recorded(out);
  buf_adds(out, "</dd>\n");
}

static void row_alerts(struct buf *out, const json_t *alerts) {
  size_t n = json_array_size(alerts);
  buf_adds(out, "<dt>Alerts</dt><dd>");
  for (size_t i = 0; i < n && i < 20; i++) {
    const json_t *a = json_array_get(alerts, i);
    const char *title = json_string_value(json_at(a, "finding_info.title"));
    buf_adds(out, i ? "\n" : "");
    html_text(out, json_str_or(a, "product", json_str_or(a, "source", "?")));
    buf_adds(out, ": ");
    html_text(out, title ? title : json_str_or(a, "id", "?"));
    buf_addc(out, ' ');
    entry_link(out, json_int_or(a, "seq", 0));
  }
  if (n > 20) buf_addf(out, "\nand %zu more", n - 20);
  if (!n) buf_adds(out, "none; a person opened the incident");
  buf_adds(out, "</dd>\n");
}

static void summary_part(const json_t *f, struct buf *out) {
  const json_t *closing = json_object_get(f, "closing");
  heading(out, "Summary");
  buf_adds(out, "<dl>\n");
  row_text(out, "Owner", json_str(f, "owner"));
  row_alerts(out, json_object_get(f, "alerts"));
  row_list(out, "Playbooks", json_object_get(f, "playbooks"));
  row_observables(out, json_object_get(f, "observables"));
  row_list(out, "ATT&amp;CK", json_object_get(f, "attack"));
  if (json_array_size(json_object_get(f, "tags"))) row_list(out, "Tags", json_object_get(f, "tags"));
  row_text(out, "Verdict", json_str(closing, "verdict"));
  row_text(out, "Root cause", json_str(closing, "root_cause"));
  row_text(out, "Impact", json_str(closing, "impact"));
  row_text(out, "Affected", json_str(closing, "affected"));
  row_text(out, "Lessons", json_str(closing, "lessons"));
  if (json_str(closing, "waive")) row_text(out, "Left out", json_str(closing, "waive"));
  buf_adds(out, "</dl>\n");
}

/* ---- containments, decisions */

static void containment_row(const json_t *c, struct buf *out) {
  const char *status = json_str_or(c, "status", "");
  int64_t time = json_int_or(c, "time", 0), ended = json_int_or(c, "ended", 0);
  bool in_force = strcmp(status, "active") == 0 || strcmp(status, "still") == 0;
  buf_adds(out, "<tr><td><b>");
  html_target(out, json_object_get(c, "target"));
  buf_adds(out, "</b><br>");
  html_text(out, json_str_or(c, "connector", "?"));
  buf_adds(out, ": ");
  html_text(out, json_str_or(c, "action", "?"));
  if (strcmp(status, "found") == 0) buf_adds(out, "<br><span class=\"dim\">was so already, not our doing</span>");
  if (json_bool_or(c, "simulated", false)) buf_adds(out, "<br><span class=\"dim\">simulated</span>");
  buf_adds(out, "</td><td>");
  if (json_str(c, "because")) html_text(out, json_str(c, "because"));
  else not_recorded(out);
  buf_adds(out, "</td><td>");
  moment(out, time);
  buf_addc(out, ' ');
  entry_link(out, json_int_or(c, "seq", 0));
  buf_adds(out, "<br>");
  html_text(out, json_str_or(c, "by", "?"));
  buf_adds(out, "</td><td>");
  if (in_force) buf_addf(out, "<span class=\"bad\">%s</span>", status[0] == 's' ? "still contained: lifting it failed" : "still contained");
  if (ended) {
    moment(out, ended);
    buf_addc(out, ' ');
  }
  if (json_int_or(c, "ended_seq", 0)) {
    entry_link(out, json_int_or(c, "ended_seq", 0));
    buf_adds(out, "<br>");
    html_text(out, json_str_or(c, "ended_by", "?"));
  }
  if (json_bool_or(c, "recovered", false)) buf_adds(out, ", by other means");
  if (strcmp(status, "kept") == 0) buf_adds(out, "<br><span class=\"dim\">another incident holds it further</span>");
  buf_adds(out, "</td><td class=\"n\">");
  if (ended) duration(out, ended - time);
  buf_adds(out, "</td></tr>\n");
}

static void containments_part(const json_t *f, struct buf *out) {
  const json_t *list = json_object_get(f, "containments");
  size_t i;
  json_t *c;
  heading(out, "Containment and release");
  if (!json_array_size(list)) {
    buf_adds(out, "<p class=\"none\">Nothing was contained.</p>\n");
    return;
  }
  buf_adds(out, "<table><thead><tr><th>What</th><th>Why</th><th>Contained, by</th><th>Released, by</th><th>For</th></tr></thead><tbody>\n");
  json_array_foreach((json_t *)(uintptr_t)list, i, c) containment_row(c, out);
  buf_adds(out, "</tbody></table>\n");
}

static void words_of(const struct report_source *s, const struct entry *e, struct buf *out) {
  struct buf words;
  buf_init(&words, 8 << 20);
  report_words(s, e, &words);
  html_text(out, words.data);
  buf_release(&words);
}

static void decisions_part(const struct report_source *s, const json_t *f, struct buf *out) {
  const json_t *list = json_object_get(f, "decisions");
  size_t i;
  json_t *d;
  heading(out, "Who decided what");
  if (!json_array_size(list)) {
    buf_adds(out, "<p class=\"none\">No decision of a person is recorded.</p>\n");
    return;
  }
  buf_adds(out, "<table><thead><tr><th>Entry</th><th>Time (UTC)</th><th>Who</th><th>What</th></tr></thead><tbody>\n");
  json_array_foreach((json_t *)(uintptr_t)list, i, d) {
    int64_t seq = json_int_or(d, "seq", 0);
    if (seq < 1 || (size_t)seq > s->count) continue;
    buf_addf(out, "<tr%s><td>", json_bool_or(d, "person", false) ? " class=\"person\"" : "");
    entry_link(out, seq);
    buf_adds(out, "</td><td class=\"n\">");
    moment(out, json_int_or(d, "time", 0));
    buf_adds(out, "</td><td class=\"who\">");
    html_text(out, json_str_or(d, "by", "?"));
    buf_adds(out, "</td><td class=\"w\">");
    words_of(s, s->entries[seq - 1], out);
    if (json_str(d, "about")) buf_adds(out, "\n<span class=\"dim\">"), html_text(out, json_str(d, "about")), buf_adds(out, "</span>");
    if (json_object_get(d, "target")) buf_adds(out, " <b>"), html_target(out, json_object_get(d, "target")), buf_adds(out, "</b>");
    buf_adds(out, "</td></tr>\n");
  }
  buf_adds(out, "</tbody></table>\n");
}

/* ---- the timeline */

static void timeline_row(const struct report_source *s, const struct entry *e, struct buf *out) {
  char stamp[STAMP_TEXT], room[ENTRY_ACTOR + 16];
  stamp_text_ms(e->time, stamp);
  buf_addf(out,
           "<tr id=\"e%" PRIu64 "\"%s><td class=\"n\"><a class=\"e\" href=\"#e%" PRIu64 "\">%" PRIu64
           "</a></td><td class=\"n\">%s</td><td class=\"who\">",
           e->seq, strncmp(e->actor, "person:", 7) == 0 ? " class=\"person\"" : "", e->seq, e->seq, stamp + 11);
  html_text(out, report_actor(s, e->actor, room, sizeof room));
  buf_adds(out, "</td><td class=\"n dim\">");
  if (e->run) buf_addf(out, "%u", e->run);
  if (e->step[0]) buf_adds(out, "/"), html_text(out, e->step);
  buf_adds(out, "</td><td class=\"w\">");
  words_of(s, e, out);
  buf_addf(out, "</td><td class=\"n dim\">%s</td></tr>\n", kind_control(e->kind));
}

static void timeline_part(const struct report_source *s, struct buf *out) {
  char day[STAMP_TEXT] = "", stamp[STAMP_TEXT];
  heading(out, "Timeline");
  buf_addf(out,
           "<p class=\"dim\">All %zu entries of the journal, in order. Times are UTC, and those at which Tocsin wrote the entry.</p>\n",
           s->count);
  buf_adds(out, "<table><thead><tr><th>#</th><th>Time</th><th>Who</th><th>Step</th><th>What</th><th>Control</th></tr></thead><tbody>\n");
  for (size_t i = 0; i < s->count; i++) {
    stamp_text(s->entries[i]->time, stamp);
    if (strncmp(day, stamp, 10) != 0) buf_addf(out, "<tr class=\"day\"><td colspan=\"6\">%.10s</td></tr>\n", stamp);
    memcpy(day, stamp, sizeof day);
    timeline_row(s, s->entries[i], out);
  }
  buf_adds(out, "</tbody></table>\n");
}

/* ---- controls and proof */

/* "#1, #4–#9": neighbours as ranges. */
static void ranges(const json_t *seqs, struct buf *out) {
  size_t n = json_array_size(seqs);
  for (size_t i = 0, j; i < n; i = j) {
    int64_t from = json_integer_value(json_array_get(seqs, i)), to = from;
    for (j = i + 1; j < n && json_integer_value(json_array_get(seqs, j)) == to + 1; j++) to++;
    buf_adds(out, i ? ", " : "");
    entry_link(out, from);
    if (to > from) buf_adds(out, to > from + 1 ? "–" : ", "), entry_link(out, to);
  }
}

static int by_number(const void *a, const void *b) {
  int x[2], y[2];
  if (sscanf(*(const char *const *)a, "A.%d.%d", &x[0], &x[1]) != 2 || sscanf(*(const char *const *)b, "A.%d.%d", &y[0], &y[1]) != 2)
    return strcmp(*(const char *const *)a, *(const char *const *)b);
  return x[0] != y[0] ? x[0] - y[0] : x[1] - y[1];
}

static void controls_part(const json_t *f, struct buf *out) {
  const json_t *controls = json_object_get(f, "controls");
  const char *names[64], *key;
  size_t n = 0;
  json_t *list;
  heading(out, "ISO/IEC 27001:2022 Annex A");
  buf_adds(out, "<p class=\"dim\">Which entry is evidence for which "
                "control.</p>\n<table><thead><tr><th>Control</th><th>Title</th><th>Entries</th><th></th></tr></thead><tbody>\n");
  json_object_foreach((json_t *)(uintptr_t)controls, key, list) if (n < 64) names[n++] = key;
  qsort(names, n, sizeof *names, by_number);
  for (size_t i = 0; i < n; i++) {
    buf_addf(out, "<tr><td class=\"n\"><b>%s</b></td><td>%s</td><td class=\"n\">%zu</td><td>", names[i], report_control(names[i]),
             json_array_size(json_object_get(controls, names[i])));
    ranges(json_object_get(controls, names[i]), out);
    buf_adds(out, "</td></tr>\n");
  }
  buf_adds(out, "</tbody></table>\n");
}

static void proof_part(const struct report_source *s, const json_t *f, struct buf *out) {
  const json_t *removed = json_object_get(f, "removed");
  heading(out, "What this rests on");
  buf_addf(out,
           "<p>This page is a view of the %zu entries of the journal; the entries are the record. Each names the hash of the one before "
           "it.</p>\n",
           s->count);
  if (s->seal) {
    buf_adds(out, "<dl>\n");
    row_text(out, "Log", json_str(s->seal, "origin"));
    buf_addf(out, "<dt>Sealed</dt><dd>%" PRId64 " of %zu entries, under a checkpoint of %" PRId64 " entries</dd>\n",
             json_int_or(s->seal, "covered", 0), s->count, json_int_or(s->seal, "size", 0));
    row_text(out, "Root", json_str(s->seal, "root"));
    row_text(out, "Verifier key", json_str(s->seal, "verifier"));
    buf_adds(out, "</dl>\n");
  } else {
    buf_adds(
        out,
        "<p class=\"bad\">These entries are not sealed in an evidence log: whoever holds the database could have written them anew.</p>\n");
  }
  if (json_array_size(removed)) {
    buf_adds(out, "<p>The bodies of these entries were removed on purpose; their heads remain and still verify: ");
    ranges(removed, out);
    buf_adds(out, "</p>\n");
  }
}

/* What NIST SP 800-61 and ISO/IEC 27037 ask of a file that is collected says "not recorded" when nobody said it; the rest is shown when it is there. */
static const struct custody_fact {
  const char *key, *label;
  bool asked, time;
} custody_facts[] = {{"name", "name", false, false},
                     {"size", "bytes", true, false},
                     {"sha256_before", "SHA-256 before", true, false},
                     {"sha256", "SHA-256 after", true, false},
                     {"source", "source", true, false},
                     {"from", "from", true, false},
                     {"to", "to", true, false},
                     {"node", "lies at node", false, false},
                     {"tool", "tool", true, false},
                     {"collected_by", "collected by", false, false},
                     {"collected", "collected at", true, false},
                     {"clock", "clock", true, false},
                     {"class", "class", false, false},
                     {"retain_until", "kept until", false, true},
                     {"replaces", "in the place of file", false, false},
                     {"received_by", "received by", false, false},
                     {"transfer", "of the handing over in entry", false, false},
                     {"because", "why", true, false},
                     {"hold", "legal hold", false, false}};

static void custody_fact(const json_t *row, const struct custody_fact *f, bool collected, struct buf *out) {
  const json_t *value = json_object_get(row, f->key);
  bool asked = collected && f->asked && !json_object_get(row, "removed"), known = strcmp(f->key, "sha256") == 0 && !collected;
  if (known || (!value && !asked)) return;
  buf_addf(out, "%s: ", f->label);
  if (!value) buf_adds(out, "not recorded");
  else if (f->time) moment(out, json_integer_value(value));
  else html_json(out, value);
  buf_adds(out, "<br>");
}

/* The file's identifier: its incident, and the entry that collected it. */
static void custody_row(const char *incident, const json_t *row, struct buf *out) {
  static const char *const words[][2] = {{"collected", "collected"},
                                         {"copied", "a copy was taken"},
                                         {"transferred", "handed over"},
                                         {"acknowledged", "receipt acknowledged"},
                                         {"held", "legal hold set"},
                                         {"hold_lifted", "legal hold lifted"},
                                         {"deleted", "destroyed, with its key"}};
  const char *what = json_str_or(row, "what", "");
  buf_adds(out, "<tr><td>");
  html_text(out, incident);
  buf_addf(out, "/%" PRId64 "</td><td>", json_int_or(row, "item", 0));
  moment(out, json_int_or(row, "time", 0));
  buf_adds(out, " ");
  entry_link(out, json_int_or(row, "seq", 0));
  buf_adds(out, "</td><td>");
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcmp(words[i][0], what) == 0) buf_adds(out, words[i][1]);
  if (json_bool_or(row, "before_retention", false)) buf_adds(out, ", before its time");
  buf_adds(out, "</td><td>");
  html_text(out, json_str_or(row, "by", ""));
  buf_adds(out, "</td><td>");
  if (json_object_get(row, "removed")) buf_adds(out, "what this entry said was removed; the timeline says by whom, and why<br>");
  for (size_t i = 0; i < sizeof custody_facts / sizeof *custody_facts; i++)
    custody_fact(row, &custody_facts[i], strcmp(what, "collected") == 0, out);
  buf_adds(out, "</td></tr>\n");
}

static void custody_part(const json_t *f, struct buf *out) {
  const json_t *list = json_object_get(f, "custody");
  size_t i;
  json_t *row;
  if (!list) return;
  heading(out, "Chain of custody");
  buf_adds(out, "<table><thead><tr><th>File</th><th>When (UTC), entry</th><th>What</th><th>Who</th><th>Details</th></tr></thead><tbody>\n");
  json_array_foreach((json_t *)(uintptr_t)list, i, row) custody_row(json_str_or(f, "id", ""), row, out);
  buf_adds(out, "</tbody></table>\n");
}

void report_html(const struct report_source *s, const json_t *facts, struct buf *out) {
  struct buf title;
  buf_init(&title, 1 << 20);
  buf_addf(&title, "%s %s", s->incident, json_str_or(facts, "title", ""));
  page_begin(out, title.data);
  title_part(facts, out);
  times_part(facts, out);
  summary_part(facts, out);
  heading(out, "Durations");
  picture_draw(s, facts, out);
  containments_part(facts, out);
  decisions_part(s, facts, out);
  custody_part(facts, out);
  timeline_part(s, out);
  controls_part(facts, out);
  proof_part(s, facts, out);
  buf_adds(out, "<footer>Made by Tocsin from the journal alone. People are named as they were known when this was made; the entries hold "
                "pseudonyms.</footer>\n</body>\n</html>\n");
  buf_release(&title);
}
