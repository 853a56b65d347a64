#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cmd/blocks.h"
#include "cmd/words.h"

enum { RETURNS_SHOWN = 3 };

void words_action_name(struct view *v, const json_t *body) {
  const char *action = json_str(body, "action"), *connector = json_str(body, "connector"), *effect = json_str(body, "effect");
  char words[128];
  snprintf(words, sizeof words, "%s", action ? action : json_str_or(body, "verb", "an action"));
  for (char *p = words; *p; p++)
    if (*p == '_') *p = ' ';
  if (connector) {
    view_text(v, connector);
    view_put(v, ": ");
  }
  view_text(v, words);
  if (json_object_size(json_object_get(body, "target"))) {
    view_put(v, ", ");
    view_target(v, json_object_get(body, "target"));
  }
  if (effect) {
    view_put(v, " (");
    view_text(v, effect);
    view_put(v, ")");
  }
  if (json_bool_or(body, "simulated", false)) view_put(v, " [simulated]");
}

static enum style proposed(struct view *v, const json_t *body) {
  view_put(v, "prepared ");
  words_action_name(v, body);
  return STYLE_DIM;
}

static enum style held(struct view *v, const json_t *body) {
  view_put(v, "waits: ");
  words_action_name(v, body);
  words_member(v, ": ", body, "why");
  return STYLE_YELLOW;
}

static enum style refused(struct view *v, const json_t *body) {
  view_put(v, "REFUSED ");
  words_action_name(v, body);
  words_member(v, ": ", body, "why");
  return STYLE_RED;
}

static enum style intended(struct view *v, const json_t *body) {
  view_put(v, json_str(body, "undo_of") ? "sends (lifting a containment) " : "sends ");
  words_action_name(v, body);
  words_member(v, ", because ", body, "because");
  return STYLE_DIM;
}

/* A few plain values of what came back: a ticket's id says more than "ok". */
static void returns_add(struct view *v, const json_t *returns) {
  const char *key;
  json_t *value;
  unsigned shown = 0;
  json_object_foreach((json_t *)(uintptr_t)returns, key, value) {
    bool plain = json_is_integer(value) || json_is_true(value) || (json_is_string(value) && json_string_length(value) <= 60);
    if (!plain || shown == RETURNS_SHOWN) continue;
    view_put(v, shown++ ? ", " : "  -> ");
    view_text(v, key);
    if (json_is_true(value)) continue;
    view_put(v, " ");
    view_value(v, value);
  }
}

static void took(struct view *v, const json_t *body) {
  long long ms = (long long)json_int_or(body, "took_ms", -1);
  if (ms >= 0) view_put(v, "  %lld.%lld s", ms / 1000, ms % 1000 / 100);
}

static enum style outcome(struct view *v, const json_t *body) {
  bool ok = json_bool_or(body, "ok", false);
  const json_t *failure = json_object_get(body, "failure");
  if (json_str(body, "verb")) { /* collect, in a simulated run */
    words_member(v, "would have been kept as evidence: ", body, "name");
    return STYLE_DIM;
  }
  words_action_name(v, body);
  view_put(v, ok ? "  ok" : "  FAILED");
  took(v, body);
  if (ok) returns_add(v, json_object_get(body, "returns"));
  words_member(v, ": ", failure, "message");
  if (ok && strcmp(json_str_or(body, "contains", ""), "found") == 0) view_put(v, " (was so already, not our doing)");
  return ok ? STYLE_GREEN : STYLE_RED;
}

static enum style in_doubt(struct view *v, const json_t *body) {
  view_put(v, "IN DOUBT ");
  words_action_name(v, body);
  view_put(v, ": it may or may not have happened");
  words_member(v, " (", body, "why");
  if (json_str(body, "why")) view_put(v, ")");
  return STYLE_RED;
}

static enum style resolved(struct view *v, const json_t *body) {
  static const char *const verdicts[][2] = {
      {"done", "resolved: it happened"},
      {"happened", "resolved: it happened"},
      {"not_done", "resolved: it did not happen, it is sent again"},
      {"did_not", "resolved: it did not happen"},
      {"not_sent", "had not left"},
      {"abandoned", "resolved: given up"},
  };
  const char *verdict = json_str_or(body, "verdict", "?"), *text = NULL;
  for (size_t i = 0; i < sizeof verdicts / sizeof *verdicts; i++)
    if (strcmp(verdicts[i][0], verdict) == 0) text = verdicts[i][1];
  if (text) view_put(v, "%s", text);
  else words_member(v, "resolved: ", body, "verdict");
  words_member(v, " (", body, "why");
  if (json_str(body, "why")) view_put(v, ")");
  return STYLE_YELLOW;
}

static enum style asked(struct view *v, const json_t *body) {
  const json_t *options = json_object_get(body, "options");
  size_t i;
  json_t *option;
  view_put(v, "asks: ");
  words_lines(v, json_str_or(body, "text", ""));
  json_array_foreach((json_t *)(uintptr_t)options, i, option) {
    view_put(v, i ? "|" : "  [");
    view_text(v, json_string_value(option));
  }
  if (json_array_size(options)) view_put(v, "]");
  words_member(v, "  role ", body, "role");
  if (json_int_or(body, "deadline", 0)) {
    view_put(v, ", until ");
    view_moment(v, json_int_or(body, "deadline", 0));
    words_member(v, ", then ", body, "otherwise");
  }
  return STYLE_YELLOW;
}

static enum style answered(struct view *v, const json_t *body) {
  words_member(v, "answered ", body, "answer");
  if (json_bool_or(body, "more", false)) view_put(v, " (more people must agree)");
  return STYLE_BOLD;
}

static enum style expired(struct view *v, const json_t *body) {
  view_put(v, "nobody answered in time");
  words_member(v, ", so: ", body, "answer");
  return STYLE_YELLOW;
}

static enum style answer_refused(struct view *v, const json_t *body) {
  words_member(v, "answer refused: ", body, "answer");
  words_member(v, ": ", body, "why");
  return STYLE_YELLOW;
}

static enum style notified(struct view *v, const json_t *body) {
  bool ok = json_bool_or(body, "ok", true);
  view_put(v, ok ? "people were told" : "people could NOT be told");
  words_member(v, ": ", body, "to");
  words_member(v, " by ", body, "channel");
  words_member(v, ": ", body, "why");
  return ok ? STYLE_DIM : STYLE_RED;
}

static enum style kept(struct view *v, const json_t *body) {
  words_member(v, "step ", body, "of");
  view_put(v, " stays contained");
  words_member(v, ": also held by ", body, "holders");
  return STYLE_YELLOW;
}

static enum style released(struct view *v, const json_t *body) {
  words_member(v, "RELEASED what step ", body, "of");
  view_put(v, " contained");
  return STYLE_GREEN;
}

static enum style still(struct view *v, const json_t *body) {
  view_put(v, "STILL CONTAINED: lifting");
  words_member(v, " step ", body, "of");
  view_put(v, " failed");
  words_member(v, ": ", body, "why");
  return STYLE_RED;
}

static enum style sealed(struct view *v, const json_t *body) {
  view_put(v, "a secret was sealed");
  words_member(v, ": ", body, "name");
  words_member(v, ": ", body, "slot");
  words_member(v, ", fingerprint ", body, "fingerprint");
  return STYLE_DIM;
}

static enum style delivered(struct view *v, const json_t *body) {
  view_put(v, "a new secret was delivered");
  words_member(v, ": ", body, "name");
  words_member(v, " to ", body, "to");
  return STYLE_PLAIN;
}

static enum style taken(struct view *v, const json_t *body) {
  view_put(v, "took a sealed secret");
  words_member(v, ": ", body, "name");
  words_member(v, ": ", body, "slot");
  return STYLE_YELLOW;
}

static enum style tried(struct view *v, const json_t *body) {
  view_put(v, "tried by hand: ");
  words_action_name(v, body);
  words_member(v, ", because ", body, "because");
  return STYLE_YELLOW;
}

/* "would have asked: Keep it?" and the like, of the verbs that are no action. */
static void would_verb(struct view *v, const char *verb, const json_t *body) {
  static const char *const words[][2] = {{"ask", "asked"},
                                         {"note", "noted"},
                                         {"severity", "set the severity"},
                                         {"assign", "assigned it"},
                                         {"tag", "tagged it"},
                                         {"close", "closed"},
                                         {"release", "released"},
                                         {"undo", "lifted a containment"},
                                         {"hand_over", "handed over"},
                                         {"collect", "kept as evidence"}};
  const char *text = verb;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcmp(words[i][0], verb) == 0) text = words[i][1];
  view_text(v, text);
  static const char *const shown[] = {"text", "severity", "to", "tag", "verdict", "of", "name", NULL};
  for (const char *const *k = shown; *k; k++) words_member(v, ": ", body, *k);
}

void words_would(struct view *v, const json_t *body) {
  const char *verb = json_str_or(body, "verb", "action");
  const json_t *approval = json_object_get(body, "approval");
  view_put(v, "WOULD have ");
  if (json_str(body, "action")) {
    view_put(v, strcmp(verb, "undo") == 0 ? "lifted a containment by " : "sent ");
    words_action_name(v, body);
    words_member(v, ", because ", body, "because");
  } else {
    would_verb(v, verb, body);
  }
  if (strcmp(verb, "ask") == 0) words_member(v, "; goes on as if answered ", body, "answer");
  if (approval) view_put(v, "; %lld would have been asked to approve", (long long)json_int_or(approval, "count", 1));
  words_member(v, "; simulated, it failed: ", json_object_get(body, "failure"), "message");
  words_member(v, "\nrequest ", body, "request");
}

static enum style would(struct view *v, const json_t *body) {
  words_would(v, body);
  return STYLE_PLAIN;
}

words_fn *const words_action[KIND_COUNT] = {
    [KIND_RUN_WOULD] = would,
    [KIND_ACTION_PROPOSED] = proposed,
    [KIND_ACTION_HELD] = held,
    [KIND_ACTION_REFUSED] = refused,
    [KIND_ACTION_INTENDED] = intended,
    [KIND_ACTION_OUTCOME] = outcome,
    [KIND_ACTION_IN_DOUBT] = in_doubt,
    [KIND_ACTION_RESOLVED] = resolved,
    [KIND_QUESTION_ASKED] = asked,
    [KIND_QUESTION_ANSWERED] = answered,
    [KIND_QUESTION_EXPIRED] = expired,
    [KIND_QUESTION_REFUSED] = answer_refused,
    [KIND_QUESTION_NOTIFIED] = notified,
    [KIND_CONTAINMENT_KEPT] = kept,
    [KIND_CONTAINMENT_RELEASED] = released,
    [KIND_CONTAINMENT_STILL] = still,
    [KIND_SECRET_SEALED] = sealed,
    [KIND_SECRET_DELIVERED] = delivered,
    [KIND_SECRET_TAKEN] = taken,
    [KIND_ACTION_TRIED] = tried,
};
