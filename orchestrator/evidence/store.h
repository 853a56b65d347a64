/* store.h: log, bodies and catalogue of one evidence folder, opened together; for the sealer's thread alone.
 *
 * Holds what makes a seal exact: an entry of a journal goes in once, after the one before it, and only when its bytes still have the hash that its journal gives. Everything else
 * is named by a verdict and left out. After a failure nothing is known to be in or out until store_ready has succeeded again. Blocks. */
#ifndef TOCSIN_EVIDENCE_STORE_H
#define TOCSIN_EVIDENCE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "evidence/catalogue.h"
#include "evidence/disk.h"
#include "evidence/head.h"
#include "evidence/note.h"

struct store;

enum store_verdict {
  STORE_NEW,    /* the next one of its journal */
  STORE_KNOWN,  /* sealed already, this very one */
  STORE_AHEAD,  /* earlier entries of its journal are not sealed: those first */
  STORE_BROKEN, /* no head of a journal, or not the bytes that its journal hashed */
  STORE_FORK,   /* the log holds another entry in its place, or another one before it */
};

struct store_entry {
  const void *head, *envelope;
  size_t head_len, envelope_len;
  struct hash leaf; /* what its journal gives */
  /* Filled in by store_judge: */
  enum store_verdict verdict;
  char journal[HEAD_INCIDENT];
  uint64_t seq, from; /* from: STORE_AHEAD: the first that is missing */
};

int store_open(const char *folder, const struct note_signer *signer, disk_fault_cb *fault, void *arg, struct store **ret, struct err *err);
void store_close(struct store *s);
/* Makes sure where log and catalogue stand. Needed before each batch; costs nothing when all is well, however far the catalogue lags behind. */
int store_ready(struct store *s, struct err *err);
/* Verdicts of batch[from] to batch[count - 1] in order, each entry as if the new ones before it in the batch were in. An entry may come more than once. */
int store_judge(struct store *s, struct store_entry *batch, size_t from, size_t count, struct err *err);
/* What a journal's newest entry in Redis says of the log: KNOWN, AHEAD (from is set), or FORK: the log holds another, or more than Redis does. */
int store_compare(struct store *s, const char *journal, uint64_t seq, const struct hash *leaf, struct store_entry *ret, struct err *err);
/* Seals those judged STORE_NEW under one checkpoint, all or none: 0 when they are in, whatever went wrong meanwhile. One that has not the bytes which its journal hashed is found here
 * when it is read back (ERR_IO), and called STORE_BROKEN when its batch is judged again. */
int store_seal(struct store *s, const struct store_entry *entries, size_t count, struct err *err);
int store_cosign(struct store *s, uint64_t size, const char *lines, size_t len, struct err *err); /* tlog_cosign */
/* The body of a sealed entry is removed: its key, and its texts in the catalogue. The head stays. 0 also when it was removed before, or the log does not know the entry. */
int store_remove(struct store *s, const char *journal, uint64_t seq, struct err *err);
uint64_t store_size(const struct store *s);
/* Brings the catalogue, texts and all, some entries nearer to the log's end, which nothing else does; *ret_more: there are others. For when nothing waits. Should it fail, the places of
 * all entries are in, if that can be had. */
int store_read(struct store *s, bool *ret_more, struct err *err);
int store_follow(struct store *s, struct err *err);  /* where every entry lies, without the texts, to the end */
uint64_t store_lag(const struct store *s);           /* entries of the log that a search does not find yet */
int store_rebuild(struct store *s, struct err *err); /* the catalogue, with all texts */

#endif
