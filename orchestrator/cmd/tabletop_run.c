/* `tocsin tabletop run|list`. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "cmd/client.h"
#include "cmd/file.h"
#include "cmd/options.h"
#include "cmd/tabletop.h"
#include "cmd/view.h"

enum { SOURCE_CAP = 1 << 20, LOOK_MS = 300 };

/* --- run ----------------------------------------------------------------------------------------------------------------- */

static void begun_view(struct view *v, const json_t *answer) {
  const char *id = json_str_or(answer, "id", "?");
  view_style(v, STYLE_BOLD);
  view_id(v, id);
  view_style(v, STYLE_PLAIN);
  view_put(v, " has begun: ");
  view_text(v, json_str_or(answer, "title", ""));
  view_put(v, "\n%lld injects, %lld objectives, seed %lld. Nothing of it leaves this engine.\n",
           (long long)json_int_or(answer, "injects", 0), (long long)json_int_or(answer, "objectives", 0),
           (long long)json_int_or(answer, "seed", 0));
  view_put(v, "  tocsin tabletop show %s        what has happened, what is asked, the clock\n", id);
  view_put(v, "  tocsin incident note %s TEXT   and all other commands, by the ids that show names\n", id);
  view_put(v, "  tocsin tabletop end %s         then: tocsin tabletop report %s -o exercise.html\n", id, id);
}

/* "lead=alice,comms=bob", and the same as words of their own. */
static int roles_read(const struct cli *cli, const struct options *o, json_t *roles) {
  const char *list = options_get(o, "role");
  json_object_update(roles, options_params(o));
  char *copy = strdup(list ? list : ""), *rest = copy, *one;
  bool good = true;
  while ((one = strtok_r(rest, ",", &rest))) {
    char *equals = strchr(one, '=');
    good = good && equals && equals > one && equals[1];
    if (good) json_object_set_new(roles, (*equals = 0, one), json_string(equals + 1));
  }
  free(copy);
  return good ? EXIT_DONE : cli_misuse(cli, "--role says who plays what: --role lead=alice,comms=bob");
}

static bool number_read(const char *text, double *ret) {
  char *end;
  *ret = strtod(text, &end);
  return *text && !*end && isfinite(*ret);
}

static int numbers_read(const struct cli *cli, const struct options *o, json_t *command) {
  const char *speed = options_get(o, "speed"), *seed = options_get(o, "seed");
  double value;
  if (speed && !number_read(speed, &value)) return cli_misuse(cli, "--speed is a number from 1 to 3600, not \"%s\"", speed);
  if (speed) json_object_set_new(command, "speed", json_real(value));
  if (seed && (!number_read(seed, &value) || !(value >= 0 && value <= 2147483647) || value != floor(value)))
    return cli_misuse(cli, "--seed is a whole number from 0 to 2147483647, not \"%s\"", seed);
  if (seed) json_object_set_new(command, "seed", json_integer((json_int_t)value));
  return EXIT_DONE;
}

static json_t *row_of(const struct cli *cli, const char *id) {
  json_t *command = json_pack("{s:s}", "command", "tabletop.list"), *answer = NULL, *row, *found = NULL;
  long status;
  struct err err;
  size_t i;
  if (client_try(cli, command, &status, &answer, &err) == 0) {
    json_array_foreach(json_object_get(answer, "exercises"), i, row) if (strcmp(json_str_or(row, "id", ""), id) == 0) found =
        json_incref(row);
  }
  json_decref(answer);
  json_decref(command);
  return found;
}

static int wait_for_end(const struct cli *cli, const char *id) {
  for (;;) {
    json_t *row = row_of(cli, id);
    bool there = row != NULL, running = json_bool_or(row, "running", false);
    json_decref(row);
    if (there && !running) return EXIT_DONE;
    nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
  }
}

/* Lua as text, which travels as JSON. */
static int text_put(const struct cli *cli, json_t *command, const char *member, const char *path, const struct buf *text) {
  struct err err;
  json_t *value = json_stringn(text->data ? text->data : "", text->len);
  if (value) return json_object_set_new(command, member, value), EXIT_DONE;
  err_set(&err, ERR_INVALID, "%.400s is not text in UTF-8", path);
  return cli_fail(cli, &err);
}

/* Other people than the scenario's own. */
static int script_read(const struct cli *cli, const struct options *o, json_t *command) {
  const char *file = options_get(o, "script");
  struct buf source;
  struct err err = {0};
  if (!file) return EXIT_DONE;
  buf_init(&source, SOURCE_CAP);
  int status = file_read(file, &source, &err) < 0 ? cli_fail(cli, &err) : EXIT_DONE;
  json_object_set_new(command, "auto", json_true());
  json_object_set_new(command, "script_file", json_string(file));
  if (status == EXIT_DONE) status = text_put(cli, command, "script", file, &source);
  buf_release(&source);
  return status;
}

static int run(struct cli *cli, const struct options *o) {
  json_t *settings = cli_settings(cli, NULL), *answer = NULL, *roles = json_object();
  char *path = NULL;
  int status = settings ? tabletop_path(cli, settings, options_word(o, 0), &path) : EXIT_FAILED;
  struct buf source;
  struct err err = {0};
  buf_init(&source, SOURCE_CAP);
  json_t *command = json_pack("{s:s, s:s, s:O, s:b}", "command", "tabletop.run", "file", path ? path : "", "roles", roles, "auto",
                              options_flag(o, "auto"));
  if (status == EXIT_DONE && file_read(path, &source, &err) < 0) status = cli_fail(cli, &err);
  if (status == EXIT_DONE) status = roles_read(cli, o, roles);
  if (status == EXIT_DONE) status = numbers_read(cli, o, command);
  if (status == EXIT_DONE) status = script_read(cli, o, command);
  if (status == EXIT_DONE) status = text_put(cli, command, "source", path, &source);
  if (status == EXIT_DONE) status = client_ask(cli, json_incref(command), &answer);
  if (status == EXIT_DONE) client_print(cli, answer, begun_view);
  if (status == EXIT_DONE && options_flag(o, "wait")) status = wait_for_end(cli, json_str_or(answer, "id", ""));
  json_decref(answer);
  json_decref(command);
  json_decref(roles);
  json_decref(settings);
  buf_release(&source);
  free(path);
  return status;
}

static const struct option_spec run_options[] = {
    {.name = "speed", .value = "N", .text = "how fast its clock goes: 1 (as in earnest, default) to 3600; 60 makes two hours two minutes"},
    {.name = "seed", .value = "N", .text = "what chance is drawn from: the same number plays the same again (default: drawn)"},
    {.name = "role", .value = "ROLE=NAME,…", .text = "who of the settings' people plays what; words ROLE=NAME do the same"},
    {.name = "auto",
     .text = "the scenario's script plays the roles that nobody has; with no people at all the clock leaps, or goes at --speed"},
    {.name = "script",
     .value = "FILE",
     .text = "the same with other people: a Lua file, return script { steps = { … } }, in the form of a scenario's `script`"},
    {.name = "wait", .text = "come back when it is over"},
    {0}};

const struct command tabletop_run = {
    .name = "run",
    .args = "SCENARIO|FILE [ROLE=NAME…]",
    .text = "play a scenario on the running engine, with simulated connectors and a clock of its own",
    .more = "The exercise (EX-…) is played by the same intake, routing, playbooks, guardrails and questions as an incident, and recorded "
            "like one. Its connectors "
            "only simulate: nothing leaves, whatever a playbook asks for. People take part with the ordinary commands and the ids that "
            "`tocsin tabletop show` names. Who begins it facilitates. It goes on after a restart, and ends when the scenario's time is up.",
    .example = "tocsin tabletop run ci-credentials --role lead=alice,comms=bob\ntocsin tabletop run ransomware-file-server --auto --seed 7 "
               "--wait\n",
    .options = run_options,
    .params = true,
    .least = 1,
    .most = 1,
    .run = run,
};

/* --- list ---------------------------------------------------------------------------------------------------------------- */

static void stage_text(const json_t *row, char out[64]) {
  const char *stage = json_str_or(row, "stage", "over"), *node = json_str_or(row, "node", "");
  const char *goes = json_bool_or(row, "paused", false) ? "paused" : "running";
  if (strcmp(stage, "elsewhere") == 0) snprintf(out, 64, "%s at %.40s", goes, node);
  else if (strcmp(stage, "waiting") == 0) snprintf(out, 64, "stands still: %.30s is gone", node);
  else if (strcmp(stage, "stuck") == 0) snprintf(out, 64, "could not go on");
  else snprintf(out, 64, "%s", strcmp(stage, "over") == 0 ? stage : goes);
}

static void list_view(struct view *v, const json_t *answer) {
  static const char *const head[] = {"ID", "WHEN", "STATUS", "SCENARIO", "TITLE", NULL};
  struct table t;
  struct view when;
  size_t i;
  json_t *row;
  const json_t *rows = json_object_get(answer, "exercises");
  if (!json_array_size(rows)) {
    view_put(v, "No exercise yet: tocsin tabletop run SCENARIO\n");
    return;
  }
  table_init(&t, head);
  json_array_foreach((json_t *)(uintptr_t)rows, i, row) {
    bool running = json_bool_or(row, "running", false);
    char stage[64];
    stage_text(row, stage);
    view_init(&when, false, 0);
    when.now = v->now;
    view_moment(&when, json_int_or(row, "opened", 0));
    const char *cells[] = {json_str_or(row, "id", ""), when.out.data, stage, json_str_or(row, "scenario", ""),
                           json_str_or(row, "title", "")};
    table_row(&t, running ? STYLE_BOLD : STYLE_PLAIN, cells);
    view_release(&when);
  }
  view_put(v, "EXERCISES\n");
  table_print(&t, v);
}

static int list(struct cli *cli, const struct options *o) {
  return client_show(cli, json_pack("{s:s}", "command", "tabletop.list"), list_view);
}

const struct command tabletop_list = {
    .name = "list",
    .text = "the exercises, the newest first",
    .example = "tocsin tabletop list\n",
    .run = list,
};
