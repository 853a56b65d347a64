#include "script/testfile.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "script/internal.h"

struct loading {
  const char *source, *chunk;
  size_t len;
  json_t *json;
};

/* { "ldap.lock_account", uid = "alice" } is half list, half map, which JSON cannot be. */
static void split_action(lua_State *L, int entry) {
  if (!lua_istable(L, entry)) luaL_error(L, "expect.actions: write { \"connector.action\", parameter = value }");
  if (lua_geti(L, entry, 1) != LUA_TSTRING) luaL_error(L, "expect.actions: an action begins with its name: { \"connector.action\", … }");
  lua_createtable(L, 0, 2);
  lua_insert(L, -2);
  lua_setfield(L, -2, "action");
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, entry);) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      lua_pop(L, 1);
      continue;
    }
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_settable(L, -4);
  }
  lua_setfield(L, -2, "params");
}

static void split_actions(lua_State *L, int test) {
  if (!lua_istable(L, test)) luaL_error(L, "each test is a table");
  if (lua_getfield(L, test, "expect") == LUA_TTABLE && lua_getfield(L, -1, "actions") == LUA_TTABLE) {
    int actions = lua_gettop(L);
    lua_newtable(L);
    for (lua_Integer i = 1; lua_geti(L, actions, i) != LUA_TNIL; i++) {
      split_action(L, lua_gettop(L));
      lua_seti(L, actions + 1, i);
      lua_settop(L, actions + 1);
    }
    lua_settop(L, actions + 1);
    bridge_mark_array(L, -1);
    lua_setfield(L, actions - 1, "actions");
  }
  lua_settop(L, test);
}

static int tests(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    if (lua_type(L, 2) != LUA_TSTRING) return luaL_error(L, "each test has a name: [\"what it shows\"] = { … }");
    split_actions(L, 3);
  }
  return 1;
}

static int load(lua_State *L) {
  struct loading *loading = lua_touserdata(L, 1);
  lua_pushcfunction(L, tests);
  globals_set(L, "tests");
  if (state_load(L, loading->source, loading->len, loading->chunk, NULL) != LUA_OK) return lua_error(L);
  lua_call(L, 0, 1);
  if (!lua_istable(L, -1)) return luaL_error(L, "%s: the file must end with `return tests { … }`", loading->chunk + 1);
  loading->json = bridge_pull(L, -1);
  return 0;
}

static bool known(const char *const *names, const char *name) {
  for (; *names; names++)
    if (strcmp(*names, name) == 0) return true;
  return false;
}

/* A misspelt expectation would be one that cannot fail. */
static int check_members(const char *file, const char *test, const char *part, const json_t *object, const char *const *names,
                         struct err *err) {
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)object, name, value) {
    if (known(names, name)) continue;
    struct suggestion near;
    char hint[96];
    suggest_init(&near, name);
    for (const char *const *n = names; *n; n++) suggest_name(&near, *n);
    return err_set(err, ERR_INVALID, "%s: test \"%.200s\": %s knows no `%.100s`%s", file, test, part, name,
                   suggest_text(&near, hint, sizeof hint));
  }
  return 0;
}

static int check(const char *file, const json_t *all, struct err *err) {
  static const char *const members[] = {"alert", "alerts", "params", "settings", "simulate", "answers",
                                        "title", "begins", "later",  "expect",   NULL};
  static const char *const expected[] = {"status", "result",   "actions", "undone", "asks",  "notes", "says",
                                         "tags",   "severity", "closed",  "error",  "files", NULL};
  const char *name;
  json_t *test;
  json_object_foreach((json_t *)(uintptr_t)all, name, test) {
    int r = check_members(file, name, "a test", test, members, err);
    if (r == 0) r = check_members(file, name, "`expect`", json_object_get(test, "expect"), expected, err);
    if (r == 0 && !json_object_size(json_object_get(test, "expect")))
      r = err_set(err, ERR_INVALID, "%s: test \"%.200s\" expects nothing, so it cannot fail", file, name);
    if (r < 0) return r;
  }
  return 0;
}

int testfile_load(const char *file, const char *source, size_t len, json_t **ret, struct err *err) {
  char chunk[1024];
  struct state *s = NULL;
  if (len > SCRIPT_SOURCE_CAP) return err_set(err, ERR_LIMIT, "%s: longer than %d KiB", file, SCRIPT_SOURCE_CAP >> 10);
  snprintf(chunk, sizeof chunk, "@%s", file);
  struct loading loading = {.source = source, .len = len, .chunk = chunk};
  int r = state_new(STATE_DECLARE, NULL, &s, err);
  if (r < 0) return r;
  state_begin(s, s->L);
  r = state_enter(s, load, &loading, err);
  state_end(s);
  state_free(s);
  if (r == 0) r = check(file, loading.json, err);
  if (r < 0) json_decref(loading.json);
  else *ret = loading.json;
  return r;
}
