/* datafile.h: a Lua file that is data: `return scenario { … }`, run in the sandbox, handed out as JSON.
 *
 * The file sees what declarations see, and its word, which gives back the table that it gets. Functions in the table are refused. */
#ifndef TOCSIN_SCRIPT_DATAFILE_H
#define TOCSIN_SCRIPT_DATAFILE_H

#include <jansson.h>

#include "base/err.h"

/* New JSON object. The error names file and line. */
int datafile_load(const char *file, const char *source, size_t len, const char *word, json_t **ret, struct err *err);
/* The line at which the member at a dotted path ("injects[2].at") is written; of its nearest parent when it is not; 0: unknown. */
int datafile_line(const char *source, size_t len, const char *path);
/* "; did you mean `x`?" or "", into out. names is ended by NULL. */
const char *datafile_near(const char *word, const char *const *names, char *out, size_t size);

#endif
