/* What can be said about a playbook from its words alone: no types, no flow, so it speaks only where a reader would agree. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/map.h"
#include "script/internal.h"

enum { NAME_CAP = 128, CALLS_MOST = 512 };

struct call {
  char name[NAME_CAP];            /* "ldap.lock_account" */
  const struct token *at, *after; /* `act`, and what follows the arguments */
};

struct lint {
  const struct declaration *d;
  const json_t *connectors;
  json_t *findings;
  struct tokens tokens;
  struct call calls[CALLS_MOST];
  size_t call_count;
  bool dynamic; /* act[x]: nobody can tell what is used */
};

__attribute__((format(printf, 4, 5))) static void find(struct lint *l, const char *kind, int line, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  const char *file = l->d->code ? l->d->code->chunk + 1 : l->d->name;
  json_array_append_new(l->findings,
                        line ? json_sprintf("%s: %s:%d: %s", kind, file, line, text) : json_sprintf("%s: %s: %s", kind, file, text));
}

static void copy_word(const struct token *t, char *out, size_t size) {
  size_t n = t->len < size - 1 ? t->len : size - 1;
  memcpy(out, t->at, n);
  out[n] = 0;
}

static bool same_word(const struct token *a, const struct token *b) {
  return a->kind == b->kind && a->len == b->len && strncmp(a->at, b->at, a->len) == 0;
}

/* ---- brackets -------------------------------------------------------------------------------------------------------- */

static bool opens(const struct token *t) { return token_is(t, "{") || token_is(t, "(") || token_is(t, "["); }
static bool closes(const struct token *t) { return token_is(t, "}") || token_is(t, ")") || token_is(t, "]"); }

/* After the bracket that opens at t. */
static const struct token *after_bracket(const struct token *t) {
  int depth = 0;
  for (; t->kind != TOKEN_END; t++) {
    if (opens(t)) depth++;
    if (closes(t) && --depth == 0) return t + 1;
  }
  return t;
}

/* The "{" of a call's only argument at t, or NULL when that is no literal table. */
static const struct token *table_argument(const struct token *t) {
  if (token_is(t, "(")) t++;
  return token_is(t, "{") ? t : NULL;
}

/* The value of a member of the literal table at t, or NULL; *ret_plain is cleared when not all of its keys can be read. */
static const struct token *member(const struct token *t, const char *name, bool *ret_plain) {
  bool start = true;
  for (t++; t->kind != TOKEN_END && !token_is(t, "}"); t++) {
    if (start && t->kind == TOKEN_NAME && token_is(t + 1, "=")) {
      if (token_is(t, name)) return t + 2;
    } else if (start && token_is(t, "[") && ret_plain) {
      *ret_plain = false;
    }
    start = token_is(t, ",") || token_is(t, ";");
    if (opens(t)) t = after_bracket(t) - 1;
  }
  return NULL;
}

/* ---- actions ------------------------------------------------------------------------------------------------------------ */

static const json_t *action_of(const struct lint *l, const char *name, const json_t **ret_connector) {
  char connector[NAME_CAP];
  const char *dot = strchr(name, '.');
  snprintf(connector, sizeof connector, "%.*s", dot ? (int)(dot - name) : 0, name);
  json_t *declaration = json_object_get(l->connectors, connector), *other;
  const char *instance;
  if (!declaration) /* `act.ldap` is also the only instance of the connector ldap, whatever the settings call it */
    json_object_foreach((json_t *)(uintptr_t)l->connectors, instance, other) if (strcmp(json_str_or(other, "name", ""), connector) == 0)
        declaration = other;
  if (ret_connector) *ret_connector = declaration;
  return dot ? json_object_get(json_object_get(declaration, "actions"), dot + 1) : NULL;
}

static void near_key(const json_t *object, const char *word, char *hint, size_t size) {
  struct suggestion near;
  const char *key;
  json_t *value;
  suggest_init(&near, word);
  json_object_foreach((json_t *)(uintptr_t)object, key, value) suggest_name(&near, key);
  suggest_text(&near, hint, size);
}

static void collect_calls(struct lint *l) {
  for (const struct token *t = l->tokens.list; t->kind != TOKEN_END; t++) {
    if (!token_is(t, "act") || (t > l->tokens.list && (token_is(t - 1, ".") || token_is(t - 1, ":")))) continue;
    if (token_is(t + 1, "[")) l->dynamic = true;
    if (!token_is(t + 1, ".") || t[2].kind != TOKEN_NAME) continue;
    if (!token_is(t + 3, ".") || t[4].kind != TOKEN_NAME) {
      l->dynamic = true;
      continue;
    }
    if (l->call_count == CALLS_MOST) return;
    struct call *c = &l->calls[l->call_count++];
    char connector[48], action[64];
    copy_word(t + 2, connector, sizeof connector);
    copy_word(t + 4, action, sizeof action);
    snprintf(c->name, sizeof c->name, "%s.%s", connector, action);
    c->at = t;
    c->after = opens(t + 5) ? after_bracket(t + 5) : t + 5;
  }
}

static void check_params(struct lint *l, const struct call *c, const json_t *action) {
  const struct token *table = table_argument(c->at + 5);
  const json_t *params = json_object_get(action, "params");
  const char *name;
  json_t *schema;
  bool plain = true;
  if (!table) return;
  member(table, "", &plain);
  if (!plain) return;
  bool start = true;
  for (const struct token *t = table + 1; t->kind != TOKEN_END && !token_is(t, "}"); t++) {
    char word[NAME_CAP], hint[96];
    copy_word(t, word, sizeof word);
    if (start && t->kind == TOKEN_NAME && token_is(t + 1, "=") && !json_object_get(params, word)) {
      near_key(params, word, hint, sizeof hint);
      find(l, "error", t->line, "%s takes no `%s`%s", c->name, word, hint);
    }
    start = token_is(t, ",") || token_is(t, ";");
    if (opens(t)) t = after_bracket(t) - 1;
  }
  json_object_foreach((json_t *)(uintptr_t)params, name, schema) {
    bool needed = !json_bool_or(schema, "optional", false) && !json_object_get(schema, "default") &&
                  strcmp(json_str_or(schema, "type", ""), "generated") != 0;
    if (needed && !member(table, name, NULL)) find(l, "error", c->at->line, "%s needs `%s`", c->name, name);
  }
}

static void check_call(struct lint *l, const struct call *c) {
  const json_t *connector = NULL, *uses = json_object_get(l->d->json, "uses");
  char hint[96];
  if (!json_array_has(uses, c->name)) find(l, "error", c->at->line, "`%s` is called but `uses` does not name it", c->name);
  if (token_is(c->after, ".") || token_is(c->after, "["))
    find(l, "warning", c->at->line, "the result of %s is indexed untested: it is nil when the action fails; use must(…)", c->name);
  if (!l->connectors) return;
  const json_t *action = action_of(l, c->name, &connector);
  if (action) {
    check_params(l, c, action);
    return;
  }
  near_key(connector ? json_object_get(connector, "actions") : l->connectors, connector ? strchr(c->name, '.') + 1 : c->name, hint,
           sizeof hint);
  find(l, "error", c->at->line, connector ? "there is no action `%s`%s" : "no connector is configured for `%s`%s", c->name, hint);
}

/* `uses` is the list of what a playbook may do: a name too many is a right too many. */
static void check_uses(struct lint *l) {
  size_t i;
  json_t *use;
  json_array_foreach(json_object_get(l->d->json, "uses"), i, use) {
    const char *name = json_string_value(use);
    bool used = l->dynamic;
    for (size_t k = 0; k < l->call_count; k++) used = used || strcmp(l->calls[k].name, name) == 0;
    int texts = 0; /* one of them is in `uses` itself; incident:poll names its action by a text */
    for (const struct token *t = l->tokens.list; t->kind != TOKEN_END; t++)
      texts += t->kind == TOKEN_STRING && t->len == strlen(name) && strncmp(t->at, name, t->len) == 0;
    if (!used && texts < 2)
      find(l, "error", path_line(l->d->source, l->d->source_len, "uses"), "`uses` names %s, which nothing calls", name);
  }
}

/* ---- results and questions ------------------------------------------------------------------------------------------------- */

/* Is the name at t looked at (if x, not x, x and, must(x), x == …) rather than into? */
static bool tests(const struct token *t) {
  static const char *const before[] = {"if", "elseif", "while", "until", "not", "and", "or"}, *const after[] = {"and", "or",
                                                                                                                "==", "~=", "then"};
  for (size_t i = 0; i < sizeof before / sizeof *before; i++)
    if (token_is(t - 1, before[i])) return true;
  for (size_t i = 0; i < sizeof after / sizeof *after; i++)
    if (token_is(t + 1, after[i])) return true;
  return token_is(t - 1, "(") && (token_is(t - 2, "must") || token_is(t - 2, "assert"));
}

/* local name[, why] = act.…: the first later use of name must be a test of it. */
static void check_result(struct lint *l, const struct call *c) {
  const struct token *name = c->at - 1;
  if (name < l->tokens.list + 2 || !token_is(name, "=")) return;
  name--;
  if (name > l->tokens.list + 1 && token_is(name - 1, ",")) name -= 2;
  if (name->kind != TOKEN_NAME) return;
  for (const struct token *t = c->after; t->kind != TOKEN_END; t++) {
    if (!same_word(t, name) || token_is(t - 1, ".") || token_is(t - 1, ":") || (token_is(t + 1, "=") && !token_is(t - 1, "local")))
      continue;
    if (tests(t) || token_is(t - 1, "local") || token_is(t - 1, ",")) return;
    if (!token_is(t + 1, ".") && !token_is(t + 1, "[")) continue;
    char word[NAME_CAP];
    copy_word(name, word, sizeof word);
    find(l, "warning", t->line, "`%s` is indexed untested: it is nil when %s fails; use must(…) or test it", word, c->name);
    return;
  }
}

static void check_undo(struct lint *l, const struct token *t) {
  if (!l->connectors || !token_is(t, "undo") || !token_is(t - 1, ":") || !token_is(t + 1, "(") || t[2].kind != TOKEN_NAME) return;
  for (size_t i = 0; i < l->call_count; i++) {
    const struct token *name = l->calls[i].at - 2;
    if (name < l->tokens.list || !token_is(name + 1, "=")) continue;
    if (name > l->tokens.list + 1 && token_is(name - 1, ",")) name -= 2;
    if (!same_word(name, t + 2)) continue;
    const json_t *action = action_of(l, l->calls[i].name, NULL);
    if (action && !json_is_string(json_object_get(action, "undo"))) find(l, "error", t->line, "%s cannot be undone", l->calls[i].name);
  }
}

static void check_options(struct lint *l, const struct token *options, const struct token *otherwise) {
  bool known = false;
  if (!token_is(options, "{") || otherwise->kind != TOKEN_STRING) return;
  for (const struct token *t = options + 1; !token_is(t, "}"); t++) {
    if (t->kind != TOKEN_STRING && !token_is(t, ",") && !token_is(t, ";")) return;
    known = known || same_word(t, otherwise);
  }
  if (!known) find(l, "error", otherwise->line, "`otherwise` is not one of the question's `options`");
}

static void check_ask(struct lint *l, const struct token *t) {
  if (t == l->tokens.list || !token_is(t, "ask") || !token_is(t - 1, ":")) return;
  const struct token *table = table_argument(t + 1);
  if (!table) return;
  const struct token *otherwise = member(table, "otherwise", NULL), *options = member(table, "options", NULL);
  if (!otherwise) find(l, "error", t->line, "the question has no `otherwise`: what does silence mean?");
  if (!member(table, "within", NULL)) find(l, "error", t->line, "the question has no `within`: how long may it wait?");
  if (otherwise && options) check_options(l, options, otherwise);
}

/* ---- names ---------------------------------------------------------------------------------------------------------------- */

static char known; /* what a known name maps to */

static int list_globals(lua_State *L) {
  struct map *names = lua_touserdata(L, 1);
  globals_force(L);
  globals_push(L);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING) map_put(names, lua_tostring(L, -2), &known);
  return 0;
}

static void put_word(struct map *names, const struct token *t) {
  char word[NAME_CAP];
  copy_word(t, word, sizeof word);
  map_put(names, word, &known);
}

/* Every name that is declared anywhere: after local and for, and as a parameter. */
static void collect_names(const struct lint *l, struct map *names) {
  static const char *const more[] = {"now", "random", "self",   "_ENV",     "and",  "break", "do",    "else",  "elseif",
                                     "end", "false",  "for",    "function", "goto", "if",    "in",    "local", "nil",
                                     "not", "or",     "repeat", "return",   "then", "true",  "until", "while"};
  for (size_t i = 0; i < sizeof more / sizeof *more; i++) map_put(names, more[i], &known);
  for (const struct token *t = l->tokens.list; t->kind != TOKEN_END; t++) {
    if (token_is(t, "function")) {
      while (!token_is(t, "(") && t->kind != TOKEN_END) put_word(names, t++);
      for (; !token_is(t, ")") && t->kind != TOKEN_END; t++)
        if (t->kind == TOKEN_NAME) put_word(names, t);
    } else if (token_is(t, "local") || token_is(t, "for") || token_is(t, "goto")) {
      if (token_is(t + 1, "function")) continue;
      for (t++; t->kind == TOKEN_NAME; t += token_is(t + 1, ",") ? 2 : 1) {
        put_word(names, t);
        if (token_is(t + 1, "<")) t += 3;
        if (!token_is(t + 1, ",")) break;
      }
    }
  }
}

static void check_names(struct lint *l) {
  struct map names;
  struct state *s = NULL;
  map_init(&names);
  if (state_new(STATE_DECLARE, NULL, &s, NULL) == 0) state_enter(s, list_globals, &names, NULL);
  state_free(s);
  map_remove(&names, "connector");
  map_remove(&names, "ocsf");
  collect_names(l, &names);
  for (const struct token *t = l->tokens.list; t->kind != TOKEN_END; t++) {
    char word[NAME_CAP], hint[96];
    if (t->kind != TOKEN_NAME ||
        (t > l->tokens.list && (token_is(t - 1, ".") || token_is(t - 1, ":") || token_is(t - 1, "::") || token_is(t - 1, "<"))))
      continue;
    bool key = token_is(t + 1, "=") && t > l->tokens.list && (token_is(t - 1, "{") || token_is(t - 1, ",") || token_is(t - 1, ";"));
    copy_word(t, word, sizeof word);
    if (key || map_get(&names, word)) continue;
    struct suggestion near;
    const char *name;
    suggest_init(&near, word);
    for (size_t at = 0; map_next(&names, &at, &name, NULL);) suggest_name(&near, name);
    find(l, "error", t->line, "unknown name `%s`%s", word, suggest_text(&near, hint, sizeof hint));
  }
  map_release(&names, NULL);
}

int playbook_lint(const struct declaration *d, const json_t *connectors, json_t *findings, struct err *err) {
  struct lint *l = calloc(1, sizeof *l);
  if (!l) abort();
  l->d = d;
  l->connectors = connectors;
  l->findings = findings;
  int r = tokens_of(d->source, d->source_len, &l->tokens, err);
  if (r == 0) {
    collect_calls(l);
    for (size_t i = 0; i < l->call_count; i++) {
      check_call(l, &l->calls[i]);
      check_result(l, &l->calls[i]);
    }
    for (const struct token *t = l->tokens.list; t->kind != TOKEN_END; t++) {
      check_ask(l, t);
      if (t > l->tokens.list) check_undo(l, t);
    }
    check_uses(l);
    check_names(l);
    tokens_release(&l->tokens);
  }
  free(l);
  return r;
}
