#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "build.h"
#include "script/internal.h"

/* A secret's source crosses under this name; only `secret "…"` can make one of the right form. */
#define SOURCE_KEY "$secret_source"

struct loading {
  const char *path; /* of the file, NULL: none */
  char *source;
  size_t len;
  json_t *schema;  /* {name: schema}, in reading order */
  json_t *written; /* what the file returned */
  json_t *secrets; /* {slot: source} */
  struct buf mistakes;
};

/* ---- the form of the settings ------------------------------------------------------------------------------------ */

static int describe(lua_State *L) {
  json_t **ret = lua_touserdata(L, 1);
  lua_pushnil(L);
  prelude_run(L, PRELUDE_SETTINGS);
  json_t *list = bridge_pull(L, -1), *pair;
  size_t i;
  *ret = json_object();
  json_array_foreach(list, i, pair) json_object_set(*ret, json_string_value(json_array_get(pair, 0)), json_array_get(pair, 1));
  json_decref(list);
  return 0;
}

static int settings_schema(json_t **ret, struct err *err) {
  struct state *s;
  int r = state_new(STATE_DECLARE, NULL, &s, err);
  if (r < 0) return r;
  r = state_enter(s, describe, ret, err);
  state_free(s);
  return r;
}

json_t *settings_describe(void) {
  json_t *schema = NULL;
  return settings_schema(&schema, NULL) == 0 ? schema : json_object();
}

/* ---- running the file ---------------------------------------------------------------------------------------------- */

static int make_secret(lua_State *L) {
  const char *source = luaL_checkstring(L, 1);
  if (strncmp(source, "env:", 4) != 0 && strncmp(source, "file:", 5) != 0 && strncmp(source, "command:", 8) != 0)
    return luaL_error(L, "a secret is named as secret \"env:NAME\", \"file:PATH\" or \"command:/PATH ARG\"; it is never written here");
  lua_createtable(L, 0, 1);
  lua_pushvalue(L, 1);
  lua_setfield(L, -2, SOURCE_KEY);
  return 1;
}

/* Upvalue: the connector's name. */
static int construct(lua_State *L) {
  const char *name = lua_tostring(L, lua_upvalueindex(1));
  if (!lua_istable(L, 1)) {
    struct suggestion near;
    char hint[96];
    suggest_init(&near, name);
    suggest_name(&near, "secret");
    suggest_name(&near, "list");
    return luaL_error(L, "unknown name `%s`%s (a connector is written as %s { … })", name, suggest_text(&near, hint, sizeof hint), name);
  }
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_setfield(L, 1, "$connector");
  return 1;
}

static int any_name(lua_State *L) {
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  if (strcmp(name, "schema") != 0 && globals_lazy(L, name)) return 1;
  lua_pushvalue(L, 2);
  lua_pushcclosure(L, construct, 1);
  return 1;
}

static int refuse_assignment(lua_State *L) {
  return luaL_error(L, "write the settings as `return { %s = … }`", luaL_tolstring(L, 2, NULL));
}

static int run_file(lua_State *L) {
  struct loading *loading = lua_touserdata(L, 1);
  char chunk[512];
  lua_pushcfunction(L, make_secret);
  globals_set(L, "secret");
  globals_answer(L, refuse_assignment, any_name);
  snprintf(chunk, sizeof chunk, "@%s", loading->path);
  if (state_load(L, loading->source, loading->len, chunk, NULL) != LUA_OK) return lua_error(L);
  lua_call(L, 0, 1);
  if (!lua_istable(L, -1)) return luaL_error(L, "%s: the settings must end with `return { … }`", loading->path);
  loading->written = bridge_pull(L, -1);
  return 0;
}

static int read_file(struct loading *loading, struct err *err) {
  int fd = open(loading->path, O_RDONLY | O_CLOEXEC), r = 0;
  if (fd < 0) return err_errno(err, "cannot open the settings %s", loading->path);
  struct stat st;
  loading->source = malloc(SCRIPT_SOURCE_CAP + 1);
  if (!loading->source) abort();
  ssize_t n = 1;
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) r = err_set(err, ERR_INVALID, "the settings %s are no regular file", loading->path);
  while (r == 0 && n > 0 && loading->len <= SCRIPT_SOURCE_CAP) {
    n = read(fd, loading->source + loading->len, SCRIPT_SOURCE_CAP + 1 - loading->len);
    if (n > 0) loading->len += (size_t)n;
    else if (n < 0 && errno != EINTR) r = err_errno(err, "cannot read the settings %s", loading->path);
    else if (n < 0) n = 1;
  }
  close(fd);
  if (r == 0 && loading->len > SCRIPT_SOURCE_CAP)
    r = err_set(err, ERR_LIMIT, "the settings %s are longer than %d KiB", loading->path, SCRIPT_SOURCE_CAP >> 10);
  return r;
}

static int run_settings(struct loading *loading, struct err *err) {
  struct state *s;
  int r = read_file(loading, err);
  if (r < 0) return r;
  r = state_new(STATE_SETTINGS, NULL, &s, err);
  if (r < 0) return r;
  state_begin(s, s->L);
  r = state_enter(s, run_file, loading, err);
  state_end(s);
  state_free(s);
  return r;
}

/* ---- secrets: sources become slots named after their place ----------------------------------------------------------- */

static char *folder_path(const struct loading *loading, const char *name) {
  const char *slash = loading->path && *name != '/' ? strrchr(loading->path, '/') : NULL;
  char *path = NULL;
  if (asprintf(&path, "%.*s%s", slash ? (int)(slash - loading->path + 1) : 0, slash ? loading->path : "", name) < 0) abort();
  return path;
}

static json_t *source_of(const struct loading *loading, const char *source) {
  if (strncmp(source, "file:", 5) != 0) return json_string(source);
  char *path = folder_path(loading, source + 5);
  json_t *result = json_sprintf("file:%s", path);
  free(path);
  return result;
}

static void name_secrets(struct loading *loading, json_t *value, const char *path) {
  const char *key;
  json_t *item;
  void *next;
  size_t i;
  char place[512];
  json_array_foreach(value, i, item) {
    snprintf(place, sizeof place, "%.400s.%zu", path, i + 1);
    name_secrets(loading, item, place);
  }
  if (!json_is_object(value)) return;
  const char *source = json_str(value, SOURCE_KEY);
  if (source) {
    json_object_set_new(loading->secrets, path, source_of(loading, source));
    json_object_clear(value);
    json_object_set_new(value, "$secret", json_string(path));
    return;
  }
  json_object_foreach_safe(value, next, key, item) {
    snprintf(place, sizeof place, "%.300s%s%.200s", path, *path ? "." : "", key);
    name_secrets(loading, item, place);
  }
}

/* ---- checking -------------------------------------------------------------------------------------------------------- */

static void add_mistake(void *arg, const char *path, const char *text) {
  static const char unknown[] = "is not known here";
  struct loading *loading = arg;
  int line = loading->source ? path_line(loading->source, loading->len, path) : 0;
  if (loading->mistakes.len) buf_addc(&loading->mistakes, '\n');
  buf_adds(&loading->mistakes, loading->path ? loading->path : "settings");
  if (line) buf_addf(&loading->mistakes, ":%d", line);
  if (strncmp(text, unknown, sizeof unknown - 1) == 0)
    buf_addf(&loading->mistakes, ": unknown setting `%s`%s", path, text + sizeof unknown - 1);
  else buf_addf(&loading->mistakes, ": `%s` %s", path, text);
}

static void check_connectors(struct loading *loading, const json_t *connectors) {
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)connectors, name, value) {
    char path[256];
    snprintf(path, sizeof path, "connectors.%.200s", name);
    if (!json_is_object(value) || !json_str(value, "$connector"))
      add_mistake(loading, path, "must name its connector: write it as ldap { … }");
  }
}

/* A source of webhooks without token and signature would take alerts from anybody. */
static void check_sources(struct loading *loading, const json_t *settings) {
  const char *name;
  json_t *source;
  json_object_foreach(json_object_get(json_object_get(settings, "webhook"), "sources"), name, source) {
    char path[256];
    snprintf(path, sizeof path, "webhook.sources.%.200s", name);
    if (!json_object_get(source, "token") && !json_object_get(source, "signature"))
      add_mistake(loading, path, "needs a `token` or a `signature`");
  }
}

/* One server, or sentinels that name it. */
static void check_redis(struct loading *loading, const json_t *redis) {
  bool sentinels = json_array_size(json_object_get(redis, "sentinels")) > 0;
  if (sentinels && !json_str(redis, "master"))
    add_mistake(loading, "redis.master", "is missing: the name that the sentinels know the master by");
  if (!sentinels && json_str(redis, "master")) add_mistake(loading, "redis.master", "needs `sentinels` that know it");
}

static void check_guard(struct loading *loading, const json_t *guard, const char *list) {
  size_t i;
  json_t *rule;
  json_array_foreach(json_object_get(guard, list), i, rule) {
    char path[64];
    snprintf(path, sizeof path, "guard.%s[%zu]", list, i + 1);
    if (!json_object_get(rule, "effect") && !json_object_get(rule, "connector") && !json_object_get(rule, "action"))
      add_mistake(loading, path, "must say what it is about: `effect`, `connector` or `action`");
  }
}

/* A rule about a class that is none would never be carried out, and nobody would know. */
static void check_classes(struct loading *loading, const json_t *evidence) {
  size_t i;
  json_t *class;
  json_array_foreach(json_object_get(evidence, "delete"), i, class) {
    char path[64];
    snprintf(path, sizeof path, "evidence.delete[%zu]", i + 1);
    if (!json_object_get(json_object_get(evidence, "classes"), json_string_value(class)))
      add_mistake(loading, path, "is none of evidence.classes");
  }
  if (!json_object_get(json_object_get(evidence, "classes"), json_str_or(evidence, "class", "")))
    add_mistake(loading, "evidence.class", "is none of evidence.classes");
}

/* ---- what follows from the rest ----------------------------------------------------------------------------------------- */

static void set_take(json_t *object, const char *name, char *value) {
  json_object_set_new(object, name, json_string(value));
  free(value);
}

/* A folder beside the settings, or the installed one of that name when the first is not there. */
static void resolve_folder(const struct loading *loading, json_t *folders, const char *name) {
  const char *folder = json_str(folders, name);
  char *path = folder_path(loading, folder), *installed = NULL;
  if (asprintf(&installed, "%s/%s", TOCSIN_SHARE, folder) < 0) abort();
  bool shared = *folder != '/' && access(path, F_OK) != 0 && access(installed, F_OK) == 0;
  set_take(folders, name, shared ? installed : path);
  free(shared ? path : installed);
}

static void resolve_member(const struct loading *loading, json_t *object, const char *name) {
  const char *value = json_str(object, name);
  if (value) set_take(object, name, folder_path(loading, value));
}

static void resolve_paths(const struct loading *loading, json_t *settings) {
  static const char *const files[] = {"tls_ca", "tls_cert", "tls_key", "socket"};
  json_t *folders = json_object_get(settings, "folders"), *api = json_object_get(settings, "api"),
         *evidence = json_object_get(settings, "evidence"), *folder;
  const char *name;
  void *next;
  resolve_member(loading, settings, "data");
  resolve_member(loading, api, "socket");
  resolve_member(loading, evidence, "folder");
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    resolve_member(loading, json_object_get(settings, "redis"), files[i]);
    resolve_member(loading, json_object_get(settings, "webhook"), files[i]);
  }
  if (!json_str(api, "socket")) json_object_set_new(api, "socket", json_sprintf("%s/tocsin.sock", json_str(settings, "data")));
  if (!json_str(evidence, "folder")) json_object_set_new(evidence, "folder", json_sprintf("%s/evidence", json_str(settings, "data")));
  json_object_foreach_safe(folders, next, name, folder) resolve_folder(loading, folders, name);
}

static int check_settings(struct loading *loading, json_t **ret, struct err *err) {
  name_secrets(loading, loading->written, "");
  json_t *settings = schema_apply(loading->schema, loading->written, "", add_mistake, loading);
  check_connectors(loading, json_object_get(loading->written, "connectors"));
  if (settings) {
    check_redis(loading, json_object_get(settings, "redis"));
    check_sources(loading, settings);
    check_guard(loading, json_object_get(settings, "guard"), "budgets");
    check_guard(loading, json_object_get(settings, "guard"), "approvals");
    check_classes(loading, json_object_get(settings, "evidence"));
  }
  if (loading->mistakes.len || loading->mistakes.failed) {
    json_decref(settings);
    return err_set(err, ERR_INVALID, "%s", loading->mistakes.data);
  }
  resolve_paths(loading, settings);
  *ret = settings;
  return 0;
}

int settings_load(const char *path, json_t **ret, json_t **ret_secrets, struct err *err) {
  struct loading loading = {.path = path, .secrets = json_object()};
  json_t *settings = NULL;
  buf_init(&loading.mistakes, sizeof err->text - 1);
  int r = settings_schema(&loading.schema, err);
  if (r == 0 && path) r = run_settings(&loading, err);
  if (r == 0 && !loading.written) loading.written = json_object();
  if (r == 0) r = check_settings(&loading, &settings, err);
  if (r == 0) {
    *ret = settings;
    if (ret_secrets) *ret_secrets = json_incref(loading.secrets);
  }
  json_decref(loading.schema);
  json_decref(loading.written);
  json_decref(loading.secrets);
  free(loading.source);
  buf_release(&loading.mistakes);
  return r;
}
