/* `tocsin contained` and `tocsin release`: the ledger of containments. */
#include <stdio.h>
#include <string.h>

#include "base/id.h"
#include "base/json.h"
#include "cmd/blocks.h"
#include "cmd/client.h"
#include "cmd/options.h"

static void show_contained(struct view *v, const json_t *answer) {
  block_paused(v, json_object_get(answer, "paused"));
  if (json_array_size(json_object_get(answer, "contained"))) block_contained(v, "CONTAINED NOW", json_object_get(answer, "contained"));
  else view_put(v, "Nothing is contained.\n");
}

static int contained_run(struct cli *cli, const struct options *o) {
  return client_show(cli, json_pack("{s:s}", "command", "contained"), show_contained);
}

static void lines(struct view *v, const json_t *list, enum style style, const char *word) {
  size_t i;
  json_t *item;
  json_array_foreach((json_t *)(uintptr_t)list, i, item) {
    view_style(v, style);
    view_put(v, "%s", word);
    view_style(v, STYLE_PLAIN);
    view_put(v, "  ");
    if (json_is_string(item)) {
      view_text(v, json_string_value(item));
    } else {
      view_id(v, json_str_or(item, "id", ""));
      view_put(v, "  ");
      view_text(v, json_str_or(item, "connector", ""));
      view_put(v, ".");
      view_text(v, json_str_or(item, "action", ""));
      view_put(v, "  ");
      view_target(v, json_object_get(item, "target"));
    }
    if (json_str(item, "why")) {
      view_put(v, ": ");
      view_text(v, json_str(item, "why"));
    }
    if (json_array_size(json_object_get(item, "holders"))) {
      view_put(v, "; held by ");
      view_value(v, json_object_get(item, "holders"));
    }
    view_put(v, "\n");
  }
}

static void show_released(struct view *v, const json_t *answer) {
  lines(v, json_object_get(answer, "released"), STYLE_GREEN, "released        ");
  lines(v, json_object_get(answer, "kept"), STYLE_YELLOW, "held by another ");
  lines(v, json_object_get(answer, "asked"), STYLE_YELLOW, "asks a person   ");
  lines(v, json_object_get(answer, "still"), STYLE_RED, "STILL CONTAINED ");
  if (!v->out.len) view_put(v, "There was nothing to release.\n");
}

static json_t *target_of(const json_t *params) {
  const char *type;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)params, type, value) return json_pack("{s:s, s:O}", "type", type, "value", value);
  return NULL;
}

static bool is_wanted(const json_t *item, const char *id, const json_t *target) {
  size_t n = strlen(id);
  const char *own = json_str_or(item, "id", "");
  if (*id) return strncmp(own, id, n) == 0 && (own[n] == '\0' || own[n] == '/');
  return json_equal(json_object_get(json_object_get(item, "target"), json_str_or(target, "type", "")), json_object_get(target, "value"));
}

/* Shows what would be lifted and asks. A person at a terminal should see it first; a script says --yes. */
static int release_agree(struct cli *cli, const struct options *o, const json_t *command) {
  json_t *answer = NULL, *wanted = json_array(), *item;
  size_t i;
  if (options_flag(o, "yes") || !cli->terminal) {
    json_decref(wanted);
    return cli_confirm(cli, options_flag(o, "yes"), "");
  }
  int status = client_ask(cli, json_pack("{s:s}", "command", "contained"), &answer);
  json_array_foreach(json_object_get(answer, "contained"), i,
                     item) if (is_wanted(item, json_str_or(command, "id", ""), json_object_get(command, "target")))
      json_array_append(wanted, item);
  if (status == EXIT_DONE && json_array_size(wanted)) {
    json_t *shown = json_pack("{s:O, s:O*}", "contained", wanted, "paused", json_object_get(answer, "paused"));
    if (!cli->json) client_print(cli, shown, show_contained);
    json_decref(shown);
    status = cli_confirm(cli, false, "Release?");
  }
  json_decref(wanted);
  json_decref(answer);
  return status;
}

static int release_run(struct cli *cli, const struct options *o) {
  json_t *params = options_params(o), *answer = NULL;
  char id[ID_PATH];
  if (options_count(o) + json_object_size(params) != 1)
    return cli_misuse(cli, "say what to release: an incident (tocsin release 42) or one target (tocsin release user=alice)");
  json_t *command = json_pack("{s:s, s:s}", "command", "release", "because", options_get(o, "because"));
  int status = EXIT_DONE;
  if (options_count(o) && (status = client_id(cli, options_word(o, 0), id)) == EXIT_DONE)
    json_object_set_new(command, "id", json_string(id));
  else if (!options_count(o)) json_object_set_new(command, "target", target_of(params));
  if (status == EXIT_DONE) status = release_agree(cli, o, command);
  if (status != EXIT_DONE) {
    json_decref(command);
    return status;
  }
  if ((status = client_ask(cli, command, &answer)) != EXIT_DONE) return status;
  client_print(cli, answer, show_released);
  status = json_array_size(json_object_get(answer, "still")) ? EXIT_FAILED : EXIT_DONE;
  json_decref(answer);
  return status;
}

static const struct option_spec release_options[] = {
    {.name = "because", .value = "TEXT", .text = "why; it goes on record", .required = true},
    {.name = "yes", .text = "do not show what it is and ask first"},
    {0}};

const struct command cmd_contained = {
    .name = "contained",
    .text = "what is contained now, since when, for whom, and how to release it",
    .example = "tocsin contained\n",
    .run = contained_run,
};

const struct command cmd_release = {
    .name = "release",
    .args = "INCIDENT|TYPE=VALUE",
    .text = "lift the containments of an incident, the last one first, or those of one target",
    .more = "A target that another incident holds stays contained until the last one lets go. A containment that we only found so asks a "
            "person first. Exit status 1 when something is still contained.",
    .example =
        "tocsin release 42 --because \"false alarm, talked to alice\"\ntocsin release user=alice --because \"new password is set\" --yes\n",
    .options = release_options,
    .params = true,
    .most = 1,
    .run = release_run,
};
