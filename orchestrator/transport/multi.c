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

/* What is watched of a socket. One that we opened stays watched while its connection is kept: the next transfer need not tell the kernel
 * again. */
struct watch {
  struct event *event; /* NULL: never watched */
  short events;
  bool kept;   /* ours: watched until it is closed */
  bool added;  /* to the thread's events */
  bool wanted; /* libcurl waits for it */
};

/* A server, and who waits for it. libcurl would do the waiting too, but sets every one that waits up anew for each connection that comes free. */
struct place {
  char *name;
  size_t running;
  struct transfer *first, *last; /* waiting */
};

/* All but the first is the thread's. */
struct multi {
  struct handover *handover;
  struct event_base *base;
  struct event *timer, *told;
  CURLM *curl;
  struct map places;
  struct watch **watches; /* by socket */
  size_t watch_count;
  struct handle *spare[SPARE_HANDLES];
  size_t spares;
};

static void transfer_over(struct transfer *t, CURLcode code);

/* ---- sockets and time ------------------------------------------------------------------------------- */

static void check_done(struct multi *m) {
  CURLMsg *message;
  int left;
  while ((message = curl_multi_info_read(m->curl, &left))) {
    struct handle *handle = NULL;
    CURLcode code = message->data.result;
    if (message->msg != CURLMSG_DONE) continue;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&handle);
    transfer_over(handle->transfer, code);
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
  if (!w->wanted && (!w->kept || w->events == (EV_WRITE | EV_PERSIST)))
    watch_end(w); /* one that never connected is closed without a word */
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

/* ---- handles ---------------------------------------------------------------------------------------- */

static void handle_free(struct handle *handle) {
  curl_easy_cleanup(handle->easy);
  free(handle->ca_file);
  free(handle);
}

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
  curl_easy_setopt(e, CURLOPT_REQUEST_TARGET, NULL);
  curl_easy_setopt(e, CURLOPT_HTTPHEADER, NULL);
  curl_easy_setopt(e, CURLOPT_POSTFIELDS, NULL);
  curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)-1);
  curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, NULL);
  curl_easy_setopt(e, CURLOPT_HTTPGET, 1L); /* after the body: no POST, no HEAD */
}

static struct handle *handle_take(struct multi *m, struct transfer *t) {
  struct handle *handle = m && m->spares ? m->spare[--m->spares] : handle_new(m, t->kind ? t->kind->setup : NULL);
  handle->transfer = t;
  handle->error[0] = 0;
  handle_believe(handle, m, t->rules->ca_file);
  return handle;
}

static void handle_give(struct multi *m, struct handle *handle) {
  if (!m || m->spares == SPARE_HANDLES) {
    handle_free(handle);
    return;
  }
  handle->transfer = NULL;
  if (handle->marked) handle_renew(handle, m);
  else handle_clean(handle);
  m->spare[m->spares++] = handle;
}

/* ---- a transfer on the thread ----------------------------------------------------------------------- */

static struct transfer *transfer_of(struct piece *piece) {
  return (struct transfer *)(void *)((char *)piece - offsetof(struct transfer, piece));
}

static void run_now(struct transfer *t) {
  t->at->running++;
  t->handle = handle_take(t->multi, t);
  t->kind->load(t, t->handle->easy);
  if (curl_multi_add_handle(t->multi->curl, t->handle->easy) != CURLM_OK) abort();
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

static void place_wait(struct place *p, struct transfer *t) {
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

static char *copy(const char *text) {
  char *result = strdup(text);
  if (!result) abort();
  return result;
}

static void transfer_note(struct transfer *t, CURLcode code) {
  const struct handle *handle = t->handle;
  char *to = NULL;
  t->code = code;
  curl_easy_getinfo(handle->easy, CURLINFO_RESPONSE_CODE, &t->status);
  if (code != CURLE_OK) t->error = copy(handle->error[0] ? handle->error : curl_easy_strerror(code));
  else if (t->status >= 300 && t->status < 400 && curl_easy_getinfo(handle->easy, CURLINFO_REDIRECT_URL, &to) == CURLE_OK && to)
    t->redirect = copy(to);
}

static void transfer_over(struct transfer *t, CURLcode code) {
  struct multi *m = t->multi;
  struct place *p = t->at;
  t->at = NULL;
  if (t->handle) {
    curl_multi_remove_handle(m->curl, t->handle->easy);
    transfer_note(t, code);
    handle_give(m, t->handle);
    t->handle = NULL;
    p->running--;
  } else {
    place_leave(p, t);
  }
  handover_give(m->handover, &t->piece);
  place_go_on(m, p);
}

/* ---- the thread ------------------------------------------------------------------------------------- */

static void on_told(evutil_socket_t fd, short events, void *arg) { handover_heard(((struct multi *)arg)->handover); }

static void thread_begin(void *arg) {
  struct multi *m = arg;
  struct event_config *config = event_config_new();
  /* A cached time would let a timer started after long work fire early. */
  if (!config || event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME) != 0 || !(m->base = event_base_new_with_config(config)))
    abort();
  event_config_free(config);
  m->timer = event_new(m->base, -1, 0, on_timer, m);
  m->told = event_new(m->base, handover_fd(m->handover), EV_READ | EV_PERSIST, on_told, m);
  if (!m->timer || !m->told || event_add(m->told, NULL) != 0 || !(m->curl = curl_multi_init())) abort();
  curl_multi_setopt(m->curl, CURLMOPT_SOCKETFUNCTION, watch_socket);
  curl_multi_setopt(m->curl, CURLMOPT_SOCKETDATA, m);
  curl_multi_setopt(m->curl, CURLMOPT_TIMERFUNCTION, watch_timer);
  curl_multi_setopt(m->curl, CURLMOPT_TIMERDATA, m);
  curl_multi_setopt(m->curl, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
  curl_multi_setopt(m->curl, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)MOST_CONNECTIONS);
  curl_multi_setopt(m->curl, CURLMOPT_MAX_HOST_CONNECTIONS, (long)MOST_PER_HOST);
  curl_multi_setopt(m->curl, CURLMOPT_MAXCONNECTS, (long)KEPT_CONNECTIONS);
}

static void thread_take(void *arg, struct piece *piece) {
  struct transfer *t = transfer_of(piece);
  struct place *p = t->at = place_of(t->multi, t->place, t->place_len);
  if (p->running < MOST_PER_HOST) run_now(t);
  else place_wait(p, t);
}

static void thread_recall(void *arg, struct piece *piece) { transfer_over(transfer_of(piece), CURLE_ABORTED_BY_CALLBACK); }

static void thread_work(void *arg, bool wait) {
  struct multi *m = arg;
  event_base_loop(m->base, wait ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static void thread_end(void *arg) {
  struct multi *m = arg;
  for (size_t i = 0; i < m->spares; i++) handle_free(m->spare[i]);
  curl_multi_cleanup(m->curl);
  event_free(m->timer);
  event_free(m->told);
  for (size_t i = 0; i < m->watch_count; i++) {
    if (m->watches[i]) watch_end(m->watches[i]);
    free(m->watches[i]);
  }
  free(m->watches);
  event_base_free(m->base);
}

/* ---- the loop --------------------------------------------------------------------------------------- */

static void came_back(struct piece *piece) {
  struct transfer *t = transfer_of(piece);
  t->kind->done(t);
}

struct multi *multi_new(struct loop *loop) {
  static const struct handover_thread thread = {
      .begin = thread_begin, .take = thread_take, .recall = thread_recall, .work = thread_work, .end = thread_end};
  struct multi *m = calloc(1, sizeof *m);
  if (!m) abort();
  curl_global_init_mem(CURL_GLOBAL_DEFAULT, slab_alloc, slab_free, slab_realloc, slab_strdup, slab_calloc);
  map_init(&m->places);
  m->handover = handover_new(loop, &thread, came_back, m);
  return m;
}

void multi_free(struct multi *m) {
  if (!m) return;
  handover_free(m->handover);
  map_release(&m->places, NULL);
  free(m);
}

int multi_ready(struct multi *m, struct err *err) { return handover_ready(m->handover, err); }

void transfer_start(struct transfer *t, struct multi *m, const struct transfer_kind *kind, const struct netrules *rules, const char *place,
                    size_t place_len) {
  *t = (struct transfer){.multi = m, .kind = kind, .rules = rules, .place = place, .place_len = place_len};
  handover_send(m->handover, &t->piece);
}

bool transfer_call_off(struct transfer *t) { return !t->multi || handover_recall(t->multi->handover, &t->piece); }

void transfer_mark(struct transfer *t) { t->handle->marked = true; }

void transfer_release(struct transfer *t) {
  free(t->redirect);
  free(t->error);
  memset(t, 0, sizeof *t);
}

CURL *transfer_alone(struct transfer *t, const struct netrules *rules) {
  *t = (struct transfer){.rules = rules};
  t->handle = handle_take(NULL, t);
  return t->handle->easy;
}

void transfer_perform(struct transfer *t) {
  transfer_note(t, curl_easy_perform(t->handle->easy));
  handle_give(NULL, t->handle);
  t->handle = NULL;
}

int transfer_error(const struct transfer *t, const char *host, char *out, size_t size) {
  const char *detail = t->error ? t->error : curl_easy_strerror(t->code);
  if (t->address_refused && t->code == CURLE_COULDNT_CONNECT) {
    snprintf(out, size, "the address of %s may not be connected (link-local, metadata or multicast; see network.allow)", host);
    return ERR_DENIED;
  }
  switch (t->code) {
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
