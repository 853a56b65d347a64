/* nodes.h: the nodes that share one Redis: this one's lease, and which of the others live.
 *
 * A lease is a counter in `tocsin:nodes` that its owner raises (tocsin_beat) four times in its length. Ours is held until `lease_ms` after
 * the sending of the last raise that Redis has answered, by CLOCK_BOOTTIME, which goes on while the process or the machine is stopped: what
 * wakes up later finds it lapsed. Another node is called dead when its counter has not moved for longer than its lease while our own raises
 * were answered: time in which nobody could reach Redis kills nobody. So whoever is called dead holds no lease any more, whatever the wall
 * clocks say.
 * A name belongs to one process. It is refused while its counter moves under another one; who finds its record taken is ousted. A process
 * on the same data folder (which it has locked) begins at once: the one before it is gone.
 * Each raise brings the brakes along, and they are in force before the lease counts as renewed; it also tells the others which brakes this
 * node has seen. So a brake that every living node has confirmed holds everywhere.
 * Before the first of them is answered the steady clock (base/clock.h) is the one that all nodes go by.
 * Never adopts anything itself: it says who is gone. */
#ifndef TOCSIN_JOURNAL_NODES_H
#define TOCSIN_JOURNAL_NODES_H

#include <jansson.h>
#include <stdatomic.h>

#include "wire/loop.h"
#include "wire/redis.h"

#define NODES_KEY "tocsin:nodes"
#define NODES_BRAKES "tocsin:brakes"
#define NODES_CLOCK "tocsin:clock"          /* machine -> offset of its boot time from the steady clock that they share (tocsin_steady) */
#define NODES_OWNER "{tocsin:alerts}:owner" /* incident -> node */

enum { NODE_NAME = 48 };

struct nodes;

typedef void nodes_cb(void *arg, const struct err *err);

struct nodes_events {
  void *arg;
  void (*brakes)(void *arg, int64_t epoch, const struct redis_value *pairs); /* scope, value…: all that are on */
  /* The lease had lapsed: see what is still ours, then call go_on (exactly once); only then it is held again. */
  void (*lapsed)(void *arg, loop_cb *go_on, void *go_on_arg);
  void (*held)(void *arg);                   /* and now it is */
  void (*gone)(void *arg, const char *node); /* dead, or it has left: what it owned is free */
  void (*urge)(void *arg);                   /* somebody waits for the others' confirmation: they may be told to look now. May be NULL */
  void (*ousted)(void *arg, const struct err *err);
};

struct nodes_config {
  const char *node, *version;
  const char *folder; /* identity of the locked data folder */
  const char *key;    /* fingerprint of the key that the nodes share; two nodes with different ones do not work together */
  int64_t lease_ms;
  const json_t *adopted; /* {node: …}: whose evidence folders this one has taken over; may be NULL */
};

enum node_state { NODE_SELF, NODE_ALIVE, NODE_DEAD, NODE_ABSENT };

/* Copies the config; events' functions are called from the loop only, never before nodes_start was called. */
struct nodes *nodes_new(struct loop *loop, struct redis *redis, const struct nodes_config *config, const struct nodes_events *events);
void nodes_free(struct nodes *n);
/* Takes the name and the lease, then calls back; ERR_EXISTS: another process runs under this name; ERR_DENIED: another node has another key.
 * Waits for as long as Redis is away. */
void nodes_start(struct nodes *n, nodes_cb *cb, void *arg);
/* The orderly end: the record goes, so that the others need not wait. cb comes even when Redis is away. */
void nodes_leave(struct nodes *n, loop_cb *cb, void *arg);

const char *nodes_self(const struct nodes *n);
/* Boot time (µs) until which the lease is held; may be read on any thread. */
const atomic_llong *nodes_lease(const struct nodes *n);
bool nodes_held(const struct nodes *n);
enum node_state nodes_state(const struct nodes *n, const char *node);
/* Who can give what lies in that node's evidence folder: itself while it lives, else one that lives and has adopted the folder. NULL: nobody. */
const char *nodes_holder(const struct nodes *n, const char *node);
/* Raises the counter now, in place of waiting for its time. */
void nodes_nudge(struct nodes *n);
/* Takes no work any more, for all to see. */
void nodes_set_draining(struct nodes *n, bool draining);
bool nodes_draining(const struct nodes *n, const char *node);
/* Calls cb for each other node that lives. */
void nodes_each(const struct nodes *n, void (*cb)(void *arg, const char *node), void *arg);
/* Calls back when every other living node has confirmed the brakes of this epoch (or holds no lease any more), or this one leaves. Exactly once, later. */
void nodes_when_confirmed(struct nodes *n, int64_t epoch, loop_cb *cb, void *arg);
/* Names the master (a number that rises with each) that all of this node's journals were compared with; its record says so from the next raise on. */
void nodes_set_master(struct nodes *n, int64_t epoch);
/* What the record of a node said so, when it was last seen; this one's: what it said before this process began. 0: nothing. */
int64_t nodes_master(const struct nodes *n, const char *node);
/* New [{"node","state","version","lease_ms","draining","since"}…] by name. */
json_t *nodes_list(const struct nodes *n);

#endif
