/* After a crash: the one suspect is tried alone, all else is put off until it came through, and who is guilty is handed over to people. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/suspect.h"
#include "incident/internal.h"

enum { LOOK_MS = 20, AT_ONCE = 64, AGAIN_MS = 500, SOON_US = 1000000 };

static struct held_run *held(const struct incident *inc, unsigned number) {
  struct held_run *h;
  LIST_FOREACH(h, &inc->runs, next) if (run_number(h->run) == number || h->number == number) return h;
  return NULL;
}

bool alone_allows(const struct incident *inc, unsigned number) {
  const struct alone *a = &inc->desk->alone;
  return a->holding ? number == a->run : !held(inc, number);
}

/* --- guilty --------------------------------------------------------------------------------------------------------- */

struct verdict {
  char id[ID_INCIDENT];
  unsigned number;
};

static void on_handed_over(void *arg, const struct err *err) {
  struct verdict *v = arg;
  if (!err) suspect_forget(SUSPECT_RUN, v->id, v->number);
  free(v);
}

bool alone_set_aside(struct incident *inc, unsigned number) {
  char reason[SUSPECT_REASON];
  if (!suspect_guilty(SUSPECT_RUN, inc->id, number, reason)) return false;
  struct verdict *v = calloc(1, sizeof *v);
  if (!v) abort();
  v->number = number;
  snprintf(v->id, sizeof v->id, "%s", inc->id);
  log_warning("run %s/%u is set aside and handed over: %s", inc->id, number, reason);
  journal_add(inc->journal, KIND_RUN_HANDED_OVER, "engine", number, NULL,
              json_pack("{s:s, s:s}", "text", "the run was set aside: a person goes on", "why", reason));
  journal_when_durable(inc->journal, on_handed_over, v);
  return true;
}

/* --- alone ---------------------------------------------------------------------------------------------------------- */

void desk_hold(struct desk *d, const char *incident, unsigned number) {
  d->alone = (struct alone){.holding = true, .run = number};
  snprintf(d->alone.id, sizeof d->alone.id, "%.*s", ID_INCIDENT - 1, incident);
}

/* It has ended, or waits for people, for alerts, or for a time that is not near. */
static bool through(struct desk *d) {
  const struct incident *inc = map_get(&d->incidents, d->alone.id);
  const struct held_run *h = inc ? held(inc, d->alone.run) : NULL;
  if (!h) return true;
  d->alone.was_there = true;
  int64_t due = run_due(h->run);
  return run_rests(h->run) && (!due || due > clock_wall(d->deps.store->clock) + SOON_US);
}

static void look(void *arg) {
  struct desk *d = arg;
  timer_free(d->alone.look);
  d->alone.look = NULL;
  if (!through(d)) {
    d->alone.look = timer_start(d->deps.loop, LOOK_MS, look, d);
    return;
  }
  desk_alone_cb *cb = d->alone.cb;
  void *cb_arg = d->alone.arg;
  bool was_there = d->alone.was_there;
  desk_alone_end(d);
  cb(cb_arg, was_there);
}

void desk_alone(struct desk *d, desk_alone_cb *cb, void *arg) {
  const struct incident *inc = map_get(&d->incidents, d->alone.id);
  d->alone.cb = cb;
  d->alone.arg = arg;
  d->alone.was_there = inc && held(inc, d->alone.run);
  d->alone.look = timer_start(d->deps.loop, 0, look, d);
}

void desk_alone_end(struct desk *d) {
  timer_free(d->alone.look);
  d->alone.look = NULL;
  d->alone.cb = NULL;
}

/* --- and then the rest ------------------------------------------------------------------------------------------------ */

struct resuming {
  struct desk *desk;
  json_t *ids, *again;
  size_t next, under_way;
  struct timer *timer;
  desk_cb *cb;
  void *arg;
};

struct one {
  struct resuming *r;
  char id[ID_INCIDENT];
};

static void more(struct resuming *r);

static void resuming_free(struct resuming *r) {
  timer_free(r->timer);
  json_decref(r->ids);
  json_decref(r->again);
  free(r);
}

static void on_recovered(void *arg, const struct err *err) {
  struct one *o = arg;
  struct resuming *r = o->r;
  struct incident *inc = map_get(&r->desk->incidents, o->id);
  if (err && inc) {
    inc->put_off = true;
    if (err->code != ERR_CANCELLED) { /* else the engine is stopping */
      log_error("%s cannot be taken up yet: %s", o->id, err->text);
      json_array_append_new(r->again, json_string(o->id));
    }
  } else if (inc) {
    incident_touch(inc);
  }
  free(o);
  r->under_way--;
  more(r);
}

/* All that the run which was tried has written is in Redis now, where the recovery reads. */
static void on_durable(void *arg, const struct err *err) {
  struct one *o = arg;
  struct incident *inc = err ? NULL : map_get(&o->r->desk->incidents, o->id);
  if (inc) incident_recover(inc, NULL, on_recovered, o);
  else on_recovered(o, err); /* lost to another node */
}

static void again(void *arg) {
  struct resuming *r = arg;
  timer_free(r->timer);
  r->timer = NULL;
  json_decref(r->ids);
  r->ids = r->again;
  r->again = json_array();
  r->next = 0;
  more(r);
}

static void more(struct resuming *r) {
  r->under_way++;
  while (r->under_way <= AT_ONCE && r->next < json_array_size(r->ids)) {
    const char *id = json_string_value(json_array_get(r->ids, r->next++));
    const struct incident *inc = map_get(&r->desk->incidents, id);
    if (!inc || !inc->journal || !inc->put_off) continue;
    struct one *o = calloc(1, sizeof *o);
    if (!o) abort();
    o->r = r;
    snprintf(o->id, sizeof o->id, "%s", id);
    r->under_way++;
    journal_when_durable(inc->journal, on_durable, o);
  }
  if (--r->under_way || r->next < json_array_size(r->ids)) return;
  if (json_array_size(r->again)) {
    r->timer = timer_start(r->desk->deps.loop, AGAIN_MS, again, r);
    return;
  }
  r->cb(r->arg, NULL);
  resuming_free(r);
}

void desk_go_on(struct desk *d, desk_cb *cb, void *arg) {
  struct resuming *r = calloc(1, sizeof *r);
  const char *id;
  void *value;
  size_t at = 0;
  if (!r) abort();
  desk_alone_end(d);
  d->alone.holding = false;
  *r = (struct resuming){.desk = d, .ids = json_array(), .again = json_array(), .cb = cb, .arg = arg};
  while (map_next(&d->incidents, &at, &id, &value))
    if (((struct incident *)value)->put_off) json_array_append_new(r->ids, json_string(id));
  more(r);
}
