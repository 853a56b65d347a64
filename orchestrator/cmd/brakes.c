/* `tocsin pause` and `tocsin resume`: the brakes. */
#include "base/json.h"
#include "cmd/blocks.h"
#include "cmd/client.h"
#include "cmd/options.h"

static const struct option_spec because[] = {{.name = "because", .value = "TEXT", .text = "why; it goes on record", .required = true}, {0}};

static const char *scope_of(const struct options *o) { return options_count(o) ? options_word(o, 0) : "all"; }

static void show_paused(struct view *v, const json_t *answer) {
  const json_t *paused = json_object_get(answer, "paused");
  view_put(v, "Paused: nothing above `read` leaves from now on, and runs wait. What was sent before is not undone.\n");
  if (json_object_size(paused)) view_put(v, "\n");
  block_paused(v, paused);
}

static void show_resumed(struct view *v, const json_t *answer) {
  const json_t *paused = json_object_get(answer, "paused");
  view_put(v, json_object_size(paused) ? "Resumed; these brakes are still on:\n\n" : "Resumed: no brake is on.\n");
  block_paused(v, paused);
}

static json_t *command_of(const char *name, const struct options *o) {
  return json_pack("{s:s, s:s, s:s}", "command", name, "scope", scope_of(o), "because", options_get(o, "because"));
}

static int pause_run(struct cli *cli, const struct options *o) { return client_show(cli, command_of("pause", o), show_paused); }
static int resume_run(struct cli *cli, const struct options *o) { return client_show(cli, command_of("resume", o), show_resumed); }

const struct command cmd_pause = {
    .name = "pause",
    .args = "[all|PLAYBOOK|CONNECTOR]",
    .text = "let nothing above `read` leave; runs wait",
    .more = "Takes force at once. Without a name it holds for everything.",
    .example = "tocsin pause all --because \"the wrong accounts are being locked\"\ntocsin pause contain-account --because \"tuning the "
               "trigger\"\n",
    .options = because,
    .most = 1,
    .run = pause_run,
};

const struct command cmd_resume = {
    .name = "resume",
    .args = "[all|PLAYBOOK|CONNECTOR]",
    .text = "release a brake that `tocsin pause` pulled",
    .example = "tocsin resume all --because \"trigger fixed\"\n",
    .options = because,
    .most = 1,
    .run = resume_run,
};
