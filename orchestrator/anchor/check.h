/* check.h: what lies in the anchors/ of an evidence folder or a bundle, checked against its log: stamps against a CA, cosignatures against a witness's key.
 *
 * Every kept checkpoint must be signed by the log's key and be a beginning of the log that is there now. Cosignatures count in the newest checkpoint, too. A stamp or a cosignature that does not fit is a fault, and so is having none: what was asked
 * for and is not there never passes. The log itself is verified elsewhere (evidence/verify.h). Changes nothing. */
#ifndef TOCSIN_ANCHOR_CHECK_H
#define TOCSIN_ANCHOR_CHECK_H

#include <jansson.h>

#include "base/err.h"
#include "evidence/bundle.h"
#include "evidence/note.h"

struct anchor_question {
  const struct note_verifier *key; /* the log's */
  const char *tsa_ca;              /* NULL: stamps are not asked for */
  const char *witness;             /* a witness's verifier key; NULL: cosignatures are not asked for */
};

/* log: the folder with the checkpoint; anchors/ lies beside it. *ret: {"faults": [{kind, place, text}], "stamped": {"size", "time", "by"} | null, "cosigned": the same}: the newest. New.
 * ERR_INVALID: the witness's key is none; ERR_IO… when nothing could be looked at. */
int anchor_check(const char *log, const struct anchor_question *question, json_t **ret, struct err *err);

/* The same of a bundle that bundle_verify has looked at (checked: what it found): it has walked the way from each anchored checkpoint to the bundle's. A fault, too, when the newest stamp or
 * cosignature does not cover every proven entry of the bundle. */
int anchor_check_bundle(const struct zip *bundle, const struct bundle_result *checked, const struct anchor_question *question, json_t **ret,
                        struct err *err);

#endif
