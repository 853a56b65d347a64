/* coverage.h: which lines of a playbook's functions its unit tests have run.
 *
 * Lines that can be hit are read from the bytecode that the declaration keeps (Lua 5.4's own dump, made by this process, never a script's); the
 * main chunk is left out, because loading a file runs all of it. Costs nothing where it is not asked for. */
#ifndef TOCSIN_SCRIPT_COVERAGE_H
#define TOCSIN_SCRIPT_COVERAGE_H

#include <jansson.h>

#include "script/script.h"

struct coverage;

/* d must outlive it. */
int coverage_new(const struct declaration *d, struct coverage **ret, struct err *err);
void coverage_free(struct coverage *c);
/* The script's bursts from now on are counted; c must outlive it. */
void script_cover(struct script *s, struct coverage *c);
/* New {"lines": how many can be hit, "hit": how many were, "missed": [line…]}. */
json_t *coverage_report(const struct coverage *c);

#endif
