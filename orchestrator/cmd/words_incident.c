#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "cmd/blocks.h"
#include "cmd/words.h"
#include "journal/state.h"

enum { LINES_CAP = 8192 };

void words_lines(struct view *v, const char *text) {
  char *copy = strndup(text ? text : "", LINES_CAP), *line = copy;
  if (!copy) abort();
  for (bool first = true; line; first = false) {
    char *end = strchr(line, '\n');
    if (end) *end = '\0';
    if (!first) view_put(v, "\n");
    view_text(v, line);
    line = end ? end + 1 : NULL;
  }
  if (text && strlen(text) > LINES_CAP) view_put(v, "… (%zu bytes in all)", strlen(text));
  free(copy);
}

void words_member(struct view *v, const char *before, const json_t *body, const char *key) {
  const json_t *value = json_object_get(body, key);
  if (!value || json_is_null(value) || (json_is_string(value) && !json_string_length(value))) return;
  view_put(v, "%s", before);
  if (json_is_string(value)) words_lines(v, json_string_value(value));
  else view_value(v, value);
}

static void severity(struct view *v, const json_t *body) {
  const json_t *id = json_object_get(body, "severity_id");
  if (json_is_integer(id)) view_put(v, " (%s)", severity_name(json_integer_value(id)));
}

/* A moment, which stands there as µs or as RFC 3339 text. */
static void when(struct view *v, const char *before, const json_t *body, const char *key) {
  const json_t *at = json_object_get(body, key);
  int64_t us = json_is_integer(at) ? json_integer_value(at) : 0;
  if (!us && (!json_is_string(at) || !time_parse(json_string_value(at), &us))) return;
  view_put(v, "%s", before);
  view_moment(v, us);
}

static enum style opened(struct view *v, const json_t *body) {
  view_put(v, "opened: ");
  view_text(v, json_str_or(body, "title", "without a title"));
  severity(v, body);
  when(v, ", happened ", body, "occurred");
  words_member(v, "; ", body, "because");
  return STYLE_BOLD;
}

static enum style adopted(struct view *v, const json_t *body) {
  view_put(v, "taken over from another node");
  words_member(v, " ", body, "from");
  return STYLE_YELLOW;
}

static enum style assigned(struct view *v, const json_t *body) {
  view_put(v, "assigned to ");
  view_text(v, json_str_or(body, "owner", "nobody"));
  return STYLE_PLAIN;
}

static enum style severity_set(struct view *v, const json_t *body) {
  view_put(v, "severity set to ");
  view_text(v, json_str_or(body, "severity", severity_name(json_int_or(body, "severity_id", 0))));
  words_member(v, ": ", body, "because");
  return STYLE_PLAIN;
}

static enum style tagged(struct view *v, const json_t *body) {
  words_member(v, "tagged ", body, "tag");
  return STYLE_PLAIN;
}

static enum style titled(struct view *v, const json_t *body) {
  words_member(v, "title is now: ", body, "title");
  return STYLE_PLAIN;
}

static enum style noted(struct view *v, const json_t *body) {
  view_put(v, "note");
  when(v, " about ", body, "at");
  words_member(v, ", corrects entry ", body, "corrects");
  words_member(v, ": ", body, "text");
  return json_bool_or(body, "handed_over", false) ? STYLE_YELLOW : STYLE_PLAIN;
}

static enum style merged(struct view *v, const json_t *body) {
  words_member(v, "merged into ", body, "into");
  words_member(v, "took in ", body, "from");
  words_member(v, ": ", body, "because");
  return STYLE_BOLD;
}

static enum style closed(struct view *v, const json_t *body) {
  view_put(v, "closed: ");
  view_text(v, json_str_or(body, "verdict", "no verdict"));
  words_member(v, "\nroot cause: ", body, "root_cause");
  words_member(v, "\nimpact: ", body, "impact");
  words_member(v, "\naffected: ", body, "affected");
  words_member(v, "\nlessons: ", body, "lessons");
  words_member(v, "\nleft out on purpose: ", body, "waive");
  return STYLE_BOLD;
}

static enum style reopened(struct view *v, const json_t *body) {
  view_put(v, "opened again");
  words_member(v, ": ", body, "because");
  return STYLE_BOLD;
}

static enum style attached(struct view *v, const json_t *body) {
  const json_t *finding = json_object_get(body, "finding");
  const char *title = json_string_value(json_at(finding, "finding_info.title"));
  view_put(v, "alert from ");
  view_text(v, json_str_or(body, "source", "?"));
  view_put(v, ": ");
  view_text(v, title ? title : json_str_or(finding, "message", json_str_or(body, "id", "?")));
  severity(v, body);
  return STYLE_PLAIN;
}

static enum style run_started(struct view *v, const json_t *body) {
  const json_t *trigger = json_object_get(body, "trigger");
  view_put(v, "began ");
  view_text(v, json_str_or(body, "playbook", "?"));
  if (json_bool_or(body, "shadow", false)) view_put(v, " in SHADOW (it only says what it would do)");
  if (json_object_size(json_object_get(body, "params"))) {
    view_put(v, " with ");
    view_value(v, json_object_get(body, "params"));
  }
  words_member(v, ", asked for: ", trigger, "because");
  return STYLE_PLAIN;
}

static enum style run_finished(struct view *v, const json_t *body) {
  const char *status = json_str_or(body, "status", "done");
  if (strcmp(status, "done") == 0) {
    view_put(v, "ended");
    words_member(v, "; goes on as run ", body, "continued");
    if (json_object_get(body, "would")) {
      view_put(v, "; ");
      words_would(v, json_object_get(body, "would"));
    }
    return STYLE_PLAIN;
  }
  view_text(v, status);
  words_member(v, ": ", body, "error");
  return STYLE_RED;
}

static enum style run_handed_over(struct view *v, const json_t *body) {
  view_put(v, "HANDED OVER to a person");
  words_member(v, ": ", body, "text");
  words_member(v, "\nbecause: ", body, "why");
  words_member(v, "\n", body, "error");
  return STYLE_YELLOW;
}

static enum style run_cancelled(struct view *v, const json_t *body) {
  view_put(v, "cancelled the run");
  words_member(v, ": ", body, "because");
  return STYLE_YELLOW;
}

static void until(struct view *v, const json_t *body, const char *key) {
  if (!json_is_integer(json_object_get(body, key))) return;
  view_put(v, " until ");
  view_moment(v, json_int_or(body, key, 0));
}

static enum style wait_started(struct view *v, const json_t *body) {
  view_put(v, json_object_get(body, "alert") ? "waits for an alert" : json_object_get(body, "poll") ? "looks again and again" : "waits");
  until(v, body, "until");
  return STYLE_DIM;
}

static enum style wait_ended(struct view *v, const json_t *body) {
  const char *what = json_str(body, "what");
  view_put(v, "goes on");
  if (what) {
    view_put(v, ": ");
    view_text(v, what);
  } else if (json_bool_or(body, "expired", false)) {
    view_put(v, ": its time was over");
  }
  return STYLE_DIM;
}

static enum style parallel_started(struct view *v, const json_t *body) {
  view_put(v, "does %lld things side by side", (long long)json_int_or(body, "count", 0));
  return STYLE_DIM;
}

static enum style parallel_ended(struct view *v, const json_t *body) {
  long long failed = (long long)json_int_or(body, "failed", 0);
  view_put(v, "side by side: %lld done, %lld failed", (long long)json_int_or(body, "ok", 0), failed);
  return failed ? STYLE_YELLOW : STYLE_DIM;
}

static enum style ticked(struct view *v, const json_t *body) {
  view_put(v, "ticked runbook step %lld", (long long)json_int_or(body, "n", 0));
  words_member(v, ": ", body, "text");
  return STYLE_PLAIN;
}

static enum style engine_started(struct view *v, const json_t *body) {
  view_put(v, "Tocsin started");
  words_member(v, ", version ", body, "version");
  return STYLE_PLAIN;
}

static enum style engine_stopped(struct view *v, const json_t *body) {
  view_put(v, "Tocsin stopped");
  words_member(v, ": ", body, "why");
  return STYLE_PLAIN;
}

static enum style engine_settings(struct view *v, const json_t *body) {
  view_put(v, "settings, playbooks and connectors were loaded");
  words_member(v, ", digest ", body, "digest");
  return STYLE_PLAIN;
}

static enum style engine_paused(struct view *v, const json_t *body) {
  view_put(v, "PAUSED ");
  view_text(v, json_str_or(body, "scope", "all"));
  words_member(v, ": ", body, "because");
  return STYLE_RED;
}

static enum style engine_resumed(struct view *v, const json_t *body) {
  view_put(v, "resumed ");
  view_text(v, json_str_or(body, "scope", "all"));
  words_member(v, ": ", body, "because");
  return STYLE_GREEN;
}

static enum style engine_warning(struct view *v, const json_t *body) {
  view_put(v, "warning");
  words_member(v, ": ", body, "text");
  return STYLE_YELLOW;
}

static enum style engine_clock(struct view *v, const json_t *body) {
  int64_t step = json_int_or(body, "step_ms", 0);
  char by[DURATION_TEXT];
  duration_format(step < 0 ? -step : step, by);
  view_put(v, "the machine's clock was set %s by %s", step < 0 ? "back" : "forward", by);
  return STYLE_YELLOW;
}

static enum style engine_gap(struct view *v, const json_t *body) {
  char time[DURATION_TEXT];
  duration_format(json_int_or(body, "seconds", 0) * 1000, time);
  view_put(v, "nobody could have answered for %s: the engine, Redis or the machine stood still", time);
  return STYLE_YELLOW;
}

static enum style suppressed(struct view *v, const json_t *body) {
  view_put(v, "alert suppressed");
  words_member(v, " by the rule ", body, "rule");
  words_member(v, ": ", body, "reason");
  return STYLE_DIM;
}

static enum style dead(struct view *v, const json_t *body) {
  view_put(v, "alert set aside: it could not be read");
  words_member(v, ": ", body, "reason");
  return STYLE_YELLOW;
}

static enum style tail_cut(struct view *v, const json_t *body) {
  view_put(v, "the unfinished last write of Redis was cut off");
  words_member(v, ", bytes: ", body, "bytes");
  words_member(v, ", file ", body, "file");
  return STYLE_YELLOW;
}

static enum style engine_checked(struct view *v, const json_t *body) {
  const json_t *alerts = json_object_get(body, "alerts"), *intents = json_object_get(body, "intents");
  bool holds = json_int_or(alerts, "difference", 0) == 0 && json_int_or(intents, "difference", 0) == 0;
  char text[160];
  if (json_object_get(body, "as")) { /* a difference has an engine.warning beside it, each time */
    view_put(v, "counted itself: as in entry %lld", (long long)json_int_or(body, "as", 0));
    return STYLE_DIM;
  }
  snprintf(text, sizeof text, "counted itself: %lld alerts accepted, %lld attached, %lld waiting; %lld actions open, %lld in doubt%s",
           (long long)json_int_or(alerts, "accepted", 0), (long long)json_int_or(alerts, "attached", 0),
           (long long)json_int_or(alerts, "waiting", 0), (long long)json_int_or(intents, "open", 0),
           (long long)json_int_or(intents, "in_doubt", 0), holds ? "" : ": THE SUMS DIFFER");
  view_put(v, "%s", text);
  return holds ? STYLE_DIM : STYLE_RED;
}

static enum style stamped(struct view *v, const json_t *body) {
  view_put(v, "the evidence log's checkpoint was stamped");
  words_member(v, ", entries: ", body, "size");
  words_member(v, ", by ", body, "authority");
  words_member(v, " at ", body, "stamped");
  return STYLE_DIM;
}

static enum style cosigned(struct view *v, const json_t *body) {
  view_put(v, "the evidence log's checkpoint was cosigned");
  words_member(v, ", entries: ", body, "size");
  words_member(v, ", by ", body, "witness");
  words_member(v, " at ", body, "cosigned");
  return STYLE_DIM;
}

static enum style copied(struct view *v, const json_t *body) {
  view_put(v, "the evidence log was copied and read back");
  words_member(v, ", entries: ", body, "size");
  words_member(v, ", to ", body, "target");
  return STYLE_DIM;
}

static enum style anchor_failed(struct view *v, const json_t *body) {
  view_put(v, "the evidence log's checkpoint could not be anchored");
  words_member(v, " with ", body, "target");
  words_member(v, ": ", body, "why");
  return STYLE_YELLOW;
}

static enum style exported(struct view *v, const json_t *body) {
  view_put(v, "a bundle was made to be handed out");
  words_member(v, " of ", body, "incident");
  words_member(v, ": ", body, "file");
  words_member(v, ", SHA-256 ", body, "sha256");
  return STYLE_PLAIN;
}

static enum style drilled(struct view *v, const json_t *body) {
  bool ok = json_bool_or(body, "ok", false);
  view_put(v, "a drill restored an incident from the archive");
  words_member(v, ", ", body, "incident");
  if (ok) view_put(v, ": whole, %lld entries", (long long)json_int_or(body, "entries", 0));
  else words_member(v, ": NOT whole: ", body, "why");
  return ok ? STYLE_PLAIN : STYLE_RED;
}

static enum style body_removing(struct view *v, const json_t *body) {
  size_t bundles = json_array_size(json_object_get(body, "bundles")), i;
  json_t *bundle;
  view_put(v, "had the body of entry %lld", (long long)json_int_or(body, "seq", 0));
  words_member(v, " (", body, "type");
  view_put(v, ") removed");
  words_member(v, ": ", body, "because");
  if (bundles) view_put(v, "; %zu bundle%s handed out before still bear%s it", bundles, bundles == 1 ? "" : "s", bundles == 1 ? "s" : "");
  json_array_foreach(json_object_get(body, "bundles"), i, bundle) {
    words_member(v, "\n", bundle, json_str(bundle, "file") ? "file" : "sha256");
    if (json_str(bundle, "file")) words_member(v, ", SHA-256 ", bundle, "sha256");
  }
  return STYLE_YELLOW;
}

static enum style body_removed(struct view *v, const json_t *body) {
  view_put(v, "the body of entry %lld is gone", (long long)json_int_or(body, "seq", 0));
  words_member(v, "; Redis: ", body, "redis");
  return STYLE_PLAIN;
}

words_fn *const words_incident[KIND_COUNT] = {
    [KIND_INCIDENT_OPENED] = opened,
    [KIND_INCIDENT_ADOPTED] = adopted,
    [KIND_INCIDENT_ASSIGNED] = assigned,
    [KIND_INCIDENT_SEVERITY] = severity_set,
    [KIND_INCIDENT_TAGGED] = tagged,
    [KIND_INCIDENT_TITLED] = titled,
    [KIND_INCIDENT_NOTED] = noted,
    [KIND_INCIDENT_MERGED] = merged,
    [KIND_INCIDENT_CLOSED] = closed,
    [KIND_INCIDENT_REOPENED] = reopened,
    [KIND_ALERT_ATTACHED] = attached,
    [KIND_RUN_STARTED] = run_started,
    [KIND_RUN_FINISHED] = run_finished,
    [KIND_RUN_HANDED_OVER] = run_handed_over,
    [KIND_RUN_CANCELLED] = run_cancelled,
    [KIND_WAIT_STARTED] = wait_started,
    [KIND_WAIT_ENDED] = wait_ended,
    [KIND_PARALLEL_STARTED] = parallel_started,
    [KIND_PARALLEL_ENDED] = parallel_ended,
    [KIND_RUNBOOK_TICKED] = ticked,
    [KIND_ENGINE_STARTED] = engine_started,
    [KIND_ENGINE_STOPPED] = engine_stopped,
    [KIND_ENGINE_SETTINGS] = engine_settings,
    [KIND_ENGINE_PAUSED] = engine_paused,
    [KIND_ENGINE_RESUMED] = engine_resumed,
    [KIND_ENGINE_WARNING] = engine_warning,
    [KIND_ENGINE_CHECKED] = engine_checked,
    [KIND_ENGINE_CLOCK] = engine_clock,
    [KIND_ENGINE_GAP] = engine_gap,
    [KIND_ALERT_SUPPRESSED] = suppressed,
    [KIND_ALERT_DEAD] = dead,
    [KIND_REDIS_TAIL_CUT] = tail_cut,
    [KIND_ANCHOR_STAMPED] = stamped,
    [KIND_ANCHOR_COSIGNED] = cosigned,
    [KIND_ANCHOR_COPIED] = copied,
    [KIND_ANCHOR_FAILED] = anchor_failed,
    [KIND_EVIDENCE_EXPORTED] = exported,
    [KIND_BODY_REMOVING] = body_removing,
    [KIND_BODY_REMOVED] = body_removed,
    [KIND_EVIDENCE_DRILLED] = drilled,
};
