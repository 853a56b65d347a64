/* fuzz_pattern.c: the bounded pattern matcher against Lua's own.
 *
 * The first byte says how long the pattern is; the rest is the text. However bad the pattern, the steps stay under their bound; where it was
 * not given up and cost little, Lua itself finds the same place. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "script/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CHEAP = 50000 };

static void must(bool holds) {
  if (!holds) abort();
}

static bool ours(struct matcher *m, const char *text, size_t len, const char *pattern, size_t n, ptrdiff_t *ret_from, ptrdiff_t *ret_to) {
  bool anchored = n && *pattern == '^';
  matcher_init(m, NULL, text, len, pattern, n);
  for (const char *at = text; at <= text + len; at++) {
    const char *end = matcher_at(m, at, pattern + anchored);
    must(!end || (end >= at && end <= text + len));
    if (end && !m->fault) return *ret_from = at - text, *ret_to = end - text, true;
    if (anchored || m->fault) break;
  }
  return false;
}

static void theirs_is_the_same(const char *text, size_t len, const char *pattern, size_t n, bool found, ptrdiff_t from, ptrdiff_t to) {
  static lua_State *L;
  if (!L) {
    L = luaL_newstate();
    must(L != NULL);
    luaL_openlibs(L);
  }
  lua_settop(L, 0);
  lua_getglobal(L, "string");
  lua_getfield(L, -1, "find");
  lua_pushlstring(L, text, len);
  lua_pushlstring(L, pattern, n);
  must(lua_pcall(L, 2, 2, 0) == LUA_OK);
  must(found == !lua_isnil(L, -2));
  if (found) must(lua_tointeger(L, -2) == from + 1 && lua_tointeger(L, -1) == to);
  lua_settop(L, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct matcher m;
  struct err err = {0};
  ptrdiff_t from = 0, to = 0;
  if (size < 1) return 0;
  size_t n = data[0] < size - 1 ? data[0] : size - 1, len = size - 1 - n;
  /* Copies of their very size: a byte too far is seen. */
  char *pattern = malloc(n + 1), *text = malloc(len + 1);
  must(pattern && text);
  memcpy(pattern, data + 1, n);
  memcpy(text, data + 1 + n, len);
  pattern[n] = text[len] = 0;
  bool found = ours(&m, text, len, pattern, n, &from, &to);
  must(m.steps <= m.most + n + len + 1);
  if (!m.fault && m.steps < CHEAP) theirs_is_the_same(text, len, pattern, n, found, from, to);
  bool again = pattern_match(text, len, pattern, &err);
  if (strlen(pattern) == n) must(again == found && (err.code != 0) == (m.fault != NULL));
  free(pattern);
  free(text);
  return 0;
}
