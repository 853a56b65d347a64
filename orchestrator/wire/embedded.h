/* embedded.h: the private redis-server that `tocsin serve` starts and supervises when the settings name none.
 *
 * It lives in <data>/redis (0700) and listens on a Unix socket there only (<data>/redis/redis.sock, 0600): port 0, appendonly,
 * appendfsync always, aof-load-truncated no, no-appendfsync-on-rewrite no, no RDB saves, maxmemory-policy noeviction.
 * Two locks there: serve.lock is held by the one `tocsin serve` (a second one is refused with ERR_EXISTS and a text naming the setting
 * `redis`); lock is held by the one redis-server, which inherits its descriptor: a killed parent's living child still holds it and is
 * adopted, never doubled (the kernel says who listens on the socket; redis.pid must say the same).
 * When the child dies it is started again with back-off. A torn tail of the append-only file (redis-server refuses to load it) is mended:
 * the file is copied beside itself, only the unfinished last command is cut, and tail_cut is called so that it can go on record; any other
 * damage stops with an instruction (ERR_IO).
 * A server that was never ready is given up after three tries; one that was ready comes back for ever, with back-off up to 5 s.
 * The child survives a crash of ours on purpose; embedded_stop sends SIGTERM after the last append and waits for it. */
#ifndef TOCSIN_WIRE_EMBEDDED_H
#define TOCSIN_WIRE_EMBEDDED_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "wire/loop.h"

struct embedded;

struct embedded_config {
  const char *folder;    /* the data folder; made 0700 when absent */
  const char *program;   /* NULL: redis-server from PATH */
  const char *maxmemory; /* as Redis writes it ("2gb"), NULL: no limit */
  bool ends_with_us;     /* nothing in it is worth keeping: it ends when this process does, however that ends */
};

/* embedded_free is legal inside ready, lost and failed, not inside tail_cut. */
struct embedded_events {
  void *arg;
  void (*ready)(void *arg, bool adopted);                                           /* answers PING; also after each restart */
  void (*lost)(void *arg, const char *why);                                         /* it died; a restart follows by itself */
  void (*tail_cut)(void *arg, const char *file, int64_t offset, int64_t bytes_cut); /* see above */
  void (*failed)(void *arg, const struct err *err);                                 /* it cannot be started; nothing follows */
};

int embedded_start(struct loop *loop, const struct embedded_config *config, const struct embedded_events *events, struct embedded **ret,
                   struct err *err);
const char *embedded_socket(const struct embedded *e); /* borrowed path */
pid_t embedded_pid(const struct embedded *e);
/* Asynchronous: SIGTERM, SIGKILL after 10 s; calls done once the child is gone. Then embedded_free. */
void embedded_stop(struct embedded *e, loop_cb *done, void *arg);
/* Without embedded_stop before, the child is left running (it will be adopted). NULL is legal. */
void embedded_free(struct embedded *e);

#endif
