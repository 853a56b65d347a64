/* handover.h: work that goes from the loop to one thread and comes back, many pieces at a time.
 *
 * A piece belongs to the side that has it, with everything in it. The thread is woken only when it sleeps, the loop once for all that has come
 * back; each side takes the lock once for a whole batch. The loop never waits for the thread, except in handover_free. The thread starts with
 * the first piece: whoever sends nothing has none, and may fork. Only transport/ includes it. */
#ifndef TOCSIN_TRANSPORT_HANDOVER_H
#define TOCSIN_TRANSPORT_HANDOVER_H

#include <stdbool.h>

#include "wire/loop.h"

enum piece_place {
  PIECE_HERE, /* on the loop, sent nowhere */
  PIECE_SENT, /* not taken by the thread yet */
  PIECE_AWAY,
  PIECE_RECALLED, /* the thread has it, and has not heard yet that it is to give it back */
  PIECE_BACK      /* given back, its callback comes next */
};

/* Embed it; zeroed at first. */
struct piece {
  struct piece *next, *prev;
  struct piece *after; /* the thread's own: of a list that it takes or gives */
  enum piece_place place;
};

struct handover;

/* On the thread. */
struct handover_thread {
  void (*begin)(void *arg); /* first */
  void (*take)(void *arg, struct piece *piece);
  void (*recall)(void *arg, struct piece *piece); /* it is to be given back, as it is */
  void (*work)(void *arg, bool wait);             /* a turn; wait: until there is something to do, or handover_fd is readable */
  void (*end)(void *arg);                         /* last; all pieces have been given back */
};

/* back: on the loop, a piece has come back. */
struct handover *handover_new(struct loop *loop, const struct handover_thread *thread, void (*back)(struct piece *piece), void *arg);
/* Whatever was sent must have been recalled. The thread ends; back is called for what was still away. */
void handover_free(struct handover *h);

/* On the loop. Starts the thread if there is none; nothing is sent yet. */
int handover_ready(struct handover *h, struct err *err);
void handover_send(struct handover *h, struct piece *piece);
/* True: here it is, and nothing comes any more. False: the thread has it, and back comes later. */
bool handover_recall(struct handover *h, struct piece *piece);

/* On the thread. */
int handover_fd(const struct handover *h);
void handover_heard(struct handover *h);                     /* handover_fd was readable */
void handover_give(struct handover *h, struct piece *piece); /* back, after this turn */

#endif
