/* backtest.h: what a playbook would have done with alerts that came before.
 *
 * Past alerts go through the same triggers, suppression rules, groups and windows, and the playbook runs on the real engine in simulated mode, with the settings' guardrails and a
 * clock that follows the alerts' own times. Where the same action was really taken then, its outcome is used; elsewhere the connector's `simulate` answers. Nobody is asked:
 * a playbook's question runs out of time (`otherwise`), a guardrail's question counts as a guardrail hit and is then agreed to, so that what lies behind it can be seen.
 * One playbook at a time, as if it were the only one. Nothing leaves, nothing live is touched: all of it happens in a private Redis in a temporary folder.
 * An incident's play knows nothing of another's, so several processes share them. Only budgets ("5 accounts in 10 minutes") look across: with one in the guardrails, one process plays all.
 * Blocks until all is done; for the command line, never for the daemon. */
#ifndef TOCSIN_EXERCISE_BACKTEST_H
#define TOCSIN_EXERCISE_BACKTEST_H

#include "journal/entry.h"
#include "route/route.h"
#include "run/run.h"

struct backtest {
  const char *playbook;   /* its file */
  const char *connectors; /* their folder */
  const json_t *settings; /* whole: guard, suppress, playbooks, connectors */
  const struct lists *lists;
  struct run_world world; /* only .arg, .list and .matches: route's */
  const json_t *alerts;   /* [{"id", "time" (µs), "finding", "raw", "incident": where it was attached, or none}…], in any order */
  const json_t *recorded; /* {incident: {"ldap.lock_account": [{"params", "answer"}…]}}, or NULL */
  unsigned processes;     /* at most that many play; 0: as many as there are processors. The report is the same */
  void (*progress)(void *arg, size_t done, size_t of); /* incidents; NULL: silent */
  void *arg;
};

/* Adds a journal's alerts to alerts, and to recorded what really came of its actions. entries: in order, from seq 1 on. */
void backtest_read(const char *incident, struct entry *const *entries, size_t count, json_t *alerts, json_t *recorded);

/* New {"playbook", "digest", "alerts", "unwanted", "suppressed", "duplicates", "incidents", "attached", "runs": {status: n}, "actions": [{"effect", "action", "target", "times"}…],
 * "questions": [{"text", "times"}…], "guardrails": [{"text", "times"}…], "minutes": {"median", "most", "sum"}, "cases": [{"case": the first alert's id, "title", "alerts",
 * "runs": [{"status", "did": [text…], …}…], "did": [text…]}…]}. ERR_INVALID: the playbook cannot be loaded, or starts only by hand. */
int backtest(const struct backtest *spec, json_t **ret_report, struct err *err);

/* Two reports of the same alerts: new {"same": n, "different": [{"case", "title", "before": [text…], "after": [text…]}…], "actions": [{"text", "before", "after"}…]}; before and
 * after hold only what the other has not. */
json_t *backtest_compare(const json_t *before, const json_t *after);

#endif
