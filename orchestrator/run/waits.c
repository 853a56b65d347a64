/* wait, wait_for and poll: deadlines are absolute, by the incident's clock, and stand in the entry that begins the wait. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "run/internal.h"

enum { EVERY_LEAST_MS = 100, EVERY_MS = 10000, LOOK_MS = 60000 /* the longest time between two looks at the clock, which may be set */ };

/* Timers run by the loop's time, deadlines by the incident's clock: whoever is woken looks again. */
void wake_after(struct step *s, int64_t us, loop_cb *cb) {
  int64_t ms = us <= 0 ? 0 : us / 1000 + 1;
  s->wake = cb;
  s->due = run_now(s->run) + (us > 0 ? us : 0);
  timer_free(s->timer);
  s->timer = timer_start(s->run->all->deps.loop, ms < LOOK_MS ? ms : LOOK_MS, cb, s);
}

/* Was the clock set? Then `until` is another. */
static void look_at_clock(const struct step *s) {
  if (s->run->all->deps.questions) questions_look(s->run->all->deps.questions, journal_store_of(s->run->journal)->clock);
}

static void until_in(struct step *s, int64_t ms) {
  look_at_clock(s);
  s->until = run_now(s->run) + ms * 1000;
}

static bool is_over(const struct step *s) {
  look_at_clock(s);
  return s->until && run_now(s->run) >= s->until;
}

static void wait_over(struct step *s, json_t *body_take) {
  timer_free(s->timer);
  s->timer = NULL;
  step_add(s, KIND_WAIT_ENDED, body_take);
  step_called(s);
}

static bool wait_ends(const struct step *s, enum kind kind, const json_t *body) {
  return kind == KIND_WAIT_ENDED || verb_refused(s, kind, body);
}

static bool began_alike(const struct step *s, const json_t *history, const char *const *keys) {
  const json_t *begun = history_find(history, KIND_WAIT_STARTED), *refused = history_find(history, KIND_ACTION_REFUSED);
  if (!begun) return refused && strcmp(json_str_or(refused, "verb", ""), s->verb->name) == 0;
  return strcmp(json_str_or(begun, "verb", ""), s->verb->name) == 0 && args_agree(s, s->args, begun, keys);
}

static void until_from(struct step *s, const json_t *history) {
  const json_t *begun = history_find(history, KIND_WAIT_STARTED);
  int64_t within = json_int_or(begun, "ms", json_int_or(begun, "within", 0)) * 1000;
  s->until = json_int_or(begun, "until", 0);
  const struct lapses *lapses = s->run->all->deps.questions ? questions_lapses(s->run->all->deps.questions) : NULL;
  if (lapses && lapses->clock == journal_store_of(s->run->journal)->clock)
    s->until = lapses_until(lapses, s->until - within, s->until, &s->awake);
}

/* --- wait ---------------------------------------------------------------------------------------------------------- */

static void wait_look(void *arg) {
  struct step *s = arg;
  if (is_over(s)) wait_over(s, json_object());
  else wake_after(s, s->until - run_now(s->run), wait_look);
}

static void wait_start(struct step *s) {
  int64_t ms = json_int_or(s->args, "ms", 0);
  until_in(s, ms > 0 ? ms : 0);
  step_add(s, KIND_WAIT_STARTED, json_pack("{s:s, s:I, s:I}", "verb", "wait", "ms", (json_int_t)ms, "until", (json_int_t)s->until));
  journal_save_state(s->run->journal);
  wake_after(s, s->until - run_now(s->run), wait_look);
}

static void wait_again(struct step *s, const json_t *history) {
  until_from(s, history);
  wake_after(s, s->until - run_now(s->run), wait_look);
}

static void wait_answer(const struct step *s, struct answer *out) {}

static bool wait_same(const struct step *s, const json_t *history) {
  static const char *const keys[] = {"ms", NULL};
  return began_alike(s, history, keys);
}

const struct verb verb_wait = {"wait", wait_start, wait_ends, wait_answer, wait_same, wait_again};

/* --- wait_for ------------------------------------------------------------------------------------------------------- */

static const json_t *alerts_of(const struct step *s) {
  const struct run_world *world = &s->run->all->deps.world;
  return world->alerts ? world->alerts(world->arg, s->run->journal) : NULL;
}

/* Alerts that have come since the playbook last looked. */
void wait_for_look(struct step *s) {
  const json_t *alerts = alerts_of(s), *when = json_object_get(s->args, "alert");
  for (; !s->ended && s->alerts_seen < json_array_size(alerts); s->alerts_seen++) {
    const json_t *alert = json_array_get(alerts, s->alerts_seen);
    if (!run_matches(s->run, when, alert)) continue;
    const char *uid = json_string_value(json_at(alert, "metadata.uid"));
    json_t *body = json_pack("{s:I}", "alert", (json_int_t)s->alerts_seen);
    if (uid) json_object_set_new(body, "uid", json_string(uid));
    wait_over(s, body);
  }
}

static void wait_for_time(void *arg) {
  struct step *s = arg;
  if (is_over(s)) wait_over(s, json_pack("{s:b}", "timeout", 1));
  else wake_after(s, s->until - run_now(s->run), wait_for_time);
}

static void wait_for_go(struct step *s) {
  wait_for_look(s);
  if (!s->ended && s->until) wake_after(s, s->until - run_now(s->run), wait_for_time);
}

static void wait_for_start(struct step *s) {
  int64_t within = json_int_or(s->args, "within", 0);
  json_t *body = json_pack("{s:s}", "verb", "wait_for");
  if (within > 0) until_in(s, within);
  if (s->until) json_object_set_new(body, "until", json_integer(s->until));
  json_object_set_new(body, "within", json_integer(within));
  if (json_object_get(s->args, "alert")) json_object_set(body, "alert", json_object_get(s->args, "alert"));
  step_add(s, KIND_WAIT_STARTED, body);
  journal_save_state(s->run->journal);
  wait_for_go(s);
}

static void wait_for_again(struct step *s, const json_t *history) {
  until_from(s, history);
  wait_for_go(s);
}

static void wait_for_answer(const struct step *s, struct answer *out) {
  const json_t *index = json_object_get(s->body, "alert");
  out->trust = SCRIPT_DATA;
  if (s->kind == KIND_ACTION_REFUSED) refused_answer(s, out);
  else if (json_object_get(s->body, "found")) out->value = json_incref(json_object_get(s->body, "found"));
  else if (json_is_integer(index)) out->value = json_incref(json_array_get(alerts_of(s), (size_t)json_integer_value(index)));
}

static bool wait_for_same(const struct step *s, const json_t *history) {
  static const char *const keys[] = {"alert", "within", NULL};
  return began_alike(s, history, keys);
}

const struct verb verb_wait_for = {"wait_for", wait_for_start, wait_ends, wait_for_answer, wait_for_same, wait_for_again};

/* Beyond the alerts that are kept, the one that comes is all there is; the entry bears it, for the replay. */
static void beyond_kept(struct step *s, const json_t *alert) {
  if (s->ended || !alert || json_array_size(alerts_of(s)) > s->alerts_seen) return;
  if (run_matches(s->run, json_object_get(s->args, "alert"), alert)) wait_over(s, json_pack("{s:O}", "found", alert));
}

void run_alert(struct run *run, const json_t *alert) {
  struct step *s, *next;
  if (run_quiet(run) || run->replay) return;
  for (s = TAILQ_FIRST(&run->steps); s; s = next) {
    next = TAILQ_NEXT(s, next);
    if (s->verb != &verb_wait_for || s->ended) continue;
    wait_for_look(s);
    beyond_kept(s, alert);
  }
}

/* --- poll ------------------------------------------------------------------------------------------------------------ */

static void poll_attempt(struct step *s);

static void poll_timer(void *arg) {
  struct step *s = arg;
  look_at_clock(s);
  int64_t left = s->due - run_now(s->run);
  if (left > 0) { /* longer than between two looks */
    wake_after(s, left, poll_timer);
    return;
  }
  timer_free(s->timer);
  s->timer = NULL;
  poll_attempt(s);
}

static void poll_next(struct step *s) {
  int64_t every = json_int_or(s->args, "every", EVERY_MS);
  if (every < EVERY_LEAST_MS) every = EVERY_LEAST_MS;
  if (s->until && run_now(s->run) + every * 1000 > s->until)
    wait_over(s, json_pack("{s:b, s:i}", "timeout", 1, "attempts", (int)s->attempt));
  else wake_after(s, every * 1000, poll_timer);
}

static void on_poll(void *arg, const struct outcome *outcome) {
  struct step *s = arg;
  const json_t *until = json_object_get(s->args, "until");
  s->action = NULL;
  bool found = outcome->ok && (!until || run_matches(s->run, until, outcome->returns));
  if (found) wait_over(s, json_pack("{s:O, s:i}", "returns", outcome->returns, "attempts", (int)s->attempt));
  else poll_next(s);
}

static bool reads_only(const struct step *s, struct err *err) {
  const struct connector *c = run_connector(s->run, json_str_or(s->args, "connector", ""), err);
  const json_t *action = c ? registry_action(c, json_str_or(s->args, "action", ""), err) : NULL;
  if (!action) return false;
  if (strcmp(json_str_or(action, "effect", ""), "read") == 0) return true;
  err_set(err, ERR_INVALID, "poll repeats read actions only; %s.%s does more", c->instance, json_str_or(s->args, "action", ""));
  return false;
}

static void poll_attempt(struct step *s) {
  struct action_spec spec;
  struct err err;
  char path[ID_STEP];
  int n = snprintf(path, sizeof path, "%s.0.%u", s->path, ++s->attempt);
  if (n < 0 || (size_t)n >= sizeof path) {
    step_refuse(s, "limit", "parallel steps are nested too deep for a poll");
    return;
  }
  verb_spec(s, path, json_str_or(s->args, "connector", ""), json_str_or(s->args, "action", ""), json_object_get(s->args, "params"), NULL,
            &spec);
  if (action_start(s->run->all->deps.actions, &spec, on_poll, s, &s->action, &err) < 0) {
    s->action = NULL;
    step_refuse(s, err_name(err.code), err.text);
  }
}

static void poll_start(struct step *s) {
  struct err err;
  int64_t within = json_int_or(s->args, "within", 0);
  if (!reads_only(s, &err)) {
    step_refuse(s, err_name(err.code), err.text);
    return;
  }
  if (within > 0) until_in(s, within);
  json_t *polled =
      json_pack("{s:s, s:s}", "connector", json_str_or(s->args, "connector", ""), "action", json_str_or(s->args, "action", ""));
  json_t *body = json_pack("{s:s, s:o, s:I}", "verb", "poll", "poll", polled, "within", (json_int_t)within);
  static const char *const keys[] = {"params", "until", "every", NULL};
  for (const char *const *k = keys; *k; k++) /* `until` is the deadline in all waits: the condition is kept as `condition` */
    if (json_object_get(s->args, *k)) json_object_set(body, strcmp(*k, "until") == 0 ? "condition" : *k, json_object_get(s->args, *k));
  if (s->until) json_object_set_new(body, "until", json_integer(s->until));
  step_add(s, KIND_WAIT_STARTED, body);
  poll_attempt(s);
}

/* Reads may be repeated: an attempt that was under way is simply followed by the next (the replay has counted them). */
static void poll_again(struct step *s, const json_t *history) {
  until_from(s, history);
  if (is_over(s)) wait_over(s, json_pack("{s:b, s:i}", "timeout", 1, "attempts", (int)s->attempt));
  else poll_attempt(s);
}

static void poll_answer(const struct step *s, struct answer *out) {
  char text[256];
  if (s->kind == KIND_ACTION_REFUSED) {
    refused_answer(s, out);
    return;
  }
  out->value = json_incref(json_object_get(s->body, "returns"));
  out->ok = out->value != NULL;
  if (out->ok) return;
  snprintf(text, sizeof text, "%s.%s did not show what was waited for in time (%lld attempts)", json_str_or(s->args, "connector", ""),
           json_str_or(s->args, "action", ""), (long long)json_int_or(s->body, "attempts", 0));
  out->value = failure_of("timeout", text, true);
}

static bool poll_same(const struct step *s, const json_t *history) {
  static const char *const keys[] = {"params", "within", "every", NULL};
  const json_t *polled = json_object_get(history_find(history, KIND_WAIT_STARTED), "poll");
  if (polled && (strcmp(json_str_or(polled, "connector", ""), json_str_or(s->args, "connector", "")) != 0 ||
                 strcmp(json_str_or(polled, "action", ""), json_str_or(s->args, "action", "")) != 0))
    return false;
  return began_alike(s, history, keys);
}

const struct verb verb_poll = {"poll", poll_start, wait_ends, poll_answer, poll_same, poll_again};
