#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/slab.h"
#include "script/internal.h"

enum { PARALLEL_MOST = 10000, TRACEBACK_CAP = 4096, STEPS_FIRST = 4 };

/* Registry keys: the playbook's run function, incident, act, which step a result came from, the list of alerts, what run.lua and verbs.lua were
 * given, the verbs. */
static char key_run, key_incident, key_act, key_steps, key_alerts, key_native, key_verbs;

struct script {
  struct state *state;
  const struct declaration *playbook;
  const struct script_host *host;
  const json_t *uses; /* only while it is made */
  struct script_thread *threads, *current;
  uint64_t bursts, alerts_of; /* of which burst the list of alerts is */
};

struct script_thread {
  struct script *script;
  struct script_thread *next, *parent;
  size_t index; /* of the branch, 1-based */
  lua_State *co;
  int ref;
  char verb[24];
  json_t *args;
  bool over, last;               /* last: its verb ends the run */
  const struct entrance *answer; /* to its verb, while it goes on with it */
};

static struct script *script_of(lua_State *L) { return state_of(L)->owner; }

/* ---- what scripts call ------------------------------------------------------------------------------------------- */

static struct script_thread *leaving(lua_State *L, const char *verb) {
  struct script_thread *t = script_of(L)->current;
  if (!lua_isyieldable(L) || !t || t->co != L)
    luaL_error(L, "`%s` cannot be done here, inside a sort, a gsub or a metamethod: collect what to do and do it afterwards", verb);
  return t;
}

static int resumed(lua_State *L, int status, lua_KContext context);

/* Every verb leaves through here: its arguments were copied out first, so that nothing can fail between the yield and the engine. */
static int script_yield(lua_State *L, struct script_thread *t, const char *verb, json_t *args_take) {
  json_decref(t->args);
  t->args = args_take;
  size_t len = strnlen(verb, sizeof t->verb - 1);
  memcpy(t->verb, verb, len);
  t->verb[len] = 0;
  t->last = strcmp(verb, "hand_over") == 0 || strcmp(verb, "continue_as") == 0;
  return lua_yieldk(L, 0, (lua_KContext)t, resumed);
}

static int native_yield(lua_State *L) {
  const char *verb = luaL_checkstring(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  struct script_thread *t = leaving(L, verb);
  return script_yield(L, t, verb, bridge_pull(L, 2));
}

/* look(what, args): asks the host, without waiting. */
static int native_look(lua_State *L) {
  const struct script_host *host = script_of(L)->host;
  const char *what = luaL_checkstring(L, 1);
  struct err err = {0};
  lua_settop(L, 2);
  state_of(L)->asked = true;
  json_t **args = bridge_push_view(L), **result = bridge_push_view(L); /* their collector releases them, whatever is raised */
  if (!lua_isnil(L, 2)) *args = bridge_pull(L, 2);
  if (host->look(host->arg, what, *args, result, &err) < 0) return luaL_error(L, "%s", err.text);
  if (!*result || json_is_null(*result)) lua_pushnil(L);
  else bridge_push(L, *result, SCRIPT_DATA);
  json_decref(*args); /* now: the collector does not know how large they are */
  json_decref(*result);
  *args = *result = NULL;
  return 1;
}

/* One list for all of a burst: a loop over incident.alerts[i] shall not ask the host again for each. */
static int native_alerts(lua_State *L) {
  struct script *s = script_of(L);
  struct err err = {0};
  s->state->asked = true;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_alerts);
  if (s->alerts_of == s->bursts && lua_isuserdata(L, -1)) return 1;
  json_t **list = bridge_push_view(L);
  if (s->host->look(s->host->arg, "alerts", NULL, list, &err) < 0) return luaL_error(L, "%s", err.text);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_alerts);
  s->alerts_of = s->bursts;
  return 1;
}

static int native_step_of(lua_State *L) {
  lua_settop(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_steps);
  lua_insert(L, 1);
  if (!lua_istable(L, 2)) return lua_pushnil(L), 1;
  lua_rawget(L, 1);
  return 1;
}

/* verb(name): the function in verbs.lua, which is run when a script first names one; nil when there is none. */
static int native_verb(lua_State *L) {
  static const char *const names[] = {"ask",         "wait",        "wait_for", "poll",    "note",     "hand_over", "severity",
                                      "assign",      "tag",         "close",    "undo",    "parallel", "random",    "release_all",
                                      "continue_as", "observables", "summary",  "collect", NULL};
  const char *const *n = names, *name = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : "";
  lua_settop(L, 1);
  while (*n && strcmp(*n, name) != 0) n++;
  if (!*n) return lua_pushnil(L), 1;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key_verbs) != LUA_TTABLE) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &key_native);
    prelude_run(L, PRELUDE_VERBS);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key_verbs);
  }
  lua_pushvalue(L, 1);
  lua_rawget(L, -2);
  return 1;
}

/* Its upvalue is one of the state's calls. */
static int act_call(lua_State *L) {
  const json_t *call = lua_touserdata(L, lua_upvalueindex(1));
  bool nothing = lua_isnoneornil(L, 1);
  char why[320];
  if (!nothing && (!lua_istable(L, 1) || lua_gettop(L) > 1))
    return luaL_error(L, "act.%s.%s takes %s table of parameters", json_str(call, "connector"), json_str(call, "action"),
                      lua_istable(L, 1) ? "one" : "a");
  struct script_thread *t = leaving(L, "action");
  json_t *params = nothing ? json_object() : bridge_try(L, 1, why, sizeof why);
  if (!params) return luaL_error(L, "a value cannot leave the script: it.params%s%s", why[0] == '.' || why[0] == '[' ? "" : " ", why);
  json_t *args = json_copy((json_t *)(uintptr_t)call);
  json_object_set_new(args, "params", params);
  return script_yield(L, t, "action", args);
}

static int act_unknown(lua_State *L) {
  struct suggestion near;
  char hint[96];
  const char *name = luaL_tolstring(L, 2, NULL);
  suggest_init(&near, name);
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) suggest_name(&near, lua_tostring(L, -2));
  return luaL_error(L, "`%s` is not in this playbook's `uses`%s", name, suggest_text(&near, hint, sizeof hint));
}

/* incident:parallel(list, {max = 8}, function(item) … end) */
static int native_parallel(lua_State *L) {
  int fn = lua_gettop(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_incident);
  if (!lua_rawequal(L, 1, -1)) return luaL_error(L, "write incident:parallel with a colon");
  if ((fn != 3 && fn != 4) || !lua_isfunction(L, fn))
    return luaL_error(L, "write incident:parallel(list, { max = 8 }, function(item) … end)");
  lua_Integer max = 8, count = luaL_len(L, 2);
  bool stop = false;
  if (fn == 4) {
    luaL_checktype(L, 3, LUA_TTABLE);
    if (lua_getfield(L, 3, "max") != LUA_TNIL) max = luaL_checkinteger(L, -1);
    lua_getfield(L, 3, "stop_on_error");
    stop = lua_toboolean(L, -1);
  }
  if (max < 1 || max > 1000) return luaL_error(L, "`max` must be from 1 to 1000");
  if (count > PARALLEL_MOST) return luaL_error(L, "a parallel step takes at most %d items", PARALLEL_MOST);
  lua_createtable(L, 3, 0);
  int step = lua_gettop(L);
  lua_pushvalue(L, fn);
  lua_rawseti(L, step, 1);
  lua_createtable(L, (int)count, 0);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_geti(L, 2, i);
    lua_rawseti(L, -2, i);
  }
  lua_rawseti(L, step, 2);
  lua_newtable(L);
  if (count == 0) return 1;
  struct script_thread *t = leaving(L, "parallel");
  lua_rawseti(L, step, 3);
  lua_rawsetp(L, LUA_REGISTRYINDEX, t);
  lua_createtable(L, 0, 3);
  lua_pushinteger(L, count);
  lua_setfield(L, -2, "count");
  lua_pushinteger(L, max);
  lua_setfield(L, -2, "max");
  lua_pushboolean(L, stop);
  lua_setfield(L, -2, "stop_on_error");
  return script_yield(L, t, "parallel", bridge_pull(L, -1));
}

/* ---- making -------------------------------------------------------------------------------------------------------- */

/* Pushes act: faces of tables of closures, and nothing else. */
static void push_act(lua_State *L, const json_t *uses) {
  const char *connector;
  json_t *actions, *action;
  size_t i, call = 0;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, act_unknown);
  lua_setfield(L, -2, "__index");
  int unknown = lua_gettop(L);
  lua_newtable(L);
  json_object_foreach((json_t *)(uintptr_t)uses, connector, actions) {
    lua_createtable(L, 0, (int)json_array_size(actions));
    json_array_foreach(actions, i, action) {
      lua_pushlightuserdata(L, json_array_get(state_of(L)->calls, call++));
      lua_pushcclosure(L, act_call, 1);
      lua_setfield(L, -2, json_string_value(action));
    }
    lua_pushvalue(L, unknown);
    lua_setmetatable(L, -2);
    push_face(L);
    lua_setfield(L, -2, connector);
  }
  lua_pushvalue(L, unknown);
  lua_setmetatable(L, -2);
  push_face(L);
  lua_remove(L, unknown);
}

static int refuse_set(lua_State *L) {
  return luaL_error(L, "incident cannot be written to: use incident:note, :tag, :severity, :assign or :close");
}

/* The table that run.lua returned is at the top. */
static void make_incident(lua_State *L) {
  int run = lua_gettop(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_incident);
  lua_createtable(L, 0, 3);
  lua_getfield(L, run, "index");
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, refuse_set);
  lua_setfield(L, -2, "__newindex");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  lua_pushliteral(L, "");
  lua_getmetatable(L, -1);
  lua_getfield(L, run, "call_text");
  lua_setfield(L, -2, "__call");
  lua_settop(L, run);
  static const char *const names[] = {"list", "now", "random"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    lua_getfield(L, run, names[i]);
    globals_set(L, names[i]);
  }
}

/* {"ldap": ["lock_account"]} as { ldap = { lock_account = true } }, for poll. */
static void push_uses(lua_State *L, const json_t *uses) {
  const char *connector;
  json_t *actions, *action;
  size_t i;
  lua_newtable(L);
  json_object_foreach((json_t *)(uintptr_t)uses, connector, actions) {
    lua_newtable(L);
    json_array_foreach(actions, i, action) {
      lua_pushboolean(L, 1);
      lua_setfield(L, -2, json_string_value(action));
    }
    lua_setfield(L, -2, connector);
  }
}

static int make(lua_State *L) {
  const struct script *s = lua_touserdata(L, 1);
  static const luaL_Reg native[] = {
      {"yield", native_yield}, {"look", native_look}, {"alerts", native_alerts}, {"step_of", native_step_of}, {"parallel", native_parallel},
      {"verb", native_verb},   {NULL, NULL}};
  lua_createtable(L, 0, STEPS_FIRST);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode"); /* ours: a result that the script forgot needs no step */
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_steps);
  push_act(L, s->uses);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_act);
  lua_newuserdatauv(L, 1, 0);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_incident);
  luaL_newlib(L, native);
  helper_duration(L);
  lua_setfield(L, -2, "duration");
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_incident);
  lua_setfield(L, -2, "incident");
  push_uses(L, s->uses);
  lua_setfield(L, -2, "uses");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_native);
  prelude_run(L, PRELUDE_RUN);
  make_incident(L);
  declaration_run(L, s->playbook);
  if (!lua_istable(L, -1)) return luaL_error(L, "the file must end with `return playbook { … }`");
  lua_pushliteral(L, "run");
  if (lua_rawget(L, -2) != LUA_TFUNCTION) return luaL_error(L, "the playbook has no `run`");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_run);
  return 0;
}

static int make_state(struct script *s, const struct script_limits *limits, struct err *err) {
  int r = state_new(STATE_RUN, limits, &s->state, err);
  if (r < 0) return r;
  s->state->owner = s;
  s->state->calls = s->uses == s->playbook->uses ? json_incref(s->playbook->calls) : calls_of(s->uses);
  state_begin(s->state, s->state->L);
  r = state_enter(s->state, make, s, err);
  state_end(s->state);
  if (r == 0) spare_remember(s->state, s->playbook, s->uses);
  return r;
}

int script_new(const struct declaration *playbook, const json_t *uses, const struct script_limits *limits, const struct script_host *host,
               struct script **ret, struct err *err) {
  struct script *s = slab_calloc(1, sizeof *s);
  if (!s) return err_set(err, ERR_MEMORY, "not enough memory for a run");
  s->playbook = playbook;
  s->host = host;
  s->uses = uses;
  s->state = spare_take(playbook, uses, limits);
  int r = s->state ? 0 : make_state(s, limits, err);
  if (r == 0) s->state->owner = s;
  s->uses = NULL;
  if (r < 0) script_free(s);
  else *ret = s;
  return r;
}

void script_free(struct script *s) {
  if (!s) return;
  spare_give(s->state);
  for (struct script_thread *t = s->threads, *next; t; t = next) {
    next = t->next;
    json_decref(t->args);
    slab_free(t);
  }
  slab_free(s);
}

size_t script_memory(const struct script *s, size_t *ret_peak) {
  if (ret_peak) *ret_peak = s->state->peak;
  return s->state->used;
}

void script_cover(struct script *s, struct coverage *c) { s->state->cover = c; }

struct state *script_state(struct script *s) {
  return s->state;
}

/* ---- bursts ---------------------------------------------------------------------------------------------------------- */

/* What a coroutine begins with, or goes on with. */
struct entrance {
  struct script_thread *thread;
  const json_t *params, *settings; /* a start */
  size_t item;                     /* a branch */
  const char *step;                /* a resume */
  bool ok;
  const json_t *value;
  enum script_trust trust;
  int pushed;
};

static void move_to(lua_State *L, struct entrance *e, int n) {
  if (!lua_checkstack(e->thread->co, n + 4)) luaL_error(L, "stack overflow");
  lua_xmove(L, e->thread->co, n);
  e->pushed = n;
}

static void make_thread(lua_State *L, struct script_thread *t) {
  t->co = lua_newthread(L);
  t->ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

static int enter_start(lua_State *L) {
  struct entrance *e = lua_touserdata(L, 1);
  make_thread(L, e->thread);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_run);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_incident);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_act);
  if (e->params) bridge_push(L, e->params, SCRIPT_DATA);
  else lua_newtable(L);
  if (e->settings) bridge_push(L, e->settings, SCRIPT_TRUSTED);
  else lua_newtable(L);
  move_to(L, e, 5);
  e->pushed = 4;
  return 0;
}

static int enter_branch(lua_State *L) {
  struct entrance *e = lua_touserdata(L, 1);
  make_thread(L, e->thread);
  lua_rawgetp(L, LUA_REGISTRYINDEX, e->thread->parent);
  if (!lua_istable(L, -1)) return luaL_error(L, "there is no parallel step to branch from");
  lua_rawgeti(L, -1, 1);
  lua_rawgeti(L, -2, 2);
  lua_rawgeti(L, -1, (lua_Integer)e->item);
  lua_remove(L, -2);
  move_to(L, e, 2);
  e->pushed = 1;
  return 0;
}

static void push_action_result(lua_State *L, const struct entrance *e) {
  bridge_push(L, e->value, e->trust);
  if (lua_isnil(L, -1) || bridge_is_null(L, -1)) {
    lua_pop(L, 1);
    lua_newtable(L);
  }
  if (!e->step || !lua_istable(L, -1)) return;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_steps);
  lua_pushvalue(L, -2);
  lua_pushstring(L, e->step);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

/* The values that branches returned are still here: they know more than their copies (which step they came from). */
static void push_parallel_result(lua_State *L, const struct entrance *e) {
  bridge_push(L, e->value, e->trust);
  int results = lua_gettop(L);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, e->thread) != LUA_TTABLE || !lua_istable(L, results)) {
    lua_settop(L, results);
    return;
  }
  lua_rawgeti(L, -1, 3);
  for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, results); i <= n; i++) {
    if (lua_rawgeti(L, results, i) == LUA_TTABLE && lua_getfield(L, -1, "ok") == LUA_TBOOLEAN && lua_toboolean(L, -1)) {
      lua_rawgeti(L, results + 2, i);
      lua_setfield(L, -3, "result");
    }
    lua_settop(L, results + 2);
  }
  lua_settop(L, results);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, e->thread);
}

static bool answers_nil(const char *verb) { return strcmp(verb, "ask") == 0 || strcmp(verb, "wait_for") == 0 || strcmp(verb, "poll") == 0; }

/* On the coroutine itself: what its verb returns. */
static int resumed(lua_State *L, int status, lua_KContext context) {
  const struct script_thread *t = (const struct script_thread *)context;
  const struct entrance *e = t->answer;
  const char *verb = t->verb;
  luaL_checkstack(L, 8, "stack overflow");
  if (!e->ok) {
    lua_pushnil(L);
    bridge_push(L, e->value, SCRIPT_DATA);
    return 2;
  }
  if (strcmp(verb, "action") == 0) push_action_result(L, e);
  else if (strcmp(verb, "parallel") == 0) push_parallel_result(L, e);
  else if (e->value && !json_is_null(e->value)) bridge_push(L, e->value, e->trust);
  else if (answers_nil(verb)) lua_pushnil(L);
  else lua_pushboolean(L, 1); /* so that must(incident:undo(x)) holds */
  return 1;
}

struct leaving {
  struct script_thread *thread;
  struct script_yield *out;
};

/* The thread's result, still on its stack, as JSON (or nothing, when it is no data), and kept for its parent. */
static int leave(lua_State *L) {
  struct leaving *leaving = lua_touserdata(L, 1);
  struct script_thread *t = leaving->thread;
  char why[320];
  lua_pushvalue(t->co, 1);
  lua_xmove(t->co, L, 1);
  if (!lua_isnil(L, -1)) leaving->out->args = bridge_try(L, -1, why, sizeof why);
  if (!t->parent) return 0;
  lua_rawgetp(L, LUA_REGISTRYINDEX, t->parent);
  if (!lua_istable(L, -1) || lua_rawgeti(L, -1, 3) != LUA_TTABLE) return 0;
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, (lua_Integer)t->index);
  return 0;
}

static int trace(lua_State *L) {
  struct leaving *leaving = lua_touserdata(L, 1);
  size_t len;
  luaL_traceback(L, L, NULL, 0);
  lua_settop(L, 1);
  luaL_traceback(L, leaving->thread->co, NULL, 0);
  const char *text = lua_tolstring(L, -1, &len);
  leaving->out->traceback = strndup(text, len < TRACEBACK_CAP ? len : TRACEBACK_CAP);
  return 0;
}

static void finish(struct script_thread *t, int status, int results, struct script_yield *out) {
  struct script *s = t->script;
  struct leaving leaving = {t, out};
  out->line = state_line(t->co, s->playbook->code ? s->playbook->code->chunk : "");
  if (status == LUA_YIELD) {
    out->status = SCRIPT_YIELDED;
    out->verb = t->verb;
    out->args = t->args;
    t->args = NULL;
    return;
  }
  if (status == LUA_OK) {
    out->status = SCRIPT_DONE;
    lua_settop(t->co, results ? 1 : 0);
    if (!results) lua_checkstack(t->co, 1) ? lua_pushnil(t->co) : (void)0;
    if (state_enter(s->state, leave, &leaving, &out->err) < 0) out->status = SCRIPT_FAILED;
  } else {
    out->status = SCRIPT_FAILED;
    state_enter(s->state, trace, &leaving, NULL);
    state_error(s->state, t->co, status, &out->err);
  }
  t->over = true;
  luaL_unref(s->state->L, LUA_REGISTRYINDEX, t->ref); /* into the free list: takes no memory */
}

/* On the state's main thread, which makes the coroutine. */
static int enter(struct script_thread *t, lua_CFunction entrance, struct entrance *e, struct script_yield *out) {
  struct state *state = t->script->state;
  state_begin(state, state->L);
  int r = state_enter(state, entrance, e, &out->err);
  if (r == 0) state_switch(state, t->co);
  return r;
}

/* entrance NULL: it is under way, and e answers its verb. */
static void burst(struct script_thread *t, lua_CFunction entrance, struct entrance *e, struct script_yield *out) {
  struct script *s = t->script;
  memset(out, 0, sizeof *out);
  e->thread = t;
  s->bursts++;
  int64_t before = s->state->spent_us;
  int results = 0, r = 0;
  if (entrance) r = enter(t, entrance, e, out);
  else state_begin(s->state, t->co);
  if (r < 0) {
    out->status = SCRIPT_FAILED;
    t->over = true;
  } else {
    s->current = t;
    t->answer = e;
    int status = lua_resume(t->co, NULL, e->pushed, &results);
    if (s->state->killed && (status == LUA_YIELD || status == LUA_OK)) status = LUA_ERRRUN, lua_pushliteral(t->co, "the script was ended");
    finish(t, status, results, out);
    s->current = NULL;
    t->answer = NULL;
  }
  state_end(s->state);
  out->spent_us = s->state->spent_us - before;
}

static struct script_thread *thread_new(struct script *s) {
  struct script_thread *t = slab_calloc(1, sizeof *t);
  if (!t) abort();
  t->script = s;
  t->ref = LUA_NOREF;
  t->next = s->threads;
  s->threads = t;
  return t;
}

struct script_thread *script_start(struct script *s, const json_t *params, const json_t *settings, struct script_yield *out) {
  struct script_thread *t = thread_new(s);
  struct entrance e = {.params = params, .settings = settings};
  burst(t, enter_start, &e, out);
  return t;
}

void script_resume(struct script_thread *t, const char *step, bool ok, const json_t *value, enum script_trust trust,
                   struct script_yield *out) {
  struct entrance e = {.step = step, .ok = ok, .value = value, .trust = trust};
  if (t->over || t->last) { /* it has ended, or handed over: nothing of it runs any more */
    memset(out, 0, sizeof *out);
    out->status = SCRIPT_DONE;
    t->over = true;
    return;
  }
  burst(t, NULL, &e, out);
}

struct script_thread *script_branch(struct script_thread *parent, size_t i, struct script_yield *out) {
  struct script_thread *t = thread_new(parent->script);
  struct entrance e = {.item = i};
  t->parent = parent;
  t->index = i;
  burst(t, enter_branch, &e, out);
  return t;
}

void script_yield_release(struct script_yield *y) {
  json_decref(y->args);
  free(y->traceback);
  y->args = NULL;
  y->traceback = NULL;
}
