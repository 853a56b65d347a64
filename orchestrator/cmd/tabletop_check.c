/* `tocsin tabletop check`: everything that can be found out about a scenario without playing it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "cmd/client.h"
#include "cmd/file.h"
#include "cmd/installed.h"
#include "cmd/options.h"
#include "cmd/tabletop.h"
#include "cmd/view.h"
#include "exercise/check.h"

enum { SCENARIO_CAP = 1 << 20 };

static json_t *check_one(struct scenario_against *against, const char *path) {
  struct scenario *s = NULL;
  struct err err = {0};
  struct buf source;
  json_t *findings = json_array(), *about = json_pack("{s:s, s:o}", "file", path, "findings", findings);
  buf_init(&source, SCENARIO_CAP);
  if (file_read(path, &source, &err) < 0) json_array_append_new(findings, json_sprintf("error: %s", err.text));
  else scenario_read(path, source.data, source.len, findings, &s);
  if (s) {
    against->file = path;
    against->source = source.data;
    against->len = source.len;
    scenario_check(s, against, findings);
    json_object_set_new(about, "injects", json_integer((json_int_t)json_array_size(json_object_get(s->json, "injects"))));
    json_object_set_new(about, "objectives", json_integer((json_int_t)json_array_size(json_object_get(s->json, "objectives"))));
    json_object_set_new(about, "duration", json_integer(json_int_or(s->json, "duration", 0)));
  }
  scenario_free(s);
  buf_release(&source);
  return about;
}

static void results_view(struct view *v, const json_t *results) {
  size_t i, n;
  json_t *result, *found;
  char span[32];
  json_array_foreach((json_t *)(uintptr_t)results, i, result) {
    json_array_foreach(json_object_get(result, "findings"), n, found) {
      const char *text = json_string_value(found);
      view_style(v, strncmp(text, "error", 5) == 0 ? STYLE_RED : STYLE_YELLOW);
      view_block(v, text, 2);
      view_style(v, STYLE_PLAIN);
      view_put(v, "\n");
    }
    if (n) continue;
    duration_format(json_int_or(result, "duration", 0), span);
    view_text(v, json_str_or(result, "file", ""));
    view_put(v, ": ok, %lld injects, %lld objectives, %s\n", (long long)json_int_or(result, "injects", 0),
             (long long)json_int_or(result, "objectives", 0), span);
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

static int router_of(const json_t *playbooks, struct lists *lists, struct router **ret, struct err *err) {
  struct trigger *triggers = calloc(json_object_size(playbooks) + 1, sizeof *triggers);
  const char *name;
  json_t *p;
  size_t count = 0;
  if (!triggers) abort();
  json_object_foreach((json_t *)(uintptr_t)playbooks, name, p) {
    if (json_object_get(p, "when"))
      triggers[count++] = (struct trigger){name, json_object_get(p, "when"), json_object_get(p, "group"), json_int_or(p, "window", 0),
                                           json_bool_or(p, "shadow", false)};
  }
  int r = router_new(triggers, count, NULL, lists, ret, err);
  free(triggers);
  return r;
}

static int check_all(struct cli *cli, const json_t *settings, struct registry *registry, const json_t *paths) {
  struct lists *lists = NULL;
  struct err err = {0};
  json_t *results = json_array(), *connectors = installed_connectors(settings, registry), *playbooks = installed_playbooks(settings, &err),
         *path;
  struct scenario_against against = {.connectors = connectors, .playbooks = playbooks, .normaliser = normaliser_new(registry, NULL)};
  size_t i;
  int r = playbooks ? lists_load(installed_folder(settings, "lists"), &lists, &err) : err.code;
  if (r == 0) r = router_of(playbooks, lists, &against.router, &err);
  if (r == 0) {
    json_array_foreach((json_t *)(uintptr_t)paths, i, path) json_array_append_new(results, check_one(&against, json_string_value(path)));
    client_print(cli, results, results_view);
  }
  int status = r < 0 ? cli_fail(cli, &err) : any_error(results) ? EXIT_FAILED : EXIT_DONE;
  router_free(against.router);
  lists_free(lists);
  normaliser_free(against.normaliser);
  json_decref(playbooks);
  json_decref(connectors);
  json_decref(results);
  return status;
}

static json_t *paths_of(const struct cli *cli, const json_t *settings, const struct options *o) {
  struct err err = {0};
  if (!options_count(o) || strcmp(options_word(o, 0), "all") == 0) {
    json_t *all = tabletop_paths(settings, &err);
    if (!all) cli_fail(cli, &err);
    return all;
  }
  json_t *paths = json_array();
  for (unsigned i = 0; i < options_count(o); i++) {
    char *path = NULL;
    if (tabletop_path(cli, settings, options_word(o, i), &path) != EXIT_DONE) {
      json_decref(paths);
      return NULL;
    }
    json_array_append_new(paths, json_string(path));
    free(path);
  }
  return paths;
}

static int run(struct cli *cli, const struct options *o) {
  json_t *settings = cli_settings(cli, NULL), *paths = settings ? paths_of(cli, settings, o) : NULL;
  struct registry *registry = paths ? installed_registry(cli, settings) : NULL;
  int status = registry ? check_all(cli, settings, registry, paths) : EXIT_FAILED;
  registry_free(registry);
  json_decref(paths);
  json_decref(settings);
  return status;
}

const struct command tabletop_check = {
    .name = "check",
    .args = "[all|SCENARIO|FILE…]",
    .text = "look for mistakes: syntax, injects that can never come, alerts that their products could not send, unknown actions and roles, "
            "objectives nobody can meet",
    .more = "Nothing is played and nothing leaves. A scenario is a Lua file in runbooks/tabletop. Exit status 1 when there is an error.",
    .example = "tocsin tabletop check all\ntocsin tabletop check runbooks/tabletop/ci-credentials.lua\n",
    .most = 1000,
    .run = run,
};
