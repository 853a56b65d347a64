/* loop.h: the one event loop (libevent), its timers, and "later in this turn".
 *
 * Everything runs on the thread that calls loop_run. A callback given to an x_start function is never
 * called before that function has returned: use loop_defer for that. Freeing a timer inside its own
 * callback is legal. Never sleeps, never asks a global clock for anything but its own waiting. */
#ifndef TOCSIN_WIRE_LOOP_H
#define TOCSIN_WIRE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct loop;
struct event_base;
struct timer;
struct watch;

typedef void loop_cb(void *arg);

struct loop *loop_new(void); /* aborts without memory */
void loop_free(struct loop *loop);
void loop_run(struct loop *loop);  /* until loop_stop */
void loop_turn(struct loop *loop); /* one round, does not block (tests) */
void loop_wait(struct loop *loop); /* one round, blocks until something happens (tests, rehearsals) */
void loop_stop(struct loop *loop); /* legal from callbacks and signal watches */
struct event_base *loop_base(struct loop *loop);

/* Calls cb once, in the same order as other deferred calls, in the loop's next turn. loop_undefer removes
 * every pending deferred call with this cb and arg. */
void loop_defer(struct loop *loop, loop_cb *cb, void *arg);
/* The same, but called by a deferred call it comes right after that one has returned: the small steps that follow from each other stay
 * together, and what they touch in the processor's caches. After 16 in a row it is the next turn's, so that no chain keeps others waiting. */
void loop_soon(struct loop *loop, loop_cb *cb, void *arg);
/* The same, but at the end of this turn, behind all deferred calls of it: what these have gathered leaves now, and not a turn later. */
void loop_last(struct loop *loop, loop_cb *cb, void *arg);
void loop_undefer(struct loop *loop, loop_cb *cb, void *arg);

/* Calls cb once after ms milliseconds (at least one turn later). timer_free stops it; NULL is legal. */
struct timer *timer_start(struct loop *loop, int64_t ms, loop_cb *cb, void *arg);
void timer_free(struct timer *timer);

enum { WATCH_READ = 1, WATCH_WRITE = 2 };
typedef void watch_cb(void *arg, int fd, int events);
/* Calls cb whenever fd is ready, until watch_free. The fd stays the caller's. */
struct watch *watch_fd(struct loop *loop, int fd, int events, watch_cb *cb, void *arg);
/* Calls cb in the loop (not in the handler) for each delivery of the signal. */
struct watch *watch_signal(struct loop *loop, int signo, loop_cb *cb, void *arg);
void watch_free(struct watch *watch);

/* Another thread asks the loop to call cb soon. This and loop_ring are the only functions here that other threads may call. */
void loop_post(struct loop *loop, loop_cb *cb, void *arg);
/* Wakes whoever reads this eventfd. Tried again when it fails, since nobody would ring a second time. */
void loop_ring(int fd);
/* Removes every pending one with this cb and arg: of the loop's thread, when whoever posted has ended. */
void loop_unpost(struct loop *loop, loop_cb *cb, void *arg);

#endif
