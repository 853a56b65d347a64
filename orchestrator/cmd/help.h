/* help.h: a command's help, made from its own declaration. */
#ifndef TOCSIN_CMD_HELP_H
#define TOCSIN_CMD_HELP_H

#include "cmd/command.h"

/* path: "incident show"; "" for the whole. Returns EXIT_DONE. */
int help_print(const struct cli *cli, const struct command *command, const char *path);

#endif
