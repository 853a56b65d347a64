#include "transport/handover.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/slab.h"

enum { STACK_BYTES = 512 * 1024 };

struct handover {
  struct loop *loop;
  struct handover_thread side;
  void (*back)(struct piece *);
  void *arg;
  pthread_t thread;
  int fd; /* wakes the thread; -1: there is none */
  /* the loop's */
  struct piece batch; /* what is sent in this turn; this one and those below are the heads of rings */
  bool flushing;
  /* the thread's */
  struct piece *given;
  /* under the lock */
  pthread_mutex_t lock;
  struct piece sent, recalled, home;
  bool asleep;    /* the thread looks here again only when it is woken */
  bool announced; /* the loop looks here soon */
  bool closing;
};

/* --- rings ------------------------------------------------------------------------------------------- */

static void ring_init(struct piece *ring) { ring->next = ring->prev = ring; }

static bool ring_empty(const struct piece *ring) { return ring->next == ring; }

static void ring_add(struct piece *ring, struct piece *p, enum piece_place place) {
  p->place = place;
  p->next = ring;
  p->prev = ring->prev;
  ring->prev->next = p;
  ring->prev = p;
}

static void ring_leave(struct piece *p) {
  p->prev->next = p->next;
  p->next->prev = p->prev;
  p->next = p->prev = NULL;
}

static struct piece *ring_pop(struct piece *ring) {
  struct piece *p = ring->next;
  if (p == ring) return NULL;
  ring_leave(p);
  return p;
}

/* All of from to the end of ring. */
static void ring_move(struct piece *ring, struct piece *from) {
  if (ring_empty(from)) return;
  from->next->prev = ring->prev;
  from->prev->next = ring;
  ring->prev->next = from->next;
  ring->prev = from->prev;
  ring_init(from);
}

/* --- the thread -------------------------------------------------------------------------------------- */

static void arrived(void *arg) {
  struct handover *h = arg;
  struct piece here, *p; /* one that has its turn later may be recalled before */
  ring_init(&here);
  pthread_mutex_lock(&h->lock);
  ring_move(&here, &h->home);
  h->announced = false;
  pthread_mutex_unlock(&h->lock);
  while ((p = ring_pop(&here))) {
    p->place = PIECE_HERE;
    h->back(p);
  }
}

/* In the order in which they were given. */
static void give_all(struct handover *h) {
  struct piece *list = NULL;
  for (struct piece *p = h->given, *next; p; p = next) {
    next = p->after;
    p->after = list;
    list = p;
  }
  h->given = NULL;
  for (struct piece *p = list; p; p = p->after) {
    if (p->place == PIECE_RECALLED) ring_leave(p);
    ring_add(&h->home, p, PIECE_BACK);
  }
}

static struct piece *take_all(struct piece *ring) {
  struct piece *list = NULL, **end = &list;
  for (struct piece *p; (p = ring_pop(ring)); end = &p->after) {
    p->place = PIECE_AWAY;
    p->after = NULL;
    *end = p;
  }
  return list;
}

/* One turn's exchange with the loop. False: it is over. */
static bool exchange(struct handover *h, struct piece **ret_sent, struct piece **ret_recalled) {
  bool announce = false;
  pthread_mutex_lock(&h->lock);
  if (h->given) give_all(h);
  if (!ring_empty(&h->home) && !h->announced) h->announced = announce = true;
  *ret_sent = take_all(&h->sent);
  *ret_recalled = take_all(&h->recalled);
  h->asleep = !*ret_sent && !*ret_recalled && !h->closing;
  bool over = h->closing && !*ret_sent && !*ret_recalled;
  pthread_mutex_unlock(&h->lock);
  if (announce) loop_post(h->loop, arrived, h);
  return !over;
}

static void *thread_run(void *arg) {
  struct handover *h = arg;
  struct piece *sent, *recalled, *next;
  slab_join();
  h->side.begin(h->arg);
  while (exchange(h, &sent, &recalled)) {
    bool wait = !sent && !recalled;
    for (struct piece *p = sent; p; p = next) next = p->after, h->side.take(h->arg, p);
    for (struct piece *p = recalled; p; p = next) next = p->after, h->side.recall(h->arg, p);
    h->side.work(h->arg, wait);
  }
  h->side.end(h->arg);
  slab_leave();
  return NULL;
}

int handover_fd(const struct handover *h) { return h->fd; }

void handover_heard(struct handover *h) {
  uint64_t count;
  while (read(h->fd, &count, sizeof count) < 0 && errno == EINTR) continue;
}

void handover_give(struct handover *h, struct piece *piece) {
  piece->after = h->given;
  h->given = piece;
}

/* --- the loop ---------------------------------------------------------------------------------------- */

struct handover *handover_new(struct loop *loop, const struct handover_thread *thread, void (*back)(struct piece *), void *arg) {
  struct handover *h = calloc(1, sizeof *h);
  if (!h) abort();
  h->loop = loop;
  h->side = *thread;
  h->back = back;
  h->arg = arg;
  h->fd = -1;
  pthread_mutex_init(&h->lock, NULL);
  ring_init(&h->batch);
  ring_init(&h->sent);
  ring_init(&h->recalled);
  ring_init(&h->home);
  return h;
}

/* Signals are the loop's business. */
static int thread_start(struct handover *h) {
  pthread_attr_t attr;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, STACK_BYTES);
  int r = pthread_create(&h->thread, &attr, thread_run, h);
  pthread_attr_destroy(&attr);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return r;
}

int handover_ready(struct handover *h, struct err *err) {
  if (h->fd >= 0) return 0;
  h->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (h->fd < 0) return err_errno(err, "cannot start the thread for HTTP");
  int r = thread_start(h);
  if (r == 0) return 0;
  close(h->fd);
  h->fd = -1;
  return err_set(err, ERR_LIMIT, "cannot start the thread for HTTP: %s", strerror(r));
}

/* What was sent and recalled in this turn. */
static void flush(void *arg) {
  struct handover *h = arg;
  h->flushing = false;
  pthread_mutex_lock(&h->lock);
  ring_move(&h->sent, &h->batch);
  bool sleeps = h->asleep && (!ring_empty(&h->sent) || !ring_empty(&h->recalled));
  if (sleeps) h->asleep = false;
  pthread_mutex_unlock(&h->lock);
  if (sleeps) loop_ring(h->fd);
}

static void flush_later(struct handover *h) {
  if (!h->flushing) loop_defer(h->loop, flush, h);
  h->flushing = true;
}

void handover_send(struct handover *h, struct piece *piece) {
  ring_add(&h->batch, piece, PIECE_SENT);
  flush_later(h);
}

bool handover_recall(struct handover *h, struct piece *piece) {
  pthread_mutex_lock(&h->lock);
  bool away = piece->place == PIECE_AWAY;
  if (away) {
    ring_add(&h->recalled, piece, PIECE_RECALLED);
    flush_later(h);
  } else if (piece->place != PIECE_HERE) {
    ring_leave(piece);
    piece->place = PIECE_HERE;
  }
  pthread_mutex_unlock(&h->lock);
  return !away;
}

void handover_free(struct handover *h) {
  if (!h) return;
  if (h->fd >= 0) {
    pthread_mutex_lock(&h->lock);
    h->closing = true;
    pthread_mutex_unlock(&h->lock);
    loop_ring(h->fd);
    pthread_join(h->thread, NULL);
    close(h->fd);
  }
  loop_unpost(h->loop, arrived, h);
  loop_undefer(h->loop, flush, h);
  arrived(h);
  pthread_mutex_destroy(&h->lock);
  free(h);
}
