/* One exercise from its first entry to its last: rooms of its own, taken down when nobody is in them any more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "exercise/exercise.h"
#include "exercise/internal.h"

enum { AGAIN_MS = 20 };

/* --- what has happened --------------------------------------------------------------------------------------------- */

static void barrier(struct exercise *x);

static struct record_of *record_for(struct exercise *x, const char *id) {
  for (size_t i = 0; i < x->count; i++)
    if (strcmp(x->records[i].id, id) == 0) return &x->records[i];
  x->records = realloc(x->records, (x->count + 1) * sizeof *x->records);
  x->journals = realloc(x->journals, (x->count + 1) * sizeof *x->journals);
  if (!x->records || !x->journals) abort();
  struct record_of *r = &x->records[x->count++];
  *r = (struct record_of){.count = 0};
  snprintf(r->id, sizeof r->id, "%s", id);
  return r;
}

/* Without head and envelope: only what it says is read again. */
static void record_add(struct exercise *x, const char *id, const struct entry *e) {
  struct record_of *r = record_for(x, id);
  if (e->seq != r->count + 1) return; /* known already */
  if (r->count == r->cap) {
    r->cap = r->cap ? 2 * r->cap : 64;
    r->entries = realloc(r->entries, r->cap * sizeof(struct entry *));
    if (!r->entries) abort();
  }
  struct entry *copy = malloc(sizeof *copy);
  if (!copy) abort();
  *copy = *e;
  copy->head = copy->envelope = NULL;
  copy->head_len = copy->envelope_len = 0;
  copy->body = json_incref(entry_body(e));
  r->entries[r->count++] = copy;
  x->changed = true;
}

static void on_entry(void *arg, struct journal *j, const struct entry *e) {
  struct exercise *x = arg;
  record_add(x, journal_incident(j), e);
}

static void on_journal(void *arg, struct journal *j) { journal_watch(j, on_entry, arg); }

struct scenario_play exercise_play(const struct exercise *x) {
  for (size_t i = 0; i < x->count; i++)
    x->journals[i] = (struct scenario_journal){x->records[i].id, x->records[i].entries, x->records[i].count};
  return (
      struct scenario_play){.journals = x->journals, .count = x->count, .started = x->began, .roles = json_object_get(x->started, "roles")};
}

int64_t exercise_now(const struct exercise *x) { return clock_wall(&x->clock.clock); }
double exercise_speed(const struct exercise *x) { return x->clock.speed; }
const char *exercise_player(const struct exercise *x, const char *role) { return json_str(json_object_get(x->started, "roles"), role); }

bool exercise_is(const struct exercise *x, const char *incident) {
  for (size_t i = 0; i < x->count; i++)
    if (strcmp(x->records[i].id, incident) == 0) return true;
  return strcmp(x->id, incident) == 0;
}

static bool is_closed(const struct record_of *r) {
  bool closed = false;
  for (size_t i = 0; i < r->count; i++) {
    if (r->entries[i]->kind == KIND_INCIDENT_CLOSED || r->entries[i]->kind == KIND_INCIDENT_MERGED) closed = true;
    if (r->entries[i]->kind == KIND_INCIDENT_REOPENED) closed = false;
  }
  return closed;
}

const char *exercise_incident(const struct exercise *x) {
  for (size_t i = 1; i < x->count; i++)
    if (!is_closed(&x->records[i])) return x->records[i].id;
  return x->id;
}

/* --- rooms ------------------------------------------------------------------------------------------------------------- */

static void wind_down(void *arg);

static void on_intake_stopped(void *arg) {}

void exercise_give_up(struct exercise *x) {
  if (!x->desk || x->stopped || x->elsewhere) return;
  log_warning("%s is played at another node now", x->id);
  x->elsewhere = true;
  if (x->stage != STAGE_PLAYING) return;
  x->stage = STAGE_CLOSING;
  timer_free(x->timer);
  clock_pause(&x->clock);
  intake_stop(x->intake, on_intake_stopped, x);
  desk_give_up(x->desk);
  x->timer = timer_start(x->hall->deps.loop, AGAIN_MS, wind_down, x);
}

/* Somebody else has written to its journal: it cannot go on, and can say so no more. */
static void give_up(void *arg) { exercise_give_up(arg); }

static void on_lost(void *arg, struct journal *j, const struct err *why) {
  struct exercise *x = arg;
  log_error("%s", why->text);
  desk_lost(x->desk, journal_incident(j));
  if (strcmp(journal_incident(j), x->id) == 0) loop_defer(x->hall->deps.loop, give_up, x);
}

/* Those that were in force when it began. */
static int list_look(void *arg, void *lists, int64_t now, const char *what, const json_t *args, json_t **ret, struct err *err) {
  return lists_look(((struct exercise *)arg)->content.lists, now, what, args, ret, err);
}

static bool alert_matches(void *arg, void *lists, int64_t now, const json_t *when, const json_t *alert) {
  return lists_alert_fits(((struct exercise *)arg)->content.lists, now, when, alert);
}

static int rooms_make(struct exercise *x, int64_t wall, struct err *err) {
  struct hall_deps *deps = &x->hall->deps;
  double speed = json_number_value(json_object_get(x->started, "speed"));
  int r = clock_scaled_init(&x->clock, deps->clock, wall, speed, err);
  if (r < 0) return r;
  clock_pause(&x->clock); /* until all is there */
  x->store = (struct journal_store){.loop = deps->loop,
                                    .redis = deps->redis,
                                    .secrets = deps->secrets,
                                    .clock = &x->clock.clock,
                                    .node = deps->node,
                                    .arg = x,
                                    .lost = on_lost,
                                    .feed = deps->feed};
  x->transports = transports_new(deps->loop, deps->secrets);
  transports_only_simulate(x->transports, &x->clock.clock);
  x->questions = questions_new(deps->loop, deps->people);
  struct actions_deps actions = {.loop = deps->loop,
                                 .redis = deps->redis,
                                 .secrets = deps->secrets,
                                 .transports = x->transports,
                                 .registry = x->content.registry,
                                 .questions = x->questions,
                                 .people = deps->people,
                                 .guard = json_object_get(x->settings, "guard"),
                                 .seal_key = json_object_get(x->settings, "seal_key"),
                                 .data = deps->data,
                                 .budgets = x->id,
                                 .answers = exercise_answer,
                                 .answers_arg = x};
  x->actions = actions_new(&actions, err);
  if (!x->actions) return err->code;
  struct desk_deps desk = {.store = &x->store,
                           .loop = deps->loop,
                           .redis = deps->redis,
                           .actions = x->actions,
                           .questions = x->questions,
                           .people = deps->people,
                           .registry = x->content.registry,
                           .settings = x->settings,
                           .lists = {.arg = x, .list = list_look, .matches = alert_matches},
                           .exercise = x->id,
                           .on_journal = on_journal,
                           .journal_arg = x,
                           .seed = exercise_seed,
                           .values = path_values};
  x->desk = desk_new(&desk, err);
  if (!x->desk) return err->code;
  desk_set_playbooks(x->desk, x->content.playbooks, deps->runbooks);
  x->content.playbooks = NULL;
  return 0;
}

static void intake_make(struct exercise *x) {
  struct hall_deps *deps = &x->hall->deps;
  struct intake_deps intake = {.loop = deps->loop,
                               .redis = deps->redis,
                               .desk = x->desk,
                               .registry = x->content.registry,
                               .secrets = deps->secrets,
                               .clock = &x->clock.clock,
                               .node = x->journal,
                               .consumer = x->id, /* whoever plays it: what the one before had taken comes again */
                               .settings = x->settings,
                               .exercise = x->id};
  x->intake = intake_new(&intake);
  intake_set_routes(x->intake, x->content.router, x->content.lists, x->content.default_group, x->content.default_window_ms);
  intake_start(x->intake);
}

/* From here on nobody plays it, and its journals are everybody's. */
static void forget_running(struct exercise *x) {
  redis_call(x->hall->deps.redis, 0, NULL, NULL, NULL, "HDEL", EXERCISES_RUNNING, x->id, NULL);
}

/* --- the beginning ------------------------------------------------------------------------------------------------------ */

static void opened(struct exercise *x, const struct err *err) {
  exercise_cb *cb = x->opened_cb;
  x->opened_cb = NULL;
  if (cb) cb(x->opened_arg, x, err);
  if (!err) return;
  x->stage = STAGE_CLOSED;
  barrier(x);
}

/* Nobody is asked whether he has woken up before all is there. */
static void play(struct exercise *x) {
  x->stage = STAGE_PLAYING;
  x->changed = true;
  intake_make(x);
  exercise_inject_again(x);
  scripted_again(x);
  exercise_let_go_on(x);
  opened(x, NULL);
}

static void on_began(void *arg, const struct err *err) {
  struct exercise *x = arg;
  if (err) opened(x, err);
  else play(x);
}

/* The list first: a dangling name in it is harmless, a play that no restart finds is not. */
static void announce(struct exercise *x) {
  struct redis *redis = x->hall->deps.redis;
  char score[24];
  snprintf(score, sizeof score, "%llu", (unsigned long long)x->number);
  redis_call(redis, 0, NULL, NULL, NULL, "ZADD", EXERCISES, score, x->id, NULL);
  redis_call(redis, 0, NULL, NULL, NULL, "HSET", EXERCISES_RUNNING, x->id, x->hall->deps.node, NULL);
}

static void on_own_fresh(void *arg, struct journal *journal, const struct err *err) {
  struct exercise *x = arg;
  const char *by = json_str_or(x->started, "by", "engine");
  if (err) {
    opened(x, err);
    return;
  }
  announce(x);
  x->journal = journal;
  x->began = exercise_now(x);
  journal_save_state(journal);
  journal_add(journal, KIND_INCIDENT_OPENED, by, 0, NULL,
              json_pack("{s:O, s:s, s:s, s:i, s:[]}", "title", json_object_get(x->scenario->json, "title"), "mode", "exercise", "by",
                        "person", "severity_id", 1, "groups"));
  journal_add(journal, KIND_EXERCISE_STARTED, by, 0, NULL, json_deep_copy(x->started));
  journal_when_durable(journal, on_began, x);
}

/* --- going on ------------------------------------------------------------------------------------------------------------- */

static bool paused_now(const struct exercise *x, double *ret_speed) {
  bool paused = false;
  for (size_t i = 0; i < x->records[0].count; i++) {
    const struct entry *e = x->records[0].entries[i];
    if (e->kind == KIND_EXERCISE_PAUSED) paused = true;
    if (e->kind != KIND_EXERCISE_RESUMED) continue;
    if (json_object_get(e->body, "speed")) *ret_speed = json_number_value(json_object_get(e->body, "speed"));
    else paused = false;
  }
  return paused;
}

static void on_desk(void *arg, const struct err *err) {
  struct exercise *x = arg;
  if (err) {
    opened(x, err);
    return;
  }
  x->halted = paused_now(x, &x->clock.speed);
  log_notice("%s goes on", x->id);
  play(x);
}

/* Did the process crash in it? What ends the engine is not played again. */
static bool suspected(const struct exercise *x) {
  const char *suspect = x->hall->deps.suspect;
  size_t n = strlen(x->id);
  return suspect && ((strncmp(suspect, x->id, n) == 0 && suspect[n] == ':') || exercise_is(x, suspect));
}

static void condemn(struct exercise *x) {
  struct err err;
  err_set(&err, ERR_CONFLICT, "%s is broken off: the engine ended while it handled %s", x->id, x->hall->deps.suspect);
  journal_save_state(x->journal);
  journal_add(x->journal, KIND_EXERCISE_ENDED, "engine", 0, NULL, json_pack("{s:s, s:s}", "status", "aborted", "because", err.text));
  forget_running(x);
  opened(x, &err);
}

static void on_own(void *arg, struct journal *journal, const struct err *err) {
  struct exercise *x = arg;
  struct err why;
  x->journal = journal;
  if (err) opened(x, err);
  else if (suspected(x)) condemn(x);
  else if (desk_load(x->desk, on_desk, x, &why) < 0) opened(x, &why);
}

/* All its journals are read: the last entry says what its clock showed. */
static void go_on(struct exercise *x) {
  struct err err;
  int64_t last = 0;
  struct scenario_play recalled;
  for (size_t i = 0; i < x->count; i++)
    if (x->records[i].count && x->records[i].entries[x->records[i].count - 1]->time > last)
      last = x->records[i].entries[x->records[i].count - 1]->time;
  struct scenario_play p = exercise_play(x);
  if (scenario_recall(p.journals, p.count, &x->scenario, &recalled, &err) < 0) {
    opened(x, &err);
    return;
  }
  x->began = recalled.started;
  for (size_t i = 0; i < x->records[0].count; i++) {
    const struct entry *e = x->records[0].entries[i];
    if (e->kind == KIND_EXERCISE_STARTED) x->started = json_incref(e->body);
    if (e->kind != KIND_EXERCISE_ENDED) continue;
    forget_running(x); /* it did not live to say so */
    err_set(&err, ERR_CONFLICT, "%s is over", x->id);
    opened(x, &err);
    return;
  }
  if (rooms_make(x, last, &err) < 0) opened(x, &err);
  else desk_own(x->desk, false, on_own, x);
}

static void read_next(struct exercise *x);

static bool keep_entry(void *arg, const struct entry *e) {
  struct exercise *x = arg;
  record_add(x, json_string_value(json_array_get(x->ids, 0)), e);
  return true;
}

static void on_read(void *arg, const struct err *err) {
  struct exercise *x = arg;
  if (err) {
    opened(x, err);
    return;
  }
  json_array_remove(x->ids, 0);
  read_next(x);
}

static void read_next(struct exercise *x) {
  struct err err;
  if (!json_array_size(x->ids)) go_on(x);
  else if (journal_read(&x->store, json_string_value(json_array_get(x->ids, 0)), 1, 0, keep_entry, on_read, x, &err) < 0) opened(x, &err);
}

static void on_ids(void *arg, const struct redis_value *reply, const struct err *err) {
  struct exercise *x = arg;
  struct id id;
  for (size_t i = 0; !err && i < redis_count(reply); i++) {
    const char *text = redis_string(redis_item(reply, i), NULL);
    if (id_parse(text, &id) && strcmp(text, x->id) != 0) json_array_append_new(x->ids, json_string(text));
  }
  if (err) x->failure = *err;
  if (--x->waiting) return;
  if (x->failure.code) opened(x, &x->failure);
  else read_next(x);
}

static void recall(struct exercise *x) {
  struct hall_deps *deps = &x->hall->deps;
  char open[64], recent[64];
  struct err err;
  snprintf(open, sizeof open, "tocsin:{%s}:open", x->id);
  snprintf(recent, sizeof recent, "tocsin:{%s}:recent", x->id);
  /* Enough of a store to read with; the whole one comes with the clock. */
  x->store = (struct journal_store){
      .loop = deps->loop, .redis = deps->redis, .secrets = deps->secrets, .clock = deps->clock, .node = deps->node, .arg = x};
  x->ids = json_pack("[s]", x->id);
  x->waiting = 3;
  if (redis_call(deps->redis, 0, on_ids, x, &err, "ZRANGE", open, "0", "-1", NULL) < 0) x->waiting--, x->failure = err;
  if (redis_call(deps->redis, 0, on_ids, x, &err, "ZRANGE", recent, "0", "-1", NULL) < 0) x->waiting--, x->failure = err;
  if (--x->waiting == 0) opened(x, &x->failure);
}

static void begin(void *arg) {
  struct exercise *x = arg;
  struct err err;
  struct hall_deps *deps = &x->hall->deps;
  int r = x->content.registry ? 0 : deps->content(deps->arg, &x->content, &err);
  if (r == 0 && !x->started) {
    recall(x);
    return;
  }
  if (r == 0) r = scenario_from_json(json_object_get(x->started, "story"), &x->scenario, &err);
  if (r == 0) r = rooms_make(x, clock_wall(deps->clock), &err);
  if (r < 0) opened(x, &err);
  else desk_own(x->desk, true, on_own_fresh, x);
}

void exercise_open(struct hall *h, const char *id, json_t *started_take, struct hall_content *content, exercise_cb *cb, void *arg) {
  struct exercise *x = calloc(1, sizeof *x);
  struct id parsed = {0};
  if (!x) abort();
  *x = (struct exercise){.hall = h, .started = started_take, .opened_cb = cb, .opened_arg = arg};
  snprintf(x->id, sizeof x->id, "%s", id);
  if (id_parse(id, &parsed)) x->number = parsed.number;
  x->settings = json_deep_copy(h->deps.settings);
  if (content) x->content = *content, *content = (struct hall_content){0};
  record_for(x, id);
  LIST_INSERT_HEAD(&h->all, x, next);
  loop_defer(h->deps.loop, begin, x);
}

/* --- the end ------------------------------------------------------------------------------------------------------------------ */

static void taken_down(void *arg) {
  struct exercise *x = arg;
  x->timer = NULL;
  LIST_REMOVE(x, next);
  exercise_unload(x);
  exercise_free(x);
}

static void barrier_again(void *arg) {
  struct exercise *x = arg;
  timer_free(x->timer);
  x->timer = NULL;
  barrier(x);
}

static void on_barrier(void *arg, const struct redis_value *reply, const struct err *err) {
  struct exercise *x = arg;
  if (err) x->still = 1; /* a lane went: what it owed has been given back, but ask once more */
  if (--x->waiting || x->stopped) return;
  bool rests = !x->desk || (desk_rests(x->desk) && (!x->intake || intake_rests(x->intake)));
  if (x->still || !rests) x->timer = timer_start(x->hall->deps.loop, AGAIN_MS, barrier_again, x);
  else loop_defer(x->hall->deps.loop, taken_down, x);
}

/* Redis answers each lane in order: once this is answered it owes the exercise nothing more. */
static void barrier(struct exercise *x) {
  struct redis *redis = x->hall->deps.redis;
  x->still = 0;
  x->waiting = 1;
  for (unsigned lane = 0; lane < redis_lanes(redis); lane++) {
    if (redis_call(redis, lane, on_barrier, x, NULL, "PING", NULL) == 0) x->waiting++;
    else x->still = 1;
  }
  if (--x->waiting == 0 && !x->stopped) x->timer = timer_start(x->hall->deps.loop, AGAIN_MS, barrier_again, x);
}

/* Every alert is at its end: what kept them apart is not needed any more. */
static void forget_stream(struct exercise *x) {
  static const char *const names[] = {"alerts", "routed", "seen", "seen_in", "group", "counts"};
  char keys[6][64];
  for (size_t i = 0; i < 6; i++) snprintf(keys[i], sizeof keys[i], "tocsin:{%s}:%s", x->id, names[i]);
  redis_call(x->hall->deps.redis, redis_lane(x->hall->deps.redis, keys[0]), NULL, NULL, NULL, "DEL", keys[0], keys[1], keys[2], keys[3],
             keys[4], keys[5], NULL);
}

/* Runs first, also those that an alert has begun that was just being attached; then what waits for people; whoever has asked something has his answer. */
static bool wound_down(struct exercise *x) {
  desk_cancel_runs(x->desk, "engine", "the exercise is over");
  desk_clock_moved(x->desk);
  transports_clock_moved(x->transports);
  return !x->store.unsent && !x->putting && !x->saying && intake_rests(x->intake) && desk_let_go(x->desk);
}

/* What was under way has heard that it is another's. */
static bool out_of_it(struct exercise *x) { return !x->putting && !x->saying && intake_rests(x->intake) && desk_live(x->desk) == 0; }

static void wind_down(void *arg) {
  struct exercise *x = arg;
  timer_free(x->timer);
  x->timer = NULL;
  if (x->stopped) return;
  if (!(x->elsewhere ? out_of_it(x) : wound_down(x))) {
    x->timer = timer_start(x->hall->deps.loop, AGAIN_MS, wind_down, x);
    return;
  }
  x->stage = STAGE_CLOSED;
  if (!x->elsewhere) forget_stream(x), forget_running(x);
  barrier(x);
}

static void tell_incidents(struct exercise *x, const char *because) {
  for (size_t i = 1; i < x->count; i++) desk_note(x->desk, x->records[i].id, because);
}

void exercise_close(struct exercise *x, const char *actor, const char *status, const char *because) {
  char text[400];
  bool aborted = strcmp(status, "aborted") == 0;
  if (x->stage != STAGE_PLAYING) return;
  x->stage = STAGE_CLOSING;
  timer_free(x->timer);
  x->timer = NULL;
  clock_pause(&x->clock);
  journal_save_state(x->journal);
  journal_add(x->journal, KIND_EXERCISE_ENDED, actor, 0, NULL, json_pack("{s:s, s:s}", "status", status, "because", because));
  snprintf(text, sizeof text, "EXERCISE broken off: this is real now. %.300s", because);
  utf8_mend(text, strlen(text));
  if (aborted) tell_incidents(x, text);
  exercise_tell(x, NULL, aborted ? "BROKEN OFF: this is real now" : "is over", aborted ? text : because);
  intake_stop(x->intake, on_intake_stopped, x);
  desk_cancel_runs(x->desk, "engine", aborted ? text : "the exercise is over");
  log_notice("%s is over (%s)", x->id, status);
  x->timer = timer_start(x->hall->deps.loop, AGAIN_MS, wind_down, x);
}

void exercise_unload(struct exercise *x) {
  x->stopped = true;
  timer_free(x->timer);
  x->timer = NULL;
  loop_undefer(x->hall->deps.loop, begin, x);
  loop_undefer(x->hall->deps.loop, give_up, x);
  if (x->desk) desk_unload(x->desk); /* runs let go of their actions before those go */
  if (x->actions) actions_orphan(x->actions, NULL);
  transports_free(x->transports);
  x->transports = NULL;
}

void exercise_free(struct exercise *x) {
  loop_undefer(x->hall->deps.loop, taken_down, x);
  timer_free(x->timer);
  desk_free(x->desk);
  intake_free(x->intake);
  questions_free(x->questions);
  actions_free(x->actions);
  hall_content_release(&x->content);
  scenario_free(x->scenario);
  for (size_t i = 0; i < x->count; i++) {
    for (size_t k = 0; k < x->records[i].count; k++) {
      json_decref(x->records[i].entries[k]->body);
      free(x->records[i].entries[k]);
    }
    free(x->records[i].entries);
  }
  free(x->records);
  free(x->journals);
  json_decref(x->started);
  json_decref(x->settings);
  json_decref(x->ids);
  free(x);
}
