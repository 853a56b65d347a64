/* past_alerts.h: alerts that came before, as a back-test reads them: from files, from bundles, from `tocsin serve`. */
#ifndef TOCSIN_CMD_PAST_ALERTS_H
#define TOCSIN_CMD_PAST_ALERTS_H

#include "cmd/command.h"
#include "cmd/evidence_case.h"

struct past {
  json_t *alerts, *recorded; /* backtest.h */
  size_t unreadable;         /* documents that no connector could read */
};

void past_init(struct past *p);
void past_release(struct past *p);
/* path: a folder (all files below it), a document, a file with a document a line, a journal that `evidence export` wrote, or its bundle. Prints what went wrong. */
int past_from_path(const struct cli *cli, const json_t *settings, const char *path, struct past *p);
/* Calls for each incident of `tocsin serve` that was opened since (µs), exercises apart; the journal is borrowed during the call. Prints what went wrong. */
typedef void past_case_cb(void *arg, const struct evidence_case *c);
int past_each(const struct cli *cli, int64_t since, past_case_cb *cb, void *arg);
/* Every incident that was opened since (µs). */
int past_from_service(const struct cli *cli, int64_t since, struct past *p);

#endif
