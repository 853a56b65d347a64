/* handover: however pieces are sent, recalled and given back, each is on one side at a time and comes back once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "transport/handover.h"

enum { PIECES = 400, ROUNDS = 20000 };

struct thing {
  struct piece piece;
  bool out;     /* the loop's view: sent, and neither recalled nor back */
  bool awaited; /* recalled too late: it still comes */
  int held;     /* the thread's view, to be seen by a sanitizer when both have it */
  struct thing *next;
};

static struct {
  struct loop *loop;
  struct handover *handover;
  struct thing things[PIECES];
  size_t out, awaited, returned;
  /* the thread's */
  struct thing *kept;
  unsigned turn;
  int begun, ended;
} t;

static struct thing *thing_of(struct piece *piece) { return (struct thing *)(void *)((char *)piece - offsetof(struct thing, piece)); }

static void begin(void *arg) { t.begun++; }

static void take(void *arg, struct piece *piece) {
  struct thing *x = thing_of(piece);
  assert_int_equal(x->held++, 0);
  x->next = t.kept;
  t.kept = x;
}

static void let_go(struct thing **at) {
  struct thing *x = *at;
  *at = x->next;
  assert_int_equal(x->held--, 1);
  handover_give(t.handover, &x->piece);
}

static void recall(void *arg, struct piece *piece) {
  struct thing **at = &t.kept;
  while (*at != thing_of(piece)) at = &(*at)->next;
  let_go(at);
}

/* With nothing to do it sleeps until it is told; then every third one is done. */
static void work(void *arg, bool wait) {
  struct pollfd p = {.fd = handover_fd(t.handover), .events = POLLIN};
  if (poll(&p, 1, wait && !t.kept ? -1 : 0) > 0) handover_heard(t.handover);
  for (struct thing **at = &t.kept; *at;)
    if (t.turn++ % 3 == 0) let_go(at);
    else at = &(*at)->next;
}

static void end(void *arg) { t.ended++; }

static void back(struct piece *piece) {
  struct thing *x = thing_of(piece);
  assert_int_equal(x->held, 0);
  assert_true(x->out != x->awaited);
  if (x->out) t.out--;
  else t.awaited--;
  x->out = x->awaited = false;
  t.returned++;
}

static void call_off(struct thing *x) {
  x->out = false;
  t.out--;
  if (handover_recall(t.handover, &x->piece)) assert_int_equal(x->held, 0);
  else x->awaited = true, t.awaited++;
}

static const struct handover_thread side = {.begin = begin, .take = take, .recall = recall, .work = work, .end = end};

static void start(void) {
  t.out = t.awaited = t.returned = 0;
  t.begun = t.ended = 0;
  t.loop = loop_new();
  t.handover = handover_new(t.loop, &side, back, NULL);
}

static void any_order(void **state) {
  struct err err;
  start();
  srandom(11);
  assert_int_equal(handover_ready(t.handover, &err), 0);
  for (int round = 0; round < ROUNDS; round++) {
    struct thing *x = &t.things[random() % PIECES];
    if (x->out && random() % 4 == 0) {
      call_off(x);
    } else if (!x->out && !x->awaited) {
      x->out = true;
      t.out++;
      handover_send(t.handover, &x->piece);
    }
    if (random() % 8 == 0) loop_turn(t.loop);
  }
  while (t.out || t.awaited) loop_wait(t.loop);
  assert_true(t.returned > 0);
  handover_free(t.handover);
  assert_int_equal(t.begun, 1);
  assert_int_equal(t.ended, 1);
  loop_free(t.loop);
}

/* What was recalled just before the end comes back before handover_free returns. */
static void freed_at_once(void **state) {
  struct err err;
  for (int round = 0; round < 200; round++) {
    start();
    assert_int_equal(handover_ready(t.handover, &err), 0);
    for (int i = 0; i < PIECES; i++) {
      t.things[i].out = true;
      t.out++;
      handover_send(t.handover, &t.things[i].piece);
      if (i % 100 == round % 100) loop_turn(t.loop);
    }
    for (int i = 0; i < PIECES; i++)
      if (t.things[i].out) call_off(&t.things[i]);
    handover_free(t.handover);
    assert_int_equal(t.out + t.awaited, 0);
    assert_int_equal(t.ended, 1);
    loop_free(t.loop);
  }
}

static void nothing_sent(void **state) {
  start();
  handover_free(t.handover);
  assert_int_equal(t.begun, 0);
  loop_free(t.loop);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(any_order), cmocka_unit_test(freed_at_once), cmocka_unit_test(nothing_sent)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
