#include "transport/multi.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { SPARE_HANDLES = 256 };

struct multi {
  struct event_base *base;
  struct event *timer;
  CURLM *curl;
  CURL *spare[SPARE_HANDLES];
  size_t spares;
};

static void check_done(struct multi *m) {
  CURLMsg *message;
  int left;
  while ((message = curl_multi_info_read(m->curl, &left))) {
    struct transfer *t = NULL;
    CURLcode code = message->data.result;
    if (message->msg != CURLMSG_DONE) continue;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t);
    transfer_stop(t);
    t->done(t, code);
  }
}

static void on_socket(evutil_socket_t fd, short events, void *arg) {
  struct multi *m = arg;
  int running, mask = (events & EV_READ ? CURL_CSELECT_IN : 0) | (events & EV_WRITE ? CURL_CSELECT_OUT : 0);
  curl_multi_socket_action(m->curl, fd, mask, &running);
  check_done(m);
}

static void on_timer(evutil_socket_t fd, short events, void *arg) {
  struct multi *m = arg;
  int running;
  curl_multi_socket_action(m->curl, CURL_SOCKET_TIMEOUT, 0, &running);
  check_done(m);
}

/* libcurl wants to know about fd: one persistent event per socket, made anew when the direction changes. */
static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known) {
  struct multi *m = arg;
  struct event *event = known;
  if (what == CURL_POLL_REMOVE) {
    if (event) event_free(event);
    return 0;
  }
  short events = (short)((what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0) | EV_PERSIST);
  if (event && event_get_events(event) == events) return 0;
  if (event) event_free(event);
  event = event_new(m->base, fd, events, on_socket, m);
  if (!event) abort();
  event_add(event, NULL);
  curl_multi_assign(m->curl, fd, event);
  return 0;
}

static int watch_timer(CURLM *curl, long ms, void *arg) {
  struct multi *m = arg;
  struct timeval at = {ms / 1000, (ms % 1000) * 1000};
  if (ms < 0) event_del(m->timer);
  else event_add(m->timer, &at);
  return 0;
}

struct multi *multi_new(struct loop *loop) {
  struct multi *m = calloc(1, sizeof *m);
  curl_global_init(CURL_GLOBAL_DEFAULT);
  if (!m || !(m->curl = curl_multi_init())) abort();
  m->base = loop_base(loop);
  m->timer = event_new(m->base, -1, 0, on_timer, m);
  if (!m->timer) abort();
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

void multi_free(struct multi *m) {
  if (!m) return;
  for (size_t i = 0; i < m->spares; i++) curl_easy_cleanup(m->spare[i]);
  curl_multi_cleanup(m->curl);
  event_free(m->timer);
  free(m);
}

/* ---- a transfer ------------------------------------------------------------------------------------- */

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address) {
  struct transfer *t = arg;
  if (!netrules_allow(t->rules, &address->addr)) {
    t->address_refused = true;
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static void set_common(struct transfer *t) {
  CURL *e = t->easy;
  t->error[0] = 0;
  curl_easy_setopt(e, CURLOPT_PRIVATE, t);
  curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error);
  curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* taking it out must not wait for a name server */
  curl_easy_setopt(e, CURLOPT_PROXY, "");
  curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
  curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket);
  curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, t);
  curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
  curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, (long)KEPT_SECONDS);
  curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, 3600000L); /* the flight's own time-out is shorter and counts everything */
  if (!t->rules->ca_file) return;
  curl_easy_setopt(e, CURLOPT_CAINFO, t->rules->ca_file);
  curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
}

void transfer_init(struct transfer *t, struct multi *m, const struct netrules *rules, void (*done)(struct transfer *, CURLcode)) {
  memset(t, 0, sizeof *t);
  t->multi = m;
  t->rules = rules;
  t->done = done;
  t->easy = m && m->spares ? m->spare[--m->spares] : curl_easy_init();
  if (!t->easy) abort();
  set_common(t);
}

void transfer_run(struct transfer *t) {
  t->running = true;
  if (curl_multi_add_handle(t->multi->curl, t->easy) != CURLM_OK) abort();
}

void transfer_stop(struct transfer *t) {
  if (t->running) curl_multi_remove_handle(t->multi->curl, t->easy);
  t->running = false;
}

void transfer_release(struct transfer *t) {
  if (!t->easy) return;
  transfer_stop(t);
  curl_easy_reset(t->easy); /* forgets every option and secret */
  if (t->multi && t->multi->spares < SPARE_HANDLES) t->multi->spare[t->multi->spares++] = t->easy;
  else curl_easy_cleanup(t->easy);
  t->easy = NULL;
}

int transfer_error(const struct transfer *t, CURLcode code, const char *host, char *out, size_t size) {
  const char *detail = t->error[0] ? t->error : curl_easy_strerror(code);
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
