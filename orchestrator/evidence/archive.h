/* archive.h: a sealed evidence folder to read from, also while a sealer writes to it: where an entry lies, its head, its body, and the proof that the log holds it.
 *
 * An archive stands on one checkpoint, signed by the key that it was opened with; proofs are all to that one. It moves to the newest only in archive_renew (and in archive_find and
 * archive_last, when what they found lies beyond it): take the checkpoint after those. What is returned was checked: heads against their tiles, bodies against their heads.
 * One thread at a time; every call may read from a disk. Changes nothing. */
#ifndef TOCSIN_EVIDENCE_ARCHIVE_H
#define TOCSIN_EVIDENCE_ARCHIVE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "evidence/catalogue.h"
#include "evidence/merkle.h"
#include "evidence/note.h"
#include "evidence/tiles.h"

struct archive;

/* ERR_NOT_FOUND: nothing was ever sealed there. */
int archive_open(const char *folder, const struct note_verifier *key, struct archive **ret, struct err *err);
void archive_close(struct archive *a);
int archive_renew(struct archive *a, struct err *err);

/* What it stands on; and the signed note, with every cosignature that was there. Borrowed until the next renewal. */
const struct checkpoint *archive_checkpoint(const struct archive *a);
const char *archive_note(const struct archive *a, size_t *ret_len);

/* To search in. Borrowed. */
struct catalogue *archive_catalogue(struct archive *a);

/* journal: "INC-000042" or "node-n1". ERR_NOT_FOUND: not sealed. */
int archive_find(struct archive *a, const char *journal, uint64_t seq, struct place *ret, struct err *err);
int archive_last(struct archive *a, const char *journal, struct place *ret, struct err *err);
/* Append to out. archive_body: the envelope (evidence/leaf.h); ERR_NOT_FOUND when it was removed, or the entry never had one. */
int archive_head(const struct archive *a, uint64_t index, struct buf *out, struct err *err);
int archive_body(struct archive *a, const struct place *place, struct buf *out, struct err *err);
/* That entry `index` is in the checkpoint's tree; that the tree of `first` entries is its beginning. */
int archive_inclusion(const struct archive *a, uint64_t index, struct merkle_proof *ret, struct err *err);
int archive_consistency(const struct archive *a, uint64_t first, struct merkle_proof *ret, struct err *err);

/* Of a folder that nobody seals into any more. Brings its catalogue up to what the log holds: whoever sealed may have ended before it did, and a copy may lack it. */
int archive_ready(const char *folder, const struct note_verifier *key, struct err *err);
/* Removes the body of an entry from such a folder: its key, and its texts; makes it ready first. 0 also when the log does not hold the entry, or it was removed before. */
int archive_forget(const char *folder, const struct note_verifier *key, const char *journal, uint64_t seq, struct err *err);
/* The same, of a folder whose parts are open. */
struct bodies;
int archive_forget_entry(struct bodies *bodies, struct catalogue *catalogue, const char *journal, uint64_t seq, struct err *err);

#endif
