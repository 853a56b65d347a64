/* Messages that a node had taken and did not finish: another takes them over. Of several that try, one gets each: claiming makes a message young again. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "intake/internal.h"

enum { AT_ONCE = 64, AGAIN_MS = 500 };

struct taking {
  struct intake *in;
  char node[64];
  struct timer *timer;
};

static void look(void *arg);

static void again(struct taking *t, int64_t ms) {
  if (t->in->running) {
    t->timer = timer_start(t->in->deps.loop, ms, look, t);
    return;
  }
  free(t); /* stopping: the next node, or this one when it is back, goes on */
}

static void on_claimed(void *arg, const struct redis_value *reply, const struct err *err) {
  struct taking *t = arg;
  struct intake *in = t->in;
  size_t taken = 0;
  if (err && err->code == ERR_CANCELLED) {
    free(t);
    return;
  }
  for (size_t i = 0; !err && i < redis_count(reply); i++) {
    const struct redis_value *entry = redis_item(reply, i);
    if (redis_count(entry) != 2) continue;
    in->under_way++;
    in->taken++;
    taken++;
    intake_message(in, entry);
  }
  if (taken) log_notice("%zu alerts were taken over from node %s", taken, t->node);
  again(t, AGAIN_MS);
}

static void on_pending(void *arg, const struct redis_value *reply, const struct err *err) {
  struct taking *t = arg;
  struct intake *in = t->in;
  const char *argv[6 + AT_ONCE] = {"XCLAIM", in->key[KEY_QUEUE], QUEUE_GROUP, in->deps.consumer};
  char idle[24];
  size_t argc = 5, count = err ? 0 : redis_count(reply);
  if (err && err->code == ERR_CANCELLED) {
    free(t);
    return;
  }
  if (!err && count == 0) { /* all of it is in other hands, or done */
    free(t);
    return;
  }
  snprintf(idle, sizeof idle, "%" PRId64, in->deps.lease_ms * 4 / 5);
  argv[4] = idle;
  for (size_t i = 0; i < count && i < AT_ONCE; i++) argv[argc++] = redis_string(redis_item(redis_item(reply, i), 0), NULL);
  if (err || redis_command(in->deps.redis, redis_lane(in->deps.redis, in->key[KEY_QUEUE]), on_claimed, t, argc, argv, NULL, NULL) < 0)
    again(t, AGAIN_MS);
}

static void look(void *arg) {
  struct taking *t = arg;
  struct intake *in = t->in;
  char count[16];
  timer_free(t->timer);
  t->timer = NULL;
  snprintf(count, sizeof count, "%d", AT_ONCE);
  if (nodes_state(in->deps.nodes, t->node) == NODE_ALIVE) free(t); /* it goes on with them itself */
  else if (in->under_way + AT_ONCE > UNDER_WAY_MOST || in->held || in->alone.cb || desk_full(in->deps.desk)) again(t, RETRY_MS);
  else if (redis_call(in->deps.redis, redis_lane(in->deps.redis, in->key[KEY_QUEUE]), on_pending, t, NULL, "XPENDING", in->key[KEY_QUEUE],
                      QUEUE_GROUP, "-", "+", count, t->node, NULL) < 0)
    again(t, RETRY_MS);
}

void intake_take_over(struct intake *in, const char *node) {
  struct taking *t = calloc(1, sizeof *t);
  if (!t) abort();
  t->in = in;
  snprintf(t->node, sizeof t->node, "%.60s", node);
  look(t);
}

/* [[name, …, pending, …]…]: names that nobody here has any more, too (a node that was given another one). */
static void on_consumers(void *arg, const struct redis_value *reply, const struct err *err) {
  struct intake *in = arg;
  for (size_t i = 0; !err && i < redis_count(reply); i++) {
    const struct redis_value *pairs = redis_item(reply, i);
    const char *name = "";
    int64_t pending = 0;
    for (size_t k = 0; k + 1 < redis_count(pairs); k += 2) {
      const char *key = redis_string(redis_item(pairs, k), NULL);
      if (strcmp(key, "name") == 0) name = redis_string(redis_item(pairs, k + 1), NULL);
      if (strcmp(key, "pending") == 0) pending = redis_integer(redis_item(pairs, k + 1));
    }
    if (pending && nodes_state(in->deps.nodes, name) == NODE_ABSENT) intake_take_over(in, name);
  }
}

void intake_take_over_strays(struct intake *in) {
  redis_call(in->deps.redis, redis_lane(in->deps.redis, in->key[KEY_QUEUE]), on_consumers, in, NULL, "XINFO", "CONSUMERS",
             in->key[KEY_QUEUE], QUEUE_GROUP, NULL);
}
