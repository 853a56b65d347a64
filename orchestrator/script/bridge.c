#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/internal.h"

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

bool bridge_is_array(lua_State *L, int index) { return lua_istable(L, index) && has_metatable(L, index, &key_array); }
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
  make_metatable(L, &key_array, none);
  make_metatable(L, &key_secret_meta, secret);
  make_metatable(L, &key_view_meta, view);
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_secrets);
}

/* ---- in ------------------------------------------------------------------------------------------------- */

/* "$secret" with one or more dollars before it: outside data gets one more, so that it never means a secret. */
static bool looks_secret(const char *key) {
  if (*key != '$') return false;
  while (*key == '$') key++;
  return strcmp(key, "secret") == 0;
}

static void push_key(lua_State *L, const char *key, enum script_trust trust, bool trusted_escape) {
  if ((trust == SCRIPT_DATA || trusted_escape) && looks_secret(key)) lua_pushfstring(L, "$%s", key);
  else lua_pushstring(L, key);
}

static void push_at(lua_State *L, const json_t *value, enum script_trust trust, int depth);

static void push_object(lua_State *L, const json_t *object, enum script_trust trust, int depth) {
  const json_t *slot = trust == SCRIPT_TRUSTED ? json_object_get(object, "$secret") : NULL;
  if (slot && json_object_size(object) == 1 && json_is_string(slot)) {
    push_secret(L, json_string_value(slot), json_string_length(slot));
    return;
  }
  size_t n = json_object_size(object);
  lua_createtable(L, 0, n > 100000 ? 100000 : (int)n);
  const char *key;
  json_t *item;
  json_object_foreach((json_t *)(uintptr_t)object, key, item) {
    push_key(L, key, trust, slot && strcmp(key, "$secret") == 0);
    push_at(L, item, trust, depth);
    lua_rawset(L, -3);
  }
}

static void push_array(lua_State *L, const json_t *array, enum script_trust trust, int depth) {
  size_t n = json_array_size(array);
  lua_createtable(L, n > 100000 ? 100000 : (int)n, 0);
  for (size_t i = 0; i < n; i++) {
    push_at(L, json_array_get(array, i), trust, depth);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  bridge_mark_array(L, -1);
}

static void push_at(lua_State *L, const json_t *value, enum script_trust trust, int depth) {
  if (depth > BRIDGE_DEPTH) luaL_error(L, "the data is nested too deep");
  luaL_checkstack(L, 6, "the data is nested too deep");
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
  if (value) push_at(L, value, trust, 0);
  else lua_pushnil(L);
}

/* ---- out ------------------------------------------------------------------------------------------------ */

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

/* Length of the UTF-8 sequence at s, 0 when it is none (RFC 3629: no overlong forms, no surrogates). */
static size_t utf8_len(const unsigned char *s, size_t left) {
  if (s[0] < 0x80) return 1;
  size_t n = s[0] >= 0xC2 && s[0] <= 0xDF ? 2 : (s[0] & 0xF0) == 0xE0 ? 3 : s[0] >= 0xF0 && s[0] <= 0xF4 ? 4 : 0;
  if (n == 0 || n > left) return 0;
  for (size_t i = 1; i < n; i++)
    if ((s[i] & 0xC0) != 0x80) return 0;
  if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
    return 0;
  return n;
}

/* The bytes as text: what is not UTF-8 becomes U+FFFD. */
static bool mend(const char *bytes, size_t len, struct buf *out) {
  buf_init(out, len * 3 + 1);
  for (size_t i = 0; i < len;) {
    size_t n = utf8_len((const unsigned char *)bytes + i, len - i);
    if (n) buf_add(out, bytes + i, n);
    else buf_adds(out, "\xEF\xBF\xBD");
    i += n ? n : 1;
  }
  return buf_ok(out);
}

static json_t *pull_string(struct pull *p, int index) {
  size_t len;
  const char *s = lua_tolstring(p->L, index, &len);
  p->bytes += len;
  json_t *value = json_stringn(s, len);
  if (value) return value;
  struct buf text;
  if (mend(s, len, &text)) value = json_stringn(text.data, text.len);
  buf_release(&text);
  return value ? value : refuse(p, "is too long");
}

static json_t *pull_at(struct pull *p, int index, int depth);

static json_t *pull_list(struct pull *p, int index, lua_Integer n, int depth) {
  json_t *array = json_array();
  lua_Integer count = 0;
  for (lua_pushnil(p->L); lua_next(p->L, index); lua_pop(p->L, 1)) count += lua_isinteger(p->L, -2) ? 1 : n + 1;
  if (count != n) {
    json_decref(array);
    return refuse(p, "is half list, half map (or a list with holes)");
  }
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(p->L, index, i);
    json_t *item = lua_isnil(p->L, -1) ? refuse(p, "is a hole in a list") : pull_at(p, lua_gettop(p->L), depth);
    lua_pop(p->L, 1);
    if (!item) {
      name_place(p, NULL, i);
      json_decref(array);
      return NULL;
    }
    json_array_append_new(array, item);
  }
  return array;
}

/* Sets the member whose key is at key_index; its value is at the top. */
static bool pull_member(struct pull *p, json_t *object, int key_index, int depth) {
  size_t len;
  if (lua_type(p->L, key_index) != LUA_TSTRING) return refuse(p, "is half list, half map (or a map with keys that are no text)") != NULL;
  const char *key = lua_tolstring(p->L, key_index, &len);
  p->bytes += len;
  if (strcmp(key, "$secret") == 0) return refuse(p, "names a secret by hand: pass the secret itself") != NULL;
  if (strlen(key) != len) return refuse(p, "has a key with a NUL byte") != NULL;
  json_t *item = pull_at(p, lua_gettop(p->L), depth);
  if (!item) {
    name_place(p, key, 0);
    return false;
  }
  if (json_object_set(object, key, item) == 0) {
    json_decref(item);
    return true;
  }
  struct buf text;
  if (mend(key, len, &text)) json_object_set(object, text.data, item);
  buf_release(&text);
  json_decref(item);
  return true;
}

static json_t *pull_table(struct pull *p, int index, int depth) {
  if (depth > BRIDGE_DEPTH) return refuse(p, "is nested too deep (or contains itself)");
  if (!lua_checkstack(p->L, 8)) return refuse(p, "is nested too deep");
  push_contents(p->L, index);
  int table = lua_gettop(p->L);
  lua_Integer n = (lua_Integer)lua_rawlen(p->L, table);
  json_t *result;
  if (n > 0 || (bridge_is_array(p->L, table) && (lua_pushnil(p->L), !lua_next(p->L, table)))) {
    result = pull_list(p, table, n, depth + 1);
  } else {
    lua_settop(p->L, table);
    result = json_object();
    for (lua_pushnil(p->L); lua_next(p->L, table); lua_pop(p->L, 1))
      if (!pull_member(p, result, lua_gettop(p->L) - 1, depth + 1)) {
        json_decref(result);
        result = NULL;
        break;
      }
  }
  lua_settop(p->L, table - 1);
  return result;
}

static json_t *pull_number(struct pull *p, int index) {
  if (lua_isinteger(p->L, index)) return json_integer(lua_tointeger(p->L, index));
  lua_Number n = lua_tonumber(p->L, index);
  return isfinite(n) ? json_real(n) : refuse(p, "is not a finite number");
}

static json_t *pull_userdata(struct pull *p, int index) {
  if (bridge_is_secret(p->L, index)) return json_pack("{s:s}", "$secret", (const char *)lua_touserdata(p->L, index));
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
  return pull_at(&p, lua_absindex(L, index), 0);
}

json_t *bridge_pull(lua_State *L, int index) {
  char why[320];
  json_t *value = bridge_try(L, index, why, sizeof why);
  if (!value) luaL_error(L, "a value cannot leave the script: it%s%s", why[0] == '.' || why[0] == '[' ? "" : " ", why);
  return value;
}
