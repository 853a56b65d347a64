#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "script/internal.h"

enum { ESCAPE = 6, AROUND = 40 }; /* a byte's longest escape; the rest of a value, with its name's quotes: no number is longer */

/* Registry keys, and the address that null is. */
static char key_array, key_secrets, key_secret_meta, key_view_meta, null_tag;

/* ---- null, arrays, secrets, views --------------------------------------------------------------------- */

void bridge_push_null(lua_State *L) { lua_pushlightuserdata(L, &null_tag); }
bool bridge_is_null(lua_State *L, int index) { return lua_islightuserdata(L, index) && lua_touserdata(L, index) == &null_tag; }

void bridge_mark_array(lua_State *L, int index) {
  index = lua_absindex(L, index);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_array);
  lua_setmetatable(L, index);
}

static bool has_metatable(lua_State *L, int index, const void *key) {
  if (!lua_getmetatable(L, index)) return false;
  lua_rawgetp(L, LUA_REGISTRYINDEX, key);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

bool bridge_is_array(lua_State *L, int index) {
  return lua_istable(L, index) && (has_metatable(L, index, &key_array) || json_is_array(document_node(L, index)));
}
bool bridge_is_secret(lua_State *L, int index) { return lua_type(L, index) == LUA_TUSERDATA && has_metatable(L, index, &key_secret_meta); }

/* One userdata per slot and state: a secret is equal to itself and to nothing else. */
static void push_secret(lua_State *L, const char *slot, size_t len) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_secrets);
  lua_pushlstring(L, slot, len);
  if (lua_rawget(L, -2) == LUA_TNIL) {
    lua_pop(L, 1);
    char *copy = lua_newuserdatauv(L, len + 1, 0);
    memcpy(copy, slot, len);
    copy[len] = 0;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &key_secret_meta);
    lua_setmetatable(L, -2);
    lua_pushlstring(L, slot, len);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
  }
  lua_remove(L, -2);
}

static int secret_tostring(lua_State *L) { return lua_pushliteral(L, "[secret]"), 1; }
static int secret_refuses(lua_State *L) {
  return luaL_error(
      L, "a secret cannot be read or joined to text: place it in the request as it is (or { [\"$concat\"] = { \"token \", secret } })");
}

/* Linked, so that a state can be dropped without its collector. */
struct view {
  json_t *list; /* first: what view_of and the pushing caller know */
  struct view *next, **at;
};

static json_t *view_of(lua_State *L) { return *(json_t **)lua_touserdata(L, 1); }

static int view_index(lua_State *L) {
  lua_Integer i = lua_isinteger(L, 2) ? lua_tointeger(L, 2) : 0;
  if (i < 1) return lua_pushnil(L), 1;
  bridge_push(L, json_array_get(view_of(L), (size_t)i - 1), SCRIPT_DATA);
  return 1;
}

static int view_len(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)json_array_size(view_of(L)));
  return 1;
}

static int view_next(lua_State *L) {
  lua_Integer i = lua_isnil(L, 2) ? 1 : lua_tointeger(L, 2) + 1;
  if (i < 1 || (size_t)i > json_array_size(view_of(L))) return lua_pushnil(L), 1;
  lua_pushinteger(L, i);
  bridge_push(L, json_array_get(view_of(L), (size_t)i - 1), SCRIPT_DATA);
  return 2;
}

static int view_pairs(lua_State *L) {
  lua_pushcfunction(L, view_next);
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  return 3;
}

static int view_refuses(lua_State *L) { return luaL_error(L, "this list is read-only"); }

static int view_release(lua_State *L) {
  struct view *v = lua_touserdata(L, 1);
  json_decref(v->list);
  *v->at = v->next;
  if (v->next) v->next->at = v->at;
  *(json_t **)lua_touserdata(L, 1) = NULL;
  return 0;
}

json_t **bridge_push_view(lua_State *L) {
  struct view *v = lua_newuserdatauv(L, sizeof *v, 0), **first = &state_of(L)->views;
  *v = (struct view){.next = *first, .at = first};
  if (v->next) v->next->at = &v->next;
  *first = v;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_view_meta);
  lua_setmetatable(L, -2);
  return &v->list;
}

void state_drop_views(struct state *s) {
  for (struct view *v = s->views; v; v = v->next) json_decref(v->list);
  s->views = NULL;
}

static void make_metatable(lua_State *L, const void *key, const luaL_Reg *events) {
  lua_newtable(L);
  luaL_setfuncs(L, events, 0);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

void bridge_open(lua_State *L) {
  static const luaL_Reg none[] = {{NULL, NULL}};
  static const luaL_Reg secret[] = {
      {"__tostring", secret_tostring}, {"__concat", secret_refuses}, {"__index", secret_refuses}, {"__len", secret_refuses}, {NULL, NULL}};
  static const luaL_Reg view[] = {{"__index", view_index}, {"__newindex", view_refuses}, {"__len", view_len},
                                  {"__pairs", view_pairs}, {"__gc", view_release},       {NULL, NULL}};
  document_open(L);
  make_metatable(L, &key_array, none);
  make_metatable(L, &key_secret_meta, secret);
  make_metatable(L, &key_view_meta, view);
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_secrets);
}

/* ---- in ------------------------------------------------------------------------------------------------- */

bool bridge_looks_secret(const char *key) {
  if (*key != '$') return false;
  while (*key == '$') key++;
  return strcmp(key, "secret") == 0;
}

void bridge_push_key(lua_State *L, const char *key, size_t len) {
  if (bridge_looks_secret(key)) lua_pushfstring(L, "$%s", key);
  else lua_pushlstring(L, key, len);
}

static void push_key(lua_State *L, const char *key, size_t len, enum script_trust trust, bool trusted_escape) {
  if (trust == SCRIPT_DATA || trusted_escape) bridge_push_key(L, key, len);
  else lua_pushlstring(L, key, len);
}

static void push_at(lua_State *L, const json_t *value, enum script_trust trust, int depth);

static void make_room(lua_State *L, int depth) {
  if (depth > BRIDGE_DEPTH + 1) luaL_error(L, "the data is nested too deep");
  luaL_checkstack(L, 8, "the data is nested too deep");
}

static void push_object(lua_State *L, const json_t *object, enum script_trust trust, int depth) {
  size_t n = json_object_size(object);
  const json_t *slot = trust == SCRIPT_TRUSTED ? json_object_getn(object, "$secret", 7) : NULL;
  if (slot && n == 1 && json_is_string(slot)) {
    push_secret(L, json_string_value(slot), json_string_length(slot));
    return;
  }
  make_room(L, depth);
  lua_createtable(L, 0, n > 100000 ? 100000 : (int)n);
  json_t *walked = (json_t *)(uintptr_t)object;
  for (void *at = json_object_iter(walked); at; at = json_object_iter_next(walked, at)) {
    const char *key = json_object_iter_key(at);
    push_key(L, key, json_object_iter_key_len(at), trust, slot && strcmp(key, "$secret") == 0);
    push_at(L, json_object_iter_value(at), trust, depth);
    lua_rawset(L, -3);
  }
}

static void push_array(lua_State *L, const json_t *array, enum script_trust trust, int depth) {
  size_t n = json_array_size(array);
  make_room(L, depth);
  lua_createtable(L, n > 100000 ? 100000 : (int)n, 0);
  for (size_t i = 0; i < n; i++) {
    push_at(L, json_array_get(array, i), trust, depth);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  bridge_mark_array(L, -1);
}

/* There is room for a value and what it takes to make one; a table makes room for its own. */
static void push_at(lua_State *L, const json_t *value, enum script_trust trust, int depth) {
  switch (json_typeof(value)) {
  case JSON_OBJECT: push_object(L, value, trust, depth + 1); break;
  case JSON_ARRAY: push_array(L, value, trust, depth + 1); break;
  case JSON_STRING: lua_pushlstring(L, json_string_value(value), json_string_length(value)); break;
  case JSON_INTEGER: lua_pushinteger(L, json_integer_value(value)); break;
  case JSON_REAL: lua_pushnumber(L, json_real_value(value)); break;
  case JSON_TRUE: lua_pushboolean(L, 1); break;
  case JSON_FALSE: lua_pushboolean(L, 0); break;
  case JSON_NULL: bridge_push_null(L); break;
  }
}

void bridge_push(lua_State *L, const json_t *value, enum script_trust trust) {
  make_room(L, 0);
  if (value) push_at(L, value, trust, 0);
  else lua_pushnil(L);
}

/* ---- out ------------------------------------------------------------------------------------------------ */

static const char too_deep[] = "is nested too deep (or contains itself)";

struct pull {
  lua_State *L;
  size_t nodes, bytes;
  char *why;
  size_t size;
};

static json_t *refuse(struct pull *p, const char *why) {
  snprintf(p->why, p->size, "%s", why);
  return NULL;
}

/* Puts the member's name before a reason on its way up. */
static void name_place(struct pull *p, const char *key, lua_Integer i) {
  char old[256];
  if (strlen(p->why) > 160) return; /* deep enough to be found */
  snprintf(old, sizeof old, "%s", p->why);
  const char *join = old[0] == '[' || old[0] == '.' ? "" : " ";
  if (key) snprintf(p->why, p->size, ".%.60s%s%s", key, join, old);
  else snprintf(p->why, p->size, "[%lld]%s%s", (long long)i, join, old);
}

/* The bytes as text: what is not UTF-8 becomes U+FFFD. */
static bool mend(const char *bytes, size_t len, struct buf *out) {
  buf_init(out, len * 3 + 1);
  for (size_t i = 0; i < len;) {
    size_t n = utf8_length((const unsigned char *)bytes + i, len - i);
    if (n) buf_add(out, bytes + i, n);
    else buf_adds(out, "\xEF\xBF\xBD");
    i += n ? n : 1;
  }
  return buf_ok(out);
}

json_t *bridge_text(const char *bytes, size_t len) {
  struct buf text;
  if (utf8_valid(bytes, len)) return json_stringn_nocheck(bytes, len);
  json_t *value = mend(bytes, len, &text) ? json_stringn_nocheck(text.data, text.len) : NULL;
  buf_release(&text);
  return value;
}

static json_t *pull_string(struct pull *p, int index) {
  size_t len;
  const char *s = lua_tolstring(p->L, index, &len);
  p->bytes += len;
  json_t *value = bridge_text(s, len);
  return value ? value : refuse(p, "is too long");
}

static json_t *pull_at(struct pull *p, int index, int depth);

/* Appends the element at the top, and pops down to `top`. */
static bool pull_element(struct pull *p, json_t *array, lua_Integer i, int top, int depth) {
  json_t *item = lua_isnil(p->L, -1) ? refuse(p, "is a hole in a list") : pull_at(p, lua_gettop(p->L), depth);
  lua_settop(p->L, top);
  if (!item) return name_place(p, NULL, i), false;
  json_array_append_new(array, item);
  return true;
}

/* The elements for as long as a walk meets them in their order: mostly all, and nothing else. */
static bool pull_in_order(struct pull *p, json_t *array, int index, int depth, bool *ret_all) {
  int key = lua_gettop(p->L) + 1;
  *ret_all = true;
  lua_pushnil(p->L);
  for (lua_Integer i = 1; lua_next(p->L, index); i++) {
    if (!lua_isinteger(p->L, key) || lua_tointeger(p->L, key) != i) {
      lua_settop(p->L, key - 1);
      *ret_all = false;
      break;
    }
    if (!pull_element(p, array, i, key, depth)) return false;
  }
  return true;
}

static bool pull_elements(struct pull *p, json_t *array, int index, lua_Integer n, int depth) {
  int top = lua_gettop(p->L);
  lua_Integer count = 0;
  bool all;
  if (!pull_in_order(p, array, index, depth, &all)) return false;
  if (all) return true;
  for (lua_pushnil(p->L); lua_next(p->L, index); lua_pop(p->L, 1)) count += lua_isinteger(p->L, -2) ? 1 : n + 1;
  if (count != n) return refuse(p, "is half list, half map (or a list with holes)") != NULL;
  for (lua_Integer i = (lua_Integer)json_array_size(array) + 1; i <= n; i++) {
    lua_rawgeti(p->L, index, i);
    if (!pull_element(p, array, i, top, depth)) return false;
  }
  return true;
}

static json_t *pull_list(struct pull *p, int index, lua_Integer n, int depth) {
  json_t *array = json_array();
  if (pull_elements(p, array, index, n, depth)) return array;
  json_decref(array);
  return NULL;
}

/* Sets the member whose key is at key_index, and its value above it. */
static bool pull_member(struct pull *p, json_t *object, int key_index, int depth) {
  size_t len;
  if (lua_type(p->L, key_index) != LUA_TSTRING) return refuse(p, "is half list, half map (or a map with keys that are no text)") != NULL;
  const char *key = lua_tolstring(p->L, key_index, &len);
  p->bytes += len;
  if (*key == '$' && strcmp(key, "$secret") == 0) return refuse(p, "names a secret by hand: pass the secret itself") != NULL;
  if (strlen(key) != len) return refuse(p, "has a key with a NUL byte") != NULL;
  json_t *item = pull_at(p, key_index + 1, depth);
  if (!item) {
    name_place(p, key, 0);
    return false;
  }
  if (utf8_valid(key, len)) {
    json_object_setn_new_nocheck(object, key, len, item);
    return true;
  }
  struct buf text;
  if (mend(key, len, &text)) json_object_set_new_nocheck(object, text.data, item);
  else json_decref(item);
  buf_release(&text);
  return true;
}

static json_t *pull_map(struct pull *p, int index, int depth) {
  json_t *object = json_object();
  int key = lua_gettop(p->L) + 1;
  for (lua_pushnil(p->L); lua_next(p->L, index); lua_pop(p->L, 1)) {
    if (pull_member(p, object, key, depth)) continue;
    json_decref(object);
    lua_settop(p->L, key - 1);
    return NULL;
  }
  return object;
}

static bool is_empty(lua_State *L, int index) {
  lua_pushnil(L);
  if (!lua_next(L, index)) return true;
  lua_pop(L, 2);
  return false;
}

/* Counts what the value of a document holds, as if it were pulled. *ret_same false: a name in it is another in Lua. */
static bool pull_measure(struct pull *p, const json_t *value, int depth, bool *ret_same) {
  json_t *item;
  size_t i;
  if (++p->nodes > BRIDGE_NODES || p->bytes > BRIDGE_BYTES) return refuse(p, "holds too much data") != NULL;
  if (json_is_string(value)) p->bytes += json_string_length(value);
  if ((json_is_object(value) || json_is_array(value)) && depth > BRIDGE_DEPTH) return refuse(p, too_deep) != NULL;
  json_array_foreach(value, i, item) {
    if (!pull_measure(p, item, depth + 1, ret_same)) return name_place(p, NULL, (lua_Integer)i + 1), false;
  }
  json_t *object = (json_t *)(uintptr_t)value;
  for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
    const char *key = json_object_iter_key(it);
    if (bridge_looks_secret(key)) *ret_same = false;
    p->bytes += json_object_iter_key_len(it);
    if (!pull_measure(p, json_object_iter_value(it), depth + 1, ret_same)) return name_place(p, key, 0), false;
  }
  return true;
}

static json_t *pull_document(struct pull *p, const json_t *value, int depth);

/* A table that was made of the value may have been changed since. */
static json_t *pull_part(struct pull *p, const json_t *value, int depth) {
  if (!json_is_object(value) && !json_is_array(value)) {
    bool same = true;
    return pull_measure(p, value, depth, &same) ? json_incref((json_t *)(uintptr_t)value) : NULL;
  }
  if (!document_push_made(p->L, value))
    return ++p->nodes > BRIDGE_NODES ? refuse(p, "holds too much data") : pull_document(p, value, depth);
  json_t *result = pull_at(p, lua_gettop(p->L), depth);
  lua_pop(p->L, 1);
  return result;
}

/* What one of a document's tables stands for: the value itself when nothing was changed. Its own node is counted already. */
static json_t *pull_document(struct pull *p, const json_t *value, int depth) {
  struct pull before = *p;
  bool same = true;
  const char *key;
  json_t *item, *part, *result;
  size_t i;
  if (document_untouched(p->L)) {
    p->nodes--;
    if (!pull_measure(p, value, depth, &same)) return NULL;
    if (same) return json_incref((json_t *)(uintptr_t)value);
    *p = before;
  }
  if (depth > BRIDGE_DEPTH || !lua_checkstack(p->L, 8)) return refuse(p, too_deep);
  result = json_is_array(value) ? json_array() : json_object();
  json_array_foreach(value, i, item) {
    if (!(part = pull_part(p, item, depth + 1))) {
      name_place(p, NULL, (lua_Integer)i + 1);
      goto refused;
    }
    json_array_append_new(result, part);
  }
  json_object_foreach((json_t *)(uintptr_t)value, key, item) {
    struct buf name;
    if (!(part = pull_part(p, item, depth + 1))) {
      name_place(p, key, 0);
      goto refused;
    }
    p->bytes += strlen(key);
    buf_init(&name, strlen(key) + 2);
    if (bridge_looks_secret(key)) buf_addc(&name, '$'), buf_adds(&name, key);
    json_object_set_new(result, name.len ? name.data : key, part);
    buf_release(&name);
  }
  return result;
refused:
  json_decref(result);
  return NULL;
}

static json_t *pull_table(struct pull *p, int index, int depth) {
  if (depth > BRIDGE_DEPTH || !lua_checkstack(p->L, 8)) return refuse(p, too_deep);
  int table = index, top = lua_gettop(p->L);
  bool array = false;
  if (lua_getmetatable(p->L, index)) { /* most have none */
    lua_pop(p->L, 1);
    const json_t *node = document_node(p->L, index);
    if (node) return pull_document(p, node, depth);
    push_contents(p->L, index);
    table = top + 1;
    array = bridge_is_array(p->L, table);
  }
  lua_Integer n = (lua_Integer)lua_rawlen(p->L, table);
  bool list = n > 0 || (array && is_empty(p->L, table));
  json_t *result = list ? pull_list(p, table, n, depth + 1) : pull_map(p, table, depth + 1);
  lua_settop(p->L, top);
  return result;
}

static json_t *pull_number(struct pull *p, int index) {
  if (lua_isinteger(p->L, index)) return json_integer(lua_tointeger(p->L, index));
  lua_Number n = lua_tonumber(p->L, index);
  return isfinite(n) ? json_real(n) : refuse(p, "is not a finite number");
}

static json_t *pull_userdata(struct pull *p, int index) {
  if (bridge_is_secret(p->L, index)) {
    const char *slot = lua_touserdata(p->L, index);
    p->bytes += strlen(slot);
    return json_pack("{s:s}", "$secret", slot);
  }
  return refuse(p, has_metatable(p->L, index, &key_view_meta) ? "is the whole list: pass what is needed of its elements"
                                                              : "cannot be passed on");
}

static json_t *pull_at(struct pull *p, int index, int depth) {
  if (++p->nodes > BRIDGE_NODES || p->bytes > BRIDGE_BYTES) return refuse(p, "holds too much data");
  switch (lua_type(p->L, index)) {
  case LUA_TTABLE: return pull_table(p, index, depth);
  case LUA_TSTRING: return pull_string(p, index);
  case LUA_TNUMBER: return pull_number(p, index);
  case LUA_TBOOLEAN: return json_boolean(lua_toboolean(p->L, index));
  case LUA_TLIGHTUSERDATA: return bridge_is_null(p->L, index) ? json_null() : refuse(p, "cannot be passed on");
  case LUA_TUSERDATA: return pull_userdata(p, index);
  case LUA_TNIL: return json_null();
  default: return refuse(p, "is a function, which cannot be passed on");
  }
}

json_t *bridge_try(lua_State *L, int index, char *why, size_t size) {
  struct pull p = {.L = L, .why = why, .size = size};
  why[0] = 0;
  if (!lua_checkstack(L, 8)) return refuse(&p, "is nested too deep");
  json_t *value = pull_at(&p, lua_absindex(L, index), 0);
  state_of(L)->gave = ESCAPE * p.bytes + AROUND * p.nodes;
  return value;
}

json_t *bridge_pull(lua_State *L, int index) {
  char why[320];
  json_t *value = bridge_try(L, index, why, sizeof why);
  if (!value) luaL_error(L, "a value cannot leave the script: it%s%s", why[0] == '.' || why[0] == '[' ? "" : " ", why);
  return value;
}
