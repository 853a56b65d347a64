/* digest.h: SHA-256 (FIPS 180-4), HMAC (RFC 2104), hex, base64 (RFC 4648) and random bytes.
 *
 * The hashing itself is OpenSSL's. Comparing secrets goes through digest_equal, which takes the same time for every input. */
#ifndef TOCSIN_BASE_DIGEST_H
#define TOCSIN_BASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DIGEST_BYTES = 32, DIGEST_HEX = 65 /* with its NUL */ };

struct digest_part {
  const void *bytes;
  size_t len;
};

void digest_sha256(const void *bytes, size_t len, uint8_t out[DIGEST_BYTES]);
/* Over the parts one after the other, as if they were joined. */
void digest_sha256_parts(const struct digest_part *parts, size_t count, uint8_t out[DIGEST_BYTES]);
/* Over one byte and two digests, as the nodes of a Merkle tree are hashed: of a length that is known beforehand, it needs no buffer and no end. Nothing of it is wiped. out may be one
 * of them. */
void digest_sha256_pair(uint8_t first, const uint8_t left[DIGEST_BYTES], const uint8_t right[DIGEST_BYTES], uint8_t out[DIGEST_BYTES]);
void digest_hmac_sha256(const void *key, size_t key_len, const void *bytes, size_t len, uint8_t out[DIGEST_BYTES]);
/* The same with a key that serves often: made ready once, which is half of the work for a short text. As secret as the key: its owner wipes it. */
struct digest_key {
  uint64_t inner[14], outer[14];
};
void digest_key_init(struct digest_key *k, const void *key, size_t len);
void digest_key_hmac(const struct digest_key *k, const void *bytes, size_t len, uint8_t out[DIGEST_BYTES]);
/* The same of bytes that come one after the other. */
struct digest_stream;
struct digest_stream *digest_stream_new(void);
void digest_stream_add(struct digest_stream *s, const void *bytes, size_t len);
void digest_stream_end(struct digest_stream *s, char out[DIGEST_HEX]); /* in hex; frees it */
bool digest_equal(const void *a, const void *b, size_t len);

/* Lower-case hex; out has room for 2 * len + 1. */
void hex_encode(const void *bytes, size_t len, char *out);
/* Exactly 2 * len hex digits; false (out undefined) otherwise. */
bool hex_decode(const char *text, uint8_t *out, size_t len);
/* Standard base64 with padding; the caller frees. NULL only without memory. */
char *base64_encode(const void *bytes, size_t len);
/* Accepts the standard alphabet with padding; NULL when it is not base64. The caller frees. */
uint8_t *base64_decode(const char *text, size_t text_len, size_t *ret_len);

/* From OpenSSL's generator, which the system's random source seeds, each thread its own, and anew as it is used: a fifth of the work of asking the
 * system itself. Never fails, aborts the process when there is none. */
void random_bytes(void *out, size_t len);

#endif
