/* json_members.h: an object written member by member, by whoever knows the order of its names: the bytes that json_write would make of it, without
 * a tree. A name comes with all that stands before its value (JSON_MEMBER). Check once at the end with buf_ok. */
#ifndef TOCSIN_BASE_JSON_MEMBERS_H
#define TOCSIN_BASE_JSON_MEMBERS_H

#include "base/buf.h"
#include "base/json.h"

/* A member's name that stands in the program, behind another member. */
#define JSON_MEMBER(name) ",\"" name "\":"

static inline void json_add_number(struct buf *out, int64_t number) {
  char text[24], *p = text + sizeof text;
  uint64_t left = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
  do *--p = (char)('0' + left % 10);
  while (left /= 10);
  if (number < 0) *--p = '-';
  buf_add(out, p, (size_t)(text + sizeof text - p));
}

static inline void json_add_int(struct buf *out, const char *name, int64_t number) {
  buf_adds(out, name);
  json_add_number(out, number);
}

/* A text of the program's own, or an id: there is nothing to escape. */
static inline void json_add_word(struct buf *out, const char *name, const char *word) {
  buf_adds(out, name);
  buf_addc(out, '"');
  buf_adds(out, word);
  buf_addc(out, '"');
}

/* Anybody's text; NULL: the member is missing. */
static inline void json_add_text(struct buf *out, const char *name, const char *text) {
  json_t *value = json_string(text);
  if (value) buf_adds(out, name), json_write(value, out);
  json_decref(value);
}

/* NULL: the member is missing. */
static inline void json_add_value(struct buf *out, const char *name, const json_t *value) {
  if (value) buf_adds(out, name), json_write(value, out);
}

#endif
