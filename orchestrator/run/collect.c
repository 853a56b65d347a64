/* collect: what an action brought back, or a text of the playbook's, is taken into custody as a file. The bytes are durable before the entry that ends the step names them. In a
 * simulated run nothing is kept: the step ends with an outcome that says so. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "run/internal.h"

/* What is kept: a text as it is, anything else as JSON with sorted keys. Without secrets' values, so that a replay, which is fed what the journal holds, makes the same bytes.
 * The caller frees. */
static char *content_of(const struct step *s, size_t *ret_len) {
  const struct secrets *secrets = journal_store_of(s->run->journal)->secrets;
  json_t *shown = secrets ? secrets_redact_json(secrets, s->args) : json_incref(s->args), *content = json_object_get(shown, "content");
  char *bytes;
  if (json_is_string(content)) {
    *ret_len = json_string_length(content);
    bytes = malloc(*ret_len + 1);
    if (bytes) memcpy(bytes, json_string_value(content), *ret_len + 1);
  } else {
    bytes = json_text(content);
    *ret_len = bytes ? strlen(bytes) : 0;
  }
  if (!bytes) abort();
  json_decref(shown);
  return bytes;
}

static void digest_of(const struct step *s, char out[DIGEST_HEX], size_t *ret_len) {
  uint8_t digest[DIGEST_BYTES];
  char *bytes = content_of(s, ret_len);
  digest_sha256(bytes, *ret_len, digest);
  hex_encode(digest, sizeof digest, out);
  free(bytes);
}

static bool on_kept(void *arg, json_t *body, const struct err *err) {
  struct ticket *t = arg;
  struct step *s = t->step;
  free(t);
  if (!s) return false;
  s->ticket = NULL;
  if (err && err->code == ERR_CANCELLED) return false; /* the engine is stopping: the run is taken up again */
  if (err) {
    step_refuse(s, err_name(err->code), err->text);
    return false;
  }
  journal_save_state(s->run->journal);
  step_add(s, KIND_EVIDENCE_COLLECTED, json_incref(body));
  step_called(s);
  return true;
}

json_t *collect_shown(const struct step *s) {
  char sha256[DIGEST_HEX];
  size_t len;
  digest_of(s, sha256, &len);
  return json_pack("{s:s, s:I}", "sha256", sha256, "size", (json_int_t)len);
}

static void simulate(struct step *s) {
  step_add(s, KIND_ACTION_OUTCOME,
           json_pack("{s:s, s:b, s:b, s:O, s:o}", "verb", "collect", "ok", 1, "simulated", 1, "name", json_object_get(s->args, "name"),
                     "returns", collect_shown(s)));
  step_called(s);
}

static void collect_start(struct step *s) {
  const struct run_world *world = &s->run->all->deps.world;
  struct err err;
  size_t len;
  if (s->run->simulated) {
    simulate(s);
    return;
  }
  if (!world->collect) {
    step_refuse(s, "unavailable", "no files are kept here");
    return;
  }
  char *bytes = content_of(s, &len);
  s->ticket = calloc(1, sizeof *s->ticket);
  if (!s->ticket) abort();
  s->ticket->step = s;
  json_t *facts = json_copy(s->args);
  json_object_del(facts, "content");
  json_object_set_new(facts, "from", json_sprintf("%s/%u/%s", journal_incident(s->run->journal), s->run->number, s->path));
  if (!json_object_get(facts, "tool"))
    json_object_set_new(facts, "tool", json_sprintf("playbook %s %.12s", s->run->playbook->name, s->run->playbook->digest));
  if (world->collect(world->arg, s->run->journal, facts, bytes, len, on_kept, s->ticket, &err) < 0) {
    free(s->ticket);
    s->ticket = NULL;
    step_refuse(s, err_name(err.code), err.text);
  }
  json_decref(facts);
}

/* It was not on record: what was kept of it is removed by the next start, and this keeps it anew. */
static void collect_again(struct step *s, const json_t *history) { collect_start(s); }

static bool is_simulated(enum kind kind, const json_t *body) {
  return kind == KIND_ACTION_OUTCOME && strcmp(json_str_or(body, "verb", ""), "collect") == 0;
}

static bool collect_ends(const struct step *s, enum kind kind, const json_t *body) {
  return kind == KIND_EVIDENCE_COLLECTED || is_simulated(kind, body) || verb_refused(s, kind, body);
}

static void collect_answer(const struct step *s, struct answer *out) {
  if (s->kind == KIND_ACTION_REFUSED) {
    refused_answer(s, out);
    return;
  }
  const json_t *of = s->kind == KIND_EVIDENCE_COLLECTED ? s->body : json_object_get(s->body, "returns");
  out->value = json_pack("{s:I, s:s, s:I}", "item", (json_int_t)s->seq, "sha256", json_str_or(of, "sha256", ""), "size",
                         (json_int_t)json_int_or(of, "size", 0));
}

/* The same content, whatever else the entry says. */
static bool collect_same(const struct step *s, const json_t *history) {
  static const char *const keys[] = {"name", "because", NULL};
  const json_t *kept = history_find(history, KIND_EVIDENCE_COLLECTED), *done = history_find(history, KIND_ACTION_OUTCOME),
               *refused = history_find(history, KIND_ACTION_REFUSED);
  char sha256[DIGEST_HEX];
  size_t len;
  if (!kept && !is_simulated(KIND_ACTION_OUTCOME, done)) return verb_refused(s, KIND_ACTION_REFUSED, refused);
  digest_of(s, sha256, &len);
  const char *recorded = json_str_or(kept ? kept : json_object_get(done, "returns"), "sha256", sha256);
  return strcmp(recorded, sha256) == 0 && args_agree(s, s->args, kept ? kept : done, keys);
}

const struct verb verb_collect = {"collect", collect_start, collect_ends, collect_answer, collect_same, collect_again};
