/* Lua patterns (Lua 5.4 reference manual, 6.4.1) with a budget of steps. A step is one character held against one item. */
#include <ctype.h>
#include <string.h>

#include "script/internal.h"

enum { PATTERN_SUBJECT_CAP = 1 << 20, PATTERN_CAP = 4096 };

void matcher_init(struct matcher *m, lua_State *L, const char *subject, size_t len, const char *pattern, size_t pattern_len) {
  m->subject = subject;
  m->subject_end = subject + len;
  m->pattern_end = pattern + pattern_len;
  m->level = m->depth = 0;
  m->steps = 0;
  m->most = PATTERN_STEPS + len * PATTERN_STEPS_EACH;
  m->fault = NULL;
  m->L = L;
}

static const char *fail(struct matcher *m, const char *why) {
  if (!m->fault) m->fault = why;
  return NULL;
}

static bool spend(struct matcher *m, size_t n) {
  m->steps += n;
  if (m->L) state_charge(m->L, n);
  if (m->steps <= m->most) return true;
  fail(m, "the pattern takes too many steps on this text");
  return false;
}

/* Where the single item (a character, %x, or a [set]) at p ends; NULL when it is malformed. */
static const char *item_end(struct matcher *m, const char *p) {
  if (*p == '%') return p + 1 < m->pattern_end ? p + 2 : fail(m, "malformed pattern (ends with '%')");
  if (*p != '[') return p + 1;
  p++;
  if (p < m->pattern_end && *p == '^') p++;
  for (bool first = true; p < m->pattern_end; first = false) {
    if (*p == ']' && !first) return p + 1;
    p += *p == '%' ? 2 : 1;
  }
  return fail(m, "malformed pattern (missing ']')");
}

static bool class_has(unsigned char class, unsigned char c) {
  bool in;
  switch (tolower(class)) {
  case 'a': in = isalpha(c); break;
  case 'c': in = iscntrl(c); break;
  case 'd': in = isdigit(c); break;
  case 'g': in = isgraph(c); break;
  case 'l': in = islower(c); break;
  case 'p': in = ispunct(c); break;
  case 's': in = isspace(c); break;
  case 'u': in = isupper(c); break;
  case 'w': in = isalnum(c); break;
  case 'x': in = isxdigit(c); break;
  case 'z': in = c == 0; break; /* Lua has it still */
  default: return class == c;
  }
  return isupper(class) ? !in : in;
}

/* p stands at '[', end after its ']'. */
static bool set_has(const char *p, const char *end, unsigned char c) {
  bool negated = p[1] == '^';
  const unsigned char *s = (const unsigned char *)p + 1 + negated, *last = (const unsigned char *)end - 1;
  for (; s < last; s++) {
    if (*s == '%') { /* before the very end, as in "[f-%%]", it takes the ']', as it does in Lua */
      if (class_has(*++s, c)) return !negated;
    } else if (s + 2 < last && s[1] == '-') {
      if (s[0] <= c && c <= s[2]) return !negated;
      s += 2;
    } else if (*s == c) {
      return !negated;
    }
  }
  return negated;
}

static bool item_fits(struct matcher *m, const char *at, const char *p, const char *end) {
  if (at >= m->subject_end || !spend(m, (size_t)(end - p))) return false;
  unsigned char c = (unsigned char)*at;
  if (*p == '.') return true;
  if (*p == '%') return class_has((unsigned char)p[1], c);
  if (*p == '[') return set_has(p, end, c);
  return (unsigned char)*p == c;
}

static const char *match(struct matcher *m, const char *at, const char *p);

static const char *match_greedy(struct matcher *m, const char *at, const char *p, const char *end, ptrdiff_t least) {
  ptrdiff_t n = 0;
  while (item_fits(m, at + n, p, end)) n++;
  for (; n >= least && !m->fault; n--) {
    const char *done = match(m, at + n, end + 1);
    if (done) return done;
  }
  return NULL;
}

static const char *match_lazy(struct matcher *m, const char *at, const char *p, const char *end) {
  while (!m->fault) {
    const char *done = match(m, at, end + 1);
    if (done) return done;
    if (!item_fits(m, at, p, end)) return NULL;
    at++;
  }
  return NULL;
}

static const char *match_capture(struct matcher *m, const char *at, const char *p) {
  if (m->level >= PATTERN_CAPTURES) return fail(m, "too many captures");
  bool position = p + 1 < m->pattern_end && p[1] == ')';
  m->captures[m->level] = (struct capture){at, position ? CAPTURE_POSITION : CAPTURE_OPEN};
  m->level++;
  const char *done = match(m, at, p + (position ? 2 : 1));
  if (!done) m->level--;
  return done;
}

static const char *match_close(struct matcher *m, const char *at, const char *p) {
  int i = m->level - 1;
  while (i >= 0 && m->captures[i].len != CAPTURE_OPEN) i--;
  if (i < 0) return fail(m, "invalid pattern capture");
  m->captures[i].len = at - m->captures[i].start;
  const char *done = match(m, at, p + 1);
  if (!done) m->captures[i].len = CAPTURE_OPEN;
  return done;
}

/* %bxy: from an x to the y that balances it. */
static const char *balanced(struct matcher *m, const char *at, const char *p) {
  if (m->pattern_end - p < 4) return fail(m, "malformed pattern (missing arguments to '%b')");
  if (at >= m->subject_end || *at != p[2]) return NULL;
  size_t open = 1;
  for (const char *s = at + 1; s < m->subject_end; s++) {
    if (!spend(m, 1)) return NULL;
    if (*s == p[3]) {
      if (--open == 0) return s + 1;
    } else if (*s == p[2]) {
      open++;
    }
  }
  return NULL;
}

static const char *same_again(struct matcher *m, const char *at, char digit) {
  int i = digit - '1';
  if (i < 0 || i >= m->level || m->captures[i].len == CAPTURE_OPEN) return fail(m, "invalid capture index in the pattern");
  if (m->captures[i].len == CAPTURE_POSITION) return NULL; /* a position is no text */
  size_t len = (size_t)m->captures[i].len;
  if (!spend(m, len) || (size_t)(m->subject_end - at) < len || memcmp(m->captures[i].start, at, len) != 0) return NULL;
  return at + len;
}

/* %f[set]: the place where the set begins to hold. */
static bool frontier(struct matcher *m, const char *at, const char *set, const char **ret_end) {
  if (set >= m->pattern_end || *set != '[') return fail(m, "missing '[' after '%f' in the pattern") != NULL;
  const char *end = item_end(m, set);
  if (!end || !spend(m, (size_t)(end - set))) return false;
  unsigned char before = at == m->subject ? 0 : (unsigned char)at[-1], here = at < m->subject_end ? (unsigned char)*at : 0;
  *ret_end = end;
  return !set_has(set, end, before) && set_has(set, end, here);
}

/* One turn of the matcher: an item with its quantifier. *ret_p moves on when the item is done and matching goes on at the result. */
static const char *match_item(struct matcher *m, const char *at, const char *p, const char **ret_p) {
  const char *end = item_end(m, p);
  if (!end) return NULL;
  char quantifier = end < m->pattern_end ? *end : 0;
  *ret_p = NULL;
  switch (quantifier) {
  case '*': return match_greedy(m, at, p, end, 0);
  case '+': return match_greedy(m, at, p, end, 1);
  case '-': return match_lazy(m, at, p, end);
  case '?':
    if (item_fits(m, at, p, end)) {
      const char *done = match(m, at + 1, end + 1);
      if (done || m->fault) return done;
    }
    *ret_p = end + 1;
    return at;
  default:
    if (!item_fits(m, at, p, end)) return NULL;
    *ret_p = end;
    return at + 1;
  }
}

static const char *match_special(struct matcher *m, const char *at, const char *p, const char **ret_p) {
  const char *end = p;
  if (p[1] == 'b') {
    *ret_p = p + 4;
    return balanced(m, at, p);
  }
  if (p[1] == 'f') {
    bool holds = frontier(m, at, p + 2, &end);
    *ret_p = end;
    return holds ? at : NULL;
  }
  *ret_p = p + 2;
  return same_again(m, at, p[1]);
}

static const char *match_on(struct matcher *m, const char *at, const char *p) {
  while (at && !m->fault) {
    if (p == m->pattern_end) return at;
    if (*p == '(') return match_capture(m, at, p);
    if (*p == ')') return match_close(m, at, p);
    if (*p == '$' && p + 1 == m->pattern_end) return at == m->subject_end ? at : NULL;
    if (*p == '%' && p + 1 < m->pattern_end && (p[1] == 'b' || p[1] == 'f' || isdigit((unsigned char)p[1]))) {
      at = match_special(m, at, p, &p);
      continue;
    }
    at = match_item(m, at, p, &p);
    if (!p) return at; /* the item matched all the rest */
  }
  return NULL;
}

static const char *match(struct matcher *m, const char *at, const char *p) {
  if (m->depth >= PATTERN_DEPTH) return fail(m, "the pattern is too complex");
  m->depth++;
  const char *done = match_on(m, at, p);
  m->depth--;
  return m->fault ? NULL : done;
}

const char *matcher_at(struct matcher *m, const char *at, const char *pattern) {
  m->level = m->depth = 0;
  const char *end = match(m, at, pattern);
  for (int i = 0; end && i < m->level; i++)
    if (m->captures[i].len == CAPTURE_OPEN) return fail(m, "unfinished capture in the pattern");
  return end;
}

bool pattern_match(const char *subject, size_t len, const char *pattern, struct err *err) {
  size_t pattern_len = strlen(pattern);
  if (len > PATTERN_SUBJECT_CAP || pattern_len > PATTERN_CAP) {
    err_set(err, ERR_LIMIT, "the text or the pattern is too long to match");
    return false;
  }
  struct matcher m;
  matcher_init(&m, NULL, subject, len, pattern, pattern_len);
  bool anchored = *pattern == '^';
  for (const char *at = subject; at <= subject + len; at++) {
    bool found = matcher_at(&m, at, pattern + anchored) != NULL;
    if (m.fault) {
      err_set(err, m.steps > m.most ? ERR_LIMIT : ERR_INVALID, "%s", m.fault);
      return false;
    }
    if (found) return true;
    if (anchored) break;
  }
  return false;
}
