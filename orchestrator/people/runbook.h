/* runbook.h: Markdown steps for people. A step is a task list item ("- [ ] text") or an item of a numbered list; all else is prose.
 * Wrapped lines are joined to their step; code blocks hold no steps. Reads files, nothing more. */
#ifndef TOCSIN_PEOPLE_RUNBOOK_H
#define TOCSIN_PEOPLE_RUNBOOK_H

#include <jansson.h>

#include "base/err.h"

/* <folder>/<name>.md → new [{"n": 1, "text": "…"}…]. name may hold letters, digits, '-', '_' only. */
int runbook_load(const char *folder, const char *name, json_t **ret, struct err *err);

#endif
