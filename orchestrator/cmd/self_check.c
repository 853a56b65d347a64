#include "cmd/self_check.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/log.h"

struct self_check {
  struct self_check_deps deps;
  struct timer *timer;
  bool stopped;
  json_t *found;      /* {"alerts","intents"}, the last time */
  uint64_t seq;       /* of the entry that has them */
  int64_t unattended; /* the difference between actions, the last time */
};

static void broken(struct self_check *s, enum alarm what, int64_t difference, const char *text, const json_t *counts) {
  json_t *body = json_pack("{s:s}", "text", text);
  if (counts) json_object_set(body, "counts", (json_t *)(uintptr_t)counts);
  log_error("%s", text);
  journal_add(s->deps.node, KIND_ENGINE_WARNING, "engine", 0, NULL, body);
  s->deps.alarm(s->deps.arg, what, difference, text);
}

/* Each intent without an outcome, in whatever journal, is on its way or in doubt: somebody here cares for it. An intent that nobody cares for would hang
 * unseen. */
static json_t *actions_check(struct self_check *s) {
  char text[256];
  int64_t open, in_doubt, attended;
  s->deps.actions(s->deps.arg, &open, &in_doubt, &attended);
  int64_t difference = open - attended;
  if (difference && difference == s->unattended) {
    snprintf(text, sizeof text, "conservation is broken: %lld actions are open in the journals, and %lld are on their way or in doubt",
             (long long)open, (long long)attended);
    broken(s, ALARM_INTENTS, difference, text, NULL);
  }
  if (!difference) s->deps.alarm(s->deps.arg, ALARM_INTENTS, 0, "");
  s->unattended = difference;
  return json_pack("{s:I, s:I, s:I, s:I}", "open", (json_int_t)open, "in_doubt", (json_int_t)in_doubt, "in_flight",
                   (json_int_t)(attended - in_doubt), "difference", (json_int_t)difference);
}

static void alerts_check(struct self_check *s, const json_t *counts) {
  char text[256];
  int64_t difference = json_int_or(counts, "difference", 0);
  if (!difference) {
    s->deps.alarm(s->deps.arg, ALARM_ALERTS, 0, "");
    return;
  }
  snprintf(text, sizeof text,
           "conservation is broken: %lld alerts were accepted and are neither attached, duplicate, suppressed, dead, split nor waiting",
           (long long)difference);
  broken(s, ALARM_ALERTS, difference, text, counts);
}

static void record(struct self_check *s, json_t *found_take) {
  bool same = s->found && json_equal(s->found, found_take);
  json_t *body = same ? json_pack("{s:I}", "as", (json_int_t)s->seq) : json_deep_copy(found_take);
  json_decref(s->found);
  s->found = found_take;
  uint64_t seq = journal_add(s->deps.node, KIND_ENGINE_CHECKED, "engine", 0, NULL, body);
  if (!same) s->seq = seq;
}

static void on_alerts(void *arg, const json_t *counts, const struct err *err) {
  struct self_check *s = arg;
  if (err || s->stopped) return;
  record(s, json_pack("{s:O, s:o}", "alerts", counts, "intents", actions_check(s)));
  alerts_check(s, counts);
}

static void check(void *arg) {
  struct self_check *s = arg;
  struct err err;
  timer_free(s->timer);
  s->timer = timer_start(s->deps.loop, s->deps.every_ms, check, s);
  s->deps.alerts(s->deps.arg, on_alerts, s, &err);
}

struct self_check *self_check_start(const struct self_check_deps *deps) {
  struct self_check *s = calloc(1, sizeof *s);
  if (!s) abort();
  s->deps = *deps;
  check(s);
  return s;
}

void self_check_stop(struct self_check *s) {
  if (!s) return;
  timer_free(s->timer);
  s->timer = NULL;
  s->stopped = true;
}

void self_check_free(struct self_check *s) {
  if (!s) return;
  self_check_stop(s);
  json_decref(s->found);
  free(s);
}

const json_t *self_check_alerts(const struct self_check *s) { return s ? json_object_get(s->found, "alerts") : NULL; }
const json_t *self_check_intents(const struct self_check *s) { return s ? json_object_get(s->found, "intents") : NULL; }
