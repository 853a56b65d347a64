/* `tocsin playbook compare`: how often people did what a playbook in shadow said it would do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "cmd/client.h"
#include "cmd/options.h"
#include "cmd/past_alerts.h"
#include "cmd/playbook.h"
#include "cmd/view.h"
#include "exercise/compare.h"

enum { ROWS_SHOWN = 50 };
static const char SINCE[] = "30d";

static void heading(struct view *v, const char *title) {
  view_put(v, "\n");
  view_style(v, STYLE_BOLD);
  view_put(v, "%s\n", title);
  view_style(v, STYLE_PLAIN);
}

static void totals_view(struct view *v, const json_t *report) {
  size_t i;
  json_t *total;
  heading(v, "  SAME  NOT DONE  NOT SUGGESTED");
  json_array_foreach(json_object_get(report, "actions"), i, total) {
    view_put(v, "%6lld  %8lld  %13lld  ", (long long)json_int_or(total, "same", 0), (long long)json_int_or(total, "not_done", 0),
             (long long)json_int_or(total, "not_suggested", 0));
    view_block(v, json_str_or(total, "text", ""), 33);
    view_put(v, "\n");
  }
}

static void later_view(struct view *v, const json_t *row) {
  double seconds = (double)json_int_or(row, "after_ms", 0) / 1000;
  if (!json_object_get(row, "after_ms")) return;
  if (seconds < 0) view_put(v, ", %.1f min earlier", -seconds / 60);
  else view_put(v, ", %.1f min later", seconds / 60);
}

static void row_view(struct view *v, const json_t *row) {
  static const struct {
    const char *verdict, *words;
    enum style style;
  } verdicts[] = {{"same", "same", STYLE_GREEN}, {"not_done", "not done", STYLE_YELLOW}, {"not_suggested", "not suggested", STYLE_YELLOW}};
  const char *verdict = json_str_or(row, "verdict", "");
  view_put(v, "  ");
  view_id(v, json_str_or(row, "incident", "?"));
  view_put(v, "  ");
  for (size_t i = 0; i < sizeof verdicts / sizeof *verdicts; i++) {
    if (strcmp(verdicts[i].verdict, verdict) != 0) continue;
    view_style(v, verdicts[i].style);
    view_put(v, "%-13s  ", verdicts[i].words);
  }
  view_style(v, STYLE_PLAIN);
  view_block(v, json_str_or(row, "text", ""), 29);
  later_view(v, row);
  if (json_str(row, "by")) {
    view_put(v, ", by ");
    view_text(v, json_str(row, "by"));
  }
  view_put(v, "\n");
}

static void report_view(struct view *v, const json_t *report) {
  const json_t *rows = json_object_get(report, "rows");
  long long same = (long long)json_int_or(report, "same", 0), not_done = (long long)json_int_or(report, "not_done", 0);
  size_t i;
  json_t *row;
  view_style(v, STYLE_BOLD);
  view_text(v, json_str_or(report, "playbook", "?"));
  view_style(v, STYLE_PLAIN);
  view_put(v, " in shadow: %lld incidents, %lld runs.\n", (long long)json_int_or(report, "incidents", 0),
           (long long)json_int_or(report, "runs", 0));
  view_put(
      v, "Of %lld actions that it would have taken, %lld were done by others too, %lld were not; %lld were done that it did not suggest.\n",
      same + not_done, same, not_done, (long long)json_int_or(report, "not_suggested", 0));
  if (json_int_or(report, "asked", 0) || json_int_or(report, "handed_over", 0))
    view_put(v, "It would have asked %lld questions, and handed over %lld times.\n", (long long)json_int_or(report, "asked", 0),
             (long long)json_int_or(report, "handed_over", 0));
  if (json_int_or(report, "failed", 0)) {
    view_style(v, STYLE_RED);
    view_put(v, "%lld runs failed: `tocsin incident show` of theirs says where.\n", (long long)json_int_or(report, "failed", 0));
    view_style(v, STYLE_PLAIN);
  }
  if (!json_array_size(rows)) return;
  totals_view(v, report);
  heading(v, "  INCIDENT    WHAT");
  json_array_foreach((json_t *)(uintptr_t)rows, i, row) {
    if (i == ROWS_SHOWN) {
      view_put(v, "  … and %zu more: --json has all\n", json_array_size(rows) - i);
      break;
    }
    row_view(v, row);
  }
}

static void add(void *arg, const struct evidence_case *c) {
  json_t *report = arg, *rows = json_object_get(report, "rows"), *row;
  size_t before = json_array_size(rows);
  compare_add(report, c->id, c->entries, c->count);
  for (; before < json_array_size(rows); before++) { /* people by name */
    row = json_array_get(rows, before);
    const char *name = json_str(row, "by") ? json_str(c->names, json_str(row, "by")) : NULL;
    if (name) json_object_set_new(row, "by", json_string(name));
  }
}

static int run(struct cli *cli, const struct options *o) {
  const char *word = options_word(o, 0), *slash = strrchr(word, '/'), *since = options_get(o, "since") ? options_get(o, "since") : SINCE;
  struct err err = {0};
  int64_t ms = 0;
  if (!duration_parse(since, &ms)) return cli_misuse(cli, "--since is a duration such as 30d, not %.40s", since);
  char *name = strdup(slash ? slash + 1 : word);
  size_t len = strlen(name);
  if (len > 4 && strcmp(name + len - 4, ".lua") == 0) name[len - 4] = '\0';
  json_t *report = compare_new(name);
  int status = past_each(cli, clock_wall(clock_system()) - ms * 1000, add, report);
  if (status == EXIT_DONE && !json_int_or(report, "runs", 0)) {
    err_set(&err, ERR_NOT_FOUND, "%.100s has not run in shadow in the last %s; a playbook with `shadow = true` does", name, since);
    status = cli_fail(cli, &err);
  } else if (status == EXIT_DONE) {
    client_print(cli, report, report_view);
  }
  json_decref(report);
  free(name);
  return status;
}

static const struct option_spec options[] = {{.name = "since", .value = "DURATION", .text = "incidents opened since then (default: 30d)"},
                                             {0}};

const struct command playbook_compare = {
    .name = "compare",
    .args = "PLAYBOOK",
    .text = "how often people did what a playbook in shadow would have done",
    .more = "Reads the journals of the incidents in which the playbook ran with `shadow = true`. The same is the same action on the same "
            "target, done in that incident by a person or another playbook. What people did in a product itself, and not through Tocsin, "
            "is not "
            "known here.",
    .example = "tocsin playbook compare contain-account\ntocsin playbook compare contain-account --since 7d --json\n",
    .options = options,
    .least = 1,
    .most = 1,
    .run = run,
};
