/* The helpers of `ocsf` that fill a finding. */
#include <string.h>

#include "script/ocsf.h"

int ocsf_builder(lua_State *L) {
  enum { ROOM = 8 };
  lua_settop(L, 1);
  lua_createtable(L, 0, 4);
  lua_pushvalue(L, 1);
  lua_setfield(L, 2, "out");
  lua_createtable(L, ROOM, 0);
  lua_setfield(L, 2, "observables");
  lua_createtable(L, 0, ROOM);
  lua_setfield(L, 2, "seen");
  lua_pushinteger(L, 0);
  lua_setfield(L, 2, "left_off");
  return 1;
}

int ocsf_type_id(struct span kind) {
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

void ocsf_observe_text(lua_State *L, int f, struct span path, struct span kind, int value) {
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
    if (n >= OCSF_OBSERVABLES) {
      left_off(L, f);
    } else {
      lua_createtable(L, 0, 4);
      lua_pushlstring(L, path.at, path.len);
      lua_setfield(L, -2, "name");
      if (kind.at) lua_pushlstring(L, kind.at, kind.len), lua_setfield(L, -2, "type");
      lua_pushinteger(L, ocsf_type_id(kind));
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

int ocsf_observe(lua_State *L) {
  lua_settop(L, 4);
  if (ocsf_push_text(L, 4)) ocsf_observe_text(L, 1, ocsf_span(L, 2), ocsf_kind(L, 3), 5);
  return 0;
}

/* Puts the value at index at a path of the finding, unless something stands there. */
static void put(lua_State *L, int f, struct span path, int value) {
  const char *end = path.at + path.len, *dot;
  int top = lua_gettop(L), at = top + 1;
  if (lua_isnil(L, value) || bridge_is_null(L, value)) return;
  lua_getfield(L, f, "out");
  for (; (dot = memchr(path.at, '.', path.len)); path = (struct span){dot + 1, (size_t)(end - dot) - 1}) {
    state_charge(L, 1);
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

int ocsf_put(lua_State *L) {
  lua_settop(L, 3);
  put(L, 1, ocsf_span(L, 2), 3);
  return 0;
}

/* A text is put and observed. A second value for a path is observed too, but the first stays. */
static void set_text(lua_State *L, int f, struct span path, struct span kind, int value) {
  if (lua_isnil(L, value)) return;
  put(L, f, path, value);
  ocsf_observe_text(L, f, path, kind, value);
}

int ocsf_set(lua_State *L) {
  lua_settop(L, 4);
  ocsf_push_text(L, 4);
  set_text(L, 1, ocsf_span(L, 2), ocsf_kind(L, 3), 5);
  return 0;
}

struct span ocsf_below(lua_State *L, char room[OCSF_PATH], struct span path, const char *end) {
  size_t n = strlen(end);
  if (path.len + n > OCSF_PATH) luaL_error(L, "a path may have %d bytes at most", OCSF_PATH);
  memcpy(room, path.at, path.len);
  memcpy(room + path.len, end, n);
  return (struct span){room, path.len + n};
}

static void put_below(lua_State *L, struct span path, const char *end, int value) {
  char room[OCSF_PATH];
  put(L, 1, ocsf_below(L, room, path, end), value);
}

static void set_below(lua_State *L, struct span path, const char *end, const char *kind, int value) {
  char room[OCSF_PATH];
  set_text(L, 1, ocsf_below(L, room, path, end), ocsf_word(kind), value);
}

/* Pushes the text of a member of the table at index 3, or nil. */
static bool push_field(lua_State *L, const char *name) {
  lua_getfield(L, 3, name);
  bool says = ocsf_push_text(L, -1);
  lua_remove(L, -2);
  return says;
}

int ocsf_user(lua_State *L) {
  struct span path = ocsf_span(L, 2);
  lua_settop(L, 3);
  bool name = push_field(L, "name"), email = push_field(L, "email_addr"), uid = push_field(L, "uid");
  if (!name && !email && !uid) return 0;
  if (name && !email && text_is_email(ocsf_span(L, 4))) lua_pushvalue(L, 4), lua_replace(L, 5);
  lua_getfield(L, 1, "out");
  bool fresh = !ocsf_push_at(L, 7, path);
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

int ocsf_endpoint(lua_State *L) {
  struct span path = ocsf_span(L, 2), host, port;
  lua_settop(L, 4);
  if (!ocsf_push_text(L, 3)) return 0;
  lua_replace(L, 3);
  bool ip = text_is_ip(ocsf_span(L, 3));
  if (!ip && text_host_port(ocsf_span(L, 3), &host, &port) && (text_is_ip(host) || !memchr(host.at, ':', host.len))) {
    if (lua_isnil(L, 4) || (lua_isboolean(L, 4) && !lua_toboolean(L, 4))) lua_pushlstring(L, port.at, port.len), lua_replace(L, 4);
    ip = text_is_ip(host);
    lua_pushlstring(L, host.at, host.len);
    ocsf_push_text(L, 5);
    lua_replace(L, 3);
    lua_settop(L, 4);
  }
  if (ip) set_below(L, path, ".ip", "IP Address", 3);
  else set_below(L, path, ".hostname", "Hostname", 3);
  ocsf_push_integer(L, 4);
  put_below(L, path, ".port", 5);
  return 0;
}

int ocsf_process(lua_State *L) {
  struct span path = ocsf_span(L, 2);
  lua_settop(L, 3);
  bool name = push_field(L, "name");
  lua_getfield(L, 3, "pid");
  if (!name && lua_isnil(L, 5) && lua_getfield(L, 3, "cmd_line") == LUA_TNIL) return 0;
  lua_settop(L, 5);
  if (name) {
    struct span whole = ocsf_span(L, 4);
    size_t base = whole.len;
    while (base && whole.at[base - 1] != '/' && whole.at[base - 1] != '\\') base--;
    bool has_folder = base && base < whole.len;
    lua_pushlstring(L, whole.at + (has_folder ? base : 0), whole.len - (has_folder ? base : 0));
    ocsf_push_text(L, 6);
    set_below(L, path, ".name", "Process Name", 7);
    if (has_folder) put_below(L, path, ".path", 4);
  }
  ocsf_push_integer(L, 5);
  put_below(L, path, ".pid", lua_gettop(L));
  push_field(L, "cmd_line");
  put_below(L, path, ".cmd_line", lua_gettop(L));
  return 0;
}

/* Digests in a text like "SHA256=…,MD5=…". */
static void observe_digests(lua_State *L, struct span path, int value) {
  struct span text = ocsf_span(L, value);
  for (size_t at = 0, n; at < text.len; at += n ? n : 1) {
    n = 0;
    while (at + n < text.len && strchr("0123456789abcdefABCDEF", text.at[at + n]) && text.at[at + n]) n++;
    if (!text_is_hash((struct span){text.at + at, n})) continue;
    lua_pushlstring(L, text.at + at, n);
    ocsf_observe_text(L, 1, path, ocsf_word("Hash"), lua_gettop(L));
    lua_pop(L, 1);
  }
}

int ocsf_hashes(lua_State *L) {
  char room[OCSF_PATH];
  int n = lua_gettop(L);
  struct span path = ocsf_below(L, room, ocsf_span(L, 2), ".hashes.value");
  for (int i = 3; i <= n; i++) {
    if (ocsf_push_text(L, i)) observe_digests(L, path, n + 1);
    lua_settop(L, n);
  }
  return 0;
}
