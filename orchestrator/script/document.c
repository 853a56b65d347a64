/* Tables that stand for a JSON value: a script finds what is in it, but only what it asks for is made in Lua, and what it hands back untouched
 * leaves as the very value that it was.
 *
 * Such a table is empty and has a metatable that answers from the value. Whoever would see through that (a write, next, rawget,
 * table.sort…) has it filled in first (document_fill, mostly by push_contents): from then on it is an ordinary table with the same contents.
 * A container within the value is always the same table. The value must live, unchanged, until document_end. */
#include <stdlib.h>
#include <string.h>

#include "script/internal.h"

/* ---- which table stands for which value ----------------------------------------------------------------- */

enum { BY_VALUE, BY_TABLE, ROOM_FIRST = 32, ROOM_KEPT = 4096, TABLES_KEPT = 8 };

/* The place of an address among `room` of them, or the free one where it belongs. A place holds the number of a node, 0: free. */
static uint32_t *place_of(const struct documents *d, int by, const void *address) {
  uint32_t at = (uint32_t)(((uint64_t)(uintptr_t)address >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 40);
  for (;; at++) {
    uint32_t *place = &d->places[by][at & (d->room - 1)];
    if (!*place || d->nodes[*place - 1].address[by] == address) return place;
  }
}

static void *again(void *old, size_t count, size_t size) {
  void *fresh = reallocarray(old, count, size);
  if (!fresh) abort();
  return fresh;
}

/* Half of the places are free at least. */
static void make_room(struct documents *d) {
  if (d->count < d->room / 2) return;
  d->room = d->room ? d->room * 2 : ROOM_FIRST;
  d->nodes = again(d->nodes, d->room / 2, sizeof *d->nodes);
  for (int by = BY_VALUE; by <= BY_TABLE; by++) {
    d->places[by] = again(d->places[by], d->room, sizeof *d->places[by]);
    memset(d->places[by], 0, d->room * sizeof *d->places[by]);
    for (uint32_t i = 0; i < d->count; i++) *place_of(d, by, d->nodes[i].address[by]) = i + 1;
  }
}

static uint32_t add_node(struct documents *d, const json_t *value, const void *table) {
  make_room(d);
  d->nodes[d->count] = (struct document_node){{value, table}};
  for (int by = BY_VALUE; by <= BY_TABLE; by++) *place_of(d, by, d->nodes[d->count].address[by]) = d->count + 1;
  return ++d->count;
}

void documents_free(struct documents *d) {
  free(d->nodes);
  free(d->places[BY_VALUE]);
  free(d->places[BY_TABLE]);
  json_decref(d->held);
  json_decref(d->own);
  *d = (struct documents){.generation = d->generation, .meta = d->meta, .tables = d->tables};
}

const json_t *document_node(lua_State *L, int index) {
  const struct documents *d = &state_of(L)->documents;
  if (!d->count || lua_type(L, index) != LUA_TTABLE) return NULL;
  uint32_t n = *place_of(d, BY_TABLE, lua_topointer(L, index));
  return n ? d->nodes[n - 1].address[BY_VALUE] : NULL;
}

bool document_untouched(lua_State *L) { return !state_of(L)->documents.filled; }

/* ---- in ------------------------------------------------------------------------------------------------- */

/* The tables of this call by the numbers of their nodes: what is in it is not collected, so that its address stays its own. */
static void push_tables(lua_State *L) {
  int tables = state_of(L)->documents.tables;
  if (lua_rawgeti(L, LUA_REGISTRYINDEX, tables) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_createtable(L, TABLES_KEPT, 0);
  lua_pushvalue(L, -1);
  lua_rawseti(L, LUA_REGISTRYINDEX, tables);
}

static void push_table(lua_State *L, const json_t *value) {
  struct documents *d = &state_of(L)->documents;
  luaL_checkstack(L, 6, "nested too deep");
  push_tables(L);
  uint32_t n = d->count ? *place_of(d, BY_VALUE, value) : 0;
  if (n) {
    lua_rawgeti(L, -1, n);
  } else {
    lua_createtable(L, 0, 0);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, d->count + 1);
    add_node(d, value, lua_topointer(L, -1));
    lua_rawgeti(L, LUA_REGISTRYINDEX, d->meta);
    lua_setmetatable(L, -2);
  }
  lua_remove(L, -2);
}

void document_push(lua_State *L, const json_t *value) {
  if (json_is_object(value) || json_is_array(value)) push_table(L, value);
  else if (json_is_string(value)) lua_pushlstring(L, json_string_value(value), json_string_length(value));
  else bridge_push(L, value, SCRIPT_DATA);
}

json_t *document_hold(lua_State *L, json_t *value_take) {
  struct documents *d = &state_of(L)->documents;
  if (!d->held) d->held = json_array();
  json_array_append_new(d->held, value_take);
  return value_take;
}

void document_let_go(lua_State *L) {
  struct documents *d = &state_of(L)->documents;
  json_decref(d->held);
  d->held = NULL;
}

void document_push_own(lua_State *L, json_t *value) {
  struct documents *d = &state_of(L)->documents;
  if (d->own) {
    bridge_push(L, value, SCRIPT_DATA);
    return;
  }
  d->own = json_incref(value);
  document_push(L, value);
}

bool document_push_made(lua_State *L, const json_t *value) {
  const struct documents *d = &state_of(L)->documents;
  uint32_t n = *place_of(d, BY_VALUE, value);
  if (!n) return false;
  lua_rawgeti(L, LUA_REGISTRYINDEX, d->tables);
  lua_rawgeti(L, -1, n);
  lua_remove(L, -2);
  return true;
}

const json_t *document_member(const json_t *node, const char *key, size_t len) {
  if (len && *key == '$' && bridge_looks_secret(key)) { /* the script's name of "$secret" has one dollar more */
    if (!bridge_looks_secret(key + 1)) return NULL;
    key++, len--;
  }
  return json_object_getn(node, key, len);
}

/* Of a few the list is kept, emptied. */
static void drop_tables(lua_State *L, const struct documents *d) {
  if (d->count > TABLES_KEPT) {
    lua_pushboolean(L, 0);
    lua_rawseti(L, LUA_REGISTRYINDEX, d->tables);
    return;
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, d->tables);
  for (uint32_t i = 1; i <= d->count; i++) {
    lua_pushnil(L);
    lua_rawseti(L, -2, i);
  }
  lua_pop(L, 1);
}

void document_end(lua_State *L) {
  struct documents *d = &state_of(L)->documents;
  document_let_go(L);
  json_decref(d->own);
  d->own = NULL;
  if (!d->count) return;
  drop_tables(L, d);
  d->generation++;
  d->count = 0;
  d->filled = false;
  if (d->room > ROOM_KEPT) documents_free(d);
  for (int by = BY_VALUE; d->room && by <= BY_TABLE; by++) memset(d->places[by], 0, d->room * sizeof *d->places[by]);
}

void document_fill(lua_State *L, int index) {
  struct documents *d = &state_of(L)->documents;
  const json_t *node = document_node(L, index);
  const char *key;
  json_t *item;
  size_t i;
  if (!node) return;
  index = lua_absindex(L, index);
  luaL_checkstack(L, 6, "nested too deep");
  d->filled = true;
  json_object_foreach((json_t *)(uintptr_t)node, key, item) {
    bridge_push_key(L, key, strlen(key));
    document_push(L, item);
    lua_rawset(L, index);
  }
  json_array_foreach(node, i, item) {
    document_push(L, item);
    lua_rawseti(L, index, (lua_Integer)i + 1);
  }
  d->nodes[*place_of(d, BY_TABLE, lua_topointer(L, index)) - 1].address[BY_TABLE] = NULL;
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
  lua_rawset(L, 1); /* it is an ordinary one now; or its document is gone, and it holds what is written to it */
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

/* Upvalues: how many elements there were, how many are done, the table. */
static int elements_step(lua_State *L) {
  const int table = lua_upvalueindex(3);
  const json_t *node = document_node(L, table);
  lua_Integer n = lua_tointeger(L, lua_upvalueindex(1)), i = lua_tointeger(L, lua_upvalueindex(2));
  while (i++ < n) {
    lua_pushinteger(L, i);
    lua_copy(L, -1, lua_upvalueindex(2));
    if (node) return document_push(L, json_array_get(node, (size_t)i - 1)), 2;
    if (lua_rawgeti(L, table, i) != LUA_TNIL) return 2; /* filled in since the walk began */
    lua_pop(L, 2);                                      /* and this one removed */
  }
  return lua_pushnil(L), 1;
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
    lua_pushinteger(L, (lua_Integer)json_array_size(node));
    lua_pushinteger(L, 0);
    lua_pushvalue(L, index);
    lua_pushcclosure(L, elements_step, 3);
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
  struct documents *d = &state_of(L)->documents;
  luaL_newlib(L, events);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  d->meta = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushboolean(L, 0); /* its place: document_end may take no memory */
  d->tables = luaL_ref(L, LUA_REGISTRYINDEX);
}
