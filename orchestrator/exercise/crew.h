/* crew.h: one piece of work for each of many items, by several processes, and the results in the items' order: the same whatever the number of processes.
 *
 * Each process does its items one after the other, on what it opened itself; an item knows nothing of the others. So whatever comes of one must not hang on another.
 * Forks, and blocks until all is done: for the command line, never for the daemon, and only while the process has one thread. */
#ifndef TOCSIN_EXERCISE_CREW_H
#define TOCSIN_EXERCISE_CREW_H

#include <jansson.h>

#include "base/err.h"

struct crew {
  size_t items;
  unsigned processes;                                         /* 1: no fork; never more than there are items */
  int (*open)(void *arg, struct err *err);                    /* in each process, before its first item */
  json_t *(*work)(void *arg, size_t item);                    /* there; new */
  void (*close)(void *arg);                                   /* there, also after a failed open */
  void (*done)(void *arg, size_t item, const json_t *result); /* in the caller's process, in the items' order */
  void (*progress)(void *arg, size_t done);                   /* there, as they are done; NULL: silent */
  void *arg;
};

/* Processors that this process may use, at most `most`. */
unsigned crew_size(unsigned most);
/* An error is the first open's, or says that a process ended before its time. */
int crew_run(const struct crew *c, struct err *err);

#endif
