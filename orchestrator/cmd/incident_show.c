/* `tocsin incident list|show|follow`. */
#include "cmd/incident.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/id.h"
#include "base/json.h"
#include "cmd/blocks.h"
#include "cmd/client.h"
#include "cmd/options.h"
#include "cmd/timeline.h"

enum { LIST_MOST = 1000, OBSERVABLES_SHOWN = 8, FOLLOW_MS = 700 };

/* ---- list ---- */

static void list_view(struct view *v, const json_t *answer) {
  block_paused(v, json_object_get(answer, "paused"));
  if (json_array_size(json_object_get(answer, "incidents"))) block_incidents(v, json_object_get(answer, "incidents"));
  else view_put(v, "No such incident. (`--status all` shows closed ones too)\n");
}

static int list_run(struct cli *cli, const struct options *o) {
  const char *status = options_get(o, "status"), *limit = options_get(o, "limit");
  json_t *command = json_pack("{s:s, s:s}", "command", "incident.list", "status", status ? status : "open");
  if (limit) {
    char *end;
    long n = strtol(limit, &end, 10);
    if (*end || n < 1 || n > LIST_MOST) {
      json_decref(command);
      return cli_misuse(cli, "--limit must be a number from 1 to %d", LIST_MOST);
    }
    json_object_set_new(command, "limit", json_integer(n));
  }
  return client_show(cli, command, list_view);
}

static const struct option_spec list_options[] = {
    {.name = "status", .value = "STATUS", .text = "open (default), closed, merged or all"},
    {.name = "limit", .value = "N", .text = "at most so many"},
    {0},
};

const struct command incident_list = {
    .name = "list",
    .text = "incidents, the newest first",
    .example = "tocsin incident list\ntocsin incident list --status all --limit 20 --json\n",
    .options = list_options,
    .run = list_run,
};

/* ---- show ---- */

static void headline(struct view *v, const json_t *s) {
  const char *severity = json_str_or(s, "severity", "unknown");
  view_style(v, STYLE_BOLD);
  view_id(v, json_str_or(s, "id", "?"));
  view_put(v, "  ");
  view_text(v, json_str_or(s, "title", "without a title"));
  view_style(v, severity_style(severity));
  view_put(v, "  [%s]", severity);
  view_style(v, STYLE_PLAIN);
  view_put(v, "\n");
  if (json_object_get(s, "uncertain") && !json_object_get(json_object_get(s, "uncertain"), "agreed")) {
    view_style(v, STYLE_RED);
    view_put(v, "UNCERTAIN: entries may be missing since Redis' master changed; look, then: tocsin incident agree %s --because …\n",
             json_str_or(s, "id", "?"));
    view_style(v, STYLE_PLAIN);
  }
  view_text(v, json_str_or(s, "status", "?"));
  if (json_str(s, "merged_into")) {
    view_put(v, " into ");
    view_text(v, json_str(s, "merged_into"));
  }
  view_put(v, ", owner ");
  view_text(v, json_str_or(s, "owner", "nobody"));
  view_put(v, ", opened ");
  view_moment(v, json_int_or(s, "opened", v->now));
  if (!id_exercise(json_str(s, "id"))) {
    view_put(v, " (");
    view_age(v, json_int_or(s, "opened", v->now));
    view_put(v, " ago)");
  }
  if (json_int_or(s, "alerts", 0)) {
    view_put(v, ", %lld alert%s, the last at ", (long long)json_int_or(s, "alerts", 0), json_int_or(s, "alerts", 0) == 1 ? "" : "s");
    view_moment(v, json_int_or(s, "last_alert", v->now));
  }
  view_put(v, "\n");
  if (json_int_or(s, "archived", 0))
    view_put(v, "entries up to %lld have left Redis and were read from the evidence log\n", (long long)json_int_or(s, "archived", 0));
}

static void label(struct view *v, const char *name, const json_t *list) {
  if (!json_array_size(list)) return;
  view_put(v, "%s: ", name);
  view_value(v, list);
  view_put(v, "\n");
}

static bool told_before(const json_t *list, size_t i) {
  const json_t *o = json_array_get(list, i);
  for (size_t k = 0; k < i; k++) {
    const json_t *before = json_array_get(list, k);
    if (json_equal(json_object_get(before, "value"), json_object_get(o, "value")) &&
        json_equal(json_object_get(before, "type"), json_object_get(o, "type")))
      return true;
  }
  return false;
}

/* The same value stands at several paths; here it is told once. */
static void observables(struct view *v, const json_t *list) {
  size_t i, shown = 0, more = 0;
  json_t *o;
  json_array_foreach((json_t *)(uintptr_t)list, i, o) {
    if (told_before(list, i)) continue;
    if (shown == OBSERVABLES_SHOWN) {
      more++;
      continue;
    }
    view_put(v, shown++ ? ", " : "observables: ");
    view_text(v, json_str_or(o, "type", ""));
    view_put(v, " ");
    view_text(v, json_str_or(o, "value", ""));
  }
  if (more) view_put(v, " and %zu more (--json lists them)", more);
  if (shown) view_put(v, "\n");
}

/* The state keeps things under their place ("1/4"); the blocks want a list with whole ids. */
static json_t *with_ids(const json_t *state, const char *member, bool (*wanted)(const json_t *item)) {
  const char *place;
  json_t *item, *list = json_array();
  json_object_foreach(json_object_get(state, member), place, item) {
    char id[ID_PATH * 2];
    if (wanted && !wanted(item)) continue;
    json_t *copy = json_copy(item);
    snprintf(id, sizeof id, "%s/%s", json_str_or(state, "id", ""), place);
    json_object_set_new(copy, "id", json_string(id));
    json_object_set(copy, "incident", json_object_get(state, "id"));
    json_array_append_new(list, copy);
  }
  return list;
}

static bool in_force(const json_t *c) {
  const char *status = json_str_or(c, "status", "");
  return strcmp(status, "active") == 0 || strcmp(status, "still") == 0 || strcmp(status, "found") == 0;
}

static bool doubtful(const json_t *intent) { return json_object_get(intent, "doubt") != NULL; }

static json_t *doubts(const json_t *state) {
  json_t *list = with_ids(state, "intents", doubtful), *item;
  size_t i;
  json_array_foreach(list, i, item) json_object_set(item, "why", json_object_get(item, "doubt"));
  return list;
}

static void runs(struct view *v, const json_t *state) {
  json_t *list = with_ids(state, "runs", NULL);
  if (json_array_size(list)) block_title(v, STYLE_BOLD, "RUNS");
  block_runs(v, list);
  json_decref(list);
}

static void blocks(struct view *v, const json_t *state) {
  json_t *contained = with_ids(state, "containments", in_force), *in_doubt = doubts(state), *questions = with_ids(state, "questions", NULL);
  block_doubt(v, "IN DOUBT", in_doubt);
  block_questions(v, "QUESTIONS", questions);
  block_contained(v, "CONTAINED NOW", contained);
  json_decref(contained);
  json_decref(in_doubt);
  json_decref(questions);
}

static void runbook(struct view *v, const json_t *state, const json_t *steps) {
  size_t i;
  json_t *step;
  if (!json_array_size(steps)) return;
  block_title(v, STYLE_BOLD, "RUNBOOK");
  json_array_foreach((json_t *)(uintptr_t)steps, i, step) {
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)json_int_or(step, "n", 0));
    const json_t *tick = json_object_get(json_object_get(state, "ticks"), number);
    view_put(v, "  [%s] %2s  ", tick ? "x" : " ", number);
    view_block(v, json_str_or(step, "text", ""), 10);
    if (tick) {
      view_put(v, "  (");
      view_text(v, json_str_or(tick, "name", json_str_or(tick, "by", "?")));
      view_put(v, ", ");
      view_moment(v, json_int_or(tick, "time", v->now));
      view_put(v, ")");
    }
    view_put(v, "\n");
  }
  view_put(v, "  tocsin incident tick %s N\n", json_str_or(state, "id", "INC"));
}

static void show_all(struct view *v, const json_t *answer, bool every) {
  const json_t *state = json_object_get(answer, "incident");
  struct timeline t = {.all = every};
  block_paused(v, json_object_get(answer, "paused"));
  if (id_exercise(json_str(state, "id"))) v->now = json_int_or(state, "updated", v->now); /* its clock is another */
  headline(v, state);
  label(v, "tags", json_object_get(state, "tags"));
  label(v, "ATT&CK", json_object_get(state, "attack"));
  observables(v, json_object_get(state, "observables"));
  blocks(v, state);
  runs(v, state);
  runbook(v, state, json_object_get(answer, "runbook"));
  block_title(v, STYLE_BOLD, "TIMELINE");
  timeline_print(&t, v, json_object_get(answer, "entries"));
}

/* Answers come in pages; the rest of a long journal is fetched here. */
static int pages_add(const struct cli *cli, const char *id, json_t *answer) {
  json_t *entries = json_object_get(answer, "entries");
  for (int64_t last = json_int_or(answer, "last", 0);;) {
    int64_t seen = json_int_or(json_array_get(entries, json_array_size(entries) - 1), "seq", 0);
    json_t *more = NULL;
    if (!json_array_size(entries) || seen >= last) return EXIT_DONE;
    int status =
        client_ask(cli, json_pack("{s:s, s:s, s:I}", "command", "incident.entries", "id", id, "from", (json_int_t)seen + 1), &more);
    if (status != EXIT_DONE) return status;
    bool none = json_array_size(json_object_get(more, "entries")) == 0;
    json_array_extend(entries, json_object_get(more, "entries"));
    json_decref(more);
    if (none) return EXIT_DONE;
  }
}

static int show_run(struct cli *cli, const struct options *o) {
  char id[ID_PATH];
  json_t *answer = NULL;
  int status = client_id(cli, options_word(o, 0), id);
  if (status != EXIT_DONE) return status;
  id[strcspn(id, "/")] = '\0';
  if ((status = client_ask(cli, json_pack("{s:s, s:s}", "command", "incident.show", "id", id), &answer)) != EXIT_DONE) return status;
  status = pages_add(cli, id, answer);
  if (status == EXIT_DONE && !cli_json(cli, answer)) {
    struct view v;
    view_init(&v, cli->color, cli->width);
    show_all(&v, answer, options_flag(o, "all"));
    view_flush(&v);
    view_release(&v);
  }
  json_decref(answer);
  return status;
}

static const struct option_spec show_options[] = {
    {.name = "all", .text = "every entry of the journal with its number, also intents and each alert of a storm"}, {0}};

const struct command incident_show = {
    .name = "show",
    .args = "INCIDENT",
    .text = "one incident: what it needs, what is contained, its runbook, its timeline",
    .example = "tocsin incident show 42\ntocsin incident show INC-000042 --all\n",
    .options = show_options,
    .least = 1,
    .most = 1,
    .run = show_run,
};

/* ---- follow ---- */

static void follow_print(const struct cli *cli, struct timeline *t, const json_t *entries) {
  if (cli->json) {
    size_t i;
    json_t *entry;
    json_array_foreach((json_t *)(uintptr_t)entries, i, entry) {
      json_dumpf(entry, stdout, JSON_COMPACT | JSON_SORT_KEYS);
      putchar('\n');
    }
    fflush(stdout);
    return;
  }
  struct view v;
  view_init(&v, cli->color, cli->width);
  timeline_print(t, &v, entries);
  view_flush(&v);
  view_release(&v);
}

static int follow_run(struct cli *cli, const struct options *o) {
  char id[ID_PATH];
  struct timeline t = {.all = options_flag(o, "all")};
  json_int_t from = 1;
  int status = client_id(cli, options_word(o, 0), id);
  if (status != EXIT_DONE) return status;
  id[strcspn(id, "/")] = '\0';
  t.who = t.all ? 24 : 26;
  for (;;) {
    json_t *answer = NULL;
    if ((status = client_ask(cli, json_pack("{s:s, s:s, s:I}", "command", "incident.entries", "id", id, "from", from), &answer)) !=
        EXIT_DONE)
      return status;
    follow_print(cli, &t, json_object_get(answer, "entries"));
    const json_t *entries = json_object_get(answer, "entries");
    int64_t seen = json_int_or(json_array_get(entries, json_array_size(entries) - 1), "seq", from - 1);
    bool more = json_array_size(entries) && seen < json_int_or(answer, "last", 0);
    from = seen + 1;
    json_decref(answer);
    if (more) continue;
    if (options_flag(o, "once")) return EXIT_DONE;
    if (ferror(stdout)) return EXIT_FAILED;
    nanosleep(&(struct timespec){.tv_nsec = FOLLOW_MS * 1000000L}, NULL);
  }
}

static const struct option_spec follow_options[] = {
    {.name = "all", .text = "every entry with its number"},
    {.name = "once", .text = "print what is there and stop"},
    {0},
};

const struct command incident_follow = {
    .name = "follow",
    .args = "INCIDENT",
    .text = "the timeline, and every new entry as it comes (end it with Ctrl-C)",
    .more = "With --json one entry a line.",
    .example = "tocsin incident follow 42\n",
    .options = follow_options,
    .least = 1,
    .most = 1,
    .run = follow_run,
};
