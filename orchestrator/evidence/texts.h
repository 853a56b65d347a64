/* texts.h: the words of a stored body that a search finds: its string values, without a tree of it being made.
 *
 * Pure: reads bytes, writes a buffer. The bytes are JSON as entries store it; others give whatever texts stand in them, and harm nothing. */
#ifndef TOCSIN_EVIDENCE_TEXTS_H
#define TOCSIN_EVIDENCE_TEXTS_H

#include "base/buf.h"

/* Appends every string value in the order of the document, a space behind each, escapes resolved, and integers that int64 does not hold; a
 * member `raw` is left out with all that is in it, for the finding says again what an alert said. One that would make out longer than `most`
 * bytes is left out. */
void texts_add(const char *json, size_t len, size_t most, struct buf *out);
/* The same for one text member of a flat object, such as a head. */
void texts_add_member(const char *json, size_t len, const char *name, size_t most, struct buf *out);

#endif
