/* params.h: parameters as people type them (`count=3 users=alice,bob`), read by the schema that they are for.
 *
 * Only texts are touched, and only where the schema wants something else: a number for integer and number, true/false/yes/no for boolean, a list from words
 * between commas, JSON for map and any. A text that does not fit stays a text, so that schema_check names the mistake. Pure. */
#ifndef TOCSIN_INCIDENT_PARAMS_H
#define TOCSIN_INCIDENT_PARAMS_H

#include <jansson.h>

/* schema: {name: rule}; params: {name: value}. New. */
json_t *params_read(const json_t *schema, const json_t *params);

#endif
