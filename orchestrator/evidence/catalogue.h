/* catalogue.h: where each journal entry lies in the log: journal and seq → index; how far each journal is sealed; and a search over what the entries say.
 *
 * Derived from the log and from nothing else: it may lag behind it. catalogue_follow brings it up to what the log holds, and a file that is damaged, of another log or of an older form is
 * thrown away and made anew. Losing it costs time only. One writer (the sealer's thread); readers of other threads and processes use catalogue_look beside it. What it holds never runs ahead of the
 * published checkpoint. Blocks: reads of a writer's or reader's own connection are single look-ups in an index. */
#ifndef TOCSIN_EVIDENCE_CATALOGUE_H
#define TOCSIN_EVIDENCE_CATALOGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "evidence/merkle.h"
#include "evidence/tlog.h"

struct catalogue;
struct bodies;

struct place {
  uint64_t index, seq; /* in the log; in the journal */
  struct hash leaf;
};

/* folder/catalogue.db, made when it is not there or cannot be used. */
int catalogue_open(const char *folder, struct catalogue **ret, struct err *err);
/* To read only; ERR_NOT_FOUND when there is none. */
int catalogue_look(const char *folder, struct catalogue **ret, struct err *err);
void catalogue_close(struct catalogue *c);

/* Adds what the log holds and it does not; starts from nothing when it does not fit the log. Costs nothing when it is up to date. */
int catalogue_follow(struct catalogue *c, const struct tlog *log, struct err *err);
/* Throws it away and follows from the first entry. */
int catalogue_rebuild(struct catalogue *c, const struct tlog *log, struct err *err);
/* False: it was not looked through yet, or SQLite has called it damaged: catalogue_follow makes up for it. */
bool catalogue_usable(const struct catalogue *c);

uint64_t catalogue_size(const struct catalogue *c);  /* entries that a writer has put in */
uint64_t catalogue_texts(const struct catalogue *c); /* those of which it has read the texts, too */
/* The same of any, as they are now: of how many of the log's entries a search knows where they lie, and what they say. */
int catalogue_extent(struct catalogue *c, uint64_t *ret_size, uint64_t *ret_texts, struct err *err);
/* ERR_NOT_FOUND: the log holds no such entry; of a journal that it does not know, no last one. */
int catalogue_find(struct catalogue *c, const char *journal, uint64_t seq, struct place *ret, struct err *err);
int catalogue_last(struct catalogue *c, const char *journal, struct place *ret, struct err *err);
/* Around many of these: they are one look at the file, as it was at the first, and each is spared its locks. Nothing may be added between them. Should it fail, each looks by itself. */
void catalogue_look_begin(struct catalogue *c);
void catalogue_look_end(struct catalogue *c);

/* ---- searching: actor, kind, targets and the texts of bodies, as far as those are not removed */

/* Follows the log by `most` entries, texts and all, and reads those that catalogue_follow left out; *ret_more: there are others. Bodies over CATALOGUE_BODY bytes give no texts, and of each
 * CATALOGUE_TEXT bytes are kept. */
enum { CATALOGUE_BODY = 1 << 20, CATALOGUE_TEXT = 4096 };
int catalogue_read(struct catalogue *c, const struct tlog *log, struct bodies *bodies, size_t most, bool *ret_more, struct err *err);
/* A body was removed: nothing of its texts is left in the file when it returns. Takes time in proportion to the catalogue. */
int catalogue_forget(struct catalogue *c, uint64_t index, struct err *err);

struct catalogue_query {
  const char *match;        /* words, "a phrase", AND, OR, NOT, prefix*; NULL: every entry */
  int64_t from, to;         /* µs; to 0: no end; from is in, to is not */
  const char *journal;      /* NULL: all */
  const char *const *kinds; /* types of entries, ended by NULL; NULL: all */
  size_t most;
};
typedef bool catalogue_hit_cb(void *arg, uint64_t index, const char *journal, uint64_t seq, int64_t time, const char *kind);
/* The newest first. ERR_INVALID: match is not understood. */
int catalogue_search(struct catalogue *c, const struct catalogue_query *query, catalogue_hit_cb *cb, void *arg, struct err *err);

/* How many entries of each type there are in a time, those that people wrote apart from those of the engine and its playbooks. */
typedef void catalogue_count_cb(void *arg, const char *kind, bool person, uint64_t count);
int catalogue_count(struct catalogue *c, int64_t from, int64_t to, catalogue_count_cb *cb, void *arg, struct err *err);

#endif
