/* internal.h: what the files of script/ share. Nobody outside this folder (and its unit tests) includes it.
 *
 * struct state is one Lua state with its caps. Every way in goes through state_enter (a protected call) between state_begin and
 * state_end (the budget), so that no Lua error, not even one for want of memory, is ever raised outside a protected call. */
#ifndef TOCSIN_SCRIPT_INTERNAL_H
#define TOCSIN_SCRIPT_INTERNAL_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <signal.h>

#include "base/buf.h"
#include "base/json.h"
#include "script/coverage.h"
#include "script/script.h"

enum {
  SCRIPT_SOURCE_CAP = 1 << 20, /* bytes of one file */
  SCRIPT_STRING_CAP = 4 << 20, /* bytes of one string that rep, concat, gsub may make */
  BRIDGE_DEPTH = 100,          /* JSON_MAX_DEPTH and what wraps it */
  BRIDGE_NODES = 500000,       /* values in one crossing: shared tables would otherwise unfold without end */
  BRIDGE_BYTES = 32 << 20,
  PATTERN_DEPTH = 180,
  PATTERN_STEPS = 1000000, /* and PATTERN_STEPS_EACH more for each byte of the text */
  PATTERN_STEPS_EACH = 64
};

/* arena.c */
enum { ARENA_GRAIN = 16, ARENA_CLASSES = 64, ARENA_SMALL = ARENA_CLASSES * ARENA_GRAIN };
struct arena_free {
  struct arena_free *next;
};
struct arena {
  struct arena_chunk *chunks;
  char *at, *end; /* what is left of the newest chunk */
  struct arena_free *free[ARENA_CLASSES];
  struct arena_large *large;
  const char *making, *made; /* where what is made before arena_keep lies */
  bool kept;
};
void *arena_new(struct arena *a, size_t size);
void *arena_resize(struct arena *a, void *old, size_t old_size, size_t size); /* sizes over 0 */
void arena_give_large(const struct arena *a, void *block);
/* Here for the sake of most: sizes over 0. */
static inline size_t arena_class(size_t size) { return (size - 1) / ARENA_GRAIN; }
static inline void *arena_take(struct arena *a, size_t size) {
  struct arena_free *block = size <= ARENA_SMALL ? a->free[arena_class(size)] : NULL;
  if (!block) return arena_new(a, size);
  a->free[arena_class(size)] = block->next;
  return block;
}
static inline void arena_give(struct arena *a, void *block, size_t size) {
  struct arena_free *f = block;
  if (size > ARENA_SMALL) {
    arena_give_large(a, block);
    return;
  }
  f->next = a->free[arena_class(size)];
  a->free[arena_class(size)] = f;
}
/* Once, when the state is made: a copy of all its memory, to go back to (free it), or NULL when that is too much or there is none for it. */
struct arena_image *arena_keep(struct arena *a);
void arena_reset(struct arena *a, const struct arena_image *image);
void arena_release(struct arena *a);

/* document.c: the values that tables of the current call stand for. */
struct document_node {
  const void *address[2]; /* of the value, and of the table; NULL: it is filled in */
};
struct documents {
  struct document_node *nodes;
  uint32_t *places[2]; /* where a node is found by either address */
  uint32_t count, room, generation;
  int meta, tables; /* in Lua's registry */
  json_t *held;     /* what C makes meanwhile, and has not handed over: an array, or NULL */
  json_t *own;      /* what it made of the call's values, and a table stands for; or NULL */
  bool filled;      /* one of the tables was filled in, and may have been changed since */
};
void documents_free(struct documents *d);

struct state {
  lua_State *L;
  struct arena arena;
  size_t used, peak, cap;
  int64_t burst_us, total_us;      /* limits; total_us 0: none */
  int64_t spent_us;                /* CPU time of ended bursts */
  int64_t started_us, deadline_us; /* of this burst, in this thread's CPU time */
  volatile sig_atomic_t killed;    /* an ERR_… code: this burst is over, whatever pcall thinks */
  uint64_t steps;                  /* of C loops since the last look at the clock */
  lua_State *running;
  struct state *outer; /* the burst that this one interrupts */
  void *owner;
  struct coverage *cover; /* counts the lines that run, or NULL */
  struct view *views;     /* what bridge_push_view pushed and nobody collected */
  struct documents documents;
  json_t *calls;       /* of a run: its calls_of, which its act's functions point into */
  size_t gave;         /* bytes that what was pulled last takes as JSON, at most */
  bool asked;          /* its host was asked for something */
  struct spare *spare; /* how it was when it was made, when that is kept */
};

/* What a state is for decides what it can name. */
enum state_kind { STATE_DECLARE, STATE_CONNECTOR, STATE_RUN, STATE_SETTINGS };

int state_new(enum state_kind kind, const struct script_limits *limits, struct state **ret, struct err *err);
void state_free(struct state *s);
/* The caps of a state of that kind, into s. */
void state_limit(struct state *s, enum state_kind kind, const struct script_limits *limits);
/* Without Lua's walk over all that it has made: for a state that is not used again, or only as it was before. */
void state_drop_views(struct state *s);
static inline struct state *state_of(lua_State *L) { return *(struct state **)lua_getextraspace(L); }

/* Budget: between these two, L may use up to burst_us of CPU time. A kill stays until the next begin. */
void state_begin(struct state *s, lua_State *L);
void state_end(struct state *s);
void state_switch(struct state *s, lua_State *L); /* the same burst goes on, on another of its threads */
/* Raises when the budget is spent. For C loops: n is a count of cheap steps. */
void state_charge(lua_State *L, size_t n);
/* Ends the burst for good: pcall cannot hold it. Does not raise by itself. */
void state_kill(lua_State *L, int code);
/* Calls fn(L) protected on the main thread with arg as a light userdata at index 1. fn's results are dropped. */
int state_enter(struct state *s, lua_CFunction fn, void *arg, struct err *err);
/* The error value at the top of L as a message, popped; never runs the script's own code. */
int state_error(struct state *s, lua_State *L, int status, struct err *err);
/* Pushes the file's main function with the state's environment as its _ENV: text (bytecode refused) or, when code is given, our own dump of it. */
int state_load(lua_State *L, const char *source, size_t len, const char *chunk, const struct buf *code);
void state_dump(lua_State *L, struct buf *out, bool strip); /* the function at the top; strip: without names and lines */
/* The line of `chunk` ("@file") where L stands, 0 when unknown. */
int state_line(lua_State *L, const char *chunk);

/* coverage.c: a line is about to run. */
void coverage_line(struct coverage *c, lua_State *L, lua_Debug *ar);

/* freeze.c */
/* Makes the table or function at index, and everything reachable from it, read-only in place. */
void freeze(lua_State *L, int index);
/* Pushes the table's contents: itself, or what a frozen one stands for. */
void push_contents(lua_State *L, int index);
bool is_frozen(lua_State *L, int index);
/* A read-only face of the table at the top, which it replaces. */
void push_face(lua_State *L);
/* The real table is at the top; leaves the metatable of its face there, above it. */
void push_face_metatable(lua_State *L, lua_CFunction on_write);

/* globals.c */
void globals_open(lua_State *L); /* builds the environment */
void globals_push_env(lua_State *L);
void globals_push(lua_State *L); /* the table behind it */
/* Some libraries are made when they are first named: pushes that of this name, if there is one; all of them. */
bool globals_lazy(lua_State *L, const char *name);
void globals_force(lua_State *L);
/* Writing a global, and naming one that is not there, call these (for the settings' own ways). */
void globals_answer(lua_State *L, lua_CFunction on_write, lua_CFunction on_unknown);
/* Adds a name (value at the top, popped) to the environment. For the engine, before scripts run. */
void globals_set(lua_State *L, const char *name);
/* tostring without addresses; pushes a string. */
const char *safe_tostring(lua_State *L, int index, size_t *ret_len);
/* Pushes the keys of the table at index as a list in their fixed order; raises for keys that have none. */
void push_sorted_keys(lua_State *L, int index);

/* Libraries: each pushes its table (open_string adds to the one at the top). text.c and table.c are bounded versions of Lua's. */
void open_string(lua_State *L);
int text_not_callable(lua_State *L);
void open_table(lua_State *L);
void open_json(lua_State *L);
void open_schema(lua_State *L);
void open_ocsf(lua_State *L); /* what ocsf.lua adds to */

/* helpers.c: list, array, null, time_ms… into the environment */
void open_helpers(lua_State *L, enum state_kind kind);
void helper_duration(lua_State *L); /* pushes the function */
/* prelude.c: runs a part of the prelude. The C functions that it needs are given as one table at the top (popped); it returns one value. */
enum prelude_part { PRELUDE_COMMON, PRELUDE_RUN, PRELUDE_VERBS, PRELUDE_DECLARE, PRELUDE_SETTINGS, PRELUDE_OCSF, PRELUDE_PARTS };
void prelude_run(lua_State *L, enum prelude_part part);
const char *prelude_text(enum prelude_part part, size_t *ret_len);

/* pattern.c */
enum { PATTERN_CAPTURES = 32, CAPTURE_POSITION = -2, CAPTURE_OPEN = -1 };
struct capture {
  const char *start;
  ptrdiff_t len; /* or CAPTURE_POSITION, CAPTURE_OPEN */
};
struct matcher {
  const char *subject, *subject_end, *pattern_end;
  struct capture captures[PATTERN_CAPTURES];
  int level, depth;
  uint64_t steps, most;
  const char *fault; /* what is wrong with the pattern, or why it was given up */
  lua_State *L;      /* whose budget is charged; NULL: the steps only */
};
void matcher_init(struct matcher *m, lua_State *L, const char *subject, size_t len, const char *pattern, size_t pattern_len);
/* The end of the match of pattern at subject, or NULL (look at fault). */
const char *matcher_at(struct matcher *m, const char *at, const char *pattern);

/* spare.c: states of runs that are over, put back to what they were when they were made. A run begins with a state as it would be made for
 * it, at a tenth of the cost; nothing that one run did can be seen by the next. */
/* One that was made of this playbook with these uses and limits, or NULL. */
struct state *spare_take(const struct declaration *playbook, const json_t *uses, const struct script_limits *limits);
/* s was just made, and has run nothing but the playbook's file: remembers how it is. */
void spare_remember(struct state *s, const struct declaration *playbook, const json_t *uses);
/* In place of state_free. */
void spare_give(struct state *s);

/* run.c */
struct state *script_state(struct script *s);

/* bridge.c */
void bridge_open(lua_State *L);
/* Pushes the value (NULL: nil). Raises for want of memory or depth. */
void bridge_push(lua_State *L, const json_t *value, enum script_trust trust);
/* New JSON of the value at index; raises (releasing what it built) when it cannot leave. */
json_t *bridge_pull(lua_State *L, int index);
/* The same without raising: NULL and a reason. Does not allocate in Lua. */
json_t *bridge_try(lua_State *L, int index, char *why, size_t size);
/* New text of the bytes, in which what is not UTF-8 becomes U+FFFD. */
json_t *bridge_text(const char *bytes, size_t len);
bool bridge_is_null(lua_State *L, int index);
bool bridge_is_secret(lua_State *L, int index);
void bridge_push_null(lua_State *L);
/* A member's name as scripts see it: see looks_secret. */
void bridge_push_key(lua_State *L, const char *key, size_t len);
/* "$secret" with one or more dollars before it: outside data gets one more, so that it never means a secret. */
bool bridge_looks_secret(const char *key);
/* Marks the table at index as a list, so that it crosses as [] when empty. */
void bridge_mark_array(lua_State *L, int index);
bool bridge_is_array(lua_State *L, int index);
/* Pushes a list that lives outside Lua and hands out copies of its elements. The caller puts a reference to an array into the place that is
 * returned (NULL at first: an empty list); the collector releases it. */
json_t **bridge_push_view(lua_State *L);

/* document.c: until document_end scripts may be given tables that stand for JSON values of strangers, and read them when they are asked.
 * Values are borrowed, and must not change meanwhile. To a script they are tables as bridge_push makes them. */
void document_open(lua_State *L);
void document_end(lua_State *L); /* takes no memory, raises nothing */
void document_push(lua_State *L, const json_t *value);
/* Holds a new value that C makes, until let go or the end, whatever is raised meanwhile. Borrowed out. */
json_t *document_hold(lua_State *L, json_t *value_take);
void document_let_go(lua_State *L);
/* As document_push, of a value that C made of the document's. Of several in one call all but the first become ordinary tables: these count as memory of the script's. */
void document_push_own(lua_State *L, json_t *value);
/* What the table at index stands for; NULL: it is an ordinary table, or none. */
const json_t *document_node(lua_State *L, int index);
/* Makes it an ordinary table. For whoever looks into tables with lua_rawget, lua_next… and does not go through push_contents, which does it. */
void document_fill(lua_State *L, int index);
/* True: what scripts see of a node is what the node holds. False: tables were filled in; ask them first. */
bool document_untouched(lua_State *L);
/* Pushes the table that was made for this value, if one was. */
bool document_push_made(lua_State *L, const json_t *value);
/* A node's member by the name that scripts know it by, or NULL. */
const json_t *document_member(const json_t *node, const char *key, size_t len);
/* getmetatable, rawget and rawlen as scripts have them. */
extern const luaL_Reg document_functions[];
/* Pushes what pairs returns (two values); false: it is an ordinary table. */
bool document_pairs(lua_State *L, int index);

/* declare.c */
/* [{"connector", "action"}…] of {"ldap": ["lock_account"…]}, in its order: what act's functions leave with, beside their parameters. New. */
json_t *calls_of(const json_t *uses);
struct declaration_code {
  char *chunk; /* "@playbooks/x.lua" */
  struct buf bytes;
};
/* Pushes the declaration's table: runs the file. Raises. */
void declaration_run(lua_State *L, const struct declaration *d);

/* schema.c */
typedef void schema_report(void *arg, const char *path, const char *text);
/* As schema_check, but reports every mistake and goes on. Path is dotted, with [i] for elements. */
int schema_valid(const json_t *schema, struct err *err); /* of one schema itself: its type, its members, its default */
json_t *schema_apply(const json_t *schema, const json_t *value, const char *path, schema_report *report, void *arg);

/* suggest.c: the name most like word, or NULL when none is near. */
struct suggestion {
  const char *word;
  char best[64];
  size_t distance;
};
void suggest_init(struct suggestion *s, const char *word);
void suggest_name(struct suggestion *s, const char *name);
const char *suggest_best(const struct suggestion *s);
/* "; did you mean `x`?" or "", into out. */
const char *suggest_text(const struct suggestion *s, char *out, size_t size);

/* lex.c: the words of a Lua text, for checks that need lines. */
enum token_kind { TOKEN_END, TOKEN_NAME, TOKEN_STRING, TOKEN_NUMBER, TOKEN_OP };
struct token {
  enum token_kind kind;
  const char *at;
  size_t len; /* a string's inside, without its quotes */
  int line;
};
struct tokens {
  struct token *list; /* ends with TOKEN_END */
  size_t count;
};
int tokens_of(const char *source, size_t len, struct tokens *ret, struct err *err);
void tokens_release(struct tokens *t);
bool token_is(const struct token *t, const char *text);
/* The line where the member at a dotted path ("guard.budgets[2].most") of the table that the text returns stands; of its nearest parent when it is
 * not written; 0 when nothing of it is. */
int path_line(const char *source, size_t len, const char *path);

#endif
