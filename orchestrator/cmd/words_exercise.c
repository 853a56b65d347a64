/* Exercises and corrective actions. */
#include <string.h>

#include "base/json.h"
#include "cmd/words.h"

static enum style started(struct view *v, const json_t *body) {
  view_put(v, "EXERCISE began");
  words_member(v, ": ", body, "scenario");
  words_member(v, ", speed ", body, "speed");
  words_member(v, ", seed ", body, "seed");
  return STYLE_BOLD;
}

static enum style injected(struct view *v, const json_t *body) {
  const char *kind = json_str_or(body, "kind", "news");
  view_put(v, "inject ");
  view_text(v, json_str_or(body, "inject", ""));
  if (strcmp(kind, "world") == 0) view_put(v, ": the world changed");
  else view_put(v, ": "), view_text(v, kind);
  words_member(v, " from ", body, "source");
  words_member(v, " from ", body, "from");
  words_member(v, " to ", body, "to");
  words_member(v, ": ", body, "text");
  return STYLE_BLUE;
}

static enum style skipped(struct view *v, const json_t *body) {
  view_put(v, "the facilitator left out inject ");
  view_text(v, json_str_or(body, "inject", ""));
  words_member(v, ": ", body, "because");
  return STYLE_DIM;
}

static enum style played(struct view *v, const json_t *body) {
  view_put(v, "the script plays");
  words_member(v, " ", body, "play");
  return STYLE_DIM;
}

static enum style paused(struct view *v, const json_t *body) {
  view_put(v, "the exercise's clock was stopped");
  words_member(v, ": ", body, "because");
  return STYLE_YELLOW;
}

static enum style resumed(struct view *v, const json_t *body) {
  view_put(v, "the exercise's clock goes on");
  words_member(v, ", speed ", body, "speed");
  return STYLE_PLAIN;
}

static enum style jumped(struct view *v, const json_t *body) {
  const json_t *to = json_object_get(body, "to");
  view_put(v, "the exercise's clock was set forward");
  if (!json_is_integer(to)) return STYLE_YELLOW;
  view_put(v, " to ");
  view_moment(v, json_integer_value(to));
  return STYLE_YELLOW;
}

static enum style ended(struct view *v, const json_t *body) {
  bool aborted = strcmp(json_str_or(body, "status", ""), "aborted") == 0;
  view_put(v, aborted ? "EXERCISE broken off" : "EXERCISE over");
  words_member(v, ": ", body, "because");
  return aborted ? STYLE_RED : STYLE_BOLD;
}

static enum style corrective_added(struct view *v, const json_t *body) {
  view_put(v, "corrective action");
  words_member(v, " ", body, "id");
  words_member(v, ": ", body, "text");
  words_member(v, "; owner ", body, "owner");
  words_member(v, ", due ", body, "due");
  words_member(v, "; seen before: ", body, "recurs");
  return STYLE_YELLOW;
}

static enum style corrective_closed(struct view *v, const json_t *body) {
  view_put(v, "corrective action");
  words_member(v, " ", body, "id");
  view_put(v, " closed");
  words_member(v, ": ", body, "evidence");
  return STYLE_GREEN;
}

words_fn *const words_exercise[KIND_COUNT] = {
    [KIND_EXERCISE_STARTED] = started,
    [KIND_EXERCISE_INJECTED] = injected,
    [KIND_EXERCISE_SKIPPED] = skipped,
    [KIND_EXERCISE_PLAYED] = played,
    [KIND_EXERCISE_PAUSED] = paused,
    [KIND_EXERCISE_RESUMED] = resumed,
    [KIND_EXERCISE_JUMPED] = jumped,
    [KIND_EXERCISE_ENDED] = ended,
    [KIND_CORRECTIVE_ADDED] = corrective_added,
    [KIND_CORRECTIVE_CLOSED] = corrective_closed,
};
