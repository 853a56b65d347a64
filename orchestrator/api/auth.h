/* auth.h: who is at the other end of a connection, on a Unix socket and on TCP alike.
 *
 * A bearer token (RFC 6750), where one is sent, decides alone: a wrong one is refused even from a peer that is known otherwise.
 * Without one, a Unix peer is its uid (SO_PEERCRED: the uid that connected, not one that it names); a TCP peer is nobody.
 * Tokens are compared in constant time by people/; nothing of them is kept. */
#ifndef TOCSIN_API_AUTH_H
#define TOCSIN_API_AUTH_H

#include "base/err.h"
#include "people/people.h"

/* authorization: the header's value, or NULL. ERR_DENIED: nobody we know how to name. *ret is borrowed from people. */
int auth_person(struct people *people, int fd, const char *authorization, const struct person **ret, struct err *err);

#endif
