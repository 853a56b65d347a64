/* lane.h: one connection of the link (redis.h), inside wire/ only.
 *
 * Keeps the order: commands are answered first in, first out, each callback once. A command whose time is over is told ERR_TIMEOUT
 * and its place is kept for the late answer, so that what follows on the lane still comes after it in Redis; only a connection on which
 * nothing at all was heard for another time-out is given up. Comes back by itself, greets (HELLO, library) before it takes commands,
 * and never sends a command twice. */
#ifndef TOCSIN_WIRE_LANE_H
#define TOCSIN_WIRE_LANE_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "wire/redis.h"
#include "wire/sentinel.h"
#include "wire/stream.h"

enum {
  LANE_MOST_OUT = 256 << 20, /* bytes waiting to be written */
  LANE_KEEP_OUT = 4 << 20,   /* a buffer grown beyond this is given back after the burst */
  LANE_MOST_IN = 640 << 20,  /* bytes of one answer (Redis' own cap of a string is 512 MB) */
  LANE_BACKOFF_FIRST = 50,
  LANE_BACKOFF_MOST = 2000,
};

enum lane_state { LANE_DOWN, LANE_CONNECTING, LANE_GREETING, LANE_READY };

struct pending {
  redis_cb *cb;
  void *arg;
  int64_t deadline; /* milliseconds of CLOCK_MONOTONIC */
  bool late;        /* told ERR_TIMEOUT, waits for its answer only to throw it away */
};

STAILQ_HEAD(waited_list, waited);

struct lane {
  struct redis *link;
  bool blocking;
  char told[128]; /* what the state callback was told last of this lane's being down; empty while it is up */
  enum lane_state state;
  struct stream *stream;
  uint64_t epoch; /* raised when the connection goes */
  struct buf out;
  size_t out_sent;
  bool flush_due, out_blocked;
  redisReader *reader;
  struct pending *ring;
  size_t head, count, size; /* size: a power of two */
  int64_t heard;            /* when bytes came last */
  struct timer *clock;      /* the next deadline, or the end of patience with a connect */
  int64_t clock_due;
  struct timer *retry;
  unsigned tries;
  /* redis_safe.c: what a WAIT under way is for, and what the next one will be for. */
  struct waited_list waited, unwaited;
  bool waiting, wait_due;
};

struct redis {
  struct loop *loop;
  const struct secrets *secrets;
  char *socket, *host, *user, *password_slot;
  struct tls *tls;
  struct stream_target target;
  int64_t timeout_ms;
  size_t most_pending;
  redis_state_cb *state_cb;
  void *state_arg;
  unsigned ordinary, count;
  struct lane *lanes[72];
  unsigned busy; /* depth of callbacks: redis_free inside one leaves the memory to the outermost */
  bool freed;
  bool bare, leaving; /* leaving: the server said that it is no master */
  struct sentinels *sentinels;
  uint64_t changes;
  int64_t epoch; /* of the master that is followed */
  unsigned replicas;
  int64_t replica_ms;
  uint64_t doubts;   /* times that the server said it serves nobody: what it had acknowledged may be another's by now */
  const void *taken; /* the reply that the callback under way keeps for itself (redis_safe.c frees it) */
  redis_master_cb *master_cb;
};

struct lane *lane_new(struct redis *link, bool blocking);
/* Closes and tells every pending command ERR_CANCELLED; the memory stays until lane_free. */
void lane_cancel(struct lane *lane);
void lane_free(struct lane *lane);
/* Gives the connection up: everything pending gets err, a retry follows. */
void lane_drop(struct lane *lane, const struct err *err);
int lane_send(struct lane *lane, redis_cb *cb, void *arg, int64_t timeout_ms, size_t argc, const char *const *argv, const size_t *lens,
              struct err *err);
/* Another server is to be used from now on: connects at once, to link->target. */
void lane_redirect(struct lane *lane);
/* Called by the greeting (greet.c) once the lane may take commands. */
void lane_ready(struct lane *lane);
/* Starts the greeting on a fresh connection: HELLO with AUTH, then the function library. */
void lane_greet(struct lane *lane);

/* The connection is gone: whatever no WAIT was sent for gets err. */
void safe_drop(struct lane *lane, const struct err *err);

/* Every entry from the loop is put between these two; false: the link is gone, touch nothing. */
void link_enter(struct redis *link);
bool link_leave(struct redis *link);
/* The server is no master, or not the one: all connections to it are given up. */
void link_abandon(struct redis *link, const struct err *err);
/* Asks the sentinels more often while a lane is not ready. */
void link_hurry(struct redis *link);

#endif
