/* keyfile.h: 32 random bytes in a file of the data folder, made at first use (0600), the same ever after. */
#ifndef TOCSIN_BASE_KEYFILE_H
#define TOCSIN_BASE_KEYFILE_H

#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"

/* folder/name. ERR_INVALID when the file is there and is not 32 bytes long (restore it), ERR_DENIED when others can read it. */
int keyfile(const char *folder, const char *name, uint8_t out[DIGEST_BYTES], struct err *err);

#endif
