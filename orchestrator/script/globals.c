#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "script/internal.h"

/* Registry and metatable keys: addresses, which no script can make. */
static char key_globals, key_env, key_user;

/* ---- tostring ---------------------------------------------------------------------------------------- */

const char *safe_tostring(lua_State *L, int index, size_t *ret_len) {
  index = lua_absindex(L, index);
  switch (lua_type(L, index)) {
  case LUA_TNIL: lua_pushliteral(L, "nil"); break;
  case LUA_TBOOLEAN: lua_pushstring(L, lua_toboolean(L, index) ? "true" : "false"); break;
  case LUA_TNUMBER:
  case LUA_TSTRING: lua_pushvalue(L, index); break;
  case LUA_TLIGHTUSERDATA: lua_pushliteral(L, "null"); break;
  default:
    if (luaL_getmetafield(L, index, "__tostring") == LUA_TNIL) {
      lua_pushstring(L, luaL_typename(L, index)); /* never an address: it would differ in a replay */
      break;
    }
    lua_pushvalue(L, index);
    lua_call(L, 1, 1);
    if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "'__tostring' must return a string");
  }
  return lua_tolstring(L, -1, ret_len);
}

static int base_tostring(lua_State *L) {
  luaL_checkany(L, 1);
  safe_tostring(L, 1, NULL);
  return 1;
}

/* ---- walking tables in one fixed order --------------------------------------------------------------- */

struct key {
  int rank; /* numbers, strings, false, true */
  bool integer;
  lua_Integer i;
  lua_Number n;
  const char *text;
  size_t len;
  lua_Integer place;
};

static bool read_key(lua_State *L, int index, struct key *k) {
  memset(k, 0, sizeof *k);
  switch (lua_type(L, index)) {
  case LUA_TNUMBER:
    k->integer = lua_isinteger(L, index);
    if (k->integer) k->i = lua_tointeger(L, index);
    k->n = lua_tonumber(L, index);
    return true;
  case LUA_TSTRING:
    k->rank = 1;
    k->text = lua_tolstring(L, index, &k->len);
    return true;
  case LUA_TBOOLEAN: k->rank = lua_toboolean(L, index) ? 3 : 2; return true;
  default: return false;
  }
}

static int compare_keys(const void *left, const void *right) {
  const struct key *a = left, *b = right;
  if (a->rank != b->rank) return a->rank < b->rank ? -1 : 1;
  if (a->rank == 0) {
    if (a->integer && b->integer) return a->i < b->i ? -1 : a->i > b->i;
    return a->n < b->n ? -1 : a->n > b->n;
  }
  if (a->rank != 1) return 0;
  int order = memcmp(a->text, b->text, a->len < b->len ? a->len : b->len);
  return order ? order : a->len < b->len ? -1 : a->len > b->len;
}

static int refuse_key(lua_State *L, int index) {
  return luaL_error(L, "a %s as a key has no fixed order, so that a replay could go another way: use strings or numbers as keys",
                    luaL_typename(L, index));
}

void push_sorted_keys(lua_State *L, int index) {
  index = lua_absindex(L, index);
  lua_Integer count = 0;
  bool sorted = true;
  struct key last, k;
  lua_newtable(L);
  int found = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    if (!read_key(L, -2, &k)) refuse_key(L, -2);
    if (count && compare_keys(&last, &k) > 0) sorted = false;
    last = k;
    lua_pushvalue(L, -2);
    lua_rawseti(L, found, ++count);
  }
  state_charge(L, (size_t)count);
  if (sorted) return;
  struct key *keys = lua_newuserdatauv(L, (size_t)count * sizeof *keys, 0);
  for (lua_Integer i = 0; i < count; i++) {
    lua_rawgeti(L, found, i + 1);
    read_key(L, -1, &keys[i]);
    keys[i].place = i + 1;
    lua_pop(L, 1); /* the table still holds it */
  }
  qsort(keys, (size_t)count, sizeof *keys, compare_keys);
  state_charge(L, (size_t)count * 8);
  lua_createtable(L, (int)count, 0);
  for (lua_Integer i = 0; i < count; i++) {
    lua_rawgeti(L, found, keys[i].place);
    lua_rawseti(L, -2, i + 1);
  }
  lua_replace(L, found);
  lua_settop(L, found);
}

/* Upvalues: the keys, how many are done, the contents. */
static int pairs_step(lua_State *L) {
  lua_Integer i = lua_tointeger(L, lua_upvalueindex(2));
  for (;;) {
    if (lua_rawgeti(L, lua_upvalueindex(1), ++i) == LUA_TNIL) return 1;
    lua_pushvalue(L, -1);
    if (lua_rawget(L, lua_upvalueindex(3)) != LUA_TNIL) break;
    lua_pop(L, 2); /* removed since the walk began */
  }
  lua_pushinteger(L, i);
  lua_replace(L, lua_upvalueindex(2));
  return 2;
}

static int base_pairs(lua_State *L) {
  luaL_checkany(L, 1);
  if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
    lua_pushvalue(L, 1);
    lua_call(L, 1, 3);
    return 3;
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  if (document_pairs(L, 1)) return 2;
  push_contents(L, 1);
  push_sorted_keys(L, -1);
  lua_pushinteger(L, 0);
  lua_rotate(L, -3, 2);
  lua_pushcclosure(L, pairs_step, 3);
  lua_pushvalue(L, 1);
  return 2;
}

/* The pair with the least key above the one given: slow for long walks, but in the same order as pairs. */
static int base_next(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  push_contents(L, 1);
  bool after = !lua_isnil(L, 2), any = false;
  struct key from, k, best;
  if (after && !read_key(L, 2, &from)) return refuse_key(L, 2);
  lua_pushnil(L); /* 4: best key */
  size_t steps = 0;
  for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1), steps++) {
    if (!read_key(L, -2, &k)) return refuse_key(L, -2);
    if ((after && compare_keys(&k, &from) <= 0) || (any && compare_keys(&k, &best) >= 0)) continue;
    best = k;
    any = true;
    lua_pushvalue(L, -2);
    lua_replace(L, 4);
  }
  state_charge(L, steps);
  if (!any) return lua_pushnil(L), 1;
  lua_settop(L, 4);
  lua_pushvalue(L, 4);
  lua_rawget(L, 3);
  return 2;
}

/* ---- protected calls, metatables --------------------------------------------------------------------- */

static int finish_call(lua_State *L, int status, lua_KContext first) {
  struct state *s = state_of(L);
  if (status == LUA_ERRMEM) state_kill(L, ERR_MEMORY);
  if (s->killed) {
    if (status == LUA_OK || status == LUA_YIELD) lua_pushliteral(L, "the script was ended");
    return lua_error(L);
  }
  if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L) - (int)first;
  lua_pushboolean(L, 0);
  lua_insert(L, -2);
  return 2;
}

static int base_pcall(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, 1);
  lua_insert(L, 1);
  return finish_call(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, finish_call), 0);
}

static int handled(lua_State *L, int status, lua_KContext context) {
  lua_pushboolean(L, 0);
  lua_insert(L, 3);
  return lua_gettop(L) - 2;
}

/* Stack: f, handler, true, then the results or the error. */
static int finish_xcall(lua_State *L, int status, lua_KContext context) {
  int n = finish_call(L, status, 2);
  if (status == LUA_OK || status == LUA_YIELD) return n;
  lua_pushvalue(L, 2);
  lua_replace(L, 3);
  lua_replace(L, 4); /* finish_call left false and the error */
  lua_settop(L, 4);
  lua_callk(L, 1, LUA_MULTRET, 0, handled);
  return handled(L, LUA_OK, 0);
}

/* The handler runs after the unwinding, as an ordinary call: as Lua's own message handler it would run with hooks off when the error is the
 * kill's, and could never be stopped. */
static int base_xpcall(lua_State *L) {
  luaL_checktype(L, 2, LUA_TFUNCTION);
  int args = lua_gettop(L) - 2;
  lua_pushboolean(L, 1);
  lua_pushvalue(L, 1);
  lua_rotate(L, 3, 2); /* f, handler, true, f, args… */
  return finish_xcall(L, lua_pcallk(L, args, LUA_MULTRET, 0, 0, finish_xcall), 0);
}

static const char *const events[] = {"__index",  "__newindex", "__call", "__tostring", "__len", "__eq",  "__lt",  "__le",
                                     "__concat", "__unm",      "__add",  "__sub",      "__mul", "__div", "__mod", "__pow",
                                     "__idiv",   "__band",     "__bor",  "__bxor",     "__shl", "__shr", "__bnot"};
static const char *const refused[] = {"__gc", "__close", "__mode", "__metatable"};

/* The real metatable is a copy of what the script's holds now: adding __gc or __mode to that later has no effect. */
static int base_setmetatable(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argexpected(L, lua_isnil(L, 2) || lua_istable(L, 2), 2, "nil or table");
  lua_settop(L, 2);
  document_fill(L, 1);
  if (lua_getmetatable(L, 1)) {
    if (lua_rawgetp(L, -1, &key_user) == LUA_TNIL) return luaL_error(L, "cannot change a protected metatable");
    lua_settop(L, 2);
  }
  if (lua_isnil(L, 2)) {
    lua_setmetatable(L, 1);
    return 1;
  }
  push_contents(L, 2);
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    lua_pushstring(L, refused[i]);
    if (lua_rawget(L, 3) != LUA_TNIL) return luaL_error(L, "a metatable with `%s` is not allowed here", refused[i]);
    lua_pop(L, 1);
  }
  lua_newtable(L);
  for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
    lua_pushstring(L, events[i]);
    lua_pushvalue(L, -1);
    int type = lua_rawget(L, 3);
    /* A chain of tables that call each other shifts its arguments without end, inside Lua's C code. */
    if (type != LUA_TNIL && type != LUA_TFUNCTION && strcmp(events[i], "__call") == 0) return luaL_error(L, "`__call` must be a function");
    if (type == LUA_TNIL) lua_pop(L, 2);
    else lua_rawset(L, -3);
  }
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "__metatable");
  lua_pushboolean(L, 1);
  lua_rawsetp(L, -2, &key_user);
  lua_setmetatable(L, 1);
  lua_settop(L, 1);
  return 1;
}

/* ---- the environment --------------------------------------------------------------------------------- */

/* Lua's own functions that scripts may have; where they are is found out once per process, so that a state need not open whole libraries. */
static luaL_Reg base_functions[] = {{"assert", NULL}, {"error", NULL},    {"ipairs", NULL}, {"rawequal", NULL},
                                    {"select", NULL}, {"tonumber", NULL}, {"type", NULL},   {NULL, NULL}};
static luaL_Reg math_functions[] = {{"abs", NULL},       {"acos", NULL}, {"asin", NULL},  {"atan", NULL}, {"ceil", NULL}, {"cos", NULL},
                                    {"deg", NULL},       {"exp", NULL},  {"floor", NULL}, {"fmod", NULL}, {"log", NULL},  {"max", NULL},
                                    {"min", NULL},       {"modf", NULL}, {"rad", NULL},   {"sin", NULL},  {"sqrt", NULL}, {"tan", NULL},
                                    {"tointeger", NULL}, {"type", NULL}, {"ult", NULL},   {NULL, NULL}};
static luaL_Reg utf8_functions[] = {{"char", NULL}, {"codepoint", NULL}, {"codes", NULL}, {"len", NULL}, {"offset", NULL}, {NULL, NULL}};
static luaL_Reg string_functions[] = {{"byte", NULL},    {"char", NULL}, {"len", NULL},   {"lower", NULL},
                                      {"reverse", NULL}, {"sub", NULL},  {"upper", NULL}, {NULL, NULL}};
/* The arithmetic on numerals that the metatable of strings carries. */
static luaL_Reg string_events[] = {{"__add", NULL}, {"__sub", NULL},  {"__mul", NULL}, {"__mod", NULL}, {"__pow", NULL},
                                   {"__div", NULL}, {"__idiv", NULL}, {"__unm", NULL}, {NULL, NULL}};

static void look_up(lua_State *L, luaL_Reg *functions) {
  for (luaL_Reg *f = functions; f->name; f++) {
    if (lua_getfield(L, -1, f->name) != LUA_TFUNCTION) abort(); /* another Lua than 5.4 */
    f->func = lua_tocfunction(L, -1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void look_up_all(void) {
  lua_State *L = luaL_newstate();
  if (!L) abort();
  luaL_openlibs(L);
  lua_pushglobaltable(L);
  look_up(L, base_functions);
  lua_getglobal(L, "math");
  look_up(L, math_functions);
  lua_getglobal(L, "utf8");
  look_up(L, utf8_functions);
  lua_getglobal(L, "string");
  look_up(L, string_functions);
  lua_pushliteral(L, "");
  lua_getmetatable(L, -1);
  look_up(L, string_events);
  lua_close(L);
}

static void open_base(lua_State *L) {
  static const luaL_Reg own[] = {
      {"next", base_next},         {"pairs", base_pairs},   {"pcall", base_pcall}, {"setmetatable", base_setmetatable},
      {"tostring", base_tostring}, {"xpcall", base_xpcall}, {NULL, NULL}};
  luaL_setfuncs(L, base_functions, 0);
  luaL_setfuncs(L, own, 0);
  luaL_setfuncs(L, document_functions, 0);
}

static void open_math(lua_State *L) {
  luaL_newlib(L, math_functions);
  lua_pushnumber(L, HUGE_VAL);
  lua_setfield(L, -2, "huge");
  lua_pushnumber(L, M_PI);
  lua_setfield(L, -2, "pi");
  lua_pushinteger(L, LUA_MAXINTEGER);
  lua_setfield(L, -2, "maxinteger");
  lua_pushinteger(L, LUA_MININTEGER);
  lua_setfield(L, -2, "mininteger");
}

static void open_utf8(lua_State *L) {
  luaL_newlib(L, utf8_functions);
  lua_pushlstring(L, "[\0-\x7F\xC2-\xFD][\x80-\xBF]*", 14);
  lua_setfield(L, -2, "charpattern");
}

/* The metatable of strings: their methods, arithmetic on numerals, and nothing that a script could get hold of. */
static void open_text(lua_State *L) {
  lua_createtable(L, 0, 16);
  luaL_setfuncs(L, string_functions, 0);
  open_string(L);
  lua_pushliteral(L, "");
  lua_createtable(L, 0, 12);
  luaL_setfuncs(L, string_events, 0);
  lua_pushvalue(L, -3);
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushcfunction(L, text_not_callable);
  lua_setfield(L, -2, "__call");
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}

static const struct library {
  const char *name;
  void (*open)(lua_State *L);
} libraries[] = {{"string", open_text}, {"table", open_table}, {"math", open_math},
                 {"utf8", open_utf8},   {"json", open_json},   {"schema", open_schema}};
enum { EAGER = 1 }; /* the others are made when a script first names them */

static void open_library(lua_State *L, const struct library *library) {
  library->open(L);
  push_face(L);
  lua_pushvalue(L, -1);
  globals_set(L, library->name);
}

bool globals_lazy(lua_State *L, const char *name) {
  for (size_t i = EAGER; i < sizeof libraries / sizeof *libraries; i++)
    if (strcmp(libraries[i].name, name) == 0) return open_library(L, &libraries[i]), true;
  return false;
}

void globals_force(lua_State *L) {
  for (size_t i = EAGER; i < sizeof libraries / sizeof *libraries; i++) {
    globals_push(L);
    lua_pushstring(L, libraries[i].name);
    if (lua_rawget(L, -2) == LUA_TNIL) open_library(L, &libraries[i]), lua_pop(L, 1);
    lua_pop(L, 2);
  }
}

static int unknown_name(lua_State *L) {
  static const char *const absent[] = {"os",       "io",     "debug", "coroutine",      "package", "require", "load", "loadstring",
                                       "loadfile", "dofile", "print", "collectgarbage", "rawset",  "_G",      "warn"};
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
  if (globals_lazy(L, name)) return 1;
  for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
    if (strcmp(name, absent[i]) == 0) return luaL_error(L, "`%s` is not available here", name);
  struct suggestion near;
  suggest_init(&near, name);
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING) suggest_name(&near, lua_tostring(L, -2));
  for (size_t i = EAGER; i < sizeof libraries / sizeof *libraries; i++) suggest_name(&near, libraries[i].name);
  char hint[96];
  return luaL_error(L, "unknown name `%s`%s", name, suggest_text(&near, hint, sizeof hint));
}

static int refuse_global(lua_State *L) {
  return luaL_error(L, "`%s` is not declared: write `local %s = …`", luaL_tolstring(L, 2, NULL), luaL_tolstring(L, 2, NULL));
}

void globals_open(lua_State *L) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, look_up_all);
  lua_createtable(L, 0, 40);
  open_base(L);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, unknown_name);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_globals);
  lua_newtable(L); /* the environment: a face of the globals */
  lua_insert(L, -2);
  push_face_metatable(L, refuse_global);
  lua_setmetatable(L, -3);
  lua_pop(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_env);
  for (size_t i = 0; i < EAGER; i++) open_library(L, &libraries[i]), lua_pop(L, 1);
}

void globals_push_env(lua_State *L) { lua_rawgetp(L, LUA_REGISTRYINDEX, &key_env); }

void globals_push(lua_State *L) { lua_rawgetp(L, LUA_REGISTRYINDEX, &key_globals); }

void globals_answer(lua_State *L, lua_CFunction on_write, lua_CFunction on_unknown) {
  globals_push_env(L);
  lua_getmetatable(L, -1);
  lua_pushcfunction(L, on_write);
  lua_setfield(L, -2, "__newindex");
  globals_push(L);
  lua_getmetatable(L, -1);
  lua_pushcfunction(L, on_unknown);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 4);
}

void globals_set(lua_State *L, const char *name) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_globals);
  lua_insert(L, -2);
  lua_pushstring(L, name);
  lua_insert(L, -2);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}
