/* One message that a crash was traced to is handled alone, before anything else is taken. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "intake/internal.h"

static void over(void *arg) {
  struct intake *in = arg;
  struct alone a = in->alone;
  intake_alone_end(in);
  if (a.cb) a.cb(a.arg, a.taken);
}

void intake_alone_end(struct intake *in) {
  if (!in->alone.cb) return;
  timer_free(in->alone.retry);
  loop_undefer(in->deps.loop, over, in);
  in->alone = (struct alone){0};
  in->running = false;
}

static void look(struct intake *in);

static void look_again(void *arg) {
  struct intake *in = arg;
  timer_free(in->alone.retry);
  in->alone.retry = NULL;
  look(in);
}

/* [[stream, [[id, [field, value…]]]]]: the first of this node's unfinished messages from there on, which may be another. */
static void on_alone(void *arg, const struct redis_value *reply, const struct err *err) {
  struct intake *in = arg;
  in->reading = false;
  if (!in->alone.cb) {
    intake_pump(in); /* its time is over, and the intake waits for this answer */
    return;
  }
  if (err && !strstr(err->text, "NOGROUP")) {
    if (err->code != ERR_CANCELLED) in->alone.retry = timer_start(in->deps.loop, RETRY_MS, look_again, in);
    return;
  }
  const struct redis_value *entry = err ? NULL : redis_item(redis_item(redis_item(reply, 0), 1), 0);
  const char *id = entry ? redis_string(redis_item(entry, 0), NULL) : "";
  if (strcmp(id, in->alone.id) != 0) {
    loop_defer(in->deps.loop, over, in);
    return;
  }
  in->alone.taken = true;
  in->under_way++;
  in->taken++;
  intake_message(in, entry);
}

/* The greatest id below this one: XREADGROUP gives what comes after. */
static bool id_before(const char *id, char out[48]) {
  char *rest;
  uint64_t ms = strtoull(id, &rest, 10), n = *rest == '-' ? strtoull(rest + 1, &rest, 10) : 0;
  if (*rest || (!ms && !n)) return false;
  if (n) snprintf(out, 48, "%" PRIu64 "-%" PRIu64, ms, n - 1);
  else snprintf(out, 48, "%" PRIu64 "-%" PRIu64, ms - 1, UINT64_MAX);
  return true;
}

static void look(struct intake *in) {
  char from[48];
  struct err err;
  if (!id_before(in->alone.id, from)) {
    loop_defer(in->deps.loop, over, in);
    return;
  }
  in->reading = redis_call(in->deps.redis, in->blocking, on_alone, in, &err, "XREADGROUP", "GROUP", QUEUE_GROUP, in->deps.consumer, "COUNT",
                           "1", "STREAMS", in->key[KEY_QUEUE], from, NULL) == 0;
  if (!in->reading) in->alone.retry = timer_start(in->deps.loop, RETRY_MS, look_again, in);
}

void intake_alone(struct intake *in, const char *id, intake_alone_cb *cb, void *arg) {
  in->alone = (struct alone){.cb = cb, .arg = arg};
  snprintf(in->alone.id, sizeof in->alone.id, "%s", id);
  in->running = true; /* for what the message itself waits for */
  look(in);
}

void intake_alone_look(struct intake *in) {
  if (in->alone.taken && in->under_way == 0) loop_defer(in->deps.loop, over, in);
}
