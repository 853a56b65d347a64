/* report.h: what one incident's journal says, in the forms that others read: a page, a table, OCSF, STIX.
 *
 * Pure functions of the entries: no clock, no network, no settings; the same entries give the same bytes, so that a reader can make them anew and compare. They are
 * views, never the record: each value names the entry (#seq) that it comes from. What the journal does not hold is null, and "not recorded" on the page; never 0 and never a guess.
 * Everything that strangers wrote is escaped for the form that it stands in. Times are UTC. Formats: HTML with inline SVG and no script; RFC 4180; OCSF 1.3 Incident Finding
 * (class 2005); STIX 2.1 with version 5 UUIDs (RFC 9562). */
#ifndef TOCSIN_REPORT_REPORT_H
#define TOCSIN_REPORT_REPORT_H

#include <jansson.h>

#include "base/buf.h"
#include "journal/entry.h"

enum { REPORT_CAP = 256 << 20 };

struct report_source {
  const char *incident;
  struct entry *const *entries; /* in order, from seq 1 on */
  size_t count;
  const json_t *names; /* {"person:7f3a": "alice"}; NULL or lacking: the pseudonym is shown */
  /* What an entry says, in words; may be several lines. */
  void (*words)(void *arg, const struct entry *e, struct buf *out);
  void *words_arg;
  /* How the entries are proven, for the page's last part: {origin, size, root, covered, first_open, verifier}; NULL: they are not sealed. */
  const json_t *seal;
};

/* Everything that the views are made of; new. Times are microseconds; a "seq" names the entry. Members:
 *   id, title, mode, status, severity, severity_id, owner, entries, first, last, alerts […], playbooks […], attack […], tags […], observables […], removed [seq…]
 *   times {occurred, detected, received, acknowledged, contained, recovered}: null or {time, seq, how}
 *     occurred: what a person set when opening it, else the earliest event time (OCSF start_time, finding_info.first_seen_time) that an alert bears
 *     detected: the earliest time that a product gave its alert      received: when the first alert reached Tocsin, or a person opened the incident
 *     acknowledged: a person's first act      contained: the last containment before a person tagged the incident "contained" or closed it
 *     recovered: when it was closed, or when the last containment was released, whichever came first
 *   containments [{place, seq, time, connector, action, target, because, by, status, ended, ended_seq, ended_by, why}] status: active|found|released|kept|still
 *   decisions [{seq, time, by, person, type, about, target}]: what people did, and what silence or the engine decided in their place
 *   questions [{place, seq, time, text, role, answer, answered, answered_seq, by}], runs [{run, seq, time, playbook, by, status, ended, ended_seq}],
 *   actions [{place, seq, time, ended, ended_seq, connector, action, effect, target, ok}], closing {…, by, seq, time}, controls {"A.5.26": [seq…]} */
json_t *report_facts(const struct report_source *s);

void report_html(const struct report_source *s, const json_t *facts, struct buf *out);
/* Lines end in CR LF; a cell that a spreadsheet would take for a formula begins with an apostrophe. */
void report_csv(const struct report_source *s, struct buf *out);
json_t *report_ocsf(const json_t *facts); /* new */
json_t *report_stix(const json_t *facts); /* new */

/* The first page of a bundle of several incidents; contents as contents.json holds them: {from, to, incidents [{id, title, severity, status, verdict, entries, sealed, times}]}. */
void report_index(const json_t *contents, struct buf *out);

/* The page about an exercise, of what its judge says (exercise/scenario.h); before: the same of the last time that the scenario was played, or NULL. EXERCISE stands on every printed page. */
void report_exercise(const json_t *result, const json_t *before, struct buf *out);

/* The name of an actor: "alice", "playbook contain-account", "tocsin". Borrowed from names or from the entry, or written to room. */
const char *report_actor(const struct report_source *s, const char *actor, char *room, size_t size);
/* What an Annex A control is called; "" when it is not one of ours. Static. */
const char *report_control(const char *control);

#endif
