/* internal.h: what the files of intake/ share. */
#ifndef TOCSIN_INTAKE_INTERNAL_H
#define TOCSIN_INTAKE_INTERNAL_H

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/suspect.h"
#include "intake/intake.h"
#include "intake/normalise.h"
#include "wire/redis.h"

#define QUEUE_GROUP "tocsin"

/* Keys in Redis; an exercise has all of them but the ids for itself. */
enum intake_key { KEY_QUEUE, KEY_ROUTED, KEY_SEEN, KEY_SEEN_IN, KEY_GROUP, KEY_IDS, KEY_COUNTS, KEY_DEAD, INTAKE_KEYS };

enum {
  READ_COUNT = 128,
  BLOCK_MS = 500,
  UNDER_WAY_MOST = 1024,
  RETRY_MS = 250,
  DOCUMENT_CAP = 8 << 20,
  CORRELATION_WINDOW_MS = 7 * 86400000
};

struct webhook;
struct together;

/* The one message that is tried alone. cb NULL: none. */
struct alone {
  char id[48];
  intake_alone_cb *cb;
  void *arg;
  bool taken;
  struct timer *retry;
};

struct intake {
  struct intake_deps deps;
  char key[INTAKE_KEYS][64];
  struct normaliser *normaliser;
  const struct router *router;
  const struct lists *lists;
  json_t *default_group;
  int64_t default_window_ms, keep_ms;
  const char *default_playbook;
  unsigned blocking; /* the lane of XREADGROUP */
  bool running, held, reading, owned_first, group_made;
  bool again;     /* an exercise's: something was put in while it was being read */
  bool unsure;    /* an answer to XREADGROUP was lost: messages may be ours without our having seen them */
  char after[48]; /* how far this node's own unfinished messages are taken */
  size_t under_way;
  struct timer *retry;
  struct alone alone;
  loop_cb *stopped_cb;
  void *stopped_arg;
  struct webhook *webhook;
  struct together *routing, *ending; /* messages whose question leaves with this turn (together.c) */
  char deaf[256];                    /* why the webhook does not listen, "" when it does or need not */
  uint64_t taken, attached, duplicates, suppressed, dead, splits;
};

/* queue.c */
void intake_pump(struct intake *in);
/* message.c: handles one message to its end; the reply is only valid during the call. */
void intake_message(struct intake *in, const struct redis_value *entry);
void intake_one_less(struct intake *in);
/* together.c: what was asked leaves now, not at the end of the turn; nobody is to be told any more. */
void together_send(struct intake *in);
void together_drop(struct intake *in);
/* alone.c: a message has come to its end; was it the one? */
void intake_alone_look(struct intake *in);
/* dead.c */
void intake_commands(struct intake *in);
/* webhook.c */
int webhook_start(struct intake *in, struct webhook **ret, struct err *err);
void webhook_free(struct webhook *w);

#endif
