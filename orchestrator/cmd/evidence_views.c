#include "cmd/evidence_views.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "evidence/leaf.h"

json_t *evidence_seal(const struct checkpoint *c, const struct note_verifier *key, size_t covered) {
  char root[DIGEST_HEX], verifier[NOTE_VERIFIER_TEXT];
  hex_encode(c->root.bytes, DIGEST_BYTES, root);
  note_verifier_write(key, verifier);
  return json_pack("{s:s, s:I, s:s, s:I, s:s}", "origin", c->origin, "size", (json_int_t)c->size, "root", root, "covered",
                   (json_int_t)covered, "verifier", verifier);
}

static int text_add(struct zip *z, const char *incident, const char *file, const struct buf *bytes, struct err *err) {
  char name[ZIP_NAME];
  if (!buf_ok(bytes)) return err_set(err, ERR_LIMIT, "%s of %s is too large", file, incident ? incident : "the bundle");
  if (incident) snprintf(name, sizeof name, "incidents/%.80s/%s", incident, file);
  else snprintf(name, sizeof name, "%s", file);
  return zip_add(z, name, bytes->data, bytes->len, err);
}

static int json_add(struct zip *z, const char *incident, const char *file, const json_t *value, struct err *err) {
  struct buf bytes;
  char *text = json_dumps(value, JSON_INDENT(2) | JSON_SORT_KEYS);
  buf_init(&bytes, REPORT_CAP);
  if (!text) abort();
  buf_adds(&bytes, text);
  buf_addc(&bytes, '\n');
  int r = text_add(z, incident, file, &bytes, err);
  buf_release(&bytes);
  free(text);
  return r;
}

/* What an index says of it. */
static json_t *row_of(const json_t *facts, const json_t *seal) {
  static const char *const keys[] = {"id", "title", "status", "severity", "mode", "entries", "first", "last", "removed", "times", NULL};
  json_t *row = json_object();
  for (const char *const *k = keys; *k; k++)
    if (json_object_get(facts, *k)) json_object_set(row, *k, json_object_get(facts, *k));
  json_object_set_new(row, "sealed", json_integer(json_int_or(seal, "covered", 0)));
  const char *verdict = json_str(json_object_get(facts, "closing"), "verdict");
  if (verdict) json_object_set_new(row, "verdict", json_string(verdict));
  return row;
}

int evidence_views_add(struct zip *z, const struct evidence_case *c, const json_t *seal, json_t *contents, struct err *err) {
  static const char *const views[] = {"report.html", "timeline.csv", "ocsf.json", "stix.json"};
  struct report_source s;
  json_t *none = json_object();
  evidence_case_source(c, seal, &s);
  json_t *facts = report_facts(&s);
  int r = json_add(z, c->id, "names.json", c->names ? c->names : none, err);
  for (size_t i = 0; r == 0 && i < sizeof views / sizeof *views; i++) {
    struct buf out;
    buf_init(&out, REPORT_CAP);
    evidence_view(&s, facts, views[i], &out);
    r = text_add(z, c->id, views[i], &out, err);
    buf_release(&out);
  }
  json_array_append_new(contents, row_of(facts, seal));
  json_decref(facts);
  json_decref(none);
  return r;
}

int evidence_contents_add(struct zip *z, const json_t *contents, struct err *err) {
  const json_t *rows = json_object_get(contents, "incidents");
  struct buf out;
  int r = json_add(z, NULL, "contents.json", contents, err);
  if (r < 0 || (json_array_size(rows) == 1 && !json_object_get(contents, "from") && !json_object_get(contents, "to"))) return r;
  buf_init(&out, REPORT_CAP);
  report_index(contents, &out);
  r = text_add(z, NULL, "index.html", &out, err);
  buf_release(&out);
  return r;
}

/* ---- back from a bundle */

struct lines {
  const char *at, *end;
};

static bool line_next(struct lines *l, const char **ret, size_t *ret_len) {
  const char *newline = l->at < l->end ? memchr(l->at, '\n', (size_t)(l->end - l->at)) : NULL;
  if (!newline) return false;
  *ret = l->at;
  *ret_len = (size_t)(newline - l->at);
  l->at = newline + 1;
  return true;
}

static int entry_take(const char *head, size_t head_len, const char *body, size_t body_len, struct entry **ret, struct err *err) {
  char leaf[DIGEST_HEX];
  const char *blank = memchr(body, ' ', body_len);
  size_t len = 0;
  uint8_t *envelope = NULL;
  leaf_hash(head, head_len, leaf);
  body_len -= blank ? (size_t)(blank + 1 - body) : body_len;
  if (blank && !(body_len == 1 && blank[1] == '-')) envelope = base64_decode(blank + 1, body_len, &len);
  int r = entry_read(head, head_len, leaf, envelope, len, ret, err);
  free(envelope);
  return r;
}

static const struct zip_file *part_of(const struct zip *z, const char *incident, const char *part) {
  char name[ZIP_NAME];
  snprintf(name, sizeof name, "incidents/%.80s/%s", incident, part);
  return zip_find(z, name);
}

int evidence_case_from_bundle(const struct zip *z, const char *incident, struct evidence_case *ret, struct err *err) {
  const struct zip_file *heads = part_of(z, incident, "heads"), *bodies = part_of(z, incident, "bodies"),
                        *names = part_of(z, incident, "names.json");
  struct evidence_case c = {.count = 0};
  int r = heads && bodies && names ? 0 : err_set(err, ERR_NOT_FOUND, "%s is not whole", incident);
  if (r < 0) return r;
  struct lines h = {heads->bytes, heads->bytes + heads->len}, b = {bodies->bytes, bodies->bytes + bodies->len};
  const char *head, *body;
  size_t head_len, body_len, room = 0;
  for (const char *p = h.at; p < h.end; p++) room += *p == '\n';
  snprintf(c.id, sizeof c.id, "%s", incident);
  if (!(c.entries = calloc(room + 1, sizeof(struct entry *)))) abort();
  while (r == 0 && line_next(&h, &head, &head_len) && line_next(&b, &body, &body_len))
    if ((r = entry_take(head, head_len, body, body_len, &c.entries[c.count], err)) == 0) c.count++;
  if (r == 0) r = json_parse(names->bytes, names->len, &c.names, err);
  if (r == 0) *ret = c;
  else evidence_case_release(&c);
  return r;
}
