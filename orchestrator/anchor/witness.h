/* witness.h: C2SP witnesses (tlog-witness, tlog-cosignature): what is sent to one, what it answers, and the check of its cosignature.
 *
 * A witness keeps the newest checkpoint that it saw of a log and signs the next one only when that goes on from it; so a log that it cosigned cannot be forked or cut without it. Cosignatures
 * are Ed25519 ("cosignature/v1", key type 4): the witness's own time, then the checkpoint's text. Lines of unknown keys are left out, never passed on. Answers may come from a stranger. Pure. */
#ifndef TOCSIN_ANCHOR_WITNESS_H
#define TOCSIN_ANCHOR_WITNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "evidence/reader.h"

enum { WITNESS_ANSWER_CAP = 64 * 1024, WITNESSES = 16 };

struct witness_key {
  char name[NOTE_NAME];
  uint32_t id;
  uint8_t key[NOTE_KEY_BYTES];
};

/* "name+hash+base64", type 4. */
int witness_key_read(const char *text, struct witness_key *ret, struct err *err);
/* The body of POST …/add-checkpoint: the witness knows the log up to `old` (0: nothing). ERR_INVALID when old is beyond the log. */
int witness_request(const struct reader *log, uint64_t old, struct buf *out, struct err *err);
/* From an answer 409: the size that it knows. */
bool witness_size(const char *answer, size_t len, uint64_t *ret);
/* Looks for a signature line of the key in `lines` and checks it over the checkpoint's text; appends it, with its newline, to out (NULL: not wanted). *ret_time: seconds since the epoch.
 * ERR_NOT_FOUND: no line of that key; ERR_INVALID: there is one, and it does not fit. */
int witness_check(const char *lines, size_t len, const struct witness_key *key, const char *text, size_t text_len, struct buf *out,
                  int64_t *ret_time, struct err *err);

#endif
