/* csv.h: reads comma-separated values (RFC 4180) record by record, with the line each began on.
 *
 * Stricter than spreadsheets: a quote inside an unquoted field, text behind a closing quote, bytes that are not UTF-8 and NUL are errors. More lenient than
 * the RFC: lines may end in LF alone, empty lines are skipped, a byte order mark is dropped, and blanks around unquoted fields are trimmed (a value that
 * silently never matches because of a space would be worse). */
#ifndef TOCSIN_ROUTE_CSV_H
#define TOCSIN_ROUTE_CSV_H

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

enum { CSV_MAX_FIELD = 4096, CSV_MAX_FIELDS = 64 };

struct csv {
  const char *at, *end;
  size_t line;
};

/* bytes: borrowed while reading. */
void csv_init(struct csv *c, const char *bytes, size_t len);
/* 1: *ret_record is a new array of strings, *ret_line where it began; 0: the end; negative: an error whose text begins with "line N: ". */
int csv_next(struct csv *c, json_t **ret_record, size_t *ret_line, struct err *err);

#endif
