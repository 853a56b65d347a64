#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/json.h"
#include "script/internal.h"

struct loading {
  struct declaration *d;
  const char *kind; /* "playbook" or "connector" */
  json_t *json;
};

void declaration_run(lua_State *L, const struct declaration *d) {
  char chunk[160];
  snprintf(chunk, sizeof chunk, "@%.140s.lua", d->name);
  const struct buf *code = d->code ? &d->code->bytes : NULL;
  if (state_load(L, d->source, d->source_len, d->code ? d->code->chunk : chunk, code) != LUA_OK) lua_error(L);
  lua_call(L, 0, 1);
}

static int compile(lua_State *L) {
  struct loading *loading = lua_touserdata(L, 1);
  struct declaration *d = loading->d;
  if (state_load(L, d->source, d->source_len, d->code->chunk, NULL) != LUA_OK) return lua_error(L);
  state_dump(L, &d->code->bytes, false);
  return 0;
}

static int run_file(lua_State *L) {
  struct loading *loading = lua_touserdata(L, 1);
  const char *kind = loading->kind;
  declaration_run(L, loading->d);
  if (lua_istable(L, -1)) {
    lua_pushstring(L, kind);
    lua_rawget(L, -2);
  }
  if (!lua_istable(L, -1)) return luaL_error(L, "%s: the file must end with `return %s { … }`", loading->d->code->chunk + 1, kind);
  loading->json = bridge_pull(L, -1);
  return 0;
}

/* "`actions.lock.efect`: is not known here" at the line where that stands, when the words of the text lead there. */
static void point_at_line(const struct declaration *d, struct err *err) {
  const char *open = strstr(err->text, ": `"), *close = open ? strchr(open + 3, '`') : NULL;
  const char *file = d->code->chunk + 1;
  char path[256], text[sizeof err->text];
  if (!close || close[1] != ':' || (size_t)(close - open) > sizeof path) return;
  if (strncmp(err->text, file, strlen(file)) != 0) return;
  memcpy(path, open + 3, (size_t)(close - open - 3));
  path[close - open - 3] = 0;
  int line = path_line(d->source, d->source_len, path);
  if (!line) return;
  snprintf(text, sizeof text, "%s", open + 2);
  snprintf(err->text, sizeof err->text, "%.200s:%d: %.800s", file, line, text);
}

static char *name_of(const char *file) {
  const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;
  size_t len = strlen(base);
  if (len > 4 && strcmp(base + len - 4, ".lua") == 0) len -= 4;
  return strndup(base, len);
}

static struct declaration *declaration_new(const char *file, const char *source, size_t len) {
  struct declaration *d = calloc(1, sizeof *d);
  struct declaration_code *code = calloc(1, sizeof *code);
  char *copy = malloc(len + 1), *name = name_of(file), *chunk = NULL;
  if (!d || !code || !copy || !name || asprintf(&chunk, "@%s", file) < 0) abort();
  memcpy(copy, source, len);
  copy[len] = 0;
  buf_init(&code->bytes, (size_t)SCRIPT_SOURCE_CAP * 8);
  code->chunk = chunk;
  *d = (struct declaration){.name = name, .source = copy, .source_len = len, .code = code};
  uint8_t digest[DIGEST_BYTES];
  digest_sha256(source, len, digest);
  hex_encode(digest, sizeof digest, d->digest);
  return d;
}

void declaration_free(struct declaration *d) {
  if (!d) return;
  if (d->code) {
    buf_release(&d->code->bytes);
    free(d->code->chunk);
    free(d->code);
  }
  json_decref(d->json);
  json_decref(d->uses);
  json_decref(d->calls);
  free(d->name);
  free(d->source);
  free(d);
}

static int load(const char *kind, const char *file, const char *source, size_t len, struct declaration **ret, struct err *err) {
  if (len > SCRIPT_SOURCE_CAP) return err_set(err, ERR_LIMIT, "%s: longer than %d KiB", file, SCRIPT_SOURCE_CAP >> 10);
  struct declaration *d = declaration_new(file, source, len);
  struct loading loading = {d, kind, NULL};
  struct state *s = NULL;
  struct err local;
  if (!err) err = &local;
  int r = state_new(STATE_DECLARE, NULL, &s, err);
  if (r < 0) goto out;
  state_begin(s, s->L);
  r = state_enter(s, compile, &loading, err);
  if (r == 0 && !buf_ok(&d->code->bytes)) r = err_set(err, ERR_LIMIT, "%s: too much code", file);
  if (r == 0) r = state_enter(s, run_file, &loading, err);
  state_end(s);
  if (r == ERR_INVALID) point_at_line(d, err);
  else if (r < 0) err_wrap(err, "%s", file);
  d->json = loading.json;
out:
  state_free(s);
  if (r < 0) declaration_free(d);
  else *ret = d;
  return r;
}

/* {"ldap": ["lock_account"…]} of ["ldap.lock_account"…]. */
static json_t *uses_of(const json_t *list) {
  json_t *uses = json_object(), *use;
  size_t i;
  json_array_foreach(list, i, use) {
    const char *text = json_string_value(use), *dot = text ? strchr(text, '.') : NULL;
    char connector[128];
    if (!dot || (size_t)(dot - text) >= sizeof connector) continue;
    snprintf(connector, sizeof connector, "%.*s", (int)(dot - text), text);
    json_t *actions = json_object_get(uses, connector);
    if (!actions) json_object_set_new(uses, connector, actions = json_array());
    json_array_append_new(actions, json_string(dot + 1));
  }
  return uses;
}

json_t *calls_of(const json_t *uses) {
  const char *connector;
  json_t *calls = json_array(), *actions, *action;
  size_t i;
  json_object_foreach((json_t *)(uintptr_t)uses, connector, actions) {
    json_array_foreach(actions, i, action) json_array_append_new(calls, json_pack("{s:s, s:O}", "connector", connector, "action", action));
  }
  return calls;
}

int playbook_load(const char *file, const char *source, size_t len, struct declaration **ret, struct err *err) {
  int r = load("playbook", file, source, len, ret, err);
  if (r < 0) return r;
  (*ret)->uses = uses_of(json_object_get((*ret)->json, "uses"));
  (*ret)->calls = calls_of((*ret)->uses);
  return 0;
}

int connector_load(const char *file, const char *source, size_t len, struct declaration **ret, struct err *err) {
  int r = load("connector", file, source, len, ret, err);
  if (r == 0 && strcmp(json_str_or((*ret)->json, "name", ""), (*ret)->name) != 0) {
    err_set(err, ERR_INVALID, "%s: its `name` is \"%s\": name the file %s.lua", file, json_str((*ret)->json, "name"),
            json_str((*ret)->json, "name"));
    declaration_free(*ret);
    *ret = NULL;
    return ERR_INVALID;
  }
  return r;
}
