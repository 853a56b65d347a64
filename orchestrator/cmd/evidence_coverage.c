/* `tocsin evidence coverage`: which controls of ISO 27001 Annex A the sealed entries of a period are evidence for. Never one score: a list. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cmd/client.h"
#include "cmd/evidence_log.h"
#include "cmd/file.h"
#include "cmd/options.h"
#include "cmd/view.h"
#include "evidence/archive.h"
#include "journal/entry.h"
#include "route/csv.h"

enum { CONTROLS_MOST = 200, CSV_CAP = 1 << 20, COLUMNS = 4, CONTROL_TEXT = 32 };

/* What incident response has to do with, when there is no Statement of Applicability to say so. */
static const char defaults[] = "control,applicable,reason,owner\n"
                               "A.5.5,yes,,\nA.5.6,yes,,\nA.5.24,yes,,\nA.5.25,yes,,\nA.5.26,yes,,\nA.5.27,yes,,\nA.5.28,yes,,\nA.5.33,yes,"
                               ",\nA.5.34,yes,,\nA.6.8,yes,,\n"
                               "A.8.15,yes,,\nA.8.16,yes,,\nA.8.17,yes,,\n";

struct control {
  char name[CONTROL_TEXT];
  bool applies;
  const char *reason, *owner; /* of rows */
  uint64_t engine, people;
};

struct coverage {
  struct control controls[CONTROLS_MOST];
  size_t count;
  json_t *rows; /* keeps the texts */
};

/* ---- the Statement of Applicability */

static const char *cell(const json_t *row, size_t i) {
  const char *text = json_string_value(json_array_get(row, i));
  return text ? text : "";
}

static int applies_read(const char *text, bool *ret) {
  static const char *const yes[] = {"yes", "true", "1"}, *const no[] = {"no", "false", "0"};
  for (int i = 0; i < 3; i++) {
    if (strcasecmp(text, yes[i]) == 0) return *ret = true, 0;
    if (strcasecmp(text, no[i]) == 0) return *ret = false, 0;
  }
  return ERR_INVALID;
}

static int row_take(struct coverage *c, const json_t *row, size_t line, struct err *err) {
  struct control *new = &c->controls[c->count];
  if (c->count == CONTROLS_MOST) return err_set(err, ERR_LIMIT, "line %zu: at most %d controls", line, CONTROLS_MOST);
  if (json_array_size(row) != COLUMNS || strlen(cell(row, 0)) >= sizeof new->name || !*cell(row, 0))
    return err_set(err, ERR_INVALID, "line %zu: it should read control,applicable,reason,owner", line);
  if (applies_read(cell(row, 1), &new->applies) < 0)
    return err_set(err, ERR_INVALID, "line %zu: applicable is yes or no, not \"%.40s\"", line, cell(row, 1));
  if (!new->applies && !*cell(row, 2)) return err_set(err, ERR_INVALID, "line %zu: a control that does not apply needs a reason", line);
  for (size_t i = 0; i < c->count; i++)
    if (strcmp(c->controls[i].name, cell(row, 0)) == 0) return err_set(err, ERR_INVALID, "line %zu: %s is there twice", line, cell(row, 0));
  snprintf(new->name, sizeof new->name, "%s", cell(row, 0));
  new->reason = cell(row, 2);
  new->owner = cell(row, 3);
  c->count++;
  json_array_append(c->rows, (json_t *)(uintptr_t)row);
  return 0;
}

static int controls_read(struct coverage *c, const char *text, size_t len, struct err *err) {
  struct csv csv;
  json_t *row = NULL;
  size_t line = 0;
  bool first = true;
  int r;
  csv_init(&csv, text, len);
  while ((r = csv_next(&csv, &row, &line, err)) > 0) {
    bool head = first && strcasecmp(cell(row, 0), "control") == 0;
    first = false;
    r = head ? 0 : row_take(c, row, line, err);
    json_decref(row);
    if (r < 0) return r;
  }
  return r == 0 && !c->count ? err_set(err, ERR_INVALID, "it names no control") : r;
}

static int controls_load(struct coverage *c, const char *path, struct err *err) {
  struct buf text;
  if (!path) return controls_read(c, defaults, sizeof defaults - 1, err);
  buf_init(&text, CSV_CAP);
  int r = file_read(path, &text, err);
  if (r == 0 && (r = controls_read(c, text.data, text.len, err)) < 0) err_wrap(err, "%.200s", path);
  buf_release(&text);
  return r;
}

/* ---- counting */

static void count_take(void *arg, const char *kind, bool person, uint64_t count) {
  struct coverage *c = arg;
  enum kind k = kind_by_name(kind);
  for (size_t i = 0; k < KIND_COUNT && i < c->count; i++) {
    if (strcmp(c->controls[i].name, kind_control(k)) != 0) continue;
    if (person) c->controls[i].people += count;
    else c->controls[i].engine += count;
  }
}

static const char *standing(const struct control *c) {
  return !c->applies ? "not applicable" : c->engine ? "automated" : c->people ? "manual" : "no evidence";
}

static json_t *coverage_json(const struct coverage *c) {
  json_t *list = json_array();
  for (size_t i = 0; i < c->count; i++) {
    const struct control *o = &c->controls[i];
    json_array_append_new(list,
                          json_pack("{s:s, s:s, s:I, s:I, s:s, s:s}", "control", o->name, "evidence", standing(o), "by_engine",
                                    (json_int_t)o->engine, "by_people", (json_int_t)o->people, "reason", o->reason, "owner", o->owner));
  }
  return json_pack("{s:o}", "controls", list);
}

static void coverage_view(struct view *v, const json_t *answer) {
  static const char *const head[] = {"CONTROL", "EVIDENCE", "BY ENGINE", "BY PEOPLE", "OWNER", "REASON", NULL};
  struct table t;
  size_t i;
  json_t *o;
  table_init(&t, head);
  json_array_foreach(json_object_get(answer, "controls"), i, o) {
    char engine[24], people[24];
    const char *evidence = json_str_or(o, "evidence", "");
    snprintf(engine, sizeof engine, "%lld", (long long)json_int_or(o, "by_engine", 0));
    snprintf(people, sizeof people, "%lld", (long long)json_int_or(o, "by_people", 0));
    const char *cells[] = {json_str(o, "control"), evidence, engine, people, json_str(o, "owner"), json_str(o, "reason")};
    table_row(&t, strcmp(evidence, "no evidence") == 0 ? STYLE_YELLOW : STYLE_PLAIN, cells);
  }
  table_print(&t, v);
  evidence_extent_view(v, answer);
}

static int coverage_run(struct cli *cli, const struct options *o) {
  struct coverage *c = calloc(1, sizeof *c);
  struct archive *archive = NULL;
  struct err err = {0};
  int64_t from = 0, to = 0;
  if (!c) abort();
  c->rows = json_array();
  int status = controls_load(c, options_get(o, "controls"), &err) < 0 ? cli_misuse(cli, "%s", err.text) : EXIT_DONE;
  if (status == EXIT_DONE) status = evidence_moment(cli, o, "from", &from);
  if (status == EXIT_DONE) status = evidence_moment(cli, o, "to", &to);
  if (status == EXIT_DONE) status = evidence_archive(cli, o, &archive);
  json_t *extent = json_object();
  if (status == EXIT_DONE &&
      (evidence_extent(archive, false, extent, &err) < 0 || catalogue_count(archive_catalogue(archive), from, to, count_take, c, &err) < 0))
    status = cli_fail(cli, &err);
  if (status == EXIT_DONE) {
    json_t *answer = coverage_json(c);
    json_object_update(answer, extent);
    client_print(cli, answer, coverage_view);
    json_decref(answer);
  }
  json_decref(extent);
  archive_close(archive);
  json_decref(c->rows);
  free(c);
  return status;
}

static const struct option_spec coverage_options[] = {
    {.name = "controls", .value = "FILE", .text = "a Statement of Applicability: CSV of control,applicable,reason,owner"},
    {.name = "from", .value = "TIME", .text = "not before this day or time (UTC)"},
    {.name = "to", .value = "TIME", .text = "before this day or time (UTC)"},
    {.name = "folder", .value = "FOLDER", .text = "another evidence folder than the settings'"},
    {.name = "key", .value = "KEY", .text = "its verifier key, or a file that holds it"},
    {0}};

const struct command evidence_coverage = {
    .name = "coverage",
    .text = "which controls of ISO 27001 Annex A have evidence in a period",
    .more = "For each control: automated (the engine or a playbook wrote entries that are evidence for it), manual (only people did), no "
            "evidence, or not "
            "applicable as the Statement of Applicability says, with the counts. Without --controls: those that incident response has to "
            "do with. An "
            "entry counts for the control that its type names; whether that is enough is for a person to judge.",
    .example = "tocsin evidence coverage --controls controls.csv --from 2026-01-01 --to 2026-04-01\n",
    .options = coverage_options,
    .run = coverage_run,
};
