/* `tocsin playbook backtest`: what a playbook, or two versions of it, would have done with alerts that came before. */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "cmd/client.h"
#include "cmd/installed.h"
#include "cmd/options.h"
#include "cmd/past_alerts.h"
#include "cmd/playbook.h"
#include "cmd/view.h"
#include "exercise/backtest.h"

enum { ROWS_SHOWN = 30, BAR = 30, JOBS_MOST = 32 };

extern char **environ;

struct against {
  char folder[64]; /* a temporary one for a git revision; "": none */
  char *path;
};

/* ---- the other version: a file, or what git has of the playbook's file at a revision ---- */

static int git_show(const char *playbook, const char *revision, const char *to, struct err *err) {
  char folder[4096], object[4400];
  const char *slash = strrchr(playbook, '/');
  posix_spawn_file_actions_t actions;
  pid_t pid;
  int status = -1;
  snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - playbook) : 1, slash ? playbook : ".");
  snprintf(object, sizeof object, "%s:./%s", revision, slash ? slash + 1 : playbook);
  char git[] = "git", in[] = "-C", show[] = "show", *argv[] = {git, in, folder, show, object, NULL};
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, to, O_WRONLY | O_CREAT | O_EXCL, 0600);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  int r = posix_spawnp(&pid, "git", &actions, NULL, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (r == 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
  return err_set(err, ERR_NOT_FOUND, "%s is no file, and git has no %s at that revision", revision, playbook);
}

static int against_find(const char *playbook, const char *word, struct against *a, struct err *err) {
  const char *slash = strrchr(playbook, '/');
  char path[4400];
  if (access(word, F_OK) == 0) {
    a->path = strdup(word);
    return 0;
  }
  if (word[0] == '-') return err_set(err, ERR_INVALID, "--against is a file or a git revision, not %.40s", word);
  snprintf(a->folder, sizeof a->folder, "/tmp/tocsin-against-XXXXXX");
  if (!mkdtemp(a->folder)) {
    a->folder[0] = '\0';
    return err_errno(err, "cannot make a folder in /tmp");
  }
  snprintf(path, sizeof path, "%s/%s", a->folder, slash ? slash + 1 : playbook);
  a->path = strdup(path);
  return git_show(playbook, word, a->path, err);
}

static void against_release(struct against *a) {
  if (a->folder[0]) {
    unlink(a->path);
    rmdir(a->folder);
  }
  free(a->path);
}

/* ---- progress ---- */

static void bar(void *arg, size_t done, size_t of) {
  char drawn[BAR + 1];
  size_t full = of ? done * BAR / of : BAR;
  memset(drawn, ' ', BAR);
  memset(drawn, '#', full);
  drawn[BAR] = '\0';
  fprintf(stderr, "\r%s [%s] %zu of %zu incidents%s", (const char *)arg, drawn, done, of, done == of ? "\n" : "");
}

/* ---- printing ---- */

static void rows_view(struct view *v, const char *title, const json_t *rows) {
  size_t i;
  json_t *row;
  if (!json_array_size(rows)) return;
  view_put(v, "\n");
  view_style(v, STYLE_BOLD);
  view_put(v, "%s\n", title);
  view_style(v, STYLE_PLAIN);
  json_array_foreach((json_t *)(uintptr_t)rows, i, row) {
    if (i == ROWS_SHOWN) {
      view_put(v, "  … and %zu more: --json has all\n", json_array_size(rows) - i);
      return;
    }
    view_put(v, "  %6lld  ", (long long)json_int_or(row, "times", 0));
    view_block(v, json_str_or(row, "text", ""), 10);
    view_put(v, "\n");
  }
}

static void numbers_view(struct view *v, const json_t *report) {
  static const char *const names[][2] = {{"unwanted", "not for this playbook"}, {"suppressed", "suppressed"}, {"duplicates", "duplicates"}};
  const json_t *minutes = json_object_get(report, "minutes"), *runs = json_object_get(report, "runs");
  const char *status;
  json_t *n;
  view_style(v, STYLE_BOLD);
  view_text(v, json_str_or(report, "playbook", "?"));
  view_style(v, STYLE_PLAIN);
  view_put(v, ": %lld alerts", (long long)json_int_or(report, "alerts", 0));
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (json_int_or(report, names[i][0], 0)) view_put(v, ", %lld %s", (long long)json_int_or(report, names[i][0], 0), names[i][1]);
  view_put(v, "\n%lld incidents of %lld alerts", (long long)json_int_or(report, "incidents", 0),
           (long long)json_int_or(report, "attached", 0));
  json_object_foreach((json_t *)(uintptr_t)runs, status, n) view_put(v, ", %lld runs %s", (long long)json_integer_value(n), status);
  if (json_object_size(runs))
    view_put(v, "\nA run took %.1f minutes (median), %.1f at most, with nobody answering.",
             json_number_value(json_object_get(minutes, "median")), json_number_value(json_object_get(minutes, "most")));
  view_put(v, "\n");
}

static void report_view(struct view *v, const json_t *report) {
  numbers_view(v, report);
  rows_view(v, "It would have done", json_object_get(report, "actions"));
  rows_view(v, "It would have asked", json_object_get(report, "questions"));
  rows_view(v, "Guardrails hit (agreed to, so that what lies behind can be seen)", json_object_get(report, "guardrails"));
}

static void lines_view(struct view *v, const char *sign, enum style style, const json_t *lines) {
  size_t i;
  json_t *line;
  json_array_foreach((json_t *)(uintptr_t)lines, i, line) {
    view_style(v, style);
    view_put(v, "    %s ", sign);
    view_block(v, json_string_value(line), 6);
    view_put(v, "\n");
    view_style(v, STYLE_PLAIN);
  }
}

static void one_view(struct view *v, const json_t *one) {
  view_put(v, "  ");
  view_text(v, json_str_or(one, "title", json_str_or(one, "case", "")));
  view_put(v, "  (from alert ");
  view_text(v, json_str_or(one, "case", ""));
  view_put(v, ")%s\n",
           !json_bool_or(one, "in_after", true)    ? ": only before"
           : !json_bool_or(one, "in_before", true) ? ": only after"
                                                   : "");
  lines_view(v, "-", STYLE_RED, json_object_get(one, "before"));
  lines_view(v, "+", STYLE_GREEN, json_object_get(one, "after"));
}

static void compared_view(struct view *v, const json_t *answer) {
  const json_t *difference = json_object_get(answer, "difference"), *different = json_object_get(difference, "different");
  size_t i;
  json_t *one, *line;
  report_view(v, json_object_get(answer, "after"));
  view_put(v, "\n");
  view_style(v, STYLE_BOLD);
  view_put(v, "Against the other version (- it, + this one): %lld incidents the same, %zu different\n",
           (long long)json_int_or(difference, "same", 0), json_array_size(different));
  view_style(v, STYLE_PLAIN);
  json_array_foreach(json_object_get(difference, "actions"), i, line) {
    view_put(v, "  %6lld -> %lld  ", (long long)json_int_or(line, "before", 0), (long long)json_int_or(line, "after", 0));
    view_text(v, json_str_or(line, "text", ""));
    view_put(v, "\n");
  }
  json_array_foreach((json_t *)(uintptr_t)different, i, one) {
    if (i == ROWS_SHOWN) {
      view_put(v, "  … and %zu more: --json has all\n", json_array_size(different) - i);
      break;
    }
    one_view(v, one);
  }
}

/* ---- running ---- */

static int gather(const struct cli *cli, const json_t *settings, const struct options *o, struct past *p) {
  const char *since = options_get(o, "since");
  int64_t ms = 0;
  struct err err = {0};
  int status = EXIT_DONE;
  if (since && !duration_parse(since, &ms)) return cli_misuse(cli, "--since is a duration such as 30d, not %.40s", since);
  if (!since && options_count(o) < 2)
    return cli_misuse(cli, "which alerts? Name a folder, files or bundles, or --since 30d for those of `tocsin serve`");
  if (since) status = past_from_service(cli, clock_wall(clock_system()) - ms * 1000, p);
  for (unsigned i = 1; status == EXIT_DONE && i < options_count(o); i++) status = past_from_path(cli, settings, options_word(o, i), p);
  if (status != EXIT_DONE || json_array_size(p->alerts)) return status;
  err_set(&err, ERR_NOT_FOUND, "there is no alert in what was named%s", p->unreadable ? ": nothing of it could be read" : "");
  return cli_fail(cli, &err);
}

/* What both versions are tried with. */
struct trial {
  struct cli *cli;
  const json_t *settings;
  struct lists *lists;
  struct past past;
  unsigned processes;
};

static int tested(const struct trial *t, const char *playbook, json_t **ret) {
  struct err err = {0};
  struct backtest spec = {.playbook = playbook,
                          .connectors = installed_folder(t->settings, "connectors"),
                          .settings = t->settings,
                          .lists = t->lists,
                          .world = playbook_world(t->lists),
                          .alerts = t->past.alerts,
                          .recorded = t->past.recorded,
                          .processes = t->processes,
                          .progress = t->cli->terminal && !t->cli->json ? bar : NULL,
                          .arg = (void *)(uintptr_t)playbook};
  return backtest(&spec, ret, &err) < 0 ? cli_fail(t->cli, &err) : EXIT_DONE;
}

static int test_both(const struct trial *t, const char *playbook, const char *word) {
  struct cli *cli = t->cli;
  struct against other = {0};
  struct err err = {0};
  json_t *after = NULL, *before = NULL;
  int status = word && against_find(playbook, word, &other, &err) < 0 ? cli_fail(cli, &err) : EXIT_DONE;
  if (status == EXIT_DONE) status = tested(t, playbook, &after);
  if (status == EXIT_DONE && word) status = tested(t, other.path, &before);
  if (status == EXIT_DONE && !word) client_print(cli, after, report_view);
  if (status == EXIT_DONE && word) {
    json_t *answer = json_pack("{s:O, s:O, s:o}", "before", before, "after", after, "difference", backtest_compare(before, after));
    client_print(cli, answer, compared_view);
    json_decref(answer);
  }
  json_decref(after);
  json_decref(before);
  against_release(&other);
  return status;
}

static int run(struct cli *cli, const struct options *o) {
  struct trial t = {.cli = cli};
  struct err err = {0};
  const char *jobs = options_get(o, "jobs");
  json_t *settings = NULL;
  char *end = NULL;
  long count = jobs ? strtol(jobs, &end, 10) : 0;
  if (jobs && (*end || count < 1 || count > JOBS_MOST))
    return cli_misuse(cli, "--jobs is a whole number from 1 to %d, not \"%.40s\"", JOBS_MOST, jobs);
  t.settings = settings = cli_settings(cli, NULL);
  t.processes = (unsigned)count;
  if (!settings) return EXIT_FAILED;
  past_init(&t.past);
  int status = gather(cli, settings, o, &t.past);
  if (status == EXIT_DONE && lists_load(installed_folder(settings, "lists"), &t.lists, &err) < 0) status = cli_fail(cli, &err);
  if (status == EXIT_DONE) {
    char *path = playbook_path(settings, options_word(o, 0));
    if (t.past.unreadable && !cli->json) fprintf(stderr, "%zu documents could not be read as alerts\n", t.past.unreadable);
    status = test_both(&t, path, options_get(o, "against"));
    free(path);
  }
  lists_free(t.lists);
  past_release(&t.past);
  json_decref(settings);
  return status;
}

static const struct option_spec options[] = {
    {.name = "since",
     .value = "DURATION",
     .text = "the alerts of `tocsin serve`'s incidents opened since then (30d), with what really came of their actions"},
    {.name = "against",
     .value = "FILE|REVISION",
     .text = "another version: a file, or a git revision of this one; the difference is shown"},
    {.name = "jobs",
     .value = "N",
     .text = "at most that many processes (default: as many as there are processors); the result is the same"},
    {0}};

const struct command playbook_backtest = {
    .name = "backtest",
    .args = "PLAYBOOK|FILE [PATH…]",
    .text = "what a playbook would have done with alerts that came before; nothing leaves",
    .more = "PATH is a folder of alerts, a file of them (one document, or one a line), a journal or bundle that `tocsin evidence export` "
            "wrote. The alerts pass "
            "the playbook's trigger, its groups and windows and the settings' suppression rules; its runs are simulated, under the "
            "settings' guardrails, with a "
            "clock that follows the alerts. Where the same action was really taken, its real outcome is used. Nobody answers: questions "
            "run out of time, and "
            "what a guardrail would ask is counted and agreed to.",
    .example = "tocsin playbook backtest contain-account --since 30d\n"
               "tocsin playbook backtest contain-account alerts/ --against HEAD~1\n",
    .options = options,
    .least = 1,
    .most = 1000,
    .run = run,
};
