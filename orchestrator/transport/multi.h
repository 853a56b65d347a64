/* multi.h: libcurl's multi interface on the loop.
 *
 * Handles are reused, connections are bounded and kept alive for a few seconds only: a server that closes an idle connection at the moment of
 * its reuse would turn an effect into a doubt. libcurl is never called from inside its own callbacks. Only transport/ includes it. */
#ifndef TOCSIN_TRANSPORT_MULTI_H
#define TOCSIN_TRANSPORT_MULTI_H

#include <curl/curl.h>

#include "transport/address.h"
#include "wire/loop.h"

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

/* One transfer; embed it. done comes from the loop, after which the easy handle is still the transfer's. */
struct transfer {
  struct multi *multi;
  struct handle *handle;
  CURL *easy; /* the handle's */
  void (*done)(struct transfer *transfer, CURLcode code);
  bool running;
  struct place *place; /* NULL: neither running nor waiting */
  struct transfer *next, *prev;
  const struct netrules *rules;
  bool address_refused; /* a refused address was among the host's */
};

struct multi *multi_new(struct loop *loop);
void multi_free(struct multi *m); /* no transfer is running */

/* m NULL: for one blocking curl_easy_perform on a worker; then done is NULL too and transfer_run is not used.
 * A handle with everything set that holds for all: addresses checked by rules (borrowed), TLS verified, no proxy, no environment, no
 * redirects, no signals; and with what setup (NULL: nothing) sets, which is the same for all transfers of m. The transfer itself may set
 * URL, CURLU, HTTPHEADER, POSTFIELDS, POSTFIELDSIZE_LARGE, CUSTOMREQUEST and NOBODY, and says transfer_mark when it sets any other. */
void transfer_init(struct transfer *t, struct multi *m, void (*setup)(struct handle *), const struct netrules *rules,
                   void (*done)(struct transfer *, CURLcode));
void transfer_mark(struct transfer *t); /* every option of the handle is forgotten before it is used again */
/* place: a name of the server, the same for all that share its connections; at most MOST_PER_HOST run, the others wait for their turn. */
void transfer_run(struct transfer *t, const char *place, size_t len);
void transfer_stop(struct transfer *t);    /* takes it out; no done */
void transfer_release(struct transfer *t); /* stops, and gives the handle back */
/* What went wrong, for people: code for err, text into out. */
int transfer_error(const struct transfer *t, CURLcode code, const char *host, char *out, size_t size);

#endif
