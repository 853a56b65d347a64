/* note.h: C2SP signed notes with Ed25519: a text, a blank line, and one line for each signature.
 *
 * Keys are handed around as one line of text: "name+hash+base64" to verify, "PRIVATE+KEY+name+hash+base64" to sign. Everything read here
 * may come from a stranger: base64 has one accepted form, names bear no space and no plus, texts no control character. A note is never taken
 * for signed unless at least one of the given keys signed it; a wrong signature of a given key spoils the whole note. Never logs a key. */
#ifndef TOCSIN_EVIDENCE_NOTE_H
#define TOCSIN_EVIDENCE_NOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum {
  NOTE_NAME = 128,
  NOTE_KEY_BYTES = 32,
  NOTE_SIGNATURE_BYTES = 64,
  NOTE_SIGNATURES = 100,
  NOTE_CAP = 1 << 20,
  NOTE_VERIFIER_TEXT = 192,
  NOTE_VERIFIERS = 64
};

struct note_verifier {
  char name[NOTE_NAME];
  uint32_t id;
  uint8_t key[NOTE_KEY_BYTES];
};

struct note_signer {
  struct note_verifier verifier;
  uint8_t seed[NOTE_KEY_BYTES];
};

bool note_name_valid(const char *name);
/* A new key. ERR_INVALID for a bad name. */
int note_signer_make(const char *name, struct note_signer *ret, struct err *err);
/* From its text; one final newline is allowed. The error does not repeat the text. */
int note_signer_read(const char *text, struct note_signer *ret, struct err *err);
void note_signer_write(const struct note_signer *s, struct buf *out);
void note_signer_wipe(struct note_signer *s);
int note_verifier_read(const char *text, struct note_verifier *ret, struct err *err);
void note_verifier_write(const struct note_verifier *v, char out[NOTE_VERIFIER_TEXT]);

/* The text (which ends with a newline) and the signature, as a whole note. */
int note_sign(const struct note_signer *s, const char *text, size_t len, struct buf *out, struct err *err);

/* What became of a note. */
enum note_state {
  NOTE_SIGNED,    /* by the verifiers in `by` */
  NOTE_MALFORMED, /* it is no note */
  NOTE_UNSIGNED,  /* it has the form of a note, but none of the keys signed it */
  NOTE_FORGED,    /* a signature of one of the keys does not fit */
};

struct note {
  enum note_state state;
  size_t text_len; /* the signed text: the note's first text_len bytes */
  uint64_t by;     /* bit i: verifiers[i] signed it */
  bool name_known; /* a signature line bears the name of one of the verifiers (with another key, when unsigned) */
};

/* Returns 0 only for NOTE_SIGNED; else ERR_INVALID, and ret->state says why. ret is always filled in. At most NOTE_VERIFIERS keys. */
int note_open(const char *bytes, size_t len, const struct note_verifier *verifiers, size_t count, struct note *ret, struct err *err);

/* Base64 in its only accepted form (standard alphabet, padded, unused bits zero), of exactly len bytes. */
bool note_base64(const char *text, size_t text_len, uint8_t *out, size_t len);

#endif
