/* madeup.h: settings for a connector that nobody has configured, and that is only simulated: values that its schema lets pass and that lead nowhere. */
#ifndef TOCSIN_SCRIPT_MADEUP_H
#define TOCSIN_SCRIPT_MADEUP_H

#include <jansson.h>

#include "script/script.h"

/* New {"$connector": connector, …} with what the declaration wants. A secret in it is the slot "simulated", which the caller puts into the store. */
json_t *madeup_settings(const struct declaration *d, const char *connector);

/* A value that this schema lets pass, or the text "simulated". New. */
json_t *madeup_value(const json_t *schema);

#endif
