#include "api/guests.h"

#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

enum { SWEEP_MS = 500 };

struct guest {
  struct bufferevent *bev; /* a reference of our own: its descriptor stays open, so it cannot become another's before we have looked */
  int64_t since;           /* µs since boot */
  bool waiting;
};

struct guests {
  struct loop *loop;
  struct evconnlistener *listener;
  struct timer *timer;
  struct guest *list;
  unsigned count, most;
  int64_t patience_us;
  bool full;
};

static int64_t now(void) { return clock_boot(clock_system()); }

/* bufferevent_free (by evhttp, when the connection ends) takes all callbacks and their argument away; a connection in use has one always. */
static bool is_over(struct bufferevent *bev) {
  bufferevent_data_cb read_cb, write_cb;
  bufferevent_event_cb event_cb;
  void *arg;
  bufferevent_getcb(bev, &read_cb, &write_cb, &event_cb, &arg);
  return !arg && !event_cb;
}

static void open_or_close(struct guests *g) {
  bool full = g->count >= g->most;
  if (full == g->full || !g->listener) return;
  g->full = full;
  if (full) evconnlistener_disable(g->listener);
  else evconnlistener_enable(g->listener);
}

static void look_round(struct guests *g) {
  int64_t t = now();
  unsigned kept = 0;
  for (unsigned i = 0; i < g->count; i++) {
    struct guest *guest = &g->list[i];
    if (is_over(guest->bev)) {
      bufferevent_decref(guest->bev);
      continue;
    }
    /* evhttp sees the end of the stream and tidies up by itself. */
    if (!guest->waiting && t - guest->since > g->patience_us) shutdown(bufferevent_getfd(guest->bev), SHUT_RDWR);
    g->list[kept++] = *guest;
  }
  g->count = kept;
  open_or_close(g);
}

static void sweep(void *arg) {
  struct guests *g = arg;
  look_round(g);
  timer_free(g->timer);
  g->timer = g->count ? timer_start(g->loop, SWEEP_MS, sweep, g) : NULL;
}

static struct bufferevent *welcome(struct event_base *base, void *arg) {
  struct guests *g = arg;
  if (g->count >= g->most) look_round(g);
  struct bufferevent *bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
  if (!bev) return NULL;
  /* A few may come in one turn after the listener was told to stop; they are served and not counted. */
  if (g->count < g->most) {
    bufferevent_incref(bev);
    g->list[g->count++] = (struct guest){.bev = bev, .since = now()};
  }
  if (!g->timer) g->timer = timer_start(g->loop, SWEEP_MS, sweep, g);
  open_or_close(g);
  return bev;
}

struct guests *guests_new(struct loop *loop, struct evhttp *http, struct evconnlistener *listener, unsigned most, int64_t patience_ms) {
  struct guests *g = calloc(1, sizeof *g);
  if (!g || !(g->list = calloc(most, sizeof *g->list))) abort();
  g->loop = loop;
  g->listener = listener;
  g->most = most;
  g->patience_us = patience_ms * 1000;
  evhttp_set_bevcb(http, welcome, g);
  return g;
}

void guests_waiting(struct guests *g, struct bufferevent *bev, bool waiting) {
  for (unsigned i = 0; i < g->count; i++)
    if (g->list[i].bev == bev) {
      g->list[i].waiting = waiting;
      g->list[i].since = now();
    }
}

unsigned guests_count(const struct guests *g) {
  unsigned n = 0;
  for (unsigned i = 0; i < g->count; i++) n += !is_over(g->list[i].bev);
  return n;
}

void guests_free(struct guests *g) {
  if (!g) return;
  timer_free(g->timer);
  for (unsigned i = 0; i < g->count; i++) bufferevent_decref(g->list[i].bev);
  free(g->list);
  free(g);
}
