/* proof.h: inclusion proofs for chosen entries of a log on disk, all under one checkpoint (reader.h), while its sealer goes on writing.
 *
 * Entries are found by their leaf hashes in the lowest tiles, so that no index has to be right. What is handed out has been checked. Blocks: for a command or a worker thread. */
#ifndef TOCSIN_EVIDENCE_PROOF_H
#define TOCSIN_EVIDENCE_PROOF_H

#include "evidence/reader.h"

struct proof {
  struct hash leaf; /* of the entry that is wanted */
  bool found;       /* false: the checkpoint does not cover it */
  uint64_t index;
  struct merkle_proof path;
};

/* Fills in all but the leaves. ERR_INVALID: the log is damaged. */
int proof_collect(const struct reader *log, struct proof *list, size_t count, struct err *err);
/* From an earlier checkpoint of the same log. ERR_INVALID: it is no beginning of it. */
int proof_consistency(const struct reader *log, const struct checkpoint *earlier, struct merkle_proof *ret, struct err *err);

#endif
