/* `tocsin incident …`: what people do to incidents. */
#include "cmd/incident.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "cmd/client.h"
#include "cmd/options.h"
#include "cmd/view.h"
#include "journal/state.h"

#define BECAUSE                                                                                                                            \
  { .name = "because", .value = "TEXT", .text = "why; it goes on record", .required = true }

static void show_done(struct view *v, const json_t *answer) {
  view_id(v, json_str_or(answer, "id", "It"));
  view_put(v, ": on record.\n");
}

/* {"command", "id"} for the first word; NULL after printing, with *ret_status. */
static json_t *command_for(struct cli *cli, const struct options *o, const char *name, int *ret_status) {
  char id[ID_PATH];
  *ret_status = client_id(cli, options_word(o, 0), id);
  if (*ret_status != EXIT_DONE) return NULL;
  id[strcspn(id, "/")] = '\0';
  return json_pack("{s:s, s:s}", "command", name, "id", id);
}

static void add(json_t *command, const char *key, const char *text) {
  if (text) json_object_set_new(command, key, json_string(text));
}

/* The words from `from` on, joined by spaces: notes and titles need no quotes. */
static json_t *words_joined(const struct options *o, unsigned from) {
  struct buf text;
  buf_init(&text, 1 << 20);
  for (unsigned i = from; i < options_count(o); i++) buf_addf(&text, "%s%s", i > from ? " " : "", options_word(o, i));
  json_t *value = json_string(text.data);
  buf_release(&text);
  return value;
}

static int severity_check(const struct cli *cli, const char *name) {
  if (severity_by_name(name) >= 0) return EXIT_DONE;
  return cli_misuse(cli, "\"%.40s\" is no severity; say informational, low, medium, high, critical or fatal", name);
}

/* A time as people write it: 18:20 (today, or yesterday when that is still to come) or RFC 3339. */
static int time_read(const struct cli *cli, const char *text, char out[TIME_TEXT]) {
  int64_t us;
  int hour, minute, used = 0;
  if (sscanf(text, "%2d:%2d%n", &hour, &minute, &used) == 2 && !text[used] && hour >= 0 && hour < 24 && minute >= 0 && minute < 60) {
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    tm.tm_hour = hour;
    tm.tm_min = minute;
    tm.tm_sec = 0;
    tm.tm_isdst = -1;
    time_t at = mktime(&tm);
    us = (int64_t)(at > now ? at - 86400 : at) * 1000000;
  } else if (!time_parse(text, &us)) {
    return cli_misuse(cli, "\"%.40s\" is no time; write 18:20, or 2026-11-23T18:20:00Z", text);
  }
  time_format(us, out);
  return EXIT_DONE;
}

static int add_time(const struct cli *cli, json_t *command, const char *key, const char *text) {
  char at[TIME_TEXT];
  if (!text) return EXIT_DONE;
  int status = time_read(cli, text, at);
  if (status == EXIT_DONE) add(command, key, at);
  return status;
}

static int send(struct cli *cli, json_t *command, int status) {
  if (status == EXIT_DONE) return client_show(cli, command, show_done);
  json_decref(command);
  return status;
}

/* ---- open ---- */

static void show_opened(struct view *v, const json_t *answer) {
  const char *id = json_str_or(answer, "id", "?");
  view_text(v, id);
  view_put(v, " is open.\n  tocsin incident show %s\n  tocsin trigger PLAYBOOK --incident %s --because …\n", id, id);
}

static int open_run(struct cli *cli, const struct options *o) {
  const char *severity = options_get(o, "severity");
  int status = severity_check(cli, severity ? severity : "medium");
  if (status != EXIT_DONE) return status;
  json_t *command = json_pack("{s:s, s:o, s:s, s:s}", "command", "incident.open", "title", words_joined(o, 0), "severity",
                              severity ? severity : "medium", "because", options_get(o, "because"));
  if ((status = add_time(cli, command, "occurred", options_get(o, "occurred"))) == EXIT_DONE) return client_show(cli, command, show_opened);
  json_decref(command);
  return status;
}

static const struct option_spec open_options[] = {
    BECAUSE,
    {.name = "severity", .value = "SEVERITY", .text = "informational, low, medium (default), high, critical or fatal"},
    {.name = "occurred", .value = "TIME", .text = "when it happened (18:20, or RFC 3339), when that is not now"},
    {0},
};

static const struct command incident_open = {
    .name = "open",
    .args = "TITLE…",
    .text = "open an incident by hand, for what is phoned in",
    .example = "tocsin incident open \"Laptop stolen from a train\" --severity high --because \"phoned in by alice\" --occurred 18:20\n",
    .options = open_options,
    .least = 1,
    .most = 64,
    .run = open_run,
};

/* ---- note ---- */

static int note_run(struct cli *cli, const struct options *o) {
  int status;
  json_t *command = command_for(cli, o, "incident.note", &status);
  const char *corrects = options_get(o, "corrects");
  if (!command) return status;
  json_object_set_new(command, "text", words_joined(o, 1));
  if (corrects) {
    char *end;
    long long seq = strtoll(corrects, &end, 10);
    if (*end || seq < 1) status = cli_misuse(cli, "--corrects takes an entry's number; `tocsin incident show --all` prints them");
    else json_object_set_new(command, "corrects", json_integer(seq));
  }
  if (status == EXIT_DONE) status = add_time(cli, command, "at", options_get(o, "at"));
  return send(cli, command, status);
}

static const struct option_spec note_options[] = {
    {.name = "at", .value = "TIME", .text = "when what you note happened (18:20, or RFC 3339); both times are kept"},
    {.name = "corrects", .value = "ENTRY", .text = "the number of the entry that this corrects; nothing is ever edited"},
    {0},
};

static const struct command incident_note = {
    .name = "note",
    .args = "INCIDENT TEXT…",
    .text = "write a note",
    .example = "tocsin incident note 42 \"called alice, she did not log in\" --at 18:20\n",
    .options = note_options,
    .least = 2,
    .most = 256,
    .run = note_run,
};

/* ---- one-word changes ---- */

static int assign_run(struct cli *cli, const struct options *o) {
  int status;
  json_t *command = command_for(cli, o, "incident.assign", &status);
  if (!command) return status;
  add(command, "to", options_word(o, 1));
  return send(cli, command, status);
}

static const struct command incident_assign = {
    .name = "assign",
    .args = "INCIDENT PERSON",
    .text = "give the incident an owner",
    .example = "tocsin incident assign 42 bob\n",
    .least = 2,
    .most = 2,
    .run = assign_run,
};

static int severity_run(struct cli *cli, const struct options *o) {
  int status = severity_check(cli, options_word(o, 1));
  if (status != EXIT_DONE) return status;
  json_t *command = command_for(cli, o, "incident.severity", &status);
  if (!command) return status;
  add(command, "severity", options_word(o, 1));
  add(command, "because", options_get(o, "because"));
  return send(cli, command, status);
}

static const struct option_spec because_options[] = {BECAUSE, {0}};

static const struct command incident_severity = {
    .name = "severity",
    .args = "INCIDENT SEVERITY",
    .text = "set the severity",
    .example = "tocsin incident severity 42 high --because \"a domain administrator\"\n",
    .options = because_options,
    .least = 2,
    .most = 2,
    .run = severity_run,
};

static int tag_run(struct cli *cli, const struct options *o) {
  int status;
  json_t *command = command_for(cli, o, "incident.tag", &status);
  if (!command) return status;
  add(command, "tag", options_word(o, 1));
  return send(cli, command, status);
}

static const struct command incident_tag = {
    .name = "tag",
    .args = "INCIDENT TAG",
    .text = "add a tag",
    .example = "tocsin incident tag 42 phishing\n",
    .least = 2,
    .most = 2,
    .run = tag_run,
};

static int title_run(struct cli *cli, const struct options *o) {
  int status;
  json_t *command = command_for(cli, o, "incident.title", &status);
  if (!command) return status;
  json_object_set_new(command, "title", words_joined(o, 1));
  return send(cli, command, status);
}

static const struct command incident_title = {
    .name = "title",
    .args = "INCIDENT TITLE…",
    .text = "change the title",
    .example = "tocsin incident title 42 \"Phished mailbox of alice\"\n",
    .least = 2,
    .most = 64,
    .run = title_run,
};

static int tick_run(struct cli *cli, const struct options *o) {
  int status;
  char *end;
  long n = strtol(options_word(o, 1), &end, 10);
  if (*end || n < 1) return cli_misuse(cli, "\"%.20s\" is no runbook step; `tocsin incident show` numbers them", options_word(o, 1));
  json_t *command = command_for(cli, o, "incident.tick", &status);
  if (!command) return status;
  json_object_set_new(command, "n", json_integer(n));
  return send(cli, command, status);
}

static const struct command incident_tick = {
    .name = "tick",
    .args = "INCIDENT STEP",
    .text = "tick a step of the runbook, with your name and the time",
    .example = "tocsin incident tick 42 3\n",
    .least = 2,
    .most = 2,
    .run = tick_run,
};

/* ---- merge, close, reopen ---- */

static int merge_run(struct cli *cli, const struct options *o) {
  int status;
  char into[ID_PATH];
  json_t *command = command_for(cli, o, "incident.merge", &status);
  if (!command) return status;
  if ((status = client_id(cli, options_word(o, 1), into)) == EXIT_DONE) {
    into[strcspn(into, "/")] = '\0';
    add(command, "into", into);
    add(command, "because", options_get(o, "because"));
  }
  return send(cli, command, status);
}

static const struct command incident_merge = {
    .name = "merge",
    .args = "INCIDENT INTO",
    .text = "merge the first incident into the second",
    .example = "tocsin incident merge 43 42 --because \"the same phishing wave\"\n",
    .options = because_options,
    .least = 2,
    .most = 2,
    .run = merge_run,
};

static const char *const closing[] = {"verdict", "root-cause", "impact", "affected", "lessons", "waive", NULL};

static int close_run(struct cli *cli, const struct options *o) {
  static const char *const keys[] = {"verdict", "root_cause", "impact", "affected", "lessons", "waive"};
  int status;
  json_t *command = command_for(cli, o, "incident.close", &status);
  if (!command) return status;
  for (size_t i = 0; closing[i]; i++) add(command, keys[i], options_get(o, closing[i]));
  return send(cli, command, status);
}

static const struct option_spec close_options[] = {
    {.name = "verdict", .value = "WORD", .text = "true_positive, false_positive, benign, duplicate or inconclusive", .required = true},
    {.name = "root-cause", .value = "TEXT", .text = "what made it possible"},
    {.name = "impact", .value = "TEXT", .text = "what it did"},
    {.name = "affected", .value = "TEXT", .text = "assets and people concerned, separated by commas"},
    {.name = "lessons", .value = "TEXT", .text = "what will be done differently"},
    {.name = "waive", .value = "TEXT", .text = "from high severity up all of these are required; say here why one is left out"},
    {0},
};

static const struct command incident_close = {
    .name = "close",
    .args = "INCIDENT",
    .text = "close it with its verdict and, from high severity up, what was learned",
    .example = "tocsin incident close 42 --verdict true_positive --root-cause \"password reused\" --impact none --affected alice --lessons "
               "\"enforce MFA\"\n",
    .options = close_options,
    .least = 1,
    .most = 1,
    .run = close_run,
};

static int reopen_run(struct cli *cli, const struct options *o) {
  int status;
  json_t *command = command_for(cli, o, "incident.reopen", &status);
  if (!command) return status;
  add(command, "because", options_get(o, "because"));
  return send(cli, command, status);
}

static const struct command incident_reopen = {
    .name = "reopen",
    .args = "INCIDENT",
    .text = "open a closed incident again",
    .example = "tocsin incident reopen 42 --because \"the attacker is back\"\n",
    .options = because_options,
    .least = 1,
    .most = 1,
    .run = reopen_run,
};

static int agree_run(struct cli *cli, const struct options *o) {
  int status;
  json_t *command = command_for(cli, o, "incident.agree", &status);
  if (!command) return status;
  add(command, "because", options_get(o, "because"));
  return send(cli, command, status);
}

static const struct command incident_agree = {
    .name = "agree",
    .args = "INCIDENT",
    .text = "let an incident go on that may lack entries since Redis' master changed",
    .more = "Until then its runs send nothing above `read`. Look first at what the products themselves say was done: an action whose "
            "entries are lost may be done once more.",
    .example = "tocsin incident agree 42 --because \"the account is locked, and the ticket is there\"\n",
    .options = because_options,
    .least = 1,
    .most = 1,
    .run = agree_run,
};

static const struct command *const subs[] = {
    &incident_list,   &incident_show,     &incident_follow, &incident_open,  &incident_note,
    &incident_assign, &incident_severity, &incident_tag,    &incident_title, &incident_merge,
    &incident_close,  &incident_reopen,   &incident_tick,   &incident_agree, NULL,
};

const struct command cmd_incident = {
    .name = "incident",
    .text = "list, show and follow incidents; open, note, assign, merge, close them",
    .example = "tocsin incident list\ntocsin incident show 42\n",
    .subs = subs,
};
