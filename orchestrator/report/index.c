/* The first page of a bundle of several incidents. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "report/internal.h"

static void time_cell(struct buf *out, const json_t *moment) {
  char text[STAMP_TEXT];
  if (!json_is_object(moment)) {
    buf_adds(out, "<td class=\"none\">not recorded</td>");
    return;
  }
  stamp_text(json_int_or(moment, "time", 0), text);
  buf_addf(out, "<td class=\"n\">%.16s</td>", text);
}

static void row(struct buf *out, const json_t *incident) {
  const json_t *times = json_object_get(incident, "times");
  int64_t entries = json_int_or(incident, "entries", 0), sealed = json_int_or(incident, "sealed", 0);
  buf_adds(out, "<tr><td class=\"n\"><a class=\"e\" href=\"incidents/");
  html_text(out, json_str_or(incident, "id", ""));
  buf_adds(out, "/report.html\">");
  html_text(out, json_str_or(incident, "id", ""));
  buf_adds(out, "</a></td><td>");
  html_text(out, json_str_or(incident, "title", "Without a title"));
  buf_adds(out, "</td><td>");
  html_text(out, json_str_or(incident, "severity", ""));
  buf_adds(out, "</td><td class=\"n\">");
  html_text(out, json_str_or(incident, "verdict", json_str_or(incident, "status", "")));
  buf_adds(out, "</td>");
  time_cell(out, json_object_get(times, "received"));
  time_cell(out, json_object_get(times, "contained"));
  time_cell(out, json_object_get(times, "recovered"));
  buf_addf(out, "<td class=\"n%s\">%" PRId64 " of %" PRId64 "</td></tr>\n", sealed < entries ? " bad" : "", sealed, entries);
}

void report_index(const json_t *contents, struct buf *out) {
  const json_t *incidents = json_object_get(contents, "incidents");
  size_t i;
  json_t *incident;
  page_begin(out, "Incidents of a period");
  buf_addf(out, "<p class=\"kind\">Evidence for an audit</p>\n<h1>%zu incident%s</h1>\n<p class=\"dim\">", json_array_size(incidents),
           json_array_size(incidents) == 1 ? "" : "s");
  if (json_str(contents, "from")) buf_adds(out, "open at or after "), html_text(out, json_str(contents, "from"));
  if (json_str(contents, "to")) buf_adds(out, " · opened before "), html_text(out, json_str(contents, "to"));
  buf_adds(out,
           " · times are "
           "UTC</p>\n<table><thead><tr><th>Incident</th><th>Title</th><th>Severity</th><th>Verdict</th><th>Received</th><th>Contained</th>"
           "<th>Recovered</th><th>Sealed entries</th></tr></thead><tbody>\n");
  json_array_foreach((json_t *)(uintptr_t)incidents, i, incident) row(out, incident);
  buf_adds(out, "</tbody></table>\n<footer>Made by Tocsin from the journals alone; see README.txt for how to check "
                "them.</footer>\n</body>\n</html>\n");
}
