/* The command line's front door: finds the sub-command, prints help, runs it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "build.h"
#include "cmd/help.h"
#include "cmd/options.h"

static const struct command *const commands[] = {
    &cmd_now,      &cmd_serve,  &cmd_reload,    &cmd_trigger, &cmd_alert,    &cmd_incident, &cmd_run,      &cmd_answer,
    &cmd_pause,    &cmd_resume, &cmd_contained, &cmd_release, &cmd_secret,   &cmd_evidence, &cmd_playbook, &cmd_connector,
    &cmd_tabletop, &cmd_action, &cmd_node,      &cmd_doctor,  &cmd_settings, &cmd_version,  NULL,
};

static const struct command root = {
    .name = "",
    .text = "incident response orchestrator",
    .more = "`tocsin` alone says what needs you now.",
    .example =
        "tocsin\ntocsin incident show 42\ntocsin answer 42/1/4 release\ntocsin pause all --because \"wrong accounts are being locked\"\n",
    .subs = commands,
};

static bool exists(const char *path) { return access(path, F_OK) == 0; }

static const char *settings_find(const char *option) {
  const char *path = option ? option : getenv("TOCSIN_SETTINGS");
  if (path && *path) return path;
  if (exists("tocsin.lua")) return "tocsin.lua";
  return exists("/etc/tocsin/tocsin.lua") ? "/etc/tocsin/tocsin.lua" : NULL;
}

static void cli_fill(struct cli *cli, const struct options *o) {
  const char *none = getenv("NO_COLOR"), *term = getenv("TERM");
  struct winsize size = {0};
  bool terminal = isatty(STDOUT_FILENO);
  cli->settings_path = settings_find(options_get(o, "settings"));
  cli->socket_option = options_get(o, "socket");
  cli->json = options_flag(o, "json");
  cli->color = terminal && !(none && *none) && !(term && strcmp(term, "dumb") == 0);
  cli->terminal = isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
  if (terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) cli->width = size.ws_col;
}

/* Where options with a value stand before the sub-command, the value is no word. */
static int word_next(int argc, char *const *argv, int from) {
  for (int i = from; i < argc; i++) {
    if (strcmp(argv[i], "--settings") == 0 || strcmp(argv[i], "--socket") == 0) i++;
    else if (argv[i][0] != '-') return i;
    else if (strcmp(argv[i], "--") == 0) return argc;
  }
  return argc;
}

static const struct command *sub_find(const struct command *group, const char *word) {
  for (const struct command *const *c = group->subs; *c; c++)
    if (strcmp((*c)->name, word) == 0) return *c;
  return NULL;
}

static int sub_unknown(const struct cli *cli, const struct command *group, const char *word) {
  const char *names[32] = {NULL}, *near;
  size_t n = 0;
  const char *space = *group->name ? " " : "";
  for (const struct command *const *c = group->subs; *c && n < 31; c++) names[n++] = (*c)->name;
  if ((near = near_miss(word, names)))
    return cli_misuse(cli, "there is no `tocsin %s%s%.60s`; did you mean `tocsin %s%s%s`?", group->name, space, word, group->name, space,
                      near);
  return cli_misuse(cli, "there is no `tocsin %s%s%.60s`; `tocsin %s%s--help` lists what there is", group->name, space, word, group->name,
                    space);
}

/* Takes the command's words out of argv (as many as it has) and puts what is left into rest. */
static const struct command *command_find(const struct cli *cli, int argc, char *const *argv, char **rest, int *ret_count, char path[64]) {
  const struct command *c = &root;
  static char help_word[] = "--help"; /* `tocsin help incident` = `tocsin incident --help` */
  bool taken[64] = {false};
  int at = 1;
  while (c->subs && (at = word_next(argc, argv, at)) < argc && at < 64) {
    const struct command *sub = sub_find(c, argv[at]);
    if (!sub && strcmp(argv[at], "help") == 0 && c == &root) {
      taken[at++] = true;
      rest[(*ret_count)++] = help_word;
      continue;
    }
    if (!sub) {
      sub_unknown(cli, c, argv[at]);
      return NULL;
    }
    size_t used = strlen(path);
    snprintf(path + used, 64 - used, "%s%s", used ? " " : "", sub->name);
    taken[at++] = true;
    c = sub;
  }
  for (int i = 1; i < argc; i++)
    if (i >= 64 || !taken[i]) rest[(*ret_count)++] = argv[i];
  return c;
}

/* A group alone does what its run says, or shows its help as a mistake; `tocsin` alone is `now`. */
static int run(struct cli *cli, const struct command *c, const char *path, const struct options *o) {
  struct err err = {0};
  if (options_flag(o, "help")) return help_print(cli, c, path);
  if (c == &root) return cmd_now.run(cli, o);
  if (c->subs && !c->run) {
    help_print(cli, c, path);
    return EXIT_USAGE;
  }
  struct command named = *c;
  named.name = path;
  if (options_check(&named, o, &err) < 0) return cli_misuse(cli, "%s", err.text);
  return c->run(cli, o);
}

int main(int argc, char **argv) {
  struct cli cli = {0};
  struct options *o = NULL;
  struct err err = {0};
  char path[64] = "", **rest = calloc((size_t)argc + 2, sizeof *rest);
  int count = 0, status = EXIT_USAGE;
  if (!rest) abort();
  for (int i = 1; i < argc; i++) cli.json = cli.json || strcmp(argv[i], "--json") == 0;
  if (argc == 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
    printf("tocsin %s\n", TOCSIN_VERSION);
    free(rest);
    return EXIT_DONE;
  }
  const struct command *c = command_find(&cli, argc, argv, rest, &count, path);
  if (c && options_parse(c == &root ? &cmd_now : c, count, rest, &o, &err) < 0) {
    cli_misuse(&cli, "%s", err.text);
  } else if (c) {
    cli_fill(&cli, o);
    status = run(&cli, c, path, o);
  }
  options_free(o);
  free(rest);
  /* A full disk must not look like success. */
  if (fflush(stdout) != 0 || ferror(stdout)) {
    perror("tocsin: cannot write the output");
    if (status == EXIT_DONE) status = EXIT_FAILED;
  }
  return status;
}
