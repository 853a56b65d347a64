#include "anchor/witness.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"

enum { COSIGNATURE_V1 = 4, ID = 4, TIME = 8, LINE = ID + TIME + NOTE_SIGNATURE_BYTES, HASH_HEX = 8, MESSAGE_CAP = 1 << 16 };
static const char DASH[] = "\xe2\x80\x94 ";

static uint32_t id_read(const uint8_t bytes[ID]) {
  return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

int witness_key_read(const char *text, struct witness_key *ret, struct err *err) {
  static const uint8_t middle[] = {'\n', COSIGNATURE_V1};
  struct witness_key k = {.id = 0};
  uint8_t bytes[1 + NOTE_KEY_BYTES], id[ID], digest[DIGEST_BYTES];
  char hex[HASH_HEX + 1] = "";
  size_t n = strcspn(text, "+"), len = strlen(text);
  bool ok = n > 0 && n < NOTE_NAME && len > n + HASH_HEX + 2 && text[n + 1 + HASH_HEX] == '+';
  if (ok) {
    memcpy(k.name, text, n);
    memcpy(hex, text + n + 1, HASH_HEX);
    const char *key = text + n + HASH_HEX + 2;
    ok = note_name_valid(k.name) && strspn(hex, "0123456789abcdef") == HASH_HEX && hex_decode(hex, id, ID) &&
         note_base64(key, strlen(key), bytes, sizeof bytes) && bytes[0] == COSIGNATURE_V1;
  }
  if (!ok) return err_set(err, ERR_INVALID, "this is no witness key: it should read name+hash+base64, of type 4 (Ed25519 cosignature/v1)");
  memcpy(k.key, bytes + 1, NOTE_KEY_BYTES);
  const struct digest_part parts[] = {{k.name, n}, {middle, 2}, {k.key, NOTE_KEY_BYTES}};
  digest_sha256_parts(parts, 3, digest);
  if (memcmp(digest, id, ID) != 0) return err_set(err, ERR_INVALID, "the witness key of %s is damaged: its hash does not fit", k.name);
  k.id = id_read(id);
  *ret = k;
  return 0;
}

int witness_request(const struct reader *log, uint64_t old, struct buf *out, struct err *err) {
  struct merkle_proof proof = {.count = 0};
  if (old > log->checkpoint.size)
    return err_set(err, ERR_INVALID, "the witness knows %" PRIu64 " entries of this log, which has only %" PRIu64, old,
                   log->checkpoint.size);
  int r = old && old < log->checkpoint.size ? reader_consistency(log, old, &proof, err) : 0;
  if (r < 0) return r;
  buf_addf(out, "old %" PRIu64 "\n", old);
  for (size_t i = 0; i < proof.count; i++) {
    char *hash = base64_encode(proof.hashes[i].bytes, DIGEST_BYTES);
    if (!hash) abort();
    buf_addf(out, "%s\n", hash);
    free(hash);
  }
  buf_addc(out, '\n');
  buf_add(out, log->note, log->note_len);
  return buf_ok(out) ? 0 : err_set(err, ERR_LIMIT, "the request to a witness is longer than %zu bytes", out->cap);
}

bool witness_size(const char *answer, size_t len, uint64_t *ret) {
  uint64_t size = 0;
  if (len && answer[len - 1] == '\n') len--;
  if (len == 0 || len > 19 || (len > 1 && *answer == '0')) return false;
  for (size_t i = 0; i < len; i++) {
    if (answer[i] < '0' || answer[i] > '9') return false;
    size = 10 * size + (uint64_t)(answer[i] - '0');
  }
  *ret = size;
  return true;
}

static bool fits(const struct witness_key *k, const uint8_t *line, const char *text, size_t text_len, int64_t *ret_time) {
  uint64_t when = 0;
  struct buf message;
  for (int i = 0; i < TIME; i++) when = when << 8 | line[ID + i];
  if (when > INT64_MAX) return false;
  buf_init(&message, MESSAGE_CAP);
  buf_addf(&message, "cosignature/v1\ntime %" PRIu64 "\n", when);
  buf_add(&message, text, text_len);
  EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, k->key, NOTE_KEY_BYTES);
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  bool ok = buf_ok(&message) && pkey && context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, pkey) == 1 &&
            EVP_DigestVerify(context, line + ID + TIME, NOTE_SIGNATURE_BYTES, (const uint8_t *)message.data, message.len) == 1;
  EVP_MD_CTX_free(context);
  EVP_PKEY_free(pkey);
  buf_release(&message);
  if (ok) *ret_time = (int64_t)when;
  return ok;
}

int witness_check(const char *lines, size_t len, const struct witness_key *key, const char *text, size_t text_len, struct buf *out,
                  int64_t *ret_time, struct err *err) {
  const char *end = lines + len, *next;
  size_t name_len = strlen(key->name), skip = sizeof DASH - 1 + name_len + 1;
  uint8_t bytes[LINE];
  for (const char *p = lines; p < end; p = next + 1) {
    next = memchr(p, '\n', (size_t)(end - p));
    if (!next) break;
    size_t n = (size_t)(next - p);
    if (n <= skip || memcmp(p, DASH, sizeof DASH - 1) != 0 || memcmp(p + sizeof DASH - 1, key->name, name_len) != 0 || p[skip - 1] != ' ' ||
        !note_base64(p + skip, n - skip, bytes, LINE) || id_read(bytes) != key->id)
      continue;
    if (!fits(key, bytes, text, text_len, ret_time))
      return err_set(err, ERR_INVALID, "the cosignature of %s does not fit the checkpoint", key->name);
    if (out) buf_add(out, p, n + 1);
    return 0;
  }
  return err_set(err, ERR_NOT_FOUND, "there is no cosignature of %s", key->name);
}
