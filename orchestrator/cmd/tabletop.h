/* tabletop.h: the sub-commands of `tocsin tabletop` that stand in files of their own. */
#ifndef TOCSIN_CMD_TABLETOP_H
#define TOCSIN_CMD_TABLETOP_H

#include "base/id.h"
#include "cmd/command.h"

extern const struct command tabletop_check, tabletop_report, tabletop_run, tabletop_list, tabletop_show, tabletop_end, tabletop_abort,
    tabletop_pause, tabletop_resume, tabletop_speed, tabletop_jump, tabletop_skip, tabletop_inject, tabletop_note;

/* The path of a word: a file as it is, or a scenario's name in runbooks/tabletop; prints which there are when it is none. The caller frees. */
int tabletop_path(const struct cli *cli, const json_t *settings, const char *word, char **ret);
/* "7" and "ex-7" → "EX-000007"; EXIT_USAGE after printing. */
int tabletop_id(const struct cli *cli, const char *word, char out[ID_PATH]);
/* How an exercise went so far, judged from its journals (scenario_judge); prints what went wrong. New. */
int tabletop_judge(const struct cli *cli, const char *word, json_t **ret);
/* All scenarios that are installed: new array of paths. */
json_t *tabletop_paths(const json_t *settings, struct err *err);

#endif
