/* `tocsin playbook check`: everything that can be found out about a playbook without running it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cmd/client.h"
#include "cmd/installed.h"
#include "cmd/options.h"
#include "cmd/playbook.h"
#include "cmd/view.h"
#include "people/runbook.h"
#include "route/route.h"

struct checking {
  const json_t *settings;
  json_t *connectors;              /* {instance or file's name: declaration} */
  const struct registry *registry; /* what the settings configure; NULL: there are no settings to hold it against */
  struct lists *lists;
};

static void finding(json_t *findings, const char *kind, const char *text) {
  size_t n = strlen(kind) + strlen(text) + 3;
  char *line = malloc(n);
  if (!line) abort();
  snprintf(line, n, "%s: %s", kind, text);
  json_array_append_new(findings, json_string(line));
  free(line);
}

/* As the engine will index it: a trigger that could not be found quickly is refused here too. */
static void when_check(const struct checking *c, const struct declaration *d, json_t *findings) {
  struct router *router = NULL;
  struct err err = {0};
  struct trigger trigger = {d->name, json_object_get(d->json, "when"), json_object_get(d->json, "group"), json_int_or(d->json, "window", 0),
                            false};
  if (router_new(&trigger, 1, NULL, c->lists, &router, &err) < 0) finding(findings, "error", err.text);
  router_free(router);
}

static void runbook_check(const struct checking *c, const char *name, json_t *findings) {
  json_t *steps = NULL;
  struct err err = {0};
  if (!name) return;
  if (runbook_load(installed_folder(c->settings, "runbooks"), name, &steps, &err) < 0) finding(findings, "error", err.text);
  else if (!json_array_size(steps)) finding(findings, "warning", "its runbook has no steps");
  json_decref(steps);
}

static void configured_check(const struct checking *c, const json_t *uses, json_t *findings) {
  size_t i;
  json_t *use;
  json_array_foreach((json_t *)(uintptr_t)uses, i, use) {
    char connector[128], text[1200];
    struct err err = {0};
    snprintf(connector, sizeof connector, "%s", json_string_value(use) ? json_string_value(use) : "");
    connector[strcspn(connector, ".")] = '\0';
    if (!c->registry || registry_find(c->registry, connector, &err)) continue;
    snprintf(text, sizeof text, "it uses %.60s: %.900s", json_string_value(use) ? json_string_value(use) : "", err.text);
    finding(findings, "warning", text);
  }
}

static json_t *check_one(const struct checking *c, const char *path) {
  struct declaration *d = NULL;
  struct err err = {0};
  json_t *findings = json_array();
  if (installed_playbook(path, &d, &err) < 0 || playbook_lint(d, c->connectors, findings, &err) < 0) finding(findings, "error", err.text);
  if (d) {
    when_check(c, d, findings);
    runbook_check(c, json_str(d->json, "runbook"), findings);
    configured_check(c, json_object_get(d->json, "uses"), findings);
  }
  declaration_free(d);
  return json_pack("{s:s, s:o}", "file", path, "findings", findings);
}

static void results_view(struct view *v, const json_t *results) {
  size_t i, n;
  json_t *result, *found;
  json_array_foreach((json_t *)(uintptr_t)results, i, result) {
    const json_t *findings = json_object_get(result, "findings");
    json_array_foreach((json_t *)(uintptr_t)findings, n, found) {
      const char *text = json_string_value(found), *file = json_str_or(result, "file", "");
      view_style(v, strncmp(text, "error", 5) == 0 ? STYLE_RED : STYLE_YELLOW);
      if (!strstr(text, file)) { /* texts of the loader begin with file and line by themselves */
        view_text(v, file);
        view_put(v, ": ");
      }
      view_block(v, text, 2);
      view_style(v, STYLE_PLAIN);
      view_put(v, "\n");
    }
    if (json_array_size(findings)) continue;
    view_text(v, json_str_or(result, "file", ""));
    view_put(v, ": ok\n");
  }
}

static bool any_error(const json_t *results) {
  size_t i, n;
  json_t *result, *found;
  json_array_foreach((json_t *)(uintptr_t)results, i, result) {
    json_array_foreach(json_object_get(result, "findings"), n, found) if (strncmp(json_string_value(found), "error", 5) == 0) return true;
  }
  return false;
}

static int check_all(const struct cli *cli, struct checking *c, const json_t *paths) {
  struct err err = {0};
  json_t *results = json_array(), *path;
  size_t i;
  if (lists_load(installed_folder(c->settings, "lists"), &c->lists, &err) < 0) {
    json_decref(results);
    return cli_fail(cli, &err);
  }
  json_array_foreach((json_t *)(uintptr_t)paths, i, path) json_array_append_new(results, check_one(c, json_string_value(path)));
  client_print(cli, results, results_view);
  bool wrong = any_error(results);
  json_decref(results);
  lists_free(c->lists);
  return wrong ? EXIT_FAILED : EXIT_DONE;
}

static int run(struct cli *cli, const struct options *o) {
  json_t *settings = cli_settings(cli, NULL), *paths = settings ? playbook_paths(cli, settings, o) : NULL;
  struct registry *registry = paths ? installed_registry(cli, settings) : NULL;
  int status = EXIT_FAILED;
  if (registry) {
    struct checking c = {.settings = settings,
                         .connectors = installed_connectors(settings, registry),
                         .registry = cli->settings_path ? registry : NULL};
    status = check_all(cli, &c, paths);
    json_decref(c.connectors);
  }
  registry_free(registry);
  json_decref(paths);
  json_decref(settings);
  return status;
}

const struct command playbook_check = {
    .name = "check",
    .args = "[all|PLAYBOOK|FILE…]",
    .text = "look for mistakes: syntax, unknown actions, wrong parameters, missing `because` or `otherwise`, effects it does not name",
    .more = "Nothing is run and nothing leaves. Exit status 1 when there is an error; warnings alone are 0.",
    .example = "tocsin playbook check all\ntocsin playbook check playbooks/contain-account.lua\n",
    .most = 1000,
    .run = run,
};
