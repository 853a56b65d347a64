/* The table library of scripts. Raw (no metamethod runs inside a C loop), bounded by what a table really holds, and the same
 * in every replay: sort is a stable merge sort, so that a comparator that contradicts itself cannot make it wander. */
#include <string.h>

#include "script/internal.h"

/* Checks that argument 1 may be written, and returns its length. */
static lua_Integer writable(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  if (is_frozen(L, 1)) luaL_error(L, "this table is read-only");
  document_fill(L, 1);
  return (lua_Integer)lua_rawlen(L, 1);
}

/* Replaces argument 1 by its contents for reading, and returns its length. */
static lua_Integer readable(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  push_contents(L, 1);
  lua_replace(L, 1);
  return (lua_Integer)lua_rawlen(L, 1);
}

static int table_insert(lua_State *L) {
  lua_Integer n = writable(L), at = n + 1;
  int args = lua_gettop(L);
  if (args != 2 && args != 3) return luaL_error(L, "table.insert takes a table, perhaps a position, and a value");
  if (args == 3) at = luaL_checkinteger(L, 2);
  luaL_argcheck(L, at >= 1 && at <= n + 1, 2, "position out of bounds");
  state_charge(L, (size_t)(n + 1 - at));
  for (lua_Integer i = n; i >= at; i--) {
    lua_rawgeti(L, 1, i);
    lua_rawseti(L, 1, i + 1);
  }
  lua_settop(L, args);
  lua_rawseti(L, 1, at);
  return 0;
}

static int table_remove(lua_State *L) {
  lua_Integer n = writable(L), at = luaL_optinteger(L, 2, n);
  if (n == 0 && (at == 0 || at == n)) return lua_pushnil(L), 1;
  luaL_argcheck(L, at >= 1 && at <= n + 1, 2, "position out of bounds");
  state_charge(L, (size_t)(n + 1 - at));
  lua_rawgeti(L, 1, at);
  for (lua_Integer i = at; i < n; i++) {
    lua_rawgeti(L, 1, i + 1);
    lua_rawseti(L, 1, i);
  }
  if (at <= n) {
    lua_pushnil(L);
    lua_rawseti(L, 1, n);
  }
  return 1;
}

static int table_move(lua_State *L) {
  lua_Integer from = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3), to = luaL_checkinteger(L, 4);
  int target = lua_isnoneornil(L, 5) ? 1 : 5;
  lua_settop(L, 5);
  luaL_checktype(L, target, LUA_TTABLE);
  luaL_checktype(L, 1, LUA_TTABLE);
  if (is_frozen(L, target)) return luaL_error(L, "this table is read-only");
  document_fill(L, target);
  lua_pushvalue(L, target); /* the result, whatever becomes of argument 1 */
  lua_insert(L, 1);
  lua_pushvalue(L, 2);
  push_contents(L, -1);
  int source = lua_gettop(L), out = 1;
  if (last >= from) {
    lua_Integer n = (lua_Integer)lua_rawlen(L, source);
    luaL_argcheck(L, from >= 1 && last <= n, 3, "the range is not inside the list");
    luaL_argcheck(L, to >= 1 && to <= (lua_Integer)lua_rawlen(L, out) + 1, 4, "position out of bounds");
    lua_Integer count = last - from + 1;
    state_charge(L, (size_t)count);
    bool backward = to > from && to <= last;
    for (lua_Integer i = 0; i < count; i++) {
      lua_Integer k = backward ? count - 1 - i : i;
      lua_rawgeti(L, source, from + k);
      lua_rawseti(L, out, to + k);
    }
  }
  lua_settop(L, 1);
  return 1;
}

static int table_concat(lua_State *L) {
  lua_Integer n = readable(L);
  size_t separator_len;
  const char *separator = luaL_optlstring(L, 2, "", &separator_len);
  lua_Integer i = luaL_optinteger(L, 3, 1), last = luaL_optinteger(L, 4, n);
  if (last >= i) luaL_argcheck(L, i >= 1 && last <= n, 4, "the range is not inside the list");
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (; i <= last; i++) {
    lua_rawgeti(L, 1, i);
    if (!lua_isstring(L, -1))
      return luaL_error(L, "the element at %I is a %s: only strings and numbers can be joined", i, luaL_typename(L, -1));
    luaL_addvalue(&b);
    if (i != last) luaL_addlstring(&b, separator, separator_len);
    if (luaL_bufflen(&b) > SCRIPT_STRING_CAP) return luaL_error(L, "the text would be longer than %d MiB", SCRIPT_STRING_CAP >> 20);
    state_charge(L, 1);
  }
  luaL_pushresult(&b);
  return 1;
}

static int table_pack(lua_State *L) {
  int n = lua_gettop(L);
  lua_createtable(L, n, 1);
  lua_insert(L, 1);
  for (int i = n; i >= 1; i--) lua_rawseti(L, 1, i);
  lua_pushinteger(L, n);
  lua_setfield(L, 1, "n");
  return 1;
}

static int table_unpack(lua_State *L) {
  lua_Integer n = readable(L), i = luaL_optinteger(L, 2, 1), last = luaL_optinteger(L, 3, n);
  if (last < i) return 0;
  lua_Unsigned count = (lua_Unsigned)last - (lua_Unsigned)i;
  if (count >= 250000 || !lua_checkstack(L, (int)count + 1)) return luaL_error(L, "too many results to unpack");
  for (lua_Integer k = i; k < last; k++) lua_rawgeti(L, 1, k);
  lua_rawgeti(L, 1, last);
  return (int)count + 1;
}

/* ---- sort -------------------------------------------------------------------------------------------- */

/* Stack: 1 the list, 2 the comparator or nil, 3 room for one copy. Is the element at the top before the one below it? */
static bool top_before_below(lua_State *L) {
  state_charge(L, 1);
  if (lua_isnil(L, 2)) return lua_compare(L, -1, -2, LUA_OPLT);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, -2);
  lua_pushvalue(L, -4);
  lua_call(L, 2, 1);
  bool before = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return before;
}

/* Merges [low, mid) and [mid, high) of the list at `from` into the list at `to`. */
static void merge(lua_State *L, int from, int to, lua_Integer low, lua_Integer mid, lua_Integer high) {
  lua_Integer a = low, b = mid;
  for (lua_Integer out = low; out < high; out++) {
    bool right = a >= mid;
    if (a < mid && b < high) {
      lua_rawgeti(L, from, a);
      lua_rawgeti(L, from, b);
      right = top_before_below(L);
      lua_pop(L, 2);
    }
    lua_rawgeti(L, from, right ? b++ : a++);
    lua_rawseti(L, to, out);
  }
}

static int table_sort(lua_State *L) {
  lua_Integer n = writable(L);
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  lua_createtable(L, (int)n, 0);
  lua_createtable(L, (int)n, 0);
  for (lua_Integer i = 1; i <= n; i++) { /* the comparator never sees the list half sorted */
    lua_rawgeti(L, 1, i);
    lua_rawseti(L, 3, i);
  }
  int from = 3, to = 4;
  for (lua_Integer width = 1; width < n; width *= 2) {
    for (lua_Integer low = 1; low <= n; low += 2 * width) {
      lua_Integer mid = low + width <= n + 1 ? low + width : n + 1, high = low + 2 * width <= n + 1 ? low + 2 * width : n + 1;
      merge(L, from, to, low, mid, high);
    }
    int other = from;
    from = to, to = other;
  }
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, from, i);
    lua_rawseti(L, 1, i);
  }
  return 0;
}

void open_table(lua_State *L) {
  static const luaL_Reg own[] = {{"concat", table_concat}, {"insert", table_insert}, {"move", table_move},     {"pack", table_pack},
                                 {"remove", table_remove}, {"sort", table_sort},     {"unpack", table_unpack}, {NULL, NULL}};
  luaL_newlib(L, own);
}
