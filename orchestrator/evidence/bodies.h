/* bodies.h: the envelopes of sealed entries, each encrypted under a key of its own, and the small store that holds those keys.
 *
 * Envelope i of the log is record i mod 256 of file bodies/<i div 256> (numbered as tiles are): its length in four bytes, 12 bytes of nonce, AES-256-GCM's output, 16 bytes of tag,
 * bound to its place and to its head's leaf hash. Removing a body is destroying its key: the file stays as it was and says nothing any more. What is appended is durable when
 * bodies_append returns, keys first. A batch that was not published is written over by the next, under new keys.
 * The keys' store wipes what it deletes; what a copy of it or the disk's own spare blocks remember is beyond it. Blocks: for a worker thread. */
#ifndef TOCSIN_EVIDENCE_BODIES_H
#define TOCSIN_EVIDENCE_BODIES_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "evidence/merkle.h"

enum { BODY_MAX = (64 << 20) + 4096 };

struct bodies;

struct body {
  const void *bytes; /* the envelope; len 0: there is none */
  size_t len;
  struct hash leaf; /* of its head */
};

/* folder/bodies/ and folder/keys.db; both are made when they are not there. ERR_CONFLICT: another process has them open so. */
int bodies_open(const char *folder, struct bodies **ret, struct err *err);
/* To read only, beside another process's; they must be there. */
int bodies_look(const char *folder, struct bodies **ret, struct err *err);
void bodies_close(struct bodies *b);
/* From index `first` on, which must not lie below the published size; records behind it are cut off. ERR_INVALID when records before it are missing. */
int bodies_append(struct bodies *b, uint64_t first, const struct body *list, size_t count, struct err *err);
/* Appends the envelope to out. ERR_NOT_FOUND: it was removed, or never was. ERR_INVALID: the record was changed, or belongs to another head. */
int bodies_read(struct bodies *b, uint64_t index, const struct hash *leaf, struct buf *out, struct err *err);
/* Around many reads in a row: they share one look at the keys and find one record behind the other. Nothing may be appended or removed through b between them. */
void bodies_read_begin(struct bodies *b);
void bodies_read_end(struct bodies *b);
/* Appends the first `count` records of file `number` to out as they lie there, encrypted; needs no key, and may run beside bodies_append. */
int bodies_records(const char *folder, uint64_t number, unsigned count, struct buf *out, struct err *err);
/* Destroys the key. ERR_NOT_FOUND when it is gone already. Durable when it returns. */
int bodies_remove(struct bodies *b, uint64_t index, struct err *err);

#endif
