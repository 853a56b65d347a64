/* proof.h: inclusion proofs for chosen entries of a log on disk, all under one checkpoint, while its sealer goes on writing.
 *
 * Entries are found by their leaf hashes in the lowest tiles, so that no index has to be right. Takes no lock and changes nothing; what the checkpoint covers never changes any more.
 * Nothing is read through a checkpoint that the key did not sign. Blocks: for a command or a worker thread. */
#ifndef TOCSIN_EVIDENCE_PROOF_H
#define TOCSIN_EVIDENCE_PROOF_H

#include "evidence/merkle.h"
#include "evidence/note.h"
#include "evidence/tiles.h"

struct proof {
  struct hash leaf; /* of the entry that is wanted */
  bool found;       /* false: the checkpoint does not cover it */
  uint64_t index;
  struct merkle_proof path;
};

struct proof_log {
  struct checkpoint checkpoint;
  char *note; /* the signed checkpoint as it lies there; free() */
  size_t note_len;
};

/* folder: evidence/log. Fills in all but the leaves. ERR_NOT_FOUND: there is no checkpoint; ERR_INVALID: it is not signed with the key, or the log is damaged. */
int proof_collect(const char *folder, const struct note_verifier *key, struct proof *list, size_t count, struct proof_log *ret,
                  struct err *err);
/* From an earlier checkpoint of the same log to the one in `log`. ERR_INVALID: it is no beginning of it. */
int proof_consistency(const char *folder, const struct proof_log *log, const struct checkpoint *earlier, struct merkle_proof *ret,
                      struct err *err);

#endif
