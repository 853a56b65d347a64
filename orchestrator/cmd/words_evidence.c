/* Files in custody; what a change of Redis' master may have lost. */
#include "base/json.h"
#include "cmd/words.h"

static void item(struct view *v, const json_t *body) { view_put(v, " file %lld", (long long)json_int_or(body, "item", 0)); }

static enum style collected(struct view *v, const json_t *body) {
  view_put(v, "kept as evidence: ");
  view_text(v, json_str_or(body, "name", "a file"));
  view_put(v, ", %lld bytes", (long long)json_int_or(body, "size", 0));
  words_member(v, ", SHA-256 ", body, "sha256");
  words_member(v, "\nsource: ", body, "source");
  words_member(v, "\nfrom: ", body, "from");
  words_member(v, "\nto: ", body, "to");
  words_member(v, "\ncollected by ", body, "collected_by");
  words_member(v, " at ", body, "collected");
  words_member(v, "\ntool: ", body, "tool");
  words_member(v, "\nbecause: ", body, "because");
  if (json_object_get(body, "replaces")) view_put(v, "\nin the place of file %lld", (long long)json_int_or(body, "replaces", 0));
  words_member(v, "\nunder a legal hold: ", body, "hold");
  return STYLE_PLAIN;
}

static enum style copied(struct view *v, const json_t *body) {
  view_put(v, "took a copy of");
  item(v, body);
  words_member(v, ": ", body, "because");
  return STYLE_DIM;
}

static enum style transferred(struct view *v, const json_t *body) {
  view_put(v, "handed over");
  item(v, body);
  words_member(v, " to ", body, "to");
  words_member(v, ": ", body, "because");
  return STYLE_PLAIN;
}

static enum style acknowledged(struct view *v, const json_t *body) {
  view_put(v, "acknowledged:");
  item(v, body);
  words_member(v, " was received by ", body, "received_by");
  words_member(v, ": ", body, "because");
  return STYLE_PLAIN;
}

static enum style held(struct view *v, const json_t *body) {
  view_put(v, "legal hold on");
  item(v, body);
  words_member(v, ": ", body, "because");
  return STYLE_YELLOW;
}

static enum style hold_lifted(struct view *v, const json_t *body) {
  view_put(v, "legal hold lifted from");
  item(v, body);
  words_member(v, ": ", body, "because");
  return STYLE_PLAIN;
}

static enum style deleted(struct view *v, const json_t *body) {
  view_put(v, "DELETED");
  item(v, body);
  words_member(v, " ", body, "name");
  if (json_bool_or(body, "before_retention", false)) view_put(v, " before its time");
  words_member(v, ": ", body, "because");
  return STYLE_YELLOW;
}

static enum style failover(struct view *v, const json_t *body) {
  view_put(v, "Redis' master is ");
  view_text(v, json_str_or(body, "host", "?"));
  view_put(v, ":%lld now: %lld journals were compared with it", (long long)json_int_or(body, "port", 0),
           (long long)json_int_or(body, "journals", 0));
  if (json_int_or(body, "torn", 0)) view_put(v, ", the ends of %lld are LOST", (long long)json_int_or(body, "torn", 0));
  return json_int_or(body, "torn", 0) ? STYLE_RED : STYLE_YELLOW;
}

static enum style uncertain(struct view *v, const json_t *body) {
  size_t i;
  json_t *e;
  view_put(v, "UNCERTAIN: entries may be missing");
  if (json_int_or(body, "from", 0))
    view_put(v, " (%lld to %lld)", (long long)json_int_or(body, "from", 0), (long long)json_int_or(body, "to", 0));
  words_member(v, ": ", body, "why");
  view_put(v, ". Nothing above `read` is sent until a person agrees");
  json_array_foreach(json_object_get(body, "known"), i, e) {
    view_put(v, "\nlost: %lld", (long long)json_int_or(e, "seq", 0));
    words_member(v, " ", e, "type");
    if (json_int_or(e, "run", 0)) view_put(v, " of run %lld", (long long)json_int_or(e, "run", 0));
    words_member(v, ", step ", e, "step");
  }
  return STYLE_RED;
}

static enum style agreed(struct view *v, const json_t *body) {
  view_put(v, "agreed to go on although entries may be missing");
  words_member(v, ": ", body, "because");
  return STYLE_YELLOW;
}

words_fn *const words_evidence[KIND_COUNT] = {
    [KIND_EVIDENCE_COLLECTED] = collected,
    [KIND_EVIDENCE_COPIED] = copied,
    [KIND_EVIDENCE_TRANSFERRED] = transferred,
    [KIND_EVIDENCE_ACKNOWLEDGED] = acknowledged,
    [KIND_EVIDENCE_HELD] = held,
    [KIND_EVIDENCE_HOLD_LIFTED] = hold_lifted,
    [KIND_EVIDENCE_DELETED] = deleted,
    [KIND_REDIS_FAILOVER] = failover,
    [KIND_JOURNAL_UNCERTAIN] = uncertain,
    [KIND_JOURNAL_AGREED] = agreed,
};
