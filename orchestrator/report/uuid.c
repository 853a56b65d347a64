/* Version 5 UUIDs. SHA-1 is what their definition asks for; nothing is protected by it. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "report/internal.h"

enum { UUID_BYTES = 16, SHA1_BYTES = 20 };

static void space_bytes(const char *text, uint8_t out[UUID_BYTES]) {
  char hex[2 * UUID_BYTES + 1];
  size_t n = 0;
  for (; *text && n < sizeof hex - 1; text++)
    if (*text != '-') hex[n++] = *text;
  hex[n] = 0;
  if (!hex_decode(hex, out, UUID_BYTES)) abort();
}

void uuid5(const char *space, const char *name, size_t len, char out[UUID_TEXT]) {
  uint8_t bytes[UUID_BYTES], digest[SHA1_BYTES];
  char hex[2 * UUID_BYTES + 1];
  EVP_MD_CTX *c = EVP_MD_CTX_new();
  space_bytes(space, bytes);
  if (!c || EVP_DigestInit_ex(c, EVP_sha1(), NULL) != 1 || EVP_DigestUpdate(c, bytes, sizeof bytes) != 1 ||
      EVP_DigestUpdate(c, name, len) != 1 || EVP_DigestFinal_ex(c, digest, NULL) != 1)
    abort();
  EVP_MD_CTX_free(c);
  digest[6] = (uint8_t)((digest[6] & 0x0f) | 0x50);
  digest[8] = (uint8_t)((digest[8] & 0x3f) | 0x80);
  hex_encode(digest, UUID_BYTES, hex);
  snprintf(out, UUID_TEXT, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}
