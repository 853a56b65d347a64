#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "script/internal.h"

struct lexer {
  const char *at, *end;
  int line;
};

/* "[==[": how many "=" there are, or -1 when no long bracket opens here. */
static int long_level(const struct lexer *x, const char *p) {
  int level = 0;
  if (p >= x->end || *p != '[') return -1;
  for (p++; p < x->end && *p == '='; p++) level++;
  return p < x->end && *p == '[' ? level : -1;
}

static void skip_long(struct lexer *x, int level, struct token *t) {
  x->at += level + 2;
  t->at = x->at;
  for (; x->at < x->end; x->at++) {
    if (*x->at == '\n') x->line++;
    if (*x->at != ']') continue;
    const char *p = x->at + 1;
    int n = 0;
    while (p < x->end && *p == '=') p++, n++;
    if (n == level && p < x->end && *p == ']') {
      t->len = (size_t)(x->at - t->at);
      x->at = p + 1;
      return;
    }
  }
  t->len = (size_t)(x->at - t->at);
}

static void skip_space(struct lexer *x) {
  while (x->at < x->end) {
    if (*x->at == '\n') x->line++;
    if (isspace((unsigned char)*x->at)) {
      x->at++;
    } else if (x->end - x->at >= 2 && x->at[0] == '-' && x->at[1] == '-') {
      struct token comment;
      int level = long_level(x, x->at + 2);
      x->at += 2;
      if (level >= 0) skip_long(x, level, &comment);
      else
        while (x->at < x->end && *x->at != '\n') x->at++;
    } else {
      return;
    }
  }
}

static void read_string(struct lexer *x, struct token *t) {
  char quote = *x->at++;
  t->kind = TOKEN_STRING;
  t->at = x->at;
  while (x->at < x->end && *x->at != quote && *x->at != '\n') {
    if (*x->at == '\\' && x->at + 1 < x->end && *++x->at == '\n') x->line++;
    x->at++;
  }
  t->len = (size_t)(x->at - t->at);
  if (x->at < x->end) x->at++;
}

static void read_word(struct lexer *x, struct token *t) {
  bool number = isdigit((unsigned char)*x->at);
  t->kind = number ? TOKEN_NUMBER : TOKEN_NAME;
  while (x->at < x->end && (isalnum((unsigned char)*x->at) || *x->at == '_' || (number && *x->at == '.'))) x->at++;
  t->len = (size_t)(x->at - t->at);
}

static void read_operator(struct lexer *x, struct token *t) {
  static const char *const longer[] = {"...", "..", "==", "~=", "<=", ">=", "::", "//", "<<", ">>"};
  t->kind = TOKEN_OP;
  t->len = 1;
  for (size_t i = 0; i < sizeof longer / sizeof *longer; i++) {
    size_t n = strlen(longer[i]);
    if ((size_t)(x->end - x->at) < n || strncmp(x->at, longer[i], n) != 0) continue;
    t->len = n;
    break;
  }
  x->at += t->len;
}

static void read_token(struct lexer *x, struct token *t) {
  skip_space(x);
  *t = (struct token){TOKEN_END, x->at, 0, x->line};
  if (x->at >= x->end) return;
  int level = long_level(x, x->at);
  if (level >= 0) {
    t->kind = TOKEN_STRING;
    skip_long(x, level, t);
  } else if (*x->at == '"' || *x->at == '\'') {
    read_string(x, t);
  } else if (isalnum((unsigned char)*x->at) || *x->at == '_') {
    read_word(x, t);
  } else {
    read_operator(x, t);
  }
}

int tokens_of(const char *source, size_t len, struct tokens *ret, struct err *err) {
  struct lexer x = {source, source + len, 1};
  struct tokens tokens = {NULL, 0};
  size_t size = 0;
  if (len > SCRIPT_SOURCE_CAP) return err_set(err, ERR_LIMIT, "the text is longer than %d KiB", SCRIPT_SOURCE_CAP >> 10);
  do {
    if (tokens.count == size) {
      size = size ? size * 2 : 256;
      tokens.list = realloc(tokens.list, size * sizeof *tokens.list);
      if (!tokens.list) abort();
    }
    read_token(&x, &tokens.list[tokens.count++]);
  } while (tokens.list[tokens.count - 1].kind != TOKEN_END);
  *ret = tokens;
  return 0;
}

void tokens_release(struct tokens *t) {
  free(t->list);
  t->list = NULL;
  t->count = 0;
}

bool token_is(const struct token *t, const char *text) {
  return (t->kind == TOKEN_NAME || t->kind == TOKEN_OP) && strlen(text) == t->len && strncmp(t->at, text, t->len) == 0;
}

/* ---- from a path to its line ---------------------------------------------------------------------------------- */

static int nesting(const struct token *t) {
  static const char *const up[] = {"{", "(", "[", "function", "do", "if", "repeat"}, *const down[] = {"}", ")", "]", "end", "until"};
  for (size_t i = 0; i < sizeof up / sizeof *up; i++)
    if (token_is(t, up[i])) return 1;
  for (size_t i = 0; i < sizeof down / sizeof *down; i++)
    if (token_is(t, down[i])) return -1;
  return 0;
}

/* The token after the value (or the bracket) that begins at t: a separator or the closing bracket of what it stands in. */
static const struct token *skip_value(const struct token *t) {
  int depth = 0;
  for (; t->kind != TOKEN_END; t++) {
    if (depth == 0 && (token_is(t, ",") || token_is(t, ";") || token_is(t, "}"))) return t;
    depth += nesting(t);
  }
  return t;
}

/* Takes the first part of a path like a.b[2].c: a name, or a number in brackets. */
static const char *next_part(const char *path, char *name, size_t size, long *index) {
  *index = 0;
  *name = 0;
  if (*path == '[') {
    *index = strtol(path + 1, NULL, 10);
    path += strcspn(path, "]");
    path += *path == ']';
  } else {
    size_t n = strcspn(path, ".[");
    if (n >= size) n = size - 1;
    memcpy(name, path, n);
    name[n] = 0;
    path += strcspn(path, ".[");
  }
  return path + (*path == '.');
}

/* t stands after a "{". Where the member's key stands, its value in *ret_value; NULL when it is not written there. */
static const struct token *find_member(const struct token *t, const char *name, long index, const struct token **ret_value) {
  long position = 0;
  while (t->kind != TOKEN_END && !token_is(t, "}")) {
    const struct token *key = NULL, *value = t, *place = t;
    if (t->kind == TOKEN_NAME && token_is(t + 1, "=")) key = t, value = t + 2;
    else if (token_is(t, "[") && token_is(t + 2, "]") && token_is(t + 3, "=")) key = t + 1, value = t + 4;
    else position++;
    bool same = key ? strlen(name) == key->len && strncmp(key->at, name, key->len) == 0 && *name : index && index == position;
    if (same) {
      *ret_value = value;
      return place;
    }
    t = skip_value(value);
    if (token_is(t, ",") || token_is(t, ";")) t++;
  }
  return NULL;
}

/* The "{" of a value like `{`, `ldap {`, `schema.string {`, or NULL. */
static const struct token *opening(const struct token *t) {
  while (t->kind == TOKEN_NAME && (token_is(t + 1, ".") || t[1].kind == TOKEN_NAME)) t += token_is(t + 1, ".") ? 2 : 1;
  if (t->kind == TOKEN_NAME) t++;
  if (token_is(t, "(")) t++;
  return token_is(t, "{") ? t : NULL;
}

/* The "{" of the table that the file returns: the one whose end is the file's. */
static const struct token *returned_table(const struct tokens *tokens) {
  for (size_t i = 0; i + 1 < tokens->count; i++) {
    if (!token_is(&tokens->list[i], "return")) continue;
    const struct token *open = opening(&tokens->list[i + 1]);
    if (!open) continue;
    int depth = 0;
    const struct token *t = open;
    do depth += nesting(t++);
    while (depth > 0 && t->kind != TOKEN_END);
    while (token_is(t, ";") || token_is(t, ")")) t++;
    if (depth == 0 && t->kind == TOKEN_END) return open;
  }
  return NULL;
}

int path_line(const char *source, size_t len, const char *path) {
  struct tokens tokens;
  if (tokens_of(source, len, &tokens, NULL) < 0) return 0;
  const struct token *open = returned_table(&tokens), *value = NULL;
  int line = 0;
  while (open && *path) {
    char name[128];
    long index;
    path = next_part(path, name, sizeof name, &index);
    const struct token *key = find_member(open + 1, name, index, &value);
    if (!key) break;
    line = key->line;
    open = opening(value);
  }
  tokens_release(&tokens);
  return line;
}
