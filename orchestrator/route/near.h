/* near.h: the word that was probably meant, for error messages. */
#ifndef TOCSIN_ROUTE_NEAR_H
#define TOCSIN_ROUTE_NEAR_H

/* The word of the NULL-ended table within two typing mistakes (a third of its length at most, but always one), or NULL. The word itself when it is there. */
const char *route_near_miss(const char *text, const char *const *words);

#endif
