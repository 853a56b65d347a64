/* `tocsin trigger`: start a playbook by hand. It says what it will do, and asks before anything from `contain` up. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "action/registry.h"
#include "base/id.h"
#include "base/json.h"
#include "cmd/blocks.h"
#include "cmd/client.h"
#include "cmd/options.h"

static void plan_show(struct view *v, const json_t *plan) {
  static const char *const effects[] = {"read", "record", "notify", "contain", "destroy"};
  block_paused(v, json_object_get(plan, "paused"));
  view_style(v, STYLE_BOLD);
  view_text(v, json_str_or(plan, "playbook", "?"));
  view_style(v, STYLE_PLAIN);
  view_put(v, ": ");
  view_text(v, json_str_or(plan, "title", ""));
  view_put(v, "\n");
  if (json_bool_or(plan, "shadow", false))
    view_put(v, "  in SHADOW: it sends nothing above `read`, asks nobody, and its timeline says what it would have done\n");
  if (json_object_size(json_object_get(plan, "params"))) {
    view_put(v, "  with     ");
    view_value(v, json_object_get(plan, "params"));
    view_put(v, "\n");
  }
  for (size_t i = 0; i < sizeof effects / sizeof *effects; i++) {
    const json_t *actions = json_object_get(json_object_get(plan, "effects"), effects[i]);
    if (!json_array_size(actions)) continue;
    view_style(v, i >= EFFECT_CONTAIN ? STYLE_RED : STYLE_PLAIN);
    view_put(v, "  %s %-8s", json_bool_or(plan, "shadow", false) && i > EFFECT_READ ? "would" : "may", effects[i]);
    view_value(v, actions);
    view_style(v, STYLE_PLAIN);
    view_put(v, "\n");
  }
  if (json_str(plan, "runbook")) {
    view_put(v, "  runbook  ");
    view_text(v, json_str(plan, "runbook"));
    view_put(v, "\n");
  }
}

static void started_show(struct view *v, const json_t *answer) {
  const char *id = json_str_or(answer, "id", "?");
  view_put(v, json_bool_or(answer, "shadow", false) ? "It runs in SHADOW, and only says what it would do: " : "It runs: ");
  view_id(v, id);
  if (json_is_integer(json_object_get(answer, "run"))) view_put(v, "/%lld", (long long)json_int_or(answer, "run", 0));
  view_put(v, "\n  tocsin incident follow ");
  view_text(v, id);
  view_put(v, "\n");
}

static int incident_add(struct cli *cli, json_t *command, const char *text) {
  char id[ID_PATH];
  if (!text) return EXIT_DONE;
  int status = client_id(cli, text, id);
  if (status != EXIT_DONE) return status;
  id[strcspn(id, "/")] = '\0';
  json_object_set_new(command, "incident", json_string(id));
  return EXIT_DONE;
}

/* Shows the plan; EXIT_DONE: go on. */
static int plan_agree(struct cli *cli, const struct options *o, const json_t *command) {
  json_t *ask = json_copy((json_t *)(uintptr_t)command), *answer = NULL;
  json_object_set_new(ask, "plan", json_true());
  int status = client_ask(cli, ask, &answer);
  if (status != EXIT_DONE) return status;
  const json_t *plan = json_object_get(answer, "plan");
  bool only = options_flag(o, "plan"), missing = json_array_size(json_object_get(plan, "missing")) > 0;
  if (only && cli->json) {
    cli_json(cli, answer);
  } else if (!cli->json) {
    struct view v;
    view_init(&v, cli->color, cli->width);
    plan_show(&v, plan);
    view_flush(&v);
    view_release(&v);
  }
  if (!only && missing) {
    char *names = json_text(json_object_get(plan, "missing"));
    status = cli_misuse(cli, "parameters are missing: %.400s; give each as name=value", names ? names : "?");
    free(names);
  } else if (!only && effect_by_name(json_str_or(plan, "most", "destroy")) >= EFFECT_CONTAIN && !options_flag(o, "simulated")) {
    status = cli_confirm(cli, options_flag(o, "yes"), "Start it?");
  }
  json_decref(answer);
  return status;
}

static int run(struct cli *cli, const struct options *o) {
  json_t *command = json_pack("{s:s, s:s, s:s, s:O, s:b}", "command", "trigger", "playbook", options_word(o, 0), "because",
                              options_get(o, "because"), "params", options_params(o), "simulated", options_flag(o, "simulated"));
  int status = incident_add(cli, command, options_get(o, "incident"));
  if (status == EXIT_DONE) status = plan_agree(cli, o, command);
  if (status == EXIT_DONE && !options_flag(o, "plan")) return client_show(cli, command, started_show);
  json_decref(command);
  return status;
}

static const struct option_spec trigger_options[] = {
    {.name = "because", .value = "TEXT", .text = "why; it goes on record", .required = true},
    {.name = "incident", .value = "INCIDENT", .text = "the incident it is for (default: a new one)"},
    {.name = "plan", .text = "only say what it would do"},
    {.name = "simulated", .text = "run it with simulated connectors: nothing leaves"},
    {.name = "yes", .text = "do not ask before effects from `contain` up"},
    {0},
};

const struct command cmd_trigger = {
    .name = "trigger",
    .args = "PLAYBOOK [name=value…]",
    .text = "start a playbook by hand",
    .more = "Says what it will do, and asks before effects from `contain` up. Limits, protected entities and approvals hold as always.",
    .example = "tocsin trigger contain-account --because \"phoned in: phished\" user=alice\ntocsin trigger contain-account --plan "
               "--because look user=alice\n",
    .options = trigger_options,
    .params = true,
    .least = 1,
    .most = 1,
    .run = run,
};
