/* seal.h: takes acknowledged journal entries and seals them behind the event loop's back.
 *
 * Entries are sealed in the order in which they were handed over, in batches: as soon as SEAL_BATCH wait, else once an interval while there is work. A thread of its own writes bodies
 * first, then the log (tlog.h). What fails is kept and tried again, byte for byte, until it is in, exactly once; nothing is dropped. sealer_add copies and never waits for a disk.
 * Only what Redis has acknowledged may be handed over. Tickets count entries from 1 on within this process; what an earlier one sealed is for the caller to find out. */
#ifndef TOCSIN_EVIDENCE_SEAL_H
#define TOCSIN_EVIDENCE_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "evidence/disk.h"
#include "evidence/note.h"

enum { SEAL_BATCH = 4096, SEAL_RETRY_MS = 1000 };

struct sealer;

struct sealer_options {
  const char *folder; /* evidence/: log/, bodies/ and keys.db lie in it */
  const struct note_signer *signer;
  unsigned interval_ms; /* 0: a second */
  unsigned retry_ms;    /* 0: SEAL_RETRY_MS */
  /* Called on the sealer's thread after every batch that was published and every failure: wake the loop, nothing more. May be NULL. */
  void (*news)(void *arg);
  void *arg;
  disk_fault_cb *fault; /* NULL but in tests */
  void *fault_arg;
};

struct sealer_status {
  uint64_t size;     /* entries under the newest checkpoint */
  uint64_t accepted; /* tickets given */
  uint64_t sealed;   /* tickets up to this one are published */
  int64_t age_ms;    /* since the newest checkpoint was seen or made */
  unsigned failures; /* in a row */
  struct err last;   /* why, when failures is not 0 */
};

/* Opens log and bodies (so it may block, once) and starts the thread. */
int sealer_start(const struct sealer_options *options, struct sealer **ret, struct err *err);
/* Returns the ticket. leaf: the head's leaf hash in hex, checked again when sealed. */
uint64_t sealer_add(struct sealer *s, const void *head, size_t head_len, const char *leaf, const void *envelope, size_t envelope_len);
void sealer_status(struct sealer *s, struct sealer_status *ret);
/* Seals what waits (one try) and ends the thread. ERR_IO when something could not be sealed: it is still in Redis. */
int sealer_stop(struct sealer *s, struct err *err);

#endif
