/* post.h: letters between the nodes that share one Redis, each through the inbox of the one that it is for (a stream, tocsin:node:<id>:inbox).
 *
 * A letter says who wrote it, for whom, when, and bears a nonce; an HMAC under the nodes' common key goes with it. One that does not verify,
 * is for another node, is older than ten minutes, or whose nonce was seen before, is thrown away with a warning. Taking a letter out is one
 * step in Redis (tocsin_take): of its owner and the nodes that empty a dead one's inbox exactly one carries it out, at most once.
 * Who asks hears exactly once: the answer, or ERR_TIMEOUT, which does not tell whether it was carried out.
 * Knows nothing of what the letters say. */
#ifndef TOCSIN_INCIDENT_POST_H
#define TOCSIN_INCIDENT_POST_H

#include <jansson.h>

#include "base/digest.h"
#include "journal/nodes.h"
#include "wire/loop.h"
#include "wire/redis.h"

struct post;

struct letter { /* borrowed during the call; post_answer takes `from` and `nonce` as copies */
  const char *from, *nonce, *kind;
  const json_t *body;
};

typedef void post_letter_cb(void *arg, const struct letter *letter);
/* status as HTTP's; err instead when there is no answer. */
typedef void post_answer_cb(void *arg, int status, const json_t *answer, const struct err *err);

struct post *post_new(struct loop *loop, struct redis *redis, struct nodes *nodes, const uint8_t key[DIGEST_BYTES], post_letter_cb *cb,
                      void *arg);
void post_free(struct post *p);  /* who still waits hears ERR_CANCELLED */
void post_start(struct post *p); /* reads this node's inbox from its beginning, for ever */
void post_stop(struct post *p);  /* takes no letter any more */

/* Asks another node. cb comes later, exactly once. */
void post_ask(struct post *p, const char *to, const char *kind, json_t *body_take, int64_t within_ms, post_answer_cb *cb, void *arg);
/* A letter that wants no answer; cb (may be NULL) when Redis has it. */
void post_tell(struct post *p, const char *to, const char *kind, json_t *body_take, nodes_cb *cb, void *arg);
void post_answer(struct post *p, const char *to, const char *nonce, int status, json_t *answer_take);
/* Carries out what lies in the inbox of a node that is gone. */
void post_empty(struct post *p, const char *node);

#endif
