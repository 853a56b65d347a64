#include "action/question.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/json.h"
#include "base/map.h"

enum { REMEMBERED = 4096, LOOK_AGAIN_MS = 60000, ALIVE_MS = 1000 };

struct question {
  struct questions *all;
  struct journal *journal;
  unsigned run;
  char step[ID_STEP], id[ID_PATH];
  json_t *options;
  char *role, *otherwise, *exclude, *kind;
  unsigned approvals;
  json_t *given;           /* people who have approved so far */
  int64_t asked, deadline; /* µs of the journal's clock; deadline 0: none */
  bool held, awake;        /* awake: its deadline cannot be found again in its journal */
  int64_t held_since;
  struct timer *timer;
  question_cb *cb;
  void *arg;
  char *answer, *by; /* once it is decided, until the callback */
  TAILQ_ENTRY(question) next;
};

struct questions {
  struct loop *loop;
  struct people *people;
  struct map open;            /* id -> struct question */
  TAILQ_HEAD(, question) all; /* also those that are decided and whose callback has still to come */
  struct map answered;        /* id -> text of who answered what; the newest few thousand */
  struct lapses lapses;
  struct questions_watch watch; /* clock NULL: nobody keeps time */
  int64_t alive;                /* when Redis was last seen to be there, µs; 0: not yet */
  bool due;                     /* a question waits for that */
  questions_notify_cb *notify_cb;
  void *notify_arg;
};

struct questions *questions_new(struct loop *loop, struct people *people) {
  struct questions *qs = calloc(1, sizeof *qs);
  if (!qs) abort();
  qs->loop = loop;
  qs->people = people;
  map_init(&qs->open);
  map_init(&qs->answered);
  TAILQ_INIT(&qs->all);
  return qs;
}

static void decided(void *arg);

static void question_free(void *value) {
  struct question *q = value;
  loop_undefer(q->all->loop, decided, q);
  TAILQ_REMOVE(&q->all->all, q, next);
  timer_free(q->timer);
  json_decref(q->options);
  json_decref(q->given);
  free(q->role);
  free(q->otherwise);
  free(q->exclude);
  free(q->kind);
  free(q->answer);
  free(q->by);
  free(q);
}

void questions_free(struct questions *qs) {
  if (!qs) return;
  while (!TAILQ_EMPTY(&qs->all)) question_drop(TAILQ_FIRST(&qs->all));
  map_release(&qs->open, NULL);
  map_release(&qs->answered, free);
  free(qs);
}

void questions_on_asked(struct questions *qs, questions_notify_cb *cb, void *arg) {
  qs->notify_cb = cb;
  qs->notify_arg = arg;
}

void question_drop(struct question *q) {
  if (!q) return;
  if (map_get(&q->all->open, q->id) == q) map_remove(&q->all->open, q->id);
  question_free(q);
}

void questions_forget(struct questions *qs, const struct journal *journal) {
  struct question *q, *next;
  for (q = TAILQ_FIRST(&qs->all); q; q = next) {
    next = TAILQ_NEXT(q, next);
    if (q->journal != journal) continue;
    question_cb *cb = q->cb;
    void *arg = q->arg;
    question_drop(q);
    cb(arg, NULL, NULL);
  }
}

static int64_t now_of(const struct question *q) { return clock_wall(journal_store_of(q->journal)->clock); }

/* By the clock that somebody watches. */
static bool keeps_time(const struct question *q) {
  return q->all->watch.clock && q->all->watch.clock == journal_store_of(q->journal)->clock;
}

static void remember(struct question *q, const char *text) {
  if (map_count(&q->all->answered) >= REMEMBERED) map_release(&q->all->answered, free);
  free(map_put(&q->all->answered, q->id, strdup(text)));
}

static void decided(void *arg) {
  struct question *q = arg;
  question_cb *cb = q->cb;
  void *cb_arg = q->arg;
  char *answer = q->answer, *by = q->by;
  q->answer = q->by = NULL;
  question_free(q);
  cb(cb_arg, answer, by);
  free(answer);
  free(by);
}

/* From here on nobody else can answer; the callback comes in the next turn. */
static void decide(struct question *q, const char *answer, const struct person *by) {
  char text[512];
  snprintf(text, sizeof text, "%s answered \"%.200s\"", by ? by->name : "nobody answered in time, so silence", answer);
  remember(q, text);
  map_remove(&q->all->open, q->id);
  timer_free(q->timer);
  q->timer = NULL;
  q->answer = strdup(answer);
  q->by = by ? strdup(by->actor) : NULL;
  loop_defer(q->all->loop, decided, q);
}

static void expire(void *arg);

static void timer_set(struct question *q) {
  timer_free(q->timer);
  q->timer = NULL;
  if (!q->deadline || !q->otherwise || q->held) return;
  int64_t left = (q->deadline - now_of(q)) / 1000;
  q->timer = timer_start(q->all->loop, left <= 0 ? 0 : left < LOOK_AGAIN_MS ? left + 1 : LOOK_AGAIN_MS, expire, q);
}

/* Could somebody have answered until the deadline? Else, or as long as it is not known, it does not expire. */
static bool was_heard(struct question *q) {
  struct questions *qs = q->all;
  if (!keeps_time(q) || qs->alive >= q->deadline) return true;
  timer_free(q->timer);
  q->timer = timer_start(qs->loop, ALIVE_MS, expire, q);
  qs->due = true;
  qs->watch.due(qs->watch.arg);
  return false;
}

static void expire(void *arg) {
  struct question *q = arg;
  questions_look(q->all, journal_store_of(q->journal)->clock);
  if (now_of(q) < q->deadline) { /* an exercise's clock, or a step of the system's */
    timer_set(q);
    return;
  }
  if (!was_heard(q)) return;
  journal_add(q->journal, KIND_QUESTION_EXPIRED, "engine", q->run, q->step, json_pack("{s:s}", "answer", q->otherwise));
  decide(q, q->otherwise, NULL);
}

static json_t *asked_body(const struct question *q, const struct question_spec *spec) {
  json_t *body = json_pack("{s:s, s:s, s:s}", "kind", spec->kind, "text", spec->text, "role", q->role);
  if (spec->options) json_object_set(body, "options", (json_t *)(uintptr_t)spec->options);
  if (q->otherwise) json_object_set_new(body, "otherwise", json_string(q->otherwise));
  if (q->deadline) json_object_set_new(body, "deadline", json_integer(q->deadline));
  if (q->exclude) json_object_set_new(body, "exclude", json_string(q->exclude));
  if (q->approvals > 1) json_object_set_new(body, "approvals", json_integer(q->approvals));
  if (spec->inject) json_object_set_new(body, "inject", json_string(spec->inject));
  if (spec->about) json_object_set(body, "about", (json_t *)(uintptr_t)spec->about);
  return body;
}

static char *copy_or_null(const char *text) { return text ? strdup(text) : NULL; }

struct question *question_ask(struct questions *qs, const struct question_spec *spec, question_cb *cb, void *arg) {
  struct question *q = calloc(1, sizeof *q);
  char at[ID_PATH];
  if (!q) abort();
  *q = (struct question){
      .all = qs, .journal = spec->journal, .run = spec->run, .approvals = spec->approvals ? spec->approvals : 1, .cb = cb, .arg = arg};
  questions_look(qs, journal_store_of(spec->journal)->clock);
  q->asked = now_of(q);
  snprintf(q->step, sizeof q->step, "%s", spec->step);
  id_path(q->id, journal_incident(spec->journal), spec->run, spec->step);
  id_place(at, spec->run, spec->step);
  q->options = spec->options ? json_deep_copy(spec->options) : NULL;
  q->role = strdup(spec->role ? spec->role : "responder");
  q->otherwise = copy_or_null(spec->otherwise);
  q->exclude = copy_or_null(spec->exclude);
  q->kind = strdup(spec->kind);
  const json_t *open = json_object_get(json_object_get(journal_state(spec->journal), "questions"), at);
  /* With another request than the one that was shown it is another question, and who has agreed agreed to the other. */
  bool taken_up = open && strcmp(json_str_or(open, "kind", ""), spec->kind) == 0 &&
                  strcmp(json_str_or(json_object_get(open, "about"), "digest", ""), json_str_or(spec->about, "digest", "")) == 0;
  if (taken_up) {
    q->asked = json_int_or(open, "asked", 0);
    q->deadline = json_int_or(open, "deadline", 0);
    if (!qs->watch.clock || keeps_time(q)) q->deadline = lapses_deadline(&qs->lapses, q->asked, q->deadline, &q->awake);
    q->given = json_deep_copy(json_object_get(open, "given"));
  } else if (spec->within_ms > 0 && spec->otherwise) {
    q->deadline = now_of(q) + spec->within_ms * 1000;
  }
  if (!q->given) q->given = json_array();
  TAILQ_INSERT_TAIL(&qs->all, q, next);
  struct question *before = map_put(&qs->open, q->id, q);
  if (before) question_free(before);
  if (!taken_up) {
    json_t *body = asked_body(q, spec);
    journal_add(spec->journal, KIND_QUESTION_ASKED, spec->actor, spec->run, spec->step, json_incref(body));
    journal_save_state(spec->journal);
    if (qs->notify_cb) qs->notify_cb(qs->notify_arg, spec->journal, q->id, body);
    json_decref(body);
  }
  timer_set(q);
  return q;
}

/* --- time in which nobody could have answered ------------------------------------------------------------------------ */

int64_t questions_deadline(const struct questions *qs, int64_t asked, int64_t deadline) {
  return lapses_deadline(&qs->lapses, asked, deadline, NULL);
}

const struct lapses *questions_lapses(const struct questions *qs) { return &qs->lapses; }

void questions_lapse(struct questions *qs, const struct lapse *one) {
  size_t at = 0;
  void *value;
  lapses_tell(&qs->lapses, one);
  while (map_next(&qs->open, &at, NULL, &value)) {
    struct question *q = value;
    if (one->step && !keeps_time(q)) continue;
    if (one->step && q->held) q->held_since += one->to - one->from;
    lapse_open(one, &q->asked, &q->deadline);
    timer_set(q);
  }
}

void questions_watched(struct questions *qs, const struct questions_watch *watch) {
  qs->watch = watch ? *watch : (struct questions_watch){0};
  qs->alive = 0;
  if (watch) lapses_watch(&qs->lapses, watch->clock);
  else qs->lapses.clock = NULL;
}

void questions_alive(struct questions *qs, int64_t at) {
  qs->alive = at;
  if (qs->due) questions_clock_moved(qs);
  qs->due = false;
}

void questions_look(struct questions *qs, const struct clock *clock) {
  struct lapse one;
  if (clock && clock == qs->watch.clock && lapses_look(&qs->lapses, &one)) qs->watch.stepped(qs->watch.arg, &one);
}

bool question_sleeps(const struct question *q, int64_t *ret_due) {
  *ret_due = q->otherwise ? q->deadline : 0;
  return !q->held && !q->awake && !q->answer && map_get(&q->all->open, q->id) == q;
}

/* The time in which nobody could be told does not count. */
void question_hold(struct questions *qs, const char *id, bool hold) {
  struct question *q = map_get(&qs->open, id);
  if (!q || q->held == hold) return;
  q->held = hold;
  if (hold) q->held_since = now_of(q);
  else if (q->deadline) q->deadline += now_of(q) - q->held_since;
  timer_set(q);
}

void questions_clock_moved(struct questions *qs) {
  size_t at = 0;
  void *value;
  while (map_next(&qs->open, &at, NULL, &value)) timer_set(value);
}

int64_t questions_due(const struct questions *qs) {
  size_t at = 0;
  void *value;
  int64_t due = INT64_MAX;
  while (map_next(&qs->open, &at, NULL, &value)) {
    const struct question *q = value;
    if (q->deadline && q->otherwise && !q->held && q->deadline < due) due = q->deadline;
  }
  return due;
}

static int refuse(struct question *q, const struct person *by, const char *text, struct err *err) {
  journal_add(q->journal, KIND_QUESTION_REFUSED, by->actor, q->run, q->step, json_pack("{s:s, s:s}", "answer", text, "why", err->text));
  return err->code;
}

/* The option that text is, or is the only beginning of; NULL otherwise. Free text is accepted when there are no options. */
static const char *option_of(const struct question *q, const char *text) {
  const char *found = NULL;
  size_t i, n = strlen(text);
  json_t *option;
  if (!q->options) return n ? text : NULL;
  json_array_foreach(q->options, i, option) {
    const char *s = json_string_value(option);
    if (!s) continue;
    if (strcmp(s, text) == 0) return s;
    if (n && strncmp(s, text, n) == 0) {
      if (found) return NULL;
      found = s;
    }
  }
  return found;
}

static void options_text(const struct question *q, struct buf *out) {
  size_t i;
  json_t *option;
  json_array_foreach(q->options, i, option) buf_addf(out, "%s\"%s\"", i ? ", " : "", json_string_value(option));
}

static int not_open(struct questions *qs, const char *id, struct err *err) {
  const char *who = map_get(&qs->answered, id);
  if (who) return err_set(err, ERR_CONFLICT, "the question %s is closed: %s", id, who);
  return err_set(err, ERR_NOT_FOUND, "there is no open question %s; `tocsin` lists what is open", id);
}

/* One of several approvals: true when it is not the last one. */
static bool one_of_several(struct question *q, const char *answer, const struct person *by) {
  const char *yes = json_string_value(json_array_get(q->options, 0));
  if (q->approvals < 2 || !yes || strcmp(yes, answer) != 0) return false;
  if (!json_array_has(q->given, by->actor)) json_array_append_new(q->given, json_string(by->actor));
  return json_array_size(q->given) < q->approvals;
}

size_t questions_count(const struct questions *qs) { return map_count(&qs->open); }

int question_answer(struct questions *qs, const char *id, const struct person *by, const char *text, struct journal **ret_journal,
                    struct err *err) {
  struct question *q = map_get(&qs->open, id);
  if (!q) return not_open(qs, id, err);
  *ret_journal = q->journal;
  if (!person_has_role(by, q->role)) {
    err_set(err, ERR_DENIED, "%s asks somebody with the role \"%s\"; %s has not got it", id, q->role, by->name);
    return refuse(q, by, text, err);
  }
  if ((q->exclude && strcmp(q->exclude, by->actor) == 0) || json_array_has(q->given, by->actor)) {
    err_set(err, ERR_DENIED,
            json_array_has(q->given, by->actor) ? "%s: %s has approved already; another person must"
                                                : "%s: %s asked for it, so another person must agree",
            id, by->name);
    return refuse(q, by, text, err);
  }
  const char *answer = option_of(q, text);
  if (!answer) {
    struct buf options;
    buf_init(&options, 4096);
    options_text(q, &options);
    err_set(err, ERR_INVALID, "\"%.100s\" is no answer to %s; say one of %s", text, id, options.data);
    buf_release(&options);
    return refuse(q, by, text, err);
  }
  bool more = one_of_several(q, answer, by);
  journal_add(q->journal, KIND_QUESTION_ANSWERED, by->actor, q->run, q->step, json_pack("{s:s, s:b}", "answer", answer, "more", more));
  if (!more) decide(q, answer, by);
  return 0;
}

static int by_age(const void *a, const void *b) {
  const json_t *const *x = a, *const *y = b;
  int64_t p = json_int_or(*x, "asked", 0), q = json_int_or(*y, "asked", 0);
  return p < q ? -1 : p > q;
}

json_t *questions_open(const struct questions *qs) {
  size_t at = 0, count = 0;
  const char *id;
  void *value;
  json_t **list = calloc(map_count(&qs->open) + 1, sizeof *list), *result = json_array();
  if (!list) abort();
  while (map_next(&qs->open, &at, &id, &value)) {
    struct question *q = value;
    char place[ID_PATH];
    id_place(place, q->run, q->step);
    json_t *item = json_copy(json_object_get(json_object_get(journal_state(q->journal), "questions"), place));
    if (!item) continue;
    json_object_set_new(item, "id", json_string(id));
    json_object_set_new(item, "incident", json_string(journal_incident(q->journal)));
    json_object_set(item, "title", json_object_get(journal_state(q->journal), "title"));
    if (q->deadline) json_object_set_new(item, "deadline", json_integer(q->deadline));
    json_object_set_new(item, "waiting_for_channel", json_boolean(q->held));
    list[count++] = item;
  }
  qsort(list, count, sizeof *list, by_age);
  for (size_t i = 0; i < count; i++) json_array_append_new(result, list[i]);
  free(list);
  return result;
}
