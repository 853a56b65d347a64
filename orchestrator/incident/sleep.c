#include "incident/sleep.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "incident/internal.h"
#include "journal/item.h"

enum {
  LOOK_MS = 50,
  LOOK_MOST = 512,     /* incidents looked at in one go */
  AWAKE_US = 200000,   /* between two looks at the same one */
  SOON_US = 5000000,   /* what is due before that stays awake */
  WAKING_AT_ONCE = 16, /* of those that are due */
  AGAIN_US = 5000000,  /* after a waking that failed */
  NAP_MS = 30000,      /* the longest time between two looks at the clock, which may be set */
  TRIM_MS = 2000,      /* after somebody fell asleep memory goes back to the system */
  HELD_MS = 200,       /* while one suspect is tried alone nobody is woken */
  CHECKING = 1000      /* journals asked for their length at once */
};

struct sleeper {
  int64_t due, slept, asked; /* µs; due INT64_MAX: only people or alerts wake it */
  uint64_t seq;              /* its journal's last entry */
  size_t at;                 /* in the heap */
  unsigned runs, questions;  /* that sleep */
  bool by_question;          /* due is a question's deadline, which outages move */
  TAILQ_ENTRY(sleeper) next;
  char id[ID_INCIDENT];
};

struct sleepers {
  struct desk *desk;
  char key[KEY_TEXT]; /* the index */
  struct map by_id;
  TAILQ_HEAD(, sleeper) all; /* in the order of falling asleep */
  struct sleeper **heap;     /* the next due first */
  size_t count, size, waking;
  int64_t runs, questions;
  struct timer *alarm, *look, *trim;
  TAILQ_HEAD(, incident) awake; /* with runs, those looked at longest ago first */
};

static int64_t now_of(const struct sleepers *s) { return clock_wall(s->desk->deps.store->clock); }

/* --- the heap of deadlines --------------------------------------------------------------------------------------- */

static void heap_set(struct sleepers *s, size_t at, struct sleeper *x) {
  s->heap[at] = x;
  x->at = at;
}

static void heap_up(struct sleepers *s, struct sleeper *x) {
  size_t at = x->at;
  for (; at && s->heap[(at - 1) / 2]->due > x->due; at = (at - 1) / 2) heap_set(s, at, s->heap[(at - 1) / 2]);
  heap_set(s, at, x);
}

static void heap_down(struct sleepers *s, struct sleeper *x) {
  size_t at = x->at;
  for (size_t child; (child = 2 * at + 1) < s->count; at = child) {
    if (child + 1 < s->count && s->heap[child + 1]->due < s->heap[child]->due) child++;
    if (s->heap[child]->due >= x->due) break;
    heap_set(s, at, s->heap[child]);
  }
  heap_set(s, at, x);
}

static void heap_add(struct sleepers *s, struct sleeper *x) {
  if (s->count == s->size) {
    s->size = s->size ? s->size * 2 : 1024;
    s->heap = realloc(s->heap, s->size * sizeof(struct sleeper *));
    if (!s->heap) abort();
  }
  x->at = s->count++;
  heap_up(s, x);
}

static void heap_remove(struct sleepers *s, const struct sleeper *x) {
  struct sleeper *last = s->heap[--s->count];
  if (last == x) return;
  heap_set(s, x->at, last);
  heap_up(s, last);
  heap_down(s, last);
}

static void heap_move(struct sleepers *s, struct sleeper *x, int64_t due) {
  x->due = due;
  heap_up(s, x);
  heap_down(s, x);
}

/* --- the set ------------------------------------------------------------------------------------------------------ */

static void alarm_set(struct sleepers *s);

struct sleepers *sleepers_new(struct desk *d) {
  struct sleepers *s = calloc(1, sizeof *s);
  if (!s) abort();
  s->desk = d;
  snprintf(s->key, sizeof s->key, "tocsin:asleep:%s", d->deps.store->node ? d->deps.store->node : "");
  map_init(&s->by_id);
  TAILQ_INIT(&s->all);
  TAILQ_INIT(&s->awake);
  return s;
}

void sleepers_free(struct sleepers *s) {
  if (!s) return;
  timer_free(s->alarm);
  timer_free(s->look);
  timer_free(s->trim);
  map_release(&s->by_id, free);
  free(s->heap);
  free(s);
}

static void add(struct sleepers *s, struct sleeper *x) {
  sleepers_drop(s, x->id);
  map_put(&s->by_id, x->id, x);
  TAILQ_INSERT_TAIL(&s->all, x, next);
  heap_add(s, x);
  s->runs += x->runs;
  s->questions += x->questions;
}

void sleepers_drop(struct sleepers *s, const char *id) {
  struct sleeper *x = map_remove(&s->by_id, id);
  if (!x) return;
  heap_remove(s, x);
  TAILQ_REMOVE(&s->all, x, next);
  s->runs -= x->runs;
  s->questions -= x->questions;
  free(x);
}

bool sleepers_have(const struct sleepers *s, const char *id) { return map_get(&s->by_id, id) != NULL; }
uint64_t sleepers_seq(const struct sleepers *s, const char *id) {
  const struct sleeper *x = map_get(&s->by_id, id);
  return x ? x->seq : 0;
}
size_t sleepers_count(const struct sleepers *s) { return s->count; }
int64_t sleepers_runs(const struct sleepers *s) { return s->runs; }
int64_t sleepers_questions(const struct sleepers *s) { return s->questions; }

json_t *sleepers_asking(const struct sleepers *s, size_t limit) {
  json_t *ids = json_array();
  const struct sleeper *x;
  TAILQ_FOREACH(x, &s->all, next) {
    if (json_array_size(ids) >= limit) break;
    if (x->questions) json_array_append_new(ids, json_string(x->id));
  }
  return ids;
}

/* --- falling asleep ------------------------------------------------------------------------------------------------ */

/* The questions of its runs are all that it asks; a question about something in doubt, say, is no plain waiting. */
static bool only_asks(const json_t *state, struct sleeper *x) {
  const char *at;
  json_t *q;
  json_object_foreach(json_object_get(state, "questions"), at, q) {
    int64_t asked = json_int_or(q, "asked", 0);
    if (strcmp(json_str_or(q, "kind", ""), "ask") != 0) return false;
    x->questions++;
    if (!x->asked || asked < x->asked) x->asked = asked;
  }
  return json_object_size(json_object_get(state, "intents")) == 0 && json_object_size(json_object_get(state, "held")) == 0;
}

static bool all_wait(const struct incident *inc, struct sleeper *x) {
  const struct held_run *h;
  LIST_FOREACH(h, &inc->runs, next) {
    int64_t due = 0;
    bool by_question = false;
    if (!run_sleeps(h->run, &due, &by_question)) return false;
    x->runs++;
    if (!due || due >= x->due) continue;
    x->due = due;
    x->by_question = by_question;
  }
  return x->runs > 0;
}

static bool is_quiet(const struct sleepers *s, const struct incident *inc) {
  if (s->desk->deps.exercise || s->desk->alone.holding || inc->loading || inc->lost || inc->recovering || inc->leaving || inc->put_off ||
      inc->busy || inc->retelling)
    return false;
  return inc->journal && STAILQ_EMPTY(&inc->ops) && journal_idle(inc->journal) && !journal_comparing(inc->journal) &&
         !journal_uncertain(inc->journal);
}

/* Those of its runs that sleep already sleep as before. */
static bool can_sleep(struct sleepers *s, struct incident *inc, struct sleeper *x) {
  const struct sleeper *before = inc->dozing ? map_get(&s->by_id, inc->id) : NULL;
  if (!is_quiet(s, inc) || (inc->dozing && !before)) return false;
  *x = (struct sleeper){.due = INT64_MAX, .slept = now_of(s)};
  if (before) *x = (struct sleeper){.due = before->due, .by_question = before->by_question, .runs = before->runs, .slept = x->slept};
  if (!all_wait(inc, x) || !only_asks(incident_state(inc), x) || x->due < x->slept + SOON_US) return false;
  x->seq = journal_seq(inc->journal);
  return true;
}

/* The incident's own lane: whatever wakes it comes later. Lost, it costs one replay after a crash. */
static void index_add(struct sleepers *s, const struct sleeper *x) {
  char value[160];
  snprintf(value, sizeof value, "%" PRIu64 " %" PRId64 " %" PRId64 " %" PRId64 " %u %u %d", x->seq, x->due, x->slept, x->asked, x->runs,
           x->questions, x->by_question);
  redis_call(s->desk->deps.redis, redis_lane(s->desk->deps.redis, x->id), NULL, NULL, NULL, "HSET", s->key, x->id, value, NULL);
}

static void trim(void *arg) {
  struct sleepers *s = arg;
  timer_free(s->trim);
  s->trim = NULL;
  script_trim();
  malloc_trim(0);
}

static void fall_asleep(struct sleepers *s, struct incident *inc, const struct sleeper *as) {
  struct sleeper *x = malloc(sizeof *x);
  if (!x) abort();
  *x = *as;
  snprintf(x->id, sizeof x->id, "%s", inc->id);
  journal_store_state(inc->journal);
  incident_let_sleep(inc);
  index_add(s, x);
  add(s, x);
  if (!s->trim) s->trim = timer_start(s->desk->deps.loop, TRIM_MS, trim, s);
}

static void look(void *arg) {
  struct sleepers *s = arg;
  int64_t now = clock_boot(clock_system());
  struct incident *inc;
  struct sleeper as;
  timer_free(s->look);
  s->look = NULL;
  for (size_t i = 0; i < LOOK_MOST && (inc = TAILQ_FIRST(&s->awake)) && now - inc->looked_at >= AWAKE_US; i++) {
    if (LIST_EMPTY(&inc->runs) && !inc->dozing) {
      sleepers_unwatch(s, inc);
    } else if (can_sleep(s, inc, &as)) {
      fall_asleep(s, inc, &as);
    } else {
      inc->looked_at = now;
      TAILQ_REMOVE(&s->awake, inc, awake);
      TAILQ_INSERT_TAIL(&s->awake, inc, awake);
    }
  }
  alarm_set(s);
  if (!TAILQ_EMPTY(&s->awake)) s->look = timer_start(s->desk->deps.loop, LOOK_MS, look, s);
}

void sleepers_watch(struct sleepers *s, struct incident *inc) {
  if (inc->watched) return;
  inc->watched = true;
  inc->looked_at = clock_boot(clock_system());
  TAILQ_INSERT_TAIL(&s->awake, inc, awake);
  if (!s->look) s->look = timer_start(s->desk->deps.loop, LOOK_MS, look, s);
}

void sleepers_unwatch(struct sleepers *s, struct incident *inc) {
  if (!inc->watched) return;
  TAILQ_REMOVE(&s->awake, inc, awake);
  inc->watched = false;
}

/* --- waking ----------------------------------------------------------------------------------------------------------- */

struct waking {
  sleepers_cb *cb;
  void *arg;
};

static void on_removed(void *arg, const struct redis_value *reply, const struct err *err) {
  struct waking *w = arg;
  w->cb(w->arg, err);
  free(w);
}

int sleepers_wake(struct sleepers *s, const char *id, sleepers_cb *cb, void *arg, struct err *err) {
  struct redis *redis = s->desk->deps.redis;
  struct waking *w = calloc(1, sizeof *w);
  if (!w) abort();
  *w = (struct waking){cb, arg};
  int r = redis_call(redis, redis_lane(redis, id), on_removed, w, err, "HDEL", s->key, id, NULL);
  if (r < 0) free(w);
  return r;
}

/* When a question or a wait of its state is due, after all that has befallen the clock; false: its journal does not tell any more. */
static bool due_of(const struct sleepers *s, const json_t *one, bool by_question, int64_t *ret_due) {
  const struct lapses *lapses = questions_lapses(s->desk->deps.questions);
  int64_t due = json_int_or(one, by_question ? "deadline" : "until", 0), within = json_int_or(one, "ms", json_int_or(one, "within", 0));
  bool cut = false;
  *ret_due = INT64_MAX;
  if (!due || (by_question && !json_str(one, "otherwise"))) return true;
  if (by_question) *ret_due = lapses_deadline(lapses, json_int_or(one, "asked", 0), due, &cut);
  else *ret_due = lapses_until(lapses, due - within * 1000, due, &cut);
  return !cut && (by_question || within);
}

static const char *const waiting[] = {"waits", "questions"};

/* Those of its runs whose time has come. */
static enum wakes due_wakes(const struct incident *inc, const void *arg, json_t *runs) {
  const struct sleepers *s = arg;
  int64_t now = now_of(s), due;
  const char *at;
  json_t *one;
  for (int question = 0; question < 2; question++)
    json_object_foreach(json_object_get(journal_state(inc->journal), waiting[question]), at, one) {
      if (!due_of(s, one, question, &due) || due <= now) incident_wake(inc, at, runs);
    }
  return json_object_size(runs) ? WAKES_SOME : WAKES_NONE;
}

static void rest_of(const struct sleepers *s, const struct incident *inc, struct sleeper *x) {
  const json_t *state = journal_state(inc->journal);
  const char *at;
  char number[16];
  json_t *one;
  int64_t due;
  json_object_foreach(json_object_get(state, "runs"), at, one) x->runs += incident_run_sleeps(inc, at, number);
  for (int question = 0; question < 2; question++) json_object_foreach(json_object_get(state, waiting[question]), at, one) {
      if (!incident_run_sleeps(inc, at, number)) continue;
      x->questions += question != 0;
      if (question && (!x->asked || json_int_or(one, "asked", 0) < x->asked)) x->asked = json_int_or(one, "asked", 0);
      if (!due_of(s, one, question, &due)) due = 0;
      if (due >= x->due) continue;
      x->due = due;
      x->by_question = question;
    }
}

void sleepers_stay(struct sleepers *s, struct incident *inc) {
  struct sleeper *x = map_get(&s->by_id, inc->id), rest = {.due = INT64_MAX};
  if (x) {
    rest_of(s, inc, &rest);
    s->runs += (int64_t)rest.runs - x->runs;
    s->questions += (int64_t)rest.questions - x->questions;
    x->runs = rest.runs;
    x->questions = rest.questions;
    x->asked = rest.asked;
    x->slept = now_of(s);
    x->by_question = rest.by_question;
    heap_move(s, x, rest.due);
    alarm_set(s);
  }
  sleepers_watch(s, inc);
}

static void ring(void *arg);

static void alarm_set(struct sleepers *s) {
  timer_free(s->alarm);
  s->alarm = NULL;
  if (!s->count || s->waking >= WAKING_AT_ONCE) return; /* the next that is awake sets it */
  int64_t due = s->heap[0]->due, now = now_of(s), left = due > now ? (due - now) / 1000 + 1 : 0;
  s->alarm = timer_start(s->desk->deps.loop, left < NAP_MS ? left : NAP_MS, ring, s);
}

static void on_awake(struct incident *inc, void *arg, const struct err *err) {
  struct sleepers *s = arg;
  s->waking--;
  if (!err && inc->dozing) sleepers_stay(s, inc);
  if (!err || err->code != ERR_CANCELLED) alarm_set(s);
}

/* One that cannot be loaded now is due again in a while. */
static void ring(void *arg) {
  struct sleepers *s = arg;
  questions_look(s->desk->deps.questions, s->desk->deps.store->clock);
  int64_t now = now_of(s);
  if (s->desk->alone.holding) {
    timer_free(s->alarm);
    s->alarm = timer_start(s->desk->deps.loop, HELD_MS, ring, s);
    return;
  }
  s->waking++; /* this call itself: nobody sets the alarm meanwhile */
  while (s->count && s->waking <= WAKING_AT_ONCE && s->heap[0]->due <= now) {
    struct sleeper *x = s->heap[0];
    heap_move(s, x, now + AGAIN_US);
    s->waking++;
    incident_with_some(s->desk, x->id, false, due_wakes, on_awake, s);
  }
  s->waking--;
  alarm_set(s);
}

void sleepers_lapse(struct sleepers *s, const struct lapse *one) {
  for (size_t i = 0; i < s->count; i++) {
    struct sleeper *x = s->heap[i];
    if (one->step || x->by_question) lapse_open(one, &x->slept, &x->due);
  }
  for (size_t i = s->count / 2; i > 0; i--) heap_down(s, s->heap[i - 1]);
  alarm_set(s);
}

/* --- after a restart --------------------------------------------------------------------------------------------------- */

struct reading {
  struct sleepers *s;
  json_t *found; /* [id, value, …] of pages still to be checked */
  size_t at, checking;
  char cursor[32];
  bool last, paging;
  size_t refused;
  sleepers_cb *cb;
  void *arg;
};

struct checking {
  struct reading *r;
  struct sleeper *x;
};

static int page_ask(struct reading *r, struct err *err);

static void reading_end(struct reading *r, const struct err *err) {
  if (r->refused) log_notice("%zu of the sleeping incidents went on after they had fallen asleep; they are taken up", r->refused);
  if (r->s->count) log_notice("%zu incidents sleep until they are woken", r->s->count);
  alarm_set(r->s);
  r->cb(r->arg, err);
  json_decref(r->found);
  free(r);
}

static void check_more(struct reading *r);

static void on_end(void *arg, const struct redis_value *reply, const struct err *err) {
  struct checking *c = arg;
  const char *leaf;
  struct reading *r = c->r;
  const struct lapses *lapses = questions_lapses(r->s->desk->deps.questions);
  bool fits = !err && item_end(redis_item(reply, 0), &leaf) == c->x->seq;
  if (fits) {
    c->x->due =
        c->x->by_question ? lapses_deadline(lapses, c->x->slept, c->x->due, NULL) : lapses_until(lapses, c->x->slept, c->x->due, NULL);
    add(r->s, c->x);
  } else {
    struct redis *redis = r->s->desk->deps.redis;
    r->refused++;
    if (!err) redis_call(redis, redis_lane(redis, c->x->id), NULL, NULL, NULL, "HDEL", r->s->key, c->x->id, NULL);
    free(c->x);
  }
  free(c);
  r->checking--;
  check_more(r);
}

static struct sleeper *parse(const char *id, const char *value) {
  struct sleeper *x = calloc(1, sizeof *x);
  struct id parsed;
  int by_question = 0;
  if (!x) abort();
  snprintf(x->id, sizeof x->id, "%s", id);
  if (id_parse(id, &parsed) && sscanf(value, "%" SCNu64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %u %u %d", &x->seq, &x->due, &x->slept,
                                      &x->asked, &x->runs, &x->questions, &by_question) == 7) {
    x->by_question = by_question != 0;
    return x;
  }
  free(x);
  return NULL;
}

/* An entry that cannot be checked is not believed: its incident is replayed. */
static void check(struct reading *r, const char *id, const char *value) {
  struct redis *redis = r->s->desk->deps.redis;
  struct sleeper *x = parse(id, value);
  struct checking *c = x ? calloc(1, sizeof *c) : NULL;
  char key[KEY_TEXT];
  if (!c) return;
  *c = (struct checking){r, x};
  snprintf(key, sizeof key, "tocsin:{%s}:journal", id);
  r->checking++;
  if (redis_call(redis, redis_lane(redis, id), on_end, c, NULL, "XREVRANGE", key, "+", "-", "COUNT", "1", NULL) == 0) return;
  r->checking--;
  free(x);
  free(c);
}

static void check_more(struct reading *r) {
  struct err err;
  while (r->checking < CHECKING && r->at + 1 < json_array_size(r->found)) {
    r->at += 2;
    check(r, json_string_value(json_array_get(r->found, r->at - 2)), json_string_value(json_array_get(r->found, r->at - 1)));
  }
  if (r->paging || r->checking || r->at + 1 < json_array_size(r->found)) return;
  if (r->last) reading_end(r, NULL);
  else if (page_ask(r, &err) < 0) reading_end(r, &err);
}

static void on_page(void *arg, const struct redis_value *reply, const struct err *err) {
  struct reading *r = arg;
  const struct redis_value *pairs = redis_item(reply, 1);
  r->paging = false;
  if (err) {
    reading_end(r, err);
    return;
  }
  snprintf(r->cursor, sizeof r->cursor, "%s", redis_string(redis_item(reply, 0), NULL));
  r->last = strcmp(r->cursor, "0") == 0;
  json_array_clear(r->found);
  r->at = 0;
  for (size_t i = 0; i + 1 < redis_count(pairs); i += 2) {
    json_array_append_new(r->found, json_string(redis_string(redis_item(pairs, i), NULL)));
    json_array_append_new(r->found, json_string(redis_string(redis_item(pairs, i + 1), NULL)));
  }
  check_more(r);
}

static int page_ask(struct reading *r, struct err *err) {
  r->paging = true;
  return redis_call(r->s->desk->deps.redis, 0, on_page, r, err, "HSCAN", r->s->key, r->cursor, "COUNT", "2000", NULL);
}

int sleepers_load(struct sleepers *s, sleepers_cb *cb, void *arg, struct err *err) {
  struct reading *r = calloc(1, sizeof *r);
  if (!r) abort();
  *r = (struct reading){.s = s, .found = json_array(), .cursor = "0", .cb = cb, .arg = arg};
  int result = page_ask(r, err);
  if (result < 0) {
    json_decref(r->found);
    free(r);
  }
  return result;
}
