/* timeline.h: a journal's entries as a responder reads them at three in the morning.
 *
 *   18:42:01  playbook contain-account  ldap: lock account, user alice (contain)  ok  0.2 s
 *
 * Local time, who, what in words, outcome, how long. An intent is left out when its outcome follows, a storm of alerts is told in two
 * lines; `all` shows every entry with its number. One formatter for each kind (kinds.def); a kind of a newer version is shown by its name and body.
 * Whatever strangers wrote goes through view_text. */
#ifndef TOCSIN_CMD_TIMELINE_H
#define TOCSIN_CMD_TIMELINE_H

#include "cmd/view.h"
#include "journal/entry.h"

struct timeline {
  bool all;     /* every entry, with its seq */
  int64_t day;  /* the last date printed, µs; 0: none yet */
  unsigned who; /* width of the second column; 0: found from the entries */
};

/* entries as incident.show gives them. May be called again with the entries that follow. */
void timeline_print(struct timeline *t, struct view *v, const json_t *entries);
/* What one entry says, in words, on one or more lines, without time and person. For tests and reports. */
void timeline_words(struct view *v, const json_t *entry);
bool timeline_knows(enum kind kind);

#endif
