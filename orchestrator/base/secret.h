/* secret.h: the one place where secrets' bytes live.
 *
 * A secret is known everywhere else by the name of its slot. Requests carry slots as the JSON object
 * {"$secret": "<slot>"}; only a transport asks for the bytes, at the moment it sends. Everything that
 * leaves the process as text goes through secrets_redact, which replaces every known value (also in its
 * base64, base64url and percent-encoded forms) by "[secret:<slot>]".
 * Values under 8 bytes are refused: redacting them would eat ordinary text. Memory is wiped on removal.
 * Never logs, never prints. */
#ifndef TOCSIN_BASE_SECRET_H
#define TOCSIN_BASE_SECRET_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum { SECRET_MIN_BYTES = 8, SECRET_MAX_BYTES = 65536 };

struct secrets;

struct secrets *secrets_new(void); /* also makes it the one that the log redacts with */
void secrets_free(struct secrets *s);

/* Takes a copy. Replaces an earlier value of the slot (whose redaction stays in force). ERR_INVALID for a
 * value too short or too long. */
int secrets_put(struct secrets *s, const char *slot, const void *bytes, size_t len, struct err *err);
/* Borrowed bytes until the slot changes, or NULL. Always followed by a NUL. */
const char *secrets_get(const struct secrets *s, const char *slot, size_t *ret_len);
void secrets_drop(struct secrets *s, const char *slot);
/* Resolves "env:NAME", "file:PATH" (refused when group or others can read it; one final newline is cut) or
 * "command:PROGRAM ARG…" (no shell, 10 s, 64 KiB of output, one final newline is cut) and puts the value.
 * The error says what is wrong with the source, never the value. Blocks: for start and reload only. */
int secrets_resolve(struct secrets *s, const char *slot, const char *source, struct err *err);
/* A name that differs for different values and tells nothing about them: HMAC-SHA-256 under a key of the
 * process's own (set it with secrets_fingerprint_key so that nodes agree), 16 hex digits. */
void secrets_fingerprint_key(struct secrets *s, const void *key, size_t len);
bool secrets_fingerprint(const struct secrets *s, const char *slot, char out[17]);

/* The text with every known secret replaced, appended to out. */
void secrets_redact(const struct secrets *s, const char *text, size_t len, struct buf *out);
/* For a text that may have been cut: its length without the beginning of a known secret at its end, which redaction would not know. */
size_t secrets_cut(const struct secrets *s, const char *text, size_t len);
/* Whether the text bears a known secret: mostly not, and then nothing need be copied. */
bool secrets_shown(const struct secrets *s, const char *text, size_t len);
/* The value with every string (keys too) redacted; what bears no secret is not copied. New reference; to be read, not changed: it, or a part of it, may be the one given. */
json_t *secrets_redact_json(const struct secrets *s, const json_t *value);

#endif
