#include "route/paths.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "route/fold.h"
#include "route/route.h"

enum { MAX_ARRAY_DEPTH = JSON_PARSER_MAX_DEPTH < 128 ? JSON_PARSER_MAX_DEPTH : 128 };

static bool path_char(char c) { return (unsigned char)c > ' ' && (unsigned char)c != 0x7f && !strchr("|=\"'`", c); }

static int cut(struct path *p, size_t from, size_t len, struct err *err) {
  for (size_t at = from; at <= len;) {
    size_t end = at;
    while (end < len && p->text[end] != '.') end++;
    if (end == at) return err_set(err, ERR_INVALID, "path `%s` has an empty part", p->text);
    if (p->count == PATH_MAX_SEGMENTS) return err_set(err, ERR_LIMIT, "path `%.64s…` has more than %d parts", p->text, PATH_MAX_SEGMENTS);
    p->start[p->count] = (uint16_t)at;
    p->end[p->count++] = (uint16_t)end;
    at = end + 1;
  }
  return 0;
}

int path_compile(const char *text, size_t len, struct path *ret, struct err *err) {
  if (!len) return err_set(err, ERR_INVALID, "a path is empty: write a field such as actor.user");
  if (len > PATH_MAX_TEXT) return err_set(err, ERR_LIMIT, "path `%.64s…` is longer than %d bytes", text, PATH_MAX_TEXT);
  for (size_t i = 0; i < len; i++)
    if (!path_char(text[i]))
      return err_set(err, ERR_INVALID, "path `%.*s` may not hold spaces, quotes, `|` or `=`", (int)strnlen(text, len), text);
  struct path p = {.text = strndup(text, len), .joined_from = PATH_MAX_SEGMENTS + 1};
  if (!p.text) return err_set(err, ERR_MEMORY, "no memory for a path");
  p.raw = strcmp(p.text, "raw") == 0 || strncmp(p.text, "raw.", 4) == 0;
  if (p.raw) p.joined_from = 0;
  if (strncmp(p.text, "unmapped.", 9) == 0) p.joined_from = 1;
  int rc = p.raw && len == 3 ? 0 : cut(&p, p.raw ? 4 : 0, len, err);
  if (rc) return path_release(&p), rc;
  *ret = p;
  return 0;
}

void path_release(struct path *p) {
  free(p->text);
  *p = (struct path){0};
}

static bool worth(const json_t *v) {
  return v && !json_is_null(v) && !json_is_object(v) && !json_is_array(v) && !(json_is_string(v) && !json_string_length(v));
}

bool path_end(const json_t *value, path_visit *visit, void *arg) {
  static const char *const stands[] = {"name", "uid", "email_addr"};
  if (!value || json_is_null(value)) return false;
  if (!json_is_object(value)) return visit(arg, value);
  for (size_t i = 0; i < sizeof stands / sizeof *stands; i++) {
    const json_t *v = json_object_get(value, stands[i]);
    if (worth(v)) return visit(arg, v);
  }
  return json_object_size(value) ? visit(arg, value) : false;
}

static bool walk(const struct path *p, unsigned at, const json_t *node, unsigned depth, path_visit *visit, void *arg) {
  if (json_is_array(node)) {
    size_t i;
    json_t *item;
    if (depth > MAX_ARRAY_DEPTH) return false;
    json_array_foreach(node, i, item) if (walk(p, at, item, depth + 1, visit, arg)) return true;
    return false;
  }
  if (at == p->count) return path_end(node, visit, arg);
  if (!json_is_object(node)) return false;
  unsigned last = at >= p->joined_from ? p->count : at + 1u;
  for (unsigned to = at + 1; to <= last; to++) {
    const json_t *child = json_object_getn(node, p->text + p->start[at], (size_t)(p->end[to - 1] - p->start[at]));
    if (child && walk(p, to, child, depth, visit, arg)) return true;
  }
  return false;
}

bool path_walk(const struct path *p, const json_t *alert, const json_t *raw, path_visit *visit, void *arg) {
  const json_t *root = p->raw ? raw : alert;
  return root && walk(p, 0, root, 0, visit, arg);
}

bool scalar_text(const json_t *value, char room[PATH_NUMBER], const char **ret, size_t *ret_len) {
  switch (json_typeof(value)) {
  case JSON_STRING: return *ret = json_string_value(value), *ret_len = json_string_length(value), true;
  case JSON_TRUE: return *ret = "true", *ret_len = 4, true;
  case JSON_FALSE: return *ret = "false", *ret_len = 5, true;
  case JSON_INTEGER: snprintf(room, PATH_NUMBER, "%" JSON_INTEGER_FORMAT, json_integer_value(value)); break;
  case JSON_REAL: {
    double d = json_real_value(value);
    if (floor(d) == d && fabs(d) < 1e15) snprintf(room, PATH_NUMBER, "%.0f", d + 0.0);
    else snprintf(room, PATH_NUMBER, "%.15g", d);
    if (strtod(room, NULL) != d) snprintf(room, PATH_NUMBER, "%.17g", d);
    break;
  }
  default: return false;
  }
  *ret = room;
  *ret_len = strlen(room);
  return true;
}

/* Gathers distinct texts; seen is an object used as a set, because an alert may bear ten thousand values. */
struct gather {
  json_t *seen, *list;
};

static bool gather_value(void *arg, const json_t *value) {
  struct gather *g = arg;
  char room[PATH_NUMBER];
  const char *text;
  size_t len;
  if (!scalar_text(value, room, &text, &len) || json_object_getn(g->seen, text, len)) return false;
  json_object_setn_new_nocheck(g->seen, text, len, json_true());
  json_array_append_new(g->list, json_stringn_nocheck(text, len));
  return false;
}

json_t *path_values(const json_t *alert, const json_t *raw, const char *path) {
  struct gather g = {json_object(), json_array()};
  struct path p;
  if (g.seen && g.list && path_compile(path, strlen(path), &p, NULL) == 0) {
    path_walk(&p, alert, raw, gather_value, &g);
    path_release(&p);
  }
  json_decref(g.seen);
  return g.list;
}
