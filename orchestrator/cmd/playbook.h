/* playbook.h: the sub-commands of `tocsin playbook` that stand in files of their own. */
#ifndef TOCSIN_CMD_PLAYBOOK_H
#define TOCSIN_CMD_PLAYBOOK_H

#include "cmd/command.h"
#include "run/run.h"

extern const struct command playbook_check, playbook_test, playbook_record, playbook_backtest, playbook_compare;

/* The path of a word: a file as it is, or a playbook's name in the settings' folder. The caller frees. */
char *playbook_path(const json_t *settings, const char *word);
/* The words' paths, or with "all" (or no word) every playbook's of the folder; NULL after printing. New array. */
struct options;
json_t *playbook_paths(const struct cli *cli, const json_t *settings, const struct options *o);

/* Runs one test file against a playbook's file and prints the report; EXIT_DONE when all passes. */
int playbook_rehearse(struct cli *cli, const json_t *settings, const char *path, const char *tests);

/* What a run may look at without `tocsin serve`: the lists, by the system's clock. They must outlive it. */
struct lists;
struct run_world playbook_world(struct lists *lists);

#endif
