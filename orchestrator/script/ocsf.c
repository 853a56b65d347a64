/* The global table `ocsf`: what every alert normaliser needs, as far as it is asked often. ocsf.lua adds the rest, and says what each is for.
 *
 * A normaliser asks some hundred times for members that are mostly not there. Of a document's table (document.c) that is answered from the value
 * itself, without a table or a text for what lies on the way; of any other table by Lua's own rules. Nothing here raises on odd input. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "script/internal.h"
#include "script/ocsf_text.h"

enum { MAX_OBSERVABLES = 10000, MAX_VALUE = 4096, MAX_DIG = 256, MAX_PATH = 512, INDEX_DIGITS = 4 };

/* ---- reading strange values --------------------------------------------------------------------------- */

/* A whole float loses its ".0". */
static void push_number_text(lua_State *L, int index) {
  lua_Number n = lua_tonumber(L, index);
  if (!lua_isinteger(L, index) && n == floor(n) && n > -0x1p53 && n < 0x1p53) lua_pushinteger(L, (lua_Integer)n);
  else lua_pushvalue(L, index);
  lua_tostring(L, -1);
}

/* Pushes the text that the value at index says, or nil: ocsf.str. */
static bool push_text(lua_State *L, int index) {
  int type = lua_type(L, index);
  if (type == LUA_TNUMBER) return push_number_text(L, lua_absindex(L, index)), true;
  struct span s = {.at = type == LUA_TSTRING ? lua_tolstring(L, index, &s.len) : NULL};
  size_t whole = s.at ? s.len : 0;
  if (s.at && s.len > MAX_VALUE) s.len = MAX_VALUE;
  if (!s.at || !text_says(&s)) return lua_pushnil(L), false;
  if (s.len == whole) lua_pushvalue(L, index);
  else lua_pushlstring(L, s.at, s.len);
  return true;
}

/* The same of a value of a document. */
static bool push_node_text(lua_State *L, const json_t *node) {
  if (json_is_string(node)) {
    struct span s = {json_string_value(node), json_string_length(node)};
    if (s.len > MAX_VALUE) s.len = MAX_VALUE;
    if (text_says(&s)) return lua_pushlstring(L, s.at, s.len), true;
  } else if (json_is_number(node)) {
    bridge_push(L, node, SCRIPT_DATA);
    push_number_text(L, -1);
    return lua_remove(L, -2), true;
  }
  return lua_pushnil(L), false;
}

static int ocsf_str(lua_State *L) {
  lua_settop(L, 1);
  push_text(L, 1);
  return 1;
}

static int ocsf_table(lua_State *L) {
  if (lua_type(L, 1) != LUA_TTABLE) return lua_pushnil(L), 1;
  lua_settop(L, 1);
  return 1;
}

/* Pushes a whole number, also from digits in a text, or nil. */
static void push_integer(lua_State *L, int index) {
  int type = lua_type(L, index);
  lua_Number n;
  if (type == LUA_TSTRING) {
    size_t len;
    const char *s = lua_tolstring(L, index, &len), *digits = s + (*s == '-');
    lua_Integer value = 0;
    if (len > 18 || !*digits || strspn(digits, "0123456789") != len - (size_t)(digits - s)) {
      lua_pushnil(L);
      return;
    }
    for (; *digits; digits++) value = value * 10 + (*digits - '0');
    lua_pushinteger(L, *s == '-' ? -value : value);
  } else if (type != LUA_TNUMBER) {
    lua_pushnil(L);
  } else if (lua_isinteger(L, index)) {
    lua_pushvalue(L, index);
  } else {
    lua_Integer whole;
    n = lua_tonumber(L, index);
    if (lua_numbertointeger(floor(n), &whole) && (floor(n) == n || (n > -0x1p53 && n < 0x1p53))) lua_pushinteger(L, whole);
    else lua_pushnil(L);
  }
}

static int ocsf_int(lua_State *L) {
  lua_settop(L, 1);
  push_integer(L, 1);
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

static int ocsf_list(lua_State *L) {
  lua_settop(L, 1);
  bool nothing = lua_isnil(L, 1) || bridge_is_null(L, 1);
  if (lua_istable(L, 1)) {
    bool list = lua_geti(L, 1, 1) != LUA_TNIL;
    lua_settop(L, 1);
    if (list) return 1;
    nothing = is_empty(L, 1);
  }
  lua_createtable(L, nothing ? 0 : 1, 0);
  if (nothing) return 1;
  lua_pushvalue(L, 1);
  lua_rawseti(L, 2, 1);
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
static const json_t *node_get(lua_State *L, const json_t *node, struct span path) {
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
    if (push_member(L, index, (struct span){path.at, n}) && push_dig(L, top + 1, rest)) return lua_remove(L, top + 1), true;
    lua_settop(L, top);
  }
  return lua_pushnil(L), false;
}

static struct span span_at(lua_State *L, int index) {
  struct span s;
  s.at = luaL_checklstring(L, index, &s.len);
  return s;
}

static struct span kind_at(lua_State *L, int index) { return lua_isnil(L, index) ? (struct span){0} : span_at(L, index); }

/* The value that the table at index stands for, when it can be asked in its place. */
static const json_t *node_of(lua_State *L, int index) { return document_untouched(L) ? document_node(L, index) : NULL; }

static int push_node(lua_State *L, const json_t *node) {
  if (node) document_push(L, node);
  else lua_pushnil(L);
  return 1;
}

static int ocsf_get(lua_State *L) {
  if (!lua_istable(L, 1)) return lua_pushnil(L), 1;
  struct span path = span_at(L, 2);
  const json_t *node = node_of(L, 1);
  if (node) return push_node(L, node_get(L, node, path));
  push_get(L, 1, path);
  return 1;
}

static int ocsf_dig(lua_State *L) {
  if (!lua_istable(L, 1) || lua_type(L, 2) != LUA_TSTRING || lua_rawlen(L, 2) > MAX_DIG) return lua_pushnil(L), 1;
  struct span path = span_at(L, 2);
  const json_t *node = node_of(L, 1);
  if (node) return push_node(L, node_dig(L, node, path));
  push_dig(L, 1, path);
  return 1;
}

static int ocsf_has(lua_State *L) {
  int n = lua_gettop(L);
  bool has = lua_istable(L, 1);
  const json_t *node = has ? node_of(L, 1) : NULL;
  for (int i = 2; has && i <= n && !lua_isnil(L, i); i++) {
    has = node ? node_get(L, node, span_at(L, i)) != NULL : push_get(L, 1, span_at(L, i));
    lua_settop(L, n);
  }
  lua_pushboolean(L, has);
  return 1;
}

static int ocsf_first(lua_State *L) {
  int n = lua_gettop(L);
  if (!lua_istable(L, 1)) return lua_pushnil(L), 1;
  const json_t *node = node_of(L, 1);
  for (int i = 2; i <= n && !lua_isnil(L, i); i++) {
    bool found = node ? push_node_text(L, node_get(L, node, span_at(L, i))) : push_get(L, 1, span_at(L, i)) && push_text(L, n + 1);
    if (found) return lua_pushvalue(L, i), 2;
    lua_settop(L, n);
  }
  return lua_pushnil(L), 1;
}

/* copy(t): a table of t's members with text names. */
static int ocsf_copy(lua_State *L) {
  const json_t *node = node_of(L, 1);
  const char *key;
  json_t *item;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  if (!node) push_contents(L, 1);
  lua_createtable(L, 0, (int)(json_object_size(node) < MAX_PATH ? json_object_size(node) : 0));
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
  lua_pushboolean(L, lua_type(L, 1) == LUA_TSTRING && text_is_ip(span_at(L, 1)));
  return 1;
}

static int ocsf_is_hash(lua_State *L) {
  lua_pushboolean(L, lua_type(L, 1) == LUA_TSTRING && text_is_hash(span_at(L, 1)));
  return 1;
}

static int ocsf_severity(lua_State *L) {
  int id = lua_type(L, 1) == LUA_TSTRING ? text_severity(span_at(L, 1)) : -1;
  if (id < 0) lua_pushnil(L);
  else lua_pushinteger(L, id);
  return 1;
}

static bool epoch_ms(lua_State *L, int index, int64_t *ret_ms) {
  lua_Number n = lua_tonumber(L, index);
  int whole;
  lua_Integer i = lua_tointegerx(L, index, &whole);
  return lua_isinteger(L, index) ? epoch_integer_ms(i, ret_ms) : epoch_number_ms(n, ret_ms);
}

static int ocsf_time(lua_State *L) {
  enum { LONGEST = 64 };
  int64_t ms;
  bool known = false;
  lua_settop(L, 1);
  if (lua_type(L, 1) == LUA_TNUMBER) {
    known = epoch_ms(L, 1, &ms);
  } else if (lua_type(L, 1) == LUA_TSTRING && lua_rawlen(L, 1) <= LONGEST) {
    struct span s = span_at(L, 1);
    int whole;
    if (text_is_number(s)) {
      lua_stringtonumber(L, s.at);
      lua_Integer i = lua_tointegerx(L, 2, &whole);
      known = whole ? epoch_integer_ms(i, &ms) : epoch_ms(L, 2, &ms);
    } else {
      known = text_time(s, &ms);
    }
  }
  if (known) lua_pushinteger(L, ms);
  else lua_pushnil(L);
  return 1;
}

/* ---- the finding: f is {out = …, observables = {…}, seen = {…}, left_off = 0} --------------------------------- */

static int type_id(struct span kind) {
  static const struct {
    const char *name;
    int id;
  } types[] = {{"Hostname", 1},  {"IP Address", 2}, {"MAC Address", 3},  {"User Name", 4},     {"Email Address", 5}, {"URL String", 6},
               {"File Name", 7}, {"Hash", 8},       {"Process Name", 9}, {"Resource UID", 10}, {"Command Line", 13}};
  for (size_t i = 0; kind.at && i < sizeof types / sizeof *types; i++)
    if (strlen(types[i].name) == kind.len && memcmp(types[i].name, kind.at, kind.len) == 0) return types[i].id;
  return 0;
}

static void left_off(lua_State *L, int f) {
  lua_getfield(L, f, "left_off");
  lua_pushinteger(L, 1);
  lua_arith(L, LUA_OPADD);
  lua_setfield(L, f, "left_off");
}

/* Observes the text at index value once. */
static void observe_text(lua_State *L, int f, struct span path, struct span kind, int value) {
  int top = lua_gettop(L);
  lua_getfield(L, f, "seen");
  lua_pushlstring(L, path.at, path.len);
  lua_pushlstring(L, "", 1);
  lua_pushvalue(L, value);
  lua_concat(L, 3);
  lua_pushvalue(L, -1);
  if (lua_gettable(L, top + 1) == LUA_TNIL) {
    lua_getfield(L, f, "observables");
    lua_Integer n = luaL_len(L, -1);
    if (n >= MAX_OBSERVABLES) {
      left_off(L, f);
    } else {
      lua_createtable(L, 0, 4);
      lua_pushlstring(L, path.at, path.len);
      lua_setfield(L, -2, "name");
      if (kind.at) lua_pushlstring(L, kind.at, kind.len), lua_setfield(L, -2, "type");
      lua_pushinteger(L, type_id(kind));
      lua_setfield(L, -2, "type_id");
      lua_pushvalue(L, value);
      lua_setfield(L, -2, "value");
      lua_seti(L, -2, n + 1);
      lua_pushvalue(L, top + 2);
      lua_pushboolean(L, 1);
      lua_settable(L, top + 1);
    }
  }
  lua_settop(L, top);
}

static int ocsf_observe(lua_State *L) {
  lua_settop(L, 4);
  if (push_text(L, 4)) observe_text(L, 1, span_at(L, 2), kind_at(L, 3), 5);
  return 0;
}

/* Puts the value at index at a path of the finding, unless something stands there. */
static void put(lua_State *L, int f, struct span path, int value) {
  const char *end = path.at + path.len, *dot;
  int top = lua_gettop(L), at = top + 1;
  if (lua_isnil(L, value) || bridge_is_null(L, value)) return;
  lua_getfield(L, f, "out");
  for (; (dot = memchr(path.at, '.', path.len)); path = (struct span){dot + 1, (size_t)(end - dot) - 1}) {
    lua_pushlstring(L, path.at, (size_t)(dot - path.at));
    lua_pushvalue(L, -1);
    if (lua_gettable(L, at) == LUA_TNIL) {
      lua_pop(L, 1);
      lua_newtable(L);
      lua_insert(L, -2);
      lua_pushvalue(L, -2);
      lua_settable(L, at);
    } else {
      lua_remove(L, -2);
    }
    if (!lua_istable(L, -1)) {
      lua_settop(L, top);
      return;
    }
    lua_replace(L, at);
  }
  lua_pushlstring(L, path.at, path.len);
  lua_pushvalue(L, -1);
  if (lua_gettable(L, at) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_pushvalue(L, value);
    lua_settable(L, at);
  }
  lua_settop(L, top);
}

static int ocsf_put(lua_State *L) {
  lua_settop(L, 3);
  put(L, 1, span_at(L, 2), 3);
  return 0;
}

/* A text is put and observed. A second value for a path is observed too, but the first stays. */
static void set_text(lua_State *L, int f, struct span path, struct span kind, int value) {
  if (lua_isnil(L, value)) return;
  put(L, f, path, value);
  observe_text(L, f, path, kind, value);
}

static int ocsf_set(lua_State *L) {
  lua_settop(L, 4);
  push_text(L, 4);
  set_text(L, 1, span_at(L, 2), kind_at(L, 3), 5);
  return 0;
}

/* path and what follows it, in room. */
static struct span below(lua_State *L, char room[MAX_PATH], struct span path, const char *end) {
  size_t n = strlen(end);
  if (path.len + n > MAX_PATH) luaL_error(L, "a path may have %d bytes at most", MAX_PATH);
  memcpy(room, path.at, path.len);
  memcpy(room + path.len, end, n);
  return (struct span){room, path.len + n};
}

static struct span word(const char *text) { return (struct span){text, strlen(text)}; }

static void put_below(lua_State *L, struct span path, const char *end, int value) {
  char room[MAX_PATH];
  put(L, 1, below(L, room, path, end), value);
}

static void set_below(lua_State *L, struct span path, const char *end, const char *kind, int value) {
  char room[MAX_PATH];
  set_text(L, 1, below(L, room, path, end), word(kind), value);
}

/* Pushes the text of a member of the table at index 3, or nil. */
static bool push_field(lua_State *L, const char *name) {
  lua_getfield(L, 3, name);
  bool says = push_text(L, -1);
  lua_remove(L, -2);
  return says;
}

static int ocsf_user(lua_State *L) {
  struct span path = span_at(L, 2);
  lua_settop(L, 3);
  bool name = push_field(L, "name"), email = push_field(L, "email_addr"), uid = push_field(L, "uid");
  if (!name && !email && !uid) return 0;
  if (name && !email && text_is_email(span_at(L, 4))) lua_pushvalue(L, 4), lua_replace(L, 5);
  lua_getfield(L, 1, "out");
  bool fresh = !push_get(L, 7, path);
  set_below(L, path, ".name", "User Name", 4);
  set_below(L, path, ".email_addr", "Email Address", 5);
  if (!fresh) return 0;
  put_below(L, path, ".uid", 6);
  push_field(L, "domain");
  put_below(L, path, ".domain", lua_gettop(L));
  push_field(L, "full_name");
  put_below(L, path, ".full_name", lua_gettop(L));
  return 0;
}

static int ocsf_endpoint(lua_State *L) {
  struct span path = span_at(L, 2), host, port;
  lua_settop(L, 4);
  if (!push_text(L, 3)) return 0;
  lua_replace(L, 3);
  bool ip = text_is_ip(span_at(L, 3));
  if (!ip && text_host_port(span_at(L, 3), &host, &port) && (text_is_ip(host) || !memchr(host.at, ':', host.len))) {
    if (lua_isnil(L, 4) || (lua_isboolean(L, 4) && !lua_toboolean(L, 4))) lua_pushlstring(L, port.at, port.len), lua_replace(L, 4);
    ip = text_is_ip(host);
    lua_pushlstring(L, host.at, host.len);
    push_text(L, 5);
    lua_replace(L, 3);
    lua_settop(L, 4);
  }
  if (ip) set_below(L, path, ".ip", "IP Address", 3);
  else set_below(L, path, ".hostname", "Hostname", 3);
  push_integer(L, 4);
  put_below(L, path, ".port", 5);
  return 0;
}

static int ocsf_process(lua_State *L) {
  struct span path = span_at(L, 2);
  lua_settop(L, 3);
  bool name = push_field(L, "name");
  lua_getfield(L, 3, "pid");
  if (!name && lua_isnil(L, 5) && lua_getfield(L, 3, "cmd_line") == LUA_TNIL) return 0;
  lua_settop(L, 5);
  if (name) {
    struct span whole = span_at(L, 4);
    size_t base = whole.len;
    while (base && whole.at[base - 1] != '/' && whole.at[base - 1] != '\\') base--;
    bool has_folder = base && base < whole.len;
    lua_pushlstring(L, whole.at + (has_folder ? base : 0), whole.len - (has_folder ? base : 0));
    push_text(L, 6);
    set_below(L, path, ".name", "Process Name", 7);
    if (has_folder) put_below(L, path, ".path", 4);
  }
  push_integer(L, 5);
  put_below(L, path, ".pid", lua_gettop(L));
  push_field(L, "cmd_line");
  put_below(L, path, ".cmd_line", lua_gettop(L));
  return 0;
}

/* Digests in a text like "SHA256=…,MD5=…". */
static void observe_digests(lua_State *L, struct span path, int value) {
  struct span text = span_at(L, value);
  for (size_t at = 0, n; at < text.len; at += n ? n : 1) {
    n = 0;
    while (at + n < text.len && strchr("0123456789abcdefABCDEF", text.at[at + n]) && text.at[at + n]) n++;
    if (!text_is_hash((struct span){text.at + at, n})) continue;
    lua_pushlstring(L, text.at + at, n);
    observe_text(L, 1, path, word("Hash"), lua_gettop(L));
    lua_pop(L, 1);
  }
}

static int ocsf_hashes(lua_State *L) {
  char room[MAX_PATH];
  int n = lua_gettop(L);
  struct span path = below(L, room, span_at(L, 2), ".hashes.value");
  for (int i = 3; i <= n; i++) {
    if (push_text(L, i)) observe_digests(L, path, n + 1);
    lua_settop(L, n);
  }
  return 0;
}

void open_ocsf(lua_State *L) {
  static const luaL_Reg functions[] = {{"copy", ocsf_copy},         {"dig", ocsf_dig},   {"endpoint", ocsf_endpoint},
                                       {"first", ocsf_first},       {"get", ocsf_get},   {"has", ocsf_has},
                                       {"hashes", ocsf_hashes},     {"int", ocsf_int},   {"is_hash", ocsf_is_hash},
                                       {"is_ip", ocsf_is_ip},       {"list", ocsf_list}, {"observe", ocsf_observe},
                                       {"process", ocsf_process},   {"put", ocsf_put},   {"set", ocsf_set},
                                       {"severity", ocsf_severity}, {"str", ocsf_str},   {"table", ocsf_table},
                                       {"time", ocsf_time},         {"user", ocsf_user}, {NULL, NULL}};
  luaL_newlib(L, functions);
}
