#include "intake/normalise.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

enum { SHAPE_CACHE = 256, SURE = 50 };

struct normaliser {
  struct registry *registry;
  const json_t *sources;
  struct map shapes; /* the top-level names of a document -> the connector that knew it last */
};

struct normaliser *normaliser_new(struct registry *registry, const json_t *sources) {
  struct normaliser *n = calloc(1, sizeof *n);
  if (!n) abort();
  n->registry = registry;
  n->sources = sources;
  map_init(&n->shapes);
  return n;
}

void normaliser_free(struct normaliser *n) {
  if (!n) return;
  map_release(&n->shapes, NULL);
  free(n);
}

static int64_t score(const struct connector *c, const json_t *document) {
  json_t *value = NULL, *failure = NULL;
  if (!json_object_get(json_object_get(c->declaration->json, "alert"), "recognise")) return 0;
  int r = connector_call_with(c->state, "alert.recognise", document, SCRIPT_DOCUMENT, &value, &failure, NULL);
  int64_t points = r == 0 && json_is_number(value) ? (int64_t)json_number_value(value) : r == 0 && json_is_true(value) ? 100 : 0;
  json_decref(value);
  json_decref(failure);
  return points;
}

/* "alerts,commonLabels,…": documents of one product and kind have the same names, so the one who knew the last is asked first. */
static void shape_of(const json_t *document, struct buf *out) {
  const char *key;
  json_t *value;
  size_t count = 0;
  json_object_foreach((json_t *)(uintptr_t)document, key, value) {
    if (count++ == 24) break;
    buf_add(out, key, strnlen(key, 60));
    buf_addc(out, ',');
  }
}

static const struct connector *recognise(struct normaliser *n, const json_t *document) {
  struct buf shape;
  const struct connector *best = NULL, *c;
  int64_t most = 0;
  size_t at = 0;
  buf_init(&shape, 4096);
  shape_of(document, &shape);
  const struct connector *last = map_get(&n->shapes, shape.data);
  if (last && score(last, document) >= SURE) {
    best = last;
  } else {
    while ((c = registry_next(n->registry, &at))) {
      int64_t points = score(c, document);
      if (points > most || (points == most && best && points > 0 && strcmp(c->instance, best->instance) < 0)) best = c, most = points;
    }
    if (map_count(&n->shapes) >= SHAPE_CACHE) map_release(&n->shapes, NULL);
    if (best && most >= SURE) map_put(&n->shapes, shape.data, (void *)(uintptr_t)best);
  }
  buf_release(&shape);
  return best ? best : registry_find(n->registry, "generic", NULL);
}

/* The settings' name for the source, its format, or a connector's own name. NULL: none of them. */
static const struct connector *by_source(struct normaliser *n, const char *source) {
  const char *format = json_str(json_object_get(n->sources, source), "format");
  const struct connector *c = registry_find(n->registry, format ? format : source, NULL);
  return c && json_object_get(c->declaration->json, "alert") ? c : NULL;
}

static int parse(const char *text, size_t len, json_t **ret, struct err *err) {
  struct err why;
  size_t start = 0;
  while (start < len && strchr(" \t\r\n", text[start]) && text[start]) start++;
  if (start == len) return err_set(err, ERR_INVALID, "the document is empty");
  int r = json_parse(text, len, ret, &why);
  if (r == 0) return 0;
  /* What begins like JSON and is none is broken; all else is a line of text (CEF, syslog). */
  if (text[start] == '{' || text[start] == '[' || text[start] == '"' || r == ERR_LIMIT) return err_set(err, r, "%s", why.text);
  json_t *line = json_stringn(text, len);
  if (!line) return err_set(err, ERR_INVALID, "neither JSON nor text in UTF-8 (%s)", why.text);
  *ret = line;
  return 0;
}

static int split(struct normalised *n, struct err *err) {
  json_t *parts = NULL, *failure = NULL;
  if (!json_object_get(json_object_get(n->connector->declaration->json, "alert"), "split")) return 0;
  int r = connector_call_with(n->connector->state, "alert.split", n->document, SCRIPT_DOCUMENT, &parts, &failure, err);
  json_decref(failure);
  if (r == 0 && json_array_size(parts) > 1) n->parts = json_incref(parts);
  json_decref(parts);
  return r;
}

/* Intake adds members to a finding: of one that is the document, or a part of it, they must not come to stand in the document too. */
static json_t *own(json_t *finding_take) {
  if (finding_take->refcount == 1) return finding_take;
  json_t *copy = json_copy(finding_take);
  json_decref(finding_take);
  return copy;
}

static int find(struct normalised *n, struct err *err) {
  json_t *finding = NULL, *failure = NULL;
  int r = connector_call_with(n->connector->state, "alert.normalise", n->document, SCRIPT_DOCUMENT, &finding, &failure, err);
  if (r == 0 && !json_is_object(finding)) {
    r = err_set(err, ERR_INVALID, "the connector %s made no finding of it%s%s", n->connector->instance, failure ? ": " : "",
                json_str_or(failure, "message", ""));
    json_decref(finding);
    finding = NULL;
  }
  json_decref(failure);
  if (r == 0) n->finding = own(finding), n->most = connector_gave(n->connector->state);
  return r;
}

int normalise(struct normaliser *n, const char *source, const char *text, size_t len, struct normalised *ret, struct err *err) {
  struct normalised result = {0};
  int r = parse(text, len, &result.document, err);
  if (r < 0) return r;
  result.connector = source ? by_source(n, source) : NULL;
  if (!result.connector) result.connector = recognise(n, result.document);
  if (!result.connector) r = err_set(err, ERR_NOT_FOUND, "no connector knows this document, and there is no connector `generic`");
  if (r == 0) r = split(&result, err);
  if (r == 0 && !result.parts) r = find(&result, err);
  if (r < 0) {
    normalised_release(&result);
    return r;
  }
  *ret = result;
  return 0;
}

void normalised_release(struct normalised *n) {
  json_decref(n->document);
  json_decref(n->parts);
  json_decref(n->finding);
  *n = (struct normalised){0};
}
