/* daemon.h: `tocsin serve` as one struct: it wires the rooms together, in the order of the path of an alert, and takes them down again.
 *
 * Start: evidence log → Redis → journal of the node → brakes → desk (after a crash: the suspect alone, then the rest) → API → intake. Stop: intake, then what is in flight within `stop_within`, then the
 * journals, then the evidence log, then the embedded Redis. Owns every room; no room knows it. */
#ifndef TOCSIN_CMD_DAEMON_H
#define TOCSIN_CMD_DAEMON_H

#include <jansson.h>

#include "action/action.h"
#include "api/api.h"
#include "base/suspect.h"
#include "cmd/self_check.h"
#include "evidence/note.h"
#include "evidence/seal.h"
#include "exercise/hall.h"
#include "incident/incident.h"
#include "intake/intake.h"
#include "journal/feed.h"
#include "wire/embedded.h"

enum { REGISTRIES_MOST = 64, CHECKPOINT_WATCHERS = 8 };

/* Called on the loop after a checkpoint of the evidence log was published. */
typedef void daemon_checkpoint_cb(void *arg, const struct sealer_status *status);
struct checkpoint_watch {
  daemon_checkpoint_cb *cb;
  void *arg;
};

struct anchor;

struct daemon {
  const char *settings_path;
  json_t *settings;
  struct loop *loop;
  struct secrets *secrets;
  struct transports *transports;
  struct people *people;
  struct embedded *embedded;
  struct redis *redis;
  struct nodes *nodes;
  int folder_lock;
  uint8_t letters_key[DIGEST_BYTES];
  struct journal_store store;
  struct journal *node;
  struct feed *feed; /* into the evidence log */
  struct note_verifier verifier;
  struct checkpoint_watch checkpoint_watch[CHECKPOINT_WATCHERS];
  size_t checkpoint_watchers;
  uint64_t checkpoints_seen;
  struct registry *registry, *old[REGISTRIES_MOST]; /* old ones live while runs may use them */
  size_t old_count;
  struct lists *lists;
  struct router *router;
  struct questions *questions;
  struct actions *actions;
  struct desk *desk;
  struct intake *intake;
  struct hall *hall; /* exercises */
  uint64_t told;     /* messages to participants of exercises */
  struct api *api;
  struct anchor *anchor; /* NULL: the settings name no target */
  char anchor_why[300];  /* why nothing is anchored although they do */
  struct timer *timer, *memory, *alone;
  struct self_check *check;
  struct suspect suspect; /* who is tried alone */
  desk_cb *ready, *failover_cb;
  unsigned replicas;   /* that must hold an entry before it counts */
  bool durability_due; /* of a new master */
  struct watch *signals[3];
  json_t *problems;        /* what Redis' settings would lose, and other warnings: texts */
  int64_t alarmed[ALARMS]; /* the difference that responders were told of; 0: none */
  char *socket;
  bool nearly_full, draining;
  char redis_told[200]; /* why Redis is away, as the log has said; "" when it is there */
  bool started, stopping, failed, intake_running, intake_ended, left;
  int64_t began;
};

/* Runs until a signal or a failure; returns the exit status. Takes settings over. */
int daemon_run(const char *settings_path, json_t *settings_take, json_t *secrets_take);

/* alone.c: notes from now on what is worked on, and watches the loop's CPU time; what an earlier process left is put on record. */
void daemon_suspect_open(struct daemon *d, const char *data);
void daemon_suspect_tell(struct daemon *d);
/* Loads the desk; after a crash the one suspect is tried alone first. ready comes when all is there. */
int daemon_load(struct daemon *d, desk_cb *ready, struct err *err);
void daemon_alone_end(struct daemon *d);

/* failover.c: the link to Redis as the settings say, and what is done when its master is another server. */
int daemon_redis(struct daemon *d, const char *socket, redis_state_cb *state_cb, struct err *err);
/* Between the desk's making and its loading: which journals are uncertain. */
int daemon_failover_load(struct daemon *d, desk_cb *cb, struct err *err);
/* A node is gone: cb at once, or when it is on record that it did not compare its journals with the master. */
typedef void daemon_gone_cb(struct daemon *d, const char *node);
void daemon_failover_gone(struct daemon *d, const char *node, daemon_gone_cb *cb);
void daemon_redis_findings(struct daemon *d, json_t *checks);
json_t *daemon_redis_counts(struct daemon *d);

/* nodes.c: takes this node's name and lease; cb once it is ours. */
int daemon_nodes(struct daemon *d, nodes_cb *cb, struct err *err);
/* Once everything is up: what nodes have left behind that were gone before. */
void daemon_take_over(struct daemon *d);
void daemon_draining(void *arg, bool draining);

/* content.c: playbooks, connectors, lists and routes, all or none. */
int daemon_content(struct daemon *d, json_t *ret_counts, struct err *err);
/* What an exercise is played with: all that is installed, with made-up settings for connectors that nobody configured. arg: the daemon. */
int daemon_exercise_content(void *arg, struct hall_content *ret, struct err *err);
/* exercising.c */
void daemon_hall(struct daemon *d);
/* checks.c */
/* The desk and the intake, with the content in force. */
int daemon_desk(struct daemon *d, json_t *counts, struct err *err);
void daemon_commands(struct daemon *d);
json_t *daemon_counts(void *arg);
void daemon_check_start(struct daemon *d);

#endif
