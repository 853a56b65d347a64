/* The consumer group, conservation, and the life of the intake. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "intake/internal.h"

static void keys_make(struct intake *in) {
  static const char *const names[INTAKE_KEYS] = {NULL, "routed", "seen", "seen_in", "group", NULL, "counts", "dead"};
  const char *exercise = in->deps.exercise;
  for (size_t i = 0; i < INTAKE_KEYS; i++) {
    if (!names[i]) continue;
    if (exercise) snprintf(in->key[i], sizeof in->key[i], "tocsin:{%.20s}:%s", exercise, names[i]);
    else snprintf(in->key[i], sizeof in->key[i], "{tocsin:alerts}:%s", names[i]);
  }
  if (exercise) snprintf(in->key[KEY_QUEUE], sizeof in->key[KEY_QUEUE], "tocsin:{%.20s}:alerts", exercise);
  else snprintf(in->key[KEY_QUEUE], sizeof in->key[KEY_QUEUE], "tocsin:alerts");
  snprintf(in->key[KEY_IDS], sizeof in->key[KEY_IDS], "%s", exercise ? EXERCISE_IDS : "{tocsin:alerts}:ids");
}

struct intake *intake_new(const struct intake_deps *deps) {
  struct intake *in = calloc(1, sizeof *in);
  if (!in) abort();
  in->deps = *deps;
  keys_make(in);
  in->normaliser = normaliser_new(deps->registry, json_object_get(json_object_get(deps->settings, "webhook"), "sources"));
  in->keep_ms = json_int_or(deps->settings, "dedupe", 86400000);
  in->default_playbook = json_str_or(deps->settings, "default_playbook", "triage-only");
  in->blocking = deps->exercise ? redis_lane(deps->redis, in->key[KEY_QUEUE]) : redis_add_blocking_lane(deps->redis);
  snprintf(in->after, sizeof in->after, "0");
  if (!deps->exercise) intake_commands(in);
  return in;
}

void intake_free(struct intake *in) {
  if (!in) return;
  in->running = false; /* what goes now asks for nothing more */
  together_drop(in);
  timer_free(in->retry);
  timer_free(in->alone.retry);
  webhook_free(in->webhook);
  normaliser_free(in->normaliser);
  json_decref(in->default_group);
  free(in);
}

void intake_set_routes(struct intake *in, const struct router *router, const struct lists *lists, const json_t *default_group,
                       int64_t default_window_ms) {
  in->router = router;
  in->lists = lists;
  json_decref(in->default_group);
  in->default_group = default_group ? json_deep_copy(default_group) : NULL;
  in->default_window_ms = default_window_ms;
}

void intake_set_registry(struct intake *in, struct registry *registry) {
  normaliser_free(in->normaliser);
  in->deps.registry = registry;
  in->normaliser = normaliser_new(registry, json_object_get(json_object_get(in->deps.settings, "webhook"), "sources"));
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static void pump_again(void *arg) {
  struct intake *in = arg;
  timer_free(in->retry);
  in->retry = NULL;
  intake_pump(in);
}

static void pump_later(struct intake *in, int64_t ms) {
  if (!in->retry) in->retry = timer_start(in->deps.loop, ms, pump_again, in);
}

static void on_group(void *arg, const struct redis_value *reply, const struct err *err) {
  struct intake *in = arg;
  in->reading = false;
  if (err && !strstr(err->text, "BUSYGROUP")) {
    pump_later(in, RETRY_MS);
    return;
  }
  in->group_made = true;
  intake_pump(in);
}

/* [[stream, [[id, [field, value…]]…]]] */
static void on_read(void *arg, const struct redis_value *reply, const struct err *err) {
  struct intake *in = arg;
  in->reading = false;
  if (err) {
    if (strstr(err->text, "NOGROUP")) in->group_made = false;
    if (err->code == ERR_UNAVAILABLE || err->code == ERR_TIMEOUT) in->unsure = true;
    if (err->code != ERR_CANCELLED) pump_later(in, RETRY_MS);
    return;
  }
  const struct redis_value *entries = redis_item(redis_item(reply, 0), 1);
  size_t count = redis_count(entries);
  for (size_t i = 0; i < count; i++) {
    text_copy(in->after, sizeof in->after, redis_string(redis_item(redis_item(entries, i), 0), NULL));
    in->under_way++;
    in->taken++;
    intake_message(in, redis_item(entries, i));
  }
  together_send(in);
  bool nothing_new = in->deps.exercise && in->owned_first && count == 0 && !in->again;
  if (!in->owned_first && count == 0) in->owned_first = true;
  if (!nothing_new) intake_pump(in);
}

static void group_make(struct intake *in) {
  struct err err;
  in->reading =
      redis_call(in->deps.redis, 0, on_group, in, &err, "XGROUP", "CREATE", in->key[KEY_QUEUE], QUEUE_GROUP, "0", "MKSTREAM", NULL) == 0;
  if (!in->reading) pump_later(in, RETRY_MS);
}

void intake_pump(struct intake *in) {
  struct err err;
  char count[16], block[16];
  if (in->deps.exercise && in->reading) in->again = true;
  if (!in->running || in->held || in->reading || in->retry || in->alone.cb) return;
  if (!in->group_made) {
    group_make(in);
    return;
  }
  if (in->unsure) { /* from the first unfinished message again, once none is in two hands */
    if (in->under_way) return;
    in->unsure = in->owned_first = false;
    snprintf(in->after, sizeof in->after, "0");
  }
  if (in->under_way >= UNDER_WAY_MOST || desk_full(in->deps.desk)) {
    pump_later(in, 5); /* what is under way frees its place */
    return;
  }
  size_t room = UNDER_WAY_MOST - in->under_way;
  snprintf(count, sizeof count, "%zu", room < READ_COUNT ? room : (size_t)READ_COUNT);
  snprintf(block, sizeof block, "%d", BLOCK_MS);
  in->again = false;
  if (in->deps.exercise && in->owned_first) { /* nobody but the engine puts something there, and says so */
    in->reading = redis_call(in->deps.redis, in->blocking, on_read, in, &err, "XREADGROUP", "GROUP", QUEUE_GROUP, in->deps.consumer,
                             "COUNT", count, "STREAMS", in->key[KEY_QUEUE], ">", NULL) == 0;
    if (!in->reading) pump_later(in, RETRY_MS);
    return;
  }
  /* This node's own unfinished messages first ("0"), then new ones. */
  in->reading = in->owned_first
                    ? redis_call(in->deps.redis, in->blocking, on_read, in, &err, "XREADGROUP", "GROUP", QUEUE_GROUP, in->deps.consumer,
                                 "COUNT", count, "BLOCK", block, "STREAMS", in->key[KEY_QUEUE], ">", NULL) == 0
                    : redis_call(in->deps.redis, in->blocking, on_read, in, &err, "XREADGROUP", "GROUP", QUEUE_GROUP, in->deps.consumer,
                                 "COUNT", count, "STREAMS", in->key[KEY_QUEUE], in->after, NULL) == 0;
  if (!in->reading) pump_later(in, RETRY_MS);
}

void intake_start(struct intake *in) {
  struct err err;
  in->running = true;
  if (!in->deps.exercise && !in->webhook && webhook_start(in, &in->webhook, &err) < 0) { /* the queue is read all the same */
    snprintf(in->deaf, sizeof in->deaf, "the webhook does not listen: %s", err.text);
    log_error("%s", in->deaf);
    journal_add(in->deps.node, KIND_ENGINE_WARNING, "engine", 0, NULL, json_pack("{s:s}", "text", in->deaf));
  }
  intake_pump(in);
}

void intake_look(struct intake *in) { intake_pump(in); }

bool intake_rests(const struct intake *in) { return !in->under_way && !in->reading && (!in->running || (!in->retry && in->owned_first)); }

void intake_one_less(struct intake *in) {
  in->under_way--;
  intake_alone_look(in);
  if (in->stopped_cb && in->under_way == 0) {
    loop_cb *cb = in->stopped_cb;
    in->stopped_cb = NULL;
    loop_defer(in->deps.loop, cb, in->stopped_arg);
  }
  if (in->running && !in->reading && !in->retry) intake_pump(in);
}

void intake_hold(struct intake *in, bool held) {
  in->held = held;
  intake_pump(in);
}

void intake_stop(struct intake *in, loop_cb *done, void *arg) {
  intake_alone_end(in);
  in->running = false;
  webhook_free(in->webhook);
  in->webhook = NULL;
  in->stopped_cb = done;
  in->stopped_arg = arg;
  if (in->under_way == 0) {
    in->stopped_cb = NULL;
    loop_defer(in->deps.loop, done, arg);
  }
}

/* --- putting on the queue ------------------------------------------------------------------------------------------------ */

struct push {
  intake_push_cb *cb;
  void *arg;
};

static void on_push(void *arg, const struct redis_value *reply, const struct err *err) {
  struct push *p = arg;
  p->cb(p->arg, err);
  free(p);
}

static int put(struct intake *in, const char *id, const char *source, const char *text, size_t len, intake_push_cb *cb, void *arg,
               struct err *err) {
  const char *queue = in->key[KEY_QUEUE], *argv[] = {"XADD", queue, id, "alert", text, "source", source};
  const size_t lens[] = {4, strlen(queue), strlen(id), 5, len, 6, source ? strlen(source) : 0};
  if (len > DOCUMENT_CAP) return err_set(err, ERR_LIMIT, "a document may have %d MiB at most", DOCUMENT_CAP >> 20);
  struct push *p = calloc(1, sizeof *p);
  if (!p) abort();
  *p = (struct push){cb, arg};
  int r = redis_command_safe(in->deps.redis, redis_lane(in->deps.redis, queue), on_push, p, source ? 7 : 5, argv, lens, err);
  if (r < 0) free(p);
  return r;
}

int intake_push(struct intake *in, const char *source, const char *text, size_t len, intake_push_cb *cb, void *arg, struct err *err) {
  return put(in, "*", source, text, len, cb, arg, err);
}

int intake_put(struct intake *in, uint64_t number, const char *source, const char *text, size_t len, intake_push_cb *cb, void *arg,
               struct err *err) {
  char id[32];
  snprintf(id, sizeof id, "%" PRIu64 "-0", number);
  return put(in, id, source, text, len, cb, arg, err);
}

/* --- conservation --------------------------------------------------------------------------------------------------------- */

struct counting {
  intake_counts_cb *cb;
  void *arg;
};

static int64_t field(const struct redis_value *pairs, const char *name) {
  for (size_t i = 0; i + 1 < redis_count(pairs); i += 2)
    if (strcmp(redis_string(redis_item(pairs, i), NULL), name) == 0) return redis_integer(redis_item(pairs, i + 1));
  return 0;
}

/* [XINFO STREAM, HGETALL]: one moment for both. */
static void on_counts(void *arg, const struct redis_value *reply, const struct err *err) {
  static const char *const kinds[] = {"attached", "duplicate", "suppressed", "dead", "split"};
  struct counting *c = arg;
  if (err) {
    c->cb(c->arg, NULL, err);
    free(c);
    return;
  }
  const struct redis_value *info = redis_item(reply, 0), *counts = redis_item(reply, 1);
  int64_t accepted = field(info, "entries-added"), waiting = field(info, "length"), sum = waiting;
  json_t *result = json_pack("{s:I, s:I}", "accepted", (json_int_t)accepted, "waiting", (json_int_t)waiting);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    int64_t n = field(counts, kinds[i]);
    json_object_set_new(result, kinds[i], json_integer(n));
    sum += n;
  }
  json_object_set_new(result, "difference", json_integer(accepted - sum));
  c->cb(c->arg, result, NULL);
  json_decref(result);
  free(c);
}

int intake_counts(struct intake *in, intake_counts_cb *cb, void *arg, struct err *err) {
  unsigned lane = redis_lane(in->deps.redis, in->key[KEY_QUEUE]);
  struct counting *c = calloc(1, sizeof *c);
  if (!c) abort();
  *c = (struct counting){cb, arg};
  int r =
      redis_call(in->deps.redis, lane, on_counts, c, err, "FCALL_RO", "tocsin_tally", "2", in->key[KEY_QUEUE], in->key[KEY_COUNTS], NULL);
  if (r < 0) free(c);
  return r;
}

const char *intake_deaf(const struct intake *in) { return in->deaf; }

json_t *intake_metrics(const struct intake *in) {
  return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "taken_total", (json_int_t)in->taken, "attached_total", (json_int_t)in->attached,
                   "duplicate_total", (json_int_t)in->duplicates, "suppressed_total", (json_int_t)in->suppressed, "dead_total",
                   (json_int_t)in->dead, "split_total", (json_int_t)in->splits, "under_way", (json_int_t)in->under_way);
}
