/* zip.h: a plain ZIP archive (APPNOTE 6.3.3) in its one form that we write: files stored as they are, names in order, one fixed date, nothing besides.
 *
 * The same files always make the same bytes. Because there is one form only, reading refuses everything else: compression, extra fields, comments, gaps, other dates, a name twice
 * or out of order, a wrong CRC. So no bit of an archive can be changed unseen, and a stranger's archive cannot make a reader allocate or seek. Names are made of letters, digits and
 * . _ - / and lead nowhere but down. No more than 65,535 files and 4 GiB. Pure: opens nothing. */
#ifndef TOCSIN_EVIDENCE_ZIP_H
#define TOCSIN_EVIDENCE_ZIP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum { ZIP_NAME = 128, ZIP_FILES = 65535 };

struct zip_file {
  char name[ZIP_NAME];
  const char *bytes;
  size_t len;
  char *owned; /* of zip_add; NULL of zip_read */
};

struct zip {
  struct zip_file *files;
  size_t count, room;
};

/* Copies. ERR_INVALID for a bad name, ERR_LIMIT for too many files. */
int zip_add(struct zip *z, const char *name, const void *bytes, size_t len, struct err *err);
/* Sorts the files and appends the archive to out. ERR_EXISTS: a name twice; ERR_LIMIT: over 4 GiB, or over out's cap. */
int zip_write(struct zip *z, struct buf *out, struct err *err);
/* The files point into the bytes. ERR_INVALID says what is wrong and where. */
int zip_read(const void *bytes, size_t len, struct zip *ret, struct err *err);
/* In an archive that was read or written; NULL when it is not there. */
const struct zip_file *zip_find(const struct zip *z, const char *name);
void zip_release(struct zip *z);

bool zip_name_valid(const char *name, size_t len);

#endif
