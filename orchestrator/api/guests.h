/* guests.h: the connections of one HTTP server: how many at once, and for how long each may dawdle.
 *
 * evhttp (libevent 2.1) has neither a limit of connections nor one for a whole request: a client that sends a byte now and then
 * could stay for ever. This counts connections from the moment they are made, cuts off those that are not waiting for us and have outstayed
 * their time, and stops accepting while the house is full. */
#ifndef TOCSIN_API_GUESTS_H
#define TOCSIN_API_GUESTS_H

#include <stdint.h>

#include "wire/loop.h"

struct guests;
struct evhttp;
struct bufferevent;
struct evconnlistener;

/* Sets the server's bufferevent callback. listener may be NULL. */
struct guests *guests_new(struct loop *loop, struct evhttp *http, struct evconnlistener *listener, unsigned most, int64_t patience_ms);
/* After evhttp_free. NULL is legal. */
void guests_free(struct guests *g);
/* The connection waits for us now (true): it has time; or it is its turn again (false): its time starts anew. */
void guests_waiting(struct guests *g, struct bufferevent *bev, bool waiting);
unsigned guests_count(const struct guests *g);

#endif
