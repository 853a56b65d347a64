/* What a facilitator says to an exercise that is played. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "cmd/client.h"
#include "cmd/options.h"
#include "cmd/tabletop.h"
#include "cmd/view.h"

/* "7" and "ex-7" → "EX-000007". */
int tabletop_id(const struct cli *cli, const char *word, char out[ID_PATH]) {
  struct id id = {0};
  char name[ID_INCIDENT];
  if (!word || !id_parse(word, &id) || (id.mode != MODE_EXERCISE && strchr(word, '-')))
    return cli_misuse(cli, "\"%s\" is no exercise's id; write EX-7 as `tocsin tabletop list` shows it", word ? word : "");
  id_incident(name, MODE_EXERCISE, id.number);
  id_path(out, name, 0, NULL);
  return EXIT_DONE;
}

static void said_view(struct view *v, const json_t *answer) {
  view_id(v, json_str_or(answer, "id", ""));
  view_put(v, ": done\n");
}

static int say(struct cli *cli, const struct options *o, const char *name, json_t *more_take) {
  char id[ID_PATH];
  int status = tabletop_id(cli, options_word(o, 0), id);
  json_t *command = json_pack("{s:s, s:s}", "command", name, "id", id);
  if (more_take) json_object_update(command, more_take);
  json_decref(more_take);
  if (status == EXIT_DONE) return client_show(cli, command, said_view);
  json_decref(command);
  return status;
}

static json_t *because(const struct options *o) {
  const char *text = options_get(o, "because");
  return text ? json_pack("{s:s}", "because", text) : json_object();
}

static const struct option_spec because_options[] = {{.name = "because", .value = "TEXT", .text = "why, for the report"}, {0}};
static const struct option_spec abort_options[] = {
    {.name = "because", .value = "TEXT", .text = "what is happening in earnest", .required = true}, {0}};

static int end(struct cli *cli, const struct options *o) { return say(cli, o, "tabletop.end", because(o)); }

const struct command tabletop_end = {
    .name = "end",
    .args = "EXERCISE",
    .text = "end it before its time is up; it is judged as it stands",
    .example = "tocsin tabletop end EX-7 --because 'all questions are answered'\n",
    .options = because_options,
    .least = 1,
    .most = 1,
    .run = end,
};

static int break_off(struct cli *cli, const struct options *o) { return say(cli, o, "tabletop.abort", because(o)); }

const struct command tabletop_abort = {
    .name = "abort",
    .args = "EXERCISE",
    .text = "break it off and tell everybody that this is real now",
    .more =
        "It is written into the exercise and each of its incidents, so that whoever looks or follows reads it at once. Any responder may.",
    .example = "tocsin tabletop abort EX-7 --because 'the file server really encrypts'\n",
    .options = abort_options,
    .least = 1,
    .most = 1,
    .run = break_off,
};

static int stand_still(struct cli *cli, const struct options *o) { return say(cli, o, "tabletop.pause", because(o)); }

const struct command tabletop_pause = {
    .name = "pause",
    .args = "EXERCISE",
    .text = "its clock stands still, for as long as you like: no inject comes, no question runs out",
    .example = "tocsin tabletop pause EX-7 --because 'lunch'\n",
    .options = because_options,
    .least = 1,
    .most = 1,
    .run = stand_still,
};

static int go_on(struct cli *cli, const struct options *o) { return say(cli, o, "tabletop.resume", NULL); }

const struct command tabletop_resume = {
    .name = "resume",
    .args = "EXERCISE",
    .text = "its clock goes on",
    .example = "tocsin tabletop resume EX-7\n",
    .least = 1,
    .most = 1,
    .run = go_on,
};

static int speed(struct cli *cli, const struct options *o) {
  char *rest;
  double value = strtod(options_word(o, 1), &rest);
  if (*rest || rest == options_word(o, 1)) return cli_misuse(cli, "a speed is a number from 1 to 3600, not \"%s\"", options_word(o, 1));
  return say(cli, o, "tabletop.speed", json_pack("{s:f}", "speed", value));
}

const struct command tabletop_speed = {
    .name = "speed",
    .args = "EXERCISE N",
    .text = "how fast its clock goes from now on, 1 to 3600",
    .example = "tocsin tabletop speed EX-7 10\n",
    .least = 2,
    .most = 2,
    .run = speed,
};

static int jump(struct cli *cli, const struct options *o) {
  int64_t ms;
  if (!duration_parse(options_word(o, 1), &ms)) return cli_misuse(cli, "\"%s\" is no duration; write 10m or 1h", options_word(o, 1));
  return say(cli, o, "tabletop.jump", json_pack("{s:I}", "by", (json_int_t)ms));
}

const struct command tabletop_jump = {
    .name = "jump",
    .args = "EXERCISE DURATION",
    .text = "put its clock forward; what was due in between comes at once",
    .example = "tocsin tabletop jump EX-7 10m\n",
    .least = 2,
    .most = 2,
    .run = jump,
};

static int skip(struct cli *cli, const struct options *o) {
  json_t *more = because(o);
  json_object_set_new(more, "inject", json_string(options_word(o, 1)));
  return say(cli, o, "tabletop.skip", more);
}

const struct command tabletop_skip = {
    .name = "skip",
    .args = "EXERCISE INJECT",
    .text = "leave an inject out that has not come yet",
    .example = "tocsin tabletop skip EX-7 press --because 'no time left for it'\n",
    .options = because_options,
    .least = 2,
    .most = 2,
    .run = skip,
};

/* "lead,comms" → ["lead", "comms"]. */
static json_t *roles_of(const char *list) {
  json_t *roles = json_array();
  char *copy = strdup(list), *rest = copy, *one;
  while ((one = strtok_r(rest, ",", &rest))) json_array_append_new(roles, json_string(one));
  free(copy);
  return roles;
}

static int inject(struct cli *cli, const struct options *o) {
  const char *message = options_get(o, "message"), *to = options_get(o, "to"), *name = options_word(o, 1);
  if (!message == !name) return cli_misuse(cli, "say either which inject comes now, or --message TEXT");
  json_t *more = message ? json_pack("{s:s}", "text", message) : json_pack("{s:s}", "inject", name);
  if (to) json_object_set_new(more, "to", roles_of(to));
  return say(cli, o, "tabletop.inject", more);
}

static const struct option_spec inject_options[] = {{.name = "message",
                                                     .value = "TEXT",
                                                     .text = "a message of your own in place of the scenario's"},
                                                    {.name = "to", .value = "ROLE,…", .text = "whom it is for (default: everybody)"},
                                                    {0}};

const struct command tabletop_inject = {
    .name = "inject",
    .args = "EXERCISE [INJECT]",
    .text = "have an inject of the scenario come now, or a message of your own",
    .example = "tocsin tabletop inject EX-7 press\ntocsin tabletop inject EX-7 --message 'The backup operator calls back.' --to lead\n",
    .options = inject_options,
    .least = 1,
    .most = 2,
    .run = inject,
};

static int note(struct cli *cli, const struct options *o) {
  char id[ID_PATH];
  int status = tabletop_id(cli, options_word(o, 0), id);
  if (status != EXIT_DONE) return status;
  return client_show(cli, json_pack("{s:s, s:s, s:s}", "command", "incident.note", "id", id, "text", options_word(o, 1)), said_view);
}

const struct command tabletop_note = {
    .name = "note",
    .args = "EXERCISE TEXT",
    .text = "a note about the exercise, for the report",
    .example = "tocsin tabletop note EX-7 'Nobody knew who may lock machine accounts.'\n",
    .least = 2,
    .most = 2,
    .run = note,
};
