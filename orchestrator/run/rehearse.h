/* rehearse.h: a playbook's unit tests (tests/lua/README.md), run on the real engine with simulated connectors.
 *
 * Every test is an incident of its own in a private redis-server (a temporary folder, gone afterwards), with its own clock, which jumps to the next
 * deadline whenever the run only waits. No request leaves the process: the runs are simulated, and the connectors' settings are made up from their schemas.
 * Each run is then replayed from its journal, and must take the same steps: what the engine relies on after a crash.
 * Blocks until all is done; for the command line, never for the daemon. */
#ifndef TOCSIN_RUN_REHEARSE_H
#define TOCSIN_RUN_REHEARSE_H

#include "run/run.h"

struct rehearsal {
  const char *playbook;     /* its file */
  const char *tests;        /* its test file */
  const char *connectors;   /* their folder */
  struct run_world world;   /* only .arg, .list and .matches: route's; the lists are the same throughout */
  const json_t *guard;      /* the settings' guardrails; NULL: none but the ones that cannot be switched off */
  const json_t *configured; /* the settings' connectors, for the kind behind an instance's name; NULL: a name is its kind */
  json_t *(*values)(const json_t *alert, const json_t *raw, const char *path); /* route's path_values: for parameters with `from` */
};

/* New {"playbook", "passed", "failed", "tests": [{"name", "ok", "status", "problems": [text…]}…], "coverage": {"lines", "hit", "missed": [line…]}}. A test that
 * fails is no error; a file that cannot be loaded is. */
int rehearse(const struct rehearsal *spec, json_t **ret_report, struct err *err);

#endif
