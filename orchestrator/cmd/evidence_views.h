/* evidence_views.h: the files of a bundle that are made from its entries, and may be made anew to compare. */
#ifndef TOCSIN_CMD_EVIDENCE_VIEWS_H
#define TOCSIN_CMD_EVIDENCE_VIEWS_H

#include "cmd/evidence_case.h"
#include "evidence/bundle.h"

/* {origin, size, root, covered, verifier}; new. */
json_t *evidence_seal(const struct checkpoint *c, const struct note_verifier *key, size_t covered);
/* Adds names.json and the views of one incident, and what is to be said of it to `contents` (an array). seal NULL: it is not sealed. */
int evidence_views_add(struct zip *z, const struct evidence_case *c, const json_t *seal, json_t *contents, struct err *err);
/* contents.json, and index.html when there are several incidents. */
int evidence_contents_add(struct zip *z, const json_t *contents, struct err *err);
/* The entries of an incident in a bundle that verified. */
int evidence_case_from_bundle(const struct zip *z, const char *incident, struct evidence_case *ret, struct err *err);

#endif
