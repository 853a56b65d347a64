/* Tables that stand for a JSON value: a script finds what is in it, but only what it asks for is made in Lua, and what it hands back untouched
 * leaves as the very value that it was.
 *
 * Such a table is empty but for a mark and has a metatable that answers from the value. Whoever would see through that (a write, next, rawget,
 * table.sort…) has it filled in first (document_fill, mostly by push_contents): from then on it is an ordinary table with the same contents.
 * A container within the value is always the same table. The value must live, unchanged, until document_end. */
#include <stdlib.h>
#include <string.h>

#include "script/internal.h"

/* The mark in a table (which generation << 32 | which node), and in the registry: the metatable, and the tables made so far by their values. */
static char key_mark, key_meta, key_tables;

static lua_Integer mark_for(struct documents *d, const json_t *value) {
  if (d->count == d->size) {
    d->size = d->size ? d->size * 2 : 64;
    d->nodes = realloc(d->nodes, d->size * sizeof(const json_t *));
    if (!d->nodes) abort();
  }
  d->nodes[d->count] = value;
  return (lua_Integer)((uint64_t)d->generation << 32 | d->count++);
}

const json_t *document_node(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TTABLE) return NULL;
  bool marked = lua_rawgetp(L, index, &key_mark) != LUA_TNIL;
  lua_Integer mark = lua_tointeger(L, -1);
  lua_pop(L, 1);
  if (!marked) return NULL;
  const struct documents *d = &state_of(L)->documents;
  /* Kept beyond its call, which a connector has no business to do: nothing is in it any more. */
  if ((uint64_t)mark >> 32 != d->generation) return json_null();
  return d->nodes[mark & UINT32_MAX];
}

bool document_untouched(lua_State *L) { return !state_of(L)->documents.filled; }

/* ---- in ------------------------------------------------------------------------------------------------- */

static void make_table(lua_State *L, const json_t *value) {
  lua_createtable(L, 0, 1);
  lua_pushinteger(L, mark_for(&state_of(L)->documents, value));
  lua_rawsetp(L, -2, &key_mark);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_meta);
  lua_setmetatable(L, -2);
}

/* The tables of this call by their values, made when the first is. */
static void push_tables(lua_State *L) {
  enum { ROOM = 8 };
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key_tables) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_createtable(L, 0, ROOM);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_tables);
}

static void push_table(lua_State *L, const json_t *value) {
  luaL_checkstack(L, 6, "nested too deep");
  push_tables(L);
  if (lua_rawgetp(L, -1, value) == LUA_TNIL) {
    lua_pop(L, 1);
    make_table(L, value);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, -3, value);
  }
  lua_remove(L, -2);
}

void document_push_whole(lua_State *L, const json_t *value) {
  if (json_is_object(value) || json_is_array(value)) make_table(L, value);
  else bridge_push(L, value, SCRIPT_DATA);
}

void document_push(lua_State *L, const json_t *value) {
  if (json_is_object(value) || json_is_array(value)) push_table(L, value);
  else if (json_is_string(value)) lua_pushlstring(L, json_string_value(value), json_string_length(value));
  else bridge_push(L, value, SCRIPT_DATA);
}

bool document_push_made(lua_State *L, const json_t *value) {
  push_tables(L);
  bool made = lua_rawgetp(L, -1, value) == LUA_TTABLE;
  lua_remove(L, -2);
  if (!made) lua_pop(L, 1);
  return made;
}

const json_t *document_member(const json_t *node, const char *key, size_t len) {
  if (len && *key == '$' && bridge_looks_secret(key)) { /* the script's name of "$secret" has one dollar more */
    if (!bridge_looks_secret(key + 1)) return NULL;
    key++, len--;
  }
  return json_object_getn(node, key, len);
}

void document_end(lua_State *L) {
  struct documents *d = &state_of(L)->documents;
  if (!d->count) return;
  d->generation++;
  d->count = 0;
  d->filled = false;
  lua_pushboolean(L, 0);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_tables);
}

void document_fill(lua_State *L, int index) {
  const json_t *node = document_node(L, index);
  const char *key;
  json_t *item;
  size_t i;
  if (!node) return;
  index = lua_absindex(L, index);
  luaL_checkstack(L, 6, "nested too deep");
  state_of(L)->documents.filled = true;
  json_object_foreach((json_t *)(uintptr_t)node, key, item) {
    bridge_push_key(L, key, strlen(key));
    document_push(L, item);
    lua_rawset(L, index);
  }
  json_array_foreach(node, i, item) {
    document_push(L, item);
    lua_rawseti(L, index, (lua_Integer)i + 1);
  }
  lua_pushnil(L);
  lua_rawsetp(L, index, &key_mark);
  lua_pushnil(L);
  lua_setmetatable(L, index);
  if (json_is_array(node)) bridge_mark_array(L, index);
}

/* ---- what the metatable answers -------------------------------------------------------------------------- */

static int read_index(lua_State *L) {
  const json_t *node = document_node(L, 1), *value = NULL;
  size_t len;
  if (json_is_object(node) && lua_type(L, 2) == LUA_TSTRING) {
    const char *key = lua_tolstring(L, 2, &len);
    value = document_member(node, key, len);
  } else if (json_is_array(node) && lua_type(L, 2) == LUA_TNUMBER) {
    lua_Integer i = lua_tointeger(L, 2); /* 0 for what is no whole number */
    value = i > 0 ? json_array_get(node, (size_t)i - 1) : NULL;
  }
  if (value) document_push(L, value);
  else lua_pushnil(L);
  return 1;
}

static int write_index(lua_State *L) {
  if (lua_isnil(L, 2)) return luaL_error(L, "table index is nil");
  if (lua_type(L, 2) == LUA_TNUMBER && !lua_rawequal(L, 2, 2)) return luaL_error(L, "table index is NaN");
  document_fill(L, 1);
  lua_settable(L, 1); /* it is an ordinary one now */
  return 0;
}

static int length(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)json_array_size(document_node(L, 1)));
  return 1;
}

/* ---- pairs, in the order of names ------------------------------------------------------------------------ */

struct walk {
  uint32_t generation; /* whose names these are: they lie in the values */
  const char *names[]; /* NULL ends them */
};

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Upvalues: the walk, how many are done, the table. */
static int walk_step(lua_State *L) {
  const struct walk *w = lua_touserdata(L, lua_upvalueindex(1));
  const int table = lua_upvalueindex(3);
  lua_Integer i = lua_tointeger(L, lua_upvalueindex(2));
  if (w->generation != state_of(L)->documents.generation) return lua_pushnil(L), 1;
  for (const json_t *node = document_node(L, table); w->names[i];) {
    const char *name = w->names[i++];
    lua_pushinteger(L, i);
    lua_replace(L, lua_upvalueindex(2));
    lua_pushstring(L, name);
    if (json_is_object(node)) return document_push(L, json_object_get(node, name)), 2;
    lua_pushvalue(L, -1);
    if (lua_rawget(L, table) != LUA_TNIL) return 2; /* filled in since the walk began */
    lua_pop(L, 2);                                  /* and this one removed */
  }
  return lua_pushnil(L), 1;
}

static int elements_step(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_Integer i = lua_tointeger(L, 2) + 1; /* nil: 0 */
  const json_t *node = document_node(L, 1), *value = i > 0 ? json_array_get(node, (size_t)i - 1) : NULL;
  lua_pushinteger(L, i);
  if (value) document_push(L, value);
  else if (node || lua_rawgeti(L, 1, i) == LUA_TNIL) return lua_pushnil(L), 1;
  return 2;
}

bool document_pairs(lua_State *L, int index) {
  const json_t *node = document_node(L, index);
  const char *key;
  size_t n = 0;
  json_t *item;
  bool sorted = true;
  if (!node) return false;
  index = lua_absindex(L, index);
  if (json_is_array(node)) {
    lua_pushcfunction(L, elements_step);
    lua_pushvalue(L, index);
    return true;
  }
  size_t count = json_object_size(node);
  state_charge(L, count * 8);
  struct walk *w = lua_newuserdatauv(L, sizeof *w + (count + 1) * sizeof *w->names, 0);
  w->generation = state_of(L)->documents.generation;
  json_object_foreach((json_t *)(uintptr_t)node, key, item) {
    if (bridge_looks_secret(key)) return lua_pop(L, 1), document_fill(L, index), false; /* its name is another here */
    if (n && strcmp(w->names[n - 1], key) > 0) sorted = false;
    w->names[n++] = key;
  }
  w->names[n] = NULL;
  if (!sorted) qsort(w->names, n, sizeof *w->names, by_text);
  lua_pushinteger(L, 0);
  lua_pushvalue(L, index);
  lua_pushcclosure(L, walk_step, 3);
  lua_pushvalue(L, index);
  return true;
}

/* ---- Lua's own functions that look behind a metatable ---- */

static int base_rawget(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  document_fill(L, 1);
  lua_rawget(L, 1);
  return 1;
}

static int base_rawlen(lua_State *L) {
  luaL_argexpected(L, lua_istable(L, 1) || lua_type(L, 1) == LUA_TSTRING, 1, "table or string");
  document_fill(L, 1);
  lua_pushinteger(L, (lua_Integer)lua_rawlen(L, 1));
  return 1;
}

static int base_getmetatable(lua_State *L) {
  luaL_checkany(L, 1);
  document_fill(L, 1);
  if (!lua_getmetatable(L, 1)) return lua_pushnil(L), 1;
  luaL_getmetafield(L, 1, "__metatable"); /* else the metatable itself */
  return 1;
}

const luaL_Reg document_functions[] = {{"getmetatable", base_getmetatable}, {"rawget", base_rawget}, {"rawlen", base_rawlen}, {NULL, NULL}};

void document_open(lua_State *L) {
  static const luaL_Reg events[] = {{"__index", read_index}, {"__newindex", write_index}, {"__len", length}, {NULL, NULL}};
  lua_pushboolean(L, 0);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_tables); /* its place: document_end may take no memory */
  luaL_newlib(L, events);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_meta);
}
