/* The global table `ocsf`: what every alert normaliser needs, as far as it is asked often. ocsf.lua adds the rest, and says what each is for.
 *
 * A normaliser asks some hundred times for members that are mostly not there. Of a document's table (document.c) that is answered from the value
 * itself, without a table or a text for what lies on the way; of any other table by Lua's own rules. Nothing here raises on odd input. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "script/ocsf.h"

enum { MAX_DIG = 256, INDEX_DIGITS = 4, LONGEST_TIME = 64 };

/* ---- reading strange values --------------------------------------------------------------------------- */

/* A whole float loses its ".0". */
static void push_number_text(lua_State *L, int index) {
  lua_Number n = lua_tonumber(L, index);
  if (!lua_isinteger(L, index) && n == floor(n) && n > -0x1p53 && n < 0x1p53) lua_pushinteger(L, (lua_Integer)n);
  else lua_pushvalue(L, index);
  lua_tostring(L, -1);
}

bool ocsf_push_text(lua_State *L, int index) {
  int type = lua_type(L, index);
  if (type == LUA_TNUMBER) return push_number_text(L, lua_absindex(L, index)), true;
  struct span s = {.at = type == LUA_TSTRING ? lua_tolstring(L, index, &s.len) : NULL};
  size_t whole = s.at ? s.len : 0;
  if (s.at && s.len > OCSF_TEXT) s.len = OCSF_TEXT;
  if (!s.at || !text_says(&s)) return lua_pushnil(L), false;
  if (s.len == whole) lua_pushvalue(L, index);
  else lua_pushlstring(L, s.at, s.len);
  return true;
}

/* As Lua writes it, but for a whole float. */
static size_t number_text(const json_t *node, char room[OCSF_NUMBER]) {
  lua_Number n = json_number_value(node);
  if (json_is_integer(node)) return (size_t)snprintf(room, OCSF_NUMBER, LUA_INTEGER_FMT, (lua_Integer)json_integer_value(node));
  if (n == floor(n) && n > -0x1p53 && n < 0x1p53) return (size_t)snprintf(room, OCSF_NUMBER, LUA_INTEGER_FMT, (lua_Integer)n);
  return (size_t)snprintf(room, OCSF_NUMBER, LUA_NUMBER_FMT, n);
}

bool ocsf_node_says(const json_t *node, char room[OCSF_NUMBER], struct span *ret) {
  struct span s = {json_string_value(node), json_string_length(node)};
  if (json_is_number(node)) {
    *ret = (struct span){room, number_text(node, room)};
    return true;
  }
  if (s.len > OCSF_TEXT) s.len = OCSF_TEXT;
  if (!s.at || !text_says(&s)) return false;
  *ret = s;
  return true;
}

static bool push_node_text(lua_State *L, const json_t *node) {
  char room[OCSF_NUMBER];
  struct span s;
  if (!ocsf_node_says(node, room, &s)) return lua_pushnil(L), false;
  lua_pushlstring(L, s.at, s.len);
  return true;
}

static int ocsf_str(lua_State *L) {
  lua_settop(L, 1);
  ocsf_push_text(L, 1);
  return 1;
}

static int ocsf_table(lua_State *L) {
  if (lua_type(L, 1) != LUA_TTABLE) return lua_pushnil(L), 1;
  lua_settop(L, 1);
  return 1;
}

static bool text_integer(struct span s, lua_Integer *ret) {
  const char *digits = s.at + (*s.at == '-');
  lua_Integer value = 0;
  if (s.len > 18 || !*digits || strspn(digits, "0123456789") != s.len - (size_t)(digits - s.at)) return false;
  for (; *digits; digits++) value = value * 10 + (*digits - '0');
  *ret = *s.at == '-' ? -value : value;
  return true;
}

static bool float_integer(lua_Number n, lua_Integer *ret) {
  return lua_numbertointeger(floor(n), ret) && (floor(n) == n || (n > -0x1p53 && n < 0x1p53));
}

void ocsf_push_integer(lua_State *L, int index) {
  int type = lua_type(L, index);
  lua_Integer value;
  if (lua_isinteger(L, index)) lua_pushvalue(L, index);
  else if (type == LUA_TSTRING ? text_integer(ocsf_span(L, index), &value)
                               : type == LUA_TNUMBER && float_integer(lua_tonumber(L, index), &value))
    lua_pushinteger(L, value);
  else lua_pushnil(L);
}

bool ocsf_node_integer(const json_t *node, int64_t *ret) {
  lua_Integer value = json_integer_value(node);
  bool good = json_is_integer(node);
  if (json_is_string(node)) good = text_integer((struct span){json_string_value(node), json_string_length(node)}, &value);
  if (json_is_real(node)) good = float_integer(json_real_value(node), &value);
  if (good) *ret = value;
  return good;
}

static int ocsf_int(lua_State *L) {
  lua_settop(L, 1);
  ocsf_push_integer(L, 1);
  return 1;
}

static bool is_empty(lua_State *L, int index) {
  const json_t *node = document_node(L, index);
  if (node) return json_object_size(node) + json_array_size(node) == 0;
  push_contents(L, index);
  lua_pushnil(L);
  bool empty = !lua_next(L, -2);
  lua_pop(L, empty ? 1 : 3);
  return empty;
}

void ocsf_push_list(lua_State *L, int index) {
  bool nothing = lua_isnil(L, index) || bridge_is_null(L, index);
  if (lua_istable(L, index)) {
    bool list = lua_geti(L, index, 1) != LUA_TNIL;
    lua_pop(L, 1);
    if (list) {
      lua_pushvalue(L, index);
      return;
    }
    nothing = is_empty(L, index);
  }
  lua_createtable(L, nothing ? 0 : 1, 0);
  if (nothing) return;
  lua_pushvalue(L, index);
  lua_rawseti(L, -2, 1);
}

static int ocsf_list(lua_State *L) {
  lua_settop(L, 1);
  ocsf_push_list(L, 1);
  return 1;
}

/* ---- members ---------------------------------------------------------------------------------------------- */

/* "7" names the element 7 too: the number that Lua sees in a short text that begins with a digit. */
static bool names_element(lua_State *L, struct span key, lua_Integer *ret) {
  char text[INDEX_DIGITS + 1];
  int whole;
  if (!key.len || key.len > INDEX_DIGITS || key.at[0] < '0' || key.at[0] > '9') return false;
  memcpy(text, key.at, key.len);
  text[key.len] = 0;
  size_t read = lua_stringtonumber(L, text);
  if (!read) return false;
  *ret = lua_tointegerx(L, -1, &whole);
  lua_pop(L, 1);
  return whole && read == key.len + 1;
}

/* The member or element of a value; NULL for none and for null. */
static const json_t *node_member(lua_State *L, const json_t *node, struct span key) {
  const json_t *value = NULL;
  lua_Integer i;
  if (json_is_object(node)) value = document_member(node, key.at, key.len);
  else if (json_is_array(node) && names_element(L, key, &i) && i > 0) value = json_array_get(node, (size_t)i - 1);
  return json_is_null(value) ? NULL : value;
}

/* What path leads to, or a member that is called so. */
const json_t *ocsf_node_get(lua_State *L, const json_t *node, struct span path) {
  const char *end = path.at + path.len, *dot = memchr(path.at, '.', path.len);
  const json_t *direct = json_is_object(node) ? document_member(node, path.at, path.len) : NULL;
  if (direct) return json_is_null(direct) ? NULL : direct;
  for (; dot && node; dot = memchr(path.at, '.', path.len)) {
    node = node_member(L, node, (struct span){path.at, (size_t)(dot - path.at)});
    path = (struct span){dot + 1, (size_t)(end - dot) - 1};
  }
  return node_member(L, node, path);
}

static const json_t *node_dig(lua_State *L, const json_t *node, struct span path) {
  const json_t *direct = node_member(L, node, path), *inner;
  if (direct) return direct;
  for (const char *dot = memchr(path.at, '.', path.len); dot; dot = memchr(dot + 1, '.', path.len - (size_t)(dot + 1 - path.at))) {
    size_t n = (size_t)(dot - path.at);
    inner = node_member(L, node, (struct span){path.at, n});
    if (inner && (inner = node_dig(L, inner, (struct span){dot + 1, path.len - n - 1}))) return inner;
  }
  return NULL;
}

/* The same of any table at index, by Lua's rules: push the value, or nil. */
static bool push_member(lua_State *L, int index, struct span key) {
  lua_Integer i;
  lua_pushlstring(L, key.at, key.len);
  if (lua_gettable(L, index) == LUA_TNIL && names_element(L, key, &i)) lua_pop(L, 1), lua_geti(L, index, i);
  if (bridge_is_null(L, -1)) lua_pop(L, 1), lua_pushnil(L);
  return !lua_isnil(L, -1);
}

static bool push_get(lua_State *L, int index, struct span path) {
  const char *end = path.at + path.len, *dot = memchr(path.at, '.', path.len);
  lua_pushlstring(L, path.at, path.len);
  if (lua_gettable(L, index) != LUA_TNIL) {
    if (bridge_is_null(L, -1)) lua_pop(L, 1), lua_pushnil(L);
    return !lua_isnil(L, -1);
  }
  lua_pop(L, 1);
  lua_pushvalue(L, index);
  for (; dot; dot = memchr(path.at, '.', path.len)) {
    state_charge(L, 1);
    push_member(L, lua_gettop(L), (struct span){path.at, (size_t)(dot - path.at)});
    lua_remove(L, -2);
    if (!lua_istable(L, -1)) return lua_pop(L, 1), lua_pushnil(L), false;
    path = (struct span){dot + 1, (size_t)(end - dot) - 1};
  }
  push_member(L, lua_gettop(L), path);
  lua_remove(L, -2);
  return !lua_isnil(L, -1);
}

static bool push_dig(lua_State *L, int index, struct span path) {
  luaL_checkstack(L, 6, "nested too deep");
  if (!lua_istable(L, index)) return lua_pushnil(L), false;
  if (push_member(L, index, path)) return true;
  lua_pop(L, 1);
  int top = lua_gettop(L);
  for (const char *dot = memchr(path.at, '.', path.len); dot; dot = memchr(dot + 1, '.', path.len - (size_t)(dot + 1 - path.at))) {
    size_t n = (size_t)(dot - path.at);
    struct span rest = {dot + 1, path.len - n - 1};
    state_charge(L, 1); /* tables that hold themselves: as many ways as there are sums of the dots */
    if (push_member(L, index, (struct span){path.at, n}) && push_dig(L, top + 1, rest)) return lua_remove(L, top + 1), true;
    lua_settop(L, top);
  }
  return lua_pushnil(L), false;
}

/* The value that the table at index stands for, when it can be asked in its place. */
const json_t *ocsf_node_of(lua_State *L, int index) { return document_untouched(L) ? document_node(L, index) : NULL; }

static int push_node(lua_State *L, const json_t *node) {
  if (node) document_push(L, node);
  else lua_pushnil(L);
  return 1;
}

bool ocsf_push_at(lua_State *L, int index, struct span path) {
  const json_t *node = ocsf_node_of(L, index);
  if (node) return push_node(L, ocsf_node_get(L, node, path)), !lua_isnil(L, -1);
  if (lua_istable(L, index)) return push_get(L, index, path);
  return lua_pushnil(L), false;
}

static int ocsf_get(lua_State *L) {
  if (!lua_istable(L, 1)) return lua_pushnil(L), 1;
  ocsf_push_at(L, 1, ocsf_span(L, 2));
  return 1;
}

static int ocsf_dig(lua_State *L) {
  if (!lua_istable(L, 1) || lua_type(L, 2) != LUA_TSTRING || lua_rawlen(L, 2) > MAX_DIG) return lua_pushnil(L), 1;
  struct span path = ocsf_span(L, 2);
  const json_t *node = ocsf_node_of(L, 1);
  if (node) return push_node(L, node_dig(L, node, path));
  push_dig(L, 1, path);
  return 1;
}

static int ocsf_has(lua_State *L) {
  int n = lua_gettop(L);
  bool has = lua_istable(L, 1);
  const json_t *node = has ? ocsf_node_of(L, 1) : NULL;
  for (int i = 2; has && i <= n && !lua_isnil(L, i); i++) {
    has = node ? ocsf_node_get(L, node, ocsf_span(L, i)) != NULL : push_get(L, 1, ocsf_span(L, i));
    lua_settop(L, n);
  }
  lua_pushboolean(L, has);
  return 1;
}

static int ocsf_first(lua_State *L) {
  int n = lua_gettop(L);
  if (!lua_istable(L, 1)) return lua_pushnil(L), 1;
  const json_t *node = ocsf_node_of(L, 1);
  for (int i = 2; i <= n && !lua_isnil(L, i); i++) {
    bool found =
        node ? push_node_text(L, ocsf_node_get(L, node, ocsf_span(L, i))) : push_get(L, 1, ocsf_span(L, i)) && ocsf_push_text(L, n + 1);
    if (found) return lua_pushvalue(L, i), 2;
    lua_settop(L, n);
  }
  return lua_pushnil(L), 1;
}

/* copy(t): a table of t's members with text names. */
static int ocsf_copy(lua_State *L) {
  const json_t *node = ocsf_node_of(L, 1);
  const char *key;
  json_t *item;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  if (!node) push_contents(L, 1);
  lua_createtable(L, 0, (int)(json_object_size(node) < OCSF_PATH ? json_object_size(node) : 0));
  json_object_foreach((json_t *)(uintptr_t)node, key, item) {
    bridge_push_key(L, key, strlen(key));
    document_push(L, item);
    lua_rawset(L, 2);
  }
  if (node) return 1;
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) continue;
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 3);
  }
  return 1;
}

/* ---- what a value looks like -------------------------------------------------------------------------------- */

static int ocsf_is_ip(lua_State *L) {
  lua_pushboolean(L, lua_type(L, 1) == LUA_TSTRING && text_is_ip(ocsf_span(L, 1)));
  return 1;
}

static int ocsf_is_hash(lua_State *L) {
  lua_pushboolean(L, lua_type(L, 1) == LUA_TSTRING && text_is_hash(ocsf_span(L, 1)));
  return 1;
}

static int ocsf_severity(lua_State *L) {
  int id = lua_type(L, 1) == LUA_TSTRING ? text_severity(ocsf_span(L, 1)) : -1;
  if (id < 0) lua_pushnil(L);
  else lua_pushinteger(L, id);
  return 1;
}

static bool text_epoch(lua_State *L, struct span s, int64_t *ret_ms) {
  int whole;
  lua_stringtonumber(L, s.at);
  lua_Integer i = lua_tointegerx(L, -1, &whole);
  bool known = whole ? epoch_integer_ms(i, ret_ms) : epoch_number_ms(lua_tonumber(L, -1), ret_ms);
  lua_pop(L, 1);
  return known;
}

static bool span_time(lua_State *L, struct span s, int64_t *ret_ms) {
  if (s.len > LONGEST_TIME) return false;
  return text_is_number(s) ? text_epoch(L, s, ret_ms) : text_time(s, ret_ms);
}

bool ocsf_node_time(lua_State *L, const json_t *node, int64_t *ret_ms) {
  if (json_is_string(node)) return span_time(L, (struct span){json_string_value(node), json_string_length(node)}, ret_ms);
  if (json_is_integer(node)) return epoch_integer_ms(json_integer_value(node), ret_ms);
  return json_is_real(node) && epoch_number_ms(json_real_value(node), ret_ms);
}

static int ocsf_time(lua_State *L) {
  int64_t ms;
  bool known = false;
  lua_settop(L, 1);
  if (lua_isinteger(L, 1)) known = epoch_integer_ms(lua_tointeger(L, 1), &ms);
  else if (lua_type(L, 1) == LUA_TNUMBER) known = epoch_number_ms(lua_tonumber(L, 1), &ms);
  else if (lua_type(L, 1) == LUA_TSTRING) known = span_time(L, ocsf_span(L, 1), &ms);
  if (known) lua_pushinteger(L, ms);
  else lua_pushnil(L);
  return 1;
}

void open_ocsf(lua_State *L) {
  static const luaL_Reg functions[] = {{"builder", ocsf_builder},
                                       {"copy", ocsf_copy},
                                       {"dig", ocsf_dig},
                                       {"endpoint", ocsf_endpoint},
                                       {"event", ocsf_event},
                                       {"first", ocsf_first},
                                       {"get", ocsf_get},
                                       {"has", ocsf_has},
                                       {"hashes", ocsf_hashes},
                                       {"int", ocsf_int},
                                       {"is_hash", ocsf_is_hash},
                                       {"is_ip", ocsf_is_ip},
                                       {"list", ocsf_list},
                                       {"observe", ocsf_observe},
                                       {"process", ocsf_process},
                                       {"put", ocsf_put},
                                       {"set", ocsf_set},
                                       {"severity", ocsf_severity},
                                       {"str", ocsf_str},
                                       {"table", ocsf_table},
                                       {"time", ocsf_time},
                                       {"user", ocsf_user},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
}
