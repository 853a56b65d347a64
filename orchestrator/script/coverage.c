#include "script/coverage.h"

#include <stdlib.h>
#include <string.h>

#include "script/internal.h"

enum { CAN_BE_HIT = 1, HIT = 2, ABSOLUTE = -0x80, SIZE_MOST = 1 << 24 };

struct coverage {
  const char *chunk;
  uint8_t *lines; /* by number */
  size_t count;
};

/* --- the dump: what lundump.c of Lua 5.4 reads ------------------------------------------------------------------ */

struct reader {
  const uint8_t *at, *end;
  bool broken;
};

static const uint8_t *take(struct reader *r, size_t n) {
  const uint8_t *at = r->at;
  if (r->broken || (size_t)(r->end - r->at) < n) {
    r->broken = true;
    return NULL;
  }
  r->at += n;
  return at;
}

static uint8_t take_byte(struct reader *r) {
  const uint8_t *at = take(r, 1);
  return at ? *at : 0;
}

/* Seven bits a byte, the highest first; the last one is marked. */
static size_t take_size(struct reader *r) {
  size_t n = 0;
  for (;;) {
    uint8_t b = take_byte(r);
    if (n > SIZE_MOST) r->broken = true;
    if (r->broken) return 0;
    n = n << 7 | (b & 0x7f);
    if (b & 0x80) return n;
  }
}

static void skip_string(struct reader *r) {
  size_t n = take_size(r);
  if (n) take(r, n - 1);
}

static void skip_constants(struct reader *r) {
  for (size_t n = take_size(r); n && !r->broken; n--) {
    switch (take_byte(r)) {
    case 0x13: take(r, sizeof(lua_Number)); break;
    case 0x03: take(r, sizeof(lua_Integer)); break;
    case 0x04:
    case 0x14: skip_string(r); break;
    default: break; /* nil, false, true */
    }
  }
}

static void mark(struct coverage *c, long line) {
  if (line > 0 && (size_t)line < c->count) c->lines[line] |= CAN_BE_HIT;
}

/* The line of each instruction; the last instruction is the return that stands behind every function's `end`, reached only without a `return`. */
static void read_lines(struct reader *r, struct coverage *c, long line, bool counted) {
  size_t n = take_size(r), absolutes;
  const uint8_t *deltas = take(r, n);
  absolutes = take_size(r);
  size_t next_pc = SIZE_MOST;
  long next_line = 0;
  if (absolutes) absolutes--, next_pc = take_size(r), next_line = (long)take_size(r);
  for (size_t pc = 0; deltas && pc < n && !r->broken; pc++) {
    if ((int8_t)deltas[pc] != ABSOLUTE) {
      line += (int8_t)deltas[pc];
    } else {
      if (pc != next_pc) r->broken = true;
      line = next_line;
      if (absolutes) absolutes--, next_pc = take_size(r), next_line = (long)take_size(r);
    }
    if (counted && pc + 1 < n) mark(c, line);
  }
}

static void read_function(struct reader *r, struct coverage *c, int depth) {
  skip_string(r);
  long line = (long)take_size(r);
  take_size(r);
  take(r, 3);
  size_t code = take_size(r);
  take(r, code * 4);
  skip_constants(r);
  take(r, take_size(r) * 3);
  if (depth > 200) r->broken = true;
  for (size_t n = take_size(r); n && !r->broken; n--) read_function(r, c, depth + 1);
  read_lines(r, c, line, depth > 0);
  for (size_t n = take_size(r); n && !r->broken; n--) skip_string(r), take_size(r), take_size(r);
  for (size_t n = take_size(r); n && !r->broken; n--) skip_string(r);
}

int coverage_new(const struct declaration *d, struct coverage **ret, struct err *err) {
  if (!d->code) return err_set(err, ERR_INVALID, "%s was not loaded from a file", d->name);
  struct coverage *c = calloc(1, sizeof *c);
  struct reader r = {(const uint8_t *)d->code->bytes.data, (const uint8_t *)d->code->bytes.data + d->code->bytes.len, false};
  if (!c) abort();
  c->chunk = d->code->chunk;
  c->count = 2;
  for (size_t i = 0; i < d->source_len; i++) c->count += d->source[i] == '\n';
  c->lines = calloc(c->count, 1);
  if (!c->lines) abort();
  take(&r, 4 + 1 + 1 + 6 + 3 + sizeof(lua_Integer) + sizeof(lua_Number) + 1);
  read_function(&r, c, 0);
  if (r.broken || r.at != r.end) {
    coverage_free(c);
    return err_set(err, ERR_INTERNAL, "%s: this Lua writes its bytecode in another way; lines cannot be counted", d->name);
  }
  *ret = c;
  return 0;
}

void coverage_free(struct coverage *c) {
  if (!c) return;
  free(c->lines);
  free(c);
}

void coverage_line(struct coverage *c, lua_State *L, lua_Debug *ar) {
  if (!lua_getinfo(L, "S", ar) || strcmp(ar->source, c->chunk) != 0) return;
  if (ar->currentline > 0 && (size_t)ar->currentline < c->count) c->lines[ar->currentline] |= HIT;
}

json_t *coverage_report(const struct coverage *c) {
  json_t *missed = json_array();
  json_int_t lines = 0, hit = 0;
  for (size_t i = 1; i < c->count; i++) {
    if (!(c->lines[i] & CAN_BE_HIT)) continue;
    lines++;
    if (c->lines[i] & HIT) hit++;
    else json_array_append_new(missed, json_integer((json_int_t)i));
  }
  return json_pack("{s:I, s:I, s:o}", "lines", lines, "hit", hit, "missed", missed);
}
