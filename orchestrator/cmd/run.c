/* `tocsin run list|show|cancel`. */
#include <string.h>

#include "base/id.h"
#include "base/json.h"
#include "cmd/blocks.h"
#include "cmd/client.h"
#include "cmd/options.h"
#include "cmd/timeline.h"

static void list_view(struct view *v, const json_t *answer) {
  block_paused(v, json_object_get(answer, "paused"));
  long long more = (long long)json_int_or(answer, "more", 0);
  if (json_array_size(json_object_get(answer, "runs"))) block_runs(v, json_object_get(answer, "runs"));
  else view_put(v, "No run is under way. (`--all` shows ended ones too)\n");
  if (more > 0) view_put(v, "… and %lld more, of older incidents; `tocsin run list INCIDENT` shows one's\n", more);
}

static void keep_only(json_t *runs, const char *incident) {
  for (size_t i = json_array_size(runs); i-- > 0;)
    if (strcmp(json_str_or(json_array_get(runs, i), "incident", ""), incident) != 0) json_array_remove(runs, i);
}

static int list_run(struct cli *cli, const struct options *o) {
  char id[ID_PATH] = "";
  json_t *answer = NULL;
  int status = options_count(o) ? client_id(cli, options_word(o, 0), id) : EXIT_DONE;
  if (status != EXIT_DONE) return status;
  id[strcspn(id, "/")] = '\0';
  if ((status = client_ask(cli, json_pack("{s:s, s:b}", "command", "run.list", "all", options_flag(o, "all")), &answer)) != EXIT_DONE)
    return status;
  if (*id) keep_only(json_object_get(answer, "runs"), id);
  client_print(cli, answer, list_view);
  json_decref(answer);
  return EXIT_DONE;
}

static const struct option_spec list_options[] = {{.name = "all", .text = "ended runs of open incidents too"}, {0}};

static const struct command run_list = {
    .name = "list",
    .args = "[INCIDENT]",
    .text = "runs under way, and what each waits for",
    .example = "tocsin run list\ntocsin run list 42 --all\n",
    .options = list_options,
    .most = 1,
    .run = list_run,
};

static void row(struct view *v, const char *name, const json_t *value) {
  if (!value || json_is_null(value)) return;
  view_put(v, "%s", name);
  view_pad(v, (unsigned)strlen(name), 12);
  view_value(v, value);
  view_put(v, "\n");
}

static void show_view(struct view *v, const json_t *answer) {
  static const char *const members[][2] = {{"playbook", "playbook"}, {"shadow", "shadow"}, {"status", "status"},
                                           {"step", "step"},         {"line", "line"},     {"waits for", "waiting_for"},
                                           {"error", "error"},       {"params", "params"}, {"trigger", "trigger"},
                                           {"steps", "steps"},       {"CPU ms", "cpu_ms"}, {"memory", "memory"},
                                           {"peak", "peak"}};
  const json_t *run = json_object_get(answer, "run");
  struct timeline t = {0};
  block_paused(v, json_object_get(answer, "paused"));
  view_style(v, STYLE_BOLD);
  view_id(v, json_str_or(run, "id", "?"));
  view_style(v, STYLE_PLAIN);
  view_put(v, "\n");
  for (size_t i = 0; i < sizeof members / sizeof *members; i++) row(v, members[i][0], json_object_get(run, members[i][1]));
  if (!json_array_size(json_object_get(answer, "entries"))) return;
  block_title(v, STYLE_BOLD, "STEPS");
  timeline_print(&t, v, json_object_get(answer, "entries"));
}

/* The id must name a run: 42/1. */
static json_t *command_for(struct cli *cli, const struct options *o, const char *name, int *ret_status) {
  char text[ID_PATH], path[ID_PATH];
  struct id id;
  if ((*ret_status = client_id(cli, options_word(o, 0), text)) != EXIT_DONE) return NULL;
  if (!id_parse(text, &id) || !id.run) {
    *ret_status = cli_misuse(cli, "\"%.60s\" names no run: say 42/1; `tocsin run list` has the ids", options_word(o, 0));
    return NULL;
  }
  char incident[ID_INCIDENT];
  id_incident(incident, id.mode, id.number);
  id_path(path, incident, id.run, NULL);
  return json_pack("{s:s, s:s}", "command", name, "id", path);
}

static int show_run(struct cli *cli, const struct options *o) {
  int status;
  json_t *command = command_for(cli, o, "run.show", &status);
  return command ? client_show(cli, command, show_view) : status;
}

static const struct command run_show = {
    .name = "show",
    .args = "RUN",
    .text = "one run: where it stands, what it waits for, its steps",
    .example = "tocsin run show 42/1\n",
    .least = 1,
    .most = 1,
    .run = show_run,
};

static void cancel_view(struct view *v, const json_t *answer) {
  view_id(v, json_str_or(answer, "id", "The run"));
  view_put(v, " is cancelled. What it contained stays contained: `tocsin contained` shows it.\n");
}

static int cancel_run(struct cli *cli, const struct options *o) {
  int status;
  json_t *command = command_for(cli, o, "run.cancel", &status);
  if (!command) return status;
  json_object_set_new(command, "because", json_string(options_get(o, "because")));
  return client_show(cli, command, cancel_view);
}

static const struct option_spec because[] = {{.name = "because", .value = "TEXT", .text = "why; it goes on record", .required = true}, {0}};

static const struct command run_cancel_command = {
    .name = "cancel",
    .args = "RUN",
    .text = "end a run; nothing new is sent, what may have left stays in doubt until it is resolved",
    .example = "tocsin run cancel 42/1 --because \"done by hand\"\n",
    .options = because,
    .least = 1,
    .most = 1,
    .run = cancel_run,
};

static const struct command *const subs[] = {&run_list, &run_show, &run_cancel_command, NULL};

const struct command cmd_run = {.name = "run", .text = "playbook runs: list, show, cancel", .example = "tocsin run list\n", .subs = subs};
