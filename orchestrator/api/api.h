/* api.h: the HTTP edge of the desk: one command a request, over a Unix socket.
 *
 *   POST /v1/command   {"command": …} → the desk's status and JSON ({"error": text} for everything that went wrong)
 *   GET  /healthz      {"ok": true} while the loop turns
 *   GET  /metrics      Prometheus text, from the counts that the daemon hands out
 *
 * Who commands is established here (auth.h): by the peer's uid, or by a bearer token. Nothing in a body is ever believed about identity.
 * The socket is 0660; its folder is made 0700, or 0750 and the group's when `group` is set. A socket left behind by a dead process is
 * removed, one that somebody answers on never is. Bodies, headers and clients are bounded; a client that is slow to ask or to
 * read is cut off; one that leaves early costs nothing: its command goes on, its answer is dropped.
 * The process must ignore SIGPIPE. Never prints, never blocks, never decides what a person may do. */
#ifndef TOCSIN_API_API_H
#define TOCSIN_API_API_H

#include <jansson.h>

#include "base/err.h"
#include "incident/incident.h"
#include "wire/loop.h"

enum { API_BODY_CAP = 1 << 20 };

struct api;

struct api_config {
  const char *socket;  /* its path */
  const char *group;   /* a Unix group that may connect, or NULL: only our own user */
  unsigned most;       /* clients at once, 0: 128 */
  int64_t patience_ms; /* to send a whole request, and to read a whole answer; 0: 30 s */
  /* New JSON for /metrics: objects of numbers and booleans, nested as one likes: {"alerts": {"accepted_total": 5}} becomes
   * tocsin_alerts_accepted_total 5. Names that end in "_total" are counters, all others gauges. NULL: nothing to count. */
  json_t *(*counts)(void *arg);
  void *arg;
};

/* Copies the config; loop, desk and people must outlive it. ERR_EXISTS when somebody answers on the socket already. */
int api_new(struct loop *loop, struct desk *desk, struct people *people, const struct api_config *config, struct api **ret,
            struct err *err);
/* After a reload. */
void api_set_people(struct api *api, struct people *people);
/* Closes every client and removes the socket; answers still to come from the desk are dropped. NULL is legal. */
void api_free(struct api *api);

/* The text of /metrics; out grows. */
void api_metrics(const json_t *counts, struct buf *out);

#endif
