/* stage.h: what rehearse.c sets up, and play.c and expect.c use. */
#ifndef TOCSIN_RUN_STAGE_H
#define TOCSIN_RUN_STAGE_H

#include "run/rehearse.h"
#include "wire/embedded.h"

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
  struct journal_store store;
  json_t *tests, *guard;
  unsigned played;
  bool up, gone;
  struct err failure; /* code 0: none */
};

/* Waits for the loop's events, a millisecond at most. */
void stage_nap(struct stage *st);

/* play.c: runs one test; new {"name", "ok", "status", "problems"}. */
json_t *play(struct stage *st, const char *name, const json_t *test);

/* expect.c: seen {"status", "result", "actions": [{"action", "params"}], "undone", "asks", "notes", "tags", "says", "severity", "error"}; appends a text for each difference. */
void expect(const json_t *expected, const json_t *seen, json_t *problems);

#endif
