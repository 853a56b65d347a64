/* Files in custody. */
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

words_fn *const words_evidence[KIND_COUNT] = {
    [KIND_EVIDENCE_COLLECTED] = collected,       [KIND_EVIDENCE_COPIED] = copied, [KIND_EVIDENCE_TRANSFERRED] = transferred,
    [KIND_EVIDENCE_ACKNOWLEDGED] = acknowledged, [KIND_EVIDENCE_HELD] = held,     [KIND_EVIDENCE_HOLD_LIFTED] = hold_lifted,
    [KIND_EVIDENCE_DELETED] = deleted,
};
