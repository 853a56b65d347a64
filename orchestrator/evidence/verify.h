/* verify.h: the engine's own check of an evidence log's folder; tocsin-verify (orchestrator/verify/) is the other, and shares nothing with this one.
 *
 * Everything that the checkpoint covers is read: its signature, every entry against its tile, every tile against what lies below it, the root, the journals' own
 * chains, and checkpoints kept from earlier. Each fault has a kind and a place. Nothing passes that is not signed by the given key. The folder need not be
 * trusted and is not changed; it may grow meanwhile. What lies beyond the checkpoint is not looked at. */
#ifndef TOCSIN_EVIDENCE_VERIFY_H
#define TOCSIN_EVIDENCE_VERIFY_H

#include <stdint.h>

#include "base/err.h"
#include "evidence/head.h"
#include "evidence/note.h"
#include "evidence/tiles.h"

enum fault_kind {
  FAULT_CHANGED,
  FAULT_MISSING,
  FAULT_REORDERED,
  FAULT_ADDED,
  FAULT_GAP,
  FAULT_STALE,
  FAULT_UNSIGNED,
  FAULT_WRONG_KEY,
  FAULT_KINDS
};
const char *fault_name(enum fault_kind kind); /* "changed", "missing"…; static */

enum { FAULTS_KEPT = 10000 };

struct fault {
  enum fault_kind kind;
  uint64_t from, to; /* entries of the log; only when place is "entry" */
  char place[TILE_PATH];
  char text[200];
};

/* A body that is gone on purpose: an entry of the same journal says so. */
struct removal {
  uint64_t index; /* of that entry, in the log */
  char incident[HEAD_INCIDENT];
  uint64_t seq, by; /* whose body; that entry's number in the journal */
};

struct verify_result {
  uint64_t size; /* as the checkpoint says */
  struct hash root;
  size_t journals;
  struct fault *faults;     /* in order of entries; those without one first */
  size_t count, more;       /* more: faults beyond FAULTS_KEPT */
  struct removal *removals; /* in order of entries, the first FAULTS_KEPT */
  size_t removal_count;
};

struct verify_options {
  const struct note_verifier *key;
  bool plain;                       /* the entries are no heads of journals: no chains are checked */
  const struct checkpoint *earlier; /* whose signatures the caller has checked */
  size_t earlier_count;
};

/* 0 when it could be looked at, sound or not: it is sound when there is no fault. */
int verify_log(const char *folder, const struct verify_options *options, struct verify_result *ret, struct err *err);
void verify_release(struct verify_result *r);

#endif
