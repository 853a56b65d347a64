/* blobs.h: files kept as evidence, each encrypted under a random key of its own, and named by what it holds.
 *
 * A blob lies in blobs/ab/cdef…, the SHA-256 of its incident's id and its content's digest: two incidents never share one, and the name tells a stranger nothing. It is a row of
 * pieces of BLOB_PIECE bytes, each AES-256-GCM's output and 16 bytes of tag; the nonce is the piece's number, and marks the last. The key lies in keys.db beside those of the bodies;
 * removing a blob is destroying its key, and the file.
 * A blob is durable when blob_finish returns: file, key, folder. It is BLOB_NEW until whoever wrote the journal's entry says BLOB_KEPT, and BLOB_LEAVING before the entry that says
 * it was removed: so what a crash left half done is found by blobs_unsettled. Bounded memory, whatever the size. Blocks: for a worker thread; one thread at a time. */
#ifndef TOCSIN_EVIDENCE_BLOBS_H
#define TOCSIN_EVIDENCE_BLOBS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "evidence/head.h"

enum { BLOB_PIECE = 64 << 10 };
enum blob_mark { BLOB_NEW, BLOB_KEPT, BLOB_LEAVING };

struct blobs;
struct blob_writer;

/* folder/blobs/ and folder/keys.db; made when they are not there. */
int blobs_open(const char *folder, struct blobs **ret, struct err *err);
/* What an earlier process had begun to write is removed: while nobody writes, here or through another handle. */
int blobs_clear(struct blobs *b, struct err *err);
void blobs_close(struct blobs *b); /* every writer has ended before. NULL is legal */

/* A file of at most `most` bytes. */
int blob_begin(struct blobs *b, const char *incident, uint64_t most, struct blob_writer **ret, struct err *err);
/* ERR_LIMIT: it grew over its size. The writer must still be ended. */
int blob_write(struct blob_writer *w, const void *bytes, size_t len, struct err *err);
/* Ends the writer, also on failure. ERR_EXISTS: the incident has this very content, and it is kept. ERR_CONFLICT: its digest is not the expected one (NULL: any); nothing is left
 * of it, and what was kept before is as it was. */
int blob_finish(struct blob_writer *w, const char *expected, char ret_sha256[DIGEST_HEX], uint64_t *ret_size, struct err *err);
void blob_cancel(struct blob_writer *w); /* nothing is left of it. NULL is legal */

/* Appends at most len bytes from this offset on to out; nothing at its end. ERR_NOT_FOUND: removed, or never there. ERR_INVALID: it was changed. */
int blob_read(struct blobs *b, const char *incident, const char *sha256, uint64_t offset, size_t len, struct buf *out, struct err *err);
/* ERR_NOT_FOUND as above. Durable when it returns. */
int blob_mark(struct blobs *b, const char *incident, const char *sha256, enum blob_mark mark, struct err *err);
/* Destroys file and key; ERR_NOT_FOUND as above. Durable when it returns. */
int blob_remove(struct blobs *b, const char *incident, const char *sha256, struct err *err);

/* What of its retention was found when it was last looked at: its time is not over; it is, and it goes at the next look; and why it stays although it is: a legal hold,
 * an incident that is not closed or a receiver who has not acknowledged, a class that only people delete. */
enum blob_time { BLOB_IN_TIME, BLOB_DUE, BLOB_HELD, BLOB_BUSY, BLOB_FOR_PEOPLE, BLOB_TIMES };

struct blob_info {
  char incident[HEAD_INCIDENT];
  char sha256[DIGEST_HEX];
  enum blob_mark mark;
  enum blob_time time;
};
/* Every blob that is not BLOB_KEPT; a new array of *ret_count, for free. */
int blobs_unsettled(struct blobs *b, struct blob_info **ret, size_t *ret_count, struct err *err);

/* Kept ones whose retention is to be looked at by now (µs of a steady clock), never looked at ones first, `most` at most; a new array as above. */
int blobs_to_look(struct blobs *b, int64_t now, size_t most, struct blob_info **ret, size_t *ret_count, struct err *err);
/* It was looked at, and will be again from `at` on. */
int blob_looked(struct blobs *b, const char *incident, const char *sha256, enum blob_time time, int64_t at, struct err *err);

struct blob_counts {
  uint64_t kept,
      missing; /* those that are just being written or removed left out; of them, such as have no file, or one that is not readable here */
  uint64_t times[BLOB_TIMES];
};
int blobs_count(struct blobs *b, struct blob_counts *ret, struct err *err);

#endif
