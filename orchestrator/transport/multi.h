/* multi.h: libcurl's multi interface, on a thread of its own.
 *
 * The loop hands a transfer over and has it back when it is over; between the two it is the thread's, with everything that libcurl is given of
 * it. Handles are reused, connections are bounded and kept alive for a few seconds only: a server that closes an idle connection at the moment of
 * its reuse would turn an effect into a doubt. libcurl is never called from inside its own callbacks. Only transport/ includes it. */
#ifndef TOCSIN_TRANSPORT_MULTI_H
#define TOCSIN_TRANSPORT_MULTI_H

#include <curl/curl.h>

#include "transport/address.h"
#include "transport/handover.h"

enum { MOST_CONNECTIONS = 512, MOST_PER_HOST = 64, KEPT_CONNECTIONS = 128, KEPT_SECONDS = 4 };

struct multi;

struct transfer;

/* An easy handle with the options that hold for every transfer; the argument of its callbacks. It is kept for the next transfer. */
struct handle {
  CURL *easy;
  struct transfer *transfer; /* whose it is now */
  void (*setup)(struct handle *);
  char *ca_file; /* that it believes; NULL: the system's store */
  bool marked;
  char error[CURL_ERROR_SIZE];
};

/* What all transfers of one kind share. */
struct transfer_kind {
  /* On the thread: what is the same for each of them is set in a new handle. */
  void (*setup)(struct handle *handle);
  /* On the thread, when its turn has come: what is its own. URL, CURLU, REQUEST_TARGET, HTTPHEADER, POSTFIELDS, POSTFIELDSIZE_LARGE, CUSTOMREQUEST and NOBODY
   * may be set; whoever sets any other says transfer_mark. */
  void (*load)(struct transfer *transfer, CURL *easy);
  /* On the loop: it is back, whether it came to its end or was called off. */
  void (*done)(struct transfer *transfer);
};

/* One transfer; embed it. */
struct transfer {
  struct piece piece;
  struct multi *multi;
  const struct transfer_kind *kind;
  const struct netrules *rules;
  const char *place; /* a name of the server, the same for all that share its connections */
  size_t place_len;
  /* the thread's */
  struct handle *handle; /* NULL: it waits for its turn */
  struct place *at;
  struct transfer *next, *prev; /* that wait before the same place */
  /* what became of it */
  CURLcode code;
  long status;          /* of the answer; 0: none */
  char *redirect;       /* where it leads; NULL: nowhere */
  char *error;          /* libcurl's own words; NULL: none */
  bool address_refused; /* a refused address was among the host's */
};

struct multi *multi_new(struct loop *loop);
/* Every transfer has come back or was called off; done is called for those that are still with the thread. */
void multi_free(struct multi *m);

/* Starts the thread if there is none. */
int multi_ready(struct multi *m, struct err *err);
/* rules and place are borrowed until it is back: addresses are checked by rules, TLS is verified, no proxy, no environment, no redirects, no signals.
 * At most MOST_PER_HOST run for one place, the others wait for their turn. */
void transfer_start(struct transfer *t, struct multi *m, const struct transfer_kind *kind, const struct netrules *rules, const char *place,
                    size_t place_len);
/* True: it is here, and done does not come any more. False: done comes later. */
bool transfer_call_off(struct transfer *t);
void transfer_mark(struct transfer *t);    /* every option of the handle is forgotten before it is used again */
void transfer_release(struct transfer *t); /* it is here */
/* What went wrong, for people: code for err, text into out. */
int transfer_error(const struct transfer *t, const char *host, char *out, size_t size);

/* For one that blocks, on a worker: a handle of its own to be set up, with the same rules. */
CURL *transfer_alone(struct transfer *t, const struct netrules *rules);
void transfer_perform(struct transfer *t); /* the handle is gone afterwards */

#endif
