/* seal.h: takes acknowledged journal entries and seals them behind the event loop's back.
 *
 * A thread of its own seals in batches: as soon as SEAL_BATCH wait, else once an interval while there is work. Bodies are written first, then the log (tlog.h); the catalogue
 * follows when there is calm (pace.h). Each
 * entry of a journal goes in exactly once and after the one before it, whatever is handed over and how often (store.h). What fails is tried again, byte for byte.
 * Memory is bounded: what does not fit, or whose predecessors are missing, is let go, and its journal is named by sealer_behind to be read from Redis again; nothing is ever dropped
 * without that. Nothing here waits for a disk but sealer_stop. Only what Redis has acknowledged may be handed over. An evidence folder that cannot be used delays sealing, never the caller.
 * All functions here but sealer_cosign belong to one thread, the owner's; news comes on the sealer's. */
#ifndef TOCSIN_EVIDENCE_SEAL_H
#define TOCSIN_EVIDENCE_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "evidence/disk.h"
#include "evidence/head.h"
#include "evidence/note.h"

enum { SEAL_BATCH = 4096, SEAL_BATCH_BYTES = 32 << 20, SEAL_RETRY_MS = 1000, SEAL_MEMORY = 64 << 20 };

struct sealer;

struct sealer_options {
  const char *folder; /* evidence/: log/, bodies/, keys.db and catalogue.db lie in it */
  const struct note_signer *signer;
  unsigned interval_ms; /* 0: a second */
  unsigned retry_ms;    /* 0: SEAL_RETRY_MS */
  size_t memory;        /* most bytes that wait, 0: SEAL_MEMORY */
  /* Called on the sealer's thread, under its lock, when something has changed: a checkpoint was published, something failed or is behind. Wake the loop, nothing more. May be NULL. */
  void (*news)(void *arg);
  void *arg;
  disk_fault_cb *fault; /* NULL but in tests */
  void *fault_arg;
};

struct sealer_status {
  bool open;           /* log and catalogue are there and of one mind */
  uint64_t size;       /* entries under the newest checkpoint */
  uint64_t published;  /* checkpoints published by this process */
  uint64_t sealed;     /* entries sealed by this process */
  size_t waiting;      /* entries in memory, not sealed yet */
  size_t removing;     /* bodies that are not removed yet */
  size_t behind;       /* journals of which Redis holds entries that are neither sealed nor in memory */
  size_t troubled;     /* journals of which something cannot be sealed; see sealer_trouble */
  uint64_t lag;        /* entries under the newest checkpoint that a search does not find yet */
  struct err lags_for; /* why the catalogue could not go on the last time; text "": it could */
  int64_t age_ms;      /* since the newest checkpoint was made or first seen */
  unsigned failures;   /* in a row */
  uint64_t failed;     /* in all */
  struct err last;     /* why, when failures is not 0 */
};

/* Starts the thread, which opens log, bodies and catalogue. Fails only without memory for it. Copies the options. */
int sealer_start(const struct sealer_options *options, struct sealer **ret, struct err *err);
/* leaf: the head's leaf hash in hex, checked again when sealed. seq: what the head says. */
struct sealer_entry {
  uint64_t seq;
  const char *head; /* it, envelope and leaf lie in the block */
  size_t head_len;
  const char *envelope;
  size_t envelope_len;
  const char *leaf;
  void *block_take; /* slab_alloc's, and freed by the sealer's thread */
};
/* journal: what the head says. The bytes are not looked at before they are sealed: when Redis has acknowledged them they have left this thread's caches. */
void sealer_take(struct sealer *s, const char *journal, const struct sealer_entry *e);
/* The same with a copy. */
void sealer_add(struct sealer *s, const char *journal, uint64_t seq, const void *head, size_t head_len, const char *leaf,
                const void *envelope, size_t envelope_len);
/* Redis' newest entry of a journal is this one: the journal is named as behind when it is not sealed up to there. */
void sealer_expect(struct sealer *s, const char *journal, uint64_t seq, const char *leaf);
/* Whether sealer_add would take another page of entries into memory now. */
bool sealer_room(struct sealer *s);
/* Takes one journal that is behind, with the seq from which on it must be handed over again (an earlier one does no harm). False: there is none. */
bool sealer_behind(struct sealer *s, char ret_journal[HEAD_INCIDENT], uint64_t *ret_from);
/* Signature lines of others for the checkpoint of that size (tlog_cosign): put behind it by the thread, if it is still the newest then. Any thread; copies. */
void sealer_cosign(struct sealer *s, uint64_t size, const char *lines, size_t len);
/* Behind everything that was handed over until now: the body of this entry goes from the log's folder, its key and its texts (store_remove). status.removing tells when. */
void sealer_remove(struct sealer *s, const char *journal, uint64_t seq);
/* Names it as behind, from this seq on. */
void sealer_read_again(struct sealer *s, const char *journal, uint64_t from);
/* Something of this journal can never be sealed: said once, and asked for no more in this process. */
void sealer_give_up(struct sealer *s, const char *journal, const char *why);
/* Why a journal is troubled, one of them; "" when none is. */
void sealer_trouble(struct sealer *s, char ret[256]);
void sealer_status(struct sealer *s, struct sealer_status *ret);
/* Begins the end: what waits is sealed (one try). */
void sealer_finish(struct sealer *s);
bool sealer_ended(struct sealer *s);
/* Ends the thread, within the time. ERR_IO when something in memory could not be sealed, ERR_TIMEOUT when the disk does not answer (the thread is then left
 * behind, for a process that ends now): it is still in Redis. */
int sealer_stop(struct sealer *s, int64_t within_ms, struct err *err);

#endif
