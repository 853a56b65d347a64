/* pseudonym.h: people's names out of a recorded test, so that it can be kept beside a playbook and shown to others (GDPR Art. 4(5): pseudonymisation).
 *
 * Who a person is, the alerts' observables tell (OCSF types User Name and Email Address). Each gets a name of their own, "user-1" and on, put wherever the
 * old one stands as a word, in whatever case: in alerts, parameters, answers and what is expected. Of an address only the part before the @ is replaced, of
 * DOMAIN\name or an ARN only the last part: what a playbook looks at beside it stays. Accounts that are nobody's (root, system…) stay as they are.
 * What observables do not name (a full name in a directory's answer, an address of a machine) is not found. Pure. */
#ifndef TOCSIN_EXERCISE_PSEUDONYM_H
#define TOCSIN_EXERCISE_PSEUDONYM_H

#include <jansson.h>

/* The people of the findings in `alerts` ([finding] or [{alert = finding}]), added to `names` ({ name = pseudonym }, in small letters). */
void pseudonyms_find(const json_t *alerts, json_t *names);

/* A copy of the value with every name replaced; member names stay. New. */
json_t *pseudonyms_put(const json_t *value, const json_t *names);

#endif
