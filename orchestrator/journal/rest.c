/* What of an incident is alive or unfinished: told from its state alone. */
#include <string.h>

#include "base/json.h"
#include "journal/state.h"

static bool contains(const json_t *state, bool found) {
  const char *key;
  json_t *c;
  json_object_foreach(json_object_get(state, "containments"), key, c) {
    const char *status = json_str_or(c, "status", "");
    if (strcmp(status, "active") == 0 || strcmp(status, "still") == 0 || (found && strcmp(status, "found") == 0)) return true;
  }
  return false;
}

static bool any_run(const json_t *state) {
  const char *key;
  json_t *run;
  json_object_foreach(json_object_get(state, "runs"), key, run) if (strcmp(json_str_or(run, "status", ""), "running") == 0) return true;
  return false;
}

static size_t size(const json_t *state, const char *member) { return json_object_size(json_object_get(state, member)); }

bool state_holds_targets(const json_t *state) { return contains(state, true); }

bool state_at_rest(const json_t *state) {
  return strcmp(json_str_or(state, "status", ""), "open") != 0 && !contains(state, false) && !any_run(state) && !size(state, "questions") &&
         !size(state, "intents") && !size(state, "chosen");
}

/* Any member of that object without `done`. */
static bool any_without(const json_t *state, const char *member, const char *done) {
  const char *key;
  json_t *one;
  json_object_foreach(json_object_get(state, member), key,
                      one) if (!json_is_true(json_object_get(one, done)) && !json_int_or(one, done, 0)) return true;
  return false;
}

/* Of files in custody: a hold says that somebody will come back to it, and a receiver has still to acknowledge. */
static const char *files_unfinished(const json_t *state) {
  const char *key;
  json_t *file;
  json_object_foreach(json_object_get(state, "files"), key, file) {
    if (json_object_get(file, "deleted")) continue;
    if (json_object_get(file, "hold")) return "a file is under a legal hold";
    if (json_object_get(file, "transfer") && !json_object_get(file, "acknowledged")) return "a receiver has not acknowledged a file";
  }
  return NULL;
}

const char *state_unfinished(const json_t *state) {
  if (strcmp(json_str_or(state, "status", ""), "open") == 0) return "it is open";
  if (contains(state, true)) return "it contains something";
  if (any_run(state) || size(state, "waits")) return "a run is under way";
  if (size(state, "questions") || size(state, "chosen")) return "a question is open";
  if (size(state, "intents") || size(state, "held")) return "an action is held, in flight or in doubt";
  if (any_without(state, "removals", "done")) return "an entry is being removed";
  if (any_without(state, "corrective", "closed")) return "a corrective action is open";
  return files_unfinished(state);
}
