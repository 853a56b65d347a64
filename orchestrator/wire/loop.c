#include "wire/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { PENDING_SLOTS = 1024, SOON_MOST = 16, RING_TRIES = 100 };

struct call {
  struct call *next;
  struct call *beside, **of; /* in the chain of its slot, while it is pending */
  loop_cb *cb;               /* NULL: removed, and only passed over when its turn comes */
  void *arg;
  uint64_t turn;  /* runs only in a later one */
  unsigned links; /* how many calls led to it within its turn */
};

struct queue {
  struct call *first, **end;
};

struct loop {
  struct event_base *base;
  struct event *later; /* zero time-out: fires once in the next turn */
  struct queue deferred;
  struct queue soon; /* while a deferred call runs: what comes right after it */
  struct queue last; /* at the end of the turn */
  unsigned links;    /* of the call that runs */
  bool running;
  struct call
      *pending[PENDING_SLOTS]; /* deferred calls by a hash of their arg: an undefer looks at the few of one slot, never through the queue */
  struct call *spare;
  uint64_t turn;
  bool stopped;
  int post_fd;
  struct event *post;
  pthread_mutex_t post_lock; /* guards posted; all else belongs to the loop's thread */
  struct queue posted;
};

struct timer {
  struct event *event;
  int64_t due; /* CLOCK_MONOTONIC, microseconds */
  loop_cb *cb;
  void *arg;
};

struct watch {
  struct event *event;
  watch_cb *fd_cb;
  loop_cb *signal_cb;
  void *arg;
};

/* libevent gives NULL only without memory here; a loop without memory cannot go on. */
static void *need(void *p) {
  if (!p) abort();
  return p;
}

static void queue_init(struct queue *q) {
  q->first = NULL;
  q->end = &q->first;
}

static void queue_push(struct queue *q, struct call *c) {
  c->next = NULL;
  *q->end = c;
  q->end = &c->next;
}

static struct call *queue_pop(struct queue *q) {
  struct call *c = q->first;
  if (!c) return NULL;
  q->first = c->next;
  if (!q->first) q->end = &q->first;
  return c;
}

static void queue_release(struct queue *q) {
  for (struct call *c; (c = queue_pop(q));) free(c);
}

static void schedule_later(struct loop *loop) {
  struct timeval now = {0, 0};
  if (event_add(loop->later, &now) != 0) abort();
}

static struct call **pending_of(struct loop *loop, const void *arg) {
  uintptr_t at = (uintptr_t)arg;
  return &loop->pending[(at >> 4 ^ at >> 14) % PENDING_SLOTS];
}

static void pending_add(struct loop *loop, struct call *c) {
  struct call **slot = pending_of(loop, c->arg);
  c->beside = *slot;
  c->of = slot;
  if (c->beside) c->beside->of = &c->beside;
  *slot = c;
}

static void pending_remove(struct call *c) {
  *c->of = c->beside;
  if (c->beside) c->beside->of = c->of;
}

/* To the front of the queue, in its own order. */
static void soon_to_front(struct loop *loop) {
  if (!loop->soon.first) return;
  *loop->soon.end = loop->deferred.first;
  if (!loop->deferred.first) loop->deferred.end = loop->soon.end;
  loop->deferred.first = loop->soon.first;
  queue_init(&loop->soon);
}

static void run_first(struct loop *loop, struct queue *q) {
  struct call *c = queue_pop(q);
  loop_cb *cb = c->cb;
  void *cb_arg = c->arg;
  loop->links = c->links;
  if (cb) pending_remove(c);
  c->next = loop->spare;
  loop->spare = c;
  if (cb) cb(cb_arg);
}

static void run_deferred(evutil_socket_t fd, short what, void *arg) {
  struct loop *loop = arg;
  uint64_t turn = loop->turn++; /* what is deferred from here on waits for the next turn */
  loop->running = true;
  while (loop->deferred.first && loop->deferred.first->turn <= turn) {
    run_first(loop, &loop->deferred);
    soon_to_front(loop);
  }
  loop->running = false;
  while (loop->last.first && loop->last.first->turn <= loop->turn) run_first(loop, &loop->last);
  if (loop->deferred.first || loop->last.first) schedule_later(loop);
}

static void run_posted(evutil_socket_t fd, short what, void *arg) {
  struct loop *loop = arg;
  uint64_t count;
  while (read(loop->post_fd, &count, sizeof count) < 0 && errno == EINTR) continue;
  struct queue batch;
  queue_init(&batch);
  pthread_mutex_lock(&loop->post_lock);
  for (struct call *c; (c = queue_pop(&loop->posted));) queue_push(&batch, c);
  pthread_mutex_unlock(&loop->post_lock);
  for (struct call *c; (c = queue_pop(&batch)); free(c)) c->cb(c->arg);
}

struct loop *loop_new(void) {
  struct loop *loop = need(calloc(1, sizeof *loop));
  struct event_config *config = need(event_config_new());
  /* A cached time would let a timer started after long work fire early. */
  if (event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME) != 0) abort();
  loop->base = need(event_base_new_with_config(config));
  event_config_free(config);
  queue_init(&loop->deferred);
  queue_init(&loop->soon);
  queue_init(&loop->last);
  queue_init(&loop->posted);
  pthread_mutex_init(&loop->post_lock, NULL);
  loop->later = need(event_new(loop->base, -1, 0, run_deferred, loop));
  loop->post_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (loop->post_fd < 0) abort();
  loop->post = need(event_new(loop->base, loop->post_fd, EV_READ | EV_PERSIST, run_posted, loop));
  if (event_add(loop->post, NULL) != 0) abort();
  /* Peers go away at any time: that is an error of a write, not the end of the process. */
  signal(SIGPIPE, SIG_IGN);
  return loop;
}

void loop_free(struct loop *loop) {
  if (!loop) return;
  event_free(loop->later);
  event_free(loop->post);
  close(loop->post_fd);
  event_base_free(loop->base);
  queue_release(&loop->deferred);
  queue_release(&loop->last);
  queue_release(&loop->posted);
  while (loop->spare) {
    struct call *c = loop->spare;
    loop->spare = c->next;
    free(c);
  }
  pthread_mutex_destroy(&loop->post_lock);
  free(loop);
}

void loop_run(struct loop *loop) {
  while (!loop->stopped) event_base_loop(loop->base, EVLOOP_ONCE);
  loop->stopped = false;
}

void loop_turn(struct loop *loop) { event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NONBLOCK); }

void loop_wait(struct loop *loop) { event_base_loop(loop->base, EVLOOP_ONCE); }

void loop_stop(struct loop *loop) { loop->stopped = true; }

struct event_base *loop_base(struct loop *loop) {
  return loop->base;
}

static struct call *call_new(struct loop *loop, loop_cb *cb, void *arg) {
  struct call *c = loop->spare;
  if (c) loop->spare = c->next;
  else c = need(malloc(sizeof *c));
  *c = (struct call){.cb = cb, .arg = arg, .turn = loop->turn};
  pending_add(loop, c);
  return c;
}

void loop_defer(struct loop *loop, loop_cb *cb, void *arg) {
  if (!loop->deferred.first) schedule_later(loop);
  queue_push(&loop->deferred, call_new(loop, cb, arg));
}

void loop_last(struct loop *loop, loop_cb *cb, void *arg) {
  if (!loop->deferred.first && !loop->last.first && !loop->running) schedule_later(loop);
  queue_push(&loop->last, call_new(loop, cb, arg));
}

void loop_soon(struct loop *loop, loop_cb *cb, void *arg) {
  if (!loop->running || loop->links >= SOON_MOST) {
    loop_defer(loop, cb, arg);
    return;
  }
  struct call *c = call_new(loop, cb, arg);
  c->turn = loop->turn - 1;
  c->links = loop->links + 1;
  queue_push(&loop->soon, c);
}

void loop_undefer(struct loop *loop, loop_cb *cb, void *arg) {
  for (struct call *c = *pending_of(loop, arg), *beside; c; c = beside) {
    beside = c->beside;
    if (c->cb != cb || c->arg != arg) continue;
    pending_remove(c);
    c->cb = NULL;
  }
}

static int64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void timer_arm(struct timer *t, int64_t us) {
  struct timeval wait = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};
  if (event_add(t->event, &wait) != 0) abort();
}

static void timer_fire(evutil_socket_t fd, short what, void *arg) {
  struct timer *t = arg;
  int64_t left = t->due - now_us();
  /* libevent reads a coarse clock and may be a few milliseconds early. */
  if (left > 0) timer_arm(t, left);
  else t->cb(t->arg);
}

struct timer *timer_start(struct loop *loop, int64_t ms, loop_cb *cb, void *arg) {
  struct timer *t = need(malloc(sizeof *t));
  if (ms < 0) ms = 0;
  if (ms > INT64_C(315360000000)) ms = INT64_C(315360000000); /* ten years: no overflow below */
  *t = (struct timer){.due = now_us() + ms * 1000, .cb = cb, .arg = arg};
  t->event = need(event_new(loop->base, -1, 0, timer_fire, t));
  timer_arm(t, ms * 1000);
  return t;
}

void timer_free(struct timer *t) {
  if (!t) return;
  event_free(t->event);
  free(t);
}

static void watch_fire(evutil_socket_t fd, short what, void *arg) {
  struct watch *w = arg;
  if (w->signal_cb) {
    w->signal_cb(w->arg);
    return;
  }
  w->fd_cb(w->arg, (int)fd, (what & EV_READ ? WATCH_READ : 0) | (what & EV_WRITE ? WATCH_WRITE : 0));
}

static struct watch *watch_new(struct loop *loop, int fd, short what, struct watch init) {
  struct watch *w = need(malloc(sizeof *w));
  *w = init;
  w->event = need(event_new(loop->base, fd, (short)(what | EV_PERSIST), watch_fire, w));
  if (event_add(w->event, NULL) != 0) abort();
  return w;
}

struct watch *watch_fd(struct loop *loop, int fd, int events, watch_cb *cb, void *arg) {
  int what = (events & WATCH_READ ? EV_READ : 0) | (events & WATCH_WRITE ? EV_WRITE : 0);
  return watch_new(loop, fd, (short)what, (struct watch){.fd_cb = cb, .arg = arg});
}

struct watch *watch_signal(struct loop *loop, int signo, loop_cb *cb, void *arg) {
  return watch_new(loop, signo, EV_SIGNAL, (struct watch){.signal_cb = cb, .arg = arg});
}

void watch_free(struct watch *w) {
  if (!w) return;
  event_free(w->event);
  free(w);
}

void loop_unpost(struct loop *loop, loop_cb *cb, void *arg) {
  struct queue kept;
  queue_init(&kept);
  pthread_mutex_lock(&loop->post_lock);
  for (struct call *c; (c = queue_pop(&loop->posted));)
    if (c->cb == cb && c->arg == arg) free(c);
    else queue_push(&kept, c);
  for (struct call *c; (c = queue_pop(&kept));) queue_push(&loop->posted, c);
  pthread_mutex_unlock(&loop->post_lock);
}

void loop_ring(int fd) {
  const uint64_t one = 1;
  for (int tries = 0; tries < RING_TRIES && write(fd, &one, sizeof one) < 0 && errno != EAGAIN;) tries += errno != EINTR;
}

void loop_post(struct loop *loop, loop_cb *cb, void *arg) {
  struct call *c = need(malloc(sizeof *c));
  *c = (struct call){.cb = cb, .arg = arg};
  pthread_mutex_lock(&loop->post_lock);
  queue_push(&loop->posted, c);
  pthread_mutex_unlock(&loop->post_lock);
  loop_ring(loop->post_fd);
}
