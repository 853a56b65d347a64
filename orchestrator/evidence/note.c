#include "evidence/note.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"

enum { ED25519 = 1, SIGNATURE_PREFIX = 4, HASH_HEX = 8 };
static const char DASH[] = "\xe2\x80\x94 "; /* em dash, space: how a signature line begins */
static const char PRIVATE[] = "PRIVATE+KEY+";

/* ---- text */

/* The length of the UTF-8 character at p, 0 when it is none. */
static size_t utf8_length(const uint8_t *p, size_t left) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (p[0] < 0x80) return 1;
  size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
  if (p[0] < 0xc2 || p[0] > 0xf4 || n > left) return 0;
  uint32_t c = p[0] & (0x7fU >> n);
  for (size_t i = 1; i < n; i++) {
    if ((p[i] & 0xc0) != 0x80) return 0;
    c = c << 6 | (p[i] & 0x3f);
  }
  return c < least[n] || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff ? 0 : n;
}

static bool text_valid(const char *text, size_t len) {
  const uint8_t *p = (const uint8_t *)text;
  for (size_t i = 0, n; i < len; i += n) {
    if ((p[i] < 0x20 && p[i] != '\n') || (n = utf8_length(p + i, len - i)) == 0) return false;
  }
  return true;
}

/* Unicode's spaces, as three-byte UTF-8 or Latin-1's two. */
static bool space_at(const char *p) {
  static const char *const spaces[] = {"\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\xa8",
                                       "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};
  if (*p == ' ' || (*p >= '\t' && *p <= '\r')) return true;
  for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
    if (strncmp(p, spaces[i], strlen(spaces[i])) == 0) return true;
  return strncmp(p, "\xe2\x80", 2) == 0 && (uint8_t)p[2] >= 0x80 && (uint8_t)p[2] <= 0x8a;
}

bool note_name_valid(const char *name) {
  size_t len = strlen(name);
  if (len == 0 || len >= NOTE_NAME || !text_valid(name, len)) return false;
  for (const char *p = name; *p; p++)
    if (*p == '+' || space_at(p)) return false;
  return true;
}

bool note_base64(const char *text, size_t text_len, uint8_t *out, size_t len) {
  size_t got = 0;
  if (text_len != (len + 2) / 3 * 4) return false;
  uint8_t *bytes = base64_decode(text, text_len, &got);
  /* OpenSSL's decoder forgives; what does not come out the same again is refused. */
  char *again = bytes && got == len ? base64_encode(bytes, got) : NULL;
  bool ok = again && memcmp(again, text, text_len) == 0;
  if (ok) memcpy(out, bytes, len);
  if (bytes) OPENSSL_cleanse(bytes, got);
  if (again) OPENSSL_cleanse(again, text_len);
  free(bytes);
  free(again);
  return ok;
}

/* ---- keys */

static uint32_t key_id(const char *name, const uint8_t key[NOTE_KEY_BYTES]) {
  uint8_t digest[DIGEST_BYTES];
  static const uint8_t middle[] = {'\n', ED25519};
  const struct digest_part parts[] = {{name, strlen(name)}, {middle, 2}, {key, NOTE_KEY_BYTES}};
  digest_sha256_parts(parts, 3, digest);
  return (uint32_t)digest[0] << 24 | (uint32_t)digest[1] << 16 | (uint32_t)digest[2] << 8 | digest[3];
}

/* "name+hash+base64(type ‖ 32 bytes)"; the base64 may bear pluses of its own. */
static bool key_split(const char *text, size_t len, char name[NOTE_NAME], uint32_t *ret_id, uint8_t key[NOTE_KEY_BYTES]) {
  uint8_t bytes[1 + NOTE_KEY_BYTES], id[4];
  char hex[HASH_HEX + 1];
  const char *plus = memchr(text, '+', len);
  if (!plus || plus == text || plus - text >= NOTE_NAME) return false;
  size_t rest = len - (size_t)(plus + 1 - text);
  if (rest < HASH_HEX + 1 || plus[1 + HASH_HEX] != '+') return false;
  memcpy(name, text, (size_t)(plus - text));
  name[plus - text] = 0;
  memcpy(hex, plus + 1, HASH_HEX);
  hex[HASH_HEX] = 0;
  if (!note_name_valid(name) || strspn(hex, "0123456789abcdef") != HASH_HEX || !hex_decode(hex, id, 4)) return false;
  if (!note_base64(plus + 2 + HASH_HEX, rest - HASH_HEX - 1, bytes, sizeof bytes) || bytes[0] != ED25519) return false;
  memcpy(key, bytes + 1, NOTE_KEY_BYTES);
  OPENSSL_cleanse(bytes, sizeof bytes);
  *ret_id = (uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | id[3];
  return true;
}

static void key_write(const char *name, uint32_t id, const uint8_t key[NOTE_KEY_BYTES], struct buf *out) {
  uint8_t bytes[1 + NOTE_KEY_BYTES] = {ED25519};
  memcpy(bytes + 1, key, NOTE_KEY_BYTES);
  char *text = base64_encode(bytes, sizeof bytes);
  if (!text) abort();
  buf_addf(out, "%s+%08" PRIx32 "+%s", name, id, text);
  OPENSSL_cleanse(text, strlen(text));
  OPENSSL_cleanse(bytes, sizeof bytes);
  free(text);
}

static int public_key(struct note_signer *s, struct err *err) {
  size_t len = NOTE_KEY_BYTES;
  EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, s->seed, NOTE_KEY_BYTES);
  bool ok = pkey && EVP_PKEY_get_raw_public_key(pkey, s->verifier.key, &len) == 1 && len == NOTE_KEY_BYTES;
  EVP_PKEY_free(pkey);
  if (!ok) return err_set(err, ERR_INTERNAL, "this libcrypto has no Ed25519");
  s->verifier.id = key_id(s->verifier.name, s->verifier.key);
  return 0;
}

int note_signer_make(const char *name, struct note_signer *ret, struct err *err) {
  struct note_signer s = {0};
  if (!note_name_valid(name))
    return err_set(err, ERR_INVALID, "a key's name is 1 to %d bytes without a space or a plus, such as example.com/ir/evidence",
                   NOTE_NAME - 1);
  memcpy(s.verifier.name, name, strlen(name));
  random_bytes(s.seed, sizeof s.seed);
  int r = public_key(&s, err);
  if (r == 0) *ret = s;
  note_signer_wipe(&s);
  return r;
}

int note_signer_read(const char *text, struct note_signer *ret, struct err *err) {
  struct note_signer s = {0};
  uint32_t id = 0;
  size_t len = strlen(text), skip = sizeof PRIVATE - 1;
  if (len && text[len - 1] == '\n') len--;
  bool ok = len > skip && memcmp(text, PRIVATE, skip) == 0 && key_split(text + skip, len - skip, s.verifier.name, &id, s.seed);
  int r = ok ? public_key(&s, err) : err_set(err, ERR_INVALID, "this is no signing key: it should read PRIVATE+KEY+name+hash+base64");
  if (r == 0 && s.verifier.id != id)
    r = err_set(err, ERR_INVALID, "the signing key of %s is damaged: its hash does not fit; restore it from your backup", s.verifier.name);
  if (r == 0) *ret = s;
  note_signer_wipe(&s);
  return r;
}

void note_signer_write(const struct note_signer *s, struct buf *out) {
  buf_adds(out, PRIVATE);
  key_write(s->verifier.name, s->verifier.id, s->seed, out);
}

void note_signer_wipe(struct note_signer *s) { OPENSSL_cleanse(s, sizeof *s); }

int note_verifier_read(const char *text, struct note_verifier *ret, struct err *err) {
  struct note_verifier v = {0};
  if (!key_split(text, strlen(text), v.name, &v.id, v.key)) /* Not repeated: it may be a signing key. */
    return err_set(err, ERR_INVALID, "this is no verifier key: it should read name+hash+base64");
  if (v.id != key_id(v.name, v.key)) return err_set(err, ERR_INVALID, "the verifier key of %s is damaged: its hash does not fit", v.name);
  *ret = v;
  return 0;
}

void note_verifier_write(const struct note_verifier *v, char out[NOTE_VERIFIER_TEXT]) {
  struct buf text;
  buf_init(&text, NOTE_VERIFIER_TEXT - 1);
  key_write(v->name, v->id, v->key, &text);
  memcpy(out, text.data, text.len + 1);
  buf_release(&text);
}

/* ---- signing */

static bool ed25519_sign(const struct note_signer *s, const char *text, size_t len, uint8_t out[NOTE_SIGNATURE_BYTES]) {
  size_t out_len = NOTE_SIGNATURE_BYTES;
  EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, s->seed, NOTE_KEY_BYTES);
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  bool ok = pkey && context && EVP_DigestSignInit(context, NULL, NULL, NULL, pkey) == 1 &&
            EVP_DigestSign(context, out, &out_len, (const uint8_t *)text, len) == 1 && out_len == NOTE_SIGNATURE_BYTES;
  EVP_MD_CTX_free(context);
  EVP_PKEY_free(pkey);
  return ok;
}

static bool ed25519_verify(const struct note_verifier *v, const char *text, size_t len, const uint8_t signature[NOTE_SIGNATURE_BYTES]) {
  EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, v->key, NOTE_KEY_BYTES);
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  bool ok = pkey && context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, pkey) == 1 &&
            EVP_DigestVerify(context, signature, NOTE_SIGNATURE_BYTES, (const uint8_t *)text, len) == 1;
  EVP_MD_CTX_free(context);
  EVP_PKEY_free(pkey);
  return ok;
}

int note_sign(const struct note_signer *s, const char *text, size_t len, struct buf *out, struct err *err) {
  uint8_t bytes[SIGNATURE_PREFIX + NOTE_SIGNATURE_BYTES];
  uint32_t id = s->verifier.id;
  if (!len || text[len - 1] != '\n' || !text_valid(text, len))
    return err_set(err, ERR_INVALID, "a note's text ends with a newline and bears no control character");
  for (int i = 0; i < SIGNATURE_PREFIX; i++) bytes[i] = (uint8_t)(id >> (24 - 8 * i));
  /* Checked at once: a bit that flips while signing must not be published. */
  if (!ed25519_sign(s, text, len, bytes + SIGNATURE_PREFIX) || !ed25519_verify(&s->verifier, text, len, bytes + SIGNATURE_PREFIX))
    return err_set(err, ERR_INTERNAL, "signing with the key of %s failed", s->verifier.name);
  char *encoded = base64_encode(bytes, sizeof bytes);
  if (!encoded) return err_set(err, ERR_MEMORY, "no memory to sign a note");
  buf_add(out, text, len);
  buf_addf(out, "\n%s%s %s\n", DASH, s->verifier.name, encoded);
  free(encoded);
  return buf_ok(out) ? 0 : err_set(err, ERR_LIMIT, "a note grew over %zu bytes", out->cap);
}

/* ---- opening */

struct line {
  char name[NOTE_NAME];
  uint32_t id;
  uint8_t *signature; /* without the four bytes of the id */
  size_t len;
};

/* One signature line without its newline. False when it is none. */
static bool line_read(const char *text, size_t len, struct line *ret) {
  size_t skip = sizeof DASH - 1, got = 0;
  if (len < skip || memcmp(text, DASH, skip) != 0) return false;
  text += skip;
  len -= skip;
  const char *blank = memchr(text, ' ', len);
  if (!blank || blank - text >= NOTE_NAME) return false;
  memcpy(ret->name, text, (size_t)(blank - text));
  ret->name[blank - text] = 0;
  size_t rest = len - (size_t)(blank + 1 - text);
  if (!note_name_valid(ret->name)) return false;
  uint8_t *bytes = base64_decode(blank + 1, rest, &got);
  char *again = bytes ? base64_encode(bytes, got) : NULL;
  bool ok = again && got > SIGNATURE_PREFIX && strlen(again) == rest && memcmp(again, blank + 1, rest) == 0;
  free(again);
  if (!ok) {
    free(bytes);
    return false;
  }
  ret->id = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
  ret->signature = bytes;
  ret->len = got - SIGNATURE_PREFIX;
  return true;
}

static void line_judge(const struct line *line, const char *text, const struct note_verifier *verifiers, size_t count, struct note *note) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(verifiers[i].name, line->name) != 0) continue;
    note->name_known = true;
    if (verifiers[i].id != line->id || (note->by & (UINT64_C(1) << i))) continue;
    if (line->len == NOTE_SIGNATURE_BYTES && ed25519_verify(&verifiers[i], text, note->text_len, line->signature + SIGNATURE_PREFIX))
      note->by |= UINT64_C(1) << i;
    else note->state = NOTE_FORGED;
  }
}

/* Where the signatures begin: behind the last blank line. 0: there is none. */
static size_t signatures_at(const char *bytes, size_t len) {
  for (size_t i = len; i >= 2; i--)
    if (bytes[i - 1] == '\n' && bytes[i - 2] == '\n') return i;
  return 0;
}

int note_open(const char *bytes, size_t len, const struct note_verifier *verifiers, size_t count, struct note *ret, struct err *err) {
  struct note note = {.state = NOTE_UNSIGNED};
  struct note bad = {.state = NOTE_MALFORMED};
  size_t at = len <= NOTE_CAP && text_valid(bytes, len) ? signatures_at(bytes, len) : 0, lines = 0;
  *ret = bad;
  if (at == 0 || at == len || bytes[len - 1] != '\n') return err_set(err, ERR_INVALID, "this is no signed note");
  if (count > NOTE_VERIFIERS) return err_set(err, ERR_LIMIT, "more than %d keys to check a note with", NOTE_VERIFIERS);
  note.text_len = at - 1;
  while (at < len) {
    struct line line;
    size_t n = (size_t)((const char *)memchr(bytes + at, '\n', len - at) - (bytes + at));
    if (++lines > NOTE_SIGNATURES || !line_read(bytes + at, n, &line))
      return err_set(err, ERR_INVALID, "this is no signed note: signature line %zu is malformed", lines);
    line_judge(&line, bytes, verifiers, count, &note);
    free(line.signature);
    at += n + 1;
  }
  if (note.state != NOTE_FORGED && note.by) note.state = NOTE_SIGNED;
  *ret = note;
  if (note.state == NOTE_SIGNED) return 0;
  if (note.state == NOTE_FORGED) return err_set(err, ERR_INVALID, "a signature does not fit: the note was changed after it was signed");
  return err_set(err, ERR_INVALID,
                 note.name_known ? "the note was signed with another key of that name" : "the note is not signed by any of the given keys");
}
