/* reader.h: one sealed log seen through one checkpoint, read only, while its sealer goes on writing.
 *
 * Takes no lock and changes nothing. What the checkpoint covers never changes any more, so everything read through it fits together; a tile that was partial then and is full now serves
 * as well. Nothing is read through a checkpoint that the key did not sign. Blocks: for a worker thread or a command. */
#ifndef TOCSIN_EVIDENCE_READER_H
#define TOCSIN_EVIDENCE_READER_H

#include "evidence/disk.h"
#include "evidence/merkle.h"
#include "evidence/note.h"
#include "evidence/tiles.h"

struct reader {
  struct disk disk;
  struct checkpoint checkpoint;
  char *note; /* the signed checkpoint as it lies there */
  size_t note_len;
  size_t text_len; /* of it: what is signed */
};

/* folder: evidence/log. ERR_NOT_FOUND when it has no checkpoint; ERR_INVALID when it is not signed with the key, or is of another log. */
int reader_open(const char *folder, const struct note_verifier *key, struct reader *ret, struct err *err);
void reader_close(struct reader *r);
/* Appends tile `index` (level TILE_ENTRIES: a bundle) as wide as it is under the checkpoint. ERR_INVALID when it is cut short. */
int reader_tile(const struct reader *r, int level, uint64_t index, struct buf *out, struct err *err);
int reader_root(const struct reader *r, uint64_t size, struct hash *ret, struct err *err);
int reader_inclusion(const struct reader *r, uint64_t index, struct merkle_proof *ret, struct err *err);
/* From an earlier size (at least 1) to the checkpoint's. */
int reader_consistency(const struct reader *r, uint64_t first, struct merkle_proof *ret, struct err *err);

#endif
