/* archived.h: journal entries read back from this node's evidence log, for journals that have left Redis.
 *
 * What is returned was checked: head against the log's tile and its leaf, body against its head. A body that was removed is missing in the entry, which is legal. Opened when it is first
 * needed, and anew after a failure. Every call may read from a disk, so callers take few entries in one turn of the loop. Changes nothing. */
#ifndef TOCSIN_JOURNAL_ARCHIVED_H
#define TOCSIN_JOURNAL_ARCHIVED_H

#include "evidence/note.h"
#include "journal/entry.h"

struct archived;

/* folder: of the evidence. Copies both. */
struct archived *archived_new(const char *folder, const struct note_verifier *key);
void archived_free(struct archived *a); /* NULL is legal */
/* For entry_free. ERR_NOT_FOUND: the log does not hold it; ERR_INVALID names the index in the log at which it is damaged. */
int archived_read(struct archived *a, const char *journal, uint64_t seq, struct entry **ret, struct err *err);
/* The newest entry of a journal that is sealed under a published checkpoint; all before it are, too. ERR_NOT_FOUND: none is. */
int archived_last(struct archived *a, const char *journal, uint64_t *ret_seq, char ret_leaf[DIGEST_HEX], struct err *err);

#endif
