/* check.h: what lies in an evidence folder's anchors/, checked against its log: stamps against a CA, cosignatures against a witness's key.
 *
 * Every kept checkpoint must be signed by the log's key and be a beginning of the log that is there now. A stamp or a cosignature that does not fit is a fault, and so is having none: what was asked
 * for and is not there never passes. The log itself is verified elsewhere (evidence/verify.h). Changes nothing. */
#ifndef TOCSIN_ANCHOR_CHECK_H
#define TOCSIN_ANCHOR_CHECK_H

#include <jansson.h>

#include "base/err.h"
#include "evidence/note.h"

struct anchor_question {
  const struct note_verifier *key; /* the log's */
  const char *tsa_ca;              /* NULL: stamps are not asked for */
  const char *witness;             /* a witness's verifier key; NULL: cosignatures are not asked for */
};

/* log: the folder with the checkpoint; anchors/ lies beside it. *ret: {"faults": [{kind, place, text}], "stamped": {"size", "time", "by"} | null, "cosigned": the same}: the newest. New.
 * ERR_INVALID: the witness's key is none; ERR_IO… when nothing could be looked at. */
int anchor_check(const char *log, const struct anchor_question *question, json_t **ret, struct err *err);

#endif
