#include "anchor/stamp.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ts.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/digest.h"

static int crypto_error(struct err *err, int code, const char *what) {
  unsigned long e = ERR_get_error(), next;
  while ((next = ERR_get_error())) e = next; /* the last one says what the others led to */
  const char *why = e ? ERR_reason_error_string(e) : NULL;
  return err_set(err, code, "%s%s%s", what, why ? ": " : "", why ? why : "");
}

static ASN1_INTEGER *nonce_integer(const uint8_t nonce[STAMP_NONCE]) {
  BIGNUM *n = BN_bin2bn(nonce, STAMP_NONCE, NULL);
  ASN1_INTEGER *i = n ? BN_to_ASN1_INTEGER(n, NULL) : NULL;
  BN_free(n);
  return i;
}

static int request_fill(TS_REQ *q, const uint8_t digest[DIGEST_BYTES], const ASN1_INTEGER *nonce) {
  TS_MSG_IMPRINT *imprint = TS_MSG_IMPRINT_new();
  X509_ALGOR *algorithm = X509_ALGOR_new();
  int ok = q && imprint && algorithm && nonce && X509_ALGOR_set0(algorithm, OBJ_nid2obj(NID_sha256), V_ASN1_NULL, NULL) == 1 &&
           TS_MSG_IMPRINT_set_algo(imprint, algorithm) == 1 &&
           TS_MSG_IMPRINT_set_msg(imprint, (unsigned char *)(uintptr_t)digest, DIGEST_BYTES) == 1 && TS_REQ_set_version(q, 1) == 1 &&
           TS_REQ_set_msg_imprint(q, imprint) == 1 && TS_REQ_set_nonce(q, nonce) == 1 && TS_REQ_set_cert_req(q, 1) == 1;
  X509_ALGOR_free(algorithm);
  TS_MSG_IMPRINT_free(imprint);
  return ok;
}

int stamp_request(const void *bytes, size_t len, const uint8_t nonce[STAMP_NONCE], struct buf *out, struct err *err) {
  uint8_t digest[DIGEST_BYTES], *der = NULL;
  TS_REQ *q = TS_REQ_new();
  ASN1_INTEGER *number = nonce_integer(nonce);
  digest_sha256(bytes, len, digest);
  int n = request_fill(q, digest, number) ? i2d_TS_REQ(q, &der) : -1;
  int r = n > 0 ? 0 : crypto_error(err, ERR_INTERNAL, "making a request for a time stamp failed");
  if (r == 0) buf_add(out, der, (size_t)n);
  OPENSSL_free(der);
  ASN1_INTEGER_free(number);
  TS_REQ_free(q);
  return r;
}

/* ---- the answer */

static int64_t stamp_time(const TS_TST_INFO *info) {
  struct tm tm = {0};
  const ASN1_GENERALIZEDTIME *t = TS_TST_INFO_get_time(info);
  if (!t || ASN1_TIME_to_tm(t, &tm) != 1) return -1;
  int64_t us = (int64_t)timegm(&tm) * 1000000, unit = 100000;
  /* "20261123191038.018Z": the fraction is beyond struct tm. */
  const char *p = memchr(ASN1_STRING_get0_data(t), '.', (size_t)ASN1_STRING_length(t));
  const char *end = (const char *)ASN1_STRING_get0_data(t) + ASN1_STRING_length(t);
  for (p = p ? p + 1 : end; p < end && *p >= '0' && *p <= '9' && unit; p++, unit /= 10) us += (*p - '0') * unit;
  return us;
}

/* A store that believes the CA, and looks at every certificate as of the time of the stamp. */
static X509_STORE *store_make(const char *ca_file, int64_t at) {
  X509_STORE *store = X509_STORE_new();
  X509_VERIFY_PARAM *param = store ? X509_STORE_get0_param(store) : NULL;
  if (!store || X509_STORE_load_file(store, ca_file) != 1) {
    X509_STORE_free(store);
    return NULL;
  }
  X509_VERIFY_PARAM_set_time(param, (time_t)(at / 1000000));
  return store;
}

/* Every check is on: signature and chain, version, imprint, the signer's certificate; the nonce where it is known. */
static int reply_verify(TS_RESP *reply, X509_STORE *store_take, const uint8_t digest[DIGEST_BYTES], const uint8_t *nonce, struct err *err) {
  TS_VERIFY_CTX *c = TS_VERIFY_CTX_new();
  X509_ALGOR *algorithm = X509_ALGOR_new();
  TS_REQ *q = TS_REQ_new();
  ASN1_INTEGER *number = nonce_integer(nonce ? nonce : (const uint8_t[STAMP_NONCE]){0});
  int ok = c && algorithm && request_fill(q, digest, number) && TS_REQ_to_TS_VERIFY_CTX(q, c);
  if (ok) {
    TS_VERIFY_CTX_set_flags(c, TS_VFY_SIGNATURE | TS_VFY_VERSION | TS_VFY_IMPRINT | TS_VFY_SIGNER | (nonce ? TS_VFY_NONCE : 0));
    TS_VERIFY_CTX_set_store(c, store_take); /* the context frees it */
    ok = TS_RESP_verify_response(c, reply) == 1;
  } else {
    X509_STORE_free(store_take);
  }
  TS_VERIFY_CTX_free(c);
  TS_REQ_free(q);
  X509_ALGOR_free(algorithm);
  ASN1_INTEGER_free(number);
  return ok ? 0 : crypto_error(err, ERR_INVALID, "the time stamp is not to be believed");
}

static void stamp_name(TS_RESP *reply, struct stamp *ret) {
  PKCS7 *token = TS_RESP_get_token(reply);
  STACK_OF(X509) *signers = PKCS7_get0_signers(token, NULL, 0);
  X509 *signer = signers && sk_X509_num(signers) > 0 ? sk_X509_value(signers, 0) : NULL;
  BIO *out = BIO_new(BIO_s_mem());
  char *text = NULL;
  if (signer && out && X509_NAME_print_ex(out, X509_get_subject_name(signer), 0, XN_FLAG_RFC2253) >= 0) {
    long n = BIO_get_mem_data(out, &text);
    snprintf(ret->authority, sizeof ret->authority, "%.*s", (int)n, text);
  }
  BIO_free(out);
  sk_X509_free(signers);
}

static int reply_status(TS_RESP *reply, struct err *err) {
  const TS_STATUS_INFO *status = TS_RESP_get_status_info(reply);
  long code = ASN1_INTEGER_get(TS_STATUS_INFO_get0_status(status));
  const STACK_OF(ASN1_UTF8STRING) *words = TS_STATUS_INFO_get0_text(status);
  const ASN1_UTF8STRING *word = words && sk_ASN1_UTF8STRING_num(words) > 0 ? sk_ASN1_UTF8STRING_value(words, 0) : NULL;
  if (code == 0 || code == 1) return TS_RESP_get_tst_info(reply) ? 0 : err_set(err, ERR_INVALID, "the answer bears no time stamp");
  return err_set(err, ERR_DENIED, "the time-stamping authority refused (status %ld)%s%.*s", code, word ? ": " : "",
                 word ? ASN1_STRING_length(word) : 0, word ? (const char *)ASN1_STRING_get0_data(word) : "");
}

int stamp_check(const void *reply, size_t reply_len, const void *bytes, size_t len, const uint8_t *nonce, const char *ca_file,
                struct stamp *ret, struct err *err) {
  struct stamp stamp = {.time = 0};
  uint8_t digest[DIGEST_BYTES];
  const uint8_t *at = reply;
  X509_STORE *store;
  char *serial = NULL;
  int r = 0;
  ERR_clear_error();
  TS_RESP *resp = reply_len <= STAMP_CAP ? d2i_TS_RESP(NULL, &at, (long)reply_len) : NULL;
  if (!resp || at != (const uint8_t *)reply + reply_len) r = err_set(err, ERR_INVALID, "this is no answer of a time-stamping authority");
  if (r == 0) r = reply_status(resp, err);
  if (r < 0) goto out;
  stamp.time = stamp_time(TS_RESP_get_tst_info(resp));
  if (stamp.time < 0) r = err_set(err, ERR_INVALID, "the time stamp's time is unreadable");
  else if (!(store = store_make(ca_file, stamp.time))) r = crypto_error(err, ERR_IO, "the CA of the time stamps cannot be read");
  else {
    digest_sha256(bytes, len, digest);
    r = reply_verify(resp, store, digest, nonce, err);
  }
  if (r < 0) goto out;
  BIGNUM *number = ASN1_INTEGER_to_BN(TS_TST_INFO_get_serial(TS_RESP_get_tst_info(resp)), NULL);
  serial = number ? BN_bn2hex(number) : NULL;
  BN_free(number);
  snprintf(stamp.serial, sizeof stamp.serial, "%s", serial ? serial : "");
  stamp_name(resp, &stamp);
  *ret = stamp;
out:
  OPENSSL_free(serial);
  TS_RESP_free(resp);
  ERR_clear_error();
  return r;
}
