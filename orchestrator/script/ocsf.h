/* ocsf.h: what the C files of the global table `ocsf` share. A builder f is {out = …, observables = {…}, seen = {…}, left_off = 0}. */
#ifndef TOCSIN_SCRIPT_OCSF_H
#define TOCSIN_SCRIPT_OCSF_H

#include "script/internal.h"
#include "script/ocsf_text.h"

enum { OCSF_OBSERVABLES = 10000, OCSF_PATH = 512, OCSF_TEXT = 4096, OCSF_NUMBER = 64, OCSF_CLASS = 2004 };

/* Pushes the text that the value at index says, or nil. */
bool ocsf_push_text(lua_State *L, int index);
/* Pushes a whole number, also from digits in a text, or nil. */
void ocsf_push_integer(lua_State *L, int index);
/* Pushes what path leads to in the value at index (absolute), which may be anything, or nil. */
bool ocsf_push_at(lua_State *L, int index, struct span path);
/* Pushes the value at index as a list: itself, or a list of it, or an empty one. */
void ocsf_push_list(lua_State *L, int index);
/* The same of the values of a document, without Lua's. What the table at index stands for, when that can be asked in its place: */
const json_t *ocsf_node_of(lua_State *L, int index);
const json_t *ocsf_node_get(lua_State *L, const json_t *node, struct span path); /* NULL: nothing there, or null */
bool ocsf_node_says(const json_t *node, char room[OCSF_NUMBER], struct span *ret);
bool ocsf_node_integer(const json_t *node, int64_t *ret);
bool ocsf_node_time(lua_State *L, const json_t *node, int64_t *ret_ms);
/* path with `end` behind it, in room. */
struct span ocsf_below(lua_State *L, char room[OCSF_PATH], struct span path, const char *end);
/* Observes the text at index value (absolute) once. kind.at NULL: none. */
void ocsf_observe_text(lua_State *L, int f, struct span path, struct span kind, int value);
/* OCSF's number of an observable's type; 0 for a name that is none. */
int ocsf_type_id(struct span kind);
static inline struct span ocsf_word(const char *text) { return (struct span){text, __builtin_strlen(text)}; }

/* The text argument at index, and one that may be missing. */
static inline struct span ocsf_span(lua_State *L, int index) {
  struct span s;
  s.at = luaL_checklstring(L, index, &s.len);
  return s;
}
static inline struct span ocsf_kind(lua_State *L, int index) { return lua_isnil(L, index) ? (struct span){0} : ocsf_span(L, index); }

/* ocsf_fill.c, ocsf_event.c: functions of the table; ocsf.lua says what each does. */
int ocsf_builder(lua_State *L);
int ocsf_observe(lua_State *L);
int ocsf_put(lua_State *L);
int ocsf_set(lua_State *L);
int ocsf_user(lua_State *L);
int ocsf_endpoint(lua_State *L);
int ocsf_process(lua_State *L);
int ocsf_hashes(lua_State *L);
int ocsf_event(lua_State *L);

#endif
