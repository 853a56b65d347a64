#include "cmd/evidence_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "cmd/client.h"
#include "cmd/file.h"
#include "cmd/options.h"
#include "cmd/timeline.h"

enum { FILE_CAP = 1 << 30 };

int evidence_fetch(const struct cli *cli, const char *word, json_t **ret_answer, char id[ID_PATH]) {
  int status = client_id(cli, word, id);
  if (status != EXIT_DONE) return status;
  id[strcspn(id, "/")] = '\0';
  return client_ask(cli, json_pack("{s:s, s:s}", "command", "incident.export", "id", id), ret_answer);
}

int evidence_case_read(const char *text, size_t len, struct evidence_case *ret, struct err *err) {
  json_t *head = NULL;
  *ret = (struct evidence_case){.count = 0};
  int r = journal_read_export(text, len, &ret->entries, &ret->count, err);
  if (r == 0) r = json_parse(ret->entries[0]->head, ret->entries[0]->head_len, &head, err);
  if (r == 0) snprintf(ret->id, sizeof ret->id, "%s", json_str_or(head, "incident", ""));
  json_decref(head);
  if (r < 0) evidence_case_release(ret);
  return r;
}

static int from_file(const struct cli *cli, const char *path, struct evidence_case *ret) {
  struct buf text;
  struct err err = {0};
  buf_init(&text, FILE_CAP);
  int r = file_read(path, &text, &err);
  if (r == 0 && (r = evidence_case_read(text.data, text.len, ret, &err)) < 0) err_wrap(&err, "%s", path);
  buf_release(&text);
  return r < 0 ? cli_fail(cli, &err) : EXIT_DONE;
}

int evidence_case_open(const struct cli *cli, const char *word, struct evidence_case *ret) {
  json_t *answer = NULL;
  char id[ID_PATH];
  struct err err = {0};
  if (strcmp(word, "-") == 0 || access(word, F_OK) == 0) return from_file(cli, word, ret);
  int status = evidence_fetch(cli, word, &answer, id);
  if (status != EXIT_DONE) return status;
  const json_t *lines = json_object_get(answer, "lines");
  if (evidence_case_read(json_string_value(lines) ? json_string_value(lines) : "", json_string_length(lines), ret, &err) < 0)
    status = cli_fail(cli, &err);
  else ret->names = json_incref(json_object_get(answer, "names"));
  json_decref(answer);
  return status;
}

void evidence_case_release(struct evidence_case *c) {
  for (size_t i = 0; i < c->count; i++) entry_free(c->entries[i]);
  free(c->entries);
  json_decref(c->names);
  memset(c, 0, sizeof *c);
}

/* ---- views */

static void words(void *arg, const struct entry *e, struct buf *out) {
  struct view v = {.exact = true, .now = e->time};
  json_t *shown = json_pack("{s:s, s:s, s:O*}", "type", kind_name(e->kind), "meaning", kind_meaning(e->kind), "body", e->body);
  buf_init(&v.out, 8 << 20);
  timeline_words(&v, shown);
  buf_add(out, v.out.data, v.out.len);
  buf_release(&v.out);
  json_decref(shown);
}

void evidence_case_source(const struct evidence_case *c, const json_t *seal, struct report_source *ret) {
  *ret =
      (struct report_source){.incident = c->id, .entries = c->entries, .count = c->count, .names = c->names, .words = words, .seal = seal};
}

static void json_view(json_t *value_take, struct buf *out) {
  char *text = json_dumps(value_take, JSON_INDENT(2) | JSON_SORT_KEYS);
  if (!text) abort();
  buf_adds(out, text);
  buf_addc(out, '\n');
  free(text);
  json_decref(value_take);
}

bool evidence_view(const struct report_source *s, const json_t *facts, const char *name, struct buf *out) {
  if (strcmp(name, "report.html") == 0) report_html(s, facts, out);
  else if (strcmp(name, "timeline.csv") == 0) report_csv(s, out);
  else if (strcmp(name, "ocsf.json") == 0) json_view(report_ocsf(facts), out);
  else if (strcmp(name, "stix.json") == 0) json_view(report_stix(facts), out);
  else return false;
  return true;
}

static const char *view_of(const char *format) {
  static const char *const views[][2] = {{"html", "report.html"}, {"csv", "timeline.csv"}, {"ocsf", "ocsf.json"}, {"stix", "stix.json"}};
  for (size_t i = 0; i < sizeof views / sizeof *views; i++)
    if (strcmp(views[i][0], format) == 0) return views[i][1];
  return NULL;
}

static int report_run(struct cli *cli, const struct options *o) {
  struct evidence_case c;
  struct report_source s;
  struct buf out;
  struct err err = {0};
  const char *format = options_get(o, "format"), *file = options_get(o, "output");
  const char *view = view_of(format ? format : "html");
  if (!view) return cli_misuse(cli, "--format is html, csv, ocsf or stix, not %.40s", format);
  int status = evidence_case_open(cli, options_word(o, 0), &c);
  if (status != EXIT_DONE) return status;
  buf_init(&out, REPORT_CAP);
  evidence_case_source(&c, NULL, &s);
  json_t *facts = report_facts(&s);
  evidence_view(&s, facts, view, &out);
  if (!buf_ok(&out)) err_set(&err, ERR_LIMIT, "the report would be larger than %d MiB", REPORT_CAP >> 20);
  if (err.code || file_write(file ? file : "-", out.data, out.len, &err) < 0) status = cli_fail(cli, &err);
  else if (file && strcmp(file, "-") != 0 && !cli->json) printf("Written to %s.\n", file);
  json_decref(facts);
  buf_release(&out);
  evidence_case_release(&c);
  return status;
}

static const struct option_spec report_options[] = {
    {.name = "format", .value = "FORMAT", .text = "html (default), csv, ocsf (Incident Finding) or stix (2.1)"},
    {.name = "output", .value = "FILE", .text = "where to (default: standard output); -o for short"},
    {0}};

const struct command evidence_report = {
    .name = "report",
    .args = "INCIDENT|FILE",
    .text = "what a journal says, as a page to read and print or for other tools",
    .more = "The page is one file without scripts that opens anywhere: times (occurred, detected, received, acknowledged, contained, "
            "recovered), durations, containments and their release, who decided what, the whole timeline, and which entry is evidence for "
            "which ISO 27001 control. Each value names its entry; what is not in the journal is said to be not recorded. It is a view: the "
            "entries are the record.",
    .example = "tocsin evidence report 42 -o INC-000042.html\ntocsin evidence report INC-000042.jsonl --format csv\n",
    .options = report_options,
    .least = 1,
    .most = 1,
    .run = report_run,
};
