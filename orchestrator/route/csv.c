#include "route/csv.h"

#include <string.h>

#include "base/buf.h"

void csv_init(struct csv *c, const char *bytes, size_t len) {
  *c = (struct csv){.at = bytes, .end = bytes + len, .line = 1};
  if (len >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) c->at += 3;
}

static bool at_break(const struct csv *c) {
  return c->at == c->end || *c->at == '\n' || (*c->at == '\r' && c->at + 1 < c->end && c->at[1] == '\n');
}

static void skip_break(struct csv *c) {
  if (c->at == c->end) return;
  c->at += *c->at == '\r' ? 2 : 1;
  c->line++;
}

static int quoted(struct csv *c, struct buf *out, struct err *err) {
  size_t began = c->line;
  for (c->at++; c->at < c->end; c->at++) {
    if (*c->at == '"' && (c->at + 1 == c->end || c->at[1] != '"')) break;
    if (*c->at == '"') c->at++;
    if (*c->at == '\n') c->line++;
    buf_addc(out, *c->at);
  }
  if (c->at == c->end) return err_set(err, ERR_INVALID, "line %zu: a quote is never closed", began);
  c->at++;
  while (c->at < c->end && (*c->at == ' ' || *c->at == '\t')) c->at++;
  if (!at_break(c) && *c->at != ',')
    return err_set(err, ERR_INVALID, "line %zu: text behind a closing quote; write a quote inside a field as two", c->line);
  return 0;
}

static int plain(struct csv *c, struct buf *out, struct err *err) {
  const char *from = c->at;
  while (!at_break(c) && *c->at != ',') {
    if (*c->at == '"')
      return err_set(err, ERR_INVALID,
                     "line %zu: a quote inside an unquoted field; put the whole field in quotes and write the quote as two", c->line);
    if (*c->at == '\r') return err_set(err, ERR_INVALID, "line %zu: a carriage return without a line feed", c->line);
    c->at++;
  }
  const char *to = c->at;
  while (to > from && (to[-1] == ' ' || to[-1] == '\t')) to--;
  buf_add(out, from, (size_t)(to - from));
  return 0;
}

static int field(struct csv *c, json_t *record, struct err *err) {
  struct buf b;
  size_t began = c->line;
  buf_init(&b, CSV_MAX_FIELD);
  while (c->at < c->end && (*c->at == ' ' || *c->at == '\t')) c->at++;
  int rc = c->at < c->end && *c->at == '"' ? quoted(c, &b, err) : plain(c, &b, err);
  if (rc) goto out;
  json_t *text = buf_ok(&b) && !memchr(b.data, 0, b.len) ? json_stringn(b.data, b.len) : NULL;
  if (!buf_ok(&b)) rc = err_set(err, ERR_LIMIT, "line %zu: a field is longer than %d bytes", began, CSV_MAX_FIELD);
  else if (!text) rc = err_set(err, ERR_INVALID, "line %zu: a field is not UTF-8 text", began);
  else json_array_append_new(record, text);
out:
  buf_release(&b);
  return rc;
}

int csv_next(struct csv *c, json_t **ret_record, size_t *ret_line, struct err *err) {
  while (c->at < c->end && at_break(c)) skip_break(c);
  if (c->at == c->end) return 0;
  size_t began = c->line;
  json_t *record = json_array();
  int rc = 0;
  for (;;) {
    if (json_array_size(record) == CSV_MAX_FIELDS) rc = err_set(err, ERR_LIMIT, "line %zu: more than %d fields", began, CSV_MAX_FIELDS);
    if (rc || (rc = field(c, record, err))) break;
    if (at_break(c)) break;
    c->at++; /* the comma */
  }
  if (rc) return json_decref(record), rc;
  skip_break(c);
  *ret_record = record;
  *ret_line = began;
  return 1;
}
