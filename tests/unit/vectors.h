/* vectors.h: test vectors as JSON. Public ones lie beside the project (../shared/vectors) and are left out where that folder is missing; our own in tests/data/. */
#ifndef TOCSIN_TESTS_VECTORS_H
#define TOCSIN_TESTS_VECTORS_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/json.h"

#define PUBLIC_VECTORS "../shared/vectors"

static inline bool vectors_public(void) {
  struct stat st;
  return stat(PUBLIC_VECTORS, &st) == 0;
}

static inline void vector_file(const char *path, struct buf *out) {
  char piece[65536];
  size_t n;
  FILE *f = fopen(path, "rb");
  if (!f) fail_msg("no vector %s", path);
  while ((n = fread(piece, 1, sizeof piece, f)) > 0) buf_add(out, piece, n);
  fclose(f);
  assert_true(buf_ok(out));
}

static inline json_t *vector_json(const char *path) {
  struct buf text;
  struct err err = {0};
  json_t *value = NULL;
  buf_init(&text, 8 << 20);
  vector_file(path, &text);
  if (json_parse(text.data, text.len, &value, &err) < 0) fail_msg("%s: %s", path, err.text);
  buf_release(&text);
  return value;
}

/* Numbers beyond 2^63 arrive as strings of their digits (base/json.h). */
static inline uint64_t vector_u64(const json_t *value) {
  if (json_is_string(value)) return strtoull(json_string_value(value), NULL, 10);
  assert_true(json_is_integer(value));
  return (uint64_t)json_integer_value(value);
}

#endif
