/* resolve.h: a host name to addresses without blocking the loop.
 *
 * getaddrinfo runs on a thread of its own that shares nothing with the loop but one counted mailbox, so that a slow name server can
 * delay neither the loop nor the end of the process. */
#ifndef TOCSIN_WIRE_RESOLVE_H
#define TOCSIN_WIRE_RESOLVE_H

#include <netdb.h>

#include "base/err.h"
#include "wire/loop.h"

struct resolve;

/* list is the callee's to freeaddrinfo; NULL when err is set. */
typedef void resolve_cb(void *arg, struct addrinfo *list, const struct err *err);

int resolve_start(struct loop *loop, const char *host, int port, resolve_cb *cb, void *arg, struct resolve **ret, struct err *err);
/* Needed after the callback too (and legal inside it); before it, the callback will not come. NULL is legal. */
void resolve_free(struct resolve *r);

#endif
