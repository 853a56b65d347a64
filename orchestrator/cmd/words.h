/* words.h: what each kind of entry says, one function per kind; used by timeline.c alone. */
#ifndef TOCSIN_CMD_WORDS_H
#define TOCSIN_CMD_WORDS_H

#include "cmd/view.h"
#include "journal/entry.h"

/* Writes the words for a body (never NULL) of this kind and says how they should look. */
typedef enum style words_fn(struct view *v, const json_t *body);

extern words_fn *const words_incident[KIND_COUNT]; /* words_incident.c: people, alerts, runs, the engine */
extern words_fn *const words_action[KIND_COUNT];   /* words_action.c: actions, questions, containment, secrets */
extern words_fn *const words_exercise[KIND_COUNT]; /* words_exercise.c: exercises, corrective actions */

extern words_fn *const words_evidence[KIND_COUNT]; /* words_evidence.c: files in custody, changes of Redis' master */

/* Somebody's text, with its line breaks, bounded. */
void words_lines(struct view *v, const char *text);
/* " before: text" when the member is there. */
void words_member(struct view *v, const char *before, const json_t *body, const char *key);
/* "ldap: lock account, user alice (contain)" */
void words_action_name(struct view *v, const json_t *body);
/* "WOULD have sent ldap: lock account, user alice (contain)": what a playbook in shadow says it would have done. */
void words_would(struct view *v, const json_t *body);

#endif
