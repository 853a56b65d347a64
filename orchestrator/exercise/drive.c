/* What drives an exercise: its clock, the injects that are due, the script of those who are not there.
 *
 * With people the clock goes on at its speed, and what is due is looked for a few times a second. Without any it leaps: when nothing goes on by itself any more, what is due next is done at its
 * very moment, one thing after the other. So the same seed gives the same timeline. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "exercise/exercise.h"

enum { LOOK_MS = 100, QUICK_MS = 10, QUICK_SPEED = 20, STEP_MS = 1, STILL = 3, STUCK_US = 60000000 };

static void drive(void *arg);

bool exercise_leaps(const struct exercise *x) {
  return json_bool_or(x->started, "auto", false) && !json_bool_or(x->started, "people", false);
}

static void drive_after(struct exercise *x, int64_t ms) {
  timer_free(x->timer);
  x->timer = x->stopped ? NULL : timer_start(x->hall->deps.loop, ms, drive, x);
}

void exercise_drive(struct exercise *x) {
  if (x->stage == STAGE_PLAYING) drive_after(x, 0);
}

void exercise_clock_moved(struct exercise *x) {
  transports_clock_moved(x->transports);
  desk_clock_moved(x->desk);
}

void exercise_let_go_on(struct exercise *x) {
  if (!x->halted && !exercise_leaps(x)) clock_resume(&x->clock);
  exercise_drive(x);
}

void exercise_set_speed(struct exercise *x, double speed) {
  bool paused = x->clock.paused;
  clock_pause(&x->clock);
  x->clock.speed = speed;
  x->pace = 0;
  if (!paused) clock_resume(&x->clock);
  exercise_drive(x);
}

/* --- injects --------------------------------------------------------------------------------------------------------- */

struct putting {
  struct exercise *x;
  uint64_t seq; /* of its entry: its place in the stream */
  char *source, *text;
};

static void putting_end(struct putting *p) {
  p->x->putting--;
  free(p->source);
  free(p->text);
  free(p);
}

/* One that lies there already was put there before a crash. */
static void on_put(void *arg, const struct err *err) {
  struct putting *p = arg;
  if (err && !strstr(err->text, "equal or smaller")) log_warning("%s: an alert could not be put in: %s", p->x->id, err->text);
  if (p->x->intake) intake_look(p->x->intake);
  putting_end(p);
}

/* Its entry first: after a crash it is put in again, at the same place. */
static void on_recorded(void *arg, const struct err *err) {
  struct putting *p = arg;
  struct err why;
  if (err || intake_put(p->x->intake, p->seq, p->source, p->text, strlen(p->text), on_put, p, &why) < 0) {
    if (!err) log_warning("%s: an alert could not be put in: %s", p->x->id, why.text);
    putting_end(p);
  }
}

static void put(struct exercise *x, uint64_t seq, const char *source, const json_t *document) {
  struct putting *p = calloc(1, sizeof *p);
  if (!p) abort();
  *p = (struct putting){.x = x, .seq = seq, .source = strdup(source), .text = json_text(document)};
  if (!p->text) p->text = strdup("{}");
  x->putting++;
  journal_when_durable(x->journal, on_recorded, p);
}

static void on_answer(void *arg, const char *answer, const char *by) {} /* it stands in the journal */

/* The engine's own step, run 0: its place is that of the inject's entry. */
static void ask(struct exercise *x, const json_t *inject, const char *step) {
  const json_t *q = json_object_get(inject, "question"), *to = json_object_get(q, "to");
  json_t *about = json_pack("{s:O*}", "to", to);
  struct question_spec spec = {.journal = x->journal,
                               .run = 0,
                               .step = step,
                               .actor = "engine",
                               .kind = "exercise",
                               .text = json_str_or(q, "text", "?"),
                               .options = json_object_get(q, "options"),
                               .within_ms = json_int_or(q, "within", 0),
                               .otherwise = json_str(q, "otherwise"),
                               .inject = json_str(inject, "id"),
                               .about = about};
  question_ask(x->questions, &spec, on_answer, x);
  json_decref(about);
}

/* What people see of it. */
static json_t *injected_body(const json_t *inject, int64_t due) {
  static const char *const shown[] = {"text", "to", "from", "source", NULL};
  const char *kind = json_str_or(inject, "kind", "");
  const json_t *what = json_object_get(inject, kind);
  json_t *body = json_pack("{s:O, s:s, s:I}", "inject", json_object_get(inject, "id"), "kind", kind, "due", (json_int_t)due);
  for (const char *const *k = shown; *k; k++)
    if (json_object_get(what, *k)) json_object_set(body, *k, json_object_get(what, *k));
  if (json_is_string(what)) json_object_set(body, "text", (json_t *)(uintptr_t)what);
  if (json_bool_or(inject, "added", false)) json_object_set_new(body, "added", json_true());
  return body;
}

void exercise_inject(struct exercise *x, const json_t *inject, int64_t due, const char *actor) {
  char step[24];
  int64_t now = exercise_now(x);
  json_t *body = injected_body(inject, due), *document = NULL;
  const json_t *alert = json_object_get(inject, "alert");
  if (alert) {
    document = scenario_alert(inject, now);
    json_object_set(body, "alert", document); /* as it came: after a crash it is put in again just so */
  }
  journal_save_state(x->journal);
  uint64_t seq = journal_add(x->journal, KIND_EXERCISE_INJECTED, actor, 0, NULL, body);
  snprintf(step, sizeof step, "%llu", (unsigned long long)seq);
  if (alert) put(x, seq, json_str_or(alert, "source", ""), document);
  if (json_object_get(inject, "question")) ask(x, inject, step);
  exercise_tell_inject(x, inject, step);
  json_decref(document);
}

static const json_t *inject_named(const struct exercise *x, const char *id) {
  size_t i;
  json_t *inject;
  json_array_foreach(json_object_get(x->scenario->json, "injects"), i,
                     inject) if (strcmp(json_str_or(inject, "id", ""), id) == 0) return inject;
  return NULL;
}

static bool was_asked(const struct record_of *own, const char *step) {
  for (size_t i = 0; i < own->count; i++)
    if (own->entries[i]->kind == KIND_QUESTION_ASKED && strcmp(own->entries[i]->step, step) == 0) return true;
  return false;
}

void exercise_inject_again(struct exercise *x) {
  const struct entry *last = NULL;
  const struct record_of *own = &x->records[0];
  for (size_t i = 0; i < own->count; i++) {
    const struct entry *e = own->entries[i];
    char at[32];
    if (e->kind != KIND_EXERCISE_INJECTED) continue;
    if (json_object_get(e->body, "alert")) last = e;
    snprintf(at, sizeof at, "0/%llu", (unsigned long long)e->seq);
    const json_t *inject = inject_named(x, json_str_or(e->body, "inject", ""));
    bool open = json_object_get(json_object_get(journal_state(x->journal), "questions"), at) != NULL;
    if (json_object_get(inject, "question") && (open || !was_asked(own, at + 2))) ask(x, inject, at + 2);
  }
  if (last) put(x, last->seq, json_str_or(last->body, "source", ""), json_object_get(last->body, "alert"));
}

/* --- what is due -------------------------------------------------------------------------------------------------------- */

/* The script of those who are not there. */
static json_t *script_due(const struct exercise *x, const struct scenario_play *p, int64_t now, int64_t *ret_next) {
  json_t *all = scenario_script_due(x->scenario, p, now, ret_next), *mine = json_array(), *item;
  size_t i;
  json_array_foreach(all, i, item) if (exercise_scripted(x, json_str_or(json_object_get(item, "play"), "by", "")))
      json_array_append(mine, item);
  json_decref(all);
  return mine;
}

/* Does the first things that are due, at most `most`. False: nothing is. *ret_next: the next by time alone. */
static bool do_due(struct exercise *x, size_t most, int64_t *ret_next) {
  int64_t now = exercise_now(x), next_play = INT64_MAX;
  struct scenario_play p = exercise_play(x);
  size_t i;
  json_t *item;
  json_t *injects = scenario_due(x->scenario, &p, now, ret_next);
  json_t *plays = json_bool_or(x->started, "auto", false) ? script_due(x, &p, now, &next_play) : json_array();
  if (next_play < *ret_next) *ret_next = next_play;
  bool any = json_array_size(injects) || json_array_size(plays);
  json_array_foreach(injects, i, item) if (i < most)
      exercise_inject(x, json_object_get(item, "inject"), json_int_or(item, "due", now), "engine");
  json_array_foreach(plays, i, item) if (json_array_size(injects) + i < most) scripted_play(x, json_object_get(item, "play"));
  json_decref(injects);
  json_decref(plays);
  return any;
}

static int64_t ends(const struct exercise *x) { return x->began + json_int_or(x->scenario->json, "duration", 7200000) * 1000; }

static int64_t least(int64_t a, int64_t b) { return b < a ? b : a; }

/* The next moment that changes something by itself. */
static int64_t next_moment(const struct exercise *x, int64_t storyline) {
  return least(least(storyline, ends(x)), least(desk_due(x->desk), transports_due(x->transports)));
}

static void over(struct exercise *x) { exercise_close(x, "engine", "finished", "the time is up"); }

/* --- leaping -------------------------------------------------------------------------------------------------------------- */

static bool at_rest(struct exercise *x) {
  int64_t now = exercise_now(x);
  if (x->store.unsent || x->putting || x->saying || !intake_rests(x->intake) || !desk_rests(x->desk)) return false;
  return desk_due(x->desk) > now && transports_due(x->transports) > now; /* what is due is being done */
}

/* Nothing that was seen a few turns of the loop ago has led to anything. */
static bool comes_to_rest(struct exercise *x) {
  int64_t now = clock_boot(x->hall->deps.clock);
  if (x->entries_seen != x->store.entries || !at_rest(x)) {
    if (x->entries_seen != x->store.entries) x->stirred = now;
    x->entries_seen = x->store.entries;
    x->still = 0;
    return false;
  }
  return ++x->still >= STILL;
}

/* At a speed that was asked for, the leap waits for its time. */
static bool paced(struct exercise *x, int64_t to) {
  int64_t now = clock_boot(x->hall->deps.clock);
  if (!json_bool_or(x->started, "paced", false)) return false;
  if (!x->pace) x->pace = now + (int64_t)((double)(to - exercise_now(x)) / x->clock.speed);
  if (x->pace <= now) {
    x->pace = 0;
    return false;
  }
  drive_after(x, (x->pace - now) / 1000 + 1);
  return true;
}

static void leap(struct exercise *x) {
  int64_t next, now = exercise_now(x);
  struct err err;
  if (!comes_to_rest(x)) {
    bool stuck = !x->store.unsent && x->stirred && clock_boot(x->hall->deps.clock) - x->stirred > STUCK_US;
    if (stuck) exercise_close(x, "engine", "aborted", "nothing moved for a minute");
    else drive_after(x, x->still ? 0 : STEP_MS);
    return;
  }
  if (do_due(x, 1, &next)) {
    x->still = 0;
    drive_after(x, 0);
    return;
  }
  if (now >= ends(x)) {
    over(x);
    return;
  }
  next = next_moment(x, next);
  if (next <= now) next = now + 1000; /* a condition that time alone decides, and that it does not decide yet */
  if (paced(x, next)) return;
  if (clock_jump(&x->clock, next, &err) < 0) log_error("%s: %s", x->id, err.text);
  x->still = 0;
  exercise_clock_moved(x);
  drive_after(x, 0);
}

/* --- with people ------------------------------------------------------------------------------------------------------------ */

static void flow(struct exercise *x) {
  int64_t now = exercise_now(x);
  if (desk_due(x->desk) <= now || transports_due(x->transports) <= now) exercise_clock_moved(x);
  if (x->changed || x->injects_next <= now) {
    x->changed = false;
    if (do_due(x, SIZE_MAX, &x->injects_next)) x->changed = true;
  }
  if (now >= ends(x) && !x->changed) {
    over(x);
    return;
  }
  if (x->clock.paused) return; /* whoever lets it go on drives it again */
  int64_t real = clock_until(&x->clock, next_moment(x, x->injects_next)), look = x->clock.speed > QUICK_SPEED ? QUICK_MS : LOOK_MS;
  drive_after(x, real < look * 1000 ? real / 1000 + 1 : look);
}

static void drive(void *arg) {
  struct exercise *x = arg;
  timer_free(x->timer);
  x->timer = NULL;
  if (x->stage != STAGE_PLAYING || x->stopped) return;
  if (!exercise_leaps(x)) flow(x);
  else if (!x->halted) leap(x);
}
