/* record.h: a playbook's unit test (tests/lua/README.md) made from the journal of an incident that it has handled.
 *
 * The alerts that the run began with and those that came while it ran, the time, its parameters and settings, what the actions really brought back, what
 * people answered, and how it ended. Journal entries are redacted before they are kept, so no secret can come from them. People whom the alerts name get
 * pseudonyms (pseudonym.h); who else is named in an answer or a note is as it was: whoever records looks the file over.
 * What another time cannot repeat is left out of what is expected: texts that bear the incident's id, texts of several lines.
 * Pure: the same entries give the same bytes. Never runs anything. */
#ifndef TOCSIN_EXERCISE_RECORD_H
#define TOCSIN_EXERCISE_RECORD_H

#include "base/buf.h"
#include "journal/entry.h"

struct record_source {
  const char *incident;
  struct entry *const *entries; /* in order, from seq 1 on */
  size_t count;
  bool names;   /* people keep theirs */
  unsigned run; /* 0: the first one that a playbook's file stands behind */
};

/* Appends the file's text; *ret_playbook: its playbook's name, borrowed from the entries. ERR_NOT_FOUND: there is no such run; ERR_CONFLICT: it has not ended, ran in shadow, or
 * something came of it that a test cannot play (a containment that could not be lifted, or that another incident holds too). */
int record_test(const struct record_source *s, struct buf *out, const char **ret_playbook, struct err *err);

#endif
