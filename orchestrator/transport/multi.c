#include "transport/multi.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/map.h"
#include "base/slab.h"

enum { SPARE_HANDLES = 256 };

/* What the loop watches of a socket. One that we opened stays watched while its connection is kept: the next transfer need not tell the
 * kernel again. */
struct watch {
  struct event *event; /* NULL: never watched */
  short events;
  bool kept;   /* ours: watched until it is closed */
  bool added;  /* in the loop */
  bool wanted; /* libcurl waits for it */
};

/* A server, and who waits for it. libcurl would do the waiting too, but sets every one that waits up anew for each connection that comes free. */
struct place {
  char *name;
  size_t running;
  struct transfer *first, *last; /* waiting */
};

struct multi {
  struct event_base *base;
  struct event *timer;
  CURLM *curl;
  struct map places;
  struct watch **watches; /* by socket */
  size_t watch_count;
  struct handle *spare[SPARE_HANDLES];
  size_t spares;
};

/* ---- sockets and time ------------------------------------------------------------------------------- */

static void check_done(struct multi *m) {
  CURLMsg *message;
  int left;
  while ((message = curl_multi_info_read(m->curl, &left))) {
    struct handle *handle = NULL;
    CURLcode code = message->data.result;
    if (message->msg != CURLMSG_DONE) continue;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&handle);
    struct transfer *t = handle->transfer;
    transfer_stop(t);
    t->done(t, code);
  }
}

static struct watch *watch_of(struct multi *m, curl_socket_t fd) {
  size_t at = (size_t)fd, count = m->watch_count ? m->watch_count : 64;
  while (count <= at) count *= 2;
  if (count > m->watch_count) {
    m->watches = realloc(m->watches, count * sizeof(struct watch *));
    if (!m->watches) abort();
    memset(m->watches + m->watch_count, 0, (count - m->watch_count) * sizeof(struct watch *));
    m->watch_count = count;
  }
  if (!m->watches[at] && !(m->watches[at] = calloc(1, sizeof(struct watch)))) abort();
  return m->watches[at];
}

static void watch_end(struct watch *w) {
  if (w->event) event_free(w->event);
  memset(w, 0, sizeof *w);
}

static void on_socket(evutil_socket_t fd, short events, void *arg) {
  struct multi *m = arg;
  struct watch *w = watch_of(m, fd);
  int running, mask = (events & EV_READ ? CURL_CSELECT_IN : 0) | (events & EV_WRITE ? CURL_CSELECT_OUT : 0);
  if (!w->wanted) { /* a kept connection that its server closed: libcurl sees it when it looks for one to use */
    event_del(w->event);
    w->added = false;
    return;
  }
  curl_multi_socket_action(m->curl, fd, mask, &running);
  check_done(m);
}

static void on_timer(evutil_socket_t fd, short events, void *arg) {
  struct multi *m = arg;
  int running;
  curl_multi_socket_action(m->curl, CURL_SOCKET_TIMEOUT, 0, &running);
  check_done(m);
}

/* libcurl wants to know about fd, or no more. */
static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known) {
  struct multi *m = arg;
  struct watch *w = watch_of(m, fd);
  w->wanted = what != CURL_POLL_REMOVE;
  if (!w->wanted && !w->kept) watch_end(w);
  if (!w->wanted) return 0;
  short events = (short)((what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0) | EV_PERSIST);
  if (w->added && w->events == events) return 0;
  if (!w->event) w->event = event_new(m->base, fd, events, on_socket, m);
  else if (event_del(w->event) != 0 || event_assign(w->event, m->base, fd, events, on_socket, m) != 0) abort();
  if (!w->event) abort();
  event_add(w->event, NULL);
  w->events = events;
  w->added = true;
  return 0;
}

static int watch_timer(CURLM *curl, long ms, void *arg) {
  struct multi *m = arg;
  struct timeval at = {ms / 1000, (ms % 1000) * 1000};
  if (ms < 0) event_del(m->timer);
  else event_add(m->timer, &at);
  return 0;
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address) {
  struct handle *handle = arg;
  struct transfer *t = handle->transfer;
  if (!netrules_allow(t->rules, &address->addr)) {
    t->address_refused = true;
    return CURL_SOCKET_BAD;
  }
  int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  if (fd < 0 || !t->multi) return fd;
  watch_end(watch_of(t->multi, fd));
  watch_of(t->multi, fd)->kept = true;
  return fd;
}

static int close_socket(void *arg, curl_socket_t fd) {
  struct multi *m = arg;
  watch_end(watch_of(m, fd));
  return close(fd);
}

struct multi *multi_new(struct loop *loop) {
  struct multi *m = calloc(1, sizeof *m);
  curl_global_init_mem(CURL_GLOBAL_DEFAULT, slab_alloc, slab_free, slab_realloc, slab_strdup, slab_calloc);
  if (!m || !(m->curl = curl_multi_init())) abort();
  m->base = loop_base(loop);
  m->timer = event_new(m->base, -1, 0, on_timer, m);
  if (!m->timer) abort();
  map_init(&m->places);
  curl_multi_setopt(m->curl, CURLMOPT_SOCKETFUNCTION, watch_socket);
  curl_multi_setopt(m->curl, CURLMOPT_SOCKETDATA, m);
  curl_multi_setopt(m->curl, CURLMOPT_TIMERFUNCTION, watch_timer);
  curl_multi_setopt(m->curl, CURLMOPT_TIMERDATA, m);
  curl_multi_setopt(m->curl, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
  curl_multi_setopt(m->curl, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)MOST_CONNECTIONS);
  curl_multi_setopt(m->curl, CURLMOPT_MAX_HOST_CONNECTIONS, (long)MOST_PER_HOST);
  curl_multi_setopt(m->curl, CURLMOPT_MAXCONNECTS, (long)KEPT_CONNECTIONS);
  return m;
}

static void handle_free(struct handle *handle) {
  curl_easy_cleanup(handle->easy);
  free(handle->ca_file);
  free(handle);
}

void multi_free(struct multi *m) {
  if (!m) return;
  for (size_t i = 0; i < m->spares; i++) handle_free(m->spare[i]);
  curl_multi_cleanup(m->curl);
  event_free(m->timer);
  for (size_t i = 0; i < m->watch_count; i++) {
    if (m->watches[i]) watch_end(m->watches[i]);
    free(m->watches[i]);
  }
  free(m->watches);
  map_release(&m->places, NULL);
  free(m);
}

/* ---- handles ---------------------------------------------------------------------------------------- */

static void set_common(struct handle *handle, struct multi *m) {
  CURL *e = handle->easy;
  curl_easy_setopt(e, CURLOPT_PRIVATE, handle);
  curl_easy_setopt(e, CURLOPT_ERRORBUFFER, handle->error);
  curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* taking it out must not wait for a name server */
  curl_easy_setopt(e, CURLOPT_PROXY, "");
  curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
  curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket);
  curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, handle);
  curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
  curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, (long)KEPT_SECONDS);
  curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, 3600000L); /* the flight's own time-out is shorter and counts everything */
  if (!m) return;
  curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
  curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, m); /* a connection outlives its first transfer */
}

static struct handle *handle_new(struct multi *m, void (*setup)(struct handle *)) {
  struct handle *handle = calloc(1, sizeof *handle);
  if (!handle || !(handle->easy = curl_easy_init())) abort();
  handle->setup = setup;
  set_common(handle, m);
  if (setup) setup(handle);
  return handle;
}

/* Forgets every option and secret. */
static void handle_renew(struct handle *handle, struct multi *m) {
  curl_easy_reset(handle->easy);
  free(handle->ca_file);
  handle->ca_file = NULL;
  handle->marked = false;
  set_common(handle, m);
  if (handle->setup) handle->setup(handle);
}

/* NULL: the system's store. */
static void handle_believe(struct handle *handle, struct multi *m, const char *ca_file) {
  if (!ca_file && handle->ca_file) handle_renew(handle, m);
  if (!ca_file || (handle->ca_file && strcmp(handle->ca_file, ca_file) == 0)) return;
  free(handle->ca_file);
  if (!(handle->ca_file = strdup(ca_file))) abort();
  curl_easy_setopt(handle->easy, CURLOPT_CAINFO, ca_file);
  curl_easy_setopt(handle->easy, CURLOPT_CAPATH, NULL);
}

/* Every option that a transfer may set is taken away, and with it what it knew of the request. */
static void handle_clean(struct handle *handle) {
  CURL *e = handle->easy;
  curl_easy_setopt(e, CURLOPT_URL, NULL);
  curl_easy_setopt(e, CURLOPT_CURLU, NULL);
  curl_easy_setopt(e, CURLOPT_HTTPHEADER, NULL);
  curl_easy_setopt(e, CURLOPT_POSTFIELDS, NULL);
  curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)-1);
  curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, NULL);
  curl_easy_setopt(e, CURLOPT_HTTPGET, 1L); /* after the body: no POST, no HEAD */
}

/* ---- a transfer ------------------------------------------------------------------------------------- */

void transfer_init(struct transfer *t, struct multi *m, void (*setup)(struct handle *), const struct netrules *rules,
                   void (*done)(struct transfer *, CURLcode)) {
  memset(t, 0, sizeof *t);
  t->multi = m;
  t->rules = rules;
  t->done = done;
  t->handle = m && m->spares ? m->spare[--m->spares] : handle_new(m, setup);
  t->handle->transfer = t;
  t->handle->error[0] = 0;
  t->easy = t->handle->easy;
  handle_believe(t->handle, m, rules->ca_file);
}

void transfer_mark(struct transfer *t) { t->handle->marked = true; }

static void run_now(struct transfer *t) {
  t->place->running++;
  t->running = true;
  if (curl_multi_add_handle(t->multi->curl, t->easy) != CURLM_OK) abort();
}

static struct place *place_of(struct multi *m, const char *name, size_t len) {
  char *key = strndup(name, len);
  if (!key) abort();
  struct place *p = map_get(&m->places, key);
  if (p) {
    free(key);
    return p;
  }
  if (!(p = calloc(1, sizeof *p))) abort();
  p->name = key;
  map_put(&m->places, key, p);
  return p;
}

void transfer_run(struct transfer *t, const char *place, size_t len) {
  struct place *p = t->place = place_of(t->multi, place, len);
  if (p->running < MOST_PER_HOST) {
    run_now(t);
    return;
  }
  t->prev = p->last;
  if (p->last) p->last->next = t;
  else p->first = t;
  p->last = t;
}

static void place_leave(struct place *p, struct transfer *t) {
  if (t->prev) t->prev->next = t->next;
  else p->first = t->next;
  if (t->next) t->next->prev = t->prev;
  else p->last = t->prev;
  t->prev = t->next = NULL;
}

/* The next ones come, or nobody is there any more. */
static void place_go_on(struct multi *m, struct place *p) {
  for (struct transfer *next; p->running < MOST_PER_HOST && (next = p->first);) {
    place_leave(p, next);
    run_now(next);
  }
  if (p->running) return;
  map_remove(&m->places, p->name);
  free(p->name);
  free(p);
}

void transfer_stop(struct transfer *t) {
  struct place *p = t->place;
  if (!p) return;
  t->place = NULL;
  if (t->running) {
    curl_multi_remove_handle(t->multi->curl, t->easy);
    t->running = false;
    p->running--;
  } else {
    place_leave(p, t);
  }
  place_go_on(t->multi, p);
}

void transfer_release(struct transfer *t) {
  struct handle *handle = t->handle;
  if (!handle) return;
  transfer_stop(t);
  t->easy = NULL;
  t->handle = NULL;
  if (!t->multi || t->multi->spares == SPARE_HANDLES) {
    handle_free(handle);
    return;
  }
  handle->transfer = NULL;
  if (handle->marked) handle_renew(handle, t->multi);
  else handle_clean(handle);
  t->multi->spare[t->multi->spares++] = handle;
}

int transfer_error(const struct transfer *t, CURLcode code, const char *host, char *out, size_t size) {
  const char *detail = t->handle->error[0] ? t->handle->error : curl_easy_strerror(code);
  if (t->address_refused && code == CURLE_COULDNT_CONNECT) {
    snprintf(out, size, "the address of %s may not be connected (link-local, metadata or multicast; see network.allow)", host);
    return ERR_DENIED;
  }
  switch (code) {
  case CURLE_COULDNT_RESOLVE_HOST: snprintf(out, size, "the name %s cannot be resolved", host); return ERR_UNAVAILABLE;
  case CURLE_COULDNT_CONNECT: snprintf(out, size, "cannot connect to %s: %s", host, detail); return ERR_UNAVAILABLE;
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_ISSUER_ERROR:
    snprintf(out, size, "the certificate of %s is not to be believed: %s (set network.ca_file to its CA)", host, detail);
    return ERR_DENIED;
  case CURLE_SSL_CACERT_BADFILE: snprintf(out, size, "network.ca_file cannot be used: %s", detail); return ERR_INVALID;
  case CURLE_USE_SSL_FAILED: snprintf(out, size, "%s does not offer TLS", host); return ERR_DENIED;
  case CURLE_LOGIN_DENIED: snprintf(out, size, "%s refused the log-in", host); return ERR_DENIED;
  case CURLE_OPERATION_TIMEDOUT: snprintf(out, size, "%s gave no answer in time", host); return ERR_TIMEOUT;
  default: snprintf(out, size, "%s: %s", host, detail); return ERR_UNAVAILABLE;
  }
}
