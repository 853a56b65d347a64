/* stage.h: a private engine for incidents that are only played: what rehearse.c sets up, and play.c, expect.c and a back-test (exercise/backtest.h) use. Its runs are
 * simulated, its Redis is its own (a temporary folder, gone afterwards), and its clock is set from outside. */
#ifndef TOCSIN_RUN_STAGE_H
#define TOCSIN_RUN_STAGE_H

#include "run/rehearse.h"
#include "wire/embedded.h"

enum { STAGE_PEOPLE = 9 }; /* with every role, so that approvals by several are given */

struct stage {
  const struct rehearsal *spec;
  char folder[64];
  struct loop *loop;
  struct embedded *embedded;
  struct redis *redis;
  struct secrets *secrets;
  struct transports *transports;
  struct people *people;
  struct registry *registry;
  struct declaration *playbook;
  struct coverage *coverage;
  struct clock clock;
  int64_t begins; /* µs: where each test's time begins that does not say */
  struct journal_store store;
  json_t *tests, *guard;
  unsigned played; /* its incidents' numbers: the next play has the next */
  bool up, gone;
  struct err failure; /* code 0: none */
};

/* Only the files: what a process needs that has others play. stage_open does it, too, unless it was done. */
int stage_load(struct stage *st, const struct rehearsal *spec, struct err *err);
/* Everything but the tests; spec must outlive it. On an error, too, it is to be closed. st: zeros, or as stage_load left it. */
int stage_open(struct stage *st, const struct rehearsal *spec, struct err *err);
void stage_close(struct stage *st); /* zeros afterwards; legal on zeros */
/* Waits for the loop's events, a millisecond at most. */
void stage_nap(struct stage *st);

/* play.c: runs one test; new {"name", "ok", "status", "problems"}. */
json_t *play(struct stage *st, const char *name, const json_t *test);

/* One incident from its first alert to the end of its run, without people: {"title", "alerts": [alert], "later": [{"time" (µs), "alert"}…], "begins" (µs), "settings",
 * "simulate", "restart": a later alert ends the run}. The playbook's own questions run out of time, a guardrail's get their first answer. New {"status", "entries": [{"seq",
 * "type", "run", "step", "time", "body"}…], "parameters": [those whose first value was taken], "came": later alerts seen, "ended" (µs), "error", "problems"}. */
json_t *play_unattended(struct stage *st, const json_t *test);

/* expect.c: seen {"status", "result", "actions": [{"action", "params"}], "undone", "asks", "notes", "tags", "says", "severity", "error"}; appends a text for each difference. */
void expect(const json_t *expected, const json_t *seen, json_t *problems);

#endif
