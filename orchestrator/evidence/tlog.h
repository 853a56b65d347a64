/* tlog.h: the transparency log of one node on disk: a C2SP tlog-tiles folder with a signed checkpoint (the brief form of DESIGN's evidence/log).
 *
 * The checkpoint is the truth. What lies beyond it is what a crash left behind: ignored, and written over by the next batch. A batch is: tiles
 * and bundles written and synced, read back and hashed anew from the entries, and only then signed; the checkpoint is put in place by rename.
 * After a failure at any call the log is as before or as after, never between; tlog_size tells which.
 * Nothing that a published checkpoint covers is ever written again. Never signs a tree that it has not read back. Blocks: for a worker thread. */
#ifndef TOCSIN_EVIDENCE_TLOG_H
#define TOCSIN_EVIDENCE_TLOG_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "evidence/disk.h"
#include "evidence/merkle.h"
#include "evidence/note.h"
#include "evidence/tiles.h"

struct tlog;

struct tlog_entry {
  const void *bytes;
  size_t len;
  const struct hash *leaf; /* what the leaf's hash must be, else ERR_IO: it was changed on its way; NULL: not known */
};

/* Opens or begins it. The signer's name is the log's origin. ERR_CONFLICT: another process has it open; ERR_INVALID: what the checkpoint covers is damaged, or it was signed
 * with another key. fault is for tests. */
int tlog_open(const char *folder, const struct note_signer *signer, disk_fault_cb *fault, void *arg, struct tlog **ret, struct err *err);
/* To read only, beside whoever appends: no lock, and nothing may be appended. ERR_NOT_FOUND or ERR_IO when it is not there. */
int tlog_look(const char *folder, const struct note_verifier *key, struct tlog **ret, struct err *err);
void tlog_close(struct tlog *t);

/* Appends all of them under one checkpoint. After an error nobody knows yet whether they are in (it may have come behind the rename): call it with no entries until that
 * succeeds, then tlog_size tells. */
int tlog_append(struct tlog *t, const struct tlog_entry *entries, size_t count, struct err *err);
/* Puts signature lines of others (checked already, each with its newline) behind the checkpoint, as long as it is the one of that size; those that are there stay once. ERR_CONFLICT:
 * the log has gone on, and its newest checkpoint is left as it is. */
int tlog_cosign(struct tlog *t, uint64_t size, const char *lines, size_t len, struct err *err);
uint64_t tlog_size(const struct tlog *t);
void tlog_root(const struct tlog *t, struct hash *out);
const char *tlog_origin(const struct tlog *t);

/* Appends the entry's bytes to out, checked against its tile. */
int tlog_read(const struct tlog *t, uint64_t index, struct buf *out, struct err *err);
/* Every entry from index `from` to before `to`, checked against its tile. What cb returns below 0 ends it and is returned. */
typedef int tlog_each_cb(void *arg, uint64_t index, const void *bytes, size_t len, const struct hash *leaf, struct err *err);
int tlog_each(const struct tlog *t, uint64_t from, uint64_t to, tlog_each_cb *cb, void *arg, struct err *err);
int tlog_inclusion(const struct tlog *t, uint64_t index, uint64_t size, struct merkle_proof *ret, struct err *err);
int tlog_consistency(const struct tlog *t, uint64_t first, uint64_t second, struct merkle_proof *ret, struct err *err);

#endif
