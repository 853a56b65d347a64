/* options.h: the words after a command: --name value, --name=value, flags, key=value parameters, and the rest.
 *
 * Unknown options are refused with the nearest known name. `--` ends options. Pure: prints nothing, keeps pointers into argv. */
#ifndef TOCSIN_CMD_OPTIONS_H
#define TOCSIN_CMD_OPTIONS_H

#include <jansson.h>

#include "cmd/command.h"

struct options;

/* argv: the words after the command. Options of the command and the common ones are known. ERR_INVALID says what to write instead. */
int options_parse(const struct command *command, int argc, char *const *argv, struct options **ret, struct err *err);
void options_free(struct options *o);
/* Checks required options and the number of words; apart from parsing, so that --help comes first. */
int options_check(const struct command *command, const struct options *o, struct err *err);

const char *options_get(const struct options *o, const char *name); /* NULL: not given */
bool options_flag(const struct options *o, const char *name);
unsigned options_count(const struct options *o);
const char *options_word(const struct options *o, unsigned i); /* NULL past the end */
json_t *options_params(const struct options *o);               /* {key: text}; borrowed */

/* --json, --settings, --socket, --help: known to every command. */
extern const struct option_spec options_common[];

/* The candidate nearest to the word, or NULL when none is near. candidates is ended by NULL. */
const char *near_miss(const char *word, const char *const *candidates);

#endif
