/* stamp.h: RFC 3161 time stamps: the question to a time-stamping authority, and the check of its answer.
 *
 * A stamp says: these bytes existed at that time, and somebody else's key says so. The check is whole or fails: the answer was granted, its signature fits, the certificate that made it is for
 * time stamping and led to the given CA *at the time that the stamp bears* (so that a stamp outlives its certificate), and it is about exactly these bytes. OpenSSL builds a context without
 * the signature check when asked for one from a request; here every check is switched on by hand. The answer may come from a stranger. Reads the CA's file, opens nothing else. */
#ifndef TOCSIN_ANCHOR_STAMP_H
#define TOCSIN_ANCHOR_STAMP_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { STAMP_NONCE = 8, STAMP_CAP = 256 * 1024, STAMP_NAME = 256 };

struct stamp {
  int64_t time;               /* microseconds since the epoch, as the authority says */
  char serial[48];            /* hexadecimal */
  char authority[STAMP_NAME]; /* the subject of the certificate that signed */
};

/* A TimeStampReq (DER) over SHA-256 of the bytes, with that nonce, asking for the certificate. */
int stamp_request(const void *bytes, size_t len, const uint8_t nonce[STAMP_NONCE], struct buf *out, struct err *err);
/* A TimeStampResp (DER). nonce: what it was asked with, or NULL when that is not known any more. ERR_DENIED: the authority refused; ERR_INVALID: it is no stamp of these bytes; ERR_IO: the CA's file. */
int stamp_check(const void *reply, size_t reply_len, const void *bytes, size_t len, const uint8_t *nonce, const char *ca_file,
                struct stamp *ret, struct err *err);

#endif
