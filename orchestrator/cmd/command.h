/* command.h: what a sub-command is: one `const struct command` in a file of its own, listed in main.c.
 *
 * A command reads its options, asks `tocsin serve` where it must (client.h), and prints for people, or JSON with --json. It returns the
 * process's exit status: 0 done; 1 refused, failed, or something is wrong; 2 used wrongly, nothing was tried. Errors go to standard error in one
 * line that says what to do next. */
#ifndef TOCSIN_CMD_COMMAND_H
#define TOCSIN_CMD_COMMAND_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* What every command gets. Filled in by main.c. */
struct cli {
  const char *settings_path; /* the file, or NULL: none was found, defaults hold */
  const char *socket_option; /* --socket, or NULL */
  bool json;                 /* --json */
  bool color;                /* standard output is a terminal that wants colour */
  bool terminal;             /* a person can be asked: standard input and error are terminals */
  unsigned width;            /* columns; 0: no limit (not a terminal) */
};

/* A named option. Names are written without dashes. */
struct option_spec {
  const char *name;
  const char *value; /* what stands for its value in the help ("TEXT"); NULL: a flag */
  const char *text;
  bool required;
};

struct options; /* options.h */

struct command {
  const char *name;
  const char *args;                  /* "PLAYBOOK [key=value…]", or NULL */
  const char *text;                  /* one line */
  const char *more;                  /* a paragraph for its own help, or NULL */
  const char *example;               /* whole lines, each ending in a newline */
  const struct option_spec *options; /* ended by a NULL name, or NULL */
  bool params;                       /* words of the form key=value are parameters, not positional */
  unsigned least, most;              /* positional words */
  int (*run)(struct cli *cli, const struct options *options);
  const struct command *const *subs; /* ended by NULL; the next word picks one (run, if set, is what happens without one) */
};

extern const struct command cmd_now, cmd_serve, cmd_reload, cmd_trigger, cmd_alert, cmd_incident, cmd_run, cmd_answer, cmd_pause,
    cmd_resume, cmd_contained, cmd_release, cmd_secret, cmd_evidence, cmd_playbook, cmd_connector, cmd_node, cmd_doctor, cmd_settings,
    cmd_version, cmd_tabletop, cmd_action;

/* "tocsin: text" on standard error ({"error": text} on standard output with --json); returns EXIT_FAILED, or EXIT_USAGE. */
int cli_fail(const struct cli *cli, const struct err *err);
int cli_misuse(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* With --json prints the value, sorted and indented, and says true: the caller is done. Borrowed. */
bool cli_json(const struct cli *cli, const json_t *value);
/* The settings with every default; NULL after printing what is wrong. *ret_secrets may be NULL. New references. */
json_t *cli_settings(const struct cli *cli, json_t **ret_secrets);
/* Asks a person for a yes. yes: --yes was given. Without a terminal: prints that --yes is missing and returns EXIT_USAGE; a no returns EXIT_FAILED; EXIT_DONE: go on. */
int cli_confirm(const struct cli *cli, bool yes, const char *question);

#endif
