/* needles.h: finds the first place in a text where any of many byte strings begins.
 *
 * Made for what hardly ever finds one: it looks at every fifth byte or so of a text that bears none, however many strings it knows.
 * Strings are added, never taken away. Pure; never prints. */
#ifndef TOCSIN_BASE_NEEDLES_H
#define TOCSIN_BASE_NEEDLES_H

#include <stddef.h>

enum { NEEDLE_MIN = 8 }; /* bytes that a string must have */

struct needles;

struct needles *needles_new(void);
void needles_free(struct needles *n); /* leaves the strings alone */
/* bytes: borrowed for as long as n lives, at least NEEDLE_MIN. of: what needles_find says of it. */
void needles_add(struct needles *n, const char *bytes, size_t len, const void *of);
/* The first place at or after `from` where one begins, and of those that begin there the longest (of equal ones the newest); len: none does. */
size_t needles_find(const struct needles *n, const char *text, size_t from, size_t len, const void **ret_of, size_t *ret_len);

#endif
