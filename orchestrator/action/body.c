/* What the entries about an action say of it. An intent and an outcome are written straight away, their members in the order of their names: each
 * action leaves them, and of most nobody wants more than the bytes. */
#include <stdlib.h>
#include <string.h>

#include "action/internal.h"
#include "base/json_members.h"

json_t *action_named(const struct action *x) {
  const struct form *f = x->form;
  json_t *body = json_object();
  json_object_set(body, "action", f->word_action);
  json_object_set(body, "connector", f->word_connector);
  json_object_set(body, "effect", f->word_effect);
  json_object_set(body, "target", x->target);
  return body;
}

json_t *action_about(struct action *x) {
  json_t *about = action_named(x);
  json_object_set_new(about, "digest", json_string(x->digest));
  json_object_set(about, "params", x->params);
  if (action_request(x)) json_object_set(about, "request", x->request);
  if (x->because) json_object_set_new(about, "because", json_string(x->because));
  return about;
}

void action_intent_write(const struct action *x, int64_t send_before, struct buf *out) {
  const struct form *f = x->form;
  json_add_value(out, "{\"action\":", f->word_action);
  json_add_int(out, JSON_MEMBER("attempt"), x->attempt);
  json_add_text(out, JSON_MEMBER("because"), x->because);
  json_add_value(out, JSON_MEMBER("connector"), f->word_connector);
  json_add_text(out, JSON_MEMBER("digest"), x->digest); /* an earlier intent may have brought it */
  json_add_value(out, JSON_MEMBER("effect"), f->word_effect);
  json_add_word(out, JSON_MEMBER("key"), x->key);
  if (x->lift_ms) json_add_int(out, JSON_MEMBER("lift_at"), action_now(x) + x->lift_ms * 1000);
  json_add_value(out, JSON_MEMBER("params"), x->params);
  if (x->rendered) buf_adds(out, JSON_MEMBER("request")), buf_add(out, x->rendered, x->rendered_len);
  else json_add_value(out, JSON_MEMBER("request"), x->request);
  json_add_int(out, JSON_MEMBER("send_before"), send_before);
  json_add_int(out, JSON_MEMBER("settle"), f->settle_ms);
  if (x->simulated) buf_adds(out, JSON_MEMBER("simulated") "true");
  json_add_value(out, JSON_MEMBER("target"), x->target);
  json_add_int(out, JSON_MEMBER("timeout"), f->timeout_ms);
  json_add_text(out, JSON_MEMBER("undo_of"), x->undo_of);
  json_add_value(out, JSON_MEMBER("version"), f->word_version);
  buf_addc(out, '}');
}

/* What is on record of a response too large for it, of which these are the bytes. New. */
static json_t *response_named(const json_t *response, const char *bytes, size_t len) {
  uint8_t digest[DIGEST_BYTES];
  char sha256[DIGEST_HEX];
  digest_sha256(bytes, len, digest);
  hex_encode(digest, sizeof digest, sha256);
  return json_pack("{s:s, s:I, s:O*}", "sha256", sha256, "bytes", (json_int_t)len, "status", json_object_get(response, "status"));
}

json_t *action_response_kept(const json_t *response) {
  char *text = json_text(response);
  size_t len = text ? strlen(text) : 0;
  json_t *kept = len <= RESPONSE_KEPT ? json_incref((json_t *)(uintptr_t)response) : response_named(response, text, len);
  free(text);
  return kept;
}

static void response_write(const json_t *response, struct buf *out) {
  buf_adds(out, JSON_MEMBER("response"));
  size_t from = out->len;
  json_write(response, out);
  if (!buf_ok(out) || out->len - from <= RESPONSE_KEPT) return;
  json_t *named = response_named(response, out->data + from, out->len - from);
  out->len = from;
  json_write(named, out);
  json_decref(named);
}

void action_outcome_write(const struct action *x, bool ok, const char *status, const json_t *response, struct buf *out) {
  const struct form *f = x->form;
  bool read = x->effect == EFFECT_READ;
  json_add_value(out, "{\"action\":", f->word_action);
  json_add_value(out, JSON_MEMBER("connector"), f->word_connector);
  if (status) json_add_word(out, JSON_MEMBER("contains"), status);
  json_add_value(out, JSON_MEMBER("effect"), f->word_effect);
  if (!ok) json_add_value(out, JSON_MEMBER("failure"), x->returns);
  buf_adds(out, ok ? JSON_MEMBER("ok") "true" : JSON_MEMBER("ok") "false");
  if (read) json_add_value(out, JSON_MEMBER("params"), x->params);
  if (read) json_add_value(out, JSON_MEMBER("request"), x->request);
  if (response) response_write(response, out);
  if (ok) json_add_value(out, JSON_MEMBER("returns"), x->returns);
  if (x->simulated) buf_adds(out, JSON_MEMBER("simulated") "true");
  json_add_value(out, JSON_MEMBER("target"), x->target);
  json_add_int(out, JSON_MEMBER("took_ms"), (action_now(x) - x->began) / 1000);
  json_add_text(out, JSON_MEMBER("undo_of"), x->undo_of);
  buf_addc(out, '}');
}
