/* `tocsin connector list|show|try`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cmd/blocks.h"
#include "cmd/client.h"
#include "cmd/installed.h"
#include "cmd/options.h"
#include "cmd/words.h"
#include "incident/params.h"

/* ---- list ---- */

static json_t *row_json(const char *instance, const struct declaration *c) {
  const json_t *d = c->json;
  json_t *actions = json_object(), *action;
  const char *name;
  json_object_foreach(json_object_get(d, "actions"), name, action) json_object_set(actions, name, json_object_get(action, "effect"));
  return json_pack("{s:s, s:s, s:s, s:o, s:b, s:b}", "instance", instance ? instance : c->name, "connector", c->name, "title",
                   json_str_or(d, "title", c->name), "actions", actions, "alerts", json_is_object(json_object_get(d, "alert")),
                   "configured", instance != NULL);
}

static int by_instance(const void *a, const void *b) {
  const json_t *const *x = a, *const *y = b;
  return strcmp(json_str_or(*x, "instance", ""), json_str_or(*y, "instance", ""));
}

static json_t *sorted(json_t *rows_take) {
  size_t n = json_array_size(rows_take);
  json_t **list = calloc(n + 1, sizeof *list), *result = json_array();
  if (!list) abort();
  for (size_t i = 0; i < n; i++) list[i] = json_array_get(rows_take, i);
  qsort(list, n, sizeof *list, by_instance);
  for (size_t i = 0; i < n; i++) json_array_append(result, list[i]);
  free(list);
  json_decref(rows_take);
  return result;
}

static bool is_configured(const struct registry *registry, const char *name) {
  const struct connector *c;
  size_t at = 0;
  while ((c = registry_next(registry, &at)))
    if (strcmp(c->name, name) == 0) return true;
  return false;
}

/* Configured instances, then the files that no setting names. */
static json_t *rows_of(const json_t *settings, const struct registry *registry) {
  json_t *rows = json_array(), *files = NULL, *path;
  const struct connector *c;
  size_t at = 0, i;
  while ((c = registry_next(registry, &at))) json_array_append_new(rows, row_json(c->instance, c->declaration));
  if (installed_files(installed_folder(settings, "connectors"), &files, NULL) < 0) files = NULL;
  json_array_foreach(files, i, path) {
    struct declaration *d = NULL;
    if (installed_connector(json_string_value(path), &d, NULL) == 0 && !is_configured(registry, d->name))
      json_array_append_new(rows, row_json(NULL, d));
    declaration_free(d);
  }
  json_decref(files);
  return sorted(rows);
}

static void list_view(struct view *v, const json_t *rows) {
  static const char *const head[] = {"NAME", "SET UP", "ALERTS", "PRODUCT", "ACTIONS", NULL};
  struct table t;
  size_t i;
  json_t *row;
  table_init(&t, head);
  table_spare(&t, 3);
  json_array_foreach((json_t *)(uintptr_t)rows, i, row) {
    struct buf actions;
    const char *name, *between = "";
    json_t *effect;
    bool configured = json_bool_or(row, "configured", false);
    buf_init(&actions, 65536);
    json_object_foreach(json_object_get(row, "actions"), name, effect) {
      buf_addf(&actions, "%s%s", between, name);
      between = ", ";
    }
    const char *cells[] = {json_str(row, "instance"), configured ? "yes" : "-", json_bool_or(row, "alerts", false) ? "yes" : "-",
                           json_str(row, "title"), actions.data};
    table_row(&t, configured ? STYLE_PLAIN : STYLE_DIM, cells);
    buf_release(&actions);
  }
  table_print(&t, v);
}

static int list_run(struct cli *cli, const struct options *o) {
  json_t *settings = cli_settings(cli, NULL);
  struct registry *registry = settings ? installed_registry(cli, settings) : NULL;
  json_t *rows = registry ? rows_of(settings, registry) : NULL;
  if (rows) client_print(cli, rows, list_view);
  int status = rows ? EXIT_DONE : EXIT_FAILED;
  registry_free(registry);
  json_decref(rows);
  json_decref(settings);
  return status;
}

static const struct command connector_list = {
    .name = "list",
    .text = "connectors, which of them are set up, and what they can do",
    .example = "tocsin connector list\n",
    .run = list_run,
};

/* ---- show ---- */

static void schema_view(struct view *v, const json_t *schema, unsigned indent) {
  const char *name;
  json_t *rule;
  json_object_foreach((json_t *)(uintptr_t)schema, name, rule) {
    bool optional = json_bool_or(rule, "optional", false) || json_object_get(rule, "default");
    view_pad(v, 0, indent);
    view_text(v, name);
    view_put(v, optional ? " (%s, may be left out)" : " (%s)", json_str_or(rule, "type", "?"));
    words_member(v, "  ", rule, "doc");
    view_put(v, "\n");
  }
}

static void action_view(struct view *v, const char *name, const json_t *a) {
  const json_t *undo = json_object_get(a, "undo");
  view_put(v, "\n");
  view_style(v, STYLE_BOLD);
  view_put(v, "  %s", name);
  view_style(v, STYLE_PLAIN);
  view_put(v, " (%s)  ", json_str_or(a, "effect", "?"));
  view_block(v, json_str_or(a, "doc", ""), 4);
  view_put(v, "\n");
  schema_view(v, json_object_get(a, "params"), 4);
  if (json_object_size(json_object_get(a, "returns"))) {
    view_put(v, "    returns\n");
    schema_view(v, json_object_get(a, "returns"), 6);
  }
  if (json_is_string(undo)) view_put(v, "    undone by %s\n", json_string_value(undo));
  if (json_is_false(undo)) words_member(v, "    cannot be undone: ", a, "recover");
  if (json_is_false(undo)) view_put(v, "\n");
  if (json_bool_or(a, "idempotent", false)) view_put(v, "    may be sent again safely\n");
  else if (json_str(a, "probe")) view_put(v, "    when in doubt, %s tells\n", json_str(a, "probe"));
}

static void show_view(struct view *v, const json_t *answer) {
  const json_t *d = json_object_get(answer, "declaration");
  const char *name;
  json_t *action;
  view_style(v, STYLE_BOLD);
  view_text(v, json_str_or(answer, "instance", "?"));
  view_style(v, STYLE_PLAIN);
  view_put(v, "  ");
  view_text(v, json_str_or(d, "title", ""));
  words_member(v, "  ", d, "docs");
  if (!json_bool_or(answer, "configured", false))
    view_put(v, "\n  not set up: write it into the settings' `connectors` as %s { … }", json_str_or(answer, "instance", "?"));
  view_put(v, "\n");
  if (json_object_size(json_object_get(d, "settings"))) view_put(v, "\n  settings\n");
  schema_view(v, json_object_get(d, "settings"), 4);
  json_object_foreach(json_object_get(d, "actions"), name, action) action_view(v, name, action);
  if (json_object_get(d, "alert")) view_put(v, "\n  reads alerts\n");
}

/* A configured instance, or the file of that name: before one sets it up one must be able to read what it wants. */
static json_t *connector_find(const json_t *settings, const struct registry *registry, const char *name, struct err *err) {
  const struct connector *c = registry_find(registry, name, err);
  struct declaration *d = NULL;
  char path[4096];
  if (c) return json_pack("{s:s, s:b, s:O}", "instance", c->instance, "configured", 1, "declaration", c->declaration->json);
  snprintf(path, sizeof path, "%s/%.64s.lua", installed_folder(settings, "connectors"), name);
  if (strchr(name, '/') || installed_connector(path, &d, NULL) < 0) return NULL;
  json_t *answer = json_pack("{s:s, s:b, s:O}", "instance", d->name, "configured", 0, "declaration", d->json);
  declaration_free(d);
  return answer;
}

static int show_run(struct cli *cli, const struct options *o) {
  json_t *settings = cli_settings(cli, NULL);
  struct registry *registry = settings ? installed_registry(cli, settings) : NULL;
  struct err err = {0};
  int status = EXIT_FAILED;
  json_t *answer = registry ? connector_find(settings, registry, options_word(o, 0), &err) : NULL;
  if (registry && !answer) status = cli_fail(cli, &err);
  if (answer) {
    client_print(cli, answer, show_view);
    status = EXIT_DONE;
  }
  json_decref(answer);
  registry_free(registry);
  json_decref(settings);
  return status;
}

static const struct command connector_show = {
    .name = "show",
    .args = "NAME",
    .text = "one connector: its settings, its actions with their parameters and effects",
    .example = "tocsin connector show ldap\n",
    .least = 1,
    .most = 1,
    .run = show_run,
};

/* ---- try ---- */

/* What the action may do and what its parameters are, as far as this user may read the settings; otherwise the worst is assumed. */
static enum effect effect_of(const struct cli *cli, const char *connector, const char *action, json_t **params) {
  json_t *settings = NULL;
  struct registry *registry = NULL;
  enum effect effect = EFFECT_DESTROY;
  if (settings_load(cli->settings_path, &settings, NULL, NULL) == 0)
    registry_new(installed_folder(settings, "connectors"), json_object_get(settings, "connectors"), &registry, NULL);
  const struct connector *c = registry ? registry_find(registry, connector, NULL) : NULL;
  const json_t *declared = c ? registry_action(c, action, NULL) : NULL;
  int known = declared ? effect_by_name(json_str_or(declared, "effect", "")) : -1;
  if (known >= 0) effect = (enum effect)known;
  if (declared) {
    json_t *read = params_read(json_object_get(declared, "params"), *params);
    json_decref(*params);
    *params = read;
  }
  registry_free(registry);
  json_decref(settings);
  return effect;
}

static void try_view(struct view *v, const json_t *answer) {
  const json_t *outcome = json_object_get(answer, "outcome");
  bool ok = json_bool_or(outcome, "ok", false);
  view_style(v, ok ? STYLE_GREEN : STYLE_RED);
  view_put(v, ok ? "ok" : "FAILED");
  view_style(v, STYLE_PLAIN);
  words_member(v, ": ", json_object_get(outcome, "failure"), "message");
  view_put(v, "\n");
  const char *name;
  json_t *value;
  json_object_foreach(json_object_get(outcome, "returns"), name, value) {
    view_put(v, "  ");
    view_text(v, name);
    view_put(v, ": ");
    view_value(v, value);
    view_put(v, "\n");
  }
}

static int try_send(struct cli *cli, json_t *command) {
  json_t *answer = NULL;
  int status = client_ask(cli, command, &answer);
  if (status != EXIT_DONE) return status;
  client_print(cli, answer, try_view);
  status = json_bool_or(json_object_get(answer, "outcome"), "ok", false) ? EXIT_DONE : EXIT_FAILED;
  json_decref(answer);
  return status;
}

static int try_run(struct cli *cli, const struct options *o) {
  const char *word = options_word(o, 0), *dot = strrchr(word, '.'), *because = options_get(o, "because");
  char connector[128], question[300];
  if (!dot || dot == word || !dot[1] || (size_t)(dot - word) >= sizeof connector)
    return cli_misuse(cli, "\"%.60s\" is no action; write CONNECTOR.ACTION, like ldap.find_user", word);
  snprintf(connector, sizeof connector, "%.*s", (int)(dot - word), word);
  json_t *params = json_incref(options_params(o));
  bool simulated = options_flag(o, "simulated");
  enum effect effect = effect_of(cli, connector, dot + 1, &params);
  int status = EXIT_DONE;
  if (effect > EFFECT_READ && !because && !simulated)
    status = cli_misuse(cli, "%s has the effect `%s`: say --because \"…\"; it goes on record", word, effect_name(effect));
  snprintf(question, sizeof question, "%s really does it (%s), by hand, in nobody's playbook. Send it?", word, effect_name(effect));
  if (status == EXIT_DONE && effect >= EFFECT_CONTAIN && !simulated) status = cli_confirm(cli, options_flag(o, "yes"), question);
  if (status == EXIT_DONE) {
    json_t *command = json_pack("{s:s, s:s, s:s, s:O, s:b, s:s*}", "command", "connector.try", "connector", connector, "action", dot + 1,
                                "params", params, "simulated", simulated, "because", because);
    status = try_send(cli, command);
  }
  json_decref(params);
  return status;
}

static const struct option_spec try_options[] = {
    {.name = "because", .value = "TEXT", .text = "why; required above `read`, and goes on record"},
    {.name = "simulated", .text = "ask the connector's own simulation; nothing leaves"},
    {.name = "yes", .text = "do not ask before effects from `contain` up"},
    {0},
};

static const struct command connector_try = {
    .name = "try",
    .args = "CONNECTOR.ACTION [name=value…]",
    .text = "run one action by hand, on record",
    .example = "tocsin connector try ldap.find_user uid=alice\ntocsin connector try ldap.lock_account uid=alice --because \"trying the new "
               "connector\" --simulated\n",
    .options = try_options,
    .params = true,
    .least = 1,
    .most = 1,
    .run = try_run,
};

static const struct command *const subs[] = {&connector_list, &connector_show, &connector_try, NULL};

const struct command cmd_connector = {.name = "connector",
                                      .text = "products that are connected: list, show, try an action",
                                      .example = "tocsin connector list\n",
                                      .subs = subs};
