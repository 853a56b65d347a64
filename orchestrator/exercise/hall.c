/* All exercises of a node: the door to them, beginning, and going on after a restart. */
#include "exercise/hall.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "exercise/exercise.h"
#include "exercise/hall_commands.h"

enum { AGAIN_MS = 500 };

struct exercise *hall_find(const struct hall *h, const char *id) {
  struct exercise *x;
  LIST_FOREACH(x, &h->all, next) if (strcmp(x->id, id) == 0) return x;
  return NULL;
}

static int door(void *arg, const char *incident, struct desk **ret, struct err *err) {
  struct hall *h = arg;
  struct exercise *x;
  if (!h->known) return err_set(err, ERR_UNAVAILABLE, "the engine is just starting; try again in a moment");
  LIST_FOREACH(x, &h->all, next) {
    if (!exercise_is(x, incident) || x->stage == STAGE_CLOSED || x->elsewhere) continue;
    if (x->stage != STAGE_PLAYING)
      return err_set(err, ERR_CONFLICT, "%s is just %s; try again in a moment", x->id, x->stage == STAGE_OPENING ? "beginning" : "ending");
    *ret = x->desk;
    return 0;
  }
  return 0;
}

struct hall *hall_new(const struct hall_deps *deps) {
  struct hall *h = calloc(1, sizeof *h);
  if (!h) abort();
  h->deps = *deps;
  LIST_INIT(&h->all);
  desk_on_exercise(deps->desk, door, h);
  hall_commands(h);
  return h;
}

/* --- going on -------------------------------------------------------------------------------------------------------- */

static void one_less(struct hall *h) {
  if (--h->loading || !h->loaded_cb) return;
  loop_cb *cb = h->loaded_cb;
  h->loaded_cb = NULL;
  cb(h->loaded_arg);
}

static void load_turn(void *arg);

static void load_again(void *arg) {
  struct hall *h = arg;
  timer_free(h->retry);
  h->retry = NULL;
  h->loading++;
  load_turn(h);
}

static void load_later(struct hall *h) {
  if (!h->retry && !h->stopped) h->retry = timer_start(h->deps.loop, AGAIN_MS, load_again, h);
}

/* What Redis did not let go on is tried again. */
static void on_gone_on(void *arg, struct exercise *x, const struct err *err) {
  struct hall *h = arg;
  if (err && err->code != ERR_CANCELLED) log_error("%s cannot go on: %s", x->id, err->text);
  if (err && (err->code == ERR_UNAVAILABLE || err->code == ERR_TIMEOUT)) load_later(h);
  one_less(h);
}

static void go_on(struct hall *h, const char *id) {
  const struct exercise *x = hall_find(h, id);
  if (x && x->elsewhere) load_later(h); /* on its way out still */
  if (x) return;
  h->loading++;
  exercise_open(h, id, NULL, NULL, on_gone_on, h);
}

struct taking {
  struct hall *hall;
  char id[ID_INCIDENT];
};

/* [owner now, owner before] */
static void on_claimed(void *arg, const struct redis_value *reply, const struct err *err) {
  struct taking *t = arg;
  struct hall *h = t->hall;
  if (!err && !h->stopped && strcmp(redis_string(redis_item(reply, 0), NULL), h->deps.node) == 0) {
    log_notice("%s is taken over from node %s", t->id, redis_string(redis_item(reply, 1), NULL));
    go_on(h, t->id);
  }
  free(t);
  if (!err || err->code != ERR_CANCELLED) one_less(h);
}

static void take(struct hall *h, const char *id, const char *from) {
  struct taking *t = calloc(1, sizeof *t);
  if (!t) abort();
  t->hall = h;
  snprintf(t->id, sizeof t->id, "%.*s", ID_INCIDENT - 1, id);
  h->loading++;
  if (redis_call(h->deps.redis, 0, on_claimed, t, NULL, "FCALL", "tocsin_claim", "1", EXERCISES_RUNNING, id, h->deps.node, from, NULL) == 0)
    return;
  h->loading--;
  free(t);
}

static bool gone(const struct hall *h, const char *node) {
  enum node_state state = h->deps.nodes ? nodes_state(h->deps.nodes, node) : NODE_SELF;
  return state == NODE_DEAD || state == NODE_ABSENT;
}

/* [id, node, …] */
static void on_running(void *arg, const struct redis_value *reply, const struct err *err) {
  struct hall *h = arg;
  struct id id;
  if (err && err->code == ERR_CANCELLED) return;
  if (err) log_error("which exercises were played is not known: %s", err->text);
  if (err) load_later(h);
  else h->known = true;
  for (size_t i = 0; !err && !h->stopped && i + 1 < redis_count(reply); i += 2) {
    const char *name = redis_string(redis_item(reply, i), NULL), *node = redis_string(redis_item(reply, i + 1), NULL);
    if (!id_parse(name, &id)) continue;
    if (strcmp(node, h->deps.node) == 0) go_on(h, name);
    else if (gone(h, node)) take(h, name, node);
  }
  one_less(h);
}

static void load_turn(void *arg) {
  struct hall *h = arg;
  struct err err;
  if (redis_call(h->deps.redis, 0, on_running, h, &err, "HGETALL", EXERCISES_RUNNING, NULL) == 0) return;
  log_error("which exercises were played is not known: %s", err.text);
  load_later(h);
  one_less(h);
}

void hall_load(struct hall *h, loop_cb *cb, void *arg) {
  h->loaded_cb = cb;
  h->loaded_arg = arg;
  h->loading = 1;
  loop_defer(h->deps.loop, load_turn, h);
}

/* What is played here already is left alone. */
void hall_take_over(struct hall *h) {
  if (!h || h->stopped || !h->known) return; /* it is just being found out whose each is */
  h->loading++;
  loop_defer(h->deps.loop, load_turn, h);
}

static void on_owners(void *arg, const struct redis_value *reply, const struct err *err) {
  struct hall *h = arg;
  for (size_t i = 0; !err && i + 1 < redis_count(reply); i += 2) {
    struct exercise *x = hall_find(h, redis_string(redis_item(reply, i), NULL));
    if (x && strcmp(redis_string(redis_item(reply, i + 1), NULL), h->deps.node) != 0) exercise_give_up(x);
  }
}

void hall_look_owned(struct hall *h) { redis_call(h->deps.redis, 0, on_owners, h, NULL, "HGETALL", EXERCISES_RUNNING, NULL); }

void hall_redis_up(struct hall *h) {
  struct exercise *x;
  if (!h) return;
  LIST_FOREACH(x, &h->all, next) if (x->desk) desk_redis_up(x->desk);
}

/* --- the end ------------------------------------------------------------------------------------------------------------ */

static void on_intake_stopped(void *arg) {}

void hall_stop(struct hall *h) {
  struct exercise *x;
  if (!h) return;
  h->stopped = true;
  timer_free(h->retry);
  h->retry = NULL;
  LIST_FOREACH(x, &h->all, next) {
    x->stopped = true;
    timer_free(x->timer);
    x->timer = NULL;
    if (x->clock.base) clock_pause(&x->clock);
    if (x->intake) intake_stop(x->intake, on_intake_stopped, x);
  }
}

size_t hall_unsent(const struct hall *h) {
  const struct exercise *x;
  size_t count = 0;
  if (h) LIST_FOREACH(x, &h->all, next) count += x->store.unsent;
  return count;
}

void hall_unload(struct hall *h) {
  struct exercise *x;
  if (!h) return;
  loop_undefer(h->deps.loop, load_turn, h);
  LIST_FOREACH(x, &h->all, next) exercise_unload(x);
}

void hall_free(struct hall *h) {
  struct exercise *x;
  if (!h) return;
  desk_on_exercise(h->deps.desk, NULL, NULL);
  while ((x = LIST_FIRST(&h->all))) {
    LIST_REMOVE(x, next);
    exercise_free(x);
  }
  free(h);
}

json_t *hall_counts(const struct hall *h) {
  const struct exercise *x;
  json_int_t running = 0;
  if (h) LIST_FOREACH(x, &h->all, next) running += x->stage == STAGE_PLAYING;
  return json_pack("{s:I, s:I}", "running", running, "begun_total", (json_int_t)(h ? h->begun : 0));
}
