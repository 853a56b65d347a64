#include "evidence/passage.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"

enum { PUBLIC = 32, KEY = 32, NONCE = 12, TAG = 16, LEN_MOST = 1 << 30 };

struct passage {
  EVP_PKEY *key;
  uint8_t public[PUBLIC];
};

static EVP_PKEY *key_make(uint8_t public[PUBLIC]) {
  size_t len = PUBLIC;
  EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
  if (!key || EVP_PKEY_get_raw_public_key(key, public, &len) != 1) abort();
  return key;
}

struct passage *passage_new(char ret_public[PASSAGE_PUBLIC]) {
  struct passage *p = calloc(1, sizeof *p);
  if (!p) abort();
  p->key = key_make(p->public);
  hex_encode(p->public, PUBLIC, ret_public);
  return p;
}

void passage_free(struct passage *p) {
  if (!p) return;
  EVP_PKEY_free(p->key);
  free(p);
}

/* The same on both sides; false: the other's half is none. */
static bool agree(EVP_PKEY *own, const uint8_t theirs[PUBLIC], const uint8_t sender[PUBLIC], const uint8_t receiver[PUBLIC],
                  uint8_t key[KEY]) {
  uint8_t shared[KEY];
  size_t len = sizeof shared;
  EVP_PKEY *peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, theirs, PUBLIC);
  EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(own, NULL);
  bool ok = peer && c && EVP_PKEY_derive_init(c) == 1 && EVP_PKEY_derive_set_peer(c, peer) == 1 && EVP_PKEY_derive(c, shared, &len) == 1;
  const struct digest_part parts[] = {{shared, sizeof shared}, {sender, PUBLIC}, {receiver, PUBLIC}};
  if (ok) digest_sha256_parts(parts, 3, key);
  OPENSSL_cleanse(shared, sizeof shared);
  EVP_PKEY_CTX_free(c);
  EVP_PKEY_free(peer);
  return ok;
}

/* Each key seals once: its nonce is zero. */
static bool crypt_all(bool seal, const uint8_t key[KEY], const uint8_t *in, size_t len, uint8_t *out, uint8_t tag[TAG]) {
  static const uint8_t nonce[NONCE];
  EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
  int n = 0;
  bool ok = c && EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce, seal) == 1 &&
            (seal || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG, tag) == 1) && EVP_CipherUpdate(c, out, &n, in, (int)len) == 1 &&
            EVP_CipherFinal_ex(c, out + n, &n) == 1 && (!seal || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG, tag) == 1);
  EVP_CIPHER_CTX_free(c);
  return ok;
}

/* Sealed: the sender's public half, the bytes, the tag. */
int passage_seal(const char *public, const void *bytes, size_t len, struct buf *out, struct err *err) {
  uint8_t receiver[PUBLIC], key[KEY], *sealed = malloc(PUBLIC + len + TAG);
  if (!sealed || len > LEN_MOST) abort();
  EVP_PKEY *once = key_make(sealed);
  bool ok = strlen(public) == PASSAGE_PUBLIC - 1 && hex_decode(public, receiver, PUBLIC) && agree(once, receiver, sealed, receiver, key) &&
            crypt_all(true, key, bytes, len, sealed + PUBLIC, sealed + PUBLIC + len);
  char *text = ok ? base64_encode(sealed, PUBLIC + len + TAG) : NULL;
  if (text) buf_adds(out, text);
  OPENSSL_cleanse(key, sizeof key);
  EVP_PKEY_free(once);
  free(text);
  free(sealed);
  return ok ? 0 : err_set(err, ERR_INVALID, "there is nobody to seal these bytes to");
}

int passage_open(const struct passage *p, const char *sealed, size_t len, struct buf *out, struct err *err) {
  uint8_t key[KEY], *clear, *bytes = base64_decode(sealed, len, &len);
  size_t room = bytes && len >= PUBLIC + TAG ? len - PUBLIC - TAG : 0;
  if (!(clear = malloc(room + 1))) abort();
  bool ok = bytes && len >= PUBLIC + TAG && agree(p->key, bytes, bytes, p->public, key) &&
            crypt_all(false, key, bytes + PUBLIC, room, clear, bytes + PUBLIC + room);
  if (ok) buf_add(out, clear, room);
  OPENSSL_cleanse(clear, room + 1);
  OPENSSL_cleanse(key, sizeof key);
  free(clear);
  free(bytes);
  return ok ? 0 : err_set(err, ERR_INVALID, "these bytes were sealed to somebody else, or were changed");
}
