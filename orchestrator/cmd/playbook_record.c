/* `tocsin playbook record`: a unit test from an incident that was real, tried at once. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "cmd/client.h"
#include "cmd/evidence_case.h"
#include "cmd/file.h"
#include "cmd/options.h"
#include "cmd/playbook.h"
#include "exercise/record.h"

enum { TEST_CAP = 8 << 20 };

static int record(struct cli *cli, const json_t *settings, const struct evidence_case *c, const struct options *o) {
  const char *playbook = NULL, *file = options_get(o, "output");
  char name[256];
  struct id id;
  struct buf text;
  struct err err = {0};
  struct record_source source = {.incident = c->id, .entries = c->entries, .count = c->count, .names = options_flag(o, "names")};
  if (id_parse(options_word(o, 0), &id)) source.run = id.run;
  buf_init(&text, TEST_CAP);
  int r = record_test(&source, &text, &playbook, &err);
  if (r == 0 && !file) {
    snprintf(name, sizeof name, "%.128s-%.32s_test.lua", playbook, c->id);
    file = name;
  }
  if (r == 0 && access(file, F_OK) == 0)
    r = err_set(&err, ERR_CONFLICT, "%s is there already; name another file with --output, or remove it", file);
  if (r == 0) r = file_write(file, text.data, text.len, &err);
  buf_release(&text);
  if (r < 0) return cli_fail(cli, &err);
  if (!cli->json)
    printf("Written to %s. Secrets are not in it%s: look it over before you keep it.\n", file,
           source.names ? ", people's names are" : ", people whom the alerts name have pseudonyms");
  char *path = playbook_path(settings, options_get(o, "playbook") ? options_get(o, "playbook") : playbook);
  int status = playbook_rehearse(cli, settings, path, file);
  free(path);
  return status;
}

static int run(struct cli *cli, const struct options *o) {
  struct evidence_case c;
  json_t *settings = cli_settings(cli, NULL);
  if (!settings) return EXIT_FAILED;
  int status = evidence_case_open(cli, options_word(o, 0), &c);
  if (status == EXIT_DONE) {
    status = record(cli, settings, &c, o);
    evidence_case_release(&c);
  }
  json_decref(settings);
  return status;
}

static const struct option_spec options[] = {
    {.name = "output", .value = "FILE", .text = "where to (default: PLAYBOOK-INCIDENT_test.lua); never over a file that is there"},
    {.name = "names", .text = "leave people's names as they are; without it, those whom the alerts name become user-1 and on"},
    {.name = "playbook", .value = "PLAYBOOK|FILE", .text = "try it against this one instead of the installed one of that name"},
    {0}};

const struct command playbook_record = {
    .name = "record",
    .args = "INCIDENT|RUN|FILE",
    .text = "write a unit test from a run that was real, and try it",
    .more = "The alerts, the time, parameters and settings, what the actions really brought back, what people answered, and the actions, "
            "questions, notes, changes of the incident and end to expect. FILE is one that `tocsin evidence export` made. Exit status 1 "
            "when the playbook does something else by now.",
    .example = "tocsin playbook record 42 -o playbooks/contain-account_test.lua\ntocsin playbook record INC-000042/2\n",
    .options = options,
    .least = 1,
    .most = 1,
    .run = run,
};
