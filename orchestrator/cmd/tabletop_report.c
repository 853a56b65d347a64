/* `tocsin tabletop report`: how an exercise went, judged from its journals. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "cmd/client.h"
#include "cmd/evidence_case.h"
#include "cmd/file.h"
#include "cmd/options.h"
#include "cmd/tabletop.h"
#include "exercise/scenario.h"
#include "people/people.h"
#include "report/report.h"

enum { CASES_MOST = 200 };

/* The journals of one exercise: its own first. */
struct played {
  struct evidence_case cases[CASES_MOST];
  struct scenario_journal journals[CASES_MOST];
  size_t count;
  json_t *names;
};

static void played_release(struct played *p) {
  for (size_t i = 0; i < p->count; i++) evidence_case_release(&p->cases[i]);
  json_decref(p->names);
  free(p);
}

static int add(const struct cli *cli, struct played *p, const char *word) {
  struct evidence_case *c = &p->cases[p->count];
  struct err err = {0};
  if (p->count == CASES_MOST) {
    err_set(&err, ERR_LIMIT, "an exercise with more than %d incidents", CASES_MOST - 1);
    return cli_fail(cli, &err);
  }
  int status = evidence_case_open(cli, word, c);
  if (status != EXIT_DONE) return status;
  if (c->names) json_object_update(p->names, c->names);
  p->journals[p->count++] = (struct scenario_journal){c->id, c->entries, c->count};
  return EXIT_DONE;
}

/* A list that `tocsin serve` answers a command with; empty when it does not. */
static json_t *asked(const struct cli *cli, json_t *command_take, const char *member) {
  json_t *answer = NULL;
  long status;
  struct err err;
  int r = client_try(cli, command_take, &status, &answer, &err);
  json_t *rows = r == 0 ? json_incref(json_object_get(answer, member)) : NULL;
  json_decref(answer);
  json_decref(command_take);
  return rows ? rows : json_array();
}

/* Rows of all exercises that `tocsin serve` knows, the newest first. */
static json_t *rows_of(const struct cli *cli) { return asked(cli, json_pack("{s:s}", "command", "tabletop.list"), "exercises"); }

static int by_id(const void *a, const void *b) {
  return strcmp(json_str_or(*(json_t *const *)a, "id", ""), json_str_or(*(json_t *const *)b, "id", ""));
}

/* In the order in which they were opened. */
static int incidents_add(const struct cli *cli, struct played *p) {
  const char *own = p->journals[0].incident;
  json_t *rows = asked(cli, json_pack("{s:s, s:s}", "command", "tabletop.incidents", "id", own), "incidents"), *sorted[CASES_MOST];
  size_t count = 0;
  int status = EXIT_DONE;
  for (size_t i = 0; i < json_array_size(rows) && count < CASES_MOST; i++) {
    json_t *row = json_array_get(rows, i);
    if (strcmp(json_str_or(row, "id", ""), own) != 0 && json_int_or(row, "opened", 0)) sorted[count++] = row;
  }
  qsort(sorted, count, sizeof *sorted, by_id);
  for (size_t i = 0; i < count && status == EXIT_DONE; i++) status = add(cli, p, json_str_or(sorted[i], "id", ""));
  json_decref(rows);
  return status;
}

static int played_open(const struct cli *cli, const char *word, const struct options *o, struct played **ret) {
  struct played *p = calloc(1, sizeof *p);
  char id[ID_PATH];
  if (!p) abort();
  p->names = json_object();
  bool file = strcmp(word, "-") == 0 || access(word, F_OK) == 0;
  int status = file ? EXIT_DONE : tabletop_id(cli, word, id);
  if (status == EXIT_DONE) status = add(cli, p, file ? word : id);
  if (status == EXIT_DONE && !file) status = incidents_add(cli, p);
  for (unsigned i = 1; o && i < options_count(o) && status == EXIT_DONE; i++) status = add(cli, p, options_word(o, i));
  if (status == EXIT_DONE) *ret = p;
  else played_release(p);
  return status;
}

static int64_t last_of(const struct played *p, bool *ret_ended) {
  int64_t last = 0;
  *ret_ended = false;
  for (size_t i = 0; i < p->count; i++) {
    const struct scenario_journal *j = &p->journals[i];
    if (j->count && j->entries[j->count - 1]->time > last) last = j->entries[j->count - 1]->time;
  }
  for (size_t i = 0; i < p->journals[0].count; i++)
    if (p->journals[0].entries[i]->kind == KIND_EXERCISE_ENDED) *ret_ended = true;
  return last;
}

/* Who is not there is no person: "lead (script)". */
static void scripted_name(const json_t *roles, json_t *names) {
  const char *role;
  json_t *actor;
  json_object_foreach((json_t *)(uintptr_t)roles, role, actor) {
    const char *text = json_string_value(actor) ? json_string_value(actor) : "";
    if (strncmp(text, "person:", 7) == 0 && strncmp(text + 7, role, PERSON_ACTOR - 8) == 0)
      json_object_set_new(names, text, json_sprintf("%s (script)", role));
  }
}

static int judged(const struct cli *cli, const struct played *p, json_t **ret) {
  struct scenario *s = NULL;
  struct scenario_play play;
  struct err err = {0};
  bool ended;
  if (scenario_recall(p->journals, p->count, &s, &play, &err) < 0) return cli_fail(cli, &err);
  scripted_name(play.roles, p->names);
  play.names = p->names;
  int64_t now = last_of(p, &ended);
  *ret = scenario_judge(s, &play, now, ended);
  scenario_free(s);
  return EXIT_DONE;
}

/* The newest exercise of the same scenario that is older; the rows are newest first. */
static const char *last_time(const json_t *rows, const json_t *result) {
  struct id this_one, other;
  size_t i;
  json_t *row;
  if (!id_parse(json_str_or(result, "id", ""), &this_one)) return NULL;
  json_array_foreach((json_t *)(uintptr_t)rows, i, row) {
    const char *id = json_str_or(row, "id", "");
    if (strcmp(json_str_or(row, "scenario", ""), json_str_or(result, "scenario", "?")) == 0 && id_parse(id, &other) &&
        other.number < this_one.number)
      return id;
  }
  return NULL;
}

static int before_of(const struct cli *cli, const struct options *o, const json_t *rows, const json_t *result, json_t **ret) {
  struct played *p = NULL;
  const char *word = options_get(o, "against") ? options_get(o, "against") : last_time(rows, result);
  if (!word) return EXIT_DONE;
  int status = played_open(cli, word, NULL, &p);
  if (status == EXIT_DONE) status = judged(cli, p, ret);
  if (p) played_release(p);
  return status;
}

int tabletop_judge(const struct cli *cli, const char *word, json_t **ret) {
  struct played *p = NULL;
  int status = played_open(cli, word, NULL, &p);
  if (status == EXIT_DONE) status = judged(cli, p, ret);
  if (p) played_release(p);
  return status;
}

static int print(const struct cli *cli, const struct options *o, json_t *result, const json_t *before) {
  const char *file = options_get(o, "output");
  struct err err = {0};
  struct buf page;
  if (cli->json) {
    if (before) json_object_set(result, "before", (json_t *)(uintptr_t)before);
    cli_json(cli, result);
    return EXIT_DONE;
  }
  buf_init(&page, REPORT_CAP);
  report_exercise(result, before, &page);
  if (!buf_ok(&page)) err_set(&err, ERR_LIMIT, "the report would be larger than %d MiB", REPORT_CAP >> 20);
  int status = err.code || file_write(file ? file : "-", page.data, page.len, &err) < 0 ? cli_fail(cli, &err) : EXIT_DONE;
  if (status == EXIT_DONE && file && strcmp(file, "-") != 0) printf("Written to %s.\n", file);
  buf_release(&page);
  return status;
}

static int run(struct cli *cli, const struct options *o) {
  struct played *p = NULL;
  json_t *result = NULL, *before = NULL;
  bool file = access(options_word(o, 0), F_OK) == 0;
  json_t *rows = file ? json_array() : rows_of(cli);
  int status = played_open(cli, options_word(o, 0), o, &p);
  if (status == EXIT_DONE) status = judged(cli, p, &result);
  if (status == EXIT_DONE) status = before_of(cli, o, rows, result, &before);
  if (status == EXIT_DONE) status = print(cli, o, result, before);
  if (p) played_release(p);
  json_decref(before);
  json_decref(result);
  json_decref(rows);
  return status;
}

static const struct option_spec options[] = {
    {.name = "output", .value = "FILE", .text = "where the page goes (default: standard output); -o for short"},
    {.name = "against", .value = "EXERCISE|FILE", .text = "compare with this one (default: the last time the same scenario was played)"},
    {0}};

const struct command tabletop_report = {
    .name = "report",
    .args = "EXERCISE|FILE [INCIDENT|FILE…]",
    .text = "how an exercise went, as one page to read, print and keep",
    .more =
        "Objectives, each with the entries that show it; times to detect, acknowledge, decide, contain and recover; who decided what; what "
        "playbooks did and what people did by hand; gaps; the last time compared. All of it is judged from the journals, again each time. "
        "FILE "
        "is one that `tocsin evidence export` made; the exercise's incidents are then named after it.",
    .example = "tocsin tabletop report EX-7 -o exercise.html\ntocsin tabletop report EX-7 --json\n",
    .options = options,
    .least = 1,
    .most = CASES_MOST,
    .run = run,
};
