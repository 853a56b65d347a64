/* expiry.h: until when a row or rule holds: a date (through the end of that day, UTC) or an RFC 3339 time. */
#ifndef TOCSIN_ROUTE_EXPIRY_H
#define TOCSIN_ROUTE_EXPIRY_H

#include <stdbool.h>
#include <stdint.h>

/* The first microsecond at which it no longer holds. False, *ret_us untouched, when the text is neither. */
bool expiry_parse(const char *text, int64_t *ret_us);

#endif
