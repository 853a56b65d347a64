#include "verify/read.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool file_load(const char *folder, const char *path, size_t cap, struct bytes *ret) {
  char whole[4096];
  int n = folder ? snprintf(whole, sizeof whole, "%s/%s", folder, path) : snprintf(whole, sizeof whole, "%s", path);
  FILE *f = n > 0 && (size_t)n < sizeof whole ? fopen(whole, "rbe") : NULL;
  long len = f && fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1; /* of a folder: out of all bounds */
  uint8_t *at = len >= 0 && (size_t)len <= cap ? malloc((size_t)len + 1) : NULL;
  bool ok = at && fseek(f, 0, SEEK_SET) == 0 && fread(at, 1, (size_t)len, f) == (size_t)len;
  if (f) fclose(f);
  if (!ok) return free(at), false;
  at[len] = 0;
  *ret = (struct bytes){at, (size_t)len};
  return true;
}

/* ---- hashes */

static void sha256(const void *const parts[], const size_t lens[], int count, uint8_t out[HASH]) {
  static EVP_MD_CTX *context;
  static EVP_MD *algorithm;
  if (!context) context = EVP_MD_CTX_new(), algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
  if (!context || !algorithm || EVP_DigestInit_ex2(context, algorithm, NULL) != 1) abort();
  for (int i = 0; i < count; i++)
    if (EVP_DigestUpdate(context, parts[i], lens[i]) != 1) abort();
  if (EVP_DigestFinal_ex(context, out, NULL) != 1) abort();
}

void hash_leaf(const void *bytes, size_t len, uint8_t out[HASH]) {
  sha256((const void *const[]){"\0", bytes}, (const size_t[]){1, len}, 2, out);
}

void hash_node(const uint8_t left[HASH], const uint8_t right[HASH], uint8_t out[HASH]) {
  sha256((const void *const[]){"\1", left, right}, (const size_t[]){1, HASH, HASH}, 3, out);
}

void hash_bytes(const void *bytes, size_t len, uint8_t out[HASH]) { sha256((const void *const[]){bytes}, &len, 1, out); }

void hash_hex(const uint8_t hash[HASH], char out[2 * HASH + 1]) {
  for (int i = 0; i < 2 * HASH; i++) out[i] = "0123456789abcdef"[hash[i / 2] >> (i % 2 ? 0 : 4) & 15];
  out[2 * HASH] = 0;
}

/* ---- text */

long base64_read(const char *text, size_t len, uint8_t *out, size_t max) {
  static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  size_t padding = 0, n = 0;
  uint32_t bits = 0;
  if (len % 4) return -1;
  while (padding < 2 && padding < len && text[len - 1 - padding] == '=') padding++;
  for (size_t i = 0; i < len; i++) {
    const char *digit = i < len - padding ? memchr(alphabet, text[i], 64) : alphabet;
    if (!digit) return -1;
    bits = bits << 6 | (uint32_t)(digit - alphabet);
    if (i % 4 != 3) continue;
    size_t whole = i + 1 == len ? 3 - padding : 3;
    if ((whole == 2 && (bits & 0xff)) || (whole == 1 && (bits & 0xffff)) || n + whole > max) return -1;
    for (size_t j = 0; j < whole; j++) out[n++] = (uint8_t)(bits >> (16 - 8 * j));
    bits = 0;
  }
  return (long)n;
}

bool number_read(const char *text, size_t len, uint64_t *ret) {
  uint64_t value = 0;
  if (len == 0 || len > 20 || (len > 1 && text[0] == '0')) return false;
  for (size_t i = 0; i < len; i++) {
    if (text[i] < '0' || text[i] > '9' || value > (UINT64_MAX - (uint64_t)(text[i] - '0')) / 10) return false;
    value = value * 10 + (uint64_t)(text[i] - '0');
  }
  *ret = value;
  return true;
}

/* ---- keys and notes */

bool key_read(const char *text, struct key *ret) {
  struct key k;
  uint8_t raw[33], digest[HASH];
  const char *plus = strchr(text, '+');
  if (!plus || plus == text || plus - text >= NAME || strlen(plus) < 10 || plus[9] != '+') return false;
  memset(&k, 0, sizeof k);
  memcpy(k.name, text, (size_t)(plus - text));
  for (const char *c = k.name; *c; c++)
    if ((uint8_t)*c <= ' ') return false;
  for (int i = 0; i < 4; i++) {
    char hex[3] = {plus[1 + 2 * i], plus[2 + 2 * i], 0};
    if (strspn(hex, "0123456789abcdef") != 2) return false;
    k.id[i] = (uint8_t)strtoul(hex, NULL, 16);
  }
  if (base64_read(plus + 10, strlen(plus + 10), raw, sizeof raw) != sizeof raw || raw[0] != 1) return false;
  memcpy(k.public_key, raw + 1, sizeof k.public_key);
  /* The four bytes are the start of SHA-256(name, newline, algorithm, key). */
  sha256((const void *const[]){k.name, "\n", raw}, (const size_t[]){strlen(k.name), 1, sizeof raw}, 3, digest);
  if (memcmp(digest, k.id, sizeof k.id) != 0) return false;
  *ret = k;
  return true;
}

static bool signature_fits(const struct key *key, const uint8_t *text, size_t len, const uint8_t signature[64]) {
  EVP_PKEY *public_key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key->public_key, sizeof key->public_key);
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  bool ok = public_key && context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, public_key) == 1 &&
            EVP_DigestVerify(context, signature, 64, text, len) == 1;
  EVP_MD_CTX_free(context);
  EVP_PKEY_free(public_key);
  return ok;
}

/* Origin, size and root: the first three lines of the text. */
static void checkpoint_parse(const char *text, size_t len, struct checkpoint *c) {
  const char *line[3], *at = text;
  size_t n[3];
  for (int i = 0; i < 3; i++) {
    const char *end = memchr(at, '\n', len - (size_t)(at - text));
    if (!end) return;
    line[i] = at;
    n[i] = (size_t)(end - at);
    at = end + 1;
  }
  if (n[0] == 0 || n[0] >= NAME || memchr(line[0], 0, n[0]) || !number_read(line[1], n[1], &c->size) ||
      base64_read(line[2], n[2], c->root, HASH) != HASH)
    return;
  memcpy(c->origin, line[0], n[0]);
  c->origin[n[0]] = 0;
  c->readable = true;
}

/* One line "— name base64": whose it is, and whether it fits. */
static enum note_state signature_judge(const char *line, size_t len, const struct key *key, const struct bytes *note, size_t text_len) {
  static const char dash[] = "\xe2\x80\x94 ";
  uint8_t raw[1024];
  const char *name = line + 4, *blank = len > 4 && memcmp(line, dash, 4) == 0 ? memchr(name, ' ', len - 4) : NULL;
  long n = blank && blank > name ? base64_read(blank + 1, len - (size_t)(blank + 1 - line), raw, sizeof raw) : -1;
  if (n < 5) return NO_NOTE;
  if ((size_t)(blank - name) != strlen(key->name) || memcmp(name, key->name, strlen(key->name)) != 0) return UNSIGNED;
  if (memcmp(raw, key->id, 4) != 0) return WRONG_KEY;
  return n == 68 && signature_fits(key, note->at, text_len, raw + 4) ? SIGNED : CHANGED;
}

enum note_state checkpoint_open(const struct bytes *note, const struct key *key, struct checkpoint *ret) {
  const char *text = (const char *)note->at;
  size_t at = note->len;
  memset(ret, 0, sizeof *ret);
  while (at >= 2 && !(text[at - 1] == '\n' && text[at - 2] == '\n')) at--;
  checkpoint_parse(text, at >= 2 ? at - 1 : note->len, ret);
  if (at < 2 || note->len == at) return ret->readable ? UNSIGNED : NO_NOTE;
  if (text[note->len - 1] != '\n') return NO_NOTE;
  size_t text_len = at - 1;
  enum note_state state = UNSIGNED;
  bool fits = false, changed = false;
  while (at < note->len) {
    size_t n = (size_t)((const char *)memchr(text + at, '\n', note->len - at) - (text + at));
    enum note_state one = signature_judge(text + at, n, key, note, text_len);
    if (one == NO_NOTE) return NO_NOTE;
    fits |= one == SIGNED;
    changed |= one == CHANGED;
    if (one == WRONG_KEY) state = WRONG_KEY;
    at += n + 1;
  }
  return changed ? CHANGED : !fits ? state : ret->readable ? SIGNED : NO_NOTE;
}

/* ---- heads */

/* Where the value of a member begins. Heads are flat and without blanks, and inside a string each quote has a backslash before it: so only a name can stand like this. */
static const char *member(const char *text, const char *end, const char *name) {
  char key[32];
  size_t n = (size_t)snprintf(key, sizeof key, "\"%s\":", name);
  for (const char *p = text + 1; p < end && (p = memmem(p, (size_t)(end - p), key, n)); p++)
    if (p[-1] == ',' || (p[-1] == '{' && p == text + 1)) return p + n;
  return NULL;
}

static bool string_read(const char *value, const char *end, char *out, size_t size) {
  const char *close = value && value < end && *value == '"' ? memchr(value + 1, '"', (size_t)(end - value - 1)) : NULL;
  size_t n = close ? (size_t)(close - value - 1) : size;
  if (n >= size || memchr(value + 1, '\\', n)) return false;
  memcpy(out, value + 1, n);
  out[n] = 0;
  return strlen(out) == n;
}

bool head_read(const char *bytes, size_t len, struct head *ret) {
  const char *end = bytes + len, *seq = member(bytes, end, "seq");
  if (len < 2 || bytes[0] != '{' || end[-1] != '}' || !seq || memchr(bytes, '\n', len)) return false;
  size_t digits = 0;
  while (seq + digits < end && seq[digits] >= '0' && seq[digits] <= '9') digits++;
  return number_read(seq, digits, &ret->seq) && string_read(member(bytes, end, "incident"), end, ret->incident, sizeof ret->incident) &&
         string_read(member(bytes, end, "prev"), end, ret->prev, sizeof ret->prev) && strlen(ret->prev) == (size_t)2 * HASH &&
         string_read(member(bytes, end, "body"), end, ret->body, sizeof ret->body);
}
