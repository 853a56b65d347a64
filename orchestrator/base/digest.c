#include "base/digest.h"

/* OpenSSL 3 wants EVP for SHA-256, too: that makes a context of its provider for each digest and wipes it away again, which is as much work as
 * to hash another hundred bytes, and each journal entry is hashed four times on its way. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { HMAC_BLOCK = 64, RANDOM_AHEAD = 4096, RANDOM_SMALL = 64 };

void digest_sha256_parts(const struct digest_part *parts, size_t count, uint8_t out[DIGEST_BYTES]) {
  SHA256_CTX context;
  SHA256_Init(&context);
  for (size_t i = 0; i < count; i++) SHA256_Update(&context, parts[i].bytes, parts[i].len);
  SHA256_Final(out, &context);
  OPENSSL_cleanse(&context, sizeof context);
}

void digest_sha256_pair(uint8_t first, const uint8_t left[DIGEST_BYTES], const uint8_t right[DIGEST_BYTES], uint8_t out[DIGEST_BYTES]) {
  enum { LEN = 1 + 2 * DIGEST_BYTES };
  uint8_t padded[128] = {first, [LEN] = 0x80, [126] = LEN * 8 >> 8, [127] = LEN * 8 & 255};
  SHA256_CTX context;
  memcpy(padded + 1, left, DIGEST_BYTES);
  memcpy(padded + 1 + DIGEST_BYTES, right, DIGEST_BYTES);
  SHA256_Init(&context);
  SHA256_Update(&context, padded, sizeof padded);
  for (size_t i = 0; i < DIGEST_BYTES / 4; i++) {
    uint32_t word = htobe32((uint32_t)context.h[i]);
    memcpy(out + 4 * i, &word, 4);
  }
}

struct digest_stream {
  SHA256_CTX context;
};

struct digest_stream *digest_stream_new(void) {
  struct digest_stream *s = malloc(sizeof *s);
  if (!s) abort();
  SHA256_Init(&s->context);
  return s;
}

void digest_stream_add(struct digest_stream *s, const void *bytes, size_t len) { SHA256_Update(&s->context, bytes, len); }

void digest_stream_end(struct digest_stream *s, char out[DIGEST_HEX]) {
  uint8_t digest[DIGEST_BYTES];
  SHA256_Final(digest, &s->context);
  hex_encode(digest, sizeof digest, out);
  OPENSSL_cleanse(s, sizeof *s);
  free(s);
}

void digest_sha256(const void *bytes, size_t len, uint8_t out[DIGEST_BYTES]) {
  digest_sha256_parts(&(struct digest_part){bytes, len}, 1, out);
}

/* RFC 2104 by hand: HMAC() looks its algorithm up by name each time, which takes ten times as long as the hashing. */
static_assert(sizeof(SHA256_CTX) == sizeof(((struct digest_key *)0)->inner), "a key keeps two of them");

static void block_hashed(uint64_t out[14], const uint8_t block[HMAC_BLOCK], uint8_t mask) {
  uint8_t pad[HMAC_BLOCK];
  SHA256_CTX context;
  for (size_t i = 0; i < sizeof pad; i++) pad[i] = block[i] ^ mask;
  SHA256_Init(&context);
  SHA256_Update(&context, pad, sizeof pad);
  memcpy(out, &context, sizeof context);
  OPENSSL_cleanse(pad, sizeof pad);
  OPENSSL_cleanse(&context, sizeof context);
}

void digest_key_init(struct digest_key *k, const void *key, size_t len) {
  uint8_t block[HMAC_BLOCK] = {0};
  if (len > sizeof block) digest_sha256(key, len, block);
  else if (len) memcpy(block, key, len);
  block_hashed(k->inner, block, 0x36);
  block_hashed(k->outer, block, 0x5c);
  OPENSSL_cleanse(block, sizeof block);
}

void digest_key_hmac(const struct digest_key *k, const void *bytes, size_t len, uint8_t out[DIGEST_BYTES]) {
  SHA256_CTX context;
  memcpy(&context, k->inner, sizeof context);
  SHA256_Update(&context, bytes, len);
  SHA256_Final(out, &context);
  memcpy(&context, k->outer, sizeof context);
  SHA256_Update(&context, out, DIGEST_BYTES);
  SHA256_Final(out, &context);
  OPENSSL_cleanse(&context, sizeof context);
}

void digest_hmac_sha256(const void *key, size_t key_len, const void *bytes, size_t len, uint8_t out[DIGEST_BYTES]) {
  struct digest_key k;
  digest_key_init(&k, key, key_len);
  digest_key_hmac(&k, bytes, len, out);
  OPENSSL_cleanse(&k, sizeof k);
}

bool digest_equal(const void *a, const void *b, size_t len) { return CRYPTO_memcmp(a, b, len) == 0; }

typedef uint8_t sixteen __attribute__((vector_size(16)));

static sixteen digits_of(sixteen halves) { return halves + '0' + ((sixteen)(halves > 9) & ('a' - '0' - 10)); }

static void hex_of_sixteen(const uint8_t *p, char *out) {
  sixteen bytes;
  memcpy(&bytes, p, sizeof bytes);
  sixteen high = digits_of(bytes >> 4), low = digits_of(bytes & 15);
  sixteen first = __builtin_shufflevector(high, low, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
          rest = __builtin_shufflevector(high, low, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  memcpy(out, &first, sizeof first);
  memcpy(out + sizeof first, &rest, sizeof rest);
}

void hex_encode(const void *bytes, size_t len, char *out) {
  static const char hex[] = "0123456789abcdef";
  const uint8_t *p = bytes;
  size_t i = 0;
  for (; len - i >= sizeof(sixteen); i += sizeof(sixteen)) hex_of_sixteen(p + i, out + 2 * i);
  for (; i < len; i++) {
    out[2 * i] = hex[p[i] >> 4];
    out[2 * i + 1] = hex[p[i] & 15];
  }
  out[2 * len] = 0;
}

/* Each digit's value and one; 0: it is none. */
static const uint8_t hex_values[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,  ['8'] = 9,  ['9'] = 10, ['a'] = 11,
    ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16, ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

/* Eight digits at a time, each in a byte of its own: which of them lie in a range shows in their top bits. False: one is none. */
static bool four_of_hex(const char *text, uint8_t out[4]) {
  const uint64_t each = UINT64_C(0x0101010101010101), tops = each * 0x80;
  uint64_t x, small;
  memcpy(&x, text, sizeof x);
  x = le64toh(x);
  small = x | each * ('a' - 'A');
  uint64_t digits = (x + each * (0x80 - '0')) & ~(x + each * (0x7f - '9')) & tops;
  uint64_t letters = (small + each * (0x80 - 'a')) & ~(small + each * (0x7f - 'f')) & tops;
  if ((x & tops) || (digits | letters) != tops) return false;
  x = (x & each * 15) + (letters >> 7) * 9;
  x = (x << 4 | x >> 8) & UINT64_C(0x00ff00ff00ff00ff);
  x = (x | x >> 8) & UINT64_C(0x0000ffff0000ffff);
  uint32_t four = htole32((uint32_t)(x | x >> 16));
  memcpy(out, &four, sizeof four);
  return true;
}

bool hex_decode(const char *text, uint8_t *out, size_t len) {
  if (strlen(text) != 2 * len) return false;
  size_t i = 0;
  for (; len - i >= 4; i += 4)
    if (!four_of_hex(text + 2 * i, out + i)) return false;
  for (; i < len; i++) {
    unsigned high = hex_values[(uint8_t)text[2 * i]], low = hex_values[(uint8_t)text[2 * i + 1]];
    if (!high || !low) return false;
    out[i] = (uint8_t)((high - 1) << 4 | (low - 1));
  }
  return true;
}

char *base64_encode(const void *bytes, size_t len) {
  if (len > 0x3fffffff) return NULL;
  char *out = malloc(4 * ((len + 2) / 3) + 1);
  if (out) EVP_EncodeBlock((unsigned char *)out, bytes, (int)len);
  return out;
}

uint8_t *base64_decode(const char *text, size_t text_len, size_t *ret_len) {
  if (text_len % 4 || text_len > 0x3fffffff) return NULL;
  uint8_t *out = malloc(text_len / 4 * 3 + 1);
  if (!out) return NULL;
  int n = EVP_DecodeBlock(out, (const unsigned char *)text, (int)text_len);
  if (n < 0) {
    free(out);
    return NULL;
  }
  size_t padding = text_len && text[text_len - 1] == '=' ? (text[text_len - 2] == '=' ? 2 : 1) : 0;
  *ret_len = (size_t)n - padding;
  return out;
}

static _Thread_local uint8_t ahead[RANDOM_AHEAD];
static _Thread_local size_t left;

/* The child of a fork: what lies there is its parent's, too. */
static void forget(void) {
  OPENSSL_cleanse(ahead, sizeof ahead);
  left = 0;
}

static void forget_after_fork(void) { pthread_atfork(NULL, NULL, forget); }

static void random_from_system(uint8_t *p, size_t len) {
  while (len) {
    ssize_t n = getrandom(p, len, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) abort(); /* nothing that needs randomness may go on without it */
    p += n;
    len -= (size_t)n;
  }
}

/* The generator ends before the process does, at which a thread may still be at work. */
static void generate(uint8_t *out, size_t len) {
  if (len > INT_MAX || RAND_priv_bytes(out, (int)len) != 1) random_from_system(out, len);
}

/* Every journal entry wants a few: they are made many at a time, given out once, and wiped. */
void random_bytes(void *out, size_t len) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  if (len > RANDOM_SMALL) {
    generate(out, len);
    return;
  }
  if (left < len) {
    pthread_once(&once, forget_after_fork);
    generate(ahead, left = sizeof ahead);
  }
  left -= len;
  memcpy(out, ahead + left, len);
  OPENSSL_cleanse(ahead + left, len);
}
