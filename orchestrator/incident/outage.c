/* Time in which nobody could have answered: the engine was down, Redis was, or the machine stood still.
 * One beat finds them all: every few seconds `tocsin:alive` is set to now, and Redis answers with what it was. Nodes that share a Redis share it too, for people may answer on any.
 * A clock that is set is told apart by the one that counts what has really passed. Both are kept in `tocsin:outages`, in order: "from to", and of a step also the node whose clock it was. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "incident/internal.h"

enum { BEAT_MS = 5000, GAP_US = 15000000, KEPT = 256 };

static const char ALIVE_KEY[] = "tocsin:alive", OUTAGES_KEY[] = "tocsin:outages";

struct outages {
  struct desk *desk;
  struct timer *timer;
  desk_cb *cb; /* until the past is known */
  void *arg;
  int64_t sent;           /* the beat under way, µs; 0: none */
  int64_t boot, answered; /* when it was sent, and the last one that was answered, by the clock that counts what has passed; 0: none yet */
};

static void beat(void *arg);

static int64_t now_of(const struct outages *o) { return clock_wall(o->desk->deps.store->clock); }

static void tell(struct outages *o, const struct lapse *one) {
  questions_lapse(o->desk->deps.questions, one);
  sleepers_lapse(o->desk->sleepers, one);
}

/* On record where the next start, and other nodes' questions, find it. */
static void keep(struct outages *o, const struct lapse *one) {
  struct redis *redis = o->desk->deps.redis;
  const char *node = o->desk->deps.store->node;
  char text[128], first[16];
  snprintf(text, sizeof text, "%" PRId64 " %" PRId64 "%s%.40s", one->from, one->to, one->step ? " " : "", one->step && node ? node : "");
  snprintf(first, sizeof first, "-%d", KEPT);
  redis_call(redis, 0, NULL, NULL, NULL, "RPUSH", OUTAGES_KEY, text, NULL);
  redis_call(redis, 0, NULL, NULL, NULL, "LTRIM", OUTAGES_KEY, first, "-1", NULL);
}

static void found(struct outages *o, int64_t from, int64_t to) {
  const struct lapse one = {.from = from, .to = to};
  keep(o, &one);
  if (to - from >= GAP_US)
    log_notice("nobody could have answered for %" PRId64 " s: open questions have that much more time, and ten minutes at least",
               (to - from) / 1000000);
  if (to - from >= GAP_US && o->desk->deps.node)
    journal_add(o->desk->deps.node, KIND_ENGINE_GAP, "engine", 0, NULL,
                json_pack("{s:I, s:I, s:I}", "from", (json_int_t)from, "to", (json_int_t)to, "seconds",
                          (json_int_t)((to - from) / 1000000)));
  tell(o, &one);
}

static void runs_stepped(struct outages *o, int64_t by) {
  size_t at = 0;
  void *value;
  while (map_next(&o->desk->incidents, &at, NULL, &value)) {
    const struct incident *inc = value;
    const struct held_run *h, *next;
    if (!inc->journal || journal_store_of(inc->journal)->clock != o->desk->deps.store->clock) continue;
    for (h = LIST_FIRST(&inc->runs); h; h = next) {
      next = LIST_NEXT(h, next);
      run_clock_stepped(h->run, by);
    }
  }
}

/* Somebody compares a deadline with the clock just now: all of them are right when this returns. */
static void stepped(void *arg, const struct lapse *one) {
  struct outages *o = arg;
  int64_t by = one->to - one->from;
  char text[160];
  snprintf(text, sizeof text, "the clock was set %s by %" PRId64 " s; whatever waits for a time waits as long as before",
           by > 0 ? "forward" : "back", ((by > 0 ? by : -by) + 500000) / 1000000);
  log_warning("%s", text);
  int64_t most;
  if (o->desk->deps.node)
    journal_add(o->desk->deps.node, KIND_ENGINE_CLOCK, "engine", 0, NULL,
                json_pack("{s:I, s:I, s:I, s:b, s:s}", "step_ms", (json_int_t)(by / 1000), "from", (json_int_t)one->from, "to",
                          (json_int_t)one->to, "synchronized", clock_synchronized(&most), "text", text));
  o->desk->clock_steps++;
  keep(o, one);
  tell(o, one);
  runs_stepped(o, by);
  actions_clock_stepped(o->desk->deps.actions, o->desk->deps.store->clock, by);
}

/* While this process runs, no more than what has passed since its own last beat; another node may have been there meanwhile. */
static int64_t gap_of(const struct outages *o, int64_t before, int64_t sent) {
  int64_t gap = before && sent > before ? sent - before : 0, own = o->boot - o->answered;
  return o->answered && gap > own ? own : gap;
}

static void on_beat(void *arg, const struct redis_value *reply, const struct err *err) {
  struct outages *o = arg;
  int64_t sent = o->sent, gap = err ? 0 : gap_of(o, redis_integer(reply), sent);
  desk_cb *cb = o->cb;
  o->sent = 0;
  o->cb = NULL;
  if (gap && (cb || gap > GAP_US)) found(o, sent - gap, sent);
  if (!err) {
    o->answered = o->boot;
    questions_alive(o->desk->deps.questions, sent);
  }
  if (!err || err->code != ERR_CANCELLED) o->timer = timer_start(o->desk->deps.loop, BEAT_MS, beat, o);
  if (cb) cb(o->arg, err);
}

static int beat_send(struct outages *o, struct err *err) {
  char text[24];
  questions_look(o->desk->deps.questions, o->desk->deps.store->clock);
  o->sent = now_of(o);
  o->boot = clock_boot(o->desk->deps.store->clock);
  snprintf(text, sizeof text, "%" PRId64, o->sent);
  int r = redis_call(o->desk->deps.redis, 0, on_beat, o, err, "SET", ALIVE_KEY, text, "GET", NULL);
  if (r < 0) o->sent = 0;
  return r;
}

static void beat(void *arg) {
  struct outages *o = arg;
  timer_free(o->timer);
  o->timer = NULL;
  if (beat_send(o, NULL) < 0) o->timer = timer_start(o->desk->deps.loop, BEAT_MS, beat, o);
}

/* A question has come to its deadline. */
static void due(void *arg) {
  struct outages *o = arg;
  if (!o->sent) beat(o);
}

static void begun(struct outages *o, const struct err *err) {
  desk_cb *cb = o->cb;
  o->cb = NULL;
  cb(o->arg, err);
}

static void on_past(void *arg, const struct redis_value *reply, const struct err *err) {
  struct outages *o = arg;
  struct err why;
  for (size_t i = 0; !err && i < redis_count(reply); i++) {
    struct lapse one = {0};
    char node[48] = "";
    int n = sscanf(redis_string(redis_item(reply, i), NULL), "%" SCNd64 " %" SCNd64 " %47s", &one.from, &one.to, node);
    one.step = n == 3;
    if (n == 2 || (n == 3 && strcmp(node, o->desk->deps.store->node ? o->desk->deps.store->node : "") == 0)) tell(o, &one);
  }
  if (err) begun(o, err);
  else if (beat_send(o, &why) < 0) begun(o, &why);
}

int outages_begin(struct desk *d, desk_cb *cb, void *arg, struct err *err) {
  outages_free(d->outages);
  d->outages = NULL;
  struct outages *o = calloc(1, sizeof *o);
  if (!o) abort();
  *o = (struct outages){.desk = d, .cb = cb, .arg = arg};
  int r = redis_call(d->deps.redis, 0, on_past, o, err, "LRANGE", OUTAGES_KEY, "0", "-1", NULL);
  if (r < 0) {
    free(o);
    return r;
  }
  d->outages = o;
  const struct questions_watch watch = {.clock = d->deps.store->clock, .due = due, .stepped = stepped, .arg = o};
  questions_watched(d->deps.questions, &watch);
  return 0;
}

void outages_free(struct outages *o) {
  if (!o) return;
  questions_watched(o->desk->deps.questions, NULL);
  timer_free(o->timer);
  free(o);
}

uint64_t desk_clock_steps(const struct desk *d) { return d->clock_steps; }
