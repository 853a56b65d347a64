/* file.h: whole files for the command line, bounded; "-" is standard input or output. */
#ifndef TOCSIN_CMD_FILE_H
#define TOCSIN_CMD_FILE_H

#include "base/buf.h"
#include "base/err.h"

/* Appends the file to out (whose cap bounds it: ERR_LIMIT). */
int file_read(const char *path, struct buf *out, struct err *err);
/* A new file (0600), whole or not at all: written beside and renamed. */
int file_write(const char *path, const char *bytes, size_t len, struct err *err);

#endif
