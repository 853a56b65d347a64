/* intake.h: from the queue to the desk, exactly once: consume → read → normalise → route → attach → acknowledge.
 *
 * (1) tocsin_route gives the alert its incidents, final; (2) the desk attaches it, durably; (3) tocsin_done acknowledges, counts and forgets in one step. A
 * message that is delivered again after a crash gets the same answer in (1) and is a no-op in (2). So accepted = attached + duplicate + suppressed +
 * dead-lettered + split + waiting, at every moment (a body that bears several alerts is split into as many messages, which are accepted in turn).
 * What cannot be read goes to the dead letters with its reason and its bytes, never away; so does what ends the process (base/suspect.h).
 * Never answers a webhook with 2xx before Redis has the alert. */
#ifndef TOCSIN_INTAKE_INTAKE_H
#define TOCSIN_INTAKE_INTAKE_H

#include <jansson.h>

#include "incident/incident.h"
#include "route/route.h"

struct intake;

struct intake_deps {
  struct loop *loop;
  struct redis *redis;
  struct desk *desk;
  struct registry *registry;
  struct secrets *secrets;
  const struct clock *clock;
  struct journal *node; /* suppressed and dead alerts are on record here */
  const char *consumer; /* this node's name */
  int64_t lease_ms;
  struct nodes *nodes;    /* NULL: no others (tests) */
  const json_t *settings; /* webhook, dedupe, default_playbook */
  /* "EX-000042": it reads that exercise's stream, which only the engine writes, and opens exercise incidents. It has no webhook and no commands, and reads when intake_look says so. NULL: the alerts of earnest. */
  const char *exercise;
};

struct intake *intake_new(const struct intake_deps *deps);
void intake_free(struct intake *in);
/* Router and lists replace the earlier ones (borrowed until the next call); default_playbook's group fields and window. */
void intake_set_routes(struct intake *in, const struct router *router, const struct lists *lists, const json_t *default_group,
                       int64_t default_window_ms);
void intake_set_registry(struct intake *in, struct registry *registry);
/* Makes the consumer group, takes this node's unfinished messages first, then reads for ever; comes back by itself after an outage. */
void intake_start(struct intake *in);
/* Takes nothing new from the queue; what is under way goes on. done is called when nothing is. */
void intake_stop(struct intake *in, loop_cb *done, void *arg);

/* One message alone, which a crash was traced to (base/suspect.h): before intake_start, and nothing else is taken meanwhile. cb comes when it is at its end; handled is
 * false when this node has no such message unfinished. intake_alone_end waits for it no longer; cb does not come then. */
typedef void intake_alone_cb(void *arg, bool handled);
void intake_alone(struct intake *in, const char *id, intake_alone_cb *cb, void *arg);
void intake_alone_end(struct intake *in);

/* A node is gone: what it had taken and not finished is taken from it, once it has lain with it for as long as a lease. */
void intake_take_over(struct intake *in, const char *node);
/* The same for every node that has unfinished messages and is not there. */
void intake_take_over_strays(struct intake *in);

/* An exercise's: something was put on its stream. It rests when everything that was put on it is at its end, or it was stopped and nothing is under way. */
void intake_look(struct intake *in);
bool intake_rests(const struct intake *in);
/* Takes nothing new while held (Redis is nearly full); the webhook answers 503. */
void intake_hold(struct intake *in, bool held);
/* Puts a document on the queue; cb when Redis has it. */
typedef void intake_push_cb(void *arg, const struct err *err);
int intake_push(struct intake *in, const char *source, const char *text, size_t len, intake_push_cb *cb, void *arg, struct err *err);

/* The same at a place of its own in an exercise's stream; cb has an error when something was put there or behind it before. */
int intake_put(struct intake *in, uint64_t number, const char *source, const char *text, size_t len, intake_push_cb *cb, void *arg,
               struct err *err);

/* Conservation, asked of Redis now: {"accepted","attached","duplicate","suppressed","dead","split","waiting","difference"}; cb with NULL on error. */
typedef void intake_counts_cb(void *arg, const json_t *counts, const struct err *err);
int intake_counts(struct intake *in, intake_counts_cb *cb, void *arg, struct err *err);
/* Why the webhook does not listen; "" when it does, or there is none. */
const char *intake_deaf(const struct intake *in);
json_t *intake_metrics(const struct intake *in); /* new: counts of this process */

#endif
