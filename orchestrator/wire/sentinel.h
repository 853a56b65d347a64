/* sentinel.h: which Redis server is the master, as Redis Sentinels say; inside wire/ only.
 *
 * All sentinels are asked all the time (SENTINEL MASTER), more often while the master cannot be used: an answer is the state of now, whereas
 * +switch-master is a message that a broken connection loses. The configuration's epoch, which Sentinel raises with every failover, decides: an
 * answer that is older than what is known already is not followed, so that a sentinel or a master that was cut off cannot lead back.
 * Says only who is said to be the master; whoever connects there asks it for its ROLE. */
#ifndef TOCSIN_WIRE_SENTINEL_H
#define TOCSIN_WIRE_SENTINEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/redis.h"

enum { SENTINEL_HOST = 256, SENTINEL_PORT = 26379, SENTINELS_MOST = 16, SENTINEL_FRESH_MS = 3000 };

struct sentinel_answer {
  bool said;   /* it has answered, and the answer is not too old */
  bool master; /* it knows a master of that name; the rest says which */
  char host[SENTINEL_HOST];
  int port;
  int64_t epoch; /* config-epoch */
  bool moving;   /* it is at a failover: its address is the old master's still, its epoch the next one's */
  bool down;     /* it calls the master down */
  int quorum;    /* how many must agree that the master is down */
  int sentinels; /* how many it knows, with itself */
  int replicas;
};

struct sentinel_master {
  char host[SENTINEL_HOST]; /* "": none is known */
  int port;
  int64_t epoch;
};

/* "host:port", "host" (then 26379), "[::1]:port". ERR_INVALID says what is wrong. */
int sentinel_address(const char *text, char host[SENTINEL_HOST], int *ret_port, struct err *err);
/* Reads the reply of SENTINEL MASTER. ERR_INVALID when it is none. */
int sentinel_read(const struct redis_value *reply, struct sentinel_answer *ret, struct err *err);
/* Who is to be followed, by what `count` sentinels say and what is known, those that are at a failover apart: true when *ret is another server than *known, or a later epoch of the same. The highest epoch wins; of
 * one epoch the server that most name, or the known one. An epoch below the known one only when more than half of all say the same, because their memory was wiped. */
bool sentinel_pick(const struct sentinel_answer *answers, size_t count, const struct sentinel_master *known, struct sentinel_master *ret);

struct sentinels;
typedef void sentinels_cb(void *arg, const struct sentinel_master *master);

struct sentinels_config {
  const char *const *addresses;
  size_t count;
  const char *master; /* the name that the sentinels know it by */
  bool tls;
  const char *tls_ca, *tls_cert, *tls_key, *user, *password_slot;
};

/* Copies the config. cb, from the loop only: the master became known, or is another one. */
int sentinels_new(struct loop *loop, const struct sentinels_config *config, const struct secrets *secrets, sentinels_cb *cb, void *arg,
                  struct sentinels **ret, struct err *err);
/* Also inside cb. */
void sentinels_free(struct sentinels *s);
/* The master cannot be used: they are asked more often until told otherwise. */
void sentinels_hurry(struct sentinels *s, bool hurry);
/* Fills what concerns the sentinels. */
void sentinels_status(const struct sentinels *s, struct redis_master *ret);

#endif
