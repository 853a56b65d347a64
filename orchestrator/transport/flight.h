/* flight.h: what the transports share: one exchange under way, its passage through the gate, its end.
 *
 * Only transport/ includes it. A flight belongs to the loop thread; its passage may be used by another thread, too. Whatever a transport does,
 * flight_pass is asked just before the request's first byte, and exactly one of flight_answer and flight_fail ends the flight, later than
 * its start. Delivery follows from the passage alone, so that no transport can claim more than is known. */
#ifndef TOCSIN_TRANSPORT_FLIGHT_H
#define TOCSIN_TRANSPORT_FLIGHT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "transport/transport.h"

struct multi;
struct pool;

enum { MOST_FLIGHTS = 65536, RESPONSE_CAP_DEFAULT = 256 * 1024, TIMEOUT_DEFAULT_MS = 20000 };

enum passage_state { PASSAGE_BEFORE, PASSAGE_SENT, PASSAGE_REFUSED, PASSAGE_CANCELLED };

/* The gate, asked once. Counted references: what another thread does may outlive its flight. */
struct passage {
  atomic_int refs;
  pthread_mutex_t lock; /* held while the gate is asked, so that a cancel waits for it */
  atomic_int state;
  atomic_bool closed; /* the gate is not asked any more: who answered may be gone */
  transport_gate *gate;
  void *gate_arg;
  atomic_uint_least64_t *sent;
};

struct passage *passage_ref(struct passage *p);
void passage_unref(struct passage *p);
/* True: send now (asked the first time, and the gate agreed). Any thread. */
bool passage_pass(struct passage *p);
/* Asks the gate anew after an answer proved that the first request was refused (401 and a renewed token). Any thread. */
bool passage_pass_again(struct passage *p);
bool passage_is_open(const struct passage *p); /* it was not closed. Any thread */
/* Nothing leaves any more. */
void passage_close(struct passage *p);

struct transport {
  const char *name;
  /* Takes what it needs from f->form; on ERR_… nothing was begun. Never ends the flight before it returned. */
  int (*start)(struct flight *f, struct err *err);
  /* Stops at once and releases f->state; neither flight_answer nor flight_fail comes after it. */
  void (*cancel)(struct flight *f);
};

struct flight {
  struct transports *t;
  const struct transport *transport;
  struct passage *passage;
  void *state;  /* the transport's own */
  json_t *form; /* the request with secrets in place; wiped at the end */
  char *connector, *idempotency_key;
  json_t *network;
  const void *body; /* borrowed from the caller */
  size_t body_len;
  json_t *simulate;
  int64_t latency_ms, due; /* simulated: how long it takes, and until when it waits (µs of simulated_by); 0: it does not wait */
  bool read_only, ending;
  int64_t timeout_ms, started_us;
  size_t response_cap;
  exchange_cb *cb;
  void *arg;
  struct flight *prev, *next;
  struct exchange_result result; /* its long text for errors is the last of all */
};

struct transports {
  struct loop *loop;
  struct secrets *secrets;
  struct multi *multi;
  struct pool *pool;
  struct timer *alarm; /* for time-outs */
  int64_t alarm_us;    /* when it rings, by the boot clock */
  struct map tokens;   /* slot -> int64_t, when an OAuth token ends by the boot clock */
  struct map servers;  /* "https://host:port" -> struct http_server, a bounded number */
  struct flight *flights;
  size_t count;
  const struct clock *simulated_by; /* not NULL: nothing else is done here */
  atomic_uint_least64_t sent;
};

bool flight_pass(struct flight *f);
bool flight_passed(const struct flight *f);
int64_t flight_left_ms(const struct flight *f); /* until its time-out; at least 0 */

/* Takes response. The flight is gone afterwards. */
void flight_answer(struct flight *f, json_t *response, int64_t retry_after_ms);
/* Not sent, or in doubt once the gate was passed. */
void flight_fail(struct flight *f, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* For a failure that proves that nothing happened although the gate was passed: exec failed, the encoder refused. */
void flight_fail_unsent(struct flight *f, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Stops the transport's work first; legal before or after anything. */
void flight_abort(struct flight *f, int code, const char *text);

void http_server_unref(void *server); /* of transports.servers; NULL is legal */

extern const struct transport transport_http, transport_ldap, transport_sql, transport_exec, transport_smtp, transport_redis,
    transport_simulated;

#endif
