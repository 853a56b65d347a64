/* What must not be lost with the master: commands, and one WAIT behind a batch of them until enough replicas hold it.
 *
 * While a WAIT is under way the connection stands still in Redis, so there is one at a time: what is sent meanwhile shares the next one. Without that every command
 * would wait out its own when replicas are missing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "wire/lane.h"

struct waited {
  redis_cb *cb;
  void *arg;
  struct lane *lane;
  void *reply; /* of the command, until WAIT has answered */
  bool told;
  STAILQ_ENTRY(waited) next;
};

static void wait_send(void *arg);

static void tell(struct waited *w, const struct redis_value *reply, const struct err *err) {
  if (w->told) return;
  w->told = true;
  if (w->cb) w->cb(w->arg, reply, err);
}

static void tell_all(struct waited_list *list, const struct err *err) {
  struct waited *w;
  while ((w = STAILQ_FIRST(list))) {
    STAILQ_REMOVE_HEAD(list, next);
    tell(w, err ? NULL : w->reply, err);
    if (w->reply) freeReplyObject(w->reply);
    free(w);
  }
}

static void on_done(void *arg, const struct redis_value *reply, const struct err *err) {
  struct waited *w = arg;
  if (err) {
    tell(w, NULL, err);
    return;
  }
  w->reply = (void *)(uintptr_t)reply;
  w->lane->link->taken = reply;
}

static void on_waited(void *arg, const struct redis_value *reply, const struct err *err) {
  struct lane *lane = arg;
  struct waited_list batch = STAILQ_HEAD_INITIALIZER(batch);
  struct err few;
  int64_t have = err ? 0 : redis_integer(reply);
  if (!err && have < (int64_t)lane->link->replicas) {
    err_set(&few, ERR_UNAVAILABLE, "%" PRId64 " of %u replicas hold it", have, lane->link->replicas);
    err = &few;
  }
  STAILQ_CONCAT(&batch, &lane->waited);
  lane->waiting = false;
  link_enter(lane->link);
  tell_all(&batch, err);
  if (!lane->link->freed && !STAILQ_EMPTY(&lane->unwaited)) wait_send(lane);
  link_leave(lane->link);
}

/* For all that was sent until now. */
static void wait_send(void *arg) {
  struct lane *lane = arg;
  char wanted[16], ms[24];
  if (lane->wait_due) loop_undefer(lane->link->loop, wait_send, lane);
  lane->wait_due = false;
  if (lane->waiting || STAILQ_EMPTY(&lane->unwaited) || lane->state != LANE_READY)
    return; /* its end, or the connection's, comes back here */
  snprintf(wanted, sizeof wanted, "%u", lane->link->replicas);
  snprintf(ms, sizeof ms, "%" PRId64, lane->link->replica_ms);
  STAILQ_CONCAT(&lane->waited, &lane->unwaited);
  lane->waiting = true;
  const char *words[] = {"WAIT", wanted, ms};
  struct err err;
  if (lane_send(lane, on_waited, lane, lane->link->timeout_ms, 3, words, NULL, &err) < 0) on_waited(lane, NULL, &err);
}

void safe_drop(struct lane *lane, const struct err *err) {
  struct waited_list batch = STAILQ_HEAD_INITIALIZER(batch);
  if (lane->wait_due) loop_undefer(lane->link->loop, wait_send, lane);
  lane->wait_due = false;
  STAILQ_CONCAT(&batch, &lane->unwaited);
  tell_all(&batch, err);
}

bool redis_replicated(const struct redis *link) { return link->replicas > 0; }

int redis_command_safe(struct redis *link, unsigned lane, redis_cb *cb, void *arg, size_t argc, const char *const *argv, const size_t *lens,
                       struct err *err) {
  if (!link->replicas) return redis_command(link, lane, cb, arg, argc, argv, lens, err);
  struct waited *w = calloc(1, sizeof *w);
  if (!w) abort();
  struct lane *l = lane < link->count ? link->lanes[lane] : NULL;
  *w = (struct waited){.lane = l, .cb = cb, .arg = arg};
  if (l && !l->wait_due && !l->waiting) loop_last(link->loop, wait_send, l); /* with the turn's write, or right behind it */
  if (l && !l->waiting) l->wait_due = true;
  int r = redis_command(link, lane, on_done, w, argc, argv, lens, err);
  if (r < 0) free(w);
  else STAILQ_INSERT_TAIL(&l->unwaited, w, next);
  return r;
}

int redis_barrier(struct redis *link, unsigned lane, redis_cb *cb, void *arg, struct err *err) {
  /* WAIT counts from this connection's last write, and a fresh one has written nothing: so it writes. */
  return redis_call_safe(link, lane, cb, arg, err, "SET", "tocsin:barrier", "1", NULL);
}
