/* transport.h: carries one rendered request to the world and brings back what is known of it.
 *
 * A request is JSON with one member that names the transport: {"http": {…}}, {"ldap": {…}}, {"sql": {…}}, {"redis": {…}}, {"exec": {…}},
 * {"smtp": {…}}. Its forms stand in transport/README.md. Secrets appear in it as {"$secret": "<slot>"} and are filled in here, at the
 * moment of sending, nowhere else; they never appear in the response, in an error or in a log (the response is redacted before it is handed
 * out). In a simulated exchange, and in every one for an exercise's incident, nothing but the simulated transport can be chosen: that is decided in
 * transport_start and nowhere else.
 *
 * What is known afterwards is exactly one of:
 *   DELIVERY_NOT_SENT  proven: no byte of the request proper left (gate said no, name or address refused, connect failed, TLS or bind failed)
 *   DELIVERY_ANSWERED  an answer was read whole; response holds it (whatever its status)
 *   DELIVERY_IN_DOUBT  the request may have left, and what came back proves nothing: time-out, reset, half an answer, over the cap
 * A transport never repeats a request by itself (libcurl's own repeat of a POST on a dead reused connection is stopped at the gate). */
#ifndef TOCSIN_TRANSPORT_TRANSPORT_H
#define TOCSIN_TRANSPORT_TRANSPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/secret.h"
#include "wire/loop.h"

enum delivery { DELIVERY_NOT_SENT, DELIVERY_ANSWERED, DELIVERY_IN_DOUBT };

/* The last check before bytes leave: true = go on. Called at most once, possibly on another thread: it may only read what its owner
 * declares safe (atomics); never after the flight was cancelled. One exception to "once": when an answer 401 proved that a request was refused and
 * a new OAuth token was fetched, it is asked again before the second try; a no then makes the 401 the answer. */
typedef bool transport_gate(void *arg);

struct exchange {
  const json_t *request;  /* borrowed during transport_start; copied */
  const char *incident;   /* whose it is, or NULL; of an exercise (EX-…) it is simulated, whatever else is said */
  bool simulated;         /* a back-test, a test, a dry run */
  const json_t *simulate; /* the connector's simulated response for it, or NULL */
  bool read_only;         /* effect read: may follow same-origin redirects */
  const char *connector;  /* instance name: connections and OAuth tokens are pooled per instance */
  const char *idempotency_key;
  int64_t timeout_ms;
  size_t response_cap; /* decoded bytes */
  const void
      *body; /* http only, in place of a body in the form: these bytes as they are, borrowed until the callback; NULL: none. Not for */
  size_t body_len;       /* connectors: their requests are shown to people and kept */
  const json_t *network; /* the instance's network rules: {"ca_file", "allow_link_local": bool, "allow": [cidr…]}, or NULL */
  int64_t latency_ms;    /* simulated, by the clock of transports_only_simulate: how long the answer takes */
  transport_gate *gate;  /* NULL: always */
  void *gate_arg;
};

struct exchange_result {
  enum delivery delivery;
  json_t *response;  /* borrowed during the callback; NULL unless answered: http {"status", "headers", "body" (JSON when it is),
                             "text"}, sql {"rows", "affected", "sqlstate"}, ldap {"code", "message", "entries"}, … redacted */
  const void *bytes; /* http: the answer's body as it came, not redacted; borrowed during the callback */
  size_t bytes_len;
  int64_t retry_after_ms; /* from 429/503, -1: none */
  int64_t took_us;
  struct err err; /* code 0 when answered */
};

struct transports;
struct flight; /* one exchange under way */

typedef void exchange_cb(void *arg, const struct exchange_result *result);

/* Ignores SIGPIPE for the process. */
struct transports *transports_new(struct loop *loop, struct secrets *secrets);
/* From now on every exchange is simulated, whatever it says: an exercise's. Answers take their latency by that clock (borrowed). */
void transports_only_simulate(struct transports *t, const struct clock *clock);
/* When the next simulated answer comes (µs of that clock), INT64_MAX: none is waited for. That clock was set: what has come by it is answered in the next turn. */
int64_t transports_due(const struct transports *t);
void transports_clock_moved(struct transports *t);
/* Nothing but the clock lets its answer come. */
bool flight_waits(const struct flight *f);
void transports_free(struct transports *t); /* flights under way are cancelled: their callbacks come first, in doubt or not sent */
/* Checks the request's form (ERR_INVALID names the member), then starts. cb is called exactly once, later; *ret is not
 * valid any more from then on. Never call transports_free from a callback. */
int transport_start(struct transports *t, const struct exchange *exchange, exchange_cb *cb, void *arg, struct flight **ret,
                    struct err *err);
/* Ends it; the callback comes (later) with ERR_CANCELLED and NOT_SENT or IN_DOUBT. */
void transport_cancel(struct flight *flight);
/* How many requests have left in earnest; tests of the simulated mode count on it. */
uint64_t transports_sent(const struct transports *t);

/* Blocking HTTP over a Unix socket, for the command line talking to `tocsin serve`. *ret_body is the caller's (free). */
int local_request(const char *socket, const char *method, const char *path, const char *body, size_t body_len, int64_t timeout_ms,
                  long *ret_status, char **ret_body, size_t *ret_len, struct err *err);

#endif
