/* passage.h: bytes for one receiver that pass through hands which keep everything, such as Redis' append-only file.
 *
 * Who asks makes a passage, an X25519 key that lives in its memory alone, and sends the public half along. Who answers seals the bytes to it, with a key of its own that it forgets at once: AES-256-GCM
 * under SHA-256 of what the two agree on. When the passage is freed nobody can open any more what was kept, the two ends included.
 * Does not say who sealed it: the letters that carry it are signed (incident/post.h). */
#ifndef TOCSIN_EVIDENCE_PASSAGE_H
#define TOCSIN_EVIDENCE_PASSAGE_H

#include "base/buf.h"
#include "base/err.h"

enum { PASSAGE_PUBLIC = 65 }; /* hex, with its NUL */

struct passage;

struct passage *passage_new(char ret_public[PASSAGE_PUBLIC]);
void passage_free(struct passage *p); /* NULL is legal */
/* Appends the sealed bytes, in base64, to out. ERR_INVALID: that is no public half. */
int passage_seal(const char *public, const void *bytes, size_t len, struct buf *out, struct err *err);
/* Appends what was sealed to out. ERR_INVALID: it was sealed to another passage, or changed. */
int passage_open(const struct passage *p, const char *sealed, size_t len, struct buf *out, struct err *err);

#endif
