#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/internal.h"

/* Registry keys: the declaration's table, and the locals of the file. */
static char key_declaration, key_locals;

/* The locals lie on the state's stack, below all calls, two places each: a function that knows it, and what it held when the file was loaded.
 * Looking at them there takes no memory and raises nothing. */
struct connector_state {
  struct state *state;
  int *upvalues, locals;  /* which of its function's upvalues each local is */
  int frozen, functions;  /* in Lua's registry: the settings, and the functions found so far by their paths */
  const json_t *settings; /* only while it is made */
  const struct declaration *declaration;
};

/* ---- locals of the file ------------------------------------------------------------------------------------- */

/* Was the thing with that address met before? */
static bool met(lua_State *L, int seen, const void *address) {
  bool before = lua_rawgetp(L, seen, address) != LUA_TNIL;
  lua_pop(L, 1);
  if (before) return true;
  lua_pushboolean(L, 1);
  lua_rawsetp(L, seen, address);
  return false;
}

static void walk_functions(lua_State *L, int table, int list, int seen);

/* Lists (function, upvalue number, value) of every upvalue, once each, however many functions share it: what they hold of tables is frozen,
 * which value they hold is compared after each call. Functions that lie in such tables have locals too. */
static void list_locals(lua_State *L, int function, int list, int seen) {
  luaL_checkstack(L, 10, "too many functions");
  if (met(L, seen, lua_topointer(L, function))) return;
  for (int i = 1; lua_getupvalue(L, function, i); i++) {
    if (lua_isfunction(L, -1)) list_locals(L, lua_gettop(L), list, seen);
    else if (lua_istable(L, -1)) walk_functions(L, lua_gettop(L), list, seen);
    if (met(L, seen, lua_upvalueid(L, function, i))) {
      lua_pop(L, 1);
      continue;
    }
    lua_Integer n = luaL_len(L, list);
    lua_pushvalue(L, function);
    lua_rawseti(L, list, n + 1);
    lua_pushinteger(L, i);
    lua_rawseti(L, list, n + 2);
    if (lua_isnil(L, -1)) lua_pop(L, 1), lua_pushlightuserdata(L, &key_locals); /* a list holds no nil */
    lua_rawseti(L, list, n + 3);
  }
}

static void walk_functions(lua_State *L, int table, int list, int seen) {
  luaL_checkstack(L, 10, "nested too deep");
  if (met(L, seen, lua_topointer(L, table))) return;
  push_contents(L, table);
  int contents = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, contents); lua_pop(L, 1)) {
    if (lua_isfunction(L, -1)) list_locals(L, lua_gettop(L), list, seen);
    else if (lua_istable(L, -1)) walk_functions(L, lua_gettop(L), list, seen);
  }
  if (lua_getmetatable(L, contents)) walk_functions(L, lua_gettop(L), list, seen);
  lua_settop(L, contents - 1);
}

/* Moves the list onto the stack. Outside a protected call: takes no memory of Lua's but for the stack, and raises nothing. */
static int place_locals(struct connector_state *c, struct err *err) {
  lua_State *L = c->state->L;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_locals);
  size_t n = lua_rawlen(L, 1) / 3;
  c->upvalues = calloc(n + 1, sizeof *c->upvalues);
  if (!c->upvalues || n > INT_MAX / 4 || !lua_checkstack(L, (int)n * 2 + LUA_MINSTACK))
    return err_set(err, ERR_MEMORY, "not enough memory for the connector's locals");
  for (c->locals = 0; c->locals < (int)n; c->locals++) {
    lua_rawgeti(L, 1, c->locals * 3 + 2);
    c->upvalues[c->locals] = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    lua_rawgeti(L, 1, c->locals * 3 + 1);
    lua_rawgeti(L, 1, c->locals * 3 + 3);
    if (lua_touserdata(L, -1) == &key_locals) lua_pop(L, 1), lua_pushnil(L);
  }
  lua_remove(L, 1);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_locals);
  return 0;
}

/* Puts changed locals back. Returns the name of one that was changed, or NULL. */
static const char *restore_locals(const struct connector_state *c) {
  const char *changed = NULL;
  lua_State *L = c->state->L;
  for (int i = 0; i < c->locals; i++) {
    int function = i * 2 + 1;
    const char *name = lua_getupvalue(L, function, c->upvalues[i]);
    if (!lua_rawequal(L, -1, function + 1)) {
      changed = *name ? name : "a value"; /* what a walk that was begun before holds has no name */
      lua_pushvalue(L, function + 1);
      lua_setupvalue(L, function, c->upvalues[i]);
    }
    lua_pop(L, 1);
  }
  return changed;
}

/* ---- making ----------------------------------------------------------------------------------------------------- */

static int make(lua_State *L) {
  struct connector_state *c = lua_touserdata(L, 1);
  declaration_run(L, c->declaration);
  if (!lua_istable(L, -1)) return luaL_error(L, "the file must end with `return connector { … }`");
  freeze(L, -1);
  lua_newtable(L);
  lua_newtable(L);
  globals_push_env(L);
  walk_functions(L, 5, 3, 4); /* the engine's own functions are met: only the file's are listed */
  lua_pop(L, 1);
  lua_newtable(L);
  lua_replace(L, 3);
  walk_functions(L, 2, 3, 4);
  lua_pop(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_locals);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_declaration);
  if (c->settings) bridge_push(L, c->settings, SCRIPT_TRUSTED);
  else lua_newtable(L);
  freeze(L, -1);
  c->frozen = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_newtable(L);
  c->functions = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

int connector_state_new(const struct declaration *d, const json_t *settings, const struct script_limits *limits,
                        struct connector_state **ret, struct err *err) {
  struct connector_state *c = calloc(1, sizeof *c);
  if (!c) return err_set(err, ERR_MEMORY, "not enough memory for a connector");
  c->settings = settings;
  c->declaration = d;
  int r = state_new(STATE_CONNECTOR, limits, &c->state, err);
  if (r < 0) goto out;
  state_begin(c->state, c->state->L);
  r = state_enter(c->state, make, c, err);
  state_end(c->state);
  if (r == 0) r = place_locals(c, err);
out:
  c->settings = NULL;
  c->declaration = NULL;
  if (r < 0) connector_state_free(c);
  else *ret = c;
  return r;
}

void connector_state_free(struct connector_state *c) {
  if (!c) return;
  state_free(c->state);
  free(c->upvalues);
  free(c);
}

/* ---- calling ------------------------------------------------------------------------------------------------------ */

struct call {
  const struct connector_state *c;
  const char *function;
  const json_t *args, *only; /* only: the one argument, in place of a list */
  enum script_trust trust;
  json_t *result, *failure;
};

/* Pushes the function at a dotted path of the declaration. */
static void find_function(lua_State *L, const char *path) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_declaration);
  for (const char *p = path; *p;) {
    size_t n = strcspn(p, ".");
    if (!lua_istable(L, -1)) break;
    push_contents(L, -1);
    lua_pushlstring(L, p, n);
    lua_rawget(L, -2);
    lua_replace(L, -3);
    lua_pop(L, 1);
    p += n + (p[n] == '.');
  }
  if (!lua_isfunction(L, -1)) luaL_error(L, "the connector has no function `%s`", path);
}

/* The same; looked for but once, as the declaration never changes. */
static void push_function(lua_State *L, int functions, const char *path) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, functions);
  lua_pushstring(L, path);
  lua_pushvalue(L, -1);
  if (lua_rawget(L, -3) == LUA_TFUNCTION) return;
  lua_pop(L, 1);
  find_function(L, path);
  lua_insert(L, -2);
  lua_pushvalue(L, -2);
  lua_rawset(L, -4);
}

static json_t *failure_text(const char *message, size_t len) {
  json_t *text = json_stringn(message, len);
  return json_pack("{s:s, s:o, s:b}", "kind", "failed", "message", text ? text : json_string("it failed"), "retry", 0);
}

static void take_results(lua_State *L, struct call *call) {
  size_t len;
  if (lua_toboolean(L, -2)) {
    call->result = bridge_pull(L, -2);
    return;
  }
  if (lua_isboolean(L, -2)) call->result = json_false();
  if (lua_isnil(L, -1)) return;
  if (lua_type(L, -1) == LUA_TSTRING) {
    const char *message = lua_tolstring(L, -1, &len);
    call->failure = failure_text(message, len);
    return;
  }
  call->failure = bridge_pull(L, -1);
}

static int call_function(lua_State *L) {
  struct call *call = lua_touserdata(L, 1);
  push_function(L, call->c->functions, call->function);
  int n = call->only ? 1 : (int)json_array_size(call->args);
  luaL_checkstack(L, n + 4, "too many arguments");
  for (int i = 0; i < n; i++) {
    const json_t *arg = call->only ? call->only : json_array_get(call->args, (size_t)i);
    if (call->trust == SCRIPT_DOCUMENT) document_push(L, arg);
    else bridge_push(L, arg, call->trust);
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, call->c->frozen);
  lua_call(L, n + 1, 2);
  take_results(L, call);
  return 0;
}

size_t connector_gave(const struct connector_state *c) { return c->state->gave; }

/* After every call, also one that raised. */
static int check_locals(const struct connector_state *c, const char *function, struct err *err) {
  const char *changed = restore_locals(c);
  document_end(c->state->L);
  if (!changed) return 0;
  return err_set(err, ERR_INVALID, "`%s` changed `%s`, a local of its file: connector functions must be pure", function, changed);
}

static int call_do(struct connector_state *c, struct call *call, json_t **ret, json_t **ret_failure, struct err *err) {
  struct err local;
  state_begin(c->state, c->state->L);
  int r = state_enter(c->state, call_function, call, err ? err : &local);
  state_end(c->state);
  int after = check_locals(c, call->function, r == 0 ? err : NULL);
  if (r == 0) r = after;
  if (r < 0) {
    json_decref(call->result);
    json_decref(call->failure);
    return r;
  }
  if (ret) *ret = call->result;
  else json_decref(call->result);
  if (ret_failure) *ret_failure = call->failure;
  else json_decref(call->failure);
  return 0;
}

int connector_call(struct connector_state *c, const char *function, const json_t *args, enum script_trust trust, json_t **ret,
                   json_t **ret_failure, struct err *err) {
  struct call call = {.c = c, .function = function, .args = args, .trust = trust};
  return call_do(c, &call, ret, ret_failure, err);
}

int connector_call_with(struct connector_state *c, const char *function, const json_t *arg, enum script_trust trust, json_t **ret,
                        json_t **ret_failure, struct err *err) {
  struct call call = {.c = c, .function = function, .only = arg, .trust = trust};
  return call_do(c, &call, ret, ret_failure, err);
}
