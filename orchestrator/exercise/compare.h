/* compare.h: how often people, or other playbooks, did what a playbook in shadow said it would do. Pure: reads journals, touches nothing.
 *
 * A would-be action and a deed are the same when connector, action and target are (or verb and value, for a severity, a tag, a closing verdict); each deed
 * counts for one would-be action, the earliest first. Only what Tocsin did for somebody is a deed: what a person did in the product itself is not in a journal. */
#ifndef TOCSIN_EXERCISE_COMPARE_H
#define TOCSIN_EXERCISE_COMPARE_H

#include <jansson.h>

#include "base/buf.h"
#include "journal/entry.h"

/* New {"playbook", "incidents", "runs", "same", "not_done", "not_suggested", "asked", "handed_over", "failed": counts, "actions": [], "rows": []}. */
json_t *compare_new(const char *playbook);
/* Adds one incident's journal, in order from seq 1 on; one without a run in shadow of that playbook changes nothing. Into "rows": {"incident", "verdict": "same", "not_done" or
 * "not_suggested", "text": "contain ldap.lock_account user=alice", "action", "effect", "target", "step": of the would-be action or the deed, "by": who did it, "after_ms": how
 * much later (negative: earlier)}; into "actions": {"text": without target, "same", "not_done", "not_suggested"}. */
void compare_add(json_t *report, const char *incident, struct entry *const *entries, size_t count);

/* "contain ldap.lock_account user=alice" of an entry's body. */
void action_text(const json_t *body, struct buf *out);

#endif
