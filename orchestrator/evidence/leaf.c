#include "evidence/leaf.h"

void leaf_hash(const void *bytes, size_t len, char out[DIGEST_HEX]) {
  uint8_t digest[DIGEST_BYTES];
  const struct digest_part parts[] = {{"\0", 1}, {bytes, len}};
  digest_sha256_parts(parts, 2, digest);
  hex_encode(digest, sizeof digest, out);
}

void envelope_digest(const void *envelope, size_t len, char out[DIGEST_HEX]) {
  uint8_t digest[DIGEST_BYTES];
  digest_sha256(envelope, len, digest);
  hex_encode(digest, sizeof digest, out);
}

const char *leaf_none(void) { return "0000000000000000000000000000000000000000000000000000000000000000"; }
