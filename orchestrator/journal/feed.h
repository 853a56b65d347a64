/* feed.h: brings what Redis has acknowledged into the evidence log: each entry of each of this node's journals, once, in order.
 *
 * Live entries come through feed_entry (journal.c calls it at their acknowledgement; the entry changes hands, nothing more). Whatever did not come that way or was let go, because a process
 * died between acknowledgement and seal or the disk failed for long, is found by feed_sweep, which compares the newest entry of every journal in Redis with what is sealed, and read back.
 * So nothing depends on a process having lived. What cannot be sealed at all (Redis lost or changed entries) is said, per journal, and never papered over.
 * What was removed anywhere ("INC-000042/7" in the set tocsin:removed) is removed from this node's log, too: it may hold what another node owns now.
 * A node seals what it appended: a journal whose newest entry is another living node's (`elsewhere`) is that one's. Who takes a journal over from another calls feed_adopt: then all of
 * it, from its first entry on, is in this log too. What a node that is gone left unsealed is sealed by every other. */
#ifndef TOCSIN_JOURNAL_FEED_H
#define TOCSIN_JOURNAL_FEED_H

#include <jansson.h>

#include "evidence/seal.h"
#include "journal/journal.h"

struct feed;

struct feed_options {
  struct journal_store *store; /* loop and redis; feed_start sets its `feed` */
  const char *folder;          /* of the evidence */
  const struct note_signer *signer;
  const char *node;                               /* this node's own journal, "node-n1" */
  bool (*elsewhere)(void *arg, const char *node); /* is it another one, and alive? NULL: there is no other */
  /* On the loop, after every checkpoint and every failure: status->published tells which. May be NULL. */
  void (*news)(void *arg, const struct sealer_status *status);
  void *arg;
};

int feed_start(const struct feed_options *options, struct feed **ret, struct err *err);
void feed_entry(struct feed *f, const char *journal, struct entry *e_take);
/* The same of one that is kept: with a copy of its bytes. */
void feed_copy(struct feed *f, const char *journal, const struct entry *e);
/* Looks through all of Redis for what is not sealed; goes on by itself while Redis is away, and again once a day. */
void feed_sweep(struct feed *f);
/* This node owns the journal from now on: all of it is sealed here, from its first entry on. */
void feed_adopt(struct feed *f, const char *journal);
/* The body of an entry goes from this node's log; cb comes later, once nothing of it is left there. `gone` false: the engine stops first. */
typedef void feed_removed_cb(void *arg, bool gone);
void feed_remove(struct feed *f, const char *journal, uint64_t seq, feed_removed_cb *cb, void *arg);
void feed_status(struct feed *f, struct sealer_status *ret);
void feed_trouble(struct feed *f, char ret[256]);
/* Signature lines of witnesses for the checkpoint of that size: it bears them from now on, if it is still the newest. Any thread, until feed_stop. */
void feed_cosign(struct feed *f, uint64_t size, const char *lines, size_t len);
/* Nothing waits, nothing is behind, nothing is looked for, and a search finds all of it. */
bool feed_settled(struct feed *f);
/* Counts for metrics. New. */
json_t *feed_counts(struct feed *f);

/* The end, behind the last append: what is in memory is sealed. feed_over: it is done. */
void feed_finish(struct feed *f);
bool feed_over(struct feed *f);
/* Once neither loop nor Redis call anybody any more. Waits that long at most and frees it. An error says what was not sealed (it is in Redis, and the next start seals it). NULL is legal. */
int feed_stop(struct feed *f, int64_t within_ms, struct err *err);

#endif
