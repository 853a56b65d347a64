#include "verify/read.h"

#include <limits.h>
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

void hash_text(const void *bytes, size_t len, char out[2 * HASH + 1]) {
  uint8_t hash[HASH];
  hash_bytes(bytes, len, hash);
  hash_hex(hash, out);
}

/* ---- text */

long base64_read(const char *text, size_t len, uint8_t *out, size_t max) {
  uint8_t *raw = malloc(2 * len + 8), *again = raw + len + 4;
  size_t padding = len && text[len - 1] == '=' ? 1 + (text[len - 2] == '=') : 0;
  long n = raw && len % 4 == 0 && len < INT_MAX ? EVP_DecodeBlock(raw, (const uint8_t *)text, (int)len) - (long)padding : -1;
  bool ok = n >= 0 && (size_t)n <= max && (size_t)EVP_EncodeBlock(again, raw, (int)n) == len && memcmp(again, text, len) == 0;
  if (ok) memcpy(out, raw, (size_t)n);
  free(raw);
  return ok ? n : -1;
}

void line_next(struct lines *l) {
  const char *newline = l->at < l->end ? memchr(l->at, '\n', (size_t)(l->end - l->at)) : NULL;
  l->line = newline ? l->at : NULL;
  l->len = newline ? (size_t)(newline - l->at) : 0;
  if (newline) l->at = newline + 1;
}

struct lines lines_of(const void *text, size_t len) {
  struct lines l = {.at = text, .end = (const char *)text + len};
  line_next(&l);
  return l;
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
  struct key k = {.name = ""};
  uint8_t raw[33], digest[HASH];
  char hex[2 * HASH + 1];
  const char *plus = strchr(text, '+');
  if (!plus || plus == text || plus - text >= NAME || strlen(plus) < 10 || plus[9] != '+') return false;
  memcpy(k.name, text, (size_t)(plus - text));
  for (const char *c = k.name; *c; c++)
    if ((uint8_t)*c <= ' ') return false;
  if (base64_read(plus + 10, strlen(plus + 10), raw, sizeof raw) != sizeof raw || raw[0] != 1) return false;
  /* Its hash is the start of SHA-256(name, newline, algorithm, key). */
  sha256((const void *const[]){k.name, "\n", raw}, (const size_t[]){strlen(k.name), 1, sizeof raw}, 3, digest);
  hash_hex(digest, hex);
  if (memcmp(hex, plus + 1, 8) != 0) return false;
  memcpy(k.id, digest, sizeof k.id);
  memcpy(k.public_key, raw + 1, sizeof k.public_key);
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
  struct lines origin = lines_of(text, len), size = origin, root;
  line_next(&size);
  root = size;
  line_next(&root);
  if (!root.line || origin.len == 0 || origin.len >= NAME || memchr(origin.line, 0, origin.len) ||
      !number_read(size.line, size.len, &c->size) || base64_read(root.line, root.len, c->root, HASH) != HASH)
    return;
  memcpy(c->origin, origin.line, origin.len);
  c->readable = true;
}

/* One line "— name base64": whose it is, and whether it fits. */
static enum note_state signature_judge(const char *line, size_t len, const struct key *key, const char *text, size_t text_len) {
  static const char dash[] = "\xe2\x80\x94 ";
  uint8_t raw[1024];
  const char *name = line + 4, *blank = len > 4 && memcmp(line, dash, 4) == 0 ? memchr(name, ' ', len - 4) : NULL;
  long n = blank && blank > name ? base64_read(blank + 1, len - (size_t)(blank + 1 - line), raw, sizeof raw) : -1;
  if (n < 5) return NO_NOTE;
  if ((size_t)(blank - name) != strlen(key->name) || memcmp(name, key->name, strlen(key->name)) != 0) return UNSIGNED;
  if (memcmp(raw, key->id, 4) != 0) return WRONG_KEY;
  return n == 68 && signature_fits(key, (const uint8_t *)text, text_len, raw + 4) ? SIGNED : CHANGED;
}

enum note_state checkpoint_open(const void *note, size_t len, const struct key *key, struct checkpoint *ret) {
  const char *text = note;
  size_t at = len; /* behind the last empty line: there the signatures begin */
  memset(ret, 0, sizeof *ret);
  while (at >= 2 && !(text[at - 1] == '\n' && text[at - 2] == '\n')) at--;
  size_t text_len = at >= 2 ? at - 1 : len;
  checkpoint_parse(text, text_len, ret);
  if (at < 2 || len == at) return ret->readable ? UNSIGNED : NO_NOTE;
  if (text[len - 1] != '\n') return NO_NOTE;
  bool found[NO_NOTE + 1] = {false};
  for (struct lines l = lines_of(text + at, len - at); l.line; line_next(&l))
    found[signature_judge(l.line, l.len, key, text, text_len)] = true;
  if (found[NO_NOTE] || (found[SIGNED] && !ret->readable)) return NO_NOTE;
  if (found[SIGNED] && !found[CHANGED] && strcmp(ret->origin, key->name) != 0) return OTHER_LOG;
  return found[CHANGED] ? CHANGED : found[SIGNED] ? SIGNED : found[WRONG_KEY] ? WRONG_KEY : UNSIGNED;
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
  char step[32];
  ret->removes = 0; /* an entry of this type has the other's number as its step */
  if (!string_read(member(bytes, end, "type"), end, ret->type, sizeof ret->type)) ret->type[0] = 0;
  if (strcmp(ret->type, "body.removing") == 0 && string_read(member(bytes, end, "step"), end, step, sizeof step))
    number_read(step, strlen(step), &ret->removes);
  size_t digits = 0;
  while (seq + digits < end && seq[digits] >= '0' && seq[digits] <= '9') digits++;
  return number_read(seq, digits, &ret->seq) && string_read(member(bytes, end, "incident"), end, ret->incident, sizeof ret->incident) &&
         string_read(member(bytes, end, "prev"), end, ret->prev, sizeof ret->prev) && strlen(ret->prev) == (size_t)2 * HASH &&
         string_read(member(bytes, end, "body"), end, ret->body, sizeof ret->body);
}
