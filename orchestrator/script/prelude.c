/* The prelude's Lua texts, inside the program, and their bytecode, made once per process: running ours from bytecode is safe, only scripts
 * may never bring any. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "script/internal.h"

static const unsigned char prelude_lua[] = {
#include "script/prelude.lua.inc"
    0};
static const unsigned char run_lua[] = {
#include "script/run.lua.inc"
    0};
static const unsigned char verbs_lua[] = {
#include "script/verbs.lua.inc"
    0};
static const unsigned char declare_lua[] = {
#include "script/declare.lua.inc"
    0};
static const unsigned char settings_lua[] = {
#include "script/settings.lua.inc"
    0};
static const unsigned char ocsf_lua[] = {
#include "script/ocsf.lua.inc"
    0};

enum { CODE_CAP = 1 << 20 };

static const struct part {
  const char *chunk;
  const unsigned char *text;
  size_t len;
} parts[PRELUDE_PARTS] = {
    [PRELUDE_COMMON] = {"=prelude", prelude_lua, sizeof prelude_lua - 1},
    [PRELUDE_RUN] = {"=run", run_lua, sizeof run_lua - 1},
    [PRELUDE_VERBS] = {"=verbs", verbs_lua, sizeof verbs_lua - 1},
    [PRELUDE_DECLARE] = {"=declare", declare_lua, sizeof declare_lua - 1},
    [PRELUDE_SETTINGS] = {"=settings", settings_lua, sizeof settings_lua - 1},
    [PRELUDE_OCSF] = {"=ocsf", ocsf_lua, sizeof ocsf_lua - 1},
};
static struct buf codes[PRELUDE_PARTS];

const char *prelude_text(enum prelude_part part, size_t *ret_len) {
  *ret_len = parts[part].len;
  return (const char *)parts[part].text;
}

static void compile_all(void) {
  lua_State *L = luaL_newstate();
  if (!L) abort();
  for (int i = 0; i < PRELUDE_PARTS; i++) {
    buf_init(&codes[i], CODE_CAP);
    if (luaL_loadbufferx(L, (const char *)parts[i].text, parts[i].len, parts[i].chunk, "t") != LUA_OK)
      abort(); /* our own text: tests load it */
    state_dump(L, &codes[i], true);
    lua_settop(L, 0);
  }
  lua_close(L);
}

void prelude_run(lua_State *L, enum prelude_part part) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, compile_all);
  if (state_load(L, NULL, 0, parts[part].chunk, &codes[part]) != LUA_OK) lua_error(L);
  lua_insert(L, -2);
  lua_call(L, 1, 1);
}
