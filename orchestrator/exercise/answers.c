/* What simulated connectors say in an exercise, and its chance: both follow from its seed and the place that asks, so that it can be played again. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/digest.h"
#include "base/json.h"
#include "exercise/exercise.h"

enum { LATENCY_LEAST_MS = 120, LATENCY_SPAN_MS = 1900 };

/* The exercise's own number is taken off: another play of the same seed has other ids. */
static void chance(const struct exercise *x, const char *what, const char *place, uint8_t out[DIGEST_BYTES]) {
  struct id id = {0};
  char text[ID_PATH * 2];
  id_parse(place, &id);
  snprintf(text, sizeof text, "%" PRId64 "|%s|%" PRIu64 "/%u/%s", json_int_or(x->started, "seed", 0), what, id.number - x->number, id.run,
           id.step);
  digest_sha256(text, strlen(text), out);
}

void exercise_seed(void *arg, const char *incident, unsigned run, char out[33]) {
  uint8_t digest[DIGEST_BYTES];
  char place[ID_PATH];
  id_path(place, incident, run, NULL);
  chance(arg, "run", place, digest);
  hex_encode(digest, 16, out);
}

static json_t *failure(const json_t *fails) {
  return json_pack("{s:{s:s, s:s, s:b}}", "error", "kind", json_str_or(fails, "kind", "unavailable"), "message",
                   json_str_or(fails, "message", "it failed"), "retry", 1);
}

/* In place of the connector's own answer, or of parts of it. */
static json_t *said(const json_t *says, json_t *own_take) {
  if (json_object_get(says, "fails")) {
    json_decref(own_take);
    return failure(json_object_get(says, "fails"));
  }
  json_t *returns = json_object_get(says, "returns");
  bool already = json_bool_or(says, "already", false);
  if (!returns && !already) return own_take;
  json_t *made = json_object_get(own_take, "error") || !json_is_object(own_take) ? json_object() : json_deep_copy(own_take);
  json_object_update(made, returns);
  if (already) json_object_set_new(made, "already", json_true());
  json_decref(own_take);
  return made;
}

json_t *exercise_answer(void *arg, const char *connector, const char *action, const char *id, const json_t *params, json_t *own_take,
                        int64_t *ret_latency_ms) {
  struct exercise *x = arg;
  uint8_t digest[DIGEST_BYTES];
  char name[256];
  snprintf(name, sizeof name, "%s.%s", connector, action);
  struct scenario_play p = exercise_play(x);
  const json_t *says = scenario_answer(x->scenario, &p, name, params, exercise_now(x));
  chance(x, name, id, digest);
  *ret_latency_ms = json_int_or(says, "latency", LATENCY_LEAST_MS + (digest[0] << 8 | digest[1]) % LATENCY_SPAN_MS);
  return says ? said(says, own_take) : own_take;
}
