/* internal.h: what load.c needs of journal.c, and nobody else. */
#ifndef TOCSIN_JOURNAL_INTERNAL_H
#define TOCSIN_JOURNAL_INTERNAL_H

#include "journal/journal.h"

/* The state that was stored; entries up to its seq are folded already. Takes it over. */
void journal_set_state(struct journal *j, json_t *state_take);
/* An entry that Redis holds: the newest so far, acknowledged. Folded unless the state holds it already. */
void journal_take_entry(struct journal *j, const struct entry *e);
/* Entries up to this one have left Redis, and so has the state that folds them: it is stored anew only when something is appended. */
void journal_set_archived(struct journal *j, uint64_t seq);

/* A state folded anew takes the place of the one that it has; what Redis has stored of the old one is not relied on. */
void journal_swap_state(struct journal *j, json_t *state_take);
/* *handle is set to NULL when the journal is freed first. handle NULL: no more. False: somebody else's is set. */
bool journal_guard(struct journal *j, struct journal **handle);

#endif
