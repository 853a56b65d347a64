/* All exercises of a node: the door to them, beginning, and going on after a restart. */
#include "exercise/hall.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "exercise/exercise.h"
#include "exercise/hall_commands.h"

struct exercise *hall_find(const struct hall *h, const char *id) {
  struct exercise *x;
  LIST_FOREACH(x, &h->all, next) if (strcmp(x->id, id) == 0) return x;
  return NULL;
}

static int door(void *arg, const char *incident, struct desk **ret, struct err *err) {
  struct hall *h = arg;
  struct exercise *x;
  LIST_FOREACH(x, &h->all, next) {
    if (!exercise_is(x, incident) || x->stage == STAGE_CLOSED) continue;
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

static void on_gone_on(void *arg, struct exercise *x, const struct err *err) {
  if (err) log_error("%s cannot go on: %s", x->id, err->text);
  one_less(arg);
}

/* [id, node, …] */
static void on_running(void *arg, const struct redis_value *reply, const struct err *err) {
  struct hall *h = arg;
  struct id id;
  h->known = true;
  if (err) log_error("which exercises were played is not known: %s", err->text);
  for (size_t i = 0; !err && i + 1 < redis_count(reply); i += 2) {
    const char *name = redis_string(redis_item(reply, i), NULL);
    if (strcmp(redis_string(redis_item(reply, i + 1), NULL), h->deps.node) != 0 || !id_parse(name, &id)) continue;
    h->loading++;
    exercise_open(h, name, NULL, NULL, on_gone_on, h);
  }
  one_less(h);
}

static void load_turn(void *arg) {
  struct hall *h = arg;
  struct err err;
  if (redis_call(h->deps.redis, 0, on_running, h, &err, "HGETALL", EXERCISES_RUNNING, NULL) == 0) return;
  log_error("which exercises were played is not known: %s", err.text);
  one_less(h);
}

void hall_load(struct hall *h, loop_cb *cb, void *arg) {
  h->loaded_cb = cb;
  h->loaded_arg = arg;
  h->loading = 1;
  loop_defer(h->deps.loop, load_turn, h);
}

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
