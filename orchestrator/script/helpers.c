/* What scripts find beside Lua's own libraries: schema.*, array, null, json, and a few pure conversions. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"
#include "script/internal.h"

static char key_schema;

/* A text of "[[],[],…" takes forty times its size as JSON in memory that no state's cap counts. */
enum { JSON_TEXT_CAP = 512 << 10, BASE64_TEXT_CAP = 2 << 20 };

/* ---- schema.* -------------------------------------------------------------------------------------------- */

static const char *const schema_types[] = {"string", "integer", "number", "boolean", "url",  "secret", "generated", "duration",
                                           "list",   "map",     "any",    "ip",      "host", "email",  "object"};

/* Upvalue 1: the type's name. */
static int make_schema(lua_State *L) {
  if (lua_isnoneornil(L, 1)) {
    lua_settop(L, 0);
    lua_newtable(L);
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_createtable(L, 0, 6);
  document_fill(L, 1);
  for (lua_pushnil(L); lua_next(L, 1);) {
    if (lua_type(L, -2) != LUA_TSTRING) return luaL_error(L, "schema.%s takes named members only", lua_tostring(L, lua_upvalueindex(1)));
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, 2);
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_setfield(L, 2, "type");
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_schema);
  lua_setmetatable(L, 2);
  return 1;
}

static int is_schema(lua_State *L) {
  bool yes = false;
  if (lua_istable(L, 1) && lua_getmetatable(L, 1)) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &key_schema);
    yes = lua_rawequal(L, -1, -2);
  }
  lua_pushboolean(L, yes);
  return 1;
}

static int unknown_type(lua_State *L) {
  struct suggestion near;
  char hint[96];
  suggest_init(&near, luaL_tolstring(L, 2, NULL));
  for (size_t i = 0; i < sizeof schema_types / sizeof *schema_types; i++) suggest_name(&near, schema_types[i]);
  return luaL_error(L, "there is no schema.%s%s", luaL_tolstring(L, 2, NULL), suggest_text(&near, hint, sizeof hint));
}

void open_schema(lua_State *L) {
  lua_createtable(L, 0, 1);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_schema);
  lua_createtable(L, 0, 16);
  for (size_t i = 0; i < sizeof schema_types / sizeof *schema_types; i++) {
    lua_pushstring(L, schema_types[i]);
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, make_schema, 1);
    lua_rawset(L, -3);
  }
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, unknown_type);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
}

/* ---- conversions ------------------------------------------------------------------------------------------ */

static int make_array(lua_State *L) {
  if (lua_isnoneornil(L, 1)) {
    lua_settop(L, 0);
    lua_newtable(L);
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  if (bridge_is_array(L, 1)) return 1;
  document_fill(L, 1);
  if (lua_getmetatable(L, 1)) return luaL_error(L, "array takes a plain table");
  bridge_mark_array(L, 1);
  return 1;
}

static int duration(lua_State *L) {
  int64_t ms;
  if (lua_type(L, 1) == LUA_TSTRING && duration_parse(lua_tostring(L, 1), &ms)) lua_pushinteger(L, ms);
  else lua_pushnil(L);
  return 1;
}

/* time_ms(text): RFC 3339 (or epoch seconds or milliseconds as a number) as milliseconds since 1970, or nil. */
static int time_ms(lua_State *L) {
  int64_t us;
  if (lua_type(L, 1) == LUA_TSTRING && time_parse(lua_tostring(L, 1), &us)) {
    lua_pushinteger(L, us / 1000 - (us % 1000 < 0));
  } else if (lua_type(L, 1) == LUA_TNUMBER) {
    lua_Number n = lua_tonumber(L, 1);
    if (!(fabs(n) < 1e15)) return lua_pushnil(L), 1;
    lua_pushinteger(L, (lua_Integer)(fabs(n) < 1e11 ? n * 1000 : n)); /* 1e11 ms was in 1973, 1e11 s is in 5138 */
  } else {
    lua_pushnil(L);
  }
  return 1;
}

static int time_text(lua_State *L) {
  char out[TIME_TEXT];
  lua_Integer ms = luaL_checkinteger(L, 1);
  luaL_argcheck(L, ms > -62135596800000 && ms < 253402300800000, 1, "not a time in milliseconds");
  time_format(ms * 1000, out);
  lua_pushstring(L, out);
  return 1;
}

static int json_decode(lua_State *L) {
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  struct err err;
  if (len > JSON_TEXT_CAP) return lua_pushnil(L), lua_pushliteral(L, "the text is too long"), 2;
  json_t **keep = bridge_push_view(L); /* its collector frees the value, also when pushing that raises */
  state_charge(L, len / 4);
  if (json_parse(text, len, keep, &err) < 0) return lua_pushnil(L), lua_pushstring(L, err.text), 2;
  bridge_push(L, *keep, SCRIPT_DATA);
  json_decref(*keep); /* now: the collector does not know how large it is */
  *keep = NULL;
  return 1;
}

/* Sorted keys, so that the text is the same in every replay. A secret in it would be read: refused. */
static bool holds_secret(const json_t *value) {
  size_t i;
  const char *key;
  json_t *item;
  json_array_foreach((json_t *)(uintptr_t)value, i, item) if (holds_secret(item)) return true;
  if (!json_is_object(value)) return false;
  if (json_object_get(value, "$secret")) return true;
  json_object_foreach((json_t *)(uintptr_t)value, key, item) if (holds_secret(item)) return true;
  return false;
}

static int json_encode(lua_State *L) {
  luaL_checkany(L, 1);
  json_t *value = bridge_pull(L, 1);
  struct buf out;
  buf_init(&out, JSON_TEXT_CAP);
  bool secret = holds_secret(value);
  if (!secret) json_write(value, &out);
  json_decref(value);
  bool ok = !secret && buf_ok(&out);
  luaL_Buffer b;
  if (!ok) {
    buf_release(&out);
    return luaL_error(L, secret ? "a secret cannot be read" : "the text would be too long");
  }
  size_t len = out.len;
  char *room = len < (state_of(L)->cap - state_of(L)->used) / 2 ? luaL_buffinitsize(L, &b, len) : NULL;
  if (room) memcpy(room, out.data, len);
  buf_release(&out);
  if (!room) return luaL_error(L, "not enough memory for the text");
  luaL_pushresultsize(&b, len);
  return 1;
}

static int percent_encode(lua_State *L) {
  size_t len;
  const char *s = luaL_checklstring(L, 1, &len);
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (size_t i = 0; i < len; i++) {
    unsigned char c = (unsigned char)s[i];
    char code[4];
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) luaL_addchar(&b, (char)c);
    else snprintf(code, sizeof code, "%%%02X", c), luaL_addstring(&b, code);
  }
  luaL_pushresult(&b);
  return 1;
}

static int sha256(lua_State *L) {
  size_t len;
  const char *s = luaL_checklstring(L, 1, &len);
  uint8_t digest[DIGEST_BYTES];
  char text[DIGEST_HEX];
  digest_sha256(s, len, digest);
  hex_encode(digest, sizeof digest, text);
  lua_pushstring(L, text);
  return 1;
}

static int from_base64(lua_State *L) {
  size_t len, out_len;
  const char *s = luaL_checklstring(L, 1, &len);
  uint8_t *bytes = len <= BASE64_TEXT_CAP && len < (state_of(L)->cap - state_of(L)->used) / 2 ? base64_decode(s, len, &out_len) : NULL;
  if (!bytes) return lua_pushnil(L), 1;
  luaL_Buffer b;
  char *room = luaL_buffinitsize(L, &b, out_len);
  memcpy(room, bytes, out_len);
  free(bytes);
  luaL_pushresultsize(&b, out_len);
  return 1;
}

/* ---- for the prelude -------------------------------------------------------------------------------------- */

/* near(word, names) → "; did you mean `x`?" or "". */
static int near(lua_State *L) {
  struct suggestion s;
  char hint[96];
  suggest_init(&s, luaL_checkstring(L, 1));
  luaL_checktype(L, 2, LUA_TTABLE);
  push_contents(L, 2);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
    if (lua_type(L, -1) == LUA_TSTRING) suggest_name(&s, lua_tostring(L, -1));
  lua_pushstring(L, suggest_text(&s, hint, sizeof hint));
  return 1;
}

static int check_schema(lua_State *L) {
  struct err err;
  luaL_checktype(L, 1, LUA_TTABLE);
  json_t *schema = bridge_pull(L, 1);
  int r = schema_valid(schema, &err);
  json_decref(schema);
  if (r == 0) return 0;
  lua_pushstring(L, err.text);
  return 1;
}

/* Playbook files are run again in each run's state; checked they are already. */
static int take_as_is(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  return 1;
}

static int declare_call(lua_State *L) {
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  if (lua_pcall(L, 1, 1, 0) == LUA_OK) return 1;
  if (state_of(L)->killed || !lua_istable(L, -1)) return lua_error(L);
  lua_getfield(L, -1, "message");
  const char *message = lua_tostring(L, -1);
  luaL_where(L, 1);
  lua_pushstring(L, message ? message : "?");
  lua_concat(L, 2);
  lua_setfield(L, -3, "message");
  lua_pop(L, 1);
  return lua_error(L);
}

static void set_all(lua_State *L, const char *const *names) {
  for (; *names; names++) {
    lua_getfield(L, -1, *names);
    globals_set(L, *names);
  }
}

static void open_declare(lua_State *L) {
  static const luaL_Reg native[] = {{"duration", duration},         {"near", near}, {"array", make_array}, {"is_schema", is_schema},
                                    {"check_schema", check_schema}, {NULL, NULL}};
  luaL_newlib(L, native);
  prelude_run(L, PRELUDE_DECLARE);
  static const char *const names[] = {"playbook", "connector"};
  for (int i = 0; i < 2; i++) {
    lua_getfield(L, -1, names[i]);
    lua_pushcclosure(L, declare_call, 1);
    globals_set(L, names[i]);
  }
  lua_pop(L, 1);
}

void open_json(lua_State *L) {
  static const luaL_Reg json[] = {{"decode", json_decode}, {"encode", json_encode}, {NULL, NULL}};
  luaL_newlib(L, json);
}

void helper_duration(lua_State *L) { lua_pushcfunction(L, duration); }

void open_helpers(lua_State *L, enum state_kind kind) {
  static const luaL_Reg functions[] = {{"array", make_array},
                                       {"time_ms", time_ms},
                                       {"time_text", time_text},
                                       {"duration_ms", duration},
                                       {"percent_encode", percent_encode},
                                       {"sha256", sha256},
                                       {"from_base64", from_base64},
                                       {NULL, NULL}};
  for (const luaL_Reg *f = functions; f->name; f++) {
    lua_pushcfunction(L, f->func);
    globals_set(L, f->name);
  }
  bridge_push_null(L);
  globals_set(L, "null");
  lua_createtable(L, 0, 1);
  bridge_push_null(L);
  lua_setfield(L, -2, "null");
  prelude_run(L, PRELUDE_COMMON);
  set_all(L, (const char *const[]){"failure", "must", "list", NULL});
  lua_pop(L, 1);
  if (kind == STATE_SETTINGS) return;
  if (kind != STATE_RUN) {
    open_ocsf(L);
    prelude_run(L, PRELUDE_OCSF);
    freeze(L, -1);
    globals_set(L, "ocsf");
  }
  if (kind == STATE_DECLARE) {
    open_declare(L);
    return;
  }
  static const char *const constructors[] = {"playbook", "connector"};
  for (int i = 0; i < 2; i++) {
    lua_pushcfunction(L, take_as_is);
    globals_set(L, constructors[i]);
  }
}
