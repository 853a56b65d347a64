/* Exercises: a desk for each, and the door to it at the desk of earnest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "incident/internal.h"
#include "incident/list.h"

void desk_key(const struct desk *d, const char *what, char out[DESK_KEY]) {
  if (d->deps.exercise) snprintf(out, DESK_KEY, "tocsin:{%.24s}:%.16s", d->deps.exercise, what);
  else if (strcmp(what, "group") == 0) snprintf(out, DESK_KEY, "{tocsin:alerts}:group");
  else snprintf(out, DESK_KEY, "tocsin:%.16s", what);
}

/* --- the door --------------------------------------------------------------------------------------------------------- */

void desk_on_exercise(struct desk *d, desk_door_cb *cb, void *arg) {
  d->door_cb = cb;
  d->door_arg = arg;
}

/* What may be done to an exercise that nobody plays any more, files that were kept in it included; what the room of exercises is asked, that says so itself. */
static bool only_looks(const struct call *call) {
  static const char *const names[] = {"incident.show",
                                      "incident.entries",
                                      "incident.export",
                                      "run.show",
                                      "corrective.add",
                                      "corrective.close",
                                      "evidence.list",
                                      "incident.exported",
                                      "incident.redact",
                                      "evidence.get",
                                      "evidence.transfer",
                                      "evidence.acknowledge",
                                      "evidence.hold",
                                      "evidence.release_hold",
                                      "evidence.delete",
                                      "evidence.expire",
                                      NULL};
  const char *command = json_str_or(call->command, "command", "");
  if (map_get(&call->desk->extras, command)) return true;
  for (const char *const *n = names; *n; n++)
    if (strcmp(*n, command) == 0) return true;
  return false;
}

struct seeking {
  struct call *call;
  call_cb *go_on;
  char exercise[ID_INCIDENT]; /* the incident's own id until its first entry is read */
};

static void seeking_end(struct seeking *s, const struct err *err) {
  struct call *call = s->call;
  call_cb *go_on = s->go_on;
  free(s);
  if (err) call_fail(call, err);
  else go_on(call);
}

static void nobody_plays(struct seeking *s) {
  struct err err;
  err_set(&err, ERR_CONFLICT,
          "%s is of an exercise that is not played any more: it is over, or could not go on. It can be looked at, reported and exported, "
          "and corrective actions taken on",
          s->exercise);
  seeking_end(s, only_looks(s->call) ? NULL : &err);
}

static void on_player(void *arg, const struct redis_value *reply, const struct err *err) {
  struct seeking *s = arg;
  struct call *call = s->call;
  const struct nodes *nodes = call->desk->deps.nodes;
  const char *node = err || redis_type(reply) != REDIS_STRING ? "" : redis_string(reply, NULL);
  struct err gone;
  enum node_state state = *node ? nodes_state(nodes, node) : NODE_SELF;
  if (err) {
    seeking_end(s, err);
  } else if (state == NODE_SELF) { /* nobody's; or this node's, which has not got it */
    nobody_plays(s);
  } else if (state == NODE_ALIVE) {
    free(s);
    call_forward(call, node);
  } else {
    err_set(&gone, ERR_UNAVAILABLE, "%s was played at node %s, which is gone; another takes it over: try again in a moment", s->exercise,
            node);
    seeking_end(s, &gone);
  }
}

/* Its first entry says whose it is; the exercise's own is nobody's. */
static bool on_first(void *arg, const struct entry *e) {
  struct seeking *s = arg;
  const char *exercise = json_str(e->body, "exercise");
  if (exercise) snprintf(s->exercise, sizeof s->exercise, "%.*s", ID_INCIDENT - 1, exercise);
  return false;
}

static void on_first_read(void *arg, const struct err *err) {
  struct seeking *s = arg;
  struct err why;
  if (err && err->code == ERR_CONFLICT) nobody_plays(s); /* it has left Redis: it is over */
  else if (err) seeking_end(s, err);
  else if (redis_call(s->call->desk->deps.redis, 0, on_player, s, &why, "HGET", EXERCISES_RUNNING, s->exercise, NULL) < 0)
    seeking_end(s, &why);
}

static void seek(struct call *call, call_cb *go_on, const char *id) {
  struct seeking *s = calloc(1, sizeof *s);
  struct err err;
  if (!s) abort();
  *s = (struct seeking){.call = call, .go_on = go_on};
  snprintf(s->exercise, sizeof s->exercise, "%.*s", ID_INCIDENT - 1, id);
  if (!call->desk->post) nobody_plays(s);
  else if (journal_read(call->desk->deps.store, id, 1, 1, on_first, on_first_read, s, &err) < 0) seeking_end(s, &err);
}

void call_to_exercise(struct call *call, call_cb *go_on) {
  char id[ID_INCIDENT];
  struct desk *d = call->desk, *theirs = NULL;
  struct err err;
  if (d->deps.exercise || !d->door_cb || !call_about(call, id) || !id_exercise(id)) {
    go_on(call);
  } else if (d->door_cb(d->door_arg, id, &theirs, &err) < 0) {
    call_fail(call, &err);
  } else if (!theirs) {
    seek(call, go_on, id);
  } else {
    if (!map_get(&d->extras, json_str_or(call->command, "command", ""))) call->desk = theirs;
    go_on(call);
  }
}

bool incident_belongs(const struct incident *inc) {
  const char *exercise = inc->desk->deps.exercise;
  return !exercise || strcmp(inc->id, exercise) == 0 || strcmp(json_str_or(journal_state(inc->journal), "exercise", ""), exercise) == 0;
}

bool incident_at_rest(const struct incident *inc) { return id_exercise(inc->id) && !inc->desk->deps.exercise && inc->desk->door_cb; }

void incident_journal(struct incident *inc) {
  const struct desk_deps *deps = &inc->desk->deps;
  if (deps->on_journal) deps->on_journal(deps->journal_arg, inc->journal);
}

/* --- the exercise's own journal ---------------------------------------------------------------------------------------- */

struct owning {
  desk_own_cb *cb;
  void *arg;
};

static void on_own(struct incident *inc, void *arg, const struct err *err) {
  struct owning *o = arg;
  if (!err) {
    incident_busy(inc, 1); /* it stays */
    inc->desk->own = inc;
    inc->desk->deps.node = inc->journal;
  }
  o->cb(o->arg, err ? NULL : inc->journal, err);
  free(o);
}

void desk_own(struct desk *d, bool fresh, desk_own_cb *cb, void *arg) {
  struct owning *o = calloc(1, sizeof *o);
  if (!o) abort();
  *o = (struct owning){cb, arg};
  if (fresh) incident_place(d, d->deps.exercise, true);
  incident_with(d, d->deps.exercise, fresh, on_own, o);
}

/* --- its clock ----------------------------------------------------------------------------------------------------------- */

static bool incident_rests(const struct incident *inc) {
  const struct held_run *h;
  if (inc->loading || inc->recovering || inc->lost || !STAILQ_EMPTY(&inc->ops) || !inc->journal || !journal_idle(inc->journal))
    return false;
  LIST_FOREACH(h, &inc->runs, next) if (!run_waits(h->run)) return false;
  return true;
}

bool desk_rests(const struct desk *d) {
  size_t at = 0;
  void *value;
  while (map_next(&d->incidents, &at, NULL, &value))
    if (!incident_rests(value)) return false;
  return actions_rest(d->deps.actions);
}

static int64_t least(int64_t a, int64_t b) { return b && b < a ? b : a; }

int64_t desk_due(const struct desk *d) {
  size_t at = 0;
  void *value;
  int64_t due = least(questions_due(d->deps.questions), actions_due(d->deps.actions));
  while (map_next(&d->incidents, &at, NULL, &value)) {
    const struct held_run *h;
    LIST_FOREACH(h, &((struct incident *)value)->runs, next) due = least(due, run_due(h->run));
  }
  return due;
}

void desk_clock_moved(struct desk *d) {
  size_t at = 0;
  void *value;
  while (map_next(&d->incidents, &at, NULL, &value)) {
    const struct held_run *h;
    LIST_FOREACH(h, &((struct incident *)value)->runs, next) run_clock_moved(h->run);
  }
  questions_clock_moved(d->deps.questions);
  actions_clock_moved(d->deps.actions);
}

void desk_cancel_runs(struct desk *d, const char *by, const char *because) {
  size_t at = 0;
  void *value;
  while (map_next(&d->incidents, &at, NULL, &value)) {
    struct held_run *h, *next;
    for (h = LIST_FIRST(&((struct incident *)value)->runs); h; h = next) {
      next = LIST_NEXT(h, next);
      run_cancel(h->run, by, because);
    }
  }
}

/* --- its end --------------------------------------------------------------------------------------------------------------- */

static bool unused(const struct incident *inc) {
  bool own = strcmp(inc->id, inc->desk->deps.exercise ? inc->desk->deps.exercise : "") == 0;
  return incident_rests(inc) && LIST_EMPTY(&inc->runs) && inc->busy <= own;
}

bool desk_let_go(struct desk *d) {
  size_t at = 0;
  void *value;
  bool all = true;
  while (map_next(&d->incidents, &at, NULL, &value))
    if (!incident_rests(value) || !LIST_EMPTY(&((struct incident *)value)->runs)) return false;
  actions_orphan(d->deps.actions, NULL);
  for (at = 0; map_next(&d->incidents, &at, NULL, &value);) questions_forget(d->deps.questions, ((struct incident *)value)->journal);
  for (at = 0; map_next(&d->incidents, &at, NULL, &value);) all = all && unused(value);
  return all;
}

void desk_give_up(struct desk *d) {
  size_t at = 0;
  const char *id;
  void *value;
  d->given_up = true;
  while (map_next(&d->incidents, &at, &id, &value)) desk_lost(d, id);
}

static void on_note(struct incident *inc, void *arg, const struct err *err) {
  char *text = arg;
  if (!err && journal_seq(inc->journal))
    journal_add(inc->journal, KIND_INCIDENT_NOTED, "engine", 0, NULL, json_pack("{s:s}", "text", text));
  free(text);
}

void desk_note(struct desk *d, const char *incident, const char *text) { incident_with(d, incident, false, on_note, strdup(text)); }

/* --- rows ------------------------------------------------------------------------------------------------------------------ */

struct rowing {
  struct desk *desk;
  desk_rows_cb *cb;
  void *arg;
};

static void on_states(void *arg, const json_t *states, const struct err *err) {
  struct rowing *r = arg;
  json_t *rows = json_array(), *state;
  size_t i;
  json_array_foreach(states, i, state) json_array_append_new(rows, view_row(r->desk, json_str_or(state, "id", ""), state));
  r->cb(r->arg, err ? NULL : rows, err);
  json_decref(rows);
  free(r);
}

void desk_rows(struct desk *d, json_t *ids_take, desk_rows_cb *cb, void *arg) {
  struct rowing *r = calloc(1, sizeof *r);
  if (!r) abort();
  *r = (struct rowing){d, cb, arg};
  desk_list_of(d, ids_take, on_states, r);
}
