/* The prelude's Lua texts, inside the program, and their bytecode, made once per process: running ours from bytecode is safe, only scripts
 * may never bring any. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "script/internal.h"

#define EMBED(name, file)                                                                                                            \
  __asm__(".pushsection .rodata\n"                                                                                                   \
          ".global tocsin_" #name "_start\ntocsin_" #name "_start:\n.incbin \"orchestrator/script/" file "\"\n"                      \
          ".global tocsin_" #name "_end\ntocsin_" #name "_end:\n.byte 0\n.popsection\n");                                            \
  extern const char tocsin_##name##_start[], tocsin_##name##_end[]

EMBED(prelude, "prelude.lua");
EMBED(run, "run.lua");
EMBED(declare, "declare.lua");

enum { CODE_CAP = 1 << 20 };

static const struct part {
  const char *chunk, *start, *end;
} parts[PRELUDE_PARTS] = {
    [PRELUDE_COMMON] = {"=prelude", tocsin_prelude_start, tocsin_prelude_end},
    [PRELUDE_RUN] = {"=run", tocsin_run_start, tocsin_run_end},
    [PRELUDE_DECLARE] = {"=declare", tocsin_declare_start, tocsin_declare_end},
};
static struct buf codes[PRELUDE_PARTS];

const char *prelude_text(enum prelude_part part, size_t *ret_len) {
  *ret_len = (size_t)(parts[part].end - parts[part].start);
  return parts[part].start;
}

static void compile_all(void) {
  lua_State *L = luaL_newstate();
  for (int i = 0; L && i < PRELUDE_PARTS; i++) {
    buf_init(&codes[i], CODE_CAP);
    if (luaL_loadbufferx(L, parts[i].start, (size_t)(parts[i].end - parts[i].start), parts[i].chunk, "t") != LUA_OK) break;
    state_dump(L, &codes[i]);
    lua_settop(L, 0);
  }
  if (L) lua_close(L);
}

void prelude_run(lua_State *L, enum prelude_part part) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, compile_all);
  if (state_load(L, NULL, 0, parts[part].chunk, &codes[part]) != LUA_OK) lua_error(L);
  lua_insert(L, -2);
  lua_call(L, 1, 1);
}
