/* leaf.h: the leaf hash of RFC 6962 §2.1, SHA-256(0x00 ‖ bytes), and the envelope that hides a body behind its digest.
 *
 * An entry's head names its body by the digest of an envelope: 32 random bytes ‖ the body's bytes, so that a short body cannot be
 * guessed from the digest alone. Pure. */
#ifndef TOCSIN_EVIDENCE_LEAF_H
#define TOCSIN_EVIDENCE_LEAF_H

#include <stddef.h>

#include "base/digest.h"

enum { ENVELOPE_PREFIX = 32 };

/* Hex, lower case. */
void leaf_hash(const void *bytes, size_t len, char out[DIGEST_HEX]);
void envelope_digest(const void *envelope, size_t len, char out[DIGEST_HEX]);
/* The hash before the first entry: 64 zeros. Static. */
const char *leaf_none(void);

#endif
