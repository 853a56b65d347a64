/* An incident's alerts, as its playbooks see them. Few look at them more than once, many never: until somebody does they stay the bytes of their entries, of which one
 * copy is soon made and soon freed, where a tree is hundreds of blocks. */
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "evidence/leaf.h"
#include "base/slab.h"
#include "incident/internal.h"

struct unread {
  STAILQ_ENTRY(unread) next;
  size_t len;
  char body[]; /* of an alert.attached */
};

json_t *incident_alert(const json_t *finding, const json_t *raw) {
  json_t *alert = json_copy((json_t *)(uintptr_t)finding);
  if (raw) json_object_set(alert, "raw", (json_t *)(uintptr_t)raw);
  return alert;
}

/* The document as it was parsed; a line that is no JSON is its own text. NULL: it is gone. */
static json_t *raw_of(const json_t *body) {
  json_t *text = json_object_get(body, "raw"), *raw = NULL;
  const char *coded = json_str(body, "raw_base64");
  size_t len = 0;
  if (json_is_string(text)) return json_parse(json_string_value(text), json_string_length(text), &raw, NULL) < 0 ? json_incref(text) : raw;
  uint8_t *bytes = coded ? base64_decode(coded, strlen(coded), &len) : NULL;
  if (bytes && json_parse((const char *)bytes, len, &raw, NULL) < 0) raw = NULL;
  free(bytes);
  return raw;
}

void incident_alert_add(json_t *alerts, const json_t *body) {
  const json_t *finding = json_object_get(body, "finding");
  if (!json_is_object(finding) || json_array_size(alerts) >= ALERTS_KEPT) return;
  json_t *raw = raw_of(body);
  json_array_append_new(alerts, incident_alert(finding, raw));
  json_decref(raw);
}

void incident_alert_keep(struct incident *inc, const struct entry *e) {
  if (!e || e->envelope_len < ENVELOPE_PREFIX || json_array_size(inc->alerts) + inc->unread_count >= ALERTS_KEPT) return;
  size_t len = e->envelope_len - ENVELOPE_PREFIX;
  struct unread *u = slab_alloc(sizeof *u + len);
  if (!u) abort();
  u->len = len;
  memcpy(u->body, e->envelope + ENVELOPE_PREFIX, len);
  STAILQ_INSERT_TAIL(&inc->unread, u, next);
  inc->unread_count++;
}

static void unread_drop(struct incident *inc, struct unread *u) {
  STAILQ_REMOVE_HEAD(&inc->unread, next);
  inc->unread_count--;
  slab_free(u);
}

json_t *incident_alerts(struct incident *inc) {
  struct unread *u;
  while ((u = STAILQ_FIRST(&inc->unread))) {
    json_t *body = NULL;
    if (json_parse_stored(u->body, u->len, &body, NULL) == 0) incident_alert_add(inc->alerts, body);
    json_decref(body);
    unread_drop(inc, u);
  }
  return inc->alerts;
}

void incident_alerts_set(struct incident *inc, json_t *alerts_take) {
  while (!STAILQ_EMPTY(&inc->unread)) unread_drop(inc, STAILQ_FIRST(&inc->unread));
  json_decref(inc->alerts);
  inc->alerts = alerts_take;
}
