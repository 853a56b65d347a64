/* `tocsin playbook test`: a playbook's unit tests, on the real engine with simulated connectors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "cmd/client.h"
#include "cmd/installed.h"
#include "cmd/options.h"
#include "cmd/playbook.h"
#include "cmd/view.h"
#include "route/route.h"
#include "run/rehearse.h"

/* ---- what a run may look at: the lists ---- */

static int list_look(void *arg, void *lists, int64_t now, const char *what, const json_t *args, json_t **ret, struct err *err) {
  return lists_look(arg, now, what, args, ret, err);
}

static bool alert_matches(void *arg, void *lists, int64_t now, const json_t *when, const json_t *alert) {
  return lists_alert_fits(arg, now, when, alert);
}

struct run_world playbook_world(struct lists *lists) {
  return (struct run_world){.arg = lists, .list = list_look, .matches = alert_matches};
}

/* ---- running ---- */

/* playbooks/x.lua → playbooks/x_test.lua */
static char *tests_path(const char *playbook) {
  size_t n = strlen(playbook);
  char *path = malloc(n + 16);
  if (!path) abort();
  if (n > 4 && strcmp(playbook + n - 4, ".lua") == 0) n -= 4;
  snprintf(path, n + 16, "%.*s_test.lua", (int)n, playbook);
  return path;
}

static json_t *failed_report(const char *path, const char *error) {
  return json_pack("{s:s, s:s, s:i, s:i}", "playbook", path, "error", error, "passed", 0, "failed", 1);
}

static json_t *rehearsed(const json_t *settings, struct lists *lists, const char *path, const char *tests) {
  struct rehearsal spec = {.playbook = path,
                           .tests = tests,
                           .connectors = installed_folder(settings, "connectors"),
                           .world = playbook_world(lists),
                           .values = path_values};
  struct err err = {0};
  json_t *report = NULL;
  return rehearse(&spec, &report, &err) < 0 ? failed_report(path, err.text) : report;
}

static json_t *test_one(const json_t *settings, struct lists *lists, const char *path) {
  char *tests = tests_path(path);
  json_t *report = NULL;
  if (access(path, F_OK) != 0) report = failed_report(path, "there is no such playbook; `tocsin playbook list` shows those that there are");
  else if (access(tests, F_OK) != 0) report = json_pack("{s:s, s:i, s:i, s:b}", "playbook", path, "passed", 0, "failed", 0, "untested", 1);
  else report = rehearsed(settings, lists, path, tests);
  free(tests);
  return report;
}

/* ---- printing ---- */

static void coverage_view(struct view *v, const json_t *coverage) {
  long long lines = (long long)json_int_or(coverage, "lines", 0), hit = (long long)json_int_or(coverage, "hit", 0);
  if (!lines) return;
  view_put(v, ", %lld of %lld lines run (%lld %%)", hit, lines, hit * 100 / lines);
  if (!json_array_size(json_object_get(coverage, "missed"))) return;
  view_put(v, ", not: ");
  view_value(v, json_object_get(coverage, "missed"));
}

static void tests_view(struct view *v, const json_t *tests) {
  size_t i, n;
  json_t *test, *problem;
  json_array_foreach((json_t *)(uintptr_t)tests, i, test) {
    bool ok = json_bool_or(test, "ok", false);
    view_style(v, ok ? STYLE_GREEN : STYLE_RED);
    view_put(v, ok ? "  ok      " : "  FAILED  ");
    view_style(v, STYLE_PLAIN);
    view_text(v, json_str_or(test, "name", "?"));
    view_put(v, "\n");
    json_array_foreach(json_object_get(test, "problems"), n, problem) {
      view_put(v, "            ");
      view_block(v, json_string_value(problem), 12);
      view_put(v, "\n");
    }
  }
}

static void reports_view(struct view *v, const json_t *reports) {
  size_t i;
  json_t *report;
  json_array_foreach((json_t *)(uintptr_t)reports, i, report) {
    view_style(v, STYLE_BOLD);
    view_text(v, json_str_or(report, "playbook", "?"));
    view_style(v, STYLE_PLAIN);
    if (json_bool_or(report, "untested", false)) {
      view_put(v, ": no tests\n");
      continue;
    }
    view_put(v, ": %lld passed, %lld failed", (long long)json_int_or(report, "passed", 0), (long long)json_int_or(report, "failed", 0));
    coverage_view(v, json_object_get(report, "coverage"));
    view_put(v, "\n");
    if (json_str(report, "error")) {
      view_put(v, "  ");
      view_block(v, json_str(report, "error"), 2);
      view_put(v, "\n");
    }
    tests_view(v, json_object_get(report, "tests"));
  }
}

static int test_all(struct cli *cli, const json_t *settings, const json_t *paths) {
  struct lists *lists = NULL;
  struct err err = {0};
  json_t *reports = json_array(), *path;
  size_t i;
  int64_t failed = 0;
  if (lists_load(installed_folder(settings, "lists"), &lists, &err) < 0) {
    json_decref(reports);
    return cli_fail(cli, &err);
  }
  json_array_foreach((json_t *)(uintptr_t)paths, i, path) {
    json_t *report = test_one(settings, lists, json_string_value(path));
    failed += json_int_or(report, "failed", 0);
    json_array_append_new(reports, report);
  }
  client_print(cli, reports, reports_view);
  json_decref(reports);
  lists_free(lists);
  return failed ? EXIT_FAILED : EXIT_DONE;
}

int playbook_rehearse(struct cli *cli, const json_t *settings, const char *path, const char *tests) {
  struct lists *lists = NULL;
  struct err err = {0};
  if (lists_load(installed_folder(settings, "lists"), &lists, &err) < 0) return cli_fail(cli, &err);
  json_t *reports = json_array();
  json_array_append_new(reports, rehearsed(settings, lists, path, tests));
  int64_t failed = json_int_or(json_array_get(reports, 0), "failed", 0);
  client_print(cli, reports, reports_view);
  json_decref(reports);
  lists_free(lists);
  return failed ? EXIT_FAILED : EXIT_DONE;
}

static int run(struct cli *cli, const struct options *o) {
  json_t *settings = cli_settings(cli, NULL), *paths = settings ? playbook_paths(cli, settings, o) : NULL;
  int status = paths ? test_all(cli, settings, paths) : EXIT_FAILED;
  json_decref(paths);
  json_decref(settings);
  return status;
}

const struct command playbook_test = {
    .name = "test",
    .args = "[all|PLAYBOOK|FILE…]",
    .text = "run the unit tests that stand beside playbooks (<name>_test.lua), and say which lines they reach",
    .more = "The real engine runs them with simulated connectors and a private Redis in a temporary folder; nothing leaves. Exit status 1 "
            "when a test fails.",
    .example = "tocsin playbook test all\ntocsin playbook test contain-account\n",
    .most = 1000,
    .run = run,
};
