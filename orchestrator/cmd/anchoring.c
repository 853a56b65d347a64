#include "cmd/anchoring.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "anchor/anchor.h"
#include "base/json.h"
#include "base/log.h"
#include "cmd/sealing.h"
#include "journal/feed.h"

static enum kind kind_of(const char *event) {
  if (strcmp(event, "stamped") == 0) return KIND_ANCHOR_STAMPED;
  if (strcmp(event, "cosigned") == 0) return KIND_ANCHOR_COSIGNED;
  return strcmp(event, "copied") == 0 ? KIND_ANCHOR_COPIED : KIND_ANCHOR_FAILED;
}

/* On the loop. */
static void take_news(void *arg) {
  struct daemon *d = arg;
  size_t i;
  json_t *event;
  if (!d->anchor || !d->node) return;
  json_t *news = anchor_news(d->anchor);
  json_array_foreach(news, i, event) {
    enum kind kind = kind_of(json_str_or(event, "event", ""));
    if (kind == KIND_ANCHOR_FAILED)
      log_warning("the checkpoint could not be anchored with %s: %s", json_str_or(event, "target", ""), json_str_or(event, "why", ""));
    json_object_del(event, "event");
    journal_add(d->node, kind, "engine", 0, NULL, json_incref(event));
  }
  json_decref(news);
}

/* On the anchor's thread. */
static void on_news(void *arg) { loop_post(((struct daemon *)arg)->loop, take_news, arg); }

static void on_cosigned(void *arg, uint64_t size, const char *lines, size_t len) {
  feed_cosign(((struct daemon *)arg)->feed, size, lines, len);
}

static size_t targets_of(const json_t *settings) {
  return json_array_size(json_object_get(settings, "tsa")) + json_array_size(json_object_get(settings, "witness")) +
         json_array_size(json_object_get(settings, "copy"));
}

int daemon_anchor_check(const struct daemon *d, const json_t *settings, struct err *err) {
  const json_t *anchor = json_object_get(settings, "anchor");
  return targets_of(anchor) ? anchor_settings_check(anchor, d->secrets, err) : 0;
}

void daemon_anchor_start(struct daemon *d) {
  const json_t *settings = json_object_get(d->settings, "anchor");
  const char *folder = evidence_folder(d->settings);
  struct err err;
  struct anchor_options options = {.folder = folder,
                                   .key = &d->verifier,
                                   .settings = settings,
                                   .secrets = d->secrets,
                                   .news = on_news,
                                   .cosigned = d->feed ? on_cosigned : NULL,
                                   .arg = d};
  if (!targets_of(settings) || d->anchor) return;
  int r = mkdir(folder, 0700) == 0 || errno == EEXIST ? 0 : err_errno(&err, "cannot make the folder %s", folder);
  if (r == 0) r = anchor_new(&options, &d->anchor, &err);
  if (r == 0) r = anchor_start(d->anchor, &err);
  if (r == 0) return;
  anchor_free(d->anchor);
  d->anchor = NULL;
  snprintf(d->anchor_why, sizeof d->anchor_why, "%s", err.text);
  log_warning("checkpoints are not anchored: %s", err.text);
}

void daemon_anchor_stop(struct daemon *d) {
  if (!d->anchor) return;
  anchor_stop(d->anchor);
  take_news(d);
}

void daemon_anchor_again(struct daemon *d) {
  daemon_anchor_stop(d);
  anchor_free(d->anchor);
  d->anchor = NULL;
  d->anchor_why[0] = 0;
  daemon_anchor_start(d);
}

/* ---- what is said of it */

static int64_t age_s(const json_t *target) {
  int64_t at = json_int_or(target, "time", 0);
  return at ? (clock_wall(clock_system()) - at) / 1000000 : -1;
}

void daemon_anchor_findings(const struct daemon *d, json_t *checks) {
  static const char how[] = "see why, and that this machine may reach it; it is tried again by itself, and nothing waits for it";
  json_t *targets = d->anchor ? anchor_status(d->anchor) : json_array(), *t;
  size_t i;
  if (*d->anchor_why)
    json_array_append_new(checks, json_pack("{s:s, s:b, s:s, s:s}", "check", "anchor", "ok", 0, "text", d->anchor_why, "mend",
                                            "mend `anchor` in the settings, then restart"));
  json_array_foreach(targets, i, t) {
    char name[32], text[1024], age[DURATION_TEXT] = "";
    const char *why = json_str(t, "why");
    if (age_s(t) >= 0) duration_format(age_s(t) * 1000, age);
    snprintf(name, sizeof name, "anchor %s", json_str_or(t, "what", ""));
    snprintf(text, sizeof text, "%s: %s%s%s%s", json_str_or(t, "target", ""), *age ? "last done " : "not done yet", age, *age ? " ago" : "",
             why ? "; now it fails" : "");
    if (why) snprintf(text + strlen(text), sizeof text - strlen(text), ": %s", why);
    json_t *one = json_pack("{s:s, s:b, s:s}", "check", name, "ok", why == NULL, "text", text);
    if (why) json_object_set_new(one, "mend", json_string(how));
    json_array_append_new(checks, one);
  }
  json_decref(targets);
}

json_t *daemon_anchor_counts(const struct daemon *d) {
  static const char *const kinds[] = {"tsa", "witness", "copy"};
  json_t *counts = json_object(), *targets = d->anchor ? anchor_status(d->anchor) : json_array(), *t;
  size_t i;
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    int64_t youngest = -1, failing = 0, count = 0;
    json_array_foreach(targets, i, t) {
      if (strcmp(json_str_or(t, "what", ""), kinds[k]) != 0) continue;
      int64_t age = age_s(t);
      count++;
      failing += json_str(t, "why") != NULL;
      if (age >= 0 && (youngest < 0 || age < youngest)) youngest = age;
    }
    if (count)
      json_object_set_new(counts, kinds[k],
                          json_pack("{s:I, s:I, s:I}", "targets", (json_int_t)count, "failing", (json_int_t)failing, "age_seconds",
                                    (json_int_t)youngest));
  }
  json_decref(targets);
  return counts;
}
