/* missing.h: bodies that are missing in a journal that is read from its beginning, until a later entry says that they were removed. Inside journal/ only. */
#ifndef TOCSIN_JOURNAL_MISSING_H
#define TOCSIN_JOURNAL_MISSING_H

#include "journal/entry.h"

/* All zero: none yet. */
struct missing {
  uint64_t *list; /* not accounted for, in the order of the journal; for free */
  size_t count;
  uint64_t removed; /* those that were */
};

/* Takes note of the next entry. */
void missing_note(struct missing *m, const struct entry *e);
/* At the journal's end. ERR_INVALID names the first body that nothing accounts for. */
int missing_check(const struct missing *m, struct err *err);

#endif
