/* Faces and frozen tables: a face is an empty table whose metatable knows the contents and lets nobody write. To freeze a table is to move its
 * contents behind it, and the same with all that it leads to, also through its functions' locals and a metatable of a script's own. */
#include "script/internal.h"

static char key_frozen; /* of a face's metatable: the contents */

static int refuse_write(lua_State *L) {
  if (lua_type(L, 2) == LUA_TSTRING) return luaL_error(L, "`%s` cannot be set here: this table is read-only", lua_tostring(L, 2));
  return luaL_error(L, "this table is read-only");
}

static int face_len(lua_State *L) {
  push_contents(L, 1);
  lua_pushinteger(L, (lua_Integer)lua_rawlen(L, -1));
  return 1;
}

void push_face_metatable(lua_State *L, lua_CFunction on_write) {
  lua_createtable(L, 0, 5);
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, on_write);
  lua_setfield(L, -2, "__newindex");
  lua_pushcfunction(L, face_len);
  lua_setfield(L, -2, "__len");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, &key_frozen);
}

void push_face(lua_State *L) {
  lua_newtable(L);
  lua_insert(L, -2);
  push_face_metatable(L, refuse_write);
  lua_setmetatable(L, -3);
  lua_pop(L, 1);
}

bool is_frozen(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index)) return false;
  bool frozen = lua_rawgetp(L, -1, &key_frozen) == LUA_TTABLE;
  lua_pop(L, 2);
  return frozen;
}

void push_contents(lua_State *L, int index) {
  index = lua_absindex(L, index);
  if (lua_getmetatable(L, index)) {
    if (lua_rawgetp(L, -1, &key_frozen) == LUA_TTABLE) {
      lua_remove(L, -2);
      return;
    }
    lua_pop(L, 2);
    document_fill(L, index);
  }
  lua_pushvalue(L, index);
}

static void freeze_value(lua_State *L, int index, int seen);

static void freeze_function(lua_State *L, int index, int seen) {
  if (lua_iscfunction(L, index)) return;
  lua_pushvalue(L, index);
  if (lua_rawget(L, seen) != LUA_TNIL) {
    lua_pop(L, 1);
    return;
  }
  lua_pop(L, 1);
  lua_pushvalue(L, index);
  lua_pushboolean(L, 1);
  lua_rawset(L, seen);
  for (int i = 1; lua_getupvalue(L, index, i); i++) {
    freeze_value(L, lua_gettop(L), seen);
    lua_pop(L, 1);
  }
}

static int face_answered(lua_State *L, int status, lua_KContext context) { return 1; }

/* Upvalues: a script's own __index, the frozen table that it is asked for: it must not get hold of the contents. */
static int face_index(lua_State *L) {
  lua_settop(L, 2);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_pushvalue(L, 2);
  lua_callk(L, 2, 1, 0, face_answered);
  return 1;
}

/* The metatable at the top, a script's own, is that of the contents from now on; index is the table's. */
static void freeze_index(lua_State *L, int index, int seen) {
  lua_getfield(L, -1, "__index");
  freeze_value(L, lua_gettop(L), seen);
  if (lua_isfunction(L, -1)) {
    lua_pushvalue(L, index);
    lua_pushcclosure(L, face_index, 2);
  }
  lua_setfield(L, -2, "__index");
}

/* Moves the contents of the table at index into a new one, left at the top. */
static void move_contents(lua_State *L, int index) {
  lua_newtable(L);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, -4);
    lua_pushvalue(L, -1);
    lua_pushnil(L);
    lua_rawset(L, index); /* clearing the field just visited is allowed in a walk */
  }
}

static void freeze_table(lua_State *L, int index, int seen) {
  if (is_frozen(L, index)) return;
  bool array = bridge_is_array(L, index);
  move_contents(L, index);
  int real = lua_gettop(L);
  push_face_metatable(L, refuse_write);
  if (array) {
    bridge_mark_array(L, real);
  } else if (lua_getmetatable(L, index)) { /* a script's own: goes on working through the contents */
    static const char *const kept[] = {"__call", "__tostring", "__eq",  "__lt",  "__le", "__concat",
                                       "__unm",  "__add",      "__sub", "__mul", "__div"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
      lua_getfield(L, -1, kept[i]);
      freeze_value(L, lua_gettop(L), seen);
      lua_setfield(L, -3, kept[i]);
    }
    freeze_index(L, index, seen);
    lua_setmetatable(L, real);
  }
  lua_setmetatable(L, index);
  lua_pushnil(L);
  while (lua_next(L, real)) {
    freeze_value(L, lua_gettop(L), seen);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void freeze_value(lua_State *L, int index, int seen) {
  luaL_checkstack(L, 12, "nested too deep");
  if (lua_istable(L, index)) freeze_table(L, index, seen);
  else if (lua_isfunction(L, index)) freeze_function(L, index, seen);
}

void freeze(lua_State *L, int index) {
  index = lua_absindex(L, index);
  lua_newtable(L);
  freeze_value(L, index, lua_gettop(L));
  lua_pop(L, 1);
}
