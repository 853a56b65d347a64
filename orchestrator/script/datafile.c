#include "script/datafile.h"

#include <stdio.h>

#include "base/json.h"
#include "script/internal.h"

struct loading {
  const char *source, *chunk, *word;
  size_t len;
  json_t *json;
};

static int as_it_is(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  return 1;
}

static int load(lua_State *L) {
  struct loading *loading = lua_touserdata(L, 1);
  lua_pushcfunction(L, as_it_is);
  globals_set(L, loading->word);
  if (state_load(L, loading->source, loading->len, loading->chunk, NULL) != LUA_OK) return lua_error(L);
  lua_call(L, 0, 1);
  if (!lua_istable(L, -1)) return luaL_error(L, "%s: the file must end with `return %s { … }`", loading->chunk + 1, loading->word);
  loading->json = bridge_pull(L, -1);
  return 0;
}

int datafile_load(const char *file, const char *source, size_t len, const char *word, json_t **ret, struct err *err) {
  char chunk[1024];
  struct state *s = NULL;
  if (len > SCRIPT_SOURCE_CAP) return err_set(err, ERR_LIMIT, "%s: longer than %d KiB", file, SCRIPT_SOURCE_CAP >> 10);
  snprintf(chunk, sizeof chunk, "@%s", file);
  struct loading loading = {.source = source, .len = len, .chunk = chunk, .word = word};
  int r = state_new(STATE_DECLARE, NULL, &s, err);
  if (r < 0) return r;
  state_begin(s, s->L);
  r = state_enter(s, load, &loading, err);
  state_end(s);
  state_free(s);
  if (r == 0 && !json_is_object(loading.json))
    r = err_set(err, ERR_INVALID, "%s: `%s { … }` is a list; it needs named members", file, word);
  if (r < 0) json_decref(loading.json);
  else *ret = loading.json;
  return r;
}

int datafile_line(const char *source, size_t len, const char *path) { return source ? path_line(source, len, path) : 0; }

const char *datafile_near(const char *word, const char *const *names, char *out, size_t size) {
  struct suggestion near;
  suggest_init(&near, word);
  for (; *names; names++) suggest_name(&near, *names);
  return suggest_text(&near, out, size);
}
