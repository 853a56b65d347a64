/* stream.h: one outgoing byte stream for wire/: Unix socket or TCP, with TLS on top when asked.
 *
 * Never blocks: names are resolved on a helper thread, every address is tried in turn. TLS verifies the certificate and the name
 * (TLS 1.2 at least). No callback comes before stream_open returned; after `failed` or stream_close none comes at all. The caller
 * closes after `failed`, which is legal inside every callback. Not for other rooms: they have libcurl or redis.h. */
#ifndef TOCSIN_WIRE_STREAM_H
#define TOCSIN_WIRE_STREAM_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "wire/loop.h"

struct stream;
struct tls; /* shared by many streams: trust, client certificate */

/* ca NULL: the system's store; cert and key NULL: no client certificate. The key's file must not be readable for others. */
int tls_new(const char *ca, const char *cert, const char *key, struct tls **ret, struct err *err);
void tls_free(struct tls *tls);

struct stream_target {
  const char *socket; /* or NULL for host and port */
  const char *host;
  int port;
  const struct tls *tls; /* NULL: plain */
};

struct stream_events {
  void *arg;
  void (*opened)(void *arg); /* TLS too is done */
  void (*readable)(void *arg);
  void (*writable)(void *arg); /* only after a short stream_write */
  void (*failed)(void *arg, const struct err *err);
};

/* Borrows the target until the stream is closed. */
struct stream *stream_open(struct loop *loop, const struct stream_target *target, const struct stream_events *events);
void stream_close(struct stream *s);
/* Bytes read, 0 when there is nothing now (readable follows), or a negative code: the stream is over. */
ssize_t stream_read(struct stream *s, void *bytes, size_t len, struct err *err);
/* Bytes taken, fewer than len when the other side is slow (writable follows), or a negative code. */
ssize_t stream_write(struct stream *s, const void *bytes, size_t len, struct err *err);

#endif
