/* listen.h: the Unix socket itself: its folder, its mode, its group, and whether another process has it. */
#ifndef TOCSIN_API_LISTEN_H
#define TOCSIN_API_LISTEN_H

#include "base/err.h"

/* Binds and listens (not blocking, close on exec). *ret_fd is the caller's. ERR_EXISTS: somebody answers there, or something else than a socket lies there. */
int listen_unix(const char *path, const char *group, int *ret_fd, struct err *err);

#endif
