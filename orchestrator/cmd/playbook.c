/* `tocsin playbook list|show`, and what check and test share. */
#include "cmd/playbook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "cmd/blocks.h"
#include "cmd/client.h"
#include "cmd/installed.h"
#include "cmd/options.h"
#include "cmd/words.h"

char *playbook_path(const json_t *settings, const char *word) {
  char path[4096];
  size_t n = strlen(word);
  if (strchr(word, '/') || (n > 4 && strcmp(word + n - 4, ".lua") == 0 && access(word, F_OK) == 0)) return strdup(word);
  snprintf(path, sizeof path, "%s/%s%s", installed_folder(settings, "playbooks"), word,
           n > 4 && strcmp(word + n - 4, ".lua") == 0 ? "" : ".lua");
  return strdup(path);
}

json_t *playbook_paths(const struct cli *cli, const json_t *settings, const struct options *o) {
  json_t *paths = json_array();
  struct err err = {0};
  if (!options_count(o) || strcmp(options_word(o, 0), "all") == 0) {
    json_decref(paths);
    if (installed_files(installed_folder(settings, "playbooks"), &paths, &err) == 0) return paths;
    cli_fail(cli, &err);
    return NULL;
  }
  for (unsigned i = 0; i < options_count(o); i++) {
    char *path = playbook_path(settings, options_word(o, i));
    json_array_append_new(paths, json_string(path));
    free(path);
  }
  return paths;
}

/* ---- list ---- */

static json_t *row_json(const char *path) {
  struct declaration *d = NULL;
  struct err err = {0};
  if (installed_playbook(path, &d, &err) < 0) return json_pack("{s:s, s:s}", "file", path, "error", err.text);
  json_t *row =
      json_pack("{s:s, s:s, s:s, s:s, s:O*, s:O*, s:b, s:b}", "file", path, "playbook", d->name, "title", json_str_or(d->json, "title", ""),
                "digest", d->digest, "uses", json_object_get(d->json, "uses"), "attack", json_object_get(d->json, "attack"), "by_alert",
                json_object_get(d->json, "when") != NULL, "shadow", json_bool_or(d->json, "shadow", false));
  declaration_free(d);
  return row;
}

static void list_view(struct view *v, const json_t *rows) {
  static const char *const head[] = {"PLAYBOOK", "STARTED", "TITLE", NULL};
  struct table t;
  size_t i;
  json_t *row;
  if (!json_array_size(rows)) {
    view_put(v, "There is no playbook.\n");
    return;
  }
  table_init(&t, head);
  json_array_foreach((json_t *)(uintptr_t)rows, i, row) {
    const char *error = json_str(row, "error");
    const char *cells[] = {json_str_or(row, "playbook", json_str(row, "file")),
                           error ? "BROKEN"
                           : json_bool_or(row, "shadow", false)
                               ? json_bool_or(row, "by_alert", false) ? "by alerts, shadow" : "by hand, shadow"
                           : json_bool_or(row, "by_alert", false) ? "by alerts"
                                                                  : "by hand",
                           error ? error : json_str(row, "title")};
    table_row(&t, error ? STYLE_RED : STYLE_PLAIN, cells);
  }
  table_print(&t, v);
}

static int list_run(struct cli *cli, const struct options *o) {
  json_t *settings = cli_settings(cli, NULL), *paths = settings ? playbook_paths(cli, settings, o) : NULL, *rows = json_array(), *path;
  size_t i;
  json_array_foreach(paths, i, path) json_array_append_new(rows, row_json(json_string_value(path)));
  if (paths) client_print(cli, rows, list_view);
  int status = paths ? EXIT_DONE : EXIT_FAILED;
  json_decref(rows);
  json_decref(paths);
  json_decref(settings);
  return status;
}

static const struct command playbook_list = {.name = "list",
                                             .text = "playbooks that are installed",
                                             .example = "tocsin playbook list\n",
                                             .run = list_run};

/* ---- show ---- */

static void member(struct view *v, const char *name, const json_t *value) {
  if (!value || json_is_null(value) || (json_is_array(value) && !json_array_size(value)) ||
      (json_is_object(value) && !json_object_size(value)))
    return;
  view_put(v, "  %-9s ", name);
  view_value(v, value);
  view_put(v, "\n");
}

static void show_view(struct view *v, const json_t *answer) {
  const json_t *d = json_object_get(answer, "declaration"), *when = json_object_get(d, "when");
  const char *name;
  json_t *rule;
  char window[32];
  view_style(v, STYLE_BOLD);
  view_text(v, json_str_or(answer, "playbook", "?"));
  view_style(v, STYLE_PLAIN);
  view_put(v, ": ");
  view_text(v, json_str_or(d, "title", ""));
  view_put(v, "\n");
  if (json_bool_or(d, "shadow", false)) view_put(v, "  shadow    it sends nothing above `read`, and says what it would do\n");
  member(v, "ATT&CK", json_object_get(d, "attack"));
  json_object_foreach((json_t *)(uintptr_t)when, name, rule) {
    view_put(v, "  when      ");
    view_text(v, name);
    view_put(v, ": ");
    view_value(v, rule);
    view_put(v, "\n");
  }
  if (json_is_array(when)) member(v, "when", when);
  if (!when) view_put(v, "  when      only by hand\n");
  member(v, "group", json_object_get(d, "group"));
  snprintf(window, sizeof window, "%lld min", (long long)json_int_or(d, "window", 0) / 60000);
  if (json_int_or(d, "window", 0)) view_put(v, "  window    %s\n", window);
  member(v, "mode", json_object_get(d, "mode"));
  member(v, "uses", json_object_get(d, "uses"));
  member(v, "runbook", json_object_get(d, "runbook"));
  json_object_foreach(json_object_get(d, "params"), name, rule) {
    view_put(v, "  param     ");
    view_text(v, name);
    view_put(v, " (%s)", json_str_or(rule, "type", "?"));
    words_member(v, ", from ", rule, "from");
    words_member(v, "  ", rule, "doc");
    view_put(v, "\n");
  }
  view_put(v, "  digest    %s\n", json_str_or(answer, "digest", ""));
}

static int show_run(struct cli *cli, const struct options *o) {
  json_t *settings = cli_settings(cli, NULL);
  struct declaration *d = NULL;
  struct err err = {0};
  if (!settings) return EXIT_FAILED;
  char *path = playbook_path(settings, options_word(o, 0));
  int r = installed_playbook(path, &d, &err);
  if (r == 0) {
    json_t *answer = json_pack("{s:s, s:s, s:s, s:O}", "file", path, "playbook", d->name, "digest", d->digest, "declaration", d->json);
    client_print(cli, answer, show_view);
    json_decref(answer);
  }
  declaration_free(d);
  free(path);
  json_decref(settings);
  return r == 0 ? EXIT_DONE : cli_fail(cli, &err);
}

static const struct command playbook_show = {
    .name = "show",
    .args = "PLAYBOOK|FILE",
    .text = "one playbook: when it starts, what it may do, its parameters",
    .example = "tocsin playbook show contain-account\n",
    .least = 1,
    .most = 1,
    .run = show_run,
};

static const struct command *const subs[] = {&playbook_list,   &playbook_show,     &playbook_check,   &playbook_test,
                                             &playbook_record, &playbook_backtest, &playbook_compare, NULL};

const struct command cmd_playbook = {
    .name = "playbook",
    .text = "playbooks: list, show, check, test, record, back-test and compare them",
    .example = "tocsin playbook check all\ntocsin playbook test contain-account\n",
    .subs = subs,
};
