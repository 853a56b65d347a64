/* entry.h: one journal entry: a head that is hashed and a body that can be removed.
 *
 * The head is one line of compact JSON with sorted keys; it is stored and hashed as the very bytes written and never serialised
 * anew to verify. The body travels in an envelope (evidence/leaf.h). Bodies are redacted before their bytes are made.
 * Pure: reads no clock, opens nothing. */
#ifndef TOCSIN_JOURNAL_ENTRY_H
#define TOCSIN_JOURNAL_ENTRY_H

#include <jansson.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/id.h"
#include "base/secret.h"

enum kind {
#define KIND(symbol, name, meaning, control) KIND_##symbol,
#include "journal/kinds.def"
#undef KIND
  KIND_COUNT
};

const char *kind_name(enum kind kind);
const char *kind_meaning(enum kind kind);
const char *kind_control(enum kind kind);
/* KIND_COUNT when unknown (a newer version's journal). */
enum kind kind_by_name(const char *name);

enum { ENTRY_ACTOR = 96, ENTRY_BODY_CAP = 64 << 20 };

/* What its acknowledgement needs stands side by side: it is all of an entry that is touched then. */
struct entry {
  STAILQ_ENTRY(entry) next; /* its journal's own, while it is not acknowledged */
  uint64_t seq;
  char *head;
  size_t head_len;
  char *envelope;
  size_t envelope_len;
  json_t *body;          /* parsed; NULL when the body was removed, or nobody has asked for it yet (entry_body) */
  char leaf[DIGEST_HEX]; /* of head */
  bool bare;             /* as its writer said */
  enum kind kind;
  unsigned run;       /* 0: none */
  char step[ID_STEP]; /* "": none */
  char actor[ENTRY_ACTOR];
  int64_t time; /* microseconds */
  char bytes[]; /* head and envelope, of one that was made or read here: all of it is one block of slab.h */
};

/* What the writer says; the rest comes from the journal. body is borrowed. */
struct entry_spec {
  enum kind kind;
  const char *actor; /* "engine", "playbook:contain-account", "person:7f3a91c2" */
  unsigned run;
  const char *step; /* NULL or "": none */
  const json_t *body;
  const struct buf *written; /* in its place: the bytes that json_write would make of it; borrowed. NULL: body counts */
  bool bare;                 /* folding it takes its kind and its place alone: an outcome that contains nothing */
};

/* Writes head and envelope and hashes them. prev: 64 hex digits, leaf_none() for the first. ERR_LIMIT when the body is over ENTRY_BODY_CAP. secrets may be NULL. */
int entry_make(const struct entry_spec *spec, const char *incident, const char *node, uint64_t seq, const char *prev, int64_t time,
               const struct secrets *secrets, struct entry **ret, struct err *err);
/* Reads stored bytes back; checks that head, leaf and body fit together (ERR_INVALID says which does not). A missing body (len 0) is legal. */
int entry_read(const char *head, size_t head_len, const char *leaf, const void *envelope, size_t envelope_len, struct entry **ret,
               struct err *err);
void entry_free(struct entry *e);
/* Its body, read from its envelope when it was appended as bytes. Borrowed; NULL when it was removed. */
json_t *entry_body(const struct entry *e);

/* The number of the entry whose body it says is removed (KIND_BODY_REMOVING), else 0. */
uint64_t entry_removes(const struct entry *e);
/* The entry that says so of entry `seq`, among the entries of its journal; NULL: none does. */
const struct entry *entry_removal(struct entry *const *entries, size_t count, uint64_t seq);
/* What a removal keeps of a body, because the fold needs it: flags, numbers and places from fixed vocabularies, never a text that somebody wrote. New. */
json_t *entry_residue(const struct entry *e);

/* The chain: the entry's seq is `seq` and its head's prev is `prev`. ERR_INVALID names what is wrong. */
int entry_follows(const struct entry *e, uint64_t seq, const char *prev, struct err *err);

#endif
