/* After an unclean end: whose burst was it, and is that one tried alone before anything else goes on (base/suspect.h)? */
#include <stdio.h>

#include "base/json.h"
#include "base/log.h"
#include "cmd/daemon.h"

enum { ALONE_MS = 30000, WATCH_LEAST_MS = 5000 };

void daemon_suspect_open(struct daemon *d, const char *data) {
  struct err err;
  int64_t limit = json_int_or(json_object_get(d->settings, "run"), "total", 10000) * 2;
  if (suspect_open(data, &err) < 0) log_warning("after a crash it will not be known what caused it: %s", err.text);
  if (suspect_watch(limit < WATCH_LEAST_MS ? WATCH_LEAST_MS : limit, &err) < 0) log_warning("%s", err.text);
}

void daemon_suspect_tell(struct daemon *d) {
  struct suspect s;
  char name[SUSPECT_ID + 24], text[256];
  if (!suspect_unclean(&s)) return;
  suspect_text(&s, name);
  if (s.kind)
    snprintf(text, sizeof text, "the process ended without a stop while it handled %s; it is tried alone before anything goes on", name);
  else snprintf(text, sizeof text, "the process ended without a stop, and not while it handled an alert or a run");
  if (s.alone_crashed || s.alone_ended) snprintf(text, sizeof text, "the process ended without a stop while it handled %s alone", name);
  log_warning("%s", text);
  json_t *body = json_pack("{s:s}", "text", text);
  if (s.kind) json_object_set_new(body, "suspect", json_string(name));
  if (s.kind) json_object_set_new(body, "ends", json_integer(s.ends));
  if (s.signal) json_object_set_new(body, "signal", json_integer(s.signal));
  if (s.since) json_object_set_new(body, "began", json_integer(s.since));
  journal_add(d->node, KIND_ENGINE_WARNING, "engine", 0, NULL, body);
}

static void all_there(void *arg, const struct err *err) {
  struct daemon *d = arg;
  if (d->stopping) return;
  if (!err) desk_settle_files(d->desk);
  d->ready(d, err);
}

static void go_on(struct daemon *d) {
  daemon_alone_end(d);
  if (!d->stopping) desk_go_on(d->desk, all_there, d);
}

static void on_alone(void *arg, bool handled) {
  struct daemon *d = arg;
  struct suspect s = d->suspect;
  char name[SUSPECT_ID + 24];
  suspect_text(&s, name);
  if (handled) {
    log_notice("%s came through alone; all else goes on", name);
    suspect_acquit();
  } else {
    log_notice("%s is not waiting for this node any more; all else goes on", name);
    suspect_alone_over();
  }
  go_on(d);
}

/* Its time does not run while Redis is away: then it had no chance yet. */
static void too_long(void *arg) {
  struct daemon *d = arg;
  timer_free(d->alone);
  d->alone = NULL;
  if (!redis_up(d->redis)) {
    d->alone = timer_start(d->loop, ALONE_MS, too_long, d);
    return;
  }
  log_warning("the suspect takes longer than %d s alone; all else goes on beside it", ALONE_MS / 1000);
  suspect_alone_over();
  go_on(d);
}

static void on_held(void *arg, const struct err *err) {
  struct daemon *d = arg;
  char name[SUSPECT_ID + 24];
  if (d->stopping) return;
  if (err) {
    d->ready(d, err);
    return;
  }
  suspect_text(&d->suspect, name);
  log_notice("%s is tried alone; alerts, runs and commands wait", name);
  d->alone = timer_start(d->loop, ALONE_MS, too_long, d);
  if (d->suspect.kind == SUSPECT_ALERT) intake_alone(d->intake, d->suspect.id, on_alone, d);
  else desk_alone(d->desk, on_alone, d);
}

void daemon_alone_end(struct daemon *d) {
  timer_free(d->alone);
  d->alone = NULL;
  if (d->intake) intake_alone_end(d->intake);
  if (d->desk) desk_alone_end(d->desk);
}

int daemon_load(struct daemon *d, desk_cb *ready, struct err *err) {
  d->ready = ready;
  if (!suspect_alone(&d->suspect)) return desk_load(d->desk, all_there, d, err);
  desk_hold(d->desk, d->suspect.id, d->suspect.kind == SUSPECT_RUN ? d->suspect.number : 0);
  return desk_load(d->desk, on_held, d, err);
}
