#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "script/internal.h"

enum { DEFAULT_MEMORY = 16 << 20, DEFAULT_BURST_MS = 250, DEFAULT_TOTAL_MS = 10000, CHARGE_STEPS = 65536 };

/* ---- the clock behind the budgets ------------------------------------------------------------------ */

/* One timer per thread, on that thread's CPU time. It is left running from burst to burst (setting it each time would cost more than a
 * small burst) and arms Lua's count hook only in a burst that is really over its time: a count hook doubles the cost of a tight loop. */
struct watch {
  timer_t timer;
  bool made, absent;
  volatile sig_atomic_t pending;
  volatile int64_t expires_us;
  struct state *volatile current;
};
static _Thread_local struct watch watch;

static int64_t cpu_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static const char *over_budget(const struct state *s) {
  return s->total_us && s->spent_us + (s->deadline_us - s->started_us) >= s->total_us
             ? "the script used up its CPU time (run.total in the settings)"
             : "the script used too much CPU time without waiting (run.burst in the settings)";
}

static void kill_hook(lua_State *L, lua_Debug *ar) {
  struct state *s = state_of(L);
  state_kill(L, ERR_LIMIT); /* armed again, for the next instruction: pcall shall not survive it */
  luaL_where(L, 0);
  lua_pushstring(L, s->killed == ERR_MEMORY ? "not enough memory" : over_budget(s));
  lua_concat(L, 2);
  lua_error(L);
}

void state_kill(lua_State *L, int code) {
  struct state *s = state_of(L);
  if (!s->killed) s->killed = code;
  lua_sethook(L, kill_hook, LUA_MASKCOUNT, 1);
}

static void set_timer(struct watch *w, int64_t us) {
  struct itimerspec when = {.it_value = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000}};
  if (us <= 0) when.it_value = (struct timespec){.tv_nsec = 1000};
  w->expires_us = cpu_us() + us;
  w->pending = timer_settime(w->timer, 0, &when, NULL) == 0;
}

static void on_timer(int signo, siginfo_t *info, void *context) {
  struct watch *w = info->si_value.sival_ptr;
  if (info->si_code != SI_TIMER || !w) return;
  w->pending = 0;
  struct state *s = w->current;
  if (!s) return;
  int64_t left = s->deadline_us - cpu_us();
  if (left > 0) set_timer(w, left);
  else if (s->running) lua_sethook(s->running, kill_hook, LUA_MASKCOUNT, 1);
}

/* Timers do not come along. */
static void forked(void) { watch = (struct watch){0}; }

static void install_handler(void) {
  pthread_atfork(NULL, NULL, forked);
  struct sigaction action = {.sa_sigaction = on_timer, .sa_flags = SA_SIGINFO | SA_RESTART};
  sigemptyset(&action.sa_mask);
  sigaction(SIGVTALRM, &action, NULL);
}

static bool watch_ready(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  if (watch.made || watch.absent) return watch.made;
  pthread_once(&once, install_handler);
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGVTALRM};
  event.sigev_value.sival_ptr = &watch;
  event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
  watch.made = timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &watch.timer) == 0;
  watch.absent = !watch.made;
  return watch.made;
}

/* Where a sandbox forbids timers: look at the clock every so many instructions. */
static void count_hook(lua_State *L, lua_Debug *ar) {
  if (cpu_us() >= state_of(L)->deadline_us) kill_hook(L, ar);
}

static void cover_hook(lua_State *L, lua_Debug *ar) {
  if (ar->event == LUA_HOOKCOUNT) count_hook(L, ar);
  else lua_getinfo(L, "l", ar), coverage_line(state_of(L)->cover, L, ar);
}

static void set_hook(const struct state *s, lua_State *L) {
  bool watched = watch_ready();
  if (s->cover) lua_sethook(L, cover_hook, LUA_MASKLINE | LUA_MASKCOUNT, 5000);
  else if (watched) lua_sethook(L, NULL, 0, 0);
  else lua_sethook(L, count_hook, LUA_MASKCOUNT, 5000);
}

void state_begin(struct state *s, lua_State *L) {
  int64_t allowed = s->burst_us;
  if (s->total_us && s->total_us - s->spent_us < allowed) allowed = s->total_us - s->spent_us;
  s->started_us = clock_cpu_near();
  s->deadline_us = s->started_us + (allowed > 0 ? allowed : 0);
  s->killed = 0;
  s->steps = 0;
  s->running = L;
  s->outer = watch.current;
  set_hook(s, L);
  watch.current = s;
  if (watch.made && (!watch.pending || watch.expires_us > s->deadline_us)) set_timer(&watch, allowed);
}

void state_switch(struct state *s, lua_State *L) {
  lua_sethook(s->running, NULL, 0, 0);
  set_hook(s, L);
  s->running = L;
  if (watch.made && !watch.pending) set_timer(&watch, s->deadline_us - cpu_us()); /* it fired for the thread left behind */
}

void state_end(struct state *s) {
  watch.current = s->outer;
  if (s->total_us) {
    int64_t spent = clock_cpu_near() - s->started_us;
    if (spent > 0) s->spent_us += spent;
  }
  if (s->running) lua_sethook(s->running, NULL, 0, 0);
  s->running = NULL;
  /* The timer may have fired for the inner burst only; the outer one's turn must come too. */
  if (s->outer && watch.made && !watch.pending) set_timer(&watch, s->outer->deadline_us - cpu_us());
}

void state_charge(lua_State *L, size_t n) {
  struct state *s = state_of(L);
  s->steps += n;
  if (s->steps < CHARGE_STEPS) return;
  s->steps = 0;
  if (!s->running || cpu_us() < s->deadline_us) return;
  state_kill(L, ERR_LIMIT);
  luaL_error(L, "%s", over_budget(s));
}

/* ---- memory ---------------------------------------------------------------------------------------- */

static void *capped(void *ud, void *old, size_t old_size, size_t size) {
  struct state *s = ud;
  if (!old) old_size = 0; /* Lua passes a type there */
  if (size == 0) {
    s->used -= old_size;
    if (old_size) arena_give(&s->arena, old, old_size);
    return NULL;
  }
  if (size > old_size && (size - old_size > s->cap || s->used > s->cap - (size - old_size))) return NULL;
  void *fresh = old_size ? arena_resize(&s->arena, old, old_size, size) : arena_take(&s->arena, size);
  if (!fresh) return NULL;
  s->used = s->used - old_size + size;
  if (s->used > s->peak) s->peak = s->used;
  return fresh;
}

/* ---- ways in --------------------------------------------------------------------------------------- */

static const char *error_text(lua_State *L, size_t *ret_len) {
  if (lua_type(L, -1) == LUA_TSTRING) return lua_tolstring(L, -1, ret_len);
  *ret_len = 0;
  if (!lua_istable(L, -1) || !lua_checkstack(L, 2)) return NULL;
  const json_t *message = json_object_get(document_node(L, -1), "message");
  if (json_is_string(message)) return *ret_len = json_string_length(message), json_string_value(message);
  lua_pushnil(L);
  while (lua_next(L, -2)) { /* by walking: looking a name up would have to make a string, which may fail here */
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
    if (key && strcmp(key, "message") == 0 && lua_type(L, -1) == LUA_TSTRING) {
      const char *text = lua_tolstring(L, -1, ret_len);
      lua_pop(L, 2);
      return text; /* the table still holds it */
    }
    lua_pop(L, 1);
  }
  return NULL;
}

int state_error(struct state *s, lua_State *L, int status, struct err *err) {
  size_t len;
  int code = s->killed ? s->killed : status == LUA_ERRMEM ? ERR_MEMORY : ERR_INVALID;
  const char *text = error_text(L, &len);
  if (text) err_set(err, code, "%s%s", text, code == ERR_MEMORY ? " (run.memory_mib in the settings)" : "");
  else err_set(err, code, "the script raised an error that is a %s", lua_typename(L, lua_type(L, -1)));
  lua_pop(L, 1);
  return code;
}

int state_enter(struct state *s, lua_CFunction fn, void *arg, struct err *err) {
  if (!lua_checkstack(s->L, 4)) return err_set(err, ERR_MEMORY, "not enough memory for the script");
  lua_pushcfunction(s->L, fn);
  lua_pushlightuserdata(s->L, arg);
  int status = lua_pcall(s->L, 1, 0, 0);
  return status == LUA_OK ? 0 : state_error(s, s->L, status, err);
}

struct opening {
  enum state_kind kind;
};

static int open_all(lua_State *L) {
  const struct opening *opening = lua_touserdata(L, 1);
  bridge_open(L);
  globals_open(L);
  open_helpers(L, opening->kind);
  return 0;
}

void state_limit(struct state *s, enum state_kind kind, const struct script_limits *limits) {
  s->cap = limits && limits->memory ? limits->memory : DEFAULT_MEMORY;
  s->burst_us = (limits && limits->burst_ms ? limits->burst_ms : DEFAULT_BURST_MS) * 1000;
  if (kind == STATE_RUN) s->total_us = (limits && limits->total_ms ? limits->total_ms : DEFAULT_TOTAL_MS) * 1000;
}

int state_new(enum state_kind kind, const struct script_limits *limits, struct state **ret, struct err *err) {
  struct state *s = calloc(1, sizeof *s);
  if (!s) return err_set(err, ERR_MEMORY, "not enough memory for a script");
  state_limit(s, kind, limits);
  s->L = lua_newstate(capped, s);
  if (!s->L) {
    arena_release(&s->arena);
    free(s);
    return err_set(err, ERR_MEMORY, "not enough memory for a script");
  }
  *(struct state **)lua_getextraspace(s->L) = s;
  lua_gc(s->L, LUA_GCSTOP);
  struct opening opening = {kind};
  int r = state_enter(s, open_all, &opening, err);
  if (r < 0) {
    state_free(s);
    return r;
  }
  lua_gc(s->L, LUA_GCRESTART);
  *ret = s;
  return 0;
}

void state_free(struct state *s) {
  if (!s) return;
  state_drop_views(s);
  documents_free(&s->documents);
  json_decref(s->calls);
  arena_release(&s->arena);
  free(s);
}

/* ---- loading --------------------------------------------------------------------------------------- */

int state_load(lua_State *L, const char *source, size_t len, const char *chunk, const struct buf *code) {
  if (!code && len && *source == LUA_SIGNATURE[0]) { /* Lua would not say in which file */
    lua_pushfstring(L, "%s: this is bytecode; only Lua text is loaded", chunk + (*chunk == '@' || *chunk == '='));
    return LUA_ERRSYNTAX;
  }
  int status = code ? luaL_loadbufferx(L, code->data, code->len, chunk, "b") : luaL_loadbufferx(L, source, len, chunk, "t");
  if (status != LUA_OK) return status;
  globals_push_env(L);
  if (!lua_setupvalue(L, -2, 1)) lua_pop(L, 1);
  return LUA_OK;
}

static int dump_piece(lua_State *L, const void *bytes, size_t size, void *out) {
  buf_add(out, bytes, size);
  return 0;
}

void state_dump(lua_State *L, struct buf *out, bool strip) { lua_dump(L, dump_piece, out, strip); }

int state_line(lua_State *L, const char *chunk) {
  lua_Debug ar;
  for (int level = 0; level < 64 && lua_getstack(L, level, &ar); level++)
    if (lua_getinfo(L, "l", &ar) && ar.currentline > 0 && lua_getinfo(L, "S", &ar) && strcmp(ar.source, chunk) == 0) return ar.currentline;
  return 0;
}
